"""Rank the methods of a study by their measures of evidence, over all seeds, networks and data sets that it has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fervis.core.intervals import Interval, format_interval, format_number
from fervis.core.registry import plugin_class
from fervis.errors import RunError
from fervis.evidence.baselines import BASELINES
from fervis.metrics.leaderboard import mean_ranks, rank_agreement, ranks
from fervis.reporting.run_files import read_config
from fervis.runs.evidence import image_mean
from fervis.runs.study.drawing import Drawing, Drawn
from fervis.runs.study.run_maps import explainer_family, explainer_of, network_setting
from fervis.system.console import log
from fervis.system.files import read_json
from fervis.visualizers.figures.figure_writer import FigureWriter
from fervis.visualizers.figures.study.leaderboard import draw_leaderboard

LEADERBOARD = "leaderboard"
_NO_SCORE = "chance"  # a part of a measure that describes the data
_ROWS_APART = 10**9  # more than any data set has


@dataclass(frozen=True)
class ScoredPart:
    """The scores of one part of a study.

    Attributes:
        method: the explainer.
        setting: seed, network and data set, as text.
        rows: [E] number of each entry's image.
        scores: name -> [E].
        better: measure -> ``higher``, ``lower`` or ``neither``.
        seconds: that explaining took, per entry.
    """

    method: str
    setting: str
    rows: Tensor
    scores: Mapping[str, Tensor]
    better: Mapping[str, str]
    seconds: float


@dataclass(frozen=True)
class Leaderboard:
    """Methods ranked by their scores.

    Attributes:
        methods: best mean rank first.
        mean_rank: method -> mean of its ranks by the measures that rank.
        scores: name of a score -> method -> mean with its interval; those that rank come first.
        ranking: names of the scores that rank: each measure itself, not its parts.
        higher: score -> whether higher is better.
        between_settings: score -> mean Kendall's tau of the rankings by two settings; empty for one setting.
        between_measures: two scores that rank -> Kendall's tau of the rankings by them.
        seconds: method -> mean seconds per map.
    """

    methods: Sequence[str]
    mean_rank: Mapping[str, float]
    scores: Mapping[str, Mapping[str, Interval]]
    ranking: Sequence[str]
    higher: Mapping[str, bool]
    between_settings: Mapping[str, float]
    between_measures: Mapping[tuple[str, str], float]
    seconds: Mapping[str, float]

    def entries(self) -> list[dict[str, Any]]:
        """Return the table: a row per method."""
        return [
            {
                "method": method,
                "mean rank": round(self.mean_rank[method], 2),
                **{
                    name: format_interval(of_methods[method], ".3f")
                    for name, of_methods in self.scores.items()
                    if method in of_methods
                },
                "seconds a map": format_number(self.seconds[method]),
            }
            for method in self.methods
        ]

    def numbers(self) -> dict[str, float]:
        """Return every score with its interval, and the agreement of rankings."""
        numbers = {
            f"{method}/{name}{end}": value
            for name, of_methods in self.scores.items()
            for method, score in of_methods.items()
            for end, value in {"": score.value, "/low": score.low, "/high": score.high}.items()
        }
        numbers |= {f"tau between seeds/{name}": value for name, value in self.between_settings.items()}
        numbers |= {f"tau/{one}/{two}": value for (one, two), value in self.between_measures.items()}
        return {name: value for name, value in numbers.items() if math.isfinite(value)}


def draw_leaderboard_of(drawing: Drawing, answers: Sequence[Path], folder: Path) -> Drawn:
    """Rank the methods of a study's parts and draw the figure.

    Args:
        drawing: the figure.
        answers: run folders of the parts.
        folder: where the figure is written.

    Raises:
        RunError: no part has scores that rank.
    """
    parts = [part for answer in answers if (part := read_part(answer)).scores]
    board = rank_methods(parts, drawing.seed)
    if not board.ranking:
        raise RunError(f"{drawing.title}: no part of the study has a measure that ranks; ask with evidence=.")
    for place, entry in enumerate(board.entries(), 1):
        log.info("%2d  %s", place, "  ".join(f"{name} {value}" for name, value in entry.items()))
    known = [method for method in board.methods if explainer_family(method) == "baselines"]
    shown = {name: board.scores[name] for name in board.ranking}
    with FigureWriter(folder, drawing.dpi) as writer:
        sheet = draw_leaderboard(drawing.title, board.methods, shown, board.higher, known, drawing.dpi)
        figure = writer.save(sheet, LEADERBOARD, _board_caption(board, len(parts)))
    return Drawn([figure], board.entries(), board.numbers())


def read_part(answer: Path) -> ScoredPart:
    """Read the scores of a run folder."""
    config = read_config(answer)[1]
    with np.load(answer / "arrays.npz", allow_pickle=False) as arrays:
        names = [name.removeprefix("scores/") for name in arrays.files if name.startswith("scores/")]
        scores = {name: torch.from_numpy(arrays[f"scores/{name}"]) for name in names if _is_score(name)}
        rows = torch.from_numpy(arrays["rows"])
    evidence = config.get("evidence") or {}
    better = {name: str(plugin_class("evidence", measure["name"]).better) for name, measure in evidence.items()}
    seconds = float(read_json(answer / "manifest.json")["seconds"].get("explain", math.nan))
    return ScoredPart(explainer_of(config), network_setting(config), rows, scores, better, seconds / max(1, len(rows)))


def rank_methods(parts: Sequence[ScoredPart], seed: int) -> Leaderboard:
    """Rank methods by the mean of their scores over images, settings together; only methods that every measure scores.

    Args:
        parts: the scores of each method in each setting.
        seed: of the bootstrap over images. Images of two settings with the same data are the same images.
    """
    better = {name: direction for part in parts for name, direction in part.better.items()}
    names = dict.fromkeys(name for part in parts for name in part.scores)
    directed = [name for name in names if better.get(name.partition("/")[0]) in ("higher", "lower")]
    ranking = [name for name in directed if name in better]
    higher = {name: better[name.partition("/")[0]] == "higher" for name in directed}
    methods = list(dict.fromkeys(part.method for part in parts))
    settings = list(dict.fromkeys(part.setting for part in parts))
    scores = {
        name: {
            method: _mean_score([part for part in parts if part.method == method], name, settings, seed)
            for method in methods
        }
        for name in [*ranking, *(name for name in directed if name not in ranking)]
    }
    rankings = {
        name: ranks({method: score.value for method, score in scores[name].items()}, higher=higher[name])
        for name in ranking
    }
    mean_rank = mean_ranks(list(rankings.values()))
    return Leaderboard(
        methods=list(mean_rank),
        mean_rank=mean_rank,
        scores=scores,
        ranking=ranking,
        higher=higher,
        between_settings=_between_settings(parts, ranking, settings, higher) if len(settings) > 1 else {},
        between_measures=rank_agreement(rankings),
        seconds={
            method: float(np.mean([part.seconds for part in parts if part.method == method])) for method in methods
        },
    )


def _mean_score(parts: Sequence[ScoredPart], name: str, settings: Sequence[str], seed: int) -> Interval:
    """Return the mean over images, of each image's mean over settings, with its interval."""
    data = {setting: setting.partition("'dataset'")[2] for setting in settings}
    numbers = {text: number for number, text in enumerate(dict.fromkeys(data.values()))}
    scored = [part for part in parts if name in part.scores]
    if not scored:
        return Interval(math.nan)
    rows = torch.cat([part.rows + _ROWS_APART * numbers[data[part.setting]] for part in scored])
    return image_mean(torch.cat([part.scores[name] for part in scored]), rows, seed)


