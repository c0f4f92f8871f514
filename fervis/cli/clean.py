"""What lies in the outputs folder, and removing what is no longer wanted; what a living process holds stays.

Only what fervis itself makes is removed, known by its place and its marks; anything else stays and is told of. Links
are neither followed nor removed, unless they lie within a folder that is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fervis.core.folders import RunFolder
from fervis.errors import ConfigError, unknown_name
from fervis.system.files import CHUNKS_FOLDER, STAGING_FOLDER
from fervis.system.locks import any_lock_held, try_lock
from fervis.system.progress import progress

RUN_MARKS = (RunFolder.MARKER, "summary.json", "manifest.json", "failure.json", CHUNKS_FOLDER, STAGING_FOLDER)
TRAINING_MARKS = ("training.json", "metrics.csv", "course.safetensors", "evaluation.json")
WHOLE_MARKS = ("summary.json", "training.json")
EPOCH = re.compile(r"epoch_(\d+)\.safetensors")
PARTIAL_NAME = re.compile(r"\..+\.(\d+)\.partial(\.\w+)?")
PARTIAL_MAX_AGE = 3600.0
CLEAN_FLAGS = ("--yes", "--dry-run")


@dataclass(frozen=True)
class Item:
    """Something that can be removed.

    Attributes:
        path: a file or a folder, no link.
        owners: folders that nobody may work on while it is removed.
        alone: whether no process may be at work in these outputs at all, since any of them could be reading it.
    """

    path: Path
    owners: tuple[Path, ...] = ()
    alone: bool = False


def clean_outputs(arguments: Sequence[str]) -> str:
    """Remove what the arguments name, after asking where a person can answer; say what lies there and what was done.

    Args:
        arguments: any of ``KINDS`` or ``all``, leftovers where none is named; ``outputs=<folder>``, ``--yes``,
            ``--dry-run``.

    Raises:
        ConfigError: an unknown word, a folder that fervis did not make, or nobody to ask.
    """
    outputs, words, flags = parse_clean_arguments(arguments)
    if not outputs.exists():
        return f"There is no folder {outputs}; nothing to clean."
    wanted = words or ["leftovers"]
    items = outermost_items([item for word in wanted for item in ITEM_READERS[word](outputs)])
    lines = [] if words else [*cleanable_items(outputs), ""]
    what = f"{' and '.join(wanted)}: {len(items)}, {format_size(sum(size_of(item.path) for item in items))}"
    if not items:
        return "\n".join([*lines, f"Nothing to remove ({' and '.join(wanted)})."])
    if "--dry-run" in flags:
        listed = [f"  {item.path}  ({format_size(size_of(item.path))})" for item in items]
        return "\n".join([*lines, f"Would remove {what}", *listed])
    if words and words != ["leftovers"] and "--yes" not in flags and not confirm(what, outputs):
        return "Nothing was removed."
    held = remove(items, outputs)
    if "locks" in wanted:  # those too that were taken just now
        held += remove([*lock_items(outputs)], outputs)
    kept = [f"Kept, since a process is at work: {item.path}" for item in held]
    return "\n".join([*lines, f"Removed {what}" + (f", but for {len(held)} of them" if held else "") + ".", *kept])


def parse_clean_arguments(arguments: Sequence[str]) -> tuple[Path, list[str], set[str]]:
    """The outputs folder, the kinds and the flags of a command line.

    Raises:
        ConfigError: an unknown word, or a folder that is not one of fervis's outputs.
    """
    flags = {argument for argument in arguments if argument.startswith("-")}
    for flag in flags - {*CLEAN_FLAGS}:
        raise ConfigError(f"clean {flag}: there is no such flag; expected {' or '.join(CLEAN_FLAGS)}.")
    folders = [argument.removeprefix("outputs=") for argument in arguments if argument.startswith("outputs=")]
    words = [word for word in arguments if word not in flags and not word.startswith("outputs=")]
    for word in words:
        if word not in (*ITEM_READERS, "all"):
            raise unknown_name("clean", word, [*ITEM_READERS, "all"])
    outputs = Path(folders[-1] if folders else "outputs").expanduser()
    if folders and not outputs.is_dir():
        raise ConfigError(f"outputs={folders[-1]}: there is no such folder.")
    if outputs.exists() and not require_outputs_folder(outputs):
        raise ConfigError(f"outputs={outputs}: that is no outputs folder of fervis, so nothing in it is touched.")
    return outputs, list(ITEM_READERS) if "all" in words else list(dict.fromkeys(words)), flags


def require_outputs_folder(outputs: Path) -> bool:
    """Whether fervis has worked in the folder, or nobody has: it is empty, or holds what only fervis leaves."""
    some = (run_items, sweep_items, checkpoint_items, lock_items)
    return not any(outputs.iterdir()) or any(True for kind in some for _ in kind(outputs))


def confirm(what: str, outputs: Path) -> bool:
    """Ask the person at the terminal.

    Raises:
        ConfigError: nobody is there.
    """
    if not sys.stdin.isatty():
        raise ConfigError(f"clean: nobody can be asked here; --yes removes {what} in {outputs}.")
    print(f"Remove {what} in {outputs}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def remove(items: Sequence[Item], outputs: Path) -> list[Item]:
    """Remove what nobody works on; return the rest."""
    held = []
    for item in progress(items, "removing", "thing"):
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
    """Remove a file or a folder, first of all what says that it is whole: half of an answer is none."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for whole in [path, *folders_in(path)]:
        for mark in WHOLE_MARKS:
            (whole / mark).unlink(missing_ok=True)
    shutil.rmtree(path)


