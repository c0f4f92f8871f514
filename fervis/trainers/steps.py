"""The steps of a supervised training: batches, mixing, one optimizer step, and the loss on a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from fervis.core.faces import Faces
from fervis.core.network import Network
from fervis.core.protocols import TrainingContext
from fervis.trainers.mixing import balanced_order, cutmix, mixup
from fervis.trainers.optimizers import update_ema
from fervis.trainers.state import TrainingState


@dataclass(frozen=True)
class Step:
    """One optimizer step.

    Attributes:
        forward: the network's forward pass, on a share of a batch where several processes train.
        weights: [K] weights of the classes in the loss, empty for equal weights.
        clip: largest norm of the gradient; 0 for no limit.
        ema: decay of the moving average of the weights.
        training: device and precision.
    """

    forward: Callable[[Tensor], Tensor]
    weights: Tensor
    clip: float
    ema: float
    training: TrainingContext

    def __call__(self, state: TrainingState, pixels: Tensor, targets: Tensor, lr: float) -> tuple[float, int]:
        """Update the weights; return the summed loss and the number of correct predictions.

        Args:
            state: of the training, moved on by one step.
            pixels: [N,C,H,W] float32 in [0, 1].
            targets: [N,K] float32.
            lr: learning rate of the step.
        """
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        with autocast(self.training):
            logits = self.forward(pixels.contiguous(memory_format=torch.channels_last))
        logits = logits.float()
        loss = F.cross_entropy(logits, targets, weight=self.weights if len(self.weights) else None)
        state.optimizer.zero_grad()
        loss.backward()  # with equal shares, the mean of the processes' gradients is that of the batch
        if self.clip:
            torch.nn.utils.clip_grad_norm_(state.network.parameters(), self.clip)
        state.optimizer.step()
        state.step += 1
        if state.average is not state.network:
            update_ema(state.average, state.network, self.ema, state.step)
        return loss.item() * len(pixels), int((logits.argmax(1) == targets.argmax(1)).sum())


def batch_indices(labels: Tensor, size: int, generator: Generator, *, balanced: bool) -> Iterator[Tensor]:
    """Return the indices of an epoch's batches, shuffled.

    All batches are whole: BatchNorm would get poor statistics from the few faces that are left over.
    """
    order = balanced_order(labels, generator) if balanced else torch.randperm(len(labels), generator=generator)
    return (order[start : start + size] for start in range(0, len(labels) - size + 1, size))


def mix_batch(
    pixels: Tensor, targets: Tensor, generator: Generator, *, mixup_alpha: float, cutmix_alpha: float
) -> tuple[Tensor, Tensor]:
    """Mix a batch by mixup or CutMix; where both have an alpha, one of them is chosen with probability one half."""
    if mixup_alpha and cutmix_alpha:
        use_mixup = bool(torch.rand(1, generator=generator) < 0.5)
    elif mixup_alpha or cutmix_alpha:
        use_mixup = mixup_alpha > 0
    else:
        return pixels, targets
    mix, alpha = (mixup, mixup_alpha) if use_mixup else (cutmix, cutmix_alpha)
    return mix(pixels, targets, alpha, generator)


def autocast(training: TrainingContext) -> torch.autocast:
    """Return a context of bf16 arithmetic where the training's precision is bf16."""
    return torch.autocast(torch.device(training.device).type, torch.bfloat16, enabled=training.precision == "bf16")


@torch.no_grad()
def measure_loss(network: Network, faces: Faces, training: TrainingContext, batch: int = 128) -> tuple[float, int]:
    """Return the summed cross-entropy (nats) and the number of correct predictions.

    The network is in eval mode, in the precision of the training.
    """
    network.eval()
    loss, correct = 0.0, 0
    for images, labels in zip(faces.images.split(batch), faces.labels.split(batch), strict=True):
        with autocast(training):
            pixels = images.to(training.device).float() / 255
            logits = network(pixels.contiguous(memory_format=torch.channels_last)).float().cpu()
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        correct += int((logits.argmax(1) == labels).sum())
    return loss, correct
