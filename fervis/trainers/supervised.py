"""Train on labelled faces held in memory as bytes; each batch is augmented as a whole, on the device.

Order and augmentation are drawn from one explicit generator. After each epoch a checkpoint and the complete state of
the training are written; a training that is killed at any time resumes from the last complete epoch, to the bit.

Several processes share every batch: each draws the random numbers of the whole batch and augments all of its faces,
which mixing needs and costs little, and trains on its share. The result is that of one process, up to rounding.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from fervis.core.faces import Faces
from fervis.core.folders import TrainingFolder
from fervis.core.knobs import AtLeast, Choice, Range, Text, Whole
from fervis.core.network import Network
from fervis.core.protocols import TrainingContext
from fervis.errors import ConfigError, RunError
from fervis.models.state_dicts import load_partial, load_weights, save_weights
from fervis.system.console import log
from fervis.system.files import write_text
from fervis.trainers.augmentation import Augmentation
from fervis.trainers.distributed import Log, ProcessGroup, check_devices, run_processes
from fervis.trainers.mixing import class_weights
from fervis.trainers.optimizers import OPTIMIZERS, SCHEDULES, learning_rate, optimizer_for
from fervis.trainers.soft_targets import training_targets
from fervis.trainers.state import TrainingState, new_state, resume_state, save_state
from fervis.trainers.steps import Step, batch_indices, measure_loss, mix_batch

_Share = Range(0, 1, open_high=True)
_Alpha = Range(0, 100)  # at 100 nearly every pair is mixed half and half; larger values only overflow


@dataclass
class Supervised(Augmentation):
    """Settings of the training, in addition to those of ``Augmentation``.

    Attributes:
        epochs: passes over the training faces.
        batch_size: faces per step.
        optimizer: ``sgd`` (Nesterov) or ``adamw``.
        lr: highest learning rate.
        momentum: of SGD, or AdamW's first beta.
        weight_decay: of convolutions and linear layers alone.
        schedule: ``one_cycle``, ``cosine`` or ``constant``.
        warmup: part of the training during which the learning rate rises.
        clip: largest norm of a step's gradient; 0 for no limit.
        ema: decay of the moving average of the weights, which is then what is saved; 0 for none.
        label_smoothing: share of the target spread over all classes.
        votes: train towards the raters' votes (FER+) instead of the labels.
        balance: ``loss`` gives rare classes a larger weight, ``sampling`` shows every class as often.
        mixup: alpha of mixup; 0 for none.
        cutmix: alpha of CutMix; 0 for none. With both, one of them is chosen at random for each batch.
        patience: epochs without a better accuracy on val after which the training ends; 0 for never.
        start: file of weights to start from, except for a head of other classes.
        keep: checkpoints of ``all`` epochs, or of a ``few``: the first, the best and the last.
        devices: processes per machine that share every batch, each with a GPU or a part of the cores.
        nodes: machines; torchrun or srun starts the command on each.
    """

    epochs: Annotated[int, Whole(1)] = 30
    batch_size: Annotated[int, Whole(2)] = 128
    optimizer: Annotated[str, Choice(*OPTIMIZERS)] = "sgd"
    lr: Annotated[float, AtLeast(0)] = 0.1
    momentum: Annotated[float, _Share] = 0.9
    weight_decay: Annotated[float, AtLeast(0)] = 5e-4
    schedule: Annotated[str, Choice(*SCHEDULES)] = "one_cycle"
    warmup: Annotated[float, _Share] = 0.3
    clip: Annotated[float, AtLeast(0)] = 0.0
    ema: Annotated[float, _Share] = 0.0
    label_smoothing: Annotated[float, _Share] = 0.1
    votes: bool = False
    balance: Annotated[str, Choice("none", "loss", "sampling")] = "none"
    mixup: Annotated[float, _Alpha] = 0.0
    cutmix: Annotated[float, _Alpha] = 0.0
    patience: Annotated[int, Whole(0)] = 0
    start: Annotated[str | None, Text("a file of weights")] = None
    keep: Annotated[str, Choice("all", "few")] = "all"
    devices: Annotated[int, Whole(1)] = 1
    nodes: Annotated[int, Whole(1)] = 1

    def __post_init__(self) -> None:
        """Refuse settings that do not fit together, or not the processes that were started."""
        processes = self.devices * self.nodes
        if processes < 1:
            return  # each of the two is refused by its own range
        if self.batch_size % processes:
            raise ConfigError(
                f"trainer.batch_size={self.batch_size}: expected a multiple of {processes}, the number of processes "
                "that share a batch."
            )
        check_devices(self.devices, self.nodes)

    def train(
        self, network: Network, train: Faces, val: Faces, folder: Path, training: TrainingContext
    ) -> dict[str, Any]:
        """Train ``network`` in place; write ``epoch_<n>.safetensors`` and ``metrics.csv`` into ``folder``.

        Returns:
            ``best`` (the epoch of the highest accuracy on ``val``, the earliest of equals), ``last``, and the best
            accuracy, ``val/accuracy``.

        Raises:
            RunError: the loss is not finite, or one of several processes ended.
            ConfigError: this machine has fewer devices.
        """
        training = replace(training, log=_reporting(training, self.epochs))
        if self.devices * self.nodes == 1:
            return self._train(ProcessGroup(), network, train, val, folder, training)
        train, val = replace(train, truth=None), replace(val, truth=None)
        arguments = (self, network, train, val, folder, replace(training, log=_ignore))  # closures cannot be pickled
        record = run_processes(_train_member, arguments, devices=self.devices, device=training.device, log=training.log)
        load_weights(network, TrainingFolder(folder).epoch(record["last"]))
        return dict(record)

    def _train(
        self, team: ProcessGroup, network: Network, train: Faces, val: Faces, folder: Path, training: TrainingContext
    ) -> dict[str, Any]:
        """Do the part of one process of a group; a single process does the whole training."""
        state = self._initial_state(network, folder, training)
        if team.sums(state.step)[0] != state.step * team.size:
            raise RunError(f"trainer.nodes={self.nodes}: {folder} is not one folder that all machines share.")
        batch = min(self.batch_size, len(train))
        if batch % team.size:
            raise ConfigError(f"trainer.devices={self.devices}: {batch} training faces do not divide evenly.")
        targets = training_targets(train, smoothing=self.label_smoothing, votes=self.votes)
        weights = class_weights(train.labels, len(train.classes)) if self.balance == "loss" else torch.tensor([])
        images, targets, weights = (tensor.to(training.device) for tensor in (train.images, targets, weights))
        step = Step(team.wrap(state.network), weights, self.clip, self.ema, training)
        per_epoch = len(train) // batch * batch
        bar = tqdm(
            total=self.epochs * per_epoch,
            initial=state.epoch * per_epoch,
            unit=" faces",
            disable=True if training.quiet or not team.leads else None,
        )
        while state.epoch < self.epochs and not self._out_of_patience(state):
            trained = self._train_epoch(state, step, team, images, targets, train.labels, bar)
            val_loss, val_correct = team.sums(*measure_loss(state.average, _own_part(val, team), training))
            if not val_loss < float("inf"):  # the argmax of NaN logits would pass for an accuracy
                raise RunError(f"The loss of epoch {state.epoch + 1} on val is {val_loss / len(val)}.")
            metrics = {
                "train/loss": trained["loss"],
                "train/accuracy": trained["accuracy"],
                "val/loss": val_loss / len(val),
                "val/accuracy": val_correct / len(val),
                "lr": state.optimizer.param_groups[0]["lr"],
                "images_per_second": trained["images_per_second"],
            }
            state.history.append({"epoch": state.epoch + 1, **metrics})
            if team.leads:
                self._save_epoch(state, folder)
                training.log(state.epoch, metrics)
        bar.close()
        if team.leads:
            TrainingFolder(folder).state.unlink(missing_ok=True)
        team.sums(0)  # a barrier: no process continues before everything is written
        network.load_state_dict(state.average.state_dict())
        best = state.history[state.best - 1]
        return {"best": state.best, "last": state.epoch, "val/accuracy": best["val/accuracy"]}

    def _initial_state(self, network: Network, folder: Path, training: TrainingContext) -> TrainingState:
        """Return the state before the first epoch, or after the last complete epoch that the folder holds."""
        if self.start:
            load_partial(network, Path(self.start))
        network.to(training.device)
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - missing in torch's stubs
        optimizer = optimizer_for(
            network, self.optimizer, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )
        state = new_state(network, optimizer, Generator().manual_seed(training.seed), averaged=self.ema > 0)
        saved = TrainingFolder(folder).state
        if saved.is_file() and not resume_state(state, saved):
            log.warning("%s is damaged: the training begins from the start", saved)
        return state

    def _out_of_patience(self, state: TrainingState) -> bool:
        return bool(self.patience and state.history and state.epoch - state.best >= self.patience)

    def _train_epoch(
        self,
        state: TrainingState,
        step: Step,
        team: ProcessGroup,
        images: Tensor,
        targets: Tensor,
        labels: Tensor,
        bar: Any,
    ) -> dict[str, float]:
        """Train for one epoch; return its loss and accuracy on the augmented faces, and faces per second."""
        start, seen, loss, correct = time.perf_counter(), 0, 0.0, 0
        batch = min(self.batch_size, len(labels))
        steps = self.epochs * (len(labels) // batch)
        state.network.train()
        for index in batch_indices(labels, batch, state.generator, balanced=self.balance == "sampling"):
            index = index.to(images.device)
            pixels, mixed = mix_batch(
                self(images[index], state.generator),
                targets[index],
                state.generator,
                mixup_alpha=self.mixup,
                cutmix_alpha=self.cutmix,
            )
            lr = learning_rate(state.step, steps, peak=self.lr, schedule=self.schedule, warmup=self.warmup)
            batch_loss, batch_correct = step(state, team.share(pixels), team.share(mixed), lr)
            loss, correct, seen = loss + batch_loss, correct + batch_correct, seen + batch
            bar.update(batch)
            val_accuracy = f"{state.history[-1]['val/accuracy']:.1%}" if state.history else "-"
            bar.set_description(f"epoch {state.epoch + 1}/{self.epochs}", refresh=False)
            bar.set_postfix(loss=f"{loss * team.size / seen:.3f}", val=val_accuracy, refresh=False)
        loss, correct = team.sums(loss, correct)
        if not loss < float("inf"):
            raise RunError(f"The loss of epoch {state.epoch + 1} is {loss / seen}; a lower trainer.lr may help.")
        seconds = time.perf_counter() - start
        return {"loss": loss / seen, "accuracy": correct / seen, "images_per_second": seen / seconds}

    def _save_epoch(self, state: TrainingState, folder: Path) -> None:
        """Write the epoch's checkpoint, the metrics, and last the state that makes the epoch complete."""
        save_weights(TrainingFolder(folder).epoch(state.epoch), state.average, {"epoch": str(state.epoch)})
        names = list(state.history[0])
        lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in state.history)]
        write_text(TrainingFolder(folder).metrics, "\n".join(lines) + "\n")
        save_state(state, TrainingFolder(folder).state)
        if self.keep == "few":
            for epoch in {*range(1, state.epoch + 1)} - {1, state.best, state.epoch}:
                TrainingFolder(folder).epoch(epoch).unlink(missing_ok=True)


def _reporting(training: TrainingContext, epochs: int) -> Log:
    """Return the training's log, with a line per epoch where no progress bar is shown: off a terminal."""
    if training.quiet or sys.stderr.isatty():
        return training.log

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        log.info(
            "epoch %d of %d: loss %.3f, accuracy on val %.1f %%, %.0f faces per second",
            epoch,
            epochs,
            metrics["train/loss"],
            100 * metrics["val/accuracy"],
            metrics["images_per_second"],
        )
        training.log(epoch, metrics)

    return report


def _own_part(faces: Faces, team: ProcessGroup) -> Faces:
    """Return the faces that this process of a group evaluates."""
    return faces if team.size == 1 else faces.take(torch.arange(team.rank, len(faces), team.size))


def _train_member(
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
    """Do the part of one process; the network is copied, since the processes of one machine share its tensors."""
    training = replace(training, device=device, log=log)
    return trainer._train(team, copy.deepcopy(network), train, val, folder, training)


def _ignore(epoch: int, metrics: Mapping[str, float]) -> None:
    """Log nothing."""
