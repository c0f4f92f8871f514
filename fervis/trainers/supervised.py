"""Supervised training on faces held in memory as bytes; every batch is changed as a whole, on the device.

Order and augmentation are drawn from one explicit generator. After each epoch a checkpoint and the whole state of the
training are written; killed at any moment, the same training goes on from the last whole epoch, to the bit.

Several processes share every batch: each draws the numbers of the whole batch and changes all of its faces, which
mixing needs and costs little, and trains on its share. What is computed is what one process would, up to rounding.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F
from tqdm import tqdm

from fervis.core.faces import Faces
from fervis.core.folders import TrainingFolder
from fervis.core.network import Network
from fervis.core.protocols import TrainingContext
from fervis.errors import ConfigError, RunError, unknown_name
from fervis.models.state_dicts import load_partial, load_weights, save_weights
from fervis.system.console import log
from fervis.system.files import write_text
from fervis.trainers.augmentation import Augmentation
from fervis.trainers.distributed import Log, ProcessGroup, check_devices, run_processes
from fervis.trainers.mixing import balanced_order, class_weights, cutmix, mixup
from fervis.trainers.optimizers import OPTIMIZERS, SCHEDULES, learning_rate, optimizer_for, update_ema
from fervis.trainers.soft_targets import training_targets
from fervis.trainers.state import TrainingState, new_state, resume_state, save_state

BALANCE_CHOICES = ("none", "loss", "sampling")
KEEP_CHOICES = ("all", "few")


@dataclass
class Supervised(Augmentation):
    """Knobs of the training, besides those of ``Augmentation``.

    Attributes:
        epochs: passes over the training faces.
        batch_size: faces a step.
        optimizer: ``sgd`` (Nesterov) or ``adamw``.
        lr: highest learning rate.
        momentum: of SGD, or AdamW's first beta.
        weight_decay: of convolutions and linear layers alone.
        schedule: ``one_cycle``, ``cosine`` or ``constant``.
        warmup: part of the training during which the learning rate rises.
        clip: largest norm of a step's gradient; 0 for no limit.
        ema: decay of the moving average of the weights, which is then what is kept; 0 for none.
        label_smoothing: share of the target spread over all classes.
        votes: train towards the raters' votes (FER+) instead of the labels.
        balance: ``loss`` weighs rare classes up, ``sampling`` shows every class as often, ``none`` does neither.
        mixup: alpha of mixup; 0 for none.
        cutmix: alpha of CutMix; 0 for none. With both, each batch meets one of them, by chance.
        patience: epochs without a better accuracy on val after which the training ends; 0 for never.
        start: file of weights to start from, those of other classes' heads left out.
        keep: ``all`` epochs' checkpoints, or a ``few``: the first, the best and the last.
        devices: processes of each machine, with a GPU or a part of the cores each, that share every batch.
        nodes: machines; torchrun or srun starts the command on them.
    """

    epochs: int = 30
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "one_cycle"
    warmup: float = 0.3
    clip: float = 0.0
    ema: float = 0.0
    label_smoothing: float = 0.1
    votes: bool = False
    balance: str = "none"
    mixup: float = 0.0
    cutmix: float = 0.0
    patience: int = 0
    start: str | None = None
    keep: str = "all"
    devices: int = 1
    nodes: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        least = {"epochs": 1, "batch_size": 2, "lr": 0, "clip": 0, "mixup": 0, "cutmix": 0, "patience": 0}
        least |= {"devices": 1, "nodes": 1}
        for knob, smallest in least.items():
            if getattr(self, knob) < smallest:
                raise ConfigError(f"trainer.{knob}={getattr(self, knob)}: expected at least {smallest}.")
        for knob in ("momentum", "label_smoothing", "warmup", "ema"):
            if not 0 <= getattr(self, knob) < 1:
                raise ConfigError(f"trainer.{knob}={getattr(self, knob)}: expected a number from 0 to below 1.")
        choices = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "balance": BALANCE_CHOICES, "keep": KEEP_CHOICES}
        for knob, known in choices.items():
            if getattr(self, knob) not in known:
                raise unknown_name(f"trainer.{knob}", getattr(self, knob), known)
        if self.batch_size % (self.devices * self.nodes):
            raise ConfigError(
                f"trainer.batch_size={self.batch_size}: expected a multiple of {self.devices * self.nodes}, since so "
                "many processes share a batch."
            )
        super().__post_init__()
        check_devices(self.devices, self.nodes)

    def train(
        self, network: Network, train: Faces, val: Faces, folder: Path, training: TrainingContext
    ) -> dict[str, Any]:
        """Train ``network`` in place; keep ``epoch_<n>.safetensors`` and ``metrics.csv`` in ``folder``.

        Returns:
            ``best`` (the epoch of the highest accuracy on ``val``, the earliest of equals), ``last``, and the best
            accuracy, ``val/accuracy``.

        Raises:
            RunError: the loss is no longer a number, or one of several processes ended.
            ConfigError: this machine has fewer devices.
        """
        if self.devices * self.nodes == 1:
            return self._train(ProcessGroup(), network, train, val, folder, training)
        train, val = replace(train, truth=None), replace(val, truth=None)
        told = replace(training, log=_ignore_numbers)  # what a closure of ours cannot be to another process
        arguments = (self, network, train, val, folder, told)
        numbers = run_processes(_train_one, arguments, devices=self.devices, device=training.device, log=training.log)
        load_weights(network, epoch_file(folder, numbers["last"]))
        return dict(numbers)

    def _train(
        self, team: ProcessGroup, network: Network, train: Faces, val: Faces, folder: Path, training: TrainingContext
    ) -> dict[str, Any]:
        """What one process of the team does; alone, it is the whole training."""
        course = self._course(network, folder, training)
        if team.sums(course.step)[0] != course.step * team.size:
            raise RunError(f"trainer.nodes={self.nodes}: {folder} is not one folder that all machines share.")
        forward = team.joined(course.network)
        batch = min(self.batch_size, len(train))
        if batch % team.size:
            raise ConfigError(f"trainer.devices={self.devices}: {batch} training faces do not divide evenly.")
        targets = training_targets(train, smoothing=self.label_smoothing, votes=self.votes)
        weights = class_weights(train.labels, len(train.classes)) if self.balance == "loss" else torch.tensor([])
        images, targets, weights = (tensor.to(training.device) for tensor in (train.images, targets, weights))
        steps = len(train) // batch
        bar = tqdm(
            total=self.epochs * steps * batch,
            initial=course.epoch * steps * batch,
            unit=" faces",
            disable=True if training.quiet or not team.leads else None,
        )
        while course.epoch < self.epochs and not self._enough(course):
            started, seen, loss, right = time.perf_counter(), 0, 0.0, 0
            course.network.train()
            for index in self._batches(train.labels, batch, course.generator):
                index = index.to(training.device)
                pixels, wanted = self._mixed(self(images[index], course.generator), targets[index], course.generator)
                pixels, wanted = team.share(pixels), team.share(wanted)
                rate = self._step(course, forward, pixels, wanted, weights, self.epochs * steps, training)
                loss, right, seen = loss + rate[0], right + rate[1], seen + batch
                bar.update(batch)
                val_word = f"{course.history[-1]['val/accuracy']:.1%}" if course.history else "-"
                bar.set_description(f"epoch {course.epoch + 1}/{self.epochs}", refresh=False)
                bar.set_postfix(loss=f"{loss * team.size / seen:.3f}", val=val_word, refresh=False)
            loss, right = team.sums(loss, right)
            if not loss < float("inf"):
                raise RunError(f"The loss of epoch {course.epoch + 1} is {loss / seen}; a lower trainer.lr may help.")
            seconds = time.perf_counter() - started
            val_loss, val_right = team.sums(*measure_loss(course.average, _part_of(val, team), training))
            numbers = {
                "train/loss": loss / seen,
                "train/accuracy": right / seen,
                "val/loss": val_loss / len(val),
                "val/accuracy": val_right / len(val),
                "lr": course.optimizer.param_groups[0]["lr"],
                "images_per_second": seen / seconds,
            }
            course.history.append({"epoch": course.epoch + 1, **numbers})
            if team.leads:
                self._keep(course, folder)
                training.log(course.epoch, numbers)
        bar.close()
        if team.leads:
            (folder / "course.safetensors").unlink(missing_ok=True)
        team.sums(0)  # nobody goes on before everything is written
        network.load_state_dict(course.average.state_dict())
        best = course.history[course.best - 1]
        return {"best": course.best, "last": course.epoch, "val/accuracy": best["val/accuracy"]}

    def _course(self, network: Network, folder: Path, training: TrainingContext) -> TrainingState:
        """The course from its beginning, or from the last whole epoch that the folder holds."""
        if self.start:
            load_partial(network, Path(self.start))
        network.to(training.device)
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stubs lack it
        optimizer = optimizer_for(
            network, self.optimizer, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )
        course = new_state(network, optimizer, Generator().manual_seed(training.seed), averaged=self.ema > 0)
        state = TrainingFolder(folder).state
        if state.is_file() and not resume_state(course, state):
            log.warning("%s is damaged: the training begins from the start", state)
        return course

    def _enough(self, course: TrainingState) -> bool:
        return bool(self.patience and course.history and course.epoch - course.best >= self.patience)

    def _batches(self, labels: Tensor, size: int, generator: Generator) -> Iterator[Tensor]:
        """Shuffled whole batches: a rest of a few faces would give BatchNorm poor statistics."""
        balanced = self.balance == "sampling"
        order = balanced_order(labels, generator) if balanced else torch.randperm(len(labels), generator=generator)
        return (order[start : start + size] for start in range(0, len(labels) - size + 1, size))

    def _mixed(self, pixels: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        if self.mixup and self.cutmix:
            chosen = mixup if torch.rand(1, generator=generator) < 0.5 else cutmix
        elif self.mixup or self.cutmix:
            chosen = mixup if self.mixup else cutmix
        else:
            return pixels, targets
        return chosen(pixels, targets, self.mixup if chosen is mixup else self.cutmix, generator)

    def _step(
        self,
        course: TrainingState,
        forward: Callable[[Tensor], Tensor],
        pixels: Tensor,
        targets: Tensor,
        weights: Tensor,
        steps: int,
        training: TrainingContext,
    ) -> tuple[float, int]:
        """One step of the optimizer on a batch or a share of it; its summed loss and how many faces it got right."""
        lr = learning_rate(course.step, steps, peak=self.lr, schedule=self.schedule, warmup=self.warmup)
        for group in course.optimizer.param_groups:
            group["lr"] = lr
        with autocast(training):
            logits = forward(pixels.contiguous(memory_format=torch.channels_last))
        logits = logits.float()
        loss = F.cross_entropy(logits, targets, weight=weights if len(weights) else None)
        course.optimizer.zero_grad()
        loss.backward()  # equal shares: the mean of their gradients is that of the batch
        if self.clip:
            torch.nn.utils.clip_grad_norm_(course.network.parameters(), self.clip)
        course.optimizer.step()
        course.step += 1
        if course.average is not course.network:
            update_ema(course.average, course.network, self.ema, course.step)
        return loss.item() * len(pixels), int((logits.argmax(1) == targets.argmax(1)).sum())

    def _keep(self, course: TrainingState, folder: Path) -> None:
        """Write the epoch's checkpoint, the metrics, and last the state that makes the epoch count."""
        save_weights(epoch_file(folder, course.epoch), course.average, {"epoch": str(course.epoch)})
        names = list(course.history[0])
        lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in course.history)]
        write_text(folder / "metrics.csv", "\n".join(lines) + "\n")
        save_state(course, folder / "course.safetensors")
        if self.keep == "few":
            for epoch in {*range(1, course.epoch + 1)} - {1, course.best, course.epoch}:
                epoch_file(folder, epoch).unlink(missing_ok=True)


