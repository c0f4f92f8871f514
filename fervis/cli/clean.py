"""Remove from the outputs folder what is no longer wanted.

Only what fervis itself made is removed, and what a running process works on stays. Links are neither followed nor
removed, unless they are within a folder that is removed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from fervis.cli.clean_items import (
    ITEM_READERS,
    Item,
    contents_table,
    format_size,
    is_outputs_folder,
    lock_items,
    outermost_items,
    size_of,
)
from fervis.cli.clean_ownership import folders_in
from fervis.cli.command_table import COMMANDS
from fervis.errors import ConfigError, unknown_name
from fervis.system.console import printable_name
from fervis.system.locks import any_lock_held, try_lock
from fervis.system.progress import progress

WHOLE_MARKS = ("summary.json", "training.json")
LISTED_ITEMS = 30  # of what is about to be removed; --dry-run lists all


def clean_outputs(arguments: Sequence[str]) -> Iterator[str]:
    """Remove what the arguments name, after asking where a person can answer; yield lines to print on the way.

    Args:
        arguments: any of ``CLEAN_WORDS`` or ``all``, by default leftovers; ``outputs=<folder>``, ``--yes``,
            ``--dry-run``.

    Raises:
        ConfigError: an unknown word, a folder that fervis did not make, or no terminal to ask at.
    """
    outputs, words, flags = parse_clean_arguments(arguments)
    if not outputs.exists():
        yield f"There is no folder {printable_name(outputs)}; nothing to clean."
        return
    wanted = words or ["leftovers"]
    items = outermost_items([item for word in wanted for item in ITEM_READERS[word](outputs)])
    if not words:
        yield from [*contents_table(outputs), ""]
    what = f"{' and '.join(wanted)}: {len(items)}, {format_size(sum(size_of(item.path) for item in items))}"
    if not items:
        yield f"Nothing to remove ({' and '.join(wanted)})."
        return
    dry = "--dry-run" in flags
    yield f"Would remove {what}" if dry else f"To be removed, {what}"
    yield from (_line(item) for item in (items if dry else items[:LISTED_ITEMS]))
    if dry:
        return
    if len(items) > LISTED_ITEMS:
        yield f"  ... and {len(items) - LISTED_ITEMS} more"
    if words and words != ["leftovers"] and "--yes" not in flags and not confirm(what, outputs):
        yield "Nothing was removed."
        return
    held = remove_items(items, outputs)
    if "locks" in wanted:  # those too that were taken just now
        held += remove_items([*lock_items(outputs)], outputs)
    yield f"Removed {what}" + (f", but for {len(held)} of them" if held else "") + "."
    yield from (f"Stays, since a process is at work: {printable_name(item.path)}" for item in held)


def _line(item: Item) -> str:
    return f"  {printable_name(item.path)}  ({format_size(size_of(item.path))})"


def parse_clean_arguments(arguments: Sequence[str]) -> tuple[Path, list[str], set[str]]:
    """Return the outputs folder, the words and the flags of a command line.

    Raises:
        ConfigError: an unknown word, or a folder that is not one of fervis's outputs.
    """
    known = COMMANDS["clean"]
    flags = {argument for argument in arguments if argument.startswith("-")}
    for flag in flags - {*known.flags}:
        raise ConfigError(f"clean {flag}: there is no such flag; expected {' or '.join(known.flags)}.")
    folders = [argument.removeprefix("outputs=") for argument in arguments if argument.startswith("outputs=")]
    words = [word for word in arguments if word not in flags and not word.startswith("outputs=")]
    for word in words:
        if word not in known.words:
            raise unknown_name("clean", word, known.words)
    outputs = Path(folders[-1] if folders else "outputs").expanduser()
    if folders and not outputs.is_dir():
        raise ConfigError(f"outputs={folders[-1]}: there is no such folder.")
    if outputs.exists() and not is_outputs_folder(outputs):
        raise ConfigError(f"outputs={outputs}: that is no outputs folder of fervis, so nothing in it is touched.")
    return outputs, list(ITEM_READERS) if "all" in words else list(dict.fromkeys(words)), flags


def confirm(what: str, outputs: Path) -> bool:
    """Ask the person at the terminal.

    Raises:
        ConfigError: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise ConfigError(f"clean: there is no terminal to ask at; --yes removes {what} in {outputs}.")
    print(f"Remove {what} in {printable_name(outputs)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def remove_items(items: Sequence[Item], outputs: Path) -> list[Item]:
    """Remove the items on which no process works; return the others."""
    held = []
    for item in progress(items, "removing", "item"):
        if item.alone and any_lock_held(outputs):
            held.append(item)
            continue
        with ExitStack() as locked:
            if all(locked.enter_context(try_lock(outputs, folder)) for folder in item.owners):
                delete_tree(item.path)
            else:
                held.append(item)
    return held


def delete_tree(path: Path) -> None:
    """Delete a file or a folder, the files that mark it as whole first: half of an answer must not look whole."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for folder in [path, *folders_in(path)]:
        for mark in WHOLE_MARKS:
            (folder / mark).unlink(missing_ok=True)
    shutil.rmtree(path)
