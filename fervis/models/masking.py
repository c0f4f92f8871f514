"""Mask -> fill -> score, batched: the outputs of a network for an image with hidden parts.

LIME, KernelSHAP, RISE and occlusion differ in which masks they draw and in how they add up the scores; the passes
between are the same. Masks may come in chunks, so that thousands of them are never in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fervis.core.targets import Targets
from fervis.errors import ConfigError, nearest_name
from fervis.models.fast_inference import fused
from fervis.models.hooks import activations, frozen

MASKS_PER_CHUNK = 100  # masks over pixels that are made at once
OUTPUTS = ("probability", "logit")
PASS_PRECISIONS = ("fp32", "bf16")
_PIXELS_PER_PASS = 25 * 48 * 48
_COMPARED = 8  # masked images that are computed in both precisions


def check_choice(knob: str, value: str, known: Sequence[str]) -> None:
    """Raise ConfigError unless an explainer's knob has one of the known values."""
    if value not in known:
        listed = f"{', '.join(known[:-1])} or {known[-1]}"
        raise ConfigError(f"explainer.{knob}={value}: expected {listed}.{nearest_name(value, known)}")


def masks_from_segments(samples: Tensor, segments: Tensor, chunk: int = MASKS_PER_CHUNK) -> Iterator[Tensor]:
    """Masks over superpixels as masks over pixels, chunk by chunk.

    Args:
        samples: [S,d], how much of each of d superpixels is shown, in [0, 1].
        segments: [H,W] int64, each pixel's superpixel.
        chunk: masks a chunk.

    Yields:
        [s,H,W] of the samples' dtype, s at most ``chunk``.
    """
    for some in samples.split(chunk):
        yield some[:, segments]


def fill_masked(image: Tensor, masks: Tensor, fill: Tensor) -> Tensor:
    """Return [s,C,H,W]: the image where a mask is 1, the fill where it is 0, a mixture in between.

    Exact at both ends: at 1 the image's very values, at 0 the fill's.

    Args:
        image: [C,H,W] float.
        masks: [s,H,W], in [0, 1].
        fill: [C,H,W], or what broadcasts to it.
    """
    return torch.lerp(fill.expand_as(image)[None], image[None], masks[:, None].to(image))


class MaskedPasses:
    """The passes of masked images through a network that is prepared for them; made by ``masked_passes``.

    One image is scored at a time, so that its scores do not depend on the batch that it is in.
    """

    def __init__(self, model: nn.Module, targets: Targets, output: str, precision: str) -> None:
        self.precision = precision
        self._model, self._targets, self._output = model, targets, output

    def __call__(self, image: Tensor, masks: Tensor | Iterable[Tensor], fill: Tensor) -> Tensor:
        """Score an image under each mask, for all labels of the network at once.

        Args:
            image: [C,H,W] float.
            masks: [S,H,W] in [0, 1], or chunks of them; 1 shows the image, 0 the fill.
            fill: [C,H,W], or what broadcasts to it, of the image's dtype and device.

        Returns:
            [S,K] float32 on the CPU, one column per class; [S,F] the mean outputs of F filters where these are the
            targets.
        """
        chunks = [masks] if isinstance(masks, Tensor) else masks
        size = masks_per_pass(*image.shape[-2:])
        return self.images(fill_masked(image, some, fill) for chunk in chunks for some in chunk.split(size))

    def images(self, chunks: Iterable[Tensor], precision: str | None = None) -> Tensor:
        """Score images that are masked already, given in chunks [s,C,H,W]; by another precision where one is named."""
        parts = []
        for images in chunks:
            fast = (precision or self.precision) == "bf16"
            with torch.autocast(images.device.type, torch.bfloat16, enabled=fast):
                parts.append(read_scores(self._model, images, self._targets, self._output).cpu())
        return torch.cat(parts)

    def difference(self, image: Tensor, masks: Tensor, fill: Tensor) -> Tensor:
        """Return [K] how far bf16 moves the scores of an image at most, under the first few of the masks [S,H,W]."""
        images = fill_masked(image, masks[:_COMPARED], fill)
        exact, fast = (self.images([images], precision) for precision in PASS_PRECISIONS)
        return (exact - fast).abs().amax(0)

    def columns(self, image: int, values: Tensor) -> list[int]:
        """Return the columns [T] of scores [S,K] that are explained of the image at this position."""
        return target_columns(self._targets, image, values)


