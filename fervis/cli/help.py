"""``--help``, for a newcomer: what can be typed and chosen, and what each setting means.

Commands are described by ``command_table``, settings by the comments of their YAML files.
"""

from __future__ import annotations

import platform
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from fervis import __version__
from fervis.cli.arguments import FLAGS, Flag
from fervis.cli.command_table import COMMANDS, Command
from fervis.cli.knob_docs import describe_constraint
from fervis.cli.option_docs import config_setting_docs, default_settings, option_setting_docs, read_yaml
from fervis.core.registry import KINDS, option_files, option_summary, preset_files
from fervis.errors import unknown_name

HELP_WIDTH = 100
HELP_START = """\
fervis: what does a facial-expression network look at, and can I believe it?

A question is a line of key=value; its answer is a folder with figures, numbers and a page to read,
report.html. The last line printed is that folder. Finished work is reused, not repeated.
"""
HELP_EXAMPLES = (
    ("python -m fervis", "a first question, which needs no data"),
    ("python -m fervis dataset=fer2013 dataset.path=<csv>", "your FER2013, and a network that comes along"),
    ("python -m fervis -m layer=conv1,conv7", "a sweep, an answer a value; each: every layer"),
    ("python -m fervis experiment=study", "a prepared question, with any changes"),
)
STUDY_CHANGES = (
    ("model= dataset= trainer= seed=", "change every part"),
    ("faces= split= target=", "change the parts that explain faces; without split= all of them use the study's"),
    ("layer=", "changes the parts whose explainer uses layers"),
    ("explainer.<setting>=", "changes the parts whose explainer has the setting; so do visualizer.<setting>="),
    ("checkpoint=", "changes the parts that do not compare checkpoints of their own"),
)


def help_page(arguments: Sequence[str]) -> str:
    """Return the page of all that can be typed, or, where options are chosen (``explainer=lime``), of their settings.

    Raises:
        ConfigError: a chosen option does not exist.
    """
    chosen = [argument.partition("=") for argument in arguments]
    pages = [option_help(kind, name) for kind, _, names in chosen if kind in KINDS for name in names.split(",")]
    pages += [experiment_help(name) for kind, _, names in chosen if kind == "experiment" for name in names.split(",")]
    if pages:
        return "\n\n".join(pages)
    parts = [
        HELP_START,
        *aligned_table(HELP_EXAMPLES),
        "",
        "Commands (python -m fervis <command> --help describes it)",
        *aligned_table([(word, command.summary) for word, command in COMMANDS.items()]),
        "",
        "Choices (key=name; * is the default; python -m fervis list describes each)",
        *aligned_table([(kind, ", ".join(names)) for kind, names in choice_lines().items()]),
        "",
        "Settings (key=value, here with their defaults)",
        *aligned_table(
            [(f"{key}={format_default(value)}", note) for key, (value, note) in config_setting_docs().items()]
        ),
        "",
        "Flags",
        *aligned_table([(_flag_words(flag), flag.meaning) for flag in FLAGS if flag.listed]),
    ]
    return "\n".join(parts)


def _flag_words(flag: Flag) -> str:
    value = f" {flag.values[0]}" if flag.values else ""
    return f"{', '.join(reversed(flag.names))}{value}"


def command_help(word: str, command: Command) -> str:
    """Return how one command is used."""
    words = "\n".join(f"  clean {name:<12} {meaning}" for name, meaning in command.words.items())
    usage = command.usage.replace("{words}", words)
    flags = [f"  {flag:<12} {meaning}" for flag, meaning in command.flags.items()]
    return "\n".join([f"python -m fervis {word}", "", command.summary, "", usage, *(["", *flags] if flags else [])])


