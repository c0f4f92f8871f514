"""Progress of long work: bars on a terminal, log lines elsewhere; neither where it is quiet.

The command shows them. Callers from Python see none, unless they say ``with quiet_progress(False)``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from tqdm import tqdm

from fervis.system.console import log

DELAY = 1.0  # seconds after which a bar appears: shorter work needs none
LINE_DELAY = 10.0  # seconds after which the first line appears where there is no terminal
LINE_INTERVAL = 30.0  # seconds between the lines that follow
_mode: ContextVar[Literal["none", "lines", "bars"]] = ContextVar("mode", default="none")


@contextmanager
def quiet_progress(quiet: bool = True) -> Iterator[None]:
    """Show no progress inside, or show it: as bars on a terminal, unless ``line_progress`` is in effect around it."""
    token = _mode.set("none" if quiet else "lines" if _mode.get() == "lines" else "bars")
    try:
        yield
    finally:
        _mode.reset(token)


@contextmanager
def line_progress() -> Iterator[None]:
    """Show progress inside as log lines, for one of several processes, which would draw over each other's bars."""
    token = _mode.set("lines")
    try:
        yield
    finally:
        _mode.reset(token)


class ProgressBar(tqdm):
    """A bar, or log lines where none can be drawn.

    Args:
        lines: whether log lines stand in for a bar that is disabled.
        options: of tqdm.
    """

    def __init__(self, *, lines: bool, **options: Any) -> None:
        super().__init__(**options)
        self._lines = LineLog(options["desc"], options["unit"], self.total) if lines and self.disable else None
        self._scaled = options["unit_scale"]

    def __iter__(self) -> Iterator[Any]:
        if self._lines is None:
            yield from super().__iter__()
            return
        assert self.iterable is not None
        for item in self.iterable:
            yield item
            self.update()

    def update(self, n: float | None = 1) -> bool | None:
        """Count ``n`` more; draw the bar or log a line where it is time."""
        if self._lines is None:
            return super().update(n)
        self.n += n or 0
        self._lines.report(self.n, scaled=self._scaled)
        return None


class LineLog:
    """Log lines of long work: the first after ``LINE_DELAY`` seconds, then one every ``LINE_INTERVAL``."""

    def __init__(self, doing: str, unit: str, total: float | None = None) -> None:
        self.doing, self.unit, self.total = doing, unit, total
        self.started = time.monotonic()
        self.due = self.started + LINE_DELAY

    def report(self, count: float, *, scaled: bool = False) -> None:
        """Log how much is done, where it is time."""
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + LINE_INTERVAL
        done = tqdm.format_sizeof(count) if scaled else f"{count:,.0f}"
        whole = (
            "" if self.total is None else f" of {tqdm.format_sizeof(self.total) if scaled else f'{self.total:,.0f}'}"
        )
        unit = self.unit if scaled else f" {self.unit}{'es' if self.unit.endswith(('ch', 'ss')) else 's'}"
        log.info("%s: %s%s%s after %.0f s", self.doing, done, whole, unit, now - self.started)


def progress(
    things: Iterable[Any] | None,
    doing: str,
    unit: str,
    *,
    total: float | None = None,
    scaled: bool = False,
    quiet: bool = False,
) -> ProgressBar:
    """Return a bar over ``things``, or one to be moved by ``update``; it goes away when all is done.

    Where standard error is no terminal, what takes longer than ``LINE_DELAY`` seconds is logged instead.

    Args:
        things: iterable; None for a bar that is moved by hand, which is best used with ``with``.
        doing: what is being done, in a word or two.
        unit: what is counted, in the singular.
        total: how many there are, where ``things`` has no length.
        scaled: whether large numbers are shown as thousands and millions, as for bytes.
        quiet: show none in any case.
    """
    mode = "none" if quiet else _mode.get()
    return ProgressBar(
        lines=mode != "none",
        iterable=things,
        desc=doing,
        total=total,
        unit=unit,
        unit_scale=scaled,
        delay=DELAY,
        leave=False,
        dynamic_ncols=True,
        disable=None if mode == "bars" else True,  # None: unless standard error is a terminal
    )
