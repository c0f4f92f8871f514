"""Mini-batch training on faces held in memory: SGD with Nesterov momentum on one learning-rate cycle.

The cycle is Smith and Topin's (2017, arXiv:1708.07120). Faces stay in memory as bytes; a batch is augmented as a whole
on the device; bf16 autocast and channels-last where they help. Everything random comes from the seed.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F
from tqdm import tqdm

from fervis.atomic import write_text
from fervis.contracts import TrainingContext
from fervis.engines.augment import affine
from fervis.engines.weights import save_weights
from fervis.errors import WrongQuestion
from fervis.faces import Faces
from fervis.network import Network


@dataclass
class Supervised:
    """Knobs of the training.

    Attributes:
        epochs: passes over the training faces.
        batch_size: faces a step.
        lr: the highest learning rate of the cycle.
        momentum: of SGD (Nesterov).
        weight_decay: L2 penalty on convolution and linear weights; biases and BatchNorm go free.
        label_smoothing: share of the target spread over all classes.
        flip: mirror half of the faces.
        rotation: largest turn, degrees.
        scale: largest relative change of size.
        shift: largest shift, part of the side.
    """

    epochs: int = 10
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    flip: bool = True
    rotation: float = 10.0
    scale: float = 0.1
    shift: float = 0.05

    def __post_init__(self) -> None:
        for knob, least in {"epochs": 1, "batch_size": 2, "lr": 0, "rotation": 0, "scale": 0, "shift": 0}.items():
            if getattr(self, knob) < least:
                raise WrongQuestion(f"trainer.{knob}={getattr(self, knob)}: expected at least {least}.")
        for knob in ("momentum", "label_smoothing", "scale"):
            if not 0 <= getattr(self, knob) < 1:
                raise WrongQuestion(f"trainer.{knob}={getattr(self, knob)}: expected a number from 0 to below 1.")

    def train(
        self, network: Network, train: Faces, val: Faces, folder: Path, training: TrainingContext
    ) -> dict[str, Any]:
        """Train ``network`` in place; keep ``epoch_<n>.safetensors`` and ``metrics.csv`` in ``folder``.

        Returns:
            ``best`` (the epoch of the highest accuracy on ``val``, the earliest of equals), ``last``, and the
            metrics of every epoch.
        """
        generator = Generator().manual_seed(training.seed)
        network.to(training.device)
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stubs lack it
        images, labels = (tensor.to(training.device) for tensor in (train.images, train.labels))
        optimizer, schedule = self._optimizer(network, steps=self.epochs * (len(train) // self._batch(train)))
        history: list[dict[str, float]] = []
        for epoch in range(1, self.epochs + 1):
            started = time.perf_counter()
            network.train()
            loss, right, seen = 0.0, 0, 0
            batches = tqdm(
                list(self._batches(len(train), self._batch(train), generator)),
                desc=f"epoch {epoch}/{self.epochs}",
                unit="batch",
                disable=True if training.quiet else None,
                leave=epoch == self.epochs,
            )
            for index in batches:
                pixels = images[index.to(training.device)].float().div_(255)
                pixels = affine(
                    pixels, generator, flip=self.flip, rotation=self.rotation, scale=self.scale, shift=self.shift
                )
                wanted = labels[index.to(training.device)]
                with _autocast(training):
                    logits = network(pixels.contiguous(memory_format=torch.channels_last))
                step_loss = F.cross_entropy(logits.float(), wanted, label_smoothing=self.label_smoothing)
                optimizer.zero_grad()
                step_loss.backward()
                optimizer.step()
                schedule.step()
                loss += step_loss.item() * len(index)
                right += int((logits.argmax(1) == wanted).sum())
                seen += len(index)
                batches.set_postfix(loss=f"{loss / seen:.3f}", accuracy=f"{right / seen:.1%}", refresh=False)
            val_loss, val_accuracy = evaluate(network, val, training)
            numbers = {
                "train/loss": loss / seen,
                "train/accuracy": right / seen,
                "val/loss": val_loss,
                "val/accuracy": val_accuracy,
                "images_per_second": seen / (time.perf_counter() - started),
            }
            history.append({"epoch": epoch, **numbers})
            save_weights(folder / f"epoch_{epoch:03d}.safetensors", network, {"epoch": str(epoch)})
            write_text(folder / "metrics.csv", _csv(history))
            training.log(epoch, numbers)
        best = max(history, key=lambda row: (row["val/accuracy"], -row["epoch"]))
        return {"best": int(best["epoch"]), "last": self.epochs, "val/accuracy": best["val/accuracy"]}

    def _batch(self, train: Faces) -> int:
        return min(self.batch_size, len(train))

    @staticmethod
    def _batches(count: int, size: int, generator: Generator) -> Iterator[Tensor]:
        """Shuffled whole batches: a rest of a few faces would give BatchNorm poor statistics."""
        order = torch.randperm(count, generator=generator)
        return (order[start : start + size] for start in range(0, count - size + 1, size))

    def _optimizer(
        self, network: Network, steps: int
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
        free = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
        optimizer = torch.optim.SGD(
            [{"params": decayed, "weight_decay": self.weight_decay}, {"params": free, "weight_decay": 0.0}],
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
        )
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps + 1, cycle_momentum=False)
        return optimizer, cycle


def evaluate(network: Network, faces: Faces, training: TrainingContext, batch: int = 256) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy of the network on the faces, in eval mode and full precision."""
    network.eval()
    loss, right = 0.0, 0
    with torch.no_grad():
        for images, labels in zip(faces.images.split(batch), faces.labels.split(batch), strict=True):
            logits = network(images.to(training.device).float() / 255)
            loss += F.cross_entropy(logits, labels.to(training.device), reduction="sum").item()
            right += int((logits.argmax(1).cpu() == labels).sum())
    return loss / len(faces), right / len(faces)


def _autocast(training: TrainingContext) -> torch.autocast:
    return torch.autocast(torch.device(training.device).type, torch.bfloat16, enabled=training.precision == "bf16")


def _csv(history: list[dict[str, float]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, history[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


PLUGIN = Supervised
