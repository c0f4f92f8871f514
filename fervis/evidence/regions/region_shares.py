"""Region shares: how much of a map each region of the face holds, and what hiding the region does to the target.

The share of a map's magnitudes in a region is the relevance mass of Arras, Osman and Samek (2022, arXiv:2003.07258);
divided by the region's share of the image's area it is 1 for a map that does not know the region. Both describe maps.
Whether the network depends on the region is another question, which the same regions answer without the map: by how
much the target's probability falls when the region is hidden, beside patches of the same area elsewhere on the face.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from fervis.core.knobs import Choice, Whole
from fervis.core.targets import Targets
from fervis.datasets.landmarks.regions import FACE_REGIONS, FaceRegions, expression_units, face_regions
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch
from fervis.models.hiding import blurred_twice
from fervis.models.masking import MASKS_PER_CHUNK, masked_passes

_EFFECTS: tuple[str, ...] = ("drop", "random")  # of hiding a region, and patches of its area


@dataclass
class RegionShares:
    """Measure shares of maps in regions and the effect of hiding each region.

    Attributes:
        fill: what hides a region: ``mean``, the image's own mean of each channel, or ``blur``.
        blur: side in pixels, odd, of the box over which the image is averaged (twice); of ``blur``.
        patches: random patches on the face that each region is compared with; 0 hides nothing.
        codebook: which action units make an expression: ``emfacs``, ``facs`` or ``belharbi``.
    """

    fill: Annotated[str, Choice("mean", "blur")] = "mean"
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
        self._last: _Hidden | None = None

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return scores [N,T] of each region, named ``<region>/<score>``.

        ``share`` is the region's share of the map's magnitudes (NaN for a map of zeros), ``area`` that of the image and
        ``density`` share / area (NaN for a region that is not in the image). ``drop`` is how far the target's
        probability falls when the region is hidden, ``random`` how far it falls, in the mean, when a patch of the same
        area around a random pixel of the face is (NaN for regions larger than the face). ``action_units`` stands for
        the regions in which the action units of the target's expression show. ``probability`` is the target's for the
        whole image; ``template`` is 1 where the regions are the mean face's, because the image's own are not known.
        """
        regions = face_regions(batch.images, batch.truth)
        units = self._action_units(batch, regions)
        shares, areas = region_mass(maps.cpu(), regions.masks)
        density = (shares / areas).where(areas > 0, torch.nan)
        scores = _by_region({"share": shares, "area": areas, "density": density})
        unit_shares, unit_areas = (x.diagonal(dim1=1, dim2=2) for x in region_mass(maps.cpu(), units))
        unit_areas = unit_areas.where(units.flatten(2).any(2), torch.nan)
        scores |= {
            "action_units/share": unit_shares.where(unit_areas.isfinite(), torch.nan),
            "action_units/area": unit_areas,
            "action_units/density": unit_shares / unit_areas,
            "template": (~regions.known).float()[:, None].expand(-1, maps.shape[1]),
        }
        return scores | (self._hidden(batch, regions) if self.patches else {})

    def _action_units(self, batch: Batch, regions: FaceRegions) -> Tensor:
        """Masks [N,T,H,W] of each target's action units; empty for neutral and for targets that are no expression."""
        classes = batch.targets.classes
        if classes is None:
            return torch.zeros(len(batch), batch.targets.count, *batch.images.shape[2:], dtype=torch.bool)
        names = [batch.classes[index] if index < len(batch.classes) else "" for index in range(int(classes.max()) + 1)]
        of_class = torch.stack([regions.action_units(expression_units(name, self.codebook)) for name in names], 1)
        return of_class[torch.arange(len(batch))[:, None], classes.cpu()]

    def _hidden(self, batch: Batch, regions: FaceRegions) -> dict[str, Tensor]:
        """The scores that hide regions, computed once for the maps of the same images, targets and network."""
        if self._last is None or not self._last.is_of(batch):
            effects = hiding_effects(batch, regions, self._fill(batch.images), self.patches)
            self._last = _Hidden(batch.model, batch.images, batch.targets, batch.seed, effects)
        return self._last.effects

    def _fill(self, images: Tensor) -> Tensor:
        return blurred_twice(images, self.blur) if self.fill == "blur" else images.mean((2, 3), keepdim=True)


