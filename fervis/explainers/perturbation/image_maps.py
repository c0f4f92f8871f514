"""The maps of one image by one method, and how those of a batch are put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fervis.core.layers import INPUT
from fervis.core.results import LayerMaps
from fervis.core.targets import Targets
from fervis.models.batch import Batch
from fervis.models.masking import MaskedPasses, masked_passes
from fervis.system.progress import progress


@dataclass(frozen=True)
class ImageMaps:
    """The maps of one image for T targets.

    Attributes:
        maps: [T,H,W].
        scores: name -> [T], numbers that the method reports of each map.
        errors: [T,H,W], standard errors of the maps; None of a method without chance.
        extras: name -> [T,...], further arrays.
    """

    maps: Tensor
    scores: dict[str, Tensor] = field(default_factory=dict)
    errors: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)


def explain_images(
    batch: Batch, method: str, output: str, precision: str, explain: Callable[[MaskedPasses, int], ImageMaps]
) -> list[ImageMaps]:
    """Explain the images of a batch one after the other, through a network that is prepared once.

    Args:
        batch: N images with T targets each.
        method: name of the explainer, for the progress bar.
        output: of a class, as ``masked_passes`` takes it.
        precision: of the passes, as ``masked_passes`` takes it.
        explain: the passes and the position of an image in the batch -> its maps.
    """
    with masked_passes(batch.model, batch.images, batch.targets, output=output, precision=precision) as passes:
        positions = progress(range(len(batch)), method, "face", quiet=batch.quiet)
        return [explain(passes, number) for number in positions]


def stack_images(images: Sequence[ImageMaps], unit: str, device: torch.device, *, signed: bool = True) -> LayerMaps:
    """Stack the maps of a batch's images; every value becomes float32."""

    def stack(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(parts)).float()

    first = images[0]
    errors = [image.errors for image in images if image.errors is not None]
    return LayerMaps(
        {INPUT: stack([image.maps for image in images]).to(device)},
        unit,
        signed=signed,
        scores={name: stack([image.scores[name] for image in images]) for name in first.scores} or None,
        errors={INPUT: stack(errors).to(device)} if errors else None,
        extras={name: stack([image.extras[name] for image in images]) for name in first.extras} or None,
    )


def bf16_difference(
    passes: MaskedPasses, image: Tensor, masks: Tensor, fill: Tensor, columns: list[int]
) -> dict[str, Tensor]:
    """Return the score [T] of passes in bf16: how far it moves a target at most under the first masks; else none."""
    if passes.precision != "bf16":
        return {}
    return {"bf16_difference": passes.difference(image, masks, fill)[columns]}


def relative_error(maps: Tensor, errors: Tensor) -> Tensor:
    """Return [T] the root mean square of the standard errors [T,...], as part of the range of the maps [T,...].

    A map without range, whose errors are 0 too, has the error 0.
    """
    flat = maps.flatten(1).double()
    size = errors.flatten(1).double().square().mean(1).sqrt()
    return torch.where(size > 0, size / (flat.amax(1) - flat.amin(1)), 0.0)


def output_name(output: str, targets: Targets) -> str:
    """Return what is explained of a target, in words: a class's ``probability`` or ``logit``, or a filter."""
    return output if targets.classes is not None else "filter's mean output"
