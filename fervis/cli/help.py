"""``--help``, for a newcomer: what can be typed and chosen, and what each setting means.

Commands are told of by their docstrings, settings by the comments of their YAML files, so that nothing is said twice.
"""

from __future__ import annotations

import inspect
import platform
import re
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from fervis.cli.option_docs import config_setting_docs, default_settings, option_setting_docs
from fervis.core.registry import KINDS, option_files, option_summary, preset_files
from fervis.errors import unknown_name

HELP_WIDTH = 100
HELP_START = """\
fervis: what does a facial-expression network look at, and can I believe it?

A question is a line of key=value; its answer is a folder with figures, numbers and a page to read,
report.html. The last line printed is that folder. What was done before is found, not done again.
"""
HELP_EXAMPLES = (
    ("python -m fervis", "a first question, which needs no data"),
    ("python -m fervis explainer=lime", "another method, on the same faces and network"),
    ("python -m fervis dataset=fer2013 dataset.path=<csv>", "your FER2013, and a network that comes along"),
    ("python -m fervis -m layer=conv1,conv7", "a sweep, an answer a value; each: every layer"),
    ("python -m fervis experiment=study", "a prepared question, with any changes"),
)
HELP_FLAGS = (
    ("-h, --help", "this page; after a choice its settings, as in explainer=lime --help; after a command its use"),
    ("-m, --multirun", "a sweep over the values that are given as a,b,c"),
    ("-q, --quiet", "no progress bars, and no words but warnings and the last line"),
    ("--cfg job", "print the whole question and do nothing"),
    ("--version", "of fervis, Python, torch and Hydra; --hydra-help: Hydra's own flags"),
)


def help_page(arguments: Sequence[str], commands: Mapping[str, Callable[..., Any]]) -> str:
    """The page of all that can be typed, or, where options are chosen (``explainer=lime``), that of their settings.

    Raises:
        ConfigError: a chosen option does not exist.
    """
    chosen = [argument.partition("=") for argument in arguments if argument.partition("=")[0] in KINDS]
    if chosen:
        return "\n\n".join(option_help(kind, name) for kind, _, names in chosen for name in names.split(","))
    words = [(word, summary_of(command)) for word, command in commands.items()]
    parts = [
        HELP_START,
        *aligned_table(HELP_EXAMPLES),
        "",
        "Commands (python -m fervis <command> --help says more)",
        *aligned_table(words),
        "",
        "Choices (key=name; * is taken where nothing is said; python -m fervis list says what each is)",
        *aligned_table([(kind, ", ".join(names)) for kind, names in choice_lines().items()]),
        "",
        "Settings (key=value, here with what they are where nothing is said)",
        *aligned_table(
            [(f"{key}={format_default(value)}", note) for key, (value, note) in config_setting_docs().items()]
        ),
        "",
        "Flags",
        *aligned_table(HELP_FLAGS),
    ]
    return "\n".join(parts)


def command_help(word: str, command: Callable[..., Any]) -> str:
    """How one command is used: its docstring, but for what only programmers need."""
    text = re.split(r"\n(?:Args|Returns|Raises):\n", inspect.getdoc(command) or "")[0].strip()
    return f"python -m fervis {word}\n\n{text}".replace("``", "")


def summary_of(command: Callable[..., Any]) -> str:
    """The first sentence of a command's docstring."""
    return (inspect.getdoc(command) or "").split("\n\n")[0].replace("\n", " ").replace("``", "")


def option_help(kind: str, name: str) -> str:
    """What an option is, and its settings with their meaning.

    Raises:
        ConfigError: there is no such option.
    """
    known = option_files(kind)
    if name not in known:
        raise unknown_name(kind, name, known)
    rows = [
        (f"{kind}.{key}={format_default(value)}", note)
        for key, (value, note) in option_setting_docs(kind, name).items()
    ]
    return "\n".join(
        [f"{kind}={name}: {option_summary(known[name])}", *(aligned_table(rows) or ["  It has no settings."])]
    )


def choice_lines() -> dict[str, list[str]]:
    """Every kind with the names of its options, the one that is taken by itself marked; the presets last."""
    marked = {(kind, name) for kind, name in default_settings().items()}
    known = {kind: [f"{name}{'*' * ((kind, name) in marked)}" for name in option_files(kind)] for kind in KINDS}
    return {**known, "experiment": list(preset_files())}


def format_default(value: Any) -> str:
    """A value as it would be typed."""
    if isinstance(value, list | dict):
        return str(value).replace("'", "").replace(" ", "")
    if isinstance(value, str):
        return value or '""'
    return "null" if value is None else str(value).lower()


def version_line() -> str:
    """``fervis 0.1.0 (Python 3.11.4, torch 2.9.0, hydra-core 1.3.8)``."""
    packages = [f"{name} {version(name)}" for name in ("torch", "hydra-core")]
    return f"fervis {version('fervis')} (Python {platform.python_version()}, {', '.join(packages)})"


def aligned_table(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Rows of a word and its meaning, aligned and wrapped to the terminal."""
    width = min(shutil.get_terminal_size((HELP_WIDTH, 24)).columns, HELP_WIDTH)
    left = max((len(word) for word, _ in rows), default=0) + 4
    lines = []
    for word, meaning in rows:
        whole = f"  {word}".ljust(left) + meaning
        lines += textwrap.wrap(whole, max(width, left + 30), subsequent_indent=" " * left, break_on_hyphens=False)
    return lines