def run_items(outputs: Path) -> Iterator[Item]:
    """Answers, finished or not."""
    return (Item(folder, (folder,)) for folder in folders_in(outputs / "runs") if is_run(folder))


def sweep_items(outputs: Path) -> Iterator[Item]:
    """Sweeps with all of their jobs."""
    for folder in folders_in(outputs / "sweeps"):
        jobs = tuple(job for job in folders_in(folder) if is_run(job))
        if jobs or (folder / "multirun.yaml").is_file():
            yield Item(folder, jobs)


def failed_runs(outputs: Path) -> Iterator[Item]:
    """Jobs of sweeps that failed."""
    for job in jobs_in(outputs):
        if (job / "failure.json").is_file() and not (job / "summary.json").is_file():
            yield Item(job, (job,))


def checkpoint_items(outputs: Path) -> Iterator[Item]:
    """Trained networks, finished or not."""
    for folder in folders_in(outputs / "checkpoints"):
        if any((folder / mark).is_file() for mark in TRAINING_MARKS) or any(map(epoch_number, files_in(folder))):
            yield Item(folder, (folder,), alone=True)


def training_items(outputs: Path) -> Iterator[Item]:
    """Summaries of trainings that differ in the seed."""
    return (Item(folder, alone=True) for folder in folders_in(outputs / "trainings"))


def epoch_items(outputs: Path) -> Iterator[Item]:
    """Epochs that no answer was made from, neither first, best nor last of a training."""
    asked, watched = weights_in_use(outputs)
    for item in checkpoint_items(outputs):
        record = item.path / "training.json"
        if not record.is_file():  # it goes on from them
            continue
        told = json.loads(record.read_text(encoding="utf-8"))
        kept = {1, told.get("best"), told.get("last")}
        weights = [path for path in files_in(item.path) if epoch_number(path)]
        held = {path: weights_digest(path) for path in progress(weights, item.path.name, "epoch")}
        if {*held.values()} & watched:
            continue
        for path, hashed in held.items():
            if epoch_number(path) not in kept and hashed not in asked:
                yield Item(path, item.owners, alone=True)


def cache_items(outputs: Path) -> Iterator[Item]:
    """Parsed data and the hashes of files."""
    for path in files_in(outputs / "cache"):
        if path.suffix in (".safetensors", ".json"):
            yield Item(path, alone=True)


def partial_items(outputs: Path) -> Iterator[Item]:
    """What killed processes left half-written, and folders in which nothing came to be."""
    places = [outputs / "cache", outputs / "runs", outputs / "sweeps", outputs / "checkpoints"]
    for place in [*places, *folders_in(outputs / "sweeps")]:
        yield from (Item(path) for path in list_entries(place) if is_abandoned(path))
    for folder in [*folders_in(outputs / "runs"), *jobs_in(outputs), *folders_in(outputs / "checkpoints")]:
        inside = [path for path in list_entries(folder) if path.name != RunFolder.MARKER]
        dead = [path for path in inside if path.name == STAGING_FOLDER or PARTIAL_NAME.fullmatch(path.name)]
        # Two that have only begun look alike: whoever is at work holds the lock.
        gone = [folder] if len(dead) == len(inside) and not any(map(Path.is_symlink, folder.iterdir())) else dead
        yield from (Item(path, (folder,)) for path in gone)


