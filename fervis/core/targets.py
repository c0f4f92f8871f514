"""Resolve ``target=`` and ``filters=``: classes, filters, or all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fervis.core.faces import Faces
from fervis.core.layers import Layer, find_layer
from fervis.errors import ConfigError, nearest_name, unknown_name


def resolve_targets(spec: Any, faces: Faces, classes: Sequence[str], predictions: Tensor) -> Tensor:
    """Resolve ``target=`` to the classes [N,T] int64 that are explained of each of N faces.

    Args:
        spec: ``label``, ``predicted``, ``all``, ``auto`` (the label where there is one, else predicted), or a class's
            name or number.
        faces: N faces.
        classes: names of the network's classes, in logit order.
        predictions: [N] int64, the predicted classes.

    Raises:
        ConfigError: an unknown class, or ``label`` for a face that has none.
    """
    if spec == "all":
        return torch.arange(len(classes)).expand(len(faces), -1)
    if spec == "predicted":
        return predictions[:, None]
    if spec == "label":
        return _labels_as(faces, classes)[:, None]
    if spec == "auto":
        known = torch.tensor([label >= 0 and faces.classes[label] in classes for label in faces.labels.tolist()])
        chosen = predictions.clone()
        chosen[known] = _labels_as(faces.take(known), classes) if known.any() else chosen[known]
        return chosen[:, None]
    return torch.full((len(faces), 1), class_index(spec, classes))


def _labels_as(faces: Faces, classes: Sequence[str]) -> Tensor:
    """Return the faces' labels as numbers of the network's classes, whose order may differ."""
    unlabelled = faces.labels < 0
    if unlabelled.any():
        row = int(faces.rows[unlabelled][0])
        raise ConfigError(f"target=label: face {row} has no label in this data; ask with target=predicted.")
    numbers = {name: index for index, name in enumerate(classes)}
    named = [faces.classes[label] for label in faces.labels.tolist()]
    foreign = [name for name in named if name not in numbers]
    if foreign:
        raise ConfigError(f"target=label: the network has no class {foreign[0]}; it has {', '.join(classes)}.")
    return torch.tensor([numbers[name] for name in named], dtype=torch.int64)


TARGET_FORMS = ("auto", "label", "predicted", "all", "<layer>/<filter>")
"""What ``target=`` may be other than a class."""


def class_index(spec: Any, classes: Sequence[str], forms: Sequence[str] = TARGET_FORMS) -> int:
    """Return the number of a class given by name or number; a name wins where classes are named by numbers.

    Args:
        spec: a name or a number.
        classes: names of the network's classes, in logit order.
        forms: what else ``target=`` could be, for the error.
    """
    if str(spec) in classes:
        return list(classes).index(str(spec))
    if str(spec).isdecimal() and int(spec) < len(classes):
        return int(spec)
    raise unknown_name("target", spec, [*classes, *forms])


def contrasted_class(spec: Any, classes: Sequence[str]) -> int:
    """Return the number of a class that ``against=`` names or numbers; a name wins, as for ``target=``.

    Raises:
        ConfigError: there is no such class.
    """
    if str(spec) in classes:
        return list(classes).index(str(spec))
    if str(spec).isdecimal() and int(str(spec)) < len(classes):
        return int(str(spec))
    raise ConfigError(
        f"against={spec}: the network has no such class.{nearest_name(str(spec), classes)} Known: {', '.join(classes)}."
    )


def parse_filter_target(spec: Any) -> tuple[str, int] | None:
    """Return the layer's name and the filter's number of a target such as ``conv7/4``; None for other targets."""
    layer, slash, number = str(spec).rpartition("/")
    if not slash:
        return None
    if not number.isdecimal():
        raise ConfigError(f"target={spec}: expected <layer>/<filter> with a filter's number, such as conv7/4.")
    return layer, int(number)


def class_targets(classes: Tensor | Sequence[int]) -> Targets:
    """Return targets from one class per image [N], or T classes per image [N,T]."""
    numbers = torch.as_tensor(classes, dtype=torch.int64)
    return Targets(numbers if numbers.ndim == 2 else numbers[:, None])


def resolve_filter(model: nn.Module, spec: Any, images: Tensor) -> Targets | None:
    """Return the target ``<layer>/<filter>``, or None where ``spec`` is of another form."""
    parsed = parse_filter_target(spec)
    if parsed is None:
        return None
    name, number = parsed
    layer = find_layer(model, name, images[:1])
    if layer.is_input:
        raise ConfigError(f"target={spec}: the pixels have no filters; expected a layer such as conv7/{number}.")
    if layer.layout != "NCHW":
        raise ConfigError(f"target={spec}: {layer.name} has no filters; its output is laid out as {layer.layout}.")
    if number >= layer.channels:
        raise ConfigError(f"target={spec}: {layer.name} has {layer.channels} filters, numbered from 0.")
    return Targets(layer=layer.path, filters=(number,), name=name)


@dataclass(frozen=True)
class FilterSpec:
    """Constraint of ``filters=``: ``n`` or ``first:n``, ``all``, or a list of filters, each once.

    Attributes:
        most_active: allow ``top:n`` or {top: n} too, the n filters that the images excite most on average.

    Example:
        >>> FilterSpec().allows("first:64"), FilterSpec().allows([4, 4]), FilterSpec(most_active=True).allows("top:8")
        (True, False, True)
    """

    most_active: bool = False

    def allows(self, value: Any) -> bool:
        """Return whether the value has one of the forms."""
        if isinstance(value, Sequence) and not isinstance(value, str):
            numbers = all(type(number) is int and number >= 0 for number in value)
            return numbers and 0 < len(value) == len(set(value))
        return value == "all" or _first_count(value) > 0 or (self.most_active and top_count(value) > 0)

    def __str__(self) -> str:
        top = "top:8, " if self.most_active else ""
        return f"a number of filters such as 64, first:64, {top}all, or a list of filters such as [4,6,18], each once"


def top_count(spec: Any) -> int:
    """Return n of ``top:n`` or {top: n}, 0 for other forms."""
    spec = f"top:{spec['top']}" if isinstance(spec, dict) and list(spec) == ["top"] else spec
    match = re.fullmatch(r"top:\s*(\d+)", spec) if isinstance(spec, str) else None
    return int(match[1]) if match else 0


def select_filters(spec: Any, layer: Layer, channels: int) -> tuple[int, ...]:
    """Return the filters that ``filters=`` means at a layer: of the first n as many as there are, or those of a list.

    Raises:
        ConfigError: the layer has no filter of a listed number.
    """
    first = channels if spec == "all" else _first_count(spec)
    if first:
        return tuple(range(min(first, channels)))
    listed = tuple(int(number) for number in spec)
    if wrong := [number for number in listed if number >= channels]:
        raise ConfigError(f"explainer.filters={wrong[0]}: {layer.name} has {channels} filters, numbered from 0.")
    return listed


def _first_count(spec: Any) -> int:
    """Return n of ``n`` and ``first:n``, 0 for other forms."""
    match = None if isinstance(spec, bool) else re.fullmatch(r"(first:\s*)?(\d+)", str(spec))
    return int(match[2]) if match else 0


@dataclass(frozen=True)
class Targets:
    """The T targets of each of N images: classes, or the filters of a layer.

    The target of a class is its logit, that of a filter its mean output.

    Attributes:
        classes: [N,T] int64, the classes of each image, or None where filters are the targets.
        layer: dotted path of the filters' layer.
        filters: the filters' numbers, the same for every image.
        name: the layer's name as the run states it, such as ``conv7``.
    """

    classes: Tensor | None = None
    layer: str = ""
    filters: tuple[int, ...] = ()
    name: str = ""

    @property
    def count(self) -> int:
        """Number of targets per image."""
        return len(self.filters) if self.classes is None else self.classes.shape[1]

    def __getitem__(self, index: Tensor | slice | Sequence[int]) -> Targets:
        """Return the targets of a selection of the images."""
        return self if self.classes is None else replace(self, classes=self.classes[index])

    def only(self, number: int) -> Targets:
        """Return the targets of this number alone, so that T is 1."""
        if self.classes is None:
            return replace(self, filters=self.filters[number : number + 1])
        return replace(self, classes=self.classes[:, number : number + 1])

    def repeat(self, times: int) -> Targets:
        """Return the targets of a batch in which each image is repeated ``times`` times in a row."""
        return self if self.classes is None else replace(self, classes=self.classes.repeat_interleave(times, 0))

    def scores(self, logits: Tensor, activations: Mapping[str, Tensor]) -> Tensor:
        """Return the explained values [N,T].

        Args:
            logits: [N,K] the network's output.
            activations: dotted path -> [N,C,...] output of the filters' layer, where filters are the targets.

        Raises:
            ConfigError: the network gives something else than [N,K] logits, or has no such class.
        """
        if self.classes is None:
            outputs = activations[self.layer][:, list(self.filters)]
            return outputs.flatten(2).mean(2)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ConfigError(f"model: its output is {shape}, expected [N,K] logits.")
        wrong = self.classes[(self.classes < 0) | (self.classes >= logits.shape[1])]
        if len(wrong):
            raise ConfigError(f"target={int(wrong[0])}: the network has {logits.shape[1]} classes, from 0.")
        index = self.classes.to(logits.device)
        # Autograd saves the index, and refuses one that was computed under torch.inference_mode.
        return logits.gather(1, index.clone() if index.is_inference() else index)