@contextmanager
def masked_passes(
    model: nn.Module, images: Tensor, targets: Targets, *, output: str = "probability", precision: str = "fp32"
) -> Iterator[MaskedPasses]:
    """Prepare a network for passes of masked images: BatchNorm folded and channels last, where that only rounds.

    Args:
        model: network from [N,C,H,W] images to [N,K] logits; afterwards it is as it was.
        images: [N,C,H,W] float, N >= 1; the first of them checks that the network computes the same.
        targets: which network outputs are read: the classes, or filters of a layer.
        output: ``probability`` (softmax over the classes) or ``logit``; it means nothing to a filter.
        precision: ``fp32``, or ``bf16``: convolutions and matrix products by autocast in bfloat16, whose probabilities
            differ by some thousandths.

    Raises:
        ConfigError: the network gives something else than [N,K] logits.
    """
    spare = model if targets.classes is not None else model.get_submodule(targets.layer)

    def probe() -> Tensor:
        return read_scores(model, images[:1].clone(), targets, "logit")

    with frozen(model), torch.no_grad(), fused(model, probe, None, spare):
        yield MaskedPasses(model, targets, output, precision)


def masked_scores(
    model: nn.Module,
    image: Tensor,
    masks: Tensor | Iterable[Tensor],
    fill: Tensor,
    targets: Targets,
    *,
    output: str = "probability",
    precision: str = "fp32",
) -> Tensor:
    """Score a single image under each mask; for several, prepare the network once (``masked_passes``)."""
    with masked_passes(model, image[None], targets, output=output, precision=precision) as scores:
        return scores(image, masks, fill)


def masks_per_pass(height: int, width: int) -> int:
    """Return how many masked images run at once: as many as hold the pixels of 25 48x48 images, but eight at least.

    Their activations are arrays small enough that the allocator reuses them in the next pass: on vgg8, fifty at
    once take a sixth longer per image, as the system clears fresh memory in every pass.
    """
    return max(8, _PIXELS_PER_PASS // (height * width))


def read_scores(model: nn.Module, images: Tensor, targets: Targets, output: str) -> Tensor:
    """[N,K] float32 probabilities or logits of [N,C,H,W] images, or [N,F] the mean outputs of filters.

    Raises:
        ConfigError: the network gives something else than [N,K] logits.
    """
    if targets.classes is None:
        outputs = activations(model, images, [targets.layer])[targets.layer]
        return outputs[:, list(targets.filters)].float().flatten(2).mean(2)
    logits = model(images)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ConfigError(f"model: its output is {shape}, expected [N,K] logits.")
    if output == "probability" and logits.shape[1] == 1:
        raise ConfigError(
            "explainer.output=probability: the network has one output, whose softmax is 1 for every image; expected "
            "logit."
        )
    return logits.float().softmax(1) if output == "probability" else logits.float()


def target_columns(targets: Targets, image: int, values: Tensor) -> list[int]:
    """Return the columns of ``masked_scores`` that are explained of an image: one per target.

    Args:
        targets: T per image.
        image: position of the image among the targets' images.
        values: [S,K] as ``masked_scores`` gives them.

    Raises:
        ConfigError: the network has no such class.
    """
    if targets.classes is None:
        return list(range(targets.count))
    targets[image : image + 1].scores(values[:1], {})  # refuses a class that does not exist
    return targets.classes[image].tolist()
