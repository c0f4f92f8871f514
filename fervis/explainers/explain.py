"""Explain images by a method's name: the Python entry point, and what a run does for each batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fervis.core.layers import INPUT, resolve_layers
from fervis.core.network import Network
from fervis.core.protocols import Explainer
from fervis.core.registry import build_plugin
from fervis.core.results import ExplainerOutput, HeatMaps, LayerMaps
from fervis.core.targets import Targets, class_index, class_targets, resolve_filter
from fervis.errors import ConfigError, RunError
from fervis.models.batch import Batch
from fervis.models.hooks import frozen
from fervis.models.predict import BATCH_SIZE, check_finite, check_logits, predict, warn_if_probabilities


def explain(
    model: nn.Module,
    images: Tensor,
    explainer: str = "saliency",
    layer: str | Sequence[str] | None = None,
    target: Tensor | Sequence[int] | int | str = "predicted",
    *,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    **knobs: Any,
) -> Any:
    """Explain a network's outputs for images. Needs no config and no data set.

    Args:
        model: any network from [N,C,H,W] images to [N,K] logits. Hooks, train and eval mode, ``requires_grad``,
            ``.grad`` and buffers are afterwards as they were.
        images: [N,C,H,W] float, as the network takes them; they are never written to.
        explainer: name of the method; ``fervis.names("explainer")`` lists them.
        layer: where the maps are taken: ``conv7``, ``last_conv``, a dotted path, ``input`` for the pixels, ``all``, or
            a list of names; None for the method's own default.
        target: what is explained: a class number per image [N], several per image [N,T], one for all, ``predicted``,
            ``all``, a class's name where the network is a ``fervis`` one, or ``<layer>/<filter>``.
        seed: root of the method's randomness.
        batch_size: images per pass.
        **knobs: settings of the method, as in ``conf/explainer/<name>.yaml``.

    Returns:
        For a method of images, a result whose ``maps`` are [L*N*T,H,W] float32, un-normalised, on the images' device
        (``HeatMaps``): layer by layer, image by image, target by target. For a method of the network (``filters``,
        ``confusion``, ...) a result of its own kind; the images are then the faces it reads, and ``target`` their
        labels.

    Raises:
        ConfigError: an unknown method, setting, layer or class, or images of the wrong shape.
    """
    check_images(images)
    method: Explainer = build_plugin("explainer", explainer, **knobs)
    if layer is not None and not layer:
        raise ConfigError(f"layer={layer}: expected the name of a layer, or a list of names that is not empty.")
    check_takes(method, explainer, layer, target)
    layers = resolve_layers(model, layer or method.default_layer, images[:1])
    batch = Batch(
        model, images.detach(), layers, classes=_classes(model, images), seed=seed, rows=torch.arange(len(images))
    )
    if method.result is HeatMaps:
        batch = replace(batch, targets=_resolve(model, images, target, batch_size))
    else:
        batch = replace(batch, **_pool(images, target))
    return explain_batch(method, batch, batch_size=batch_size).result


def explain_batch(method: Explainer, batch: Batch, *, batch_size: int = BATCH_SIZE) -> ExplainerOutput:
    """Explain a batch of any size; methods that return maps are given ``batch_size`` images at a time.

    The model and torch's own generator are left as they were.
    """
    with torch.random.fork_rng(devices=[]):
        if method.result is not HeatMaps:
            output = method.explain(batch)
            if not isinstance(output, ExplainerOutput):
                raise RunError(f"{_named(method)} returned a {type(output).__name__}, expected an ExplainerOutput.")
            return output
        starts = range(0, len(batch), batch_size)
        parts = [_maps_of_part(method, batch.part(slice(start, start + batch_size))) for start in starts]
    return output_of_maps(LayerMaps.join(parts), batch)


def _maps_of_part(method: Explainer, part: Batch) -> LayerMaps:
    """Explain some images, and refuse maps of another shape than the contract states."""
    maps = method.explain(part)
    if not isinstance(maps, LayerMaps):
        raise RunError(f"{_named(method)} returned a {type(maps).__name__}, expected LayerMaps.")
    missing = [layer.name for layer in part.layers if layer.name not in maps.maps]
    if missing:
        raise RunError(f"{_named(method)} returned no maps for layer {missing[0]}.")
    leading = (len(part), part.targets.count)
    for name, values in maps.maps.items():
        if values.ndim != 4 or tuple(values.shape[:2]) != leading:
            raise RunError(
                f"{_named(method)} returned maps of shape {list(values.shape)} at {name}, expected [N,T,h,w] with N "
                f"{leading[0]} and T {leading[1]}."
            )
    for name, values in (maps.scores or {}).items():
        if tuple(values.shape[-2:]) != leading or values.ndim > 3:
            raise RunError(f"{_named(method)} returned the score {name} of shape {list(values.shape)}, expected [N,T].")
    return maps


def _named(method: Explainer) -> str:
    return f"explainer {type(method).__name__}"


def try_explainer(method: Explainer) -> None:
    """Run a method of images on a small random image, so that a wrong plug-in is known before any data is loaded.

    A method may refuse the small convolutional network by a ConfigError, as those for transformers do.

    Raises:
        RunError: it returns something else than its contract states.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 16 * 16, 2))
        images = torch.rand(1, 1, 16, 16)
    layer = INPUT if "layers" not in method.takes else "conv1"
    layers = resolve_layers(body, layer, images)
    with suppress(ConfigError):
        explain_batch(method, Batch(body, images, layers, class_targets([0]), classes=("a", "b")))


