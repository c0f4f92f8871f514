"""Resolve what ``target=`` and ``filters=`` mean: classes, filters, or all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fervis.core.faces import Faces
from fervis.core.layers import Layer, find_layer
from fervis.errors import ConfigError, unknown_name


def resolve_targets(spec: Any, faces: Faces, classes: Sequence[str], predictions: Tensor) -> tuple[Tensor, Tensor]:
    """Which face is explained for which class: two [M] int64 tensors, positions of faces and classes.

    Raises:
        ConfigError: an unknown class, or ``label`` for a face that has none.
    """
    everyone = torch.arange(len(faces))
    if spec == "all":
        return everyone.repeat_interleave(len(classes)), torch.arange(len(classes)).repeat(len(faces))
    if spec == "predicted":
        return everyone, predictions
    if spec == "label":
        return everyone, _labels_as(faces, classes)
    if spec == "auto":
        known = torch.tensor([label >= 0 and faces.classes[label] in classes for label in faces.labels.tolist()])
        chosen = predictions.clone()
        chosen[known] = _labels_as(faces.take(known), classes) if known.any() else chosen[known]
        return everyone, chosen
    return everyone, torch.full((len(faces),), class_index(spec, classes))


def _labels_as(faces: Faces, classes: Sequence[str]) -> Tensor:
    """The faces' labels as numbers of the network's classes, which may stand in another order."""
    unlabelled = faces.labels < 0
    if unlabelled.any():
        row = int(faces.rows[unlabelled][0])
        raise ConfigError(f"target=label: face {row} has no label in this data; ask with target=predicted.")
    place = {name: index for index, name in enumerate(classes)}
    named = [faces.classes[label] for label in faces.labels.tolist()]
    foreign = [name for name in named if name not in place]
    if foreign:
        raise ConfigError(f"target=label: the network has no class {foreign[0]}; it knows {', '.join(classes)}.")
    return torch.tensor([place[name] for name in named])


def class_index(spec: Any, classes: Sequence[str]) -> int:
    """The number of a class given by name or number."""
    if spec in classes:
        return list(classes).index(spec)
    if str(spec).isdecimal() and int(spec) < len(classes):
        return int(spec)
    raise unknown_name("target", spec, [*classes, "auto", "label", "predicted", "all", "<layer>/<filter>"])


def parse_filter_target(spec: Any) -> tuple[str, int] | None:
    """Layer name and filter number of a target such as ``conv7/4``; None for other targets."""
    layer, slash, number = str(spec).rpartition("/")
    if not slash:
        return None
    if not number.isdecimal():
        raise ConfigError(f"target={spec}: expected <layer>/<filter> with a filter's number, such as conv7/4.")
    return layer, int(number)


def class_target(classes: Tensor | Sequence[int]) -> Target:
    """The target that explains each image's class of this number."""
    return Target(torch.as_tensor(classes, dtype=torch.int64))


def resolve_filter(model: nn.Module, spec: Any, images: Tensor) -> Target | None:
    """The target of ``<layer>/<filter>``, or None where ``spec`` is of another form."""
    found = parse_filter_target(spec)
    if found is None:
        return None
    layer = find_layer(model, found[0], images[:1])
    if layer.layout != "NCHW":
        raise ConfigError(f"target={spec}: {layer.name} has no filters; its output is laid out as {layer.layout}.")
    if found[1] >= layer.channels:
        raise ConfigError(f"target={spec}: {layer.name} has {layer.channels} filters, numbered from 0.")
    return Target(layer=layer.path, filter=found[1])


FILTERS_FORMAT = "expected a number of filters such as 64, first:64, all, or a list of filters such as [4,6,18]"


def check_filters(spec: Any) -> None:
    """Raise ConfigError where ``filters=`` has none of its forms: ``n``, ``first:n``, ``all`` or a list."""
    listed = isinstance(spec, Sequence) and not isinstance(spec, str)
    if listed and spec and all(type(one) is int and one >= 0 for one in spec) and len(set(spec)) == len(spec):
        return
    if not listed and (spec == "all" or _first_count(spec)):
        return
    shown = str(list(spec)) if listed else spec
    raise ConfigError(f"explainer.filters={shown}: {FILTERS_FORMAT}, each once.")


def select_filters(spec: Any, layer: Layer | None, channels: int) -> tuple[int, ...]:
    """The filters that ``filters=`` means at a layer: of the first n as many as there are, or those of a list.

    Raises:
        ConfigError: the layer has no filter of a listed number.
    """
    first = channels if spec == "all" else _first_count(spec)
    if first:
        return tuple(range(min(first, channels)))
    listed = tuple(int(one) for one in spec)
    if wrong := [one for one in listed if one >= channels]:
        name = "input" if layer is None else layer.name
        raise ConfigError(f"explainer.filters={wrong[0]}: {name} has {channels} filters, numbered from 0.")
    return listed


def _first_count(spec: Any) -> int:
    """N of ``n`` and ``first:n``, 0 for other forms."""
    found = None if isinstance(spec, bool) else re.fullmatch(r"(first:\s*)?(\d+)", str(spec))
    return int(found[2]) if found else 0


@dataclass(frozen=True)
class Target:
    """What is explained of each image: a class's logit, or the mean output of one filter of a layer.

    Attributes:
        classes: [N] int64, a class for each image, or None where a filter is the target.
        layer: dotted path of the filter's layer.
        filter: the filter's number.
    """

    classes: Tensor | None = None
    layer: str = ""
    filter: int = 0

    def __getitem__(self, where: slice) -> Target:
        """The target of some of the images."""
        return self if self.classes is None else Target(self.classes[where])

    def score(self, logits: Tensor, activations: dict[str, Tensor]) -> Tensor:
        """[N] the explained value of each image.

        Raises:
            ConfigError: the network gives something else than [N,K] logits, or has no such class.
        """
        if self.classes is not None:
            if logits.ndim != 2:
                raise ConfigError(f"model: its output is {list(logits.shape)}, expected [N,K] logits.")
            wrong = self.classes[(self.classes < 0) | (self.classes >= logits.shape[1])]
            if len(wrong):
                raise ConfigError(f"target={int(wrong[0])}: the network has {logits.shape[1]} classes, from 0.")
            return logits.gather(1, self.classes.to(logits.device)[:, None])[:, 0]
        return activations[self.layer][:, self.filter].flatten(1).mean(1)
