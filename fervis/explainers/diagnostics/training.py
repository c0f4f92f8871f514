"""What changes over a training: every layer at every epoch, on the same faces.

Three numbers a layer, from one pass an epoch: linear CKA to the same layer at the last epoch (how much of what the
layer will see it sees already; Kornblith et al. 2019, arXiv:1905.00414, and Raghu et al. 2017, arXiv:1706.05806, who
found that lower layers settle first), the share of dead filters and the share of black outputs. For the network its
accuracy on the same faces, and what the training noted of itself.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fervis.core.intervals import Interval
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

FEWEST_IMAGES = 8  # faces that CKA can be resampled of
WHOLE_NETWORK = "network"
HISTORY_METRICS = ("train/loss", "val/accuracy")
EpochRow = dict[str, Interval]  # what is known of one layer, or the network, at one epoch


@dataclass
class TrainingDynamics:
    """Follows layers over the epochs of the training that a network comes from.

    Attributes:
        faces: how many of the split's faces it is measured on, spread evenly over them; at least 8.
        epochs: ``all`` that the training kept, or a list of at least two.
    """

    faces: int = 256
    epochs: Any = "all"
    result: ClassVar = Progress
    scope: ClassVar = "network"
    takes: ClassVar = frozenset({"layers"})
    default_layer: ClassVar = "all"

    def __post_init__(self) -> None:
        if self.faces < FEWEST_IMAGES:
            raise ConfigError(f"explainer.faces={self.faces}: at least {FEWEST_IMAGES} faces were expected.")
        listed = isinstance(self.epochs, Sequence) and not isinstance(self.epochs, str)
        if self.epochs != "all" and not (
            listed and all(type(epoch) is int for epoch in self.epochs) and len(set(self.epochs)) > 1
        ):
            raise ConfigError(
                f"explainer.epochs={self.epochs}: expected all, or a list of two or more epochs such as [1,5,10]."
            )

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Follow the layers of ``batch`` over its epochs; ``model`` lends its form only, and a copy the weights.

        Returns:
            An entry a layer and a last one, ``network``. What is no number of an entry, or not known, is NaN.

        Raises:
            ConfigError: fewer than two epochs are known, one asked for is not, the layer is ``input``, or there are
                fewer than 8 faces.
        """
        epochs = self._chosen(batch)
        layers = [layer for layer in batch.layers if not layer.is_input]
        if len(layers) < len(batch.layers):
            raise ConfigError("layer=input: the pixels do not change over a training; ask for a layer, or all.")
        images, labels = _evenly_spread(batch, self.faces)
        weights = resample_indices(len(images), batch.generator("explainer/training"))
        copied = copy.deepcopy(batch.model)

        def at(epoch: int) -> tuple[Interval, dict[str, LayerStatistics]]:
            load_weights(copied, batch.epochs[epoch])
            logits, found = layer_statistics(copied, even_batches(images), layers)
            right = (logits.argmax(1) == labels).double()
            return bootstrap_mean(torch.where(labels < 0, torch.nan, right), weights), found

        last = at(epochs[-1])
        final = last[1]
        table: dict[str, list[EpochRow]] = {name: [] for name in (*final, WHOLE_NETWORK)}
        for epoch in progress(epochs, "training", "epoch", quiet=batch.quiet):
            accuracy, found = last if epoch == epochs[-1] else at(epoch)
            for name, seen in found.items():
                black = bootstrap_mean(seen.black, weights)
                table[name].append(
                    {
                        "cka": cka_with_interval(seen, final[name], weights),
                        "dead": dead_units(seen, weights),
                        "black": black,
                    }
                )
            noted = batch.history.get(epoch, {})
            known = {name: Interval(float(noted[name])) for name in HISTORY_METRICS if name in noted}
            table[WHOLE_NETWORK].append({"accuracy": accuracy, **known})
        words = tuple(f"{layer.channels} {'filters' if layer.layout == 'NCHW' else 'features'}" for layer in layers)
        numbers = _dynamics_numbers(table, epochs) | {"faces": float(len(images)), "epochs": float(len(epochs))}
        return ExplainerOutput(_progress(table, epochs), tuple(table), (*words, WHOLE_NETWORK), numbers=numbers)

    def _chosen(self, batch: Batch) -> list[int]:
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
    """So many of the pool's faces, evenly spread over it, as the network takes them, and their labels."""
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
    found = {}
    for entry, rows in table.items():
        for epoch, row in ((epochs[0], rows[0]), (epochs[-1], rows[-1])):
            for name, number in row.items():
                if name == "cka":
                    found[f"{epochs[0]}~{epochs[-1]}/{entry}/cka"] = rows[0]["cka"].value
                else:
                    found[f"{epoch}/{entry}/{name}"] = number.value
    return {name: value for name, value in found.items() if math.isfinite(value)}
