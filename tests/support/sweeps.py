"""Folders of sweeps' jobs, as the command would leave them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

BASE: dict[str, Any] = {
    "dataset": {"name": "faces"},
    "model": {"name": "vgg8", "weights": None},
    "trainer": {"name": "supervised", "epochs": 8},
    "explainer": {"name": "saliency"},
    "visualizer": {"name": "heatmap"},
    "split": "test",
    "faces": "auto",
    "layer": None,
    "target": "auto",
    "checkpoint": "best",
    "seed": 0,
    "device": "auto",
    "quiet": False,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "explainer=lime": {"explainer": {"name": "lime", "samples": 1000}},
    "explainer=maps": {"explainer": {"name": "maps", "filters": 64}, "visualizer": {"name": "sheets"}},
    "trainer=quick": {"trainer": {"name": "supervised", "epochs": 8}},
    "trainer=long": {"trainer": {"name": "supervised", "epochs": 80, "lr": 0.1}},
}


def answered(
    sweep: Path,
    overrides: list[str],
    numbers: Mapping[str, float] | None = None,
    *,
    command: bool = True,
    entries: list[dict[str, Any]] | None = None,
    size: tuple[int, int] = (600, 300),
    warnings: tuple[str, ...] = (),
) -> Path:
    """The folder of an answered job, as the command would leave it."""
    config = json.loads(json.dumps(BASE))
    for override in overrides:
        key, _, value = override.partition("=")
        head, _, rest = key.partition(".")
        if override in OPTIONS:
            config |= OPTIONS[override]
        elif isinstance(config.get(head), dict):
            config[head][rest or "name"] = yaml.safe_load(value)
        else:
            config[key] = yaml.safe_load(value)
    folder = sweep / "-".join(override.rpartition("=")[2] for override in overrides)
    (folder / "figures").mkdir(parents=True)
    Image.new("RGB", size, (40 + len(folder.name), 120, 200)).save(folder / "figures" / "overview.png")
    (folder / "report.html").write_text("<!doctype html>")
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    manifest = {"fervis": "0.1.0", "seconds": {"draw": 1.5, "explain": 1.0}, "versions": {"torch": "2.13.0"}}
    manifest |= {"command": shlex.join(["python", "-m", "fervis", *overrides])} if command else {}
    manifest |= {"started": "2026-11-23T20:00:00+00:00", "warnings": list(warnings)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    layers = config["layer"] if isinstance(config["layer"], list) else [config["layer"] or "input"]
    summary = {
        "title": f"{config['explainer']['name']} at {', '.join(layers)}",
        "entries": [{"label": "happy", "layer": layer} for layer in layers] if entries is None else entries,
        "numbers": dict(numbers or {}),
        "figures": [{"file": "figures/overview.png", "caption": f"Seen at {layers[0]}."}],
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def failed(sweep: Path, overrides: list[str], error: str) -> Path:
    """The folder of a job that failed."""
    folder = sweep / "-".join(override.rpartition("=")[2] for override in overrides)
    folder.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "-m", "fervis", *overrides])
    told = {"error": error, "code": 2, "overrides": overrides, "command": command}
    (folder / "failure.json").write_text(json.dumps(told))
    return folder
