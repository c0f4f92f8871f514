"""A batch: what an explainer is given, and the passes over it that layers and targets share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from fervis.core.faces import SPLITS, Faces, Truth
from fervis.core.layers import Layer
from fervis.core.seeding import generator_for
from fervis.core.targets import Targets
from fervis.models.fast_inference import fused
from fervis.models.hooks import TargetPass, capture, frozen, target_passes
from fervis.models.resume import Resumable, record
from fervis.models.rules import GraphRules, Rules
from fervis.models.shared_passes import SharedPasses

SCORED_AT_ONCE = 32  # images per pass on a CPU: the activations of a 48x48 network stay in its cache
_AS_MANY_ELSEWHERE = 16  # times as many per pass on a GPU, which is idle with fewer


@dataclass(frozen=True)
class Batch:
    """Images of one batch with all that explainers need; every image occurs once, for any number of layers and targets.

    An explainer of images (``scope = "image"``) gets a batch of images with their targets. One of the network
    (``scope = "network"``) gets the run's images at once, and reads the pool and the training.

    Attributes:
        model: any network from [N,C,H,W] images to [N,K] logits.
        images: [N,C,H,W] float, as the network takes them, on its device.
        layers: the layers of the run, resolved once; the pixels are a layer too (``layer.is_input``).
        targets: T per image; empty for explainers of the network.
        classes: names of the network's classes, in logit order.
        seed: root of all randomness; ``generator`` derives from it.
        truth: ground truth of these images, or None.
        references: [R,C,H,W] float, as the network takes them, images that others are compared with, where the caller
            states some; else the training faces of ``data``, all of its faces, or the batch's own images are.
        image_labels: [N] int64, labels of ``images`` as numbers of the data's classes, -1 where unknown; empty where
            they are not given, as in a batch made of another.
        pool: [M,C,H,W] uint8, or float in [0, 1], all images of the split; on the CPU.
        rows: [M] int64, the pool's row numbers.
        labels: [M] int64, the pool's labels, -1 where unknown.
        split: name of the pool's split.
        data: all faces of the data set, every split, with what is known of them; None where only images were given.
        target: value of ``target=``, for explainers of the network; ``auto`` if it is not given.
        epochs: epoch -> file of weights, of the training that the network comes from; empty where that is unknown.
        history: epoch -> its numbers (``train/loss``, ``val/accuracy``, ...), of the same training.
        quiet: draw no progress bar.
        shared: passes of these images that other explainers have computed or will need; None to share none.
    """

    model: nn.Module
    images: Tensor
    layers: tuple[Layer, ...]
    targets: Targets = field(default_factory=Targets)
    classes: tuple[str, ...] = ()
    seed: int = 0
    truth: Truth | None = None
    references: Tensor = field(default_factory=lambda: torch.zeros(0))
    image_labels: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    pool: Tensor = field(default_factory=lambda: torch.zeros(0))
    rows: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    labels: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    split: str = "test"
    data: Faces | None = None
    target: Any = "auto"
    epochs: Mapping[int, Path] = field(default_factory=dict)
    history: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    quiet: bool = True
    shared: SharedPasses | None = None

    def __len__(self) -> int:
        return len(self.images)

    def gradients(
        self, rules: Rules | GraphRules | None = None, layers: tuple[Layer, ...] | None = None
    ) -> Iterator[TargetPass]:
        """Yield activations and gradients of all layers, target by target: one forward pass, T backward passes.

        Args:
            rules: replace the backward passes of modules, by their types, or of operations (``models/rules.py``).
            layers: other layers than the batch's own.
        """
        layers = layers or self.layers
        if self.shared is not None and not rules:
            return self.shared.passes(self.model, self.images, self.targets, layers)
        return target_passes(self.model, self.images, self.targets, layers, rules)

    @property
    def at_once(self) -> int:
        """Images that ``score`` computes in one pass; larger chunks are split."""
        return SCORED_AT_ONCE * (1 if self.images.device.type == "cpu" else _AS_MANY_ELSEWHERE)

    def score(self, images: Iterable[Tensor], precision: str = "fp32") -> Tensor:
        """Return the logits [M,K] float32 of other images, given in chunks [m,C,H,W]; on the CPU.

        The network computes with BatchNorm folded and channels last where that changes nothing beyond rounding, since
        nothing but outputs is read.

        Args:
            images: chunks of M images in all.
            precision: ``fp32``, or ``bf16``: convolutions and matrix products by autocast in bfloat16, whose
                probabilities differ by some thousandths.
        """
        probe, low = self.images[:1], precision == "bf16"
        fast = fused(self.model, lambda: self.model(probe.clone()), torch.bfloat16 if low else None, self.model)
        autocast = torch.autocast(self.images.device.type, torch.bfloat16, enabled=low)
        with frozen(self.model), torch.no_grad(), fast, autocast:
            parts = [self.model(part.clone()).float().cpu() for some in images for part in some.split(self.at_once)]
        return torch.cat(parts)

    def target_values(self) -> Tensor:
        """Return the explained value [N,T] of each image and target, in one forward pass without gradients."""
        inner = [self.targets.layer] if self.targets.layer else []
        with frozen(self.model), torch.no_grad(), capture(self.model, inner, roots=False) as captured:
            return self.targets.scores(self.model(self.images.clone()), captured)

    def reference_images(self, index: Tensor) -> Tensor:
        """Return some of the reference images as the network takes them, on the device of the images.

        Where the images are larger, such as grids, reference images are repeated until they have their size.
        """
        if len(self.references) or self.data is None:
            images = self.references if len(self.references) else self.images
            return _repeated(images[index].to(self.images.device), self.images.shape[2:])
        chosen = self.data.images[_positions_of_reference(self.data)[index]]
        return _repeated(chosen.to(self.images.device, self.images.dtype) / 255, self.images.shape[2:])

    def reference_count(self) -> int:
        """Return the number of reference images."""
        if len(self.references) or self.data is None:
            return len(self.references) or len(self.images)
        return len(_positions_of_reference(self.data))

    def recorded(self, layer: Layer) -> Resumable:
        """Record one pass of the images, to resume the network at a layer again and again."""
        return record(self.model, self.images, layer)

    def resume(self, layer: Layer, activations: Tensor) -> Tensor:
        """Return the logits [N,K] that follow from other activations [N,c,h,w] at a layer."""
        return self.recorded(layer).logits(activations, torch.arange(len(self.images)))

    def with_images(self, images: Tensor, targets: Targets | None = None) -> Batch:
        """Return the batch of other images [M,C,H,W], with their targets."""
        targets = self.targets if targets is None else targets
        unknown = torch.zeros(0, dtype=torch.int64)
        return replace(self, images=images, targets=targets, truth=None, shared=None, image_labels=unknown)

    def with_model(self, model: nn.Module) -> Batch:
        """Return the batch of another network, whose passes are not those of this one."""
        return replace(self, model=model, shared=None)

    def part(self, index: slice) -> Batch:
        """Return the batch of some of its images."""
        numbers = torch.arange(len(self.images))[index]
        changes = {"truth": self.truth and self.truth.take(numbers), "image_labels": self.image_labels[index]}
        changes["shared"] = self.shared and self.shared.part(index, len(self))
        return replace(self, images=self.images[index], targets=self.targets[index], **changes)

    def generator(self, use: str) -> Generator:
        """Return a generator on the CPU, derived from the seed and the name of its use; the same for every batch."""
        return generator_for(self.seed, use)

    def batches(self, size: int = 64) -> Iterator[tuple[slice, Tensor]]:
        """Yield the pool in parts, as [n,C,H,W] float32 in [0, 1] on the device of ``images``, with their positions."""
        for start in range(0, len(self.pool), size):
            part = self.pool[start : start + size].to(self.images.device)
            yield slice(start, start + len(part)), part if part.is_floating_point() else part.float() / 255


def _positions_of_reference(faces: Faces) -> Tensor:
    """Return the positions [R] int64 of the training faces, or of all faces where there are none."""
    training = (faces.splits == SPLITS.index("train")).nonzero()[:, 0]
    return training if len(training) else torch.arange(len(faces))


def _repeated(images: Tensor, size: Sequence[int]) -> Tensor:
    """Repeat images [M,C,h,w] downwards and to the right until they cover a larger size, and cut them to it."""
    height, width = size
    if height <= images.shape[2] and width <= images.shape[3]:
        return images
    rows, columns = -(-height // images.shape[2]), -(-width // images.shape[3])
    return images.repeat(1, 1, rows, columns)[..., :height, :width]
