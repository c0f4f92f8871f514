"""Why this class and not those: networks whose outputs are contrasts of classes, for CAMs that explain a contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from fervis.core.targets import class_targets, contrasted_class
from fervis.errors import ConfigError
from fervis.models.batch import Batch

SIMILAR = "similar"


class ContrastNetwork(nn.Module):
    """A network's logits minus a part of those of other classes: [N,C,H,W] images -> [N,T] contrasts.

    Args:
        batch: its network gives [N,K] logits; its targets are the classes [N,T].
        references: the other classes, by number; empty for those whose logits are nearest, chosen per image and target.
        similar: how many are chosen, at most all others.
        strength: factor of the mean logit of the other classes.
    """

    def __init__(self, batch: Batch, references: Sequence[int], similar: int, strength: float) -> None:
        super().__init__()
        self.model, self.targets, self.classes = batch.model, batch.targets, batch.classes
        self.references, self.similar, self.strength = tuple(references), similar, strength

    def forward(self, images: Tensor) -> Tensor:
        """Return each target's logit minus ``strength`` times the mean logit of its other classes."""
        logits = self.model(images)
        scores = self.targets.scores(logits, {})  # [N,T]
        assert self.targets.classes is not None
        others = self.others(logits.detach(), self.targets.classes.to(logits.device))
        return scores - self.strength * (logits[:, None] * others).sum(2) / others.sum(2)

    def others(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Return [N,T,K], 1 for the other classes of each target and 0 elsewhere.

        Raises:
            ConfigError: the network has one class, or a target is the only one of the classes to contrast it with.
        """
        count = logits.shape[1]
        if count < 2:
            raise ConfigError("explainer=finer: the network has one class, expected another to contrast it with.")
        own = nn.functional.one_hot(classes, count).bool()
        if self.references:
            listed = torch.zeros(count, dtype=torch.bool, device=logits.device)
            listed[list(self.references)] = True
            others = listed & ~own
            if not others.any(2).all():
                raise ConfigError(
                    f"against={self.classes[self.references[0]]}: this class is itself explained, so it has "
                    "no contrast; expected another class, or similar."
                )
            return others.to(logits)
        distances = (logits[:, None] - logits.gather(1, classes)[:, :, None]).abs().masked_fill(own, torch.inf)
        nearest = distances.topk(min(self.similar, count - 1), dim=2, largest=False).indices
        return torch.zeros_like(distances).scatter(2, nearest, 1.0)


def contrast_batch(batch: Batch, references: Sequence[int], similar: int, strength: float) -> Batch:
    """Return the batch whose T targets are the contrasts of its targets, at the same layers."""
    network = ContrastNetwork(batch, references, similar, strength)
    layers = tuple(replace(layer, path=f"model.{layer.path}") for layer in batch.layers)
    targets = class_targets(torch.arange(batch.targets.count).expand(len(batch), -1))
    return replace(batch.with_model(network), layers=layers, targets=targets)


def class_numbers(against: object, classes: Sequence[str]) -> list[int]:
    """Return the numbers of the classes that ``against=`` names, one or a list; none for ``similar``.

    Raises:
        ConfigError: there is no such class.
    """
    listed = against if isinstance(against, list | tuple) else [against]
    return [] if against == SIMILAR else [contrasted_class(item, classes) for item in listed]
