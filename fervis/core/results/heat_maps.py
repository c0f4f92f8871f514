"""Heat maps: what explainers of images return, at each layer's own grid and as entries at the images' size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.layers import INPUT, resize_maps
from fervis.core.results.result import ShortRepr, as_array, join_items


@dataclass(frozen=True, repr=False)
class HeatMaps(ShortRepr):
    """One map per entry: the relevance of each pixel, in the method's own unit.

    Attributes:
        maps: [N,H,W] float32 at the images' size, un-normalised.
        unit: what a value is, in words for a colour bar, such as ``|∂ logit / ∂ pixel|``.
        signed: whether negative values mean the opposite of positive ones (or the maps are magnitudes).
        pixel_maps: [N,H,W] float32, the same method at the pixels where ``maps`` are of an inner layer, or None.
        pixel_unit: as ``unit``, of ``pixel_maps``.
        layer_unit: ``unit`` in words that hold for every layer, where it names one; for maps of several layers.
        scores: name -> [N] float32, numbers that the method reports of each map, such as its stability.
        errors: [N,H,W] float32, the standard error of each value of ``maps``, in its unit, or None.
        extras: name -> [N,...] float32, further arrays that the method returns of each map, such as interactions.
    """

    maps: Tensor
    unit: str
    signed: bool = False
    pixel_maps: Tensor | None = None
    pixel_unit: str = ""
    layer_unit: str = ""
    scores: dict[str, Tensor] | None = None
    errors: Tensor | None = None
    extras: dict[str, Tensor] | None = None
    kind: ClassVar[str] = "heatmaps"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``maps`` and, where there are any, ``pixel_maps``, ``errors``, the scores and the extras."""
        fields = {"maps": self.maps, "pixel_maps": self.pixel_maps, "errors": self.errors}
        arrays = {name: values for name, values in fields.items() if values is not None}
        arrays |= (self.scores or {}) | (self.extras or {})
        return {name: as_array(values.float()) for name, values in arrays.items()}

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
            errors=join_items([result.errors for result in results]),
            extras=join_items([result.extras for result in results]),
        )


@dataclass(frozen=True, repr=False)
class LayerMaps(ShortRepr):
    """The maps of N images and T targets at each layer's own grid: what an explainer of images returns.

    The caller resizes them to the images and lists them entry by entry (``heat_maps``).

    Attributes:
        maps: name of a layer -> [N,T,h,w] float32. ``input`` may be added where the run does not name it; its maps are
            drawn next to the others.
        unit: what a value is, in words for a colour bar; ``{layer}`` is replaced by the layer's name, or ``pixel``.
        signed: whether negative values mean the opposite of positive ones (or the maps are magnitudes).
        scores: name -> [N,T] or [L,N,T] float32, numbers that the method reports of each map, for all L layers or each.
        errors: name of a layer -> [N,T,h,w] float32, standard errors of ``maps``, for all of the run's layers; or None.
        extras: name -> [N,T,...] float32, further arrays of each image and target, the same for all layers.
    """

    maps: dict[str, Tensor]
    unit: str
    signed: bool = False
    scores: dict[str, Tensor] | None = None
    errors: dict[str, Tensor] | None = None
    extras: dict[str, Tensor] | None = None

    @classmethod
    def join(cls, parts: Sequence[LayerMaps]) -> LayerMaps:
        """Join the maps of several batches of images."""
        first = parts[0]
        scores = {
            name: torch.cat([(part.scores or {})[name] for part in parts], dim=values.ndim - 2)
            for name, values in (first.scores or {}).items()
        }
        errors, extras = (join_items([getattr(part, name) for part in parts]) for name in ("errors", "extras"))
        return replace(
            first, maps=join_items([part.maps for part in parts]), scores=scores or None, errors=errors, extras=extras
        )

    def heat_maps(self, layers: Sequence[str], size: tuple[int, int]) -> HeatMaps:
        """List the maps as L*N*T entries, layer by layer, image by image, at the images' size (height, width).

        Args:
            layers: names of the run's L layers.
            size: height and width of the images.
        """
        entries, errors = _entries(self.maps, size), _entries(self.errors or {}, size)
        parts = [self._heat_maps(name, entries) for name in layers]
        joined = HeatMaps.join(parts) if len(parts) > 1 else parts[0]
        count = len(layers)
        scores = {
            name: (values if values.ndim == 3 else values.expand(count, *values.shape)).flatten().float()
            for name, values in (self.scores or {}).items()
        }
        extras = {
            name: values.detach().flatten(0, 1).float().repeat(count, *(1,) * (values.ndim - 2))
            for name, values in (self.extras or {}).items()
        }
        stacked = torch.cat([errors[name] for name in layers]) if errors else None
        return replace(joined, scores=scores or None, errors=stacked, extras=extras or None)

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


def _entries(maps: Mapping[str, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
    """Return the maps [N,T,h,w] of each layer as entries [N*T,H,W] at the images' size."""
    return {name: resize_maps(values.detach().flatten(0, 1).float(), size) for name, values in maps.items()}