def output_of_maps(maps: LayerMaps, batch: Batch) -> ExplainerOutput:
    """List the maps of a batch as entries: layer by layer, image by image, target by target."""
    names = [layer.name for layer in batch.layers]
    height, width = batch.images.shape[2:]
    count = batch.targets.count
    images = torch.arange(len(batch)).repeat_interleave(count)
    targets = tuple(name for number in range(len(batch)) for name in target_names(batch, number))
    return ExplainerOutput(
        result=maps.heat_maps(names, (int(height), int(width))),
        layers=tuple(name for name in names for _ in images),
        targets=targets * len(names),
        images=images.repeat(len(names)),
    )


def target_names(batch: Batch, image: int) -> list[str]:
    """Return the names of an image's targets: classes, or ``conv7/4`` for a filter."""
    targets = batch.targets
    if targets.classes is None:
        return [f"{targets.name}/{number}" for number in targets.filters]
    known = batch.classes
    return [known[number] if number < len(known) else str(number) for number in targets.classes[image].tolist()]


def check_takes(method: Explainer, name: str, layer: Any, target: Any) -> None:
    """Refuse a layer or a target that would change nothing.

    Args:
        method: the explainer.
        name: its name.
        layer: what ``layer=`` says; None where it says nothing.
        target: what ``target=`` says.

    Raises:
        ConfigError: the method takes no layers, or none but the pixels, or no filter as a target.
    """
    layers = [layer] if isinstance(layer, str) else list(layer or [])
    if INPUT in layers and "pixels" not in method.takes and "layers" in method.takes:
        raise ConfigError(f"layer=input: explainer={name} works at a layer, not at the pixels.")
    inner = [layer for layer in layers if layer != INPUT]
    if inner and "layers" not in method.takes:
        expected = "leave layer= away" if "pixels" not in method.takes else "expected layer=input"
        raise ConfigError(f"layer={inner[0]}: explainer={name} looks at no layer of its own; {expected}.")
    if isinstance(target, str) and "/" in target and "filters" not in method.takes:
        raise ConfigError(f"target={target}: explainer={name} explains no filters; expected a class.")


def check_images(images: Any) -> None:
    """Raise ConfigError unless the images are [N,C,H,W] floats, at least one, all finite."""
    if not isinstance(images, Tensor):
        raise ConfigError(f"images: expected a float tensor [N,C,H,W], not a {type(images).__name__}.")
    if images.ndim != 4 or not images.is_floating_point() or not len(images):
        raise ConfigError(
            f"images: expected a float tensor [N,C,H,W] with at least one image, "
            f"not {str(images.dtype).removeprefix('torch.')} {list(images.shape)}."
        )
    check_finite(images)


def _classes(model: nn.Module, images: Tensor) -> tuple[str, ...]:
    with frozen(model), torch.no_grad():
        logits = check_logits(model(images[:1].clone()))
    warn_if_probabilities(logits)
    return model.classes if isinstance(model, Network) else tuple(str(number) for number in range(logits.shape[1]))


def _pool(images: Tensor, target: Tensor | Sequence[int] | int | str) -> dict[str, Any]:
    """Return the images as the pool of a method of the network, with their labels if ``target`` gives them."""
    labelled = not isinstance(target, (str, int))
    labels = torch.as_tensor(target, dtype=torch.int64).cpu() if labelled else torch.full((len(images),), -1)
    if len(labels) != len(images):
        raise ConfigError(f"target: expected a label for each of the {len(images)} images, not {len(labels)}.")
    return {
        "pool": images.detach().cpu(),
        "labels": labels,
        "image_labels": labels,
        "split": "images",
        "target": "auto" if labelled or target == "predicted" else target,
    }


def _resolve(model: nn.Module, images: Tensor, spec: Tensor | Sequence[int] | int | str, batch_size: int) -> Targets:
    if isinstance(spec, str):
        if spec in ("predicted", "all"):
            probabilities = predict(model, images, batch_size)
            if spec == "predicted":
                return class_targets(probabilities.argmax(1))
            return class_targets(torch.arange(probabilities.shape[1]).expand(len(images), -1))
        known = model.classes if isinstance(model, Network) else ()
        return resolve_filter(model, spec, images) or class_targets([class_index(spec, known)] * len(images))
    classes = torch.as_tensor(spec, dtype=torch.int64)
    if classes.ndim == 0:
        classes = classes.expand(len(images))
    if classes.ndim > 2 or len(classes) != len(images):
        raise ConfigError(
            f"target: expected one class for each of the {len(images)} images, not {list(classes.shape)}."
        )
    return class_targets(classes)