def experiment_help(name: str) -> str:
    """Return the question of a preset, its settings, its parts, and what can be changed.

    Raises:
        ConfigError: there is no such preset.
    """
    known = preset_files()
    if name not in known:
        raise unknown_name("experiment", name, known)
    preset = read_yaml(known[name])
    lines = [f"experiment={name}: {option_summary(known[name])}"]
    rows = [(f"{key}={value}", "") for key, value in _preset_settings(preset)]
    lines += [*aligned_table(rows), ""] if rows else [""]
    parts = preset.get("parts", [])
    if not parts:
        return "\n".join([*lines, "Any setting can be changed: " + f"experiment={name} seed=1"])
    for number, part in enumerate(parts, 1):
        lines.append(f"Part {number}: {part['title']}")
        for word in part["ask"]:
            summary = _summary_of_preset(word)
            lines += textwrap.wrap(
                f"{word}: {summary}" if summary else word, HELP_WIDTH, initial_indent="  ", subsequent_indent="    "
            )
        lines.append(f"  figures: {', '.join(part['figures'])}")
    return "\n".join([*lines, "", "What can be changed", *aligned_table(STUDY_CHANGES)])


def _preset_settings(preset: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a preset sets, as it would be typed."""
    for entry in preset.get("defaults", []):
        for kind, option in entry.items() if isinstance(entry, dict) else ():
            yield kind.removeprefix("override ").lstrip("/"), str(option)
    for key, value in preset.items():
        if key in ("defaults", "parts", "hydra"):
            continue
        nested = value if isinstance(value, dict) else None
        yield from ((f"{key}.{name}", format_default(inner)) for name, inner in (nested or {}).items())
        if nested is None:
            yield key, format_default(value)
    for key, values in preset.get("hydra", {}).get("sweeper", {}).get("params", {}).items():
        yield f"-m {key}", str(values)


def _summary_of_preset(override: str) -> str:
    key, _, name = override.partition("=")
    path = preset_files().get(name) if key == "experiment" else None
    return option_summary(path) if path else ""


def option_help(kind: str, name: str) -> str:
    """Describe an option and its settings.

    Raises:
        ConfigError: there is no such option.
    """
    known = option_files(kind)
    if name not in known:
        raise unknown_name(kind, name, known)
    rows = [
        (f"{kind}.{key}={format_default(value)}", _setting_note(note, describe_constraint(kind, name, key)))
        for key, (value, note) in option_setting_docs(kind, name).items()
    ]
    return "\n".join(
        [f"{kind}={name}: {option_summary(known[name])}", *(aligned_table(rows) or ["  It has no settings."])]
    )


def _setting_note(note: str, expected: str) -> str:
    """Return the meaning of a setting and its possible values, unless the meaning states them."""
    if not expected or "|" in note or expected in note:
        return note
    return f"{note} ({expected})" if note else expected


def choice_lines() -> dict[str, list[str]]:
    """Every kind with the names of its options, the default marked; the presets last."""
    marked = {(kind, name) for kind, name in default_settings().items() if isinstance(name, str)}
    known = {kind: [f"{name}{'*' * ((kind, name) in marked)}" for name in option_files(kind)] for kind in KINDS}
    return {**known, "experiment": list(preset_files())}


def format_default(value: Any) -> str:
    """Format a value as it would be typed."""
    if isinstance(value, list | dict):
        return str(value).replace("'", "").replace(" ", "")
    if isinstance(value, str):
        return value or '""'
    return "null" if value is None else str(value).lower()


def version_line() -> str:
    """``fervis 0.1.0 (Python 3.11.4, torch 2.9.0, hydra-core 1.3.8)``."""
    packages = [f"{name} {version(name)}" for name in ("torch", "hydra-core")]
    return f"fervis {__version__} (Python {platform.python_version()}, {', '.join(packages)})"


def aligned_table(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Rows of a word and its meaning, aligned and wrapped to the terminal."""
    width = min(shutil.get_terminal_size((HELP_WIDTH, 24)).columns, HELP_WIDTH)
    left = max((len(word) for word, _ in rows), default=0) + 4
    lines = []
    for word, meaning in rows:
        whole = f"  {word}".ljust(left) + meaning
        lines += textwrap.wrap(whole, max(width, left + 30), subsequent_indent=" " * left, break_on_hyphens=False)
    return lines
