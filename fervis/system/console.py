"""Log messages on standard error: one line each, coloured on terminals, above any progress bar."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

log = logging.getLogger("fervis")
ANSI_COLORS = {"red": "31", "yellow": "33", "green": "32"}
SUCCESS = {"good": True}
"""``extra=GOOD`` marks a message that something was finished, which is shown in green."""


def use_color(stream: TextIO) -> bool:
    """Whether the stream shows colours: a terminal that is not dumb, and nobody has set ``NO_COLOR`` (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") != "dumb"


def colorize_text(text: str, colour: str, stream: TextIO) -> str:
    """Color the text if the stream shows colors."""
    return f"\x1b[{ANSI_COLORS[colour]}m{text}\x1b[0m" if use_color(stream) else text


def printable(text: str) -> str:
    r"""Return a text without control characters, which would move the cursor, colour the terminal or forge a line.

    Newlines stay; those of a name are replaced before it is put into a text.

    Example:
        >>> printable("a\x1b[31mb")
        'a?[31mb'
    """
    return "".join(char if char == "\n" or char.isprintable() else "?" for char in text)


def printable_name(name: object) -> str:
    """Return a file's or class's name for a terminal, on one line."""
    return printable(str(name)).replace("\n", "?")


class StderrHandler(logging.Handler):
    """Writes log messages to the current standard error, a line each, and redraws a progress bar below them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line: ``fervis: <message>``."""
        try:
            line = format_line(record.getMessage(), record.levelno, good=getattr(record, "good", False))
            if "tqdm" in sys.modules:  # else no bar can be there
                from tqdm import tqdm

                tqdm.write(line, file=sys.stderr)
            else:
                print(line, file=sys.stderr)
        except Exception:
            self.handleError(record)


def format_line(message: str, level: int = logging.INFO, *, good: bool = False) -> str:
    """Return ``fervis: <message>``, one line: the name in red for an error, a warning in yellow, a success in green."""
    message = printable_name(" ".join(message.splitlines()) if "\n" in message else message)
    if level >= logging.ERROR:
        return f"{colorize_text('fervis:', 'red', sys.stderr)} {message}"
    if level >= logging.WARNING:
        return colorize_text(f"fervis: {message}", "yellow", sys.stderr)
    return colorize_text(f"fervis: {message}", "green", sys.stderr) if good else f"fervis: {message}"


def configure_logging(quiet: bool) -> None:
    """Send fervis's own log words to standard error; with ``quiet`` none below warnings."""
    if not any(isinstance(handler, StderrHandler) for handler in log.handlers):
        log.addHandler(StderrHandler())
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.propagate = False
