"""Probabilities of images, averaged over views of each at test time, and checks of what networks return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from fervis.core.network import Network
from fervis.errors import ConfigError, unknown_name
from fervis.models.fast_inference import fast_forward
from fervis.models.hooks import frozen
from fervis.system.console import log
from fervis.system.progress import progress

BATCH_SIZE = 64
TTA_KINDS = ("none", "flip", "tencrop")
PROBE_IMAGES = 4  # images by which to see that the fused network computes the same
_warned: WeakSet[nn.Module] = WeakSet()  # networks already reported to end in a softmax
_SUM_TOLERANCE = 1e-3  # of the sum of probabilities, where the type is no coarser


def predict(model: nn.Module, images: Tensor, batch_size: int = BATCH_SIZE) -> Tensor:
    """Return [N,K] float32 softmax probabilities of the network, in eval mode; the images are left as they are.

    Raises:
        ConfigError: images or logits that are not finite, or an output that is no [N,K] logits.
    """
    check_finite(images)
    with frozen(model), torch.no_grad():
        # A network that normalises in place changes the copy.
        logits = torch.cat([check_logits(model(part.clone())).float() for part in images.split(batch_size)])
    warn_if_probabilities(logits, model)
    return logits.softmax(1)


def check_finite(images: Tensor) -> None:
    """Raise ConfigError where images hold NaN or an infinite value.

    Example:
        >>> check_finite(torch.tensor([0.5, float("nan")]).view(2, 1, 1, 1))
        Traceback (most recent call last):
        fervis.errors.ConfigError: images: image 1 holds values that are not finite (NaN or infinite).
    """
    if images.is_floating_point() and not images.isfinite().all():
        number = int((~images.flatten(1).isfinite().all(1)).nonzero()[0])
        raise ConfigError(f"images: image {number} holds values that are not finite (NaN or infinite).")


def check_logits(logits: Any, *, finite: bool = True) -> Tensor:
    """Return what a network gave if it is [N,K] logits, all finite.

    Args:
        logits: what it gave.
        finite: whether to refuse NaN and infinite values.

    Raises:
        ConfigError: it is something else, or holds NaN or infinite values.
    """
    if not isinstance(logits, Tensor):
        raise ConfigError(f"model: its output is a {type(logits).__name__}, expected one tensor of [N,K] logits.")
    if logits.ndim != 2:
        raise ConfigError(f"model: its output is {list(logits.shape)}, expected [N,K] logits.")
    if not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        raise ConfigError(f"model: its output is {kind} [N,K], expected float logits, before any argmax or rounding.")
    if not finite:
        return logits
    wrong = ~logits.isfinite().all(1)
    if wrong.any():
        raise ConfigError(
            f"model: its logits are not finite (NaN or infinite) for {int(wrong.sum())} of {len(logits)} images; its "
            "weights are damaged, or its training diverged."
        )
    return logits


def are_probabilities(logits: Tensor) -> bool:
    """Whether every row of [N,K] outputs, K at least 2, is in [0, 1] and sums to one, as after a softmax.

    Example:
        >>> are_probabilities(torch.tensor([[0.2, 0.8], [0.5, 0.5]])), are_probabilities(torch.tensor([[2.0, -1.0]]))
        (True, False)
    """
    if not len(logits) or logits.shape[1] < 2:
        return False
    inside = (logits >= 0) & (logits <= 1)
    # Rounding to a type moves each of them by at most half its eps, relative to it, and so their sum by as much.
    tolerance = max(_SUM_TOLERANCE, torch.finfo(logits.dtype).eps / 2)
    return bool(inside.all()) and bool(((logits.float().sum(1) - 1).abs() <= tolerance).all())


def warn_if_probabilities(logits: Tensor, model: nn.Module) -> bool:
    """Warn, once for each network, where its outputs are probabilities; return whether they are."""
    found = are_probabilities(logits)
    if found and model not in _warned:
        _warned.add(model)
        log.warning(
            "model: its outputs sum to one in every row, so it ends in a softmax; fervis takes them for logits and "
            "applies another. Explain the network without its last softmax."
        )
    return found


def tta_views(images: Tensor, kind: str, crop: int | None = None) -> Iterator[Tensor]:
    """Yield the views of a batch of images: [N,C,H,W] each, or [N,C,crop,crop].

    Args:
        images: [N,C,H,W].
        kind: ``none`` (the images themselves), ``flip`` (and their mirror images) or ``tencrop`` (four corners and
            the centre, and the mirror images of these; Krizhevsky et al. 2012).
        crop: side of a crop in pixels; None for 11/12 of the image, 44 of 48.

    Raises:
        ConfigError: an unknown kind, or a crop that does not fit.
    """
    if kind not in TTA_KINDS:
        raise unknown_name("views", kind, TTA_KINDS)
    height, width = images.shape[-2:]
    parts = [images]
    if kind == "tencrop":
        side = min(height, width) * 11 // 12 if crop is None else crop
        if not 1 <= side <= min(height, width):
            raise ConfigError(f"crop={side}: expected a side from 1 to the images' {min(height, width)} pixels.")
        down, right = height - side, width - side
        corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
        parts = [images[..., top : top + side, left : left + side] for top, left in corners]
    for part in parts:
        yield part
        if kind != "none":
            yield part.flip(-1)


def predict_views(network: Network, images: Tensor, kind: str, *, crop: int | None = None, batch: int = 64) -> Tensor:
    """Return what ``predict_tta`` gives for one kind of views: [N,K] float32 on the CPU."""
    return predict_tta(network, images, [kind], crop=crop, batch=batch)[kind]


def predict_tta(
    network: Network, images: Tensor, kinds: Sequence[str], *, crop: int | None = None, batch: int = 64
) -> dict[str, Tensor]:
    """Average the network's probabilities over the views of each image, for several kinds of views at once.

    The softmax of each view is averaged, not its logits. Crops are resized to the network's size by the network. It
    computes in evaluation mode on its own device and in full precision, fused, and is left as it was.

    Args:
        network: returns logits.
        images: [N,C,H,W] uint8.
        kinds: of ``TTA_KINDS``.
        crop: as in ``tta_views``.
        batch: images per pass.

    Returns:
        Kind -> [N,K] float32 on the CPU, in the order of ``network.classes``.

    Raises:
        ConfigError: logits that are not finite, an unknown kind, or a crop that does not fit.
    """

    def to_pixels(part: Tensor) -> Tensor:
        return part.to(network.mean.device).float() / 255

    def probabilities(pixels: Tensor) -> Tensor:
        return check_logits(network(pixels)).float().softmax(1)

    averages: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
    with frozen(network), torch.no_grad(), fast_forward(network, to_pixels(images[:PROBE_IMAGES])):
        for part in progress(images.split(batch), "evaluation", "batch"):
            pixels = to_pixels(part)
            # The image itself is a view of two kinds and is computed once.
            unchanged = probabilities(pixels) if {"none", "flip"} & averages.keys() else None
            for kind, saved in averages.items():
                views = [
                    unchanged if view is pixels and unchanged is not None else probabilities(view)
                    for view in tta_views(pixels, kind, crop)
                ]
                saved.append(torch.stack(views).mean(0).cpu())
    return {kind: torch.cat(parts) for kind, parts in averages.items()}
