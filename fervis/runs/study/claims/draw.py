"""Draw the verdicts of a study's claims: the sheet, the table and the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fervis.core.intervals import format_interval
from fervis.errors import RunError
from fervis.runs.study.claims.cases import read_cases
from fervis.runs.study.claims.statements import read_claims
from fervis.runs.study.claims.verdicts import LEVEL, CaseVerdict, Verdict, judge
from fervis.runs.study.drawing import Drawing, Drawn
from fervis.system.console import log
from fervis.visualizers.figures.figure_writer import FigureWriter
from fervis.visualizers.figures.study.verdicts import VerdictRow, draw_verdicts

VERDICTS = "verdicts"
_NETWORK = "network"  # column of statements that need no map


def draw_verdicts_of(drawing: Drawing, answers: Sequence[Path], folder: Path) -> Drawn:
    """Test the claims on the runs of a study and draw the verdicts.

    Args:
        drawing: the figure.
        answers: run folders of the parts.
        folder: where the figure is written.

    Raises:
        RunError: no part has maps that are scored by ``region_shares``, and none has numbers of layers.
    """
    maps, numbers = read_cases(answers)
    if not maps and not numbers:
        raise RunError(f"{drawing.title}: no part of the study has evidence=[region_shares] or numbers of layers.")
    claims, statements = read_claims()
    verdicts = judge(statements, maps, numbers, drawing.seed)
    for verdict in verdicts:
        log.info("%d  %-62s %s", verdict.statement.claim, verdict.statement.text, verdict.verdict)
    methods = list(dict.fromkeys(_column_of(case) for verdict in verdicts for case in verdict.cases))
    controls = list(dict.fromkeys(_column_of(case) for verdict in verdicts for case in verdict.controls))
    rows = [VerdictRow(one.statement.claim, one.statement.text, one.verdict, _cells(one)) for one in verdicts]
    networks = sorted({case.network for verdict in verdicts for case in verdict.cases})
    with FigureWriter(folder, drawing.dpi) as writer:
        sheet = draw_verdicts(drawing.title, claims, rows, [*methods, *controls], controls, drawing.dpi)
        figure = writer.save(sheet, VERDICTS, _verdict_caption(networks, controls))
    return Drawn([figure], [_entry(verdict) for verdict in verdicts], _effect_numbers(verdicts))


def _column_of(case: CaseVerdict) -> str:
    return case.control or case.method or _NETWORK


def _cells(verdict: Verdict) -> dict[str, list[str]]:
    cells: dict[str, list[str]] = {}
    for case in (*verdict.cases, *verdict.controls):
        cells.setdefault(_column_of(case), []).append(case.verdict)
    return cells


def _entry(verdict: Verdict) -> dict[str, Any]:
    """Return the row of a statement: its verdict, and the effects of each case."""
    row: dict[str, Any] = {
        "claim": verdict.statement.claim,
        "statement": verdict.statement.text,
        "verdict": verdict.verdict,
        "why": verdict.why,
    }
    for case in verdict.cases:
        effects = "; ".join(
            f"{effect.name} {format_interval(effect.value, '+.3f')}{_p_text(effect.p)}" for effect in case.effects
        )
        row[f"{_column_of(case)} {case.network}"] = effects
    return row


def _p_text(p: float) -> str:
    if math.isnan(p):
        return ""
    return f", p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"


def _effect_numbers(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Return every effect with its interval and its corrected p-value, of controls too."""
    numbers: dict[str, float] = {}
    for verdict in verdicts:
        for case in (*verdict.cases, *verdict.controls):
            for effect in case.effects:
                place = "/".join(filter(None, [case.method, case.network, case.control]))
                name = f"{verdict.statement.claim}: {verdict.statement.text}/{place}/{effect.name}"
                ends = {"": effect.value.value, "/low": effect.value.low, "/high": effect.value.high, "/p": effect.p}
                numbers |= {f"{name}{end}": value for end, value in ends.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _verdict_caption(networks: Sequence[str], controls: Sequence[str]) -> str:
    text = (
        f"A statement is supported by a method if each of its tests finds it, at {LEVEL:g} after Holm's correction "
        f"over all tests of the method; contrary if one finds the opposite. Networks: {', '.join(networks) or 'none'}."
    )
    return text + (f" Controls ({', '.join(controls)}) must not support it." if controls else "")
