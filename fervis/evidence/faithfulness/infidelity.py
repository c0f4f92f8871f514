"""Infidelity: how far is a map from what perturbations do to the target (Yeh et al. 2019)?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Above, Choice, Number, Whole
from fervis.evidence.faithfulness.curves import constant_fill
from fervis.evidence.faithfulness.drops import Changes, hidden_alike, mass_in, output_drops
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch
from fervis.models.masking import masks_per_pass


@dataclass
class Infidelity:
    """Measure the mean squared error of the effect of a perturbation I that the map predicts.

    E[(I · map - (f(x) - f(x - I)))^2], Yeh et al. 2019 (arXiv:1901.09392), eq. 1. Of removed squares I is the indicator
    of the square, since a map holds contributions; of Gaussian noise it is the noise itself, for maps of slopes, spread
    evenly over channels. The perturbations are the same for all images and targets.

    Attributes:
        perturbation: ``square`` removes a square at a random position, ``gaussian`` adds noise.
        samples: number of perturbations.
        side: of the squares, in pixels.
        fill: value of removed pixels, or ``mean`` of the image.
        noise: standard deviation of the noise.
        scaled: multiply each map by the factor that serves it best (the paper's section 3), since maps have units of
            their own; else it is taken as it is.
        output: what is changed.
    """

    perturbation: Annotated[str, Choice("square", "gaussian")] = "square"
    samples: Annotated[int, Whole(2, 100_000)] = 100
    side: Annotated[int, Whole(1, 1024)] = 12
    fill: Annotated[Any, Choice("mean") | Number()] = 0.0
    noise: Annotated[float, Above(0)] = 0.1
    scaled: bool = True
    output: Annotated[str, Choice("probability", "logit")] = "logit"
    better: ClassVar = "lower"
    needs: ClassVar = frozenset()

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the error [N,T], in squared units of the output."""
        weights, changes = self._squares(batch) if self.perturbation == "square" else self._noise(batch)
        said, happened = mass_in(maps, weights), output_drops(batch, changes, self.output).double()
        if self.scaled:
            power = said.square().sum(-1, keepdim=True)
            said = said * torch.where(power > 0, (said * happened).sum(-1, keepdim=True) / power, 0.0)
        return {"": (said - happened).square().mean(-1).float()}

    def _squares(self, batch: Batch) -> tuple[Tensor, Changes]:
        """Return the squares [S,H,W] and how they are removed."""
        height, width = batch.images.shape[2:]
        generator = batch.generator("evidence/infidelity")
        inside = []
        for size in (height, width):
            side = min(self.side, size)
            starts = torch.randint(size - side + 1, (self.samples, 1), generator=generator)
            positions = torch.arange(size)
            inside.append((positions >= starts) & (positions < starts + side))
        squares = inside[0][:, :, None] & inside[1][:, None]
        fill = constant_fill(batch.images, self.fill)
        return squares, hidden_alike(batch, squares.to(batch.images.device), fill)

    def _noise(self, batch: Batch) -> tuple[Tensor, Changes]:
        """Return the noise [S,H,W], its mean over channels, and how it is taken from an image."""
        shape = (self.samples, *batch.images.shape[1:])
        noise = self.noise * torch.randn(shape, generator=batch.generator("evidence/infidelity"))
        size = masks_per_pass(*shape[2:])

        def changes(number: int) -> Iterator[Tensor]:
            for some in noise.split(size):
                yield batch.images[number] - some.to(batch.images)

        return noise.mean(1), changes
