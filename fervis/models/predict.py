"""Test-time averaging: a network asked about several views of each face, its probabilities averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from fervis.core.network import Network
from fervis.errors import ConfigError, unknown_name
from fervis.models.fast_inference import fast_forward
from fervis.models.hooks import frozen
from fervis.system.progress import progress

BATCH_SIZE = 64


def predict(model: nn.Module, images: Tensor, batch_size: int = BATCH_SIZE) -> Tensor:
    """[N,K] float32 softmax probabilities of the network, in eval mode."""
    with frozen(model), torch.no_grad():
        return torch.cat([model(part).float().softmax(1) for part in images.split(batch_size)])


TTA_KINDS = ("none", "flip", "tencrop")
PROBE_IMAGES = 4  # faces by which to see that the quickened network answers the same


def tta_views(images: Tensor, kind: str, crop: int | None = None) -> Iterator[Tensor]:
    """Yield the views of a batch of faces: [N,C,H,W] each, or [N,C,crop,crop].

    Args:
        images: [N,C,H,W].
        kind: ``none`` (the faces themselves), ``flip`` (and their mirror images) or ``tencrop`` (four corners and the
            centre, and the mirror images of these; Krizhevsky et al. 2012).
        crop: side of a crop in pixels; None takes 11/12 of the face, 44 of 48.

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
            raise ConfigError(f"crop={side}: expected a side from 1 to the faces' {min(height, width)} pixels.")
        down, right = height - side, width - side
        corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
        parts = [images[..., top : top + side, left : left + side] for top, left in corners]
    for part in parts:
        yield part
        if kind != "none":
            yield part.flip(-1)


def predict_views(network: Network, images: Tensor, kind: str, *, crop: int | None = None, batch: int = 64) -> Tensor:
    """What ``predict_kinds`` gives for one kind of views: [N,K] float32 on the CPU."""
    return predict_tta(network, images, [kind], crop=crop, batch=batch)[kind]


def predict_tta(
    network: Network, images: Tensor, kinds: Sequence[str], *, crop: int | None = None, batch: int = 64
) -> dict[str, Tensor]:
    """The network's probabilities, averaged over the views of each face, for several kinds of views in one go.

    The softmax of each view is averaged, not its logits. Crops are brought to the network's size by its own resizing.
    The network computes in evaluation mode on its own device and in full precision, quickened, and is left as it was.

    Args:
        network: gives logits.
        images: [N,C,H,W] uint8.
        kinds: of ``VIEWS``.
        crop: as in ``views``.
        batch: faces at once.

    Returns:
        Kind -> [N,K] float32 on the CPU, in the order of ``network.classes``.
    """

    def pixels_of(faces: Tensor) -> Tensor:
        return faces.to(network.mean.device).float() / 255

    found: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
    with frozen(network), torch.no_grad(), fast_forward(network, pixels_of(images[:PROBE_IMAGES])):
        for faces in progress(images.split(batch), "evaluation", "batch"):
            pixels = pixels_of(faces)
            itself = network(pixels).float().softmax(1) if {"none", "flip"} & found.keys() else None
            for kind, answers in found.items():
                # The face itself, of which two kinds are made, is looked at once.
                asked = [
                    itself if view is pixels and itself is not None else network(view).float().softmax(1)
                    for view in tta_views(pixels, kind, crop)
                ]
                answers.append(torch.stack(asked).mean(0).cpu())
    return {kind: torch.cat(answers) for kind, answers in found.items()}
