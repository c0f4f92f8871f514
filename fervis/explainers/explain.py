"""Explain images by a method's name: the Python entry point, and what a run does for each batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fervis.core.layers import INPUT, resolve_layers
from fervis.core.network import Network
from fervis.core.protocols import Explainer
from fervis.core.registry import build_plugin, option_settings
from fervis.core.results import ExplainerOutput, HeatMaps, LayerMaps, named_result
from fervis.core.targets import Targets, class_index, class_targets, resolve_filter
from fervis.errors import ConfigError, RunError
from fervis.models.batch import Batch
from fervis.models.masking import OUTPUTS
from fervis.models.predict import BATCH_SIZE, check_finite, predict, warn_if_probabilities
from fervis.models.serving import served


def explain(
    model: nn.Module,
    images: Tensor | NDArray[Any],
    explainer: str | Explainer | Sequence[str] | Mapping[str, Mapping[str, Any]] = "saliency",
    layer: str | Sequence[str] | None = None,
    target: Tensor | Sequence[int] | int | str = "predicted",
    *,
    output: str | int | None = None,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    background: Tensor | None = None,
    **knobs: Any,
) -> Any:
    """Explain a network's outputs for images. Needs no config and no data set.

    Args:
        model: any network from [N,C,H,W] images to [N,K] logits. Hooks, train and eval mode, ``requires_grad``,
            ``.grad`` and buffers are afterwards as they were. Wrappers (DataParallel, torch.compile) are taken off.
        images: [N,C,H,W] float, as the network takes them; they are never written to.
        explainer: name of the method; ``fervis.names("explainer")`` lists them. Or a plug-in, built with its settings.
            A list of names, or a dictionary from names to settings, explains by each, with shared passes; ``layer``
            then holds for those that take layers.
        layer: where the maps are taken: ``conv7``, ``last_conv``, a dotted path, ``input`` for the pixels, ``all``, or
            a list of names; None for the method's own default.
        target: what is explained: a class number per image [N], several per image [N,T], one for all, ``predicted``,
            ``all``, a class's name where the network is a ``fervis`` one, or ``<layer>/<filter>``.
        output: key, field or position of the logits in what the network returns, where it returns several tensors;
            None where only one of them could be. ``probability`` and ``logit`` are the setting of methods that have
            one of this name.
        seed: root of the method's randomness.
        batch_size: images per pass.
        background: [R,C,H,W] float, as the network takes them: images for methods that compare with others
            (``expected_gradients``, ``baseline="mean"``); None for ``images`` themselves.
        **knobs: settings of the method, as in ``conf/explainer/<name>.yaml``.

    Returns:
        For a method of images, a result whose ``maps`` are [L*N*T,H,W] float32, un-normalised, on the images' device
        (``ExplainedMaps``): layer by layer, image by image, target by target. For a method of the network (``filters``,
        ``confusion``, ...) another kind of result; the images are then the faces it reads, and ``target`` their labels.
        For several methods a dictionary of their results by name.

    Raises:
        ConfigError: an unknown method, setting, layer or class, images of the wrong shape, or a network that would get
            a wrong map (``fervis.models.serving``).
    """
    if layer is not None and not layer:
        raise ConfigError(f"layer={layer}: expected the name of a layer, or a list of names that is not empty.")
    several = explainer if isinstance(explainer, Sequence | Mapping) and not isinstance(explainer, str) else None
    if isinstance(explainer, str) and output in OUTPUTS and "output" in option_settings("explainer", explainer):
        output, knobs = None, {**knobs, "output": output}  # a setting of the method, which has the same name
    name, method = ("", None) if several is not None else named_method(explainer, knobs)
    if method:
        check_takes(method, name, layer, target)
    with torch.inference_mode(False):
        pixels = checked_images(images)
        with served(model, pixels, output) as (network, logits):
            warn_if_probabilities(logits, network)
            known = network.classes if isinstance(network, Network) else tuple(map(str, range(logits.shape[1])))
            rows = torch.arange(len(pixels))
            references = pixels if background is None else _checked_background(background, pixels)
            batch = Batch(network, pixels, (), classes=known, seed=seed, rows=rows, references=references)
            if method:
                batch = made_ready(batch, method, layer, target, batch_size)
                return named_result(explain_batch(method, batch, batch_size=batch_size), pixels, name)
            from fervis.explainers.several import explain_by_each

            batch = replace(batch, targets=requested_targets(network, pixels, target, batch_size))
            return explain_by_each(several or (), batch, layer, target, batch_size, knobs)


def made_ready(batch: Batch, method: Explainer, layer: Any, target: Any, batch_size: int = BATCH_SIZE) -> Batch:
    """Return the batch with what a method is given: layers, and targets for maps or the pool for other kinds."""
    batch = replace(batch, layers=resolve_layers(batch.model, layer or method.default_layer, batch.images[:1]))
    if method.result is HeatMaps:
        return replace(batch, targets=requested_targets(batch.model, batch.images, target, batch_size))
    return replace(batch, **_pool(batch.images, target))


def named_method(explainer: Any, knobs: dict[str, Any]) -> tuple[str, Explainer]:
    """Return the name of a method and the method, built from its name where it is not built yet.

    Raises:
        ConfigError: an unknown name or setting, or settings for a method that is built.
    """
    if isinstance(explainer, str):
        return explainer, build_plugin("explainer", explainer, **knobs)
    if isinstance(explainer, type) or not callable(getattr(explainer, "explain", None)):
        what = explainer.__name__ if isinstance(explainer, type) else type(explainer).__name__
        raise ConfigError(f"explainer={what}: expected the name of an explainer, or a plug-in that is built.")
    if knobs:
        raise ConfigError(f"explainer.{next(iter(knobs))}: this explainer is built; state its settings there.")
    return type(explainer).__name__, explainer


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
        layer: value of ``layer=``; None if it is not given.
        target: value of ``target=``.

    Raises:
        ConfigError: the method takes no layers, or none but the pixels, or no filter as a target.
    """
    layers = [layer] if isinstance(layer, str) else list(layer or [])
    if INPUT in layers and "pixels" not in method.takes and "layers" in method.takes:
        raise ConfigError(f"layer=input: explainer={name} works at a layer, not at the pixels.")
    inner = [layer for layer in layers if layer != INPUT]
    if inner and "layers" not in method.takes:
        expected = "leave layer= away" if "pixels" not in method.takes else "expected layer=input"
        raise ConfigError(f"layer={inner[0]}: explainer={name} takes no inner layer; {expected}.")
    if isinstance(target, str) and "/" in target and "filters" not in method.takes:
        raise ConfigError(f"target={target}: explainer={name} explains no filters; expected a class.")


