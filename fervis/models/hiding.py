"""Hide parts of images: values that replace hidden pixels, random patches, and the scores of what remains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from fervis.core.knobs import Choice
from fervis.models.imputation import linear_imputation
from fervis.models.masking import MASKS_PER_CHUNK, MaskedPasses


def blurred_twice(images: Tensor, side: int) -> Tensor:
    """Return [N,C,H,W] averaged twice over boxes of an odd side; at the border over the part of the box inside."""
    side -= 1 - side % 2
    for _ in range(2):
        images = F.avg_pool2d(images, side, 1, side // 2, count_include_pad=False)
    return images


Fill = Annotated[str, Choice("mean", "blur", "inpaint")]
"""What replaces hidden pixels: the image's own mean, its blurred self, or values imputed from the pixels around."""


def fills_of(images: Tensor, fill: str, blur: int) -> list[Tensor | None]:
    """Return what replaces hidden pixels of each image of [N,C,H,W], for ``hidden_scores``.

    Args:
        images: float.
        fill: ``mean``, each image's own mean of each channel, [C,1,1]; ``blur``, the blurred image, [C,H,W]; or
            ``inpaint``, None: it depends on what is hidden.
        blur: side of the box in pixels, odd, of ``blur``.
    """
    if fill == "inpaint":
        return [None] * len(images)
    return list(blurred_twice(images, blur) if fill == "blur" else images.mean((2, 3), keepdim=True))


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


def hidden_scores(
    passes: MaskedPasses, image: Tensor, masks: Tensor, order: Tensor, fill: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Score an image whole, without each region, and without random patches of each region's area.

    Args:
        passes: of the network.
        image: [C,H,W] float.
        masks: [R,H,W] bool, the regions.
        order: [D,H,W] as ``patch_order`` gives it, of D draws.
        fill: [C,H,W], or what broadcasts to it, which replaces hidden pixels; None imputes them from those around.

    Returns:
        Scores [K] of the whole image, [R,K] without each region, and [D,R,K] without each patch.
    """
    hidden = (part.to(image.device) for part in _hidden_parts(masks, order))
    if fill is None:
        values = passes.images(linear_imputation(image, part) for part in hidden)
    else:
        values = passes(image, (~part for part in hidden), fill)
    count = 1 + len(masks)
    return values[0], values[1:count], values[count:].unflatten(0, (len(order), len(masks)))


def _hidden_parts(masks: Tensor, order: Tensor) -> Iterator[Tensor]:
    """Masks [.,H,W] of what is hidden: nothing, each region, then of each draw a patch of each region's area."""
    patches = (order[:, None] < masks.flatten(1).sum(1)[:, None, None]).flatten(0, 1)
    yield from torch.cat([torch.zeros_like(masks[:1]), masks, patches]).split(MASKS_PER_CHUNK)