def epoch_file(folder: Path, epoch: int) -> Path:
    """The file of an epoch's weights."""
    return folder / f"epoch_{epoch:03d}.safetensors"


def autocast(training: TrainingContext) -> torch.autocast:
    """bf16 where the training is in it."""
    return torch.autocast(torch.device(training.device).type, torch.bfloat16, enabled=training.precision == "bf16")


@torch.no_grad()
def measure_loss(network: Network, faces: Faces, training: TrainingContext, batch: int = 128) -> tuple[float, int]:
    """Summed cross-entropy (nats) and how many faces are right, in eval mode, in the precision of the training."""
    network.eval()
    loss, right = 0.0, 0
    for images, labels in zip(faces.images.split(batch), faces.labels.split(batch), strict=True):
        with autocast(training):
            pixels = images.to(training.device).float() / 255
            logits = network(pixels.contiguous(memory_format=torch.channels_last)).float().cpu()
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(1) == labels).sum())
    return loss, right


def _part_of(faces: Faces, team: ProcessGroup) -> Faces:
    """The faces that this process of a team looks at."""
    return faces if team.size == 1 else faces.take(torch.arange(team.rank, len(faces), team.size))


def _train_one(
    team: ProcessGroup,
    device: str,
    log: Log,
    trainer: Supervised,
    network: Network,
    train: Faces,
    val: Faces,
    folder: Path,
    training: TrainingContext,
) -> dict[str, Any]:
    """One process's part; the network is copied, since processes of one machine share the tensors they are given."""
    training = replace(training, device=device, log=log)
    return trainer._train(team, copy.deepcopy(network), train, val, folder, training)


def _ignore_numbers(epoch: int, numbers: Mapping[str, float]) -> None:
    """Say nothing of an epoch."""
