"""Label smoothing, mixup, CutMix and balanced classes; all draws are from an explicit generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from fervis.trainers.augmentation import inside_mask


def smooth_labels(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Return targets of ``1 - smoothing`` for the label and the rest spread evenly over all classes, its own included.

    Szegedy et al. 2016, arXiv:1512.00567. Cross-entropy against them is ``F.cross_entropy`` with ``label_smoothing``.

    Args:
        labels: [N] int64.
        classes: K, how many there are.
        smoothing: from 0, one-hot targets, to 1, uniform ones.

    Returns:
        [N,K] float32, rows that sum to 1.
    """
    return F.one_hot(labels, classes).float() * (1 - smoothing) + smoothing / classes


def mixup(images: Tensor, targets: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Blend each image with another of the batch, and their targets too (Zhang et al. 2017, arXiv:1710.09412).

    Each pair has its own weight from Beta(alpha, alpha). The partners are a permutation of the batch, which may
    pair an image with itself. The partners are drawn first, then the seed of the weights.

    Args:
        images: [N,C,H,W] float.
        targets: [N,K] float.
        alpha: 0 mixes nothing but draws as much; 1 makes all weights equally likely.
        generator: on the CPU.

    Returns:
        Images and targets of the same shapes and dtypes.
    """
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    weight = draw_beta(len(images), alpha, generator).to(images)
    return (
        torch.lerp(images[partner], images, weight.view(-1, 1, 1, 1)),
        torch.lerp(targets[partner], targets, weight.to(targets)[:, None]),
    )


def cutmix(images: Tensor, targets: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Replace a box of each image by that of another of the batch (Yun et al. 2019, arXiv:1905.04899).

    The box's sides are the image's times the root of ``1 - weight``, its centre is uniform, and the part past the
    border is cut off; the targets are mixed by the pixels that remain. Each pair has its own box; partners are
    drawn as in ``mixup``. Drawn are the partners, the seed of the weights, then 2 x N uniform numbers: the centres'
    rows, and their columns.

    Args:
        images: [N,C,H,W].
        targets: [N,K] float.
        alpha: of the weight's Beta(alpha, alpha); 0 mixes nothing but draws as much; 1 is the paper's.
        generator: on the CPU.

    Returns:
        Images and targets of the same shapes and dtypes.
    """
    count, _, *sides = images.shape
    partner = torch.randperm(count, generator=generator).to(images.device)
    weight = draw_beta(count, alpha, generator)
    centres = torch.rand(2, count, generator=generator)
    rectangles = cut_boxes(weight, centres, sides)
    height, width = (rectangles[:, 2:] - rectangles[:, :2]).unbind(1)
    pasted = (height * width / (sides[0] * sides[1])).to(targets)[:, None]
    return (
        torch.where(inside_mask(rectangles.to(images.device), sides[0], sides[1]), images[partner], images),
        torch.lerp(targets, targets[partner], pasted),
    )


def cut_boxes(weight: Tensor, centres: Tensor, sides: list[int]) -> Tensor:
    """Return CutMix's boxes.

    Args:
        weight: [N] float64 in [0, 1], the part of an image that the box leaves.
        centres: [2,N] in [0, 1), rows and columns.
        sides: height and width of the images.

    Returns:
        [N,4] int64: top, left, bottom and right, the last two exclusive; all within the image.
    """
    corners = []
    for centre, side in zip(centres, sides, strict=True):
        reach = (side * (1 - weight).sqrt()).long() // 2
        middle = (centre * side).long()
        corners.append(((middle - reach).clamp(min=0), (middle + reach).clamp(max=side)))
    (top, bottom), (left, right) = corners
    return torch.stack([top, left, bottom, right], 1)


def draw_beta(count: int, alpha: float, generator: Generator) -> Tensor:
    """Draw [count] float64 weights from Beta(alpha, alpha); they are all 1 where alpha is 0.

    torch has no Beta that takes a generator, so NumPy draws it from a seed that is drawn.
    """
    seed = int(torch.randint(2**62, (1,), generator=generator))
    if alpha == 0:
        return torch.ones(count, dtype=torch.float64)
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count))


def balanced_order(labels: Tensor, generator: Generator) -> Tensor:
    """Return the faces of an epoch in random order, with every class equally often.

    Each class gets an equal share of the N positions; a remainder goes to classes drawn at random. Within a
    class every face comes once before any comes again, so the faces of a frequent class alternate over the epochs.

    Args:
        labels: [N] int64; only classes that occur are balanced.
        generator: on the CPU.

    Returns:
        [N] int64 positions in ``labels``.
    """
    labels = labels.cpu()
    present = labels.unique()
    counts = torch.full((len(present),), len(labels) // max(len(present), 1))
    counts[torch.randperm(len(present), generator=generator)[: len(labels) - int(counts.sum())]] += 1
    chosen = [torch.empty(0, dtype=torch.int64)]
    for label, wanted in zip(present.tolist(), counts.tolist(), strict=True):
        members = (labels == label).nonzero().flatten()
        rounds = [members[torch.randperm(len(members), generator=generator)] for _ in range(0, wanted, len(members))]
        chosen.append(torch.cat(rounds)[:wanted])
    order = torch.cat(chosen)
    return order[torch.randperm(len(order), generator=generator)]


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return class weights of a loss, inverse to the classes' counts, with mean 1 over the samples.

    Args:
        labels: [N] int64.
        classes: K, how many there are.

    Returns:
        [K] float32; 0 for a class that does not occur.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    present = counts > 0
    weights = len(labels) / (counts.clamp(min=1) * present.sum())
    return torch.where(present, weights, 0.0).float()
