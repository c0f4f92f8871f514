"""Random changes of a whole batch of faces at once, on its device, drawn from an explicit generator.

``Augmentation`` draws the amounts, on the CPU; the functions below it apply given amounts, one per image:
``resample`` and ``crop_window`` place the faces, ``tone`` changes contrast and brightness, ``erase`` paints over
rectangles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from fervis.core.knobs import Range, Whole
from fervis.errors import ConfigError

_Part = Range(0, 1, open_high=True)
ERASED_AREA = (0.02, 0.33)
ERASED_ASPECT = 3.0


@dataclass
class Augmentation:
    """Random changes of each face of a batch, by amounts drawn per face; the defaults change nothing.

    Flip, turn, scale, shift and crop are one mapping of coordinates and one bilinear interpolation; with only flip and
    crop, pixels are copied without interpolation. Contrast and brightness follow, then erasing.

    Every call draws the same numbers for any settings, so that one setting does not change the draws of the others:
    first 14 x N uniform numbers, amount by amount (turn, scale, flip, right, down, top and left of the crop, contrast,
    brightness, whether to erase, the erased area, its aspect, its top and left), then one integer, the seed of a
    generator on the images' device for the noise of the erased pixels. Amounts are the same on every device, the noise
    is not.

    Attributes:
        flip: mirror left and right with probability one half.
        rotation: largest turn, degrees, either way.
        scale: largest relative change of size, either way: 0.1 gives factors of 0.9 to 1.1.
        shift: largest shift as a part of the side, either way, along and across.
        crop: side in pixels of a square cut out at a random place, which becomes the output; 0 for the whole face.
        contrast: largest relative change of contrast, and of brightness, either way.
        erasing: probability that a rectangle is replaced by uniform noise (Zhong et al. 2017, arXiv:1708.04896): 2 to
            33 % of the output's area and up to three times as tall as wide or as wide as tall, in units of its sides,
            so that each rectangle drawn fits and none is drawn twice.
    """

    flip: bool = False
    rotation: Annotated[float, Range(0, 180)] = 0.0
    scale: Annotated[float, _Part] = 0.0
    shift: Annotated[float, _Part] = 0.0
    crop: Annotated[int, Whole(0)] = 0
    contrast: Annotated[float, _Part] = 0.0
    erasing: Annotated[float, Range(0, 1)] = 0.0

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Change a batch.

        Args:
            images: [N,C,H,W] uint8, on any device.
            generator: on the CPU.

        Returns:
            [N,C,H,W] float32 in [0, 1], or [N,C,crop,crop]; with everything off exactly ``images / 255``.

        Raises:
            ConfigError: the crop is larger than the faces.
        """
        count, _, *sides = images.shape
        if self.crop > min(sides):
            raise ConfigError(
                f"trainer.crop={self.crop}: expected at most {min(sides)}, the side of the faces in pixels."
            )
        uniform = torch.rand(14, count, generator=generator)
        turn, grow, side, right, down, top, left, contrast, brightness = uniform[:9]
        noise_seed = int(torch.randint(2**62, (1,), generator=generator))

        size = (self.crop, self.crop) if self.crop else (sides[0], sides[1])
        mirror = (side < 0.5) & self.flip
        top, left = ((u * (whole - part + 1)).long() for u, whole, part in zip((top, left), sides, size, strict=True))
        if self.rotation or self.scale or self.shift:
            pixels = resample(
                images.float().div_(255),
                angle=_either_way(turn, self.rotation),
                factor=1 + _either_way(grow, self.scale),
                mirror=mirror,
                right=_either_way(right, self.shift * sides[1]),
                down=_either_way(down, self.shift * sides[0]),
                top=top,
                left=left,
                size=size,
            )
        elif self.flip or self.crop:
            pixels = crop_window(images, mirror, top, left, size).float().div_(255)
        else:
            pixels = images.float().div_(255)
        if self.contrast:
            pixels = tone(pixels, 1 + _either_way(contrast, self.contrast), 1 + _either_way(brightness, self.contrast))
        if self.erasing:
            chosen, rectangles = _rectangles(uniform[9:], self.erasing, size)
            chosen, rectangles = chosen.to(images.device), rectangles.to(images.device)
            noise = torch.rand(
                (len(chosen), *pixels.shape[1:]),
                generator=Generator(images.device).manual_seed(noise_seed),
                device=images.device,
            )
            pixels[chosen] = erase(pixels[chosen], rectangles, noise)
        return pixels