def lock_items(outputs: Path) -> Iterator[Item]:
    """Files by which processes keep out of each other's way."""
    for path in files_in(outputs / "locks"):
        if re.fullmatch(r".+-[0-9a-f]{8}\.lock", path.name):
            yield Item(path, alone=True)


ITEM_READERS: Mapping[str, Callable[[Path], Iterator[Item]]] = {
    "leftovers": partial_items,
    "failed": failed_runs,
    "epochs": epoch_items,
    "runs": run_items,
    "sweeps": sweep_items,
    "trainings": training_items,
    "checkpoints": checkpoint_items,
    "cache": cache_items,
    "locks": lock_items,
}
"""What can be removed, in the order in which all of it is."""


def cleanable_items(outputs: Path) -> list[str]:
    """What lies in the folder and how much, a line a kind."""
    lines = [f"{outputs.resolve()}: {format_size(size_of(outputs))}"]
    for word, kind in ITEM_READERS.items():
        found = outermost_items(list(kind(outputs)))
        size = sum(size_of(item.path) for item in found)
        if found:
            about = (kind.__doc__ or "").rstrip(".")
            lines.append(f"  {word:<11} {len(found):>6} {format_size(size):>9}  {about}")
    for path in sorted(outputs.iterdir()):
        if path.is_symlink():
            lines.append(f"  {path.name}: a link, which is not followed")
        elif path.name not in ITEM_READERS:
            lines.append(f"  {path.name}: not known here, it stays")
    return lines


def weights_in_use(outputs: Path) -> tuple[set[str], set[str]]:
    """Hashes of the weights that answers were made from, and of those whose whole training an answer is about."""
    asked: set[str] = set()
    watched: set[str] = set()
    for folder in [*folders_in(outputs / "runs"), *jobs_in(outputs)]:
        path = folder / "manifest.json"
        if path.is_file():
            hashes = json.loads(path.read_text(encoding="utf-8")).get("hashes", {})
            found = {value for name, value in hashes.items() if name.startswith("weights")}
            asked |= found
            config = folder / "config.yaml"
            told = config.read_text(encoding="utf-8") if config.is_file() else ""
            watched |= found if re.search(r"^explainer:\n  name: training$", told, re.MULTILINE) else set()
    return asked, watched


def weights_digest(path: Path) -> str:
    """SHA-256 of a file, as a manifest tells it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def epoch_number(path: Path) -> int | None:
    """The epoch of a file of weights; None for any other."""
    found = EPOCH.fullmatch(path.name)
    return int(found[1]) if found else None


def is_run(folder: Path) -> bool:
    """Whether the folder is that of a run: an answer, a failure, or what a process has begun there."""
    return any((folder / mark).exists() for mark in RUN_MARKS) or not any(folder.iterdir())


def is_abandoned(path: Path) -> bool:
    """Whether a half-written thing belongs to nobody: its process is gone, and another machine's would be quicker."""
    found = PARTIAL_NAME.fullmatch(path.name)
    return bool(found) and not is_alive(int(found[1])) and time.time() - path.lstat().st_mtime > PARTIAL_MAX_AGE


def is_alive(process: int) -> bool:
    """Whether this machine has a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def list_entries(folder: Path) -> list[Path]:
    """Files and folders in a folder that is no link, without links."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.is_symlink())


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, without links."""
    return [path for path in list_entries(folder) if path.is_dir()]


def files_in(folder: Path) -> list[Path]:
    """The files in a folder, without links."""
    return [path for path in list_entries(folder) if path.is_file()]


def jobs_in(outputs: Path) -> list[Path]:
    """The folders of all jobs of all sweeps."""
    return [job for sweep in folders_in(outputs / "sweeps") for job in folders_in(sweep) if is_run(job)]


def outermost_items(items: Sequence[Item]) -> list[Item]:
    """Each once, and none that lies within another."""
    paths = {item.path for item in items}
    seen = {item.path: item for item in reversed(items)}
    return [item for path, item in reversed(seen.items()) if not paths & {*path.parents}]


def size_of(path: Path) -> int:
    """Bytes of a file or of all files below a folder, without what links lead to."""
    if not path.is_dir():
        return path.lstat().st_size
    found = ((Path(root) / name for name in names) for root, _, names in os.walk(path))
    return sum(file.lstat().st_size for files in found for file in files)


def format_size(size: int) -> str:
    """``12.3 MB`` for 12,345,678 bytes."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"
