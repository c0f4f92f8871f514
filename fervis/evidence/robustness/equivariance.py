"""Equivariance: is the map of a flipped or shifted image the flipped or shifted map (Crabbé et al. 2023)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fervis.core.knobs import Whole
from fervis.errors import ConfigError
from fervis.evidence.protocol import ExplainAgain
from fervis.evidence.robustness.versions import maps_of_versions
from fervis.metrics.similarity import spearman
from fervis.models.batch import Batch


@dataclass
class Equivariance:
    """Measure the rank correlation of the transformed image's map with the transformed map.

    Crabbé and van der Schaar (2023, arXiv:2304.06715) take the cosine, which is large for any two maps without negative
    values. A network is not quite equivariant itself; a low value may be its own, so methods are to be compared on one
    network.

    Attributes:
        shift: pixels by which the image moves down and to the right; its border is continued, and maps are compared
            where the image was moved to.
    """

    shift: Annotated[int, Whole(1)] = 2
    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"explain_again"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the correlation [N,T] in [-1, 1], the mean of ``flip`` and ``shift``; NaN for constant maps.

        Raises:
            ConfigError: the shift leaves less than half of the image's height or width.
        """
        size, step = min(batch.images.shape[2:]), self.shift
        if 2 * step > size:
            raise ConfigError(
                f"evidence.equivariance.shift={step}: expected at most half of the images' {size} pixels."
            )
        shifted = F.pad(batch.images, (step, 0, step, 0), mode="replicate")[..., :-step, :-step]
        of_flipped, of_shifted = maps_of_versions(again, [batch.images.flip(3), shifted])
        parts = {
            "flip": _correlation(of_flipped, maps.flip(3)),
            "shift": _correlation(of_shifted[..., step:, step:], maps[..., :-step, :-step]),
        }
        return {"": torch.stack([*parts.values()]).mean(0), **parts}


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    return spearman(first.flatten(0, 1), second.flatten(0, 1)).reshape(first.shape[:2])
