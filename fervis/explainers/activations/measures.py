"""Measures of a layer's outputs: black part, sharpness, sparsity, similarity, and visibility of the face.

Every measure takes maps [...,h,w] and is invariant to scale: twice the output gives the same number. Where a map has
nothing to measure (a constant has no detail, an output that is nowhere above zero no active position) the number is
NaN, and a mean over filters leaves it out.
"""

from __future__ import annotations

import torch
from scipy.fft import dctn
from torch import Tensor
from torch.nn import functional as F

from fervis.core.network import grey

FLAT_VARIANCE = 1e-6  # a map counts as constant if its values deviate by less than this part of their magnitude


def share_nonpositive(maps: Tensor) -> Tensor:
    """Return [...] the part of each map [...,h,w] that is at or below zero, in [0, 1]."""
    return (maps <= 0).double().mean((-2, -1))


def sharpness(maps: Tensor) -> Tensor:
    """Return [...] mean frequencies of maps [...,h,w] in cycles per face, weighted by power; NaN for constant maps.

    Frequencies are those of the two-dimensional cosine transform (DCT-II, which continues a map by its mirror image,
    so that its edges add no detail): the wave with k half periods down and l across has sqrt(k² + l²) / 2 cycles per
    face. Since a layer's output covers the face whatever its size, the number compares layers. The finest wave of n by
    n positions has n - 1 half periods each way: an output of 6 by 6 cannot exceed 3.5, one of 48 by 48 not 33.2.
    """
    power = _power(maps)
    return (power * _frequencies(maps)).sum((-2, -1)) / power.sum((-2, -1))


def roughness(maps: Tensor) -> Tensor:
    """Return [...] ``sharpness`` relative to that of white noise on the same grid: 0 if smooth, about 1 for noise.

    It measures how much of the detail that its size allows a map has. NaN for constant maps.
    """
    frequencies = _frequencies(maps)
    return sharpness(maps) * (frequencies.numel() - 1) / frequencies.sum()


def _power(maps: Tensor) -> Tensor:
    """Return the power of each wave in each map, 0 for the constant wave; NaN where the map is constant."""
    waves = dctn(_centred(maps.double()).cpu().numpy(), axes=(-2, -1), norm="ortho")
    power = torch.from_numpy(waves).to(maps.device).square()
    power[..., 0, 0] *= 0.0
    return power


def _frequencies(maps: Tensor) -> Tensor:
    """Return [h,w] the cycles per face of each wave."""
    down, across = (torch.arange(n, dtype=torch.float64, device=maps.device) for n in maps.shape[-2:])
    return torch.hypot(down[:, None], across[None]) / 2


def _centred(values: Tensor) -> Tensor:
    """Return each map less its mean over its last two dimensions; all NaN where it is constant."""
    centred = values - values.mean((-2, -1), keepdim=True)
    size = values.abs().amax((-2, -1), keepdim=True)
    return centred.where(centred.abs().amax((-2, -1), keepdim=True) > FLAT_VARIANCE * size, torch.nan)


def sparsity(maps: Tensor) -> Tensor:
    """Return [...] the sparsity of maps [...,h,w]: 0 if all positive parts are equal, 1 if one position has it all.

    The measure of Treves and Rolls (Network 2:371, 1991) as Vinje and Gallant scale it (Science 287:1273, 2000), of the
    rectified values r at n positions: (1 - mean(r)² / mean(r²)) / (1 - 1/n). NaN where nothing is above zero.
    """
    values = maps.double().clamp_min(0)
    even = values.mean((-2, -1)).square() / values.square().mean((-2, -1))
    return (1 - even) / (1 - 1 / (maps.shape[-2] * maps.shape[-1]))


def correlations(first: Tensor, second: Tensor) -> Tensor:
    """Return [...,A,B] |Pearson's r| over pixels of [...,A,h,w] maps with [...,B,h,w] maps; NaN for constant maps."""
    a, b = (_centred(maps.double()).flatten(-2) for maps in (first, second))
    a, b = (maps / maps.norm(dim=-1, keepdim=True) for maps in (a, b))
    return (a @ b.transpose(-2, -1)).abs()


def pairwise_similarity(maps: Tensor) -> Tensor:
    """Return [...] the mean |Pearson's r| over all pairs of filters' outputs [...,F,h,w].

    NaN where fewer than two of them vary.
    """
    diagonal = torch.eye(maps.shape[-3], dtype=torch.bool, device=maps.device)
    return correlations(maps, maps).masked_fill(diagonal, torch.nan).nanmean((-2, -1))


def face_visible(maps: Tensor, faces: Tensor) -> Tensor:
    """Return [N,F,K] how visible each of K faces is in the outputs of F filters, in [0, 1].

    A face is visible by its brightness or by its edges: the larger of the output's |Pearson's r| with the two, each
    resized to the output. An output unrelated to a face still correlates with it, since all faces look
    alike and small maps have few pixels: compare the number of the output's own face with that of other faces.

    Args:
        maps: [N,F,h,w] outputs.
        faces: [N or 1,K,C,H,W] float, the faces to search for, in [0, 1].
    """
    size = (int(maps.shape[-2]), int(maps.shape[-1]))
    visible = [
        correlations(maps, image.unflatten(0, faces.shape[:2]))
        for image in brightness_and_edges(faces.flatten(0, 1), size)
    ]
    return torch.maximum(*visible)


def brightness_and_edges(faces: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return brightness and edges of [N,C,H,W] faces, each [N,h,w] float64, resized with antialiasing.

    Edges are the magnitude of the brightness's gradient, by central differences.
    """
    light = (grey(faces) if faces.shape[1] == 3 else faces.mean(1, keepdim=True)).double()
    padded = F.pad(light, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    brightness, edges = (
        F.interpolate(image, size, mode="bilinear", antialias=True)[:, 0]
        for image in (light, torch.hypot(across, down))
    )
    return brightness, edges
