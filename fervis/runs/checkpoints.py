"""Checkpoints of a run: weights of a training, of a file, or shipped ones; one, or several to be compared."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fervis.core.protocols import Model
from fervis.errors import ConfigError, unknown_name
from fervis.models.pretrained import pretrained_file
from fervis.models.state_dicts import existing_weights
from fervis.runs.config import RunConfig

INITIAL_CHECKPOINT = "initial"
TRAINED_CHECKPOINTS = ("best", "last")


@dataclass(frozen=True)
class Checkpoint:
    """A network of a run, by its weights.

    Attributes:
        name: name in figures and tables, such as ``best``, ``1`` or a file's name.
        spec: as in ``checkpoint=``.
        weights: a file that the config names or that comes with fervis; None where a training gives it, or for the
            network before training.
        shipped: whether the file comes with fervis.
    """

    name: str
    spec: Any
    weights: Path | None
    shipped: bool = False

    @property
    def trained(self) -> bool:
        """Whether it comes from the training of the run's config."""
        return self.weights is None and self.spec != INITIAL_CHECKPOINT


def parse_checkpoints(config: RunConfig, model: Model) -> tuple[Checkpoint, ...]:
    """Return the checkpoints that ``checkpoint=`` names: one, or each of a list.

    Raises:
        ConfigError: an entry is neither ``best``, ``last``, ``initial``, an epoch's number nor a file, is listed twice,
            or is not among the shipped weights.
    """
    several = isinstance(config.checkpoint, Sequence) and not isinstance(config.checkpoint, str)
    specs = list(config.checkpoint) if several else [config.checkpoint]
    checkpoints = [_parse_checkpoint(spec, config, model) for spec in specs]
    names = [checkpoint.name for checkpoint in checkpoints]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"checkpoint={config.checkpoint}: expected one checkpoint, or a list of different ones.")
    return tuple(checkpoints)


def _parse_checkpoint(spec: Any, config: RunConfig, model: Model) -> Checkpoint:
    if spec == INITIAL_CHECKPOINT:
        return Checkpoint(INITIAL_CHECKPOINT, INITIAL_CHECKPOINT, None)
    if spec in TRAINED_CHECKPOINTS or str(spec).isdecimal():
        return Checkpoint(str(spec), spec, *_weights_file(spec, config, model))
    if not Path(str(spec)).is_file():
        raise unknown_name(
            "checkpoint", spec, [*TRAINED_CHECKPOINTS, INITIAL_CHECKPOINT, "an epoch's number", "a file of weights"]
        )
    return Checkpoint(Path(str(spec)).stem, spec, Path(str(spec)))


def _weights_file(spec: Any, config: RunConfig, model: Model) -> tuple[Path | None, bool]:
    """Return the file of an epoch if it comes from no training of this config, and whether it is a shipped one."""
    name = config.model.get("weights")
    if model.checkpoint:
        if spec not in TRAINED_CHECKPOINTS:
            raise ConfigError(f"checkpoint={spec}: model.checkpoint names a file of weights, which has no epochs.")
        return existing_weights(model.checkpoint), False
    if name in (None, "auto"):
        return None, False
    return pretrained_file(str(config.model["name"]), str(name), spec), True


def saved_epochs(folder: Path) -> dict[int, Path]:
    """Return the epochs whose weights a training saved, each with its file."""
    files = sorted(folder.glob("epoch_*.safetensors"))
    return {int(path.stem.removeprefix("epoch_")): path for path in files}


def training_history(folder: Path) -> dict[int, Mapping[str, float]]:
    """Return the numbers of every epoch of a training, from its ``metrics.csv``; empty where there is none."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(lines)]
    return {int(row["epoch"]): {name: row[name] for name in row if name != "epoch"} for row in rows}


def epoch_numbers(folder: Path, path: Path) -> Mapping[str, float]:
    """Return the numbers of the epoch whose weights are in a file of a training's folder; empty if unknown."""
    epochs = {file: epoch for epoch, file in saved_epochs(folder).items()}
    return training_history(folder).get(epochs.get(path, 0), {})
