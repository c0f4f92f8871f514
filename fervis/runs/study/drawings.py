"""The drawings of a study: figures, rows and numbers over the run folders of its parts.

A preset lists them among its ``parts``, as ``{title: ..., draw: <kind>, dpi: ...}``. A kind is a function of a module
of this package, named in ``DRAWING_KINDS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fervis.errors import ConfigError, nearest_name
from fervis.runs.study.agreement import draw_agreement_of
from fervis.runs.study.claims.draw import draw_verdicts_of
from fervis.runs.study.drawing import Drawing, Drawn
from fervis.runs.study.gallery import draw_gallery_of
from fervis.runs.study.leaderboard import draw_leaderboard_of
from fervis.runs.study.mean_maps import draw_mean_maps_of

DRAWING_KINDS: Mapping[str, Callable[[Drawing, Sequence[Path], Path], Drawn]] = {
    "agreement": draw_agreement_of,
    "gallery": draw_gallery_of,
    "leaderboard": draw_leaderboard_of,
    "mean_maps": draw_mean_maps_of,
    "verdicts": draw_verdicts_of,
}
_KEYS = ("title", "draw", "dpi")


def study_drawings(settings: Sequence[Mapping[str, Any]], seed: int) -> list[Drawing]:
    """Parse those entries of a study's ``parts`` that draw over the others.

    Args:
        settings: the entries.
        seed: of the study.

    Raises:
        ConfigError: an entry lacks a key or has one too many, or names an unknown drawing.
    """
    drawings = []
    for stated in settings:
        if set(stated) != set(_KEYS):
            raise ConfigError(f"parts: {dict(stated)}: expected {', '.join(_KEYS)}.")
        if stated["draw"] not in DRAWING_KINDS:
            known = f"expected one of {', '.join(DRAWING_KINDS)}"
            raise ConfigError(
                f"parts: draw: {stated['draw']}: {known}.{nearest_name(str(stated['draw']), DRAWING_KINDS)}"
            )
        drawings.append(Drawing(str(stated["title"]), int(stated["dpi"]), str(stated["draw"]), seed))
    return drawings


def draw_over_parts(drawing: Drawing, answers: Sequence[Path], folder: Path) -> Drawn:
    """Draw over the run folders of a study's parts; figures are written into ``folder``."""
    return DRAWING_KINDS[drawing.kind](drawing, answers, folder)