@dataclass(frozen=True)
class _Hidden:
    """The effects of hiding regions, and what they are of."""

    model: nn.Module
    images: Tensor
    targets: Targets
    seed: int
    effects: dict[str, Tensor]

    def is_of(self, batch: Batch) -> bool:
        """Whether a batch has the same network, images, targets and seed."""
        if self.model is not batch.model or self.seed != batch.seed or not torch.equal(self.images, batch.images):
            return False
        own, other = self.targets, batch.targets
        if own.classes is None or other.classes is None:
            return own.classes is other.classes and own == other
        return torch.equal(own.classes, other.classes)


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


def hiding_effects(batch: Batch, regions: FaceRegions, fill: Tensor, patches: int) -> dict[str, Tensor]:
    """Return ``probability``, ``<region>/drop`` and ``<region>/random`` [N,T] of each region.

    Args:
        batch: N images with T targets each.
        regions: of the images.
        fill: [N,C,H,W], or what broadcasts to it: what stands in for hidden pixels.
        patches: how many random patches each region is compared with.
    """
    draws = torch.rand(patches, generator=batch.generator("evidence/region_shares"))
    order, count = patch_order(regions.face, draws), len(FACE_REGIONS)
    areas, on_face = regions.masks.flatten(2).sum(2), regions.face.flatten(1).sum(1)
    drops = torch.zeros(len(batch), batch.targets.count, count, 2)
    whole = torch.zeros(len(batch), batch.targets.count)
    with masked_passes(batch.model, batch.images, batch.targets, output="probability") as scores:
        for number, image in enumerate(batch.images):
            hidden = _hidden_parts(regions.masks[number], order[number], areas[number])
            values = scores(image, (~part.to(image.device) for part in hidden), fill[number])
            values = values[:, scores.columns(number, values)]
            whole[number] = values[0]
            drops[number, :, :, 0] = (values[0] - values[1 : 1 + count]).T
            drops[number, :, :, 1] = (values[0] - values[1 + count :].unflatten(0, (patches, count)).mean(0)).T
    there = (areas > 0)[:, None].expand(drops.shape[:3])
    drops[..., 0] = drops[..., 0].where(there, torch.nan)
    drops[..., 1] = drops[..., 1].where(there & (areas <= on_face[:, None])[:, None], torch.nan)
    effects: dict[str, Tensor] = dict(zip(_EFFECTS, drops.unbind(-1), strict=True))
    return {"probability": whole, **_by_region(effects)}


def patch_order(face: Tensor, draws: Tensor) -> Tensor:
    """Return [N,D,H,W] int64: how many pixels of the face are nearer to a random one than each pixel is.

    The pixels below a number are then a patch of this area, as round as the face's outline allows.

    Args:
        face: [N,H,W] bool.
        draws: [D] in [0, 1): which of the face's pixels, in the order of the image, is the middle.
    """
    height, width = face.shape[1:]
    flat = face.flatten(1)
    counts = flat.sum(1)
    wanted = (draws[None] * counts[:, None]).long()
    middle = torch.searchsorted(flat.cumsum(1), wanted + 1).clamp(max=height * width - 1)
    y, x = torch.arange(height * width) // width, torch.arange(height * width) % width
    distances = (y - y[middle][..., None]).square() + (x - x[middle][..., None]).square()
    distances = distances.where(flat[:, None], 2 * (height**2 + width**2))  # beyond the face: farther than anything
    return distances.argsort(dim=-1, stable=True).argsort(-1).unflatten(-1, (height, width))


def _hidden_parts(masks: Tensor, order: Tensor, areas: Tensor) -> Iterator[Tensor]:
    """Masks [.,H,W] of what is hidden: nothing, each region, then of each draw a patch of each region's area."""
    patches = (order[:, None] < areas[:, None, None]).flatten(0, 1)
    yield from torch.cat([torch.zeros_like(masks[:1]), masks, patches]).split(MASKS_PER_CHUNK)


def _by_region(columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the regions' columns [N,T,R] as ``<region>/<column>`` [N,T]."""
    return {
        f"{name}/{part}": values[..., region]
        for region, name in enumerate(FACE_REGIONS)
        for part, values in columns.items()
    }
