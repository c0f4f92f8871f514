"""Ctrl-C and a scheduler's SIGTERM: the work ends, and a message states what is saved and how to resume."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal asked the work to end. Notes (``add_note``) state what is saved, the innermost first."""

    def __init__(self, number: int = signal.SIGINT):
        super().__init__(number)
        self.number = number

    @property
    def code(self) -> int:
        """The exit code: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number


@contextmanager
def handle_signals() -> Iterator[None]:
    """Inside, the first SIGINT or SIGTERM raises ``Interrupted``, and the second ends the process at once.

    A signal that is ignored, as in a shell's background, stays ignored. Elsewhere than in the main thread, where Python
    handles no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if heard:
            os._exit(128 + number)  # without waiting for anything that may itself be what hangs
        heard = True
        raise Interrupted(number)

    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not None}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interruption_message(stopped: KeyboardInterrupt, command: str) -> str:
    """Return the last message of an interrupted command: what is saved, and the command that resumes.

    Example:
        >>> error = Interrupted(signal.SIGINT)
        >>> error.add_note("3 of 8 answers")
        >>> interruption_message(error, "fervis -m layer=each")
        'Interrupted; kept: 3 of 8 answers. To go on: fervis -m layer=each'
    """
    notes = getattr(stopped, "__notes__", [])
    word = "Ended by SIGTERM" if getattr(stopped, "number", None) == signal.SIGTERM else "Interrupted"
    kept = f"kept: {' and '.join(reversed(notes))}" if notes else "nothing half-written is left"
    return f"{word}; {kept}. To go on: {command}"


def typed_command(arguments: Sequence[str]) -> str:
    """Return the command as it was typed, quoted for a shell: ``python -m fervis ...`` or the console script."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        before = sys.orig_argv[: len(sys.orig_argv) - len(arguments)]
        return shlex.join([*before, *arguments])
    found = shutil.which(script.name)
    known = found is not None and Path(found).resolve() == script.resolve()
    return shlex.join([script.name if known else str(script), *arguments])
