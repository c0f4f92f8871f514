"""Twins among images, for a paper's text width: the closest pairs aligned, and all images compared with chance.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.results import Figure
from fervis.errors import ConfigError
from fervis.metrics.representation.image_symmetry import SIGNIFICANCE, SymmetricPairs, apply_symmetry
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.color import to_rgb
from fervis.visualizers.figures.style import BLUE, FAINT_COLOR, RED, TEXT_WIDTH, plain_style

PAIRS_MARGIN = 0.05
PAIRS_SHOWN = 8
TILE, GAP = 0.64, 0.05
TRIPLE_WIDTH = 3 * TILE + 2 * GAP
PAIRS_STEP = TILE + 0.36  # from a row of pairs to the next
PAIRS_TOP = 0.56
PAIRS_PANEL = 1.72  # width of the strip
FOUND, ALONE, CHANCE = BLUE, RED, "#D5D5D5"


def draw_symmetric_pairs(
    images: Tensor, names: Sequence[str], twins: SymmetricPairs, path: Path, *, title: str = "Twins", dpi: int = 300
) -> Figure:
    """Draw the closest pairs and every image's best correlation into a PNG 6.5 inches wide.

    Of each of up to 8 pairs of images, closest first: the two, and the second one aligned with the first. At their
    right each image's best correlation over the range that chance gives it (5th to 95th percentile of
    phase-randomised images, the level of ``SymmetricPairs.baseline``).

    Args:
        images: [N,C,H,W] float in [0, 1], C 1 or 3, as given to ``twins``; drawn with the same contrast for each: from
            its least to its largest value.
        names: N names, such as ``conv7/4``.
        twins: the comparison of the images.
        path: the PNG to write.
        title: which images of which network.
        dpi: dots per inch.

    Raises:
        ConfigError: the numbers of images, names and twins differ.
    """
    count = len(twins.best)
    if not len(images) == len(names) == count:
        raise ConfigError(f"twins: {len(images)} images and {len(names)} names for {count} compared images.")
    with plain_style():
        canvas.save_figure(symmetric_pairs_figure(images, names, twins, title=title, dpi=dpi), path, dpi)
    summary = twins.sentence(names).partition(" The closest")[0]
    closest = "; ".join(
        f"{names[one]} and {names[other]}, {value:.2f} ({twins.move(one, other)})"
        for one, other, value in closest_pairs(twins)
    )
    caption = f"{title}. {summary} The closest pairs and how the second is aligned: {closest}."
    return Figure(path, caption)


def closest_pairs(twins: SymmetricPairs, most: int = PAIRS_SHOWN) -> list[tuple[int, int, float]]:
    """Return the pairs of the highest correlation, the smaller number first in each."""
    count = len(twins.best)
    ones, others = torch.triu_indices(count, count, 1)
    values, order = twins.correlation[ones, others].sort(descending=True, stable=True)
    picked = order[:most].tolist()
    return [(int(ones[pair]), int(others[pair]), float(value)) for pair, value in zip(picked, values, strict=False)]


def symmetric_pairs_figure(
    images: Tensor, names: Sequence[str], twins: SymmetricPairs, *, title: str, dpi: int
) -> Sheet:
    """Draw the sheet that ``draw_symmetric_pairs`` saves."""
    pairs = closest_pairs(twins)
    lines = max(2, -(-len(pairs) // 2))
    height = PAIRS_TOP + lines * PAIRS_STEP + 0.1
    sheet = canvas.new_figure(TEXT_WIDTH, height, dpi)
    numbers, room = twins.numbers(), TEXT_WIDTH - 2 * PAIRS_MARGIN
    canvas.add_heading(sheet, title, margin=PAIRS_MARGIN)
    summary = (
        f"{numbers['twins']:.0f} of {len(names)} have a twin beyond chance, {numbers['twins/as_is']:.0f} as it is and "
        f"{numbers['twins/flipped_or_turned']:.0f} flipped or turned (each at its best shift); by chance "
        f"{(1 - SIGNIFICANCE) * len(names):.1f} would"
    )
    canvas.add_text(sheet, PAIRS_MARGIN, 0.185, summary, room=room, size=7.5)
    note = "The closest pairs: an image, its twin, the twin aligned. Contrast is each image's own."
    canvas.add_text(sheet, PAIRS_MARGIN, 0.33, note, room=room, size=6, color=FAINT_COLOR)
    for index, (one, other, value) in enumerate(pairs):
        line, column = divmod(index, 2)
        left, top = PAIRS_MARGIN + column * (TRIPLE_WIDTH + 0.16), PAIRS_TOP + line * PAIRS_STEP
        above = "" if value > float(twins.baseline[[one, other]].min()) else " (chance)"
        pair = f"{names[one]} and {names[other]}: {value:.2f}{above}"
        canvas.add_text(sheet, left, top - 0.02, pair, room=TRIPLE_WIDTH, size=6.5)
        canvas.add_text(sheet, left, top + 0.09, twins.move(one, other), room=TRIPLE_WIDTH, size=6, color=FAINT_COLOR)
        aligned = apply_symmetry(images[other], int(twins.symmetry[one, other]), twins.shift[one, other])
        for tile, image in enumerate((images[one], images[other], aligned)):
            canvas.add_image(sheet, left + tile * (TILE + GAP), top + 0.21, TILE, _pair_pixels(image))
    _null_strip(sheet, twins, TEXT_WIDTH - PAIRS_MARGIN - PAIRS_PANEL, PAIRS_TOP + 0.1, height - 0.72)
    return sheet


def _null_strip(sheet: Sheet, twins: SymmetricPairs, left: float, top: float, bottom: float) -> None:
    """Draw every image's best correlation, the highest first, over what chance gives it."""
    axes = add_axes(sheet, left, top, PAIRS_PANEL, bottom - top)
    best, order = twins.best.sort(descending=True, stable=True)
    positions = np.arange(len(order))
    low = twins.null.quantile(1 - SIGNIFICANCE, dim=0)[order].numpy()
    high, as_is, found = (values[order].numpy() for values in (twins.baseline, twins.how == 0, twins.found))
    thick = max(0.5, min(4.0, 0.7 * 72 * PAIRS_PANEL / len(positions)))
    axes.vlines(positions, low, high, color=CHANCE, linewidth=thick)
    dot = max(4.0, min(14.0, 500 / len(positions)))
    kinds = (
        ("twin flipped or turned", found & ~as_is, "o", FOUND, FOUND),
        ("twin as it is", found & as_is, "s", ALONE, ALONE),
        ("no twin", ~found, "o", "white", FAINT_COLOR),
    )
    for line, (name, members, marker, face, edge) in enumerate(kinds):
        style: dict[str, Any] = {"facecolor": face, "edgecolor": edge, "linewidth": 0.6, "zorder": 3, "clip_on": False}
        axes.scatter(positions[members], best.numpy()[members], s=dot, marker=marker, **style)
        key: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": edge, "markeredgewidth": 0.6}
        _pairs_key(
            sheet, left, bottom + 0.22 + 0.12 * line, f"{name}: {members.sum()}", marker=marker, markersize=3.5, **key
        )
    level = f"by chance, {100 * (1 - SIGNIFICANCE):.0f}th to {100 * SIGNIFICANCE:.0f}th percentile"
    _pairs_key(sheet, left, bottom + 0.58, level, color=CHANCE, linewidth=4, solid_capstyle="butt")
    axes.set_xlim(-0.7, len(positions) - 0.3)
    axes.set_ylim(min(0.0, float(low.min())), 1)
    axes.set_xticks([])
    canvas.add_text(sheet, left - 0.24, top - 0.17, "best correlation with another", room=PAIRS_PANEL + 0.24, size=7)
    label = f"{len(positions)} images, the closest first"
    canvas.add_text(sheet, left + PAIRS_PANEL / 2, bottom + 0.03, label, room=PAIRS_PANEL, size=6.5, ha="center")


def _pairs_key(sheet: Sheet, left: float, top: float, text: str, **style: Any) -> None:
    """Draw a line of the legend: a marker or a bar and its meaning."""
    width, height = sheet.get_size_inches()
    y = 1 - (top + 0.05) / height
    ends = [left + 0.05] if "marker" in style else [left, left + 0.1]
    sheet.add_artist(Line2D([x / width for x in ends], [y] * len(ends), **style))
    canvas.add_text(sheet, left + 0.15, top + 0.05, text, room=PAIRS_PANEL - 0.15, size=6, va="center")


def _pair_pixels(image: Tensor) -> NDArray[np.uint8]:
    image = image.detach().cpu().double()
    span = float(image.max() - image.min())
    stretched = (image - image.min()) / span if span else torch.full_like(image, 0.5)
    return to_rgb((255 * stretched).round().to(torch.uint8))