def checked_images(images: Any) -> Tensor:
    """Return [N,C,H,W] float images as a tensor that is part of no graph; numpy arrays are taken.

    Raises:
        ConfigError: they are something else, or none, or not all finite.
    """
    if isinstance(images, np.ndarray) and images.dtype.kind == "f":
        images = torch.from_numpy(images.astype(images.dtype.newbyteorder("="), copy=not images.flags.writeable))
    if not isinstance(images, Tensor):
        raise ConfigError(f"images: expected a float tensor [N,C,H,W], not a {_array_kind(images)}.")
    if images.ndim != 4 or not images.is_floating_point() or not images.numel():
        raise ConfigError(
            f"images: expected a float tensor [N,C,H,W] with at least one image, "
            f"not {str(images.dtype).removeprefix('torch.')} {list(images.shape)}."
        )
    check_finite(images)
    plain = images.detach().as_subclass(Tensor)
    return plain.clone() if plain.is_inference() else plain


def _array_kind(images: Any) -> str:
    kind = type(images).__name__
    return f"{kind} of {images.dtype}" if isinstance(images, np.ndarray) else kind


def _checked_background(background: Any, images: Tensor) -> Tensor:
    background = checked_images(background)
    if background.shape[1:] != images.shape[1:]:
        raise ConfigError(
            f"background: expected images of shape {list(images.shape[1:])} as those explained, "
            f"not {list(background.shape[1:])}."
        )
    return background


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


def requested_targets(
    model: nn.Module, images: Tensor, spec: Tensor | Sequence[int] | int | str, batch_size: int = BATCH_SIZE
) -> Targets:
    """Return the targets of images that ``target=`` of ``explain`` means; ConfigError where it means none."""
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
