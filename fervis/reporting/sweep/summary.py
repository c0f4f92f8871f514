"""A sweep's question in words, and the settings that its jobs share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fervis.reporting.rendering import format_time
from fervis.reporting.run_files import table_of
from fervis.reporting.sweep.jobs import Sweep, axis_label
from fervis.reporting.wording import describe_run, format_setting, join_names

_DESCRIBED_AXES = (
    *("explainer.name", "model.name", "dataset.name"),
    *("layer", "target", "checkpoint", "split", "faces", "seed"),
)
"""The axes whose values the description of a run names by itself."""


def sweep_title(sweep: Sweep) -> str:
    """Return what the sweep is about in a line: ``saliency of vgg8 on fer2013, by layer``."""
    settings = _shared_settings(sweep)
    names = {
        kind: join_names(
            [format_setting(value) for value in (choice if isinstance(choice, tuple) else [choice])], most=3
        )
        for kind in ("explainer", "model", "dataset")
        if (choice := settings.get(f"{kind}.name"))
    }
    axes = join_names([axis_label(axis) for axis in sweep.axes])
    if len(names) < 3 or settings.get("parts"):
        return f"A sweep over {axes}" if axes else f"The sweep {sweep.folder.resolve().name}"
    return f"{names['explainer']} of {names['model']} on {names['dataset']}" + (f", by {axes}" if axes else "")


def describe_sweep(sweep: Sweep) -> str:
    """Return the sweep in words: its runs in one sentence, then the axes that the sentence leaves out."""
    sentence = describe_run(_shared_settings(sweep), of_faces=all(job.of_faces for job in sweep.jobs))
    others = [axis for axis in sweep.axes if not sentence or axis not in _DESCRIBED_AXES]
    axes = [f"By {axis_label(axis)}: {join_names(sweep.axes[axis])}." for axis in others]
    return " ".join([sentence, *axes]).strip()


def sweep_facts(sweep: Sweep) -> list[str]:
    """Return how long the jobs took together, when the first started, and the folder's name."""
    seconds = [job.seconds for job in sweep.jobs if job.seconds is not None]
    started = min((str(job.manifest["started"]) for job in sweep.jobs if job.manifest.get("started")), default="")
    facts = [f"{_format_duration(sum(seconds))} in all"] if seconds else []
    facts += [f"started {format_time(started)}"] if started else []
    return [*facts, sweep.folder.resolve().name]


def shared_warnings(sweep: Sweep) -> dict[str, str]:
    """Return each warning once, with the jobs that it is of."""
    jobs: dict[str, list[str]] = {}
    for job in sweep.jobs:
        for warning in job.warnings:
            jobs.setdefault(warning, []).append(sweep.job_label(job))
    return {warning: join_names(names, most=4) for warning, names in jobs.items()}


def changed_settings(manifests: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the settings that differ from the default, with every value of what is swept."""
    values = _distinct_values(table_of(manifest, "differs") for manifest in manifests)
    return [(key, join_names(names, word="or")) for key, names in values.items()]


def shared_hashes(manifests: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the hashes of what the results were computed from: one where all agree, else how many there are."""
    values = _distinct_values(table_of(manifest, "hashes") for manifest in manifests)
    return [
        (name, hashes[0] if len(hashes) == 1 else f"{len(hashes)} different values, each on its question's page")
        for name, hashes in values.items()
        if name != "config"
    ]


def shared_versions(manifests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the versions of the packages that computed the results, every one where they differ."""
    values = _distinct_values(table_of(manifest, "versions") for manifest in manifests)
    return [f"{name} {' or '.join(versions)}" for name, versions in values.items()]


def _shared_settings(sweep: Sweep) -> dict[str, Any]:
    """Return the settings of one job, with a tuple of all values for each setting that is swept."""
    settings = dict(next((job.settings for job in sweep.jobs if job.settings), {}))
    return settings | {axis: values for axis, values in sweep.axes.items() if axis in settings}


def _format_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _distinct_values(tables: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the different values of each key over several tables, as text, in the order of their first use."""
    values: dict[str, dict[str, None]] = {}
    for table in tables:
        for key, value in table.items():
            values.setdefault(key, {})[format_setting(value)] = None
    return {key: list(texts) for key, texts in values.items()}
