"""Mask -> fill -> score, batched: what a network says of an image of which parts are hidden.

LIME, KernelSHAP, RISE and occlusion differ in which masks they draw and in how they add up the scores; what lies
between is the same. Masks come as an iterable of chunks, so that thousands of them never stand in memory at once, and
one image is scored at a time, so that its scores do not depend on the batch it came in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from fervis.core.targets import Targets
from fervis.errors import ConfigError, nearest_name
from fervis.models.hooks import activations, frozen

MASKS_PER_CHUNK = 100  # masked images a pass: the activations of a 48x48 network stay in the processor's cache
OUTPUTS = ("probability", "logit")
PASS_PRECISIONS = ("fp32", "bf16")


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


def masked_scores(
    model: nn.Module,
    image: Tensor,
    masks: Iterable[Tensor],
    fill: Tensor,
    targets: Targets,
    *,
    output: str = "probability",
    precision: str = "fp32",
) -> Tensor:
    """Score an image under each mask, for all labels of the network at once.

    Args:
        model: network from [N,C,H,W] images to [N,K] logits; left as it was found.
        image: [C,H,W] float.
        masks: chunks [s,H,W] of S masks in all, in [0, 1]; 1 shows the image, 0 the fill.
        fill: [C,H,W], or what broadcasts to it, of the image's dtype and device.
        targets: which network outputs are read: the classes, or filters of a layer.
        output: ``probability`` (softmax over the classes) or ``logit``; nothing to a filter.
        precision: ``fp32``, or ``bf16``: convolutions and matrix products by autocast in bfloat16, whose probabilities
            differ by some thousandths.

    Returns:
        [S,K] float32 on the CPU, a column a class; [S,F] the mean outputs of F filters where these are the targets.

    Raises:
        ConfigError: the network gives something else than [N,K] logits.
    """
    fast = torch.autocast(image.device.type, torch.bfloat16, enabled=precision == "bf16")
    with frozen(model), torch.no_grad(), fast:
        lay_out = _layout(model, image, targets)
        return torch.cat(
            [read_scores(model, lay_out(fill_masked(image, some, fill)), targets, output).cpu() for some in masks]
        )


def _layout(model: nn.Module, image: Tensor, targets: Targets) -> Callable[[Tensor], Tensor]:
    """``channels_last`` where it is faster and the network takes it: one that reshapes by ``view`` does not."""
    if image.device.type != "cpu":
        return Tensor.contiguous
    try:
        read_scores(model, channels_last(image[None].clone()), targets, "logit")
    except RuntimeError:  # an error of another cause comes again
        return Tensor.contiguous
    return channels_last


def channels_last(images: Tensor) -> Tensor:
    """Lay [N,C,H,W] values out with a pixel's channels side by side, as processors convolve fastest.

    A single channel would count as laid out either way, and the network's first operation would choose the slow one; it
    therefore is the first of two, the other of which is empty.
    """
    if images.shape[1] > 1:
        return images.contiguous(memory_format=torch.channels_last)
    return torch.stack([images[:, 0], torch.zeros_like(images[:, 0])], 3)[..., :1].permute(0, 3, 1, 2)


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