def _between_settings(
    parts: Sequence[ScoredPart], ranking: Sequence[str], settings: Sequence[str], higher: Mapping[str, bool]
) -> dict[str, float]:
    agreement = {}
    for name in ranking:
        by_setting = {
            setting: ranks(
                {
                    part.method: float(part.scores[name].double().nanmean())
                    for part in parts
                    if part.setting == setting and name in part.scores
                },
                higher=higher[name],
            )
            for setting in settings
        }
        agreement[name] = float(np.mean(list(rank_agreement(by_setting).values())))
    return agreement


def _is_score(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last not in BASELINES and last != _NO_SCORE


def _board_caption(board: Leaderboard, parts: int) -> str:
    text = (
        f"{len(board.methods)} methods by the mean of their ranks, of {parts} runs; grey ones do not know the network. "
        "Whiskers are 95 % bootstrap intervals over images."
    )
    taus = [f"{format_number(value, 'z.2f')} ({name})" for name, value in board.between_settings.items()]
    text += f" Kendall's tau of the rankings by two seeds or networks: {', '.join(taus)}." if taus else ""
    pairs = [f"{format_number(value, 'z.2f')} ({one}, {two})" for (one, two), value in board.between_measures.items()]
    return text + (f" By two measures: {', '.join(pairs)}." if pairs else "")
