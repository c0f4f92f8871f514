"""A sweep and its jobs as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: name of its folder.
        state: ``answered``, ``failed``, or ``unfinished`` where the folder holds neither a result nor a failure.
        swept: axis -> its value here, as text; axes that are not known of an unfinished job are missing.
        settings: the resolved config under dotted keys; empty where there is no result.
        title: title of the result.
        numbers: its numbers by name; finite.
        layers: the layers that it explains.
        checkpoints: the checkpoints that it compares, where there are several.
        of_faces: whether its entries are faces.
        figure: file of the first figure, if any.
        caption: caption of that figure.
        command: the command that repeats the job.
        seconds: wall time, None where it is not known.
        error: why it failed, in one sentence.
        warnings: reasons to doubt the result, for its reader.
        manifest: the manifest.
    """

    name: str
    state: str
    swept: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    of_faces: bool = True
    figure: Path | None = None
    caption: str = ""
    command: str = ""
    seconds: float | None = None
    error: str = ""
    warnings: tuple[str, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def own_numbers(self) -> dict[str, float]:
        """Return the numbers under names that can be compared over layers.

        ``conv7/sharpness`` of a job about conv7 alone is ``sharpness``.
        """
        if len(self.layers) != 1:
            return dict(self.numbers)
        prefix = f"{self.layers[0]}/"
        short = {name: name.removeprefix(prefix) for name in self.numbers}
        return {name if short[name] in self.numbers else short[name]: value for name, value in self.numbers.items()}


@dataclass(frozen=True)
class Sweep:
    """All runs of a sweep.

    Attributes:
        folder: the sweep's folder.
        command: the command that started it.
        axes: what is swept -> its values in order. A plug-in's axis is its name, such as ``explainer.name``.
        jobs: in the order of the axes' values, those that are not finished last.
    """

    folder: Path
    command: str
    axes: Mapping[str, tuple[str, ...]]
    jobs: tuple[Job, ...]

    def count(self, state: str) -> int:
        """Return how many jobs are ``answered``, ``failed`` or ``unfinished``."""
        return sum(job.state == state for job in self.jobs)

    def job_label(self, job: Job) -> str:
        """Return a job's swept values, such as ``conv3 · lime · seed 0``; its folder's name where none are known."""
        values = (
            job.swept[axis] if axis == "layer" or axis.endswith(".name") else f"{axis_label(axis)} {job.swept[axis]}"
            for axis in self.axes
            if axis in job.swept
        )
        return " · ".join(values) or job.name


def axis_label(axis: str) -> str:
    """Return an axis as it is called on the command line.

    Example:
        >>> axis_label("explainer.name"), axis_label("trainer.lr")
        ('explainer', 'trainer.lr')
    """
    return axis.removesuffix(".name")
