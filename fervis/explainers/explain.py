"""Explain images by a method's name: the Python door, and what an answer does for each of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fervis.core.layers import Layer, expand_layers, layer_or_input
from fervis.core.network import Network
from fervis.core.protocols import Explainer, NetworkContext, NetworkExplainer
from fervis.core.registry import build_plugin
from fervis.core.results import ExplainerOutput, HeatMaps, join_results
from fervis.core.seeding import generator_for
from fervis.core.targets import Target, class_index, class_target, resolve_filter
from fervis.errors import ConfigError
from fervis.models.predict import BATCH_SIZE, predict


def explain(
    model: nn.Module,
    images: Tensor,
    explainer: str = "saliency",
    layer: str | None = None,
    target: Tensor | Sequence[int] | int | str = "predicted",
    *,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    **knobs: Any,
) -> Any:
    """Explain what a network makes of images. Needs no config and no data set.

    Args:
        model: any network from [N,C,H,W] images to [N,K] logits. Hooks, train and eval mode, ``requires_grad`` and
            ``.grad`` are afterwards as they were.
        images: [N,C,H,W] float, as the network takes them.
        explainer: name of the method; ``fervis.names("explainer")`` lists them.
        layer: where the map is taken: ``conv7``, ``last_conv``, a dotted path, or ``input`` for the pixels; None for
            the method's own default.
        target: what is explained: a class number for each image, one for all, ``predicted``, a class's name where the
            network is a ``fervis`` one, or ``<layer>/<filter>``.
        seed: root of the method's randomness.
        batch_size: images a pass.
        **knobs: settings of the method, as in ``conf/explainer/<name>.yaml``.

    Returns:
        For a method that explains faces, a result whose ``maps`` are [N,H,W] float32, un-normalised, on the images'
        device (``HeatMaps``). For one that examines the network (``filters``, ``feature_maps``, ``confusion``, ...) a
        result of its own kind; the images are then the faces it looks at, and ``target`` their labels.

    Raises:
        ConfigError: an unknown method, setting, layer or class, or images of the wrong shape.
    """
    check_images(images)
    method: Explainer | NetworkExplainer = build_plugin("explainer", explainer, **knobs)
    if isinstance(method, NetworkExplainer):
        return run_network_explainer(
            method, model, _network_context(model, images, layer or method.default_layer, target, seed)
        ).result
    place = layer_or_input(model, layer or method.default_layer, images)
    wanted = _resolve_target(model, images, target, batch_size)
    return explain_batches(method, explainer, model, images, wanted, place, seed=seed, batch_size=batch_size)


def run_network_explainer(method: NetworkExplainer, model: nn.Module, inquiry: NetworkContext) -> ExplainerOutput:
    """Examine a network; it and torch's own generator are left as they were found."""
    with torch.random.fork_rng():
        return method.examine(model, inquiry)


def explain_batches(
    method: Explainer,
    name: str,
    model: nn.Module,
    images: Tensor,
    target: Target,
    layer: Layer | None,
    *,
    seed: int,
    batch_size: int = BATCH_SIZE,
) -> HeatMaps:
    """Explain images batch by batch. Each batch meets the generator in the same state."""
    parts = []
    for start in range(0, len(images), batch_size):
        here = slice(start, start + batch_size)
        generator = generator_for(seed, f"explainer/{name}")
        parts.append(method.explain(model, images[here], target[here], layer, generator))
    return join_results(parts)


def check_images(images: Tensor) -> None:
    """Raise ConfigError unless the images are [N,C,H,W] floats, at least one."""
    if images.ndim != 4 or not images.is_floating_point() or not len(images):
        raise ConfigError(
            f"images: expected a float tensor [N,C,H,W] with at least one image, "
            f"not {str(images.dtype).removeprefix('torch.')} {list(images.shape)}."
        )


def _network_context(
    model: nn.Module, images: Tensor, layer: str, target: Tensor | Sequence[int] | int | str, seed: int
) -> NetworkContext:
    """The images as all that a network is examined on, with their labels where ``target`` gives one for each."""
    everyone = torch.arange(len(images))
    told = not isinstance(target, (str, int))
    labels = torch.as_tensor(target, dtype=torch.int64).cpu() if told else torch.full((len(images),), -1)
    if len(labels) != len(images):
        raise ConfigError(f"target: expected a label for each of the {len(images)} images, not {len(labels)}.")
    count = predict(model, images[:1]).shape[1]
    return NetworkContext(
        images=images,
        pool=images.cpu(),
        rows=everyone,
        labels=labels,
        classes=model.classes if isinstance(model, Network) else tuple(str(number) for number in range(count)),
        layers=tuple(layer_or_input(model, name, images) for name in expand_layers(model, layer, images[:1])),
        target="auto" if told or target == "predicted" else target,
        split="images",
        seed=seed,
    )


def _resolve_target(
    model: nn.Module, images: Tensor, spec: Tensor | Sequence[int] | int | str, batch_size: int
) -> Target:
    if isinstance(spec, str):
        if spec == "predicted":
            return class_target(predict(model, images, batch_size).argmax(1))
        return resolve_filter(model, spec, images) or class_target(
            [class_index(spec, model.classes if isinstance(model, Network) else ())] * len(images)
        )
    classes = torch.as_tensor(spec, dtype=torch.int64)
    if classes.ndim == 0:
        classes = classes.expand(len(images))
    if classes.shape != (len(images),):
        raise ConfigError(
            f"target: expected one class for each of the {len(images)} images, not {list(classes.shape)}."
        )
    return class_target(classes)
