"""Kill a sweep at random moments and start it again: is what it leaves in the end what an undisturbed one leaves?

``python tests/support/kill_and_resume.py 20``
does it with twenty kills and prints what differs; ``test_killing.py`` with a few.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
SWEEP = [
    *("dataset.per_class_train=40", "dataset.per_class_val=10", "dataset.per_class_test=4", "trainer.epochs=3"),
    *("model.width=4", "visualizer.dpi=50", "-m", "layer=conv1,conv3", "explainer=saliency,smoothgrad"),
]


def start(folder: Path, command: list[str]) -> subprocess.Popen[str]:
    """Begin the sweep in a folder, in a group of processes of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "fervis", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def killed_after(folder: Path, command: list[str], seconds: float) -> bool:
    """Start the sweep and kill all its processes after so many seconds; False where it was whole before."""
    process = start(folder, command)
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    assert process.returncode == 0, errors
    return False


# Records of hashes hold the times of the files they are of; a manifest those of its pages, which are dated.
RECORD = re.compile(r"(intact|content)-[0-9a-f]+\.json")
UNTIMED = ("started", "seconds", "files", "sha256")


def state(folder: Path) -> dict[str, Any]:
    """What lies in a folder: file -> its content without timings and dates, as plain data or a digest."""
    return {
        str(path.relative_to(folder)): content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "locks" and not RECORD.fullmatch(path.name)
    }


def content(path: Path) -> Any:
    """A file's content, but for when it was made and how long that took."""
    if path.name == "manifest.json":
        told = json.loads(path.read_text(encoding="utf-8"))
        return {key: value for key, value in told.items() if key not in UNTIMED}
    if path.name == "metrics.csv":
        rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
        place = rows[0].index("images_per_second")
        return [[*row[:place], *row[place + 1 :]] for row in rows]
    if path.name == "course.safetensors":
        with safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["course"])
            tensors = {name: digest(file.get_tensor(name).numpy().tobytes()) for name in file.keys()}  # noqa: SIM118
        for row in told["history"]:
            del row["images_per_second"]
        return told, tensors
    if path.suffix == ".safetensors":  # the order of its metadata is that of a hash table
        with safe_open(path, "pt") as file:
            tensors = {name: digest(file.get_tensor(name).numpy().tobytes()) for name in file.keys()}  # noqa: SIM118
            return file.metadata(), tensors
    if path.suffix == ".html":
        return timeless(path.read_text(encoding="utf-8")).split("\n")
    if path.suffix in (".yaml", ".json"):
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    return digest(path.read_bytes())


def timeless(page: str) -> str:
    """A page without dates, the seconds of each stage, those of each job (the last column) and their sum."""
    page = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\+00:00)?", "DATE", page)
    page = re.sub(r"<h3>Seconds</h3>.*?</table>", "SECONDS", page, flags=re.DOTALL)
    page = re.sub(r'<td class="n"[^>]*>[\d.]+</td>\s*</tr>', "SECONDS", page)
    return re.sub(r"[\d.]+ (s|min) in all", "SECONDS", page)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What differs between two states, a line a file."""
    names = sorted(one.keys() | other.keys())
    return [f"{name}: {_apart(one.get(name), other.get(name))}" for name in names if one.get(name) != other.get(name)]


def _apart(one: Any, other: Any) -> str:
    if isinstance(one, list) and isinstance(other, list):
        return " | ".join(f"{a!s:.300} != {b!s:.300}" for a, b in zip(one, other, strict=False) if a != b)
    return f"{one!s:.300} != {other!s:.300}"


def trial(home: Path, kills: int, seed: int, command: list[str] = SWEEP) -> tuple[list[str], list[float]]:
    """Kill the sweep so many times, at moments of a life of it, and go on; a whole one is compared and begun anew.

    Args:
        home: an empty folder.
        kills: how often a living sweep is killed.
        seed: of the moments.
        command: the sweep.

    Returns:
        What differed from the undisturbed sweep, and the seconds after which the sweeps were killed.
    """
    place, whole = home / "here", home / "undisturbed"
    begun = time.perf_counter()
    assert not killed_after(place, command, 3600)
    life = time.perf_counter() - begun
    place.rename(whole)
    expected, found, moments = state(whole), [], []
    moment = random.Random(seed)
    while True:
        seconds = moment.uniform(0, life) if len(moments) < kills else 3600
        if killed_after(place, command, seconds):
            moments.append(round(seconds, 2))
            continue
        found += differences(expected, state(place))
        if len(moments) == kills:
            return found, moments
        shutil.rmtree(place)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("kills", type=int, nargs="?", default=20)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("override", nargs="*", help="more of the command, such as hydra/launcher=joblib")
    told = words.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as home:
        found, moments = trial(Path(home), told.kills, told.seed, [*SWEEP, *told.override])
    print(f"killed after {', '.join(map(str, moments))} s")
    print("\n".join(found) or "no difference")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
