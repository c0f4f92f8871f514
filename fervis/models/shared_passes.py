"""Passes that several explainers share: each set of targets is computed once for all layers that are needed of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from fervis.core.layers import Layer
from fervis.core.targets import Targets
from fervis.errors import ConfigError
from fervis.models.hooks import TargetPass, target_passes

MEMORY_LIMIT = 2**30  # bytes of activations and gradients that one batch may keep


@dataclass
class SharedPasses:
    """Activations and gradients of one batch of images, stored for the next explainer that needs them.

    Reused values are those of the first computation to the bit. A batch whose values would take more than ``limit`` is
    computed again each time, target by target.

    Attributes:
        layers: what others will need too; computed with the layers that are needed first.
        limit: most bytes that may be stored, of all parts together.
        kept: targets -> their passes.
        parts: the shared passes of parts of the batch, by the position of their images.
    """

    layers: tuple[Layer, ...] = ()
    limit: int = MEMORY_LIMIT
    kept: dict[Any, list[TargetPass]] = field(default_factory=dict)
    parts: dict[tuple[int, int], SharedPasses] = field(default_factory=dict)

    def part(self, index: slice, count: int) -> SharedPasses:
        """Return the shared passes of some of the ``count`` images."""
        start, stop, _ = index.indices(count)
        if (start, stop) == (0, count):
            return self
        limit = self.limit * (stop - start) // count
        return self.parts.setdefault((start, stop), SharedPasses(self.layers, limit))

    def passes(
        self, model: nn.Module, images: Tensor, targets: Targets, layers: Sequence[Layer]
    ) -> Iterator[TargetPass]:
        """Yield the passes of ``target_passes``, computing them only where they are not stored."""
        key = _key_of_targets(targets)
        if not _holds(self.kept.get(key), layers):
            if _bytes_of(images, targets, {*layers, *self.layers}) > self.limit:
                yield from target_passes(model, images, targets, layers)
                return
            self.kept[key] = self._compute(model, images, targets, layers)
        for kept in self.kept[key]:
            yield replace(kept, activations=_of(layers, kept.activations), gradients=_of(layers, kept.gradients))

    def _compute(self, model: nn.Module, images: Tensor, targets: Targets, layers: Sequence[Layer]) -> list[TargetPass]:
        """Compute the needed layers and those that others will need; only the former where one of these is refused."""
        together = [*{layer.name: layer for layer in [*self.layers, *layers]}.values()]
        try:
            return list(target_passes(model, images, targets, together))
        except ConfigError:
            return list(target_passes(model, images, targets, layers))


def _key_of_targets(targets: Targets) -> Any:
    classes = None if targets.classes is None else tuple(map(tuple, targets.classes.tolist()))
    return classes, targets.layer, targets.filters


def _holds(passes: list[TargetPass] | None, layers: Sequence[Layer]) -> bool:
    return passes is not None and all(layer.name in passes[0].gradients for layer in layers)


def _bytes_of(images: Tensor, targets: Targets, layers: set[Layer]) -> int:
    """Return the bytes of the activations and of every target's gradients at these layers."""
    values = sum(layer.channels * layer.grid[0] * layer.grid[1] for layer in layers)
    return len(images) * values * images.element_size() * (1 + targets.count)


def _of(layers: Sequence[Layer], values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {layer.name: values[layer.name] for layer in layers}
