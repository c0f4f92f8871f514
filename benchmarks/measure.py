"""Compare fervis with a peer and with the bare passes on the same work, in one process.

The works of a row take turns, so that other work on the machine concerns all of them, and are measured in processor
seconds; a ratio is the median over the rounds of the ratios within a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

FERVIS, BARE = "fervis", "bare passes"


@dataclass(frozen=True)
class Row:
    """Works that compute the same.

    Attributes:
        work: what is computed, in words.
        peer: the name of the work that fervis is compared with.
        goal: how many times fervis's seconds the peer is expected to take, at least.
        works: name -> work; ``fervis`` and the peer among them, ``bare passes`` where there is a floor.
        bare_goal: how many times the seconds of the bare passes fervis may take, at most.
        methods: names of the explainers that the row speaks for.
    """

    work: str
    peer: str
    goal: float
    works: Mapping[str, Callable[[], Any]]
    bare_goal: float | None = None
    methods: tuple[str, ...] = ()


def seconds_of(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the processor seconds of each work in each round; what is set up at a first call belongs to none."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            started = time.process_time()
            work()
            if number:
                taken[name].append(time.process_time() - started)
    return taken


def compare(title: str, works: Mapping[str, Callable[[], Any]], rounds: int) -> None:
    """Print the median seconds of each work, and its ratio to fervis with the range over the rounds."""
    taken = seconds_of(works, rounds)
    print(title)
    for name, seconds in taken.items():
        ratios = [one / own for one, own in zip(seconds, taken[FERVIS], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"  {name:24s} {median(seconds):8.3f} s   {median(ratios):6.2f} x fervis ({spread})", flush=True)


def measure(row: Row, rounds: int) -> dict[str, Any]:
    """Measure a row.

    Returns:
        ``ratio`` of the peer's seconds to fervis's with its range ``low`` and ``high``; ``bare``, the ratio of fervis's
        seconds to those of the bare passes, or None; ``others``, the ratio to fervis of every further work.
    """
    taken = seconds_of(row.works, rounds)

    def ratios(over: str, under: str) -> list[float]:
        return [one / other for one, other in zip(taken[over], taken[under], strict=True)]

    against = ratios(row.peer, FERVIS)
    others = [name for name in row.works if name not in (FERVIS, row.peer, BARE)]
    return {
        "work": row.work,
        "peer": row.peer,
        "methods": list(row.methods),
        "seconds": median(taken[FERVIS]),
        "ratio": median(against),
        "low": min(against),
        "high": max(against),
        "goal": row.goal,
        "bare": median(ratios(FERVIS, BARE)) if BARE in row.works else None,
        "bare_goal": row.bare_goal,
        "others": {name: median(ratios(name, FERVIS)) for name in others},
    }


def line_of(result: Mapping[str, Any]) -> str:
    """Return a measured row as a row of a Markdown table."""
    ratio = f"{result['ratio']:.2f} ({result['low']:.2f} to {result['high']:.2f})"
    bare = f"{result['bare']:.2f}" if result["bare"] else "-"
    bare_goal = f"{result['bare_goal']:g}" if result["bare_goal"] else "-"
    others = ", ".join(f"{name} {value:.2f}" for name, value in result["others"].items()) or "-"
    cells = (result["work"], result["peer"], ratio, f"{result['goal']:g}", bare, bare_goal, others)
    return f"| {' | '.join(cells)} |"


HEAD = "\n".join(
    [
        "| work | against | takes x fervis | at least | fervis x bare passes | at most | others x fervis |",
        "| --- " * 7 + "|",
    ]
)
