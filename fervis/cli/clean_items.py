"""The items of an outputs folder that can be removed, by kind."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fervis.cli.clean_ownership import (
    CACHE_FILE,
    epoch_number,
    files_in,
    folders_in,
    is_abandoned,
    is_begun,
    is_run,
    is_sweep,
    is_training,
    is_training_summary,
    is_unfinished,
    list_entries,
    read_json_record,
)
from fervis.cli.command_table import CLEAN_WORDS
from fervis.system.console import printable_name
from fervis.system.progress import progress


@dataclass(frozen=True)
class Item:
    """Something that can be removed.

    Attributes:
        path: a file or a folder, no link.
        owners: folders on which no process may work while it is removed.
        alone: whether no process may work in these outputs at all, since any of them could be reading it.
    """

    path: Path
    owners: tuple[Path, ...] = ()
    alone: bool = False


def run_items(outputs: Path) -> Iterator[Item]:
    """Yield answers, finished or not."""
    return (Item(folder, (folder,)) for folder in folders_in(outputs / "runs") if is_run(outputs, folder))


def sweep_items(outputs: Path) -> Iterator[Item]:
    """Yield sweeps with all of their jobs."""
    for folder in folders_in(outputs / "sweeps"):
        if is_sweep(outputs, folder):
            yield Item(folder, tuple(folders_in(folder)))


def failed_items(outputs: Path) -> Iterator[Item]:
    """Yield jobs of sweeps that failed."""
    for job in _jobs(outputs):
        if (job / "failure.json").is_file() and not (job / "summary.json").is_file():
            yield Item(job, (job,))


def checkpoint_items(outputs: Path) -> Iterator[Item]:
    """Yield trained networks, finished or not."""
    for folder in folders_in(outputs / "checkpoints"):
        if is_training(outputs, folder):
            yield Item(folder, (folder,), alone=True)


def training_items(outputs: Path) -> Iterator[Item]:
    """Yield summaries of trainings that differ in the seed."""
    return (Item(folder, alone=True) for folder in folders_in(outputs / "trainings") if is_training_summary(folder))


def epoch_items(outputs: Path) -> Iterator[Item]:
    """Yield epochs from which no answer was made, neither first, best nor last of a training."""
    used, watched = weights_in_use(outputs)
    for item in checkpoint_items(outputs):
        record = read_json_record(item.path / "training.json")
        if not record:  # the training resumes from them
            continue
        needed = {1, record.get("best"), record.get("last")}
        weights = [path for path in files_in(item.path) if epoch_number(path)]
        hashes = {path: _file_digest(path) for path in progress(weights, item.path.name, "epoch")}
        if {*hashes.values()} & watched:
            continue
        for path, digest in hashes.items():
            if epoch_number(path) not in needed and digest not in used:
                yield Item(path, item.owners, alone=True)


def cache_items(outputs: Path) -> Iterator[Item]:
    """Yield parsed data and the hashes of files."""
    return (Item(path, alone=True) for path in files_in(outputs / "cache") if CACHE_FILE.fullmatch(path.name))


def leftover_items(outputs: Path) -> Iterator[Item]:
    """Yield what killed processes left half-written, and folders in which nothing came to be."""
    folders = [outputs / "cache", outputs / "runs", outputs / "sweeps", outputs / "checkpoints"]
    for folder in [*folders, *folders_in(outputs / "sweeps")]:
        yield from (Item(path) for path in list_entries(folder) if is_abandoned(path))
    runs = [folder for folder in folders_in(outputs / "runs") if is_run(outputs, folder)]
    trainings = [item.path for item in checkpoint_items(outputs)]
    for folder in [*runs, *_jobs(outputs), *trainings]:
        # Two that have only begun are alike; the one that a process works on is locked.
        dead = [path for path in list_entries(folder) if is_unfinished(path)]
        yield from (Item(path, (folder,)) for path in ([folder] if is_begun(outputs, folder) else dead))


def lock_items(outputs: Path) -> Iterator[Item]:
    """Yield the files by which processes keep out of each other's way."""
    for path in files_in(outputs / "locks"):
        if re.fullmatch(r".+-[0-9a-f]{8}\.lock", path.name) and not path.stat().st_size:
            yield Item(path, alone=True)


ITEM_READERS: Mapping[str, Callable[[Path], Iterator[Item]]] = {
    "leftovers": leftover_items,
    "failed": failed_items,
    "epochs": epoch_items,
    "runs": run_items,
    "sweeps": sweep_items,
    "trainings": training_items,
    "checkpoints": checkpoint_items,
    "cache": cache_items,
    "locks": lock_items,
}
"""The functions that list the items of each of ``CLEAN_WORDS``."""


def is_outputs_folder(outputs: Path) -> bool:
    """Whether fervis has worked in a folder, or nothing has: it is empty, or holds what only fervis leaves."""
    return not any(outputs.iterdir()) or any(
        True for read in (run_items, sweep_items, checkpoint_items, training_items) for _ in read(outputs)
    )


def contents_table(outputs: Path) -> list[str]:
    """Return the number and size of the folder's items, one line per kind, and what is not fervis's."""
    lines = [f"{printable_name(outputs.resolve())}: {format_size(size_of(outputs))}"]
    for word, read in ITEM_READERS.items():
        items = outermost_items(list(read(outputs)))
        size = sum(size_of(item.path) for item in items)
        if items:
            lines.append(f"  {word:<11} {len(items):>6} {format_size(size):>9}  {CLEAN_WORDS[word]}")
    for path in sorted(outputs.iterdir()):
        if path.is_symlink():
            lines.append(f"  {printable_name(path.name)}: a link, which is not followed")
        elif path.name not in ITEM_READERS:
            lines.append(f"  {printable_name(path.name)}: not known here, it stays")
    return lines


def weights_in_use(outputs: Path) -> tuple[set[str], set[str]]:
    """Return the hashes of weights from which answers were made, and of those whose whole training an answer shows."""
    used: set[str] = set()
    watched: set[str] = set()
    for folder in [*folders_in(outputs / "runs"), *_jobs(outputs)]:
        hashes = read_json_record(folder / "manifest.json").get("hashes", {})
        weights = {value for name, value in hashes.items() if name.startswith("weights")}
        used |= weights
        config = folder / "config.yaml"
        text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
        watched |= weights if re.search(r"^explainer:\n  name: training$", text, re.MULTILINE) else set()
    return used, watched


def _file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, as a manifest states it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _jobs(outputs: Path) -> list[Path]:
    """Return the folders of all jobs of all sweeps."""
    return [job for sweep in folders_in(outputs / "sweeps") for job in folders_in(sweep) if is_run(outputs, job)]


def outermost_items(items: Sequence[Item]) -> list[Item]:
    """Return each item once, and none that is within another."""
    paths = {item.path for item in items}
    first = {item.path: item for item in reversed(items)}
    return [item for path, item in reversed(first.items()) if not paths & {*path.parents}]


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files below a folder, without what links lead to."""
    if not path.is_dir():
        return path.lstat().st_size
    files = (Path(root) / name for root, _, names in os.walk(path) for name in names)
    return sum(file.lstat().st_size for file in files)


def format_size(size: int) -> str:
    """Format a number of bytes.

    Example:
        >>> format_size(12_345_678)
        '12.3 MB'
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"