def resample(
    images: Tensor,
    *,
    angle: Tensor,
    factor: Tensor,
    mirror: Tensor,
    right: Tensor,
    down: Tensor,
    top: Tensor,
    left: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """Mirror, turn and scale each image about its centre, move it, and cut a window out, in one bilinear interpolation.

    Args:
        images: [N,C,H,W] float32; beyond the border the edge pixel is repeated.
        angle: [N] degrees, counter-clockwise as the image is seen.
        factor: [N] how many times as large.
        mirror: [N] bool, left and right exchanged before the turn.
        right: [N] pixels of the output.
        down: [N] pixels of the output.
        top: [N] first row of the window.
        left: [N] first column of the window.
        size: height and width of the window.

    Returns:
        [N,C,*size] of the images' dtype.
    """
    height, width = images.shape[2:]
    radians = angle.double() * (math.pi / 180)
    cosine, sine = radians.cos() / factor, radians.sin() / factor
    sign = 1 - 2.0 * mirror.double()
    # Position of the window's first pixel relative to the image's centre before it was moved.
    x, y = left - right - (width - 1) / 2, top - down - (height - 1) / 2
    # grid_sample's coordinates: from -1 at the left edge of the first pixel to 1 at the right edge of the last.
    origin = [sign * (cosine * x - sine * y) * (2 / width), (sine * x + cosine * y) * (2 / height)]
    along = [sign * cosine * (2 / width), sine * (2 / height)]
    across = [sign * -sine * (2 / width), cosine * (2 / height)]
    mapping = torch.stack([*origin, *along, *across]).to(images).view(3, 2, -1, 1, 1)
    rows, columns = (torch.arange(n, dtype=images.dtype, device=images.device) for n in size)
    # The coordinates are stored in separate planes: on a CPU the sum takes a tenth of the time of pairs side by side.
    grid = (mapping[0] + mapping[2] * rows[:, None]) + mapping[1] * columns
    grid = grid.permute(1, 2, 3, 0)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def crop_window(images: Tensor, mirror: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Copy a window out of each image, mirrored where ``mirror`` is true, whose first pixel is at (top, left).

    Args:
        images: [N,C,H,W] of any dtype.
        mirror: [N] bool.
        top: [N] int64, 0 to H - height.
        left: [N] int64, 0 to W - width.
        size: height and width of the window.

    Returns:
        [N,C,*size] of the images' dtype.
    """
    count, channels, height, width = images.shape
    rows = top[:, None] + torch.arange(size[0])
    columns = left[:, None] + torch.arange(size[1])
    columns = torch.where(mirror[:, None], width - 1 - columns, columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    indices = (rows[:, :, None] * width + columns[:, None]).view(count, 1, -1).expand(-1, channels, -1)
    return images.reshape(count, channels, height * width).gather(2, indices).view(count, channels, *size)


def tone(images: Tensor, contrast: Tensor, brightness: Tensor) -> Tensor:
    """Compute ``brightness * (mean + contrast * (image - mean))``, clipped to [0, 1], with the mean of each image.

    Args:
        images: [N,C,H,W] float in [0, 1].
        contrast: [N] factor.
        brightness: [N] factor.

    Returns:
        [N,C,H,W] float in [0, 1].
    """
    gain, rest = torch.stack([brightness * contrast, brightness * (1 - contrast)]).to(images).view(2, -1, 1, 1, 1)
    return images.mul(gain).add_(rest * images.mean((1, 2, 3), keepdim=True)).clamp_(0, 1)


def erase(images: Tensor, rectangles: Tensor, fill: Tensor) -> Tensor:
    """Replace one rectangle of each image.

    Args:
        images: [N,C,H,W].
        rectangles: [N,4] int64 on the images' device: top, left, and the first row and column after it,
            bottom and right.
        fill: broadcasts to [N,C,H,W].

    Returns:
        [N,C,H,W], equal to ``fill`` inside the rectangles and to ``images`` elsewhere.
    """
    return torch.where(inside_mask(rectangles, images.shape[2], images.shape[3]), fill, images)


def inside_mask(rectangles: Tensor, height: int, width: int) -> Tensor:
    """Return an [N,1,H,W] bool mask of the pixels in the rectangles, [N,4] int64 as ``erase`` takes them."""
    top, left, bottom, right = rectangles[:, :, None].unbind(1)
    row, column = (torch.arange(n, device=rectangles.device) for n in (height, width))
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    return (rows[:, :, None] & columns[:, None])[:, None]


def _either_way(uniform: Tensor, most: float) -> Tensor:
    """Map numbers uniform in [0, 1) to numbers uniform from ``-most`` to ``most``."""
    return (2 * uniform - 1) * most


def _rectangles(uniform: Tensor, probability: float, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the indices of the images to erase [n] and their rectangles [n,4], from [5,N] uniform numbers."""
    chosen = (uniform[0] < probability).nonzero().flatten()
    area, aspect, top, left = uniform[1:, chosen]
    least, most = ERASED_AREA
    part, stretch = least + (most - least) * area, ERASED_ASPECT ** (2 * aspect - 1)
    height = ((part * stretch).sqrt() * size[0]).round().clamp(min=1)
    width = ((part / stretch).sqrt() * size[1]).round().clamp(min=1)
    top, left = (top * (size[0] - height + 1)).floor(), (left * (size[1] - width + 1)).floor()
    return chosen, torch.stack([top, left, top + height, left + width], 1).long()
