"""Class images: the inputs to which a network gives the highest logit of each class (Simonyan et al. 2013).

All classes are maximized together through the whole network, as logits rather than probabilities: a probability can
also be raised by lowering the other classes (arXiv:1312.6034, section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fervis.core.results import ExplainerOutput, FilterImages
from fervis.errors import ConfigError, unknown_name
from fervis.explainers.activation_maximization.baselines import compute_baselines
from fervis.explainers.activation_maximization.maximization import MaximizationSettings, maximize_all
from fervis.explainers.activation_maximization.objectives import class_values
from fervis.models.batch import Batch
from fervis.models.hooks import frozen


@dataclass
class ClassImage(MaximizationSettings):
    """Compute the images that most raise each class's logit; the settings are those of every maximization."""

    result: ClassVar = FilterImages
    scope: ClassVar = "network"
    takes: ClassVar = frozenset({"classes"})
    default_layer: ClassVar = "input"

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Return one entry per class: all classes, or those of ``target=``, names or numbers.

        Raises:
            ConfigError: the network has no such class, or its output is no row of logits.
        """
        classes = _chosen_classes(batch.target, batch.classes)

        def objectives(images: Tensor) -> list[Tensor]:
            with frozen(batch.model), torch.no_grad():
                logits = batch.model(images.clone())
            if logits.ndim != 2:
                raise ConfigError(f"model: its output is {list(logits.shape)}, expected [N,K] logits.")
            return [logits]

        (baselines,) = compute_baselines(batch, objectives)
        result = maximize_all(
            self,
            batch,
            lambda members, dtype: class_values(batch.model, members, dtype),
            classes,
            baselines.take(classes),
            use="class_image",
            unit="logit",
        )
        names = tuple(batch.classes[index] for index in classes)
        beyond = float((result.reached >= result.strongest).float().mean())
        return ExplainerOutput(result, ("network",) * len(names), names, numbers={"beyond_faces": beyond})


def _chosen_classes(spec: Any, classes: Sequence[str]) -> list[int]:
    """Return the numbers of the classes that ``target=`` means: ``auto`` or ``all``, a name, a number, or a list."""
    if spec in ("auto", "all"):
        return list(range(len(classes)))
    numbers = []
    for name in [spec] if isinstance(spec, str | int) else list(spec):
        if str(name) in classes:
            numbers.append(list(classes).index(str(name)))
        elif str(name).isdecimal() and int(name) < len(classes):
            numbers.append(int(name))
        else:
            raise unknown_name("target", name, [*classes, "auto", "all"])
    return list(dict.fromkeys(numbers))
