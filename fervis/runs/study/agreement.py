"""How far the methods of a study agree about the same images: a matrix of pairs, and intervals in the summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fervis.core.intervals import format_interval
from fervis.errors import RunError
from fervis.reporting.run_files import read_config
from fervis.runs.agreement import Agreement, agreement
from fervis.runs.study.drawing import Drawing, Drawn
from fervis.runs.study.run_maps import explainer_of, has_heat_maps, network_setting, read_run_maps
from fervis.visualizers.figures.figure_writer import FigureWriter
from fervis.visualizers.figures.study.agreement import draw_agreement

TOP_SHARE = 0.1  # of the pixels that count as a map's largest

MapsByEntry = dict[tuple[str, int, str], Tensor]


def draw_agreement_of(drawing: Drawing, answers: Sequence[Path], folder: Path) -> Drawn:
    """Measure and draw how far the methods of a study's parts agree.

    A method may have several parts, such as one for each seed; each must have parts for the same networks, images and
    targets. Of a map at several layers the first counts.

    Args:
        drawing: the figure.
        answers: run folders of the parts.
        folder: where the figure is written.

    Raises:
        RunError: fewer than two methods give heat maps, or two of them explain something else.
    """
    methods: dict[str, MapsByEntry] = {}
    for answer in answers:
        config = read_config(answer)[1]
        if has_heat_maps(config):
            methods.setdefault(explainer_of(config), {}).update(_maps_by_entry(answer))
    if len(methods) < 2:
        raise RunError(f"{drawing.title}: {len(methods)} of the methods give heat maps; expected two or more.")
    first, *others = methods
    for other in others:
        if methods[other].keys() != methods[first].keys():
            raise RunError(f"{drawing.title}: {other} explains other networks, images or targets than {first}.")
    keys = list(methods[first])
    maps = {name: torch.stack([of[key] for key in keys]) for name, of in methods.items()}
    images = torch.tensor([row for _, row, _ in keys])
    found = agreement(maps, share=TOP_SHARE, images=images, seed=drawing.seed)
    with FigureWriter(folder, drawing.dpi) as writer:
        sheet = draw_agreement(drawing.title, list(methods), found, drawing.dpi)
        figure = writer.save(sheet, "agreement", _agreement_caption(list(methods), len(keys), len(images.unique())))
    return Drawn([figure], _agreement_rows(found), _agreement_numbers(found))


def _maps_by_entry(answer: Path) -> MapsByEntry:
    """Return the maps of a run folder by network, image and target."""
    run = read_run_maps(answer)
    network, maps = network_setting(run.config), {}
    for row, target, of_entry in zip(run.rows.tolist(), run.targets, run.maps, strict=True):
        maps.setdefault((network, row, target), of_entry)
    return maps


def _agreement_rows(found: Agreement) -> list[dict[str, str]]:
    """Return the table: a row per pair of methods, those that agree most first."""
    order = sorted(found, key=lambda pair: -found[pair]["rank_correlation"].value)
    return [
        {"methods": " and ".join(pair)}
        | {name.replace("_", " "): format_interval(value, ".2f") for name, value in found[pair].items()}
        for pair in order
    ]


def _agreement_numbers(found: Agreement) -> dict[str, float]:
    numbers = {
        f"{name}/{one}/{other}{end}": value
        for (one, other), scores in found.items()
        for name, score in scores.items()
        for end, value in {"": score.value, "/low": score.low, "/high": score.high}.items()
    }
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _agreement_caption(methods: Sequence[str], maps: int, images: int) -> str:
    return (
        f"Agreement of {len(methods)} methods over {maps} maps each, of {images} images. Below the diagonal the mean "
        f"rank correlation of magnitudes, above it the share of the strongest {TOP_SHARE:.0%} of pixels that two "
        f"methods have in common, of which methods that know nothing of each other have {TOP_SHARE:.1f} in the mean."
    )
