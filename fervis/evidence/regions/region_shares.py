"""Region shares: the share of a map in each region of the face, and the effect of hiding the region on the target.

The share of a map's magnitudes in a region is the relevance mass of Arras, Osman and Samek (2022, arXiv:2003.07258);
divided by the region's share of the image's area it is 1 for a map without preference for the region. Both describe
maps. Whether the network depends on the region is a separate question, answered without the map: how far the target's
probability falls when the region is hidden, compared with patches of the same area elsewhere on the face.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Choice, Whole
from fervis.datasets.landmarks.regions import FACE_REGIONS, OUTSIDE_FACE, FaceRegions, face_regions
from fervis.evidence.protocol import ExplainAgain
from fervis.evidence.regions.action_units import action_unit_scores
from fervis.models.batch import Batch
from fervis.models.hiding import Fill, fills_of, hidden_scores, patch_order
from fervis.models.masking import masked_passes
from fervis.system.tensor_hash import tensors_hash

_EFFECTS: tuple[str, ...] = ("drop", "random")  # of hiding a region, and patches of its area
_NOT_ON_FACE = {f"{name}/random" for name in OUTSIDE_FACE}  # pixels there are not like a patch of the face


@dataclass
class RegionShares:
    """Measure shares of maps in regions and the effect of hiding each region.

    Attributes:
        fill: what hides a region: ``mean``, the image's own mean of each channel, ``blur``, or ``inpaint``, the pixels
            around it (see ``linear_imputation``).
        blur: side in pixels, odd, of the box over which the image is averaged (twice); of ``blur``.
        patches: random patches on the face that each region is compared with; 0 hides nothing.
        codebook: which action units make an expression: ``emfacs``, ``facs`` or ``belharbi``.
    """

    fill: Fill = "mean"
    blur: Annotated[int, Whole(1, 101)] = 11
    patches: Annotated[int, Whole(0, 1000)] = 4
    codebook: Annotated[str, Choice("emfacs", "facs", "belharbi")] = "emfacs"
    better: ClassVar = "neither"
    needs: ClassVar = frozenset()
    same_for_every_map: ClassVar = frozenset(
        {"probability", "template", "action_units/area"}
        | {f"{name}/{part}" for name in FACE_REGIONS for part in ("area", *_EFFECTS)}
    )

    def __post_init__(self) -> None:
        self._last: tuple[str, dict[str, Tensor]] = ("", {})
        self._painted: tuple[str, FaceRegions] | None = None

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return scores [N,T] of the face and of each region, named ``<region>/<score>``.

        The score itself is the share of the map on the face, which is all but hair and background. ``share`` is the
        region's share of the map's magnitudes (NaN for a map of zeros), ``area`` that of the image and ``density``
        share / area (NaN for a region that is not in the image). ``drop`` is how far the target's probability falls
        when the region is hidden, ``random`` how far it falls, in the mean, when a patch of the same area around a
        random pixel of the face is. ``action_units`` are the regions of the target's expression (see
        ``action_unit_scores``). ``probability`` is the target's for the whole image; ``template`` is 1 where the
        regions are the mean face's, because the image's own are not known.
        """
        regions, magnitudes = self._regions_of(batch), maps.cpu().abs()
        shares, areas = region_mass(magnitudes, regions.masks)
        density = (shares / areas).where(areas > 0, torch.nan)
        scores = _by_region({"share": shares, "area": areas, "density": density}, regions.names)
        outside = shares[..., [FACE_REGIONS.index(name) for name in OUTSIDE_FACE]].sum(2)
        of_units = action_unit_scores(batch, regions, magnitudes, self.codebook)
        scores |= {f"action_units/{part}": values for part, values in of_units.items()}
        scores |= {"": 1 - outside, "template": (~regions.known).double()[:, None].expand_as(outside)}
        return scores | (self._hidden(batch, regions) if self.patches else {})

    def _regions_of(self, batch: Batch) -> FaceRegions:
        """The regions of a batch, painted once for its maps and those of the baselines."""
        parts = {"images": batch.images}
        if batch.truth is not None and batch.truth.regions is not None:
            parts["regions"] = batch.truth.regions
        key = tensors_hash(parts, [batch.truth.region_names if batch.truth else ()])
        if self._painted is None or self._painted[0] != key:
            self._painted = key, face_regions(batch.images, batch.truth)
        return self._painted[1]

    def _hidden(self, batch: Batch, regions: FaceRegions) -> dict[str, Tensor]:
        """The scores that hide regions, computed once for all maps of the same images, targets and weights."""
        parts = {"images": batch.images, "masks": regions.masks, **batch.model.state_dict()}
        if batch.targets.classes is not None:
            parts["classes"] = batch.targets.classes
        key = tensors_hash(parts, [batch.seed, batch.targets.layer, batch.targets.filters, str(batch.model)])
        if self._last[0] != key:
            fill = fills_of(batch.images, self.fill, self.blur)
            self._last = key, hiding_effects(batch, regions, fill, self.patches)
        return self._last[1]


def region_mass(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share of each map's magnitudes in each region [N,T,R], and each region's share of the area [N,T,R].

    Args:
        maps: [N,T,H,W]; a map of zeros has no shares (NaN).
        masks: [N,R,H,W] bool.
    """
    magnitudes, areas = maps.double().abs(), masks.flatten(2).double()
    inside = torch.einsum("ntp,nrp->ntr", magnitudes.flatten(2), areas)
    shares = inside / magnitudes.sum((2, 3))[..., None]
    return shares, areas.mean(2)[:, None].expand_as(shares)


def hiding_effects(
    batch: Batch, regions: FaceRegions, fill: Sequence[Tensor | None], patches: int
) -> dict[str, Tensor]:
    """Return ``probability``, ``<region>/drop`` and ``<region>/random`` [N,T] of each region.

    Args:
        batch: N images with T targets each.
        regions: of the images.
        fill: for each image what replaces hidden pixels, as ``fills_of`` gives it.
        patches: how many random patches each region is compared with.
    """
    draws = torch.rand(patches, generator=batch.generator("evidence/region_shares"))
    order, count = patch_order(regions.face, draws), len(FACE_REGIONS)
    areas = regions.masks.flatten(2).sum(2)
    drops = torch.zeros(len(batch), batch.targets.count, count, 2)
    whole = torch.zeros(len(batch), batch.targets.count)
    with masked_passes(batch.model, batch.images, batch.targets, output="probability") as scores:
        for number, image in enumerate(batch.images):
            found = hidden_scores(scores, image, regions.masks[number], order[number], fill[number])
            columns = scores.columns(number, found[1])
            before, without, patched = (values[..., columns] for values in found)
            whole[number] = before
            drops[number, :, :, 0] = (before - without).T
            drops[number, :, :, 1] = (before - patched.mean(0)).T
    drops = drops.where((areas > 0)[:, None, :, None], torch.nan)
    effects: dict[str, Tensor] = dict(zip(_EFFECTS, drops.unbind(-1), strict=True))
    named = _by_region(effects, regions.names)
    return {"probability": whole} | {name: values for name, values in named.items() if name not in _NOT_ON_FACE}


def _by_region(columns: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """Name columns [N,T,R] of ``FACE_REGIONS`` as ``<region>/<column>`` [N,T], for the regions of these names."""
    return {
        f"{name}/{part}": values[..., FACE_REGIONS.index(name)] for name in names for part, values in columns.items()
    }
