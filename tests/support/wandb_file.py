"""Reads what W&B recorded offline: ``run-<id>.wandb``, a LevelDB log of protobuf records after a header of 7 bytes.

W&B's own reader left the package with 0.30, and its command's format is not promised.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 32768
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class Kept:
    """An artifact: its files by the names they are kept under, and where each of them lies until it is sent."""

    type: str
    aliases: list[str]
    files: dict[str, Path]


@dataclass
class Recorded:
    """One offline run, as a reader of the dashboard would see it."""

    id: str = ""
    name: str = ""
    project: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    step_metrics: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    sweep: str = ""
    plots: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, Kept] = field(default_factory=dict)


def chunks(path: Path) -> Iterator[bytes]:
    """The records' bytes, joined over the borders of the blocks."""
    data = path.read_bytes()
    assert struct.unpack("<4sHB", data[:7]) == (b":W&B", 0xBEE1, 0), "not a W&B file"
    at, parts = 7, []
    while at < len(data):
        if BLOCK - at % BLOCK < 7:  # the rest of a block that holds no chunk's head
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        assert kind in (FULL, FIRST, MIDDLE, LAST)
        parts = [*([] if kind in (FULL, FIRST) else parts), data[at + 7 : at + 7 + length]]
        at += 7 + length
        if kind in (FULL, LAST):
            yield b"".join(parts)


def _items(items: Any) -> dict[str, Any]:
    """Key-value items, whose nested keys are paths into dictionaries."""
    found: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        place = found
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = json.loads(item.value_json)
    return found


def read(path: Path) -> Recorded:
    """Read a ``.wandb`` file."""
    from wandb.proto.wandb_internal_pb2 import Record

    run = Recorded()
    for chunk in chunks(path):
        record = Record()
        record.ParseFromString(chunk)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.name, run.project = record.run.run_id, record.run.display_name, record.run.project
            run.group, run.job_type = record.run.run_group, record.run.job_type
            run.tags = list(record.run.tags)
            run.sweep = record.run.sweep_id
            run.config |= {name: value for name, value in _items(record.run.config.update).items() if name != "_wandb"}
        elif kind == "history":
            run.rows.append(_items(record.history.item))
        elif kind == "summary":
            run.summary |= _items(record.summary.update)
        elif kind == "metric":
            run.step_metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "config":
            run.plots |= _items(record.config.update).get("_wandb", {}).get("visualize", {})
        elif kind == "artifact":
            contents = record.artifact.manifest.contents
            files = {content.path: Path(content.local_path) for content in contents}
            run.artifacts[record.artifact.name] = Kept(record.artifact.type, list(record.artifact.aliases), files)
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def runs(folder: Path) -> list[Path]:
    """The runs recorded under a folder, oldest first."""
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
