"""Names of the files in run, training and sweep folders; every reader and writer takes them from here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fervis.system.files import CHUNKS_FOLDER, CHUNKS_METADATA, STAGING_FOLDER

EPOCH_FILE = re.compile(r"epoch_(\d+)\.safetensors")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    SUMMARY = "summary.json"
    MANIFEST = "manifest.json"
    ARRAYS = "arrays.npz"
    ENTRIES = "entries.csv"
    CONFIG = "config.yaml"
    REPORT = "report.html"
    IMAGE_TABLE = "tracker_table.npz"
    FAILURE = "failure.json"
    FIGURES = "figures"
    MARKER = ".fervis"

    @property
    def summary(self) -> Path:
        """Titles, numbers and captions; written last, so that a folder without it is incomplete."""
        return self.path / self.SUMMARY

    @property
    def manifest(self) -> Path:
        """The key, the versions and the hashes of all other files."""
        return self.path / self.MANIFEST

    @property
    def arrays(self) -> Path:
        """The raw results."""
        return self.path / self.ARRAYS

    @property
    def entries(self) -> Path:
        """One row per entry, of runs that are computed in chunks."""
        return self.path / self.ENTRIES

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / self.CONFIG

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / self.REPORT

    @property
    def image_table(self) -> Path:
        """Thumbnails, maps in colours and values for a tracker's table of images."""
        return self.path / self.IMAGE_TABLE

    @property
    def failure(self) -> Path:
        """The error of a failed job of a sweep."""
        return self.path / self.FAILURE

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.path / self.FIGURES

    @property
    def marker(self) -> Path:
        """An empty file that marks a folder made by fervis."""
        return self.path / self.MARKER

    @property
    def staging(self) -> Path:
        """The folder that a run is written into before it is complete."""
        return self.path / STAGING_FOLDER

    @property
    def chunks(self) -> Path:
        """The folder of results of some images each, until the run is complete."""
        return self.path / CHUNKS_FOLDER

    @property
    def chunks_metadata(self) -> Path:
        """Key and settings of the run that the chunks belong to."""
        return self.path / CHUNKS_METADATA

    def chunk(self, number: int) -> Path:
        """Return the file of a chunk."""
        return self.chunks / f"{number:06d}.safetensors"


@dataclass(frozen=True)
class TrainingFolder:
    """The folder of one training."""

    path: Path

    RECORD = "training.json"
    METRICS = "metrics.csv"
    STATE = "course.safetensors"
    EVALUATION = "evaluation.json"
    CARD = "card.md"

    @property
    def record(self) -> Path:
        """Settings, result and hashes of the checkpoints; written last, so that a folder without it is incomplete."""
        return self.path / self.RECORD

    @property
    def metrics(self) -> Path:
        """The numbers of each epoch."""
        return self.path / self.METRICS

    @property
    def state(self) -> Path:
        """The state from which an interrupted training resumes."""
        return self.path / self.STATE

    @property
    def evaluation(self) -> Path:
        """Scores of the trained network."""
        return self.path / self.EVALUATION

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / self.CARD

    def epoch(self, number: int) -> Path:
        """Return the file of an epoch's weights."""
        return self.path / f"epoch_{number:03d}.safetensors"

    def epochs(self) -> dict[int, Path]:
        """Return the epochs whose weights are there, each with its file."""
        files = sorted(self.path.glob("epoch_*.safetensors"))
        return {int(match[1]): path for path in files if (match := EPOCH_FILE.fullmatch(path.name))}


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep."""

    path: Path

    PAGE = "index.html"
    COMMAND = "command.txt"
    JOBS = "multirun.yaml"

    @property
    def page(self) -> Path:
        """The page of all its runs."""
        return self.path / self.PAGE

    @property
    def command(self) -> Path:
        """The command that started it."""
        return self.path / self.COMMAND

    @property
    def jobs(self) -> Path:
        """The record that Hydra writes of it."""
        return self.path / self.JOBS

    def runs(self) -> Iterator[RunFolder]:
        """Yield the folders of its jobs."""
        return (RunFolder(path) for path in sorted(self.path.iterdir()) if path.is_dir() and not path.is_symlink())
