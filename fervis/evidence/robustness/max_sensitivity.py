"""Maximum sensitivity: how far does a map change when the image hardly does (Yeh et al. 2019, arXiv:1901.09392)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Above, Whole
from fervis.evidence.protocol import ExplainAgain
from fervis.evidence.robustness.versions import maps_of_versions
from fervis.models.batch import Batch


@dataclass
class MaxSensitivity:
    """Measure the largest change of a map under uniform noise, relative to the map's norm.

    It is the maximum over the samples of ``|A(x + noise) - A(x)| / |A(x)|`` in the Euclidean norm; the paper has no
    denominator, which makes methods of different units comparable, as in captum's ``sensitivity_max``. For a map of
    zeros the change itself is returned.

    Attributes:
        radius: of the noise at each pixel, in the unit of the images.
        samples: images drawn; the same noise for every image.
    """

    radius: Annotated[float, Above(0)] = 0.02
    samples: Annotated[int, Whole(1, 10_000)] = 10
    better: ClassVar = "lower"
    needs: ClassVar = frozenset({"explain_again"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the largest relative change [N,T], at least 0."""
        draws = torch.rand(
            self.samples, *batch.images.shape[1:], generator=batch.generator("evidence/max_sensitivity")
        ).to(batch.images)
        noisy = [batch.images + self.radius * (2 * draw - 1) for draw in draws]
        changes = [(other - maps).flatten(2).norm(dim=2) for other in maps_of_versions(again, noisy)]
        norm = maps.flatten(2).norm(dim=2)
        return {"": torch.stack(changes).amax(0) / norm.where(norm > 0, 1.0)}
