"""Run a fixed list of runs and write the hashes of all that they compute, to compare before and after a restructuring.

``python tests/support/golden_runs.py <folder> <hashes.json>`` runs the list in an empty folder. Hashes depend on the
machine, so none are committed: run the script on two commits and compare the files it writes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["dataset.per_class_train=40", "dataset.per_class_val=10", "dataset.per_class_test=8", "trainer.epochs=2"]
QUICK = [*SMALL, "model.width=4", "visualizer.dpi=60"]
DRAWN = [*SMALL, "visualizer.dpi=60"]
RUNS: dict[str, list[str]] = {
    "saliency": [*QUICK, "explainer=saliency", "layer=[conv3,conv7]"],
    "saliency_pixels": [*QUICK, "explainer=saliency", "target=all", "visualizer.scale=shared"],
    "saliency_filter": [*QUICK, "explainer=saliency", "target=conv3/2", "layer=conv1"],
    "smoothgrad": [*QUICK, "explainer=smoothgrad", "layer=conv5", "explainer.samples=6"],
    "lime": [*QUICK, "explainer=lime", "explainer.samples=120"],
    "lime_parts": [*QUICK, "explainer=lime", "explainer.superpixels=parts", "explainer.samples=400"],
    "lime_reference": [*QUICK, "explainer=lime_reference", "explainer.num_samples=60", "faces=per_class:1"],
    "filters": [*QUICK, "explainer=filters", "layer=[conv3,conv7]", "explainer.filters=4", "explainer.steps=8"],
    "filters_symmetry": [*QUICK, "explainer=filters", "layer=conv7", "explainer.filters=8", "explainer.symmetry=true",
                         "explainer.steps=8"],
    "class_image": [*QUICK, "explainer=class_image", "explainer.steps=8", "explainer.precision=fp32"],
    "feature_maps": [*QUICK, "explainer=feature_maps", "layer=[conv2,relu8]"],
    "top_faces": [*QUICK, "explainer=top_faces", "layer=conv5", "explainer.filters=6"],
    "confusion": [*QUICK, "explainer=confusion"],
    "confusion_flip": [*QUICK, "explainer=confusion", "explainer.views=flip", "visualizer.intervals=all"],
    "training": [*QUICK, "explainer=training"],
    "contrast": [*QUICK, "explainer=feature_maps", "layer=relu8", "checkpoint=[best,1]"],
    "contrast_saliency": [*QUICK, "explainer=saliency", "checkpoint=[best,1,initial]", "layer=conv7"],
    "contrast_confusion": [*QUICK, "explainer=confusion", "checkpoint=[best,1]"],
    "mini_xception": [*QUICK[:4], "visualizer.dpi=60", "model=mini_xception", "layer=last_conv"],
    "resnet18": [*QUICK[:4], "visualizer.dpi=60", "model=resnet18", "layer=stage2", "model.width=8"],
    "timm": [*QUICK[:3], "trainer.epochs=1", "visualizer.dpi=60", "model=timm", "model.architecture=resnet10t",
             "layer=last_conv"],
    "faces_shortcut": [*QUICK, "dataset=faces_shortcut", "layer=conv7"],
    "many": [*SMALL[:2], "dataset.per_class_test=40", "trainer.epochs=1", "model.width=4", "visualizer.dpi=60",
             "faces=all", "layer=conv3"],
    "sweep": [*QUICK, "-m", "layer=conv1,conv3", "explainer=saliency,smoothgrad"],
    "sweep_layers": [*QUICK, "-m", "layer=conv1,conv3,conv8", "explainer=saliency"],
    "shards": [*SMALL[:2], "dataset.per_class_test=41", "trainer.epochs=1", "model.width=4", "visualizer.dpi=60",
               "faces=all", "layer=conv3", "-m", "shard=1/2,2/2"],
    "train": ["train", *QUICK, "seed=1"],
    "train_seeds": ["train", *QUICK, "-m", "seed=2,3"],
    "study": ["experiment=study", *SMALL, "model.width=8", "visualizer.dpi=60"],
}  # fmt: skip
FER2013: dict[str, list[str]] = {
    "fer_saliency": ["experiment=q1_saliency", "visualizer.dpi=60"],
    "fer_confusion": ["experiment=q3_confusion", "visualizer.dpi=60"],
    "fer_study": ["experiment=study"],
    "fer_audit": ["audit"],
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("hashes", type=Path)
    arguments.add_argument("--source", type=Path, default=ROOT, help="source tree to run")
    arguments.add_argument("--fer2013", type=Path, help="a file of FER2013; its runs are left out without")
    arguments.add_argument("--only", nargs="*", help="names of runs")
    options = arguments.parse_args()
    runs = dict(RUNS)
    # The data set's name stands in figures: the same one on every commit, also where the default has another.
    for name, command in runs.items():
        named = ["dataset.name=faces"] if any(part.startswith("dataset=") for part in command) else ["dataset=faces"]
        position = command.index("train") + 1 if "train" in command else 0
        runs[name] = [*command[:position], *named, *command[position:]]
    if options.fer2013:
        data = ["dataset=fer2013", f"dataset.path={options.fer2013.resolve()}"]
        runs |= {name: [command[0], *data, *command[1:]] for name, command in FER2013.items()}
    results: dict[str, Any] = {}
    for name, command in runs.items():
        if options.only and name not in options.only:
            continue
        start = time.perf_counter()
        results[name] = run(options.folder, options.source.resolve(), command)
        print(f"{name}: {time.perf_counter() - start:.1f} s, {len(results[name])} hashes", flush=True)
        options.hashes.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def run(folder: Path, source: Path, command: list[str]) -> dict[str, str]:
    """Run one command in ``folder`` and return the hash of each of its results, by file name without ids."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "fervis", *command, "quiet=true"] if "audit" not in command else
        [sys.executable, "-m", "fervis", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    if done.returncode:
        return {"failed": done.stderr[-2000:]}
    last = done.stdout.strip().splitlines()[-1]
    result = folder / last
    if not result.is_dir():
        return {"stdout": digest(done.stdout.encode())}
    return {
        f"{path.relative_to(result)}": hashed
        for path in sorted(result.rglob("*"))
        if path.is_file() and (hashed := hash_of(path))
    } | {"stdout": "\n".join(line for line in done.stdout.strip().splitlines()[:-1])}


def hash_of(path: Path) -> str:
    """The hash of what a file says, without dates, timings, ids and commands; empty for files that hold only those."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return digest(b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays)))
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as file:
            names = sorted(file.keys())
            return digest(b"".join(name.encode() + file.get_tensor(name).tobytes() for name in names))
    if path.suffix in (".png", ".jpg", ".csv") and path.name != "metrics.csv":
        return digest(path.read_bytes())
    if path.name == "summary.json":
        summary = json.loads(path.read_text(encoding="utf-8"))
        return json.dumps({key: summary[key] for key in ("numbers", "entries", "table") if key in summary})
    if path.name == "evaluation.json":
        return path.read_text(encoding="utf-8")
    return ""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


if __name__ == "__main__":
    main()
