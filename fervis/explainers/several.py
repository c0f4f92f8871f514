"""Explain the same images by several methods, which share the passes that they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fervis.core.layers import resolve_layers
from fervis.core.protocols import Explainer
from fervis.core.registry import build_plugin
from fervis.core.results import ExplainerOutput, HeatMaps, named_result
from fervis.errors import ConfigError
from fervis.explainers.explain import check_takes, explain_batch
from fervis.models.batch import Batch
from fervis.models.predict import BATCH_SIZE
from fervis.models.shared_passes import SharedPasses


def explain_by_each(
    explainers: Sequence[str] | Mapping[str, Mapping[str, Any]],
    batch: Batch,
    layer: str | Sequence[str] | None,
    target: Any,
    batch_size: int,
    knobs: Mapping[str, Any],
) -> dict[str, Any]:
    """Explain images by several methods, which share their passes.

    Args:
        explainers: names of methods, or name -> settings.
        batch: images and targets; its layers are not read.
        layer: for the methods that take layers; None for each method's default.
        target: as the caller stated it.
        batch_size: images per pass.
        knobs: settings that came without the name of a method; refused.

    Returns:
        Name of a method -> its result.

    Raises:
        ConfigError: an unknown method, setting or layer, or a method that gives no heat maps.
    """
    if knobs:
        raise ConfigError(
            f"{next(iter(knobs))}={next(iter(knobs.values()))}: settings of several explainers are given with each "
            'name, such as explainer={"lime": {"samples": 500}, "gradcam": {}}.'
        )
    settings = explainers if isinstance(explainers, Mapping) else {name: {} for name in explainers}
    methods: dict[str, Explainer] = {name: build_plugin("explainer", name, **own) for name, own in settings.items()}
    of_network = [name for name, method in methods.items() if method.result is not HeatMaps]
    if of_network or not methods:
        raise ConfigError(f"explainer={[*settings]}: expected methods that give heat maps, not {of_network or 'none'}.")
    wanted: dict[str, tuple[str, ...]] = {}
    for name, method in methods.items():
        stated = layer if "layers" in method.takes else None
        check_takes(method, name, stated, target)
        names = stated or method.default_layer
        wanted[name] = (names,) if isinstance(names, str) else tuple(names)
    resolved = {names: resolve_layers(batch.model, names, batch.images[:1]) for names in set(wanted.values())}
    batches = {name: replace(batch, layers=resolved[names]) for name, names in wanted.items()}
    outputs = explain_together(methods, batches, batch_size=batch_size)
    return {name: named_result(output, batch.images, name) for name, output in outputs.items()}


def explain_together(
    methods: Mapping[str, Explainer], batches: Mapping[str, Batch], *, batch_size: int = BATCH_SIZE
) -> dict[str, ExplainerOutput]:
    """Explain by each method; those that read plain gradients share one forward pass and one backward pass per target.

    Args:
        methods: name -> method.
        batches: name -> the method's batch; all of the same network, images and targets, each with the method's layers.
        batch_size: images per pass.
    """
    layers = {layer.name: layer for batch in batches.values() for layer in batch.layers}
    shared = SharedPasses(tuple(layers.values()))
    return {
        name: explain_batch(method, replace(batches[name], shared=shared), batch_size=batch_size)
        for name, method in methods.items()
    }
