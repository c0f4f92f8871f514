"""Send runs and trainings to a tracker, each from its folder alone, so that it can be sent at any time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from fervis.core.folders import RunFolder, SweepFolder, TrainingFolder
from fervis.core.protocols import RunInfo, Tracker
from fervis.core.registry import build_plugin
from fervis.core.results import Figure
from fervis.errors import ConfigError
from fervis.runs.checkpoints import training_history
from fervis.runs.config import RunConfig, compose_config, to_run_config
from fervis.runs.evaluate import draw_evaluation, headline
from fervis.runs.image_table import read_image_table
from fervis.system.console import SUCCESS, log
from fervis.system.files import write_text

ARTIFACT_PATTERNS = (
    *(RunFolder.CONFIG, RunFolder.MANIFEST, RunFolder.SUMMARY, RunFolder.REPORT, RunFolder.ARRAYS),
    *("*.csv", f"{RunFolder.FIGURES}/*"),
)


def track_run(tracker: Tracker, info: RunInfo) -> None:
    """Log everything that a complete run folder holds.

    That is its metrics, its figures, its table of images, its confusion matrices, and its files as an artifact.

    Args:
        tracker: started and not finished.
        info: of the run; the results are in ``info.folder``.
    """
    if info.config["tracker"]["name"] == "none":  # reading it all is not free
        return
    folder = info.folder
    summary = _read_json(RunFolder(folder).summary)
    tracker.log_metrics(summary["numbers"])
    for figure in summary["figures"]:
        tracker.log_figure(Path(figure["file"]).stem, Figure(folder / figure["file"], figure["caption"]))
    if rows := read_image_table(folder):
        if len(rows) < len(summary["entries"]):
            log.info("the tracker's table of images has the first %d of %d entries", len(rows), len(summary["entries"]))
        tracker.log_images(rows)
    elif summary["entries"] and "row" in summary["entries"][0]:
        log.info("%s has no %s, so no table of images is sent (rerun=true writes one)", folder, RunFolder.IMAGE_TABLE)
    arrays = RunFolder(folder).arrays
    if arrays.is_file():
        with np.load(arrays, allow_pickle=False) as opened:
            for name, counts in _confusion_counts(opened):
                tracker.log_confusion(name, counts, [str(word) for word in opened["classes"]])
    files = {
        str(path.relative_to(folder)): path for pattern in ARTIFACT_PATTERNS for path in sorted(folder.glob(pattern))
    }
    tracker.log_artifact(f"answer-{info.id}", "answer", files)
    write_text(_sent_marker(info), _fingerprint(info) + "\n")


def track_existing_run(config: RunConfig, info: RunInfo) -> None:
    """Send a run that was complete before to the tracker, unless the same results were sent with the same settings.

    The curves of a training belong to the run that trained, and are not sent again.
    """
    name = config.tracker["name"]
    if name == "none":
        return
    marker = _sent_marker(info)
    if marker.is_file() and marker.read_text(encoding="utf-8").strip() == _fingerprint(info):
        log.info(
            "tracker=%s has this answer already (fervis track %s tracker=%s sends it again)", name, info.folder, name
        )
        return
    _send_run(build_plugin("tracker", config.tracker), info)
    log.info("the answer that was there is sent to tracker=%s", name)


def track_training(tracker: Tracker, folder: Path, facts: Mapping[str, Any]) -> None:
    """Log what a training's folder holds, except for its epochs: metrics, figures, confusion matrix and weights.

    Args:
        tracker: started and not finished; it has the epochs.
        folder: of the training, which may not be evaluated.
        facts: ``model`` and ``dataset``, for the titles of the figures.
    """
    record = _read_json(TrainingFolder(folder).record)
    evaluated = TrainingFolder(folder).evaluation
    report = _read_json(evaluated) if evaluated.is_file() else None
    tracker.log_metrics({"best": float(record["best"]), **(headline(report) if report else {})})
    if report:
        for figure in draw_evaluation(report, folder, record, facts):
            tracker.log_figure(figure.path.stem, figure)
        if "test" in report["results"]:
            counts = report["results"]["test"]["none"]["full"]["confusion"]["counts"]
            tracker.log_confusion("confusion_matrix/test", np.array(counts, np.int64), report["classes"])
    files = {f"{word}.safetensors": TrainingFolder(folder).epoch(record[word]) for word in ("best", "last")}
    files |= {name: folder / name for name in ("config.yaml", "card.md", "evaluation.json", "metrics.csv")}
    tracker.log_artifact(folder.name, "model", {name: path for name, path in files.items() if path.is_file()})


def track_command(arguments: Sequence[str]) -> None:
    """Send finished runs, the jobs of sweeps, and trainings to a tracker, from what their folders hold.

    ``track outputs/runs/<name> tracker=wandb`` sends one run, ``track outputs/sweeps/<name> tracker=wandb`` every
    finished job of a sweep, ``track outputs/checkpoints/<name> tracker=wandb`` a training with its curves. The data set
    is not needed. ``tracker.<key>=<value>`` sets the tracker up, such as ``tracker.mode=online`` for W&B. Prints the
    folder of each run that was sent.

    Raises:
        ConfigError: no folder or no tracker is named, or a folder holds nothing to send.
    """
    overrides = [word for word in arguments if word.startswith(("tracker=", "tracker."))]
    folders = [Path(word) for word in arguments if word not in overrides]
    if not folders:
        raise ConfigError("track: expected a folder of a run, a sweep or a training, such as outputs/runs/<name>.")
    settings = to_run_config(compose_config(overrides)).tracker
    if settings["name"] == "none":
        raise ConfigError("track: expected a tracker, such as tracker=wandb.")
    build_plugin("tracker", settings)
    # Every folder is checked before anything is sent.
    for info in [info for folder in folders for info in _infos_below(folder, settings)]:
        tracker: Tracker = build_plugin("tracker", settings)
        if info.job_type == "train":
            _send_training(tracker, info)
        else:
            _send_run(tracker, info)
        log.info("sent to tracker=%s", settings["name"], extra=SUCCESS)
        print(info.folder.resolve())


def training_info(folder: Path, config: Mapping[str, Any], group: str | None) -> RunInfo:
    """Return the description of a training for its tracker, before it starts."""
    names = [str(config[kind]["name"]) for kind in ("model", "dataset") if kind in config]
    return RunInfo(
        name=folder.name,
        id=folder.name.rpartition("-")[2],
        folder=folder,
        config=dict(config),
        group=group,
        job_type="train",
        tags=("train", *names),
    )


def _infos_below(folder: Path, settings: Mapping[str, Any]) -> list[RunInfo]:
    """Return the run or training of a folder, or the runs and trainings of the folders in it.

    Raises:
        ConfigError: there is none.
    """
    if info := _info_of(folder, settings):
        return [info]
    infos = [info for child in sorted(folder.glob("*/")) if (info := _info_of(child, settings))]
    if not infos:
        raise ConfigError(f"track {folder}: it holds no complete run, sweep or training.")
    return infos


def _info_of(folder: Path, settings: Mapping[str, Any]) -> RunInfo | None:
    """Return the description, for a tracker, of the run or the training in a folder; None where there is neither."""
    config: dict[str, Any] = {}
    if RunFolder(folder).config.is_file():
        config = yaml.safe_load(RunFolder(folder).config.read_text(encoding="utf-8"))
    if TrainingFolder(folder).record.is_file():
        record = _read_json(TrainingFolder(folder).record)
        known = {name: record[name] for name in ("trainer", "seed", "precision") if name in record}
        return training_info(folder, known | config | {"tracker": dict(settings)}, group=None)
    if not config or not RunFolder(folder).summary.is_file():
        return None
    sweep, manifest = folder.resolve().parent, _read_json(RunFolder(folder).manifest)
    names = (str(config[kind]["name"]) for kind in ("explainer", "model", "dataset"))
    return RunInfo(
        name=folder.resolve().name,
        id=str(manifest["question_id"]),
        key=str(manifest.get("key", "")),
        folder=folder,
        config=config | {"tracker": dict(settings)},
        group=sweep.name if SweepFolder(sweep).jobs.is_file() else None,
        tags=tuple(names),
    )


def _send_run(tracker: Tracker, info: RunInfo) -> None:
    tracker.start(info)
    ok = False
    try:
        track_run(tracker, info)
        ok = True
    finally:
        tracker.finish(ok=ok)


def _send_training(tracker: Tracker, info: RunInfo) -> None:
    """Send a training with its epochs, which its ``metrics.csv`` holds."""
    names = info.tags[1:] or (info.name.rpartition("-")[0],)
    facts = {"model": names[0], "dataset": names[1] if len(names) > 1 else "its data"}
    tracker.start(info)
    ok = False
    try:
        for epoch, metrics in training_history(info.folder).items():
            tracker.log_metrics(metrics, epoch=epoch)
        track_training(tracker, info.folder, facts)
        ok = True
    finally:
        tracker.finish(ok=ok)


def _confusion_counts(arrays: NpzFile) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield a name and [K,K] counts for each confusion matrix among a run's arrays, one per checkpoint."""
    if {"counts", "low", "high", "classes"} <= set(arrays):
        names = [str(word) for word in arrays["checkpoints"]]
        for name, counts in zip(names, arrays["counts"], strict=True):
            yield f"confusion_matrix/{name}" if len(names) > 1 else "confusion_matrix", counts


def _sent_marker(info: RunInfo) -> Path:
    """Return the file that states which results were sent to a tracker last."""
    return info.folder / f".tracked_{info.config['tracker']['name']}"


def _fingerprint(info: RunInfo) -> str:
    """Return a hash of the tracker's settings and the run's summary."""
    settings = json.dumps(info.config["tracker"], sort_keys=True, default=str)
    return hashlib.sha256(settings.encode() + RunFolder(info.folder).summary.read_bytes()).hexdigest()


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
