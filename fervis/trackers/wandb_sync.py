"""Send runs that were recorded offline to W&B: ``python -m fervis.trackers.wandb_sync <folder>...``.

An offline record names the files of its artifacts, the pictures of tables among them, by absolute path. They all lie in
the run folder, but where that was moved or copied to another machine, ``wandb sync`` finds none of them. Here the paths
are first turned to where the folder is, in the record itself; then ``wandb sync`` does the rest.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fervis.errors import ConfigError, RunError
from fervis.system.files import atomic_path

# The file is a header and a log of records after LevelDB: blocks of 32 KiB; each chunk of a record has a head of its
# checksum, length and kind, and no chunk goes over the border of a block.
HEADER = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
BLOCK_HEAD = struct.Struct("<IHB")
BLOCK = 2**15
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
STAGED = "/wandb/data/artifacts/staging/"  # of every recorded copy, in the run folder


def send_offline_runs(folders: Sequence[str]) -> None:
    """Send every run that was recorded offline in or under these folders.

    Raises:
        ConfigError: no folder is named, or one holds no such run.
        RunError: ``wandb sync`` failed.
    """
    if not folders:
        raise ConfigError("wandb_sync: expected a run folder or a folder of them, such as outputs/runs.")
    found: list[Path] = []
    for folder in folders:
        records = sorted(Path(folder).rglob("wandb/offline-run-*/run-*.wandb"))
        if not records:
            raise ConfigError(f"wandb_sync {folder}: no run was recorded offline by tracker=wandb there.")
        found += records
    for record in found:
        if settle(record):
            print(f"moved since it was recorded, paths put right: {record}")
    code = subprocess.run([sys.executable, "-m", "wandb", "sync", *(str(record.parent) for record in found)]).returncode
    if code:
        raise RunError(f"wandb sync ended with exit code {code}.")


def settle(record: Path) -> bool:
    """Turn the paths in a ``run-<id>.wandb`` to where its run folder lies now; whether any had to be.

    Args:
        record: at ``<run folder>/wandb/offline-run-<...>/run-<id>.wandb``.
    """
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

    now = record.resolve().parents[2]
    told = list(records(record.read_bytes()))
    parsed = [Record.FromString(data) for data in told]
    entries = [entry for one in parsed for entry in one.artifact.manifest.contents if entry.local_path]
    before = next(
        (path.partition(STAGED)[0] for path in (entry.local_path for entry in entries) if STAGED in path), None
    )
    if before is None or Path(before) == now:
        return False
    for entry in entries:
        if entry.local_path.startswith(f"{before}/"):
            entry.local_path = str(now / entry.local_path.removeprefix(f"{before}/"))
    # Records that name no file are kept to the byte.
    moved = [
        one.SerializeToString() if one.HasField("artifact") else data for one, data in zip(parsed, told, strict=True)
    ]
    with atomic_path(record) as partial:
        partial.write_bytes(written(moved))
    return True


def records(log: bytes) -> Iterator[bytes]:
    """The records of a ``.wandb`` file; one that was being written when the run was killed is left out.

    Raises:
        ConfigError: it is another kind of file.
    """
    if log[: len(HEADER)] != HEADER:
        raise ConfigError("wandb_sync: the file is no record of W&B's, or of a version that fervis does not know.")
    at, parts = len(HEADER), []
    while at + BLOCK_HEAD.size <= len(log):
        if BLOCK - at % BLOCK < BLOCK_HEAD.size:
            at += BLOCK - at % BLOCK
            continue
        checksum, length, kind = BLOCK_HEAD.unpack_from(log, at)
        data = log[at + BLOCK_HEAD.size : at + BLOCK_HEAD.size + length]
        if len(data) < length or checksum != _checksum(kind, data):
            return
        at += BLOCK_HEAD.size + length
        parts = [data] if kind in (FULL, FIRST) else [*parts, data]
        if kind in (FULL, LAST):
            yield b"".join(parts)


def written(records: Iterable[bytes]) -> bytes:
    """A ``.wandb`` file of these records."""
    log = bytearray(HEADER)
    for record in records:
        rest, begun, ended = record, False, False
        while not ended:
            room = BLOCK - len(log) % BLOCK
            if room < BLOCK_HEAD.size:
                log += bytes(room)
                continue
            # Where a block has room for the head alone, the record begins there with nothing.
            data, rest = rest[: room - BLOCK_HEAD.size], rest[room - BLOCK_HEAD.size :]
            ended = not rest
            kind = (LAST if begun else FULL) if ended else (MIDDLE if begun else FIRST)
            log += BLOCK_HEAD.pack(_checksum(kind, data), len(data), kind) + data
            begun = True
    return bytes(log)


def _checksum(kind: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(bytes([kind])))


if __name__ == "__main__":
    from fervis.cli.main import print_error

    try:
        send_offline_runs(sys.argv[1:])
    except (ConfigError, RunError) as error:
        sys.exit(print_error(str(error), 2 if isinstance(error, ConfigError) else 1))
