"""Training dynamics: every layer at every epoch, on the same faces.

Three numbers per layer, from one pass per epoch: linear CKA with the same layer at the last epoch (how similar its
representation is to the final one; Kornblith et al. 2019, arXiv:1905.00414; lower layers converge first according to
Raghu et al. 2017, arXiv:1706.05806), the share of dead filters and the share of black outputs. For the network its
accuracy on the same faces, and the metrics that the training recorded.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from fervis.core.intervals import Interval
from fervis.core.knobs import Whole
from fervis.core.results import ExplainerOutput, Progress
from fervis.errors import ConfigError, unknown_name
from fervis.metrics.bootstrap import bootstrap_mean, resample_indices
from fervis.metrics.representation.layer_statistics import (
    LayerStatistics,
    cka_with_interval,
    dead_units,
    even_batches,
    layer_statistics,
)
from fervis.models.batch import Batch
from fervis.models.state_dicts import load_weights
from fervis.system.progress import progress

FEWEST_IMAGES = 8  # least number of faces for a bootstrap of CKA
WHOLE_NETWORK = "network"
HISTORY_METRICS = ("train/loss", "val/accuracy")
EpochRow = dict[str, Interval]  # the numbers of a layer, or of the network, at an epoch


@dataclass
class TrainingDynamics:
    """Follow layers over the epochs of the training that a network comes from.

    Attributes:
        faces: number of faces to measure on, spread evenly over the split.
        epochs: ``all`` that the training saved, or a list of at least two.
    """

    faces: Annotated[int, Whole(FEWEST_IMAGES)] = 256
    epochs: Any = "all"
    result: ClassVar = Progress
    scope: ClassVar = "network"
    takes: ClassVar = frozenset({"layers"})
    default_layer: ClassVar = "all"

    def __post_init__(self) -> None:
        listed = isinstance(self.epochs, Sequence) and not isinstance(self.epochs, str)
        if self.epochs != "all" and not (
            listed and all(type(epoch) is int for epoch in self.epochs) and len(set(self.epochs)) > 1
        ):
            raise ConfigError(
                f"explainer.epochs={self.epochs}: expected all, or a list of two or more epochs such as [1,5,10]."
            )

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Follow the layers of ``batch`` over its epochs; the weights are loaded into a copy of the model.

        Returns:
            One entry per layer and a last one, ``network``. Numbers that an entry does not have are NaN.

        Raises:
            ConfigError: fewer than two epochs are known, a listed one is unknown, the layer is ``input``, or there are
                fewer than 8 faces.
        """
        epochs = self._chosen_epochs(batch)
        layers = [layer for layer in batch.layers if not layer.is_input]
        if len(layers) < len(batch.layers):
            raise ConfigError("layer=input: the pixels do not change over a training; ask for a layer, or all.")
        images, labels = _evenly_spread(batch, self.faces)
        weights = resample_indices(len(images), batch.generator("explainer/training"))
        model = copy.deepcopy(batch.model)

        def statistics_at(epoch: int) -> tuple[Interval, dict[str, LayerStatistics]]:
            load_weights(model, batch.epochs[epoch])
            logits, statistics = layer_statistics(model, even_batches(images), layers)
            correct = (logits.argmax(1) == labels).double()
            return bootstrap_mean(torch.where(labels < 0, torch.nan, correct), weights), statistics

        last = statistics_at(epochs[-1])
        final = last[1]
        table: dict[str, list[EpochRow]] = {name: [] for name in (*final, WHOLE_NETWORK)}
        for epoch in progress(epochs, "training", "epoch", quiet=batch.quiet):
            accuracy, statistics = last if epoch == epochs[-1] else statistics_at(epoch)
            for name, of_layer in statistics.items():
                table[name].append(
                    {
                        "cka": cka_with_interval(of_layer, final[name], weights),
                        "dead": dead_units(of_layer, weights),
                        "black": bootstrap_mean(of_layer.black, weights),
                    }
                )
            history = batch.history.get(epoch, {})
            recorded = {name: Interval(float(history[name])) for name in HISTORY_METRICS if name in history}
            table[WHOLE_NETWORK].append({"accuracy": accuracy, **recorded})
        words = tuple(f"{layer.channels} {'filters' if layer.layout == 'NCHW' else 'features'}" for layer in layers)
        numbers = _dynamics_numbers(table, epochs) | {"faces": float(len(images)), "epochs": float(len(epochs))}
        return ExplainerOutput(_progress(table, epochs), tuple(table), (*words, WHOLE_NETWORK), numbers=numbers)

    def _chosen_epochs(self, batch: Batch) -> list[int]:
        known = sorted(batch.epochs)
        if len(known) < 2:
            raise ConfigError(
                f"explainer=training: it follows a training over its epochs, of which {len(known) or 'none'} "
                f"{'is' if len(known) == 1 else 'are'} known here; train a network of your own that keeps them, with "
                "model.weights=null trainer.keep=all."
            )
        for epoch in known if self.epochs == "all" else self.epochs:
            if epoch not in batch.epochs:
                raise unknown_name("explainer.epochs", epoch, known)
        return known if self.epochs == "all" else sorted(set(self.epochs))


def _evenly_spread(batch: Batch, faces: int) -> tuple[Tensor, Tensor]:
    """Return at most so many faces, evenly spread over the pool, as the network takes them, and their labels."""
    count = len(batch.pool)
    if count < FEWEST_IMAGES:
        raise ConfigError(f"split={batch.split}: it has {count} faces; at least {FEWEST_IMAGES} were expected.")
    chosen = torch.arange(min(faces, count)) * count // min(faces, count)
    images = batch.pool[chosen].to(batch.images.device)
    return images if images.is_floating_point() else images.float() / 255, batch.labels[chosen]


def _progress(table: dict[str, list[EpochRow]], epochs: list[int]) -> Progress:
    names = list(dict.fromkeys(name for rows in table.values() for row in rows for name in row))

    def tensor(name: str, part: str) -> Tensor:
        none = Interval(math.nan)
        return torch.tensor([[getattr(row.get(name, none), part) for row in rows] for rows in table.values()])

    values, low, high = ({name: tensor(name, part) for name in names} for part in ("value", "low", "high"))
    return Progress(tuple(epochs), values, low, high)


def _dynamics_numbers(table: dict[str, list[EpochRow]], epochs: list[int]) -> dict[str, float]:
    """Return the numbers of the first and last epoch: ``1~30/conv7/cka``, ``1/conv7/black``, ..."""
    numbers = {}
    for entry, rows in table.items():
        for epoch, row in ((epochs[0], rows[0]), (epochs[-1], rows[-1])):
            for name, number in row.items():
                if name == "cka":
                    numbers[f"{epochs[0]}~{epochs[-1]}/{entry}/cka"] = rows[0]["cka"].value
                else:
                    numbers[f"{epoch}/{entry}/{name}"] = number.value
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
