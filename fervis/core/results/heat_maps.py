"""Heat maps: what explainers of images return, at each layer's own grid and as entries at the images' size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.layers import INPUT, resize_maps
from fervis.core.results.result import as_array, join_items


@dataclass(frozen=True)
class HeatMaps:
    """One map per entry: the relevance of each pixel, in the method's own unit.

    Attributes:
        maps: [N,H,W] float32 at the images' size, un-normalised.
        unit: what a value is, in words for a colour bar, such as ``|∂ logit / ∂ pixel|``.
        signed: whether negative values mean the opposite of positive ones (or the maps are magnitudes).
        pixel_maps: [N,H,W] float32, the same method at the pixels where ``maps`` are of an inner layer, or None.
        pixel_unit: as ``unit``, of ``pixel_maps``.
        layer_unit: ``unit`` in words that hold for every layer, where it names one; for maps of several layers.
        scores: name -> [N] float32, numbers that the method reports of each map, such as its stability.
    """

    maps: Tensor
    unit: str
    signed: bool = False
    pixel_maps: Tensor | None = None
    pixel_unit: str = ""
    layer_unit: str = ""
    scores: dict[str, Tensor] | None = None
    kind: ClassVar[str] = "heatmaps"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``maps`` and, where there are any, ``pixel_maps`` and the scores."""
        arrays = {"maps": as_array(self.maps.float())}
        if self.pixel_maps is not None:
            arrays["pixel_maps"] = as_array(self.pixel_maps.float())
        return arrays | {name: as_array(values.float()) for name, values in (self.scores or {}).items()}

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return the scores of one entry."""
        return {name: round(float(values[entry]), 6) for name, values in (self.scores or {}).items()}

    @classmethod
    def join(cls, results: Sequence[HeatMaps]) -> HeatMaps:
        """Join maps of several layers or checkpoints.

        The unit is one that holds for all; maps of the pixels are present where any of the maps is of an inner layer.
        """
        first = results[0]
        inner = any(result.pixel_maps is not None for result in results)
        pixels = [result.maps if result.pixel_maps is None else result.pixel_maps for result in results]
        same = len({result.unit for result in results}) == 1
        return replace(
            first,
            maps=torch.cat([result.maps for result in results]),
            unit=first.unit if same else first.layer_unit or first.unit,
            pixel_maps=torch.cat(pixels) if inner else None,
            pixel_unit=next((result.pixel_unit for result in results if result.pixel_unit), ""),
            scores=join_items([result.scores for result in results]),
        )


@dataclass(frozen=True)
class LayerMaps:
    """The maps of N images and T targets at each layer's own grid: what an explainer of images returns.

    The caller resizes them to the images and lists them entry by entry (``heat_maps``).

    Attributes:
        maps: name of a layer -> [N,T,h,w] float32. ``input`` may be added where the run does not name it; its maps are
            drawn next to the others.
        unit: what a value is, in words for a colour bar; ``{layer}`` stands for the layer's name, or ``pixel``.
        signed: whether negative values mean the opposite of positive ones (or the maps are magnitudes).
        scores: name -> [N,T] or [L,N,T] float32, numbers that the method reports of each map, for all L layers or each.
    """

    maps: dict[str, Tensor]
    unit: str
    signed: bool = False
    scores: dict[str, Tensor] | None = None

    @classmethod
    def join(cls, parts: Sequence[LayerMaps]) -> LayerMaps:
        """Join the maps of several batches of images."""
        first = parts[0]
        scores = {
            name: torch.cat([(part.scores or {})[name] for part in parts], dim=values.ndim - 2)
            for name, values in (first.scores or {}).items()
        }
        maps = {name: torch.cat([part.maps[name] for part in parts]) for name in first.maps}
        return replace(first, maps=maps, scores=scores or None)

    def heat_maps(self, layers: Sequence[str], size: tuple[int, int]) -> HeatMaps:
        """List the maps as L*N*T entries, layer by layer, image by image, at the images' size (height, width).

        Args:
            layers: names of the run's L layers.
            size: height and width of the images.
        """
        entries = {name: resize_maps(maps.detach().flatten(0, 1).float(), size) for name, maps in self.maps.items()}
        parts = [self._heat_maps(name, entries) for name in layers]
        joined = HeatMaps.join(parts) if len(parts) > 1 else parts[0]
        count = len(layers)
        scores = {
            name: (values if values.ndim == 3 else values.expand(count, *values.shape)).flatten().float()
            for name, values in (self.scores or {}).items()
        }
        return replace(joined, scores=scores or None)

    def _heat_maps(self, layer: str, entries: dict[str, Tensor]) -> HeatMaps:
        at_pixels = self.unit.format(layer="pixel")
        if layer == INPUT:
            return HeatMaps(entries[INPUT], at_pixels, self.signed, layer_unit=self.unit.format(layer="layer"))
        return HeatMaps(
            entries[layer],
            self.unit.format(layer=layer),
            self.signed,
            pixel_maps=entries.get(INPUT),
            pixel_unit=at_pixels if INPUT in entries else "",
            layer_unit=self.unit.format(layer="layer"),
        )
