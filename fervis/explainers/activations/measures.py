"""What a layer's outputs look like, in numbers: how black, sharp, sparse, alike they are, and how far the face shows.

Every measure takes maps [...,h,w] and is free of scale: twice the output gives the same number. Where a map has
nothing to measure (a constant has no detail, an output that is nowhere above zero has no places) the number is NaN,
and a mean over filters leaves it out.
"""

from __future__ import annotations

import torch
from scipy.fft import dctn
from torch import Tensor
from torch.nn import functional as F

from fervis.core.network import grey

FLAT_VARIANCE = 1e-6  # a map whose values spread less than this part of their size is taken for a constant


def share_nonpositive(maps: Tensor) -> Tensor:
    """[...] the part of each map [...,h,w] that is at or below zero, in [0, 1]."""
    return (maps <= 0).double().mean((-2, -1))


def sharpness(maps: Tensor) -> Tensor:
    """[...] mean frequency of each map [...,h,w] in cycles a face, weighted by power; NaN of a constant.

    Frequencies are those of the two-dimensional cosine transform (DCT-II, which continues a map by its mirror image,
    so that its edges add no detail): the wave with k half periods down and l across has sqrt(k² + l²) / 2 cycles a
    face. Since a layer's output covers the face whatever its size, the number compares layers; an output of 6 by 6
    cannot exceed 3.5, however it looks, one of 48 by 48 cannot exceed 33.2.
    """
    power = _power(maps)
    return (power * _frequencies(maps)).sum((-2, -1)) / power.sum((-2, -1))


def roughness(maps: Tensor) -> Tensor:
    """[...] ``sharpness`` as part of white noise's on the same grid: 0 of the smoothest map, about 1 of noise.

    It tells how much of the detail that its own size allows a layer uses. NaN of a constant.
    """
    frequencies = _frequencies(maps)
    return sharpness(maps) * (frequencies.numel() - 1) / frequencies.sum()


def _power(maps: Tensor) -> Tensor:
    """Power of each wave in each map, the constant one left out; NaN where the map is constant."""
    waves = dctn(_centred(maps.double()).cpu().numpy(), axes=(-2, -1), norm="ortho")
    power = torch.from_numpy(waves).to(maps.device).square()
    power[..., 0, 0] *= 0.0
    return power


def _frequencies(maps: Tensor) -> Tensor:
    """[h,w] cycles a face of each wave."""
    down, across = (torch.arange(n, dtype=torch.float64, device=maps.device) for n in maps.shape[-2:])
    return torch.hypot(down[:, None], across[None]) / 2


def _centred(values: Tensor) -> Tensor:
    """Each map less its mean over its last two dimensions; NaN all over where it is constant."""
    rest = values - values.mean((-2, -1), keepdim=True)
    size = values.abs().amax((-2, -1), keepdim=True)
    return rest.where(rest.abs().amax((-2, -1), keepdim=True) > FLAT_VARIANCE * size, torch.nan)


def sparsity(maps: Tensor) -> Tensor:
    """[...] how few places of each map [...,h,w] hold what is above zero: 0 all alike, 1 all in one place.

    The measure of Treves and Rolls (Network 2:371, 1991) as Vinje and Gallant scale it (Science 287:1273, 2000), of the
    rectified values r at n places: (1 - mean(r)² / mean(r²)) / (1 - 1/n). NaN where nothing is above zero.
    """
    values = maps.double().clamp_min(0)
    even = values.mean((-2, -1)).square() / values.square().mean((-2, -1))
    return (1 - even) / (1 - 1 / (maps.shape[-2] * maps.shape[-1]))


def correlations(one: Tensor, other: Tensor) -> Tensor:
    """[...,A,B] |Pearson's r| over the pixels of each of [...,A,h,w] with each of [...,B,h,w]; NaN of a constant."""
    a, b = (_centred(maps.double()).flatten(-2) for maps in (one, other))
    a, b = (maps / maps.norm(dim=-1, keepdim=True) for maps in (a, b))
    return (a @ b.transpose(-2, -1)).abs()


def pairwise_similarity(maps: Tensor) -> Tensor:
    """[...] how alike the filters' outputs [...,F,h,w] are: the mean of ``correlations`` over all pairs of filters.

    NaN where fewer than two of them vary.
    """
    itself = torch.eye(maps.shape[-3], dtype=torch.bool, device=maps.device)
    return correlations(maps, maps).masked_fill(itself, torch.nan).nanmean((-2, -1))


def face_visible(maps: Tensor, faces: Tensor) -> Tensor:
    """[N,F,K] how far each of K faces shows in the outputs of F filters, in [0, 1].

    A face shows by its brightness or by its edges: the larger of the output's ``correlations`` with the two
    (``looks``), each brought to the output's size. An output that has nothing to do with a face still correlates with
    it, since all faces look alike and small maps have few pixels: so the number of the output's own face is to be read
    beside that of other faces.

    Args:
        maps: [N,F,h,w] outputs.
        faces: [N or 1,K,C,H,W] float, the faces to look for, in [0, 1].
    """
    size = (int(maps.shape[-2]), int(maps.shape[-1]))
    seen = [
        correlations(maps, look.unflatten(0, faces.shape[:2]))
        for look in brightness_and_edges(faces.flatten(0, 1), size)
    ]
    return torch.maximum(*seen)


def brightness_and_edges(faces: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Brightness and edges of [N,C,H,W] faces, each [N,h,w] float64, brought to a size by averaging.

    Edges are the length of the brightness's gradient, by central differences.
    """
    light = (grey(faces) if faces.shape[1] == 3 else faces.mean(1, keepdim=True)).double()
    wide = F.pad(light, (1, 1, 1, 1), mode="replicate")
    across = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    down = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    small = [
        F.interpolate(look, size, mode="bilinear", antialias=True)[:, 0] for look in (light, torch.hypot(across, down))
    ]
    return small[0], small[1]
