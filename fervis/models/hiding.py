"""Values that replace hidden pixels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def blurred_twice(images: Tensor, side: int) -> Tensor:
    """Return [N,C,H,W] averaged twice over boxes of an odd side; at the border over the part of the box inside."""
    side -= 1 - side % 2
    for _ in range(2):
        images = F.avg_pool2d(images, side, 1, side // 2, count_include_pad=False)
    return images
