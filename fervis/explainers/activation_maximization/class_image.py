"""Class images: the inputs to which a network gives the highest logit of each class (Simonyan et al. 2013).

The classes climb together through the whole network, from logits rather than probabilities: a probability can also be
raised by lowering the other classes (arXiv:1312.6034, section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fervis.core.results import ExplainerOutput, FilterImages
from fervis.errors import ConfigError, unknown_name
from fervis.explainers.activation_maximization.baselines import compute_baselines, selected_images
from fervis.explainers.activation_maximization.maximization import MaximizationSettings, maximize_all
from fervis.explainers.activation_maximization.objectives import class_values
from fervis.models.batch import Batch
from fervis.models.hooks import frozen


@dataclass
class ClassImage(MaximizationSettings):
    """Climbs the images that most raise each class's logit; its knobs are those of every climb."""

    result: ClassVar = FilterImages
    scope: ClassVar = "network"
    takes: ClassVar = frozenset({"classes"})
    default_layer: ClassVar = "input"

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Maximize each class, or those of ``target=`` (names or numbers): one entry per class.

        Raises:
            ConfigError: the network has no such class, or its output is no row of logits.
        """
        classes = chosen_classes(batch.target, batch.classes)

        def answers(images: Tensor) -> list[Tensor]:
            with frozen(batch.model), torch.no_grad():
                logits = batch.model(images.clone())
            if logits.ndim != 2:
                raise ConfigError(f"model: its output is {list(logits.shape)}, expected [N,K] logits.")
            return [logits]

        (beside,) = compute_baselines(batch, answers)
        result = maximize_all(
            self,
            batch,
            lambda some, quick: class_values(batch.model, some, quick),
            classes,
            selected_images(beside, classes),
            use="class_image",
            unit="logit",
        )
        names = tuple(batch.classes[index] for index in classes)
        beyond = float((result.reached >= result.strongest).float().mean())
        return ExplainerOutput(result, ("network",) * len(names), names, numbers={"beyond_faces": beyond})


def chosen_classes(spec: Any, classes: Sequence[str]) -> list[int]:
    """Return the numbers of the classes that ``target=`` means: ``auto``, ``all``, a name, a number, or a list."""
    if spec in ("auto", "all"):
        return list(range(len(classes)))
    found = []
    for one in [spec] if isinstance(spec, str | int) else list(spec):
        if str(one) in classes:
            found.append(list(classes).index(str(one)))
        elif str(one).isdecimal() and int(one) < len(classes):
            found.append(int(one))
        else:
            raise unknown_name("target", one, [*classes, "auto", "all"])
    return list(dict.fromkeys(found))
