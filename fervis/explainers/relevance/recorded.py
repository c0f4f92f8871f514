"""The forward pass of a batch on a tape, with the values at its layers and its target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fervis.core.network import Network
from fervis.core.targets import Targets
from fervis.errors import ConfigError
from fervis.explainers.relevance.tape import Tape, Value, recording
from fervis.models.batch import Batch
from fervis.models.hooks import capture, frozen

_TARGETS_AT_ONCE = 16  # whose relevance is held in memory together


@dataclass(frozen=True)
class RecordedPass:
    """A forward pass.

    Attributes:
        tape: its operations, from what the network's body got: normalised pixels.
        layers: name of a layer -> its value; the start of the tape for the pixels.
        target: the value that the targets are part of: the logits, or the output of the filters' layer.
        scores: [N,T] the explained values.
        slopes: T tensors of the target's shape, of which part of it each target is.
    """

    tape: Tape
    layers: dict[str, Value]
    target: Value
    scores: Tensor
    slopes: list[Tensor]

    def seeds(self) -> Iterator[list[Tensor]]:
        """Yield the relevance at the target's value, for some targets at a time."""
        for start in range(0, len(self.slopes), _TARGETS_AT_ONCE):
            yield [self.target.tensor * slope for slope in self.slopes[start : start + _TARGETS_AT_ONCE]]


def record_pass(batch: Batch) -> RecordedPass:
    """Run the images of a batch once, in eval mode and without gradients; the network is then as it was.

    Processors convolve fastest with channels last in memory. A network that relies on another order, by ``view``, fails
    then, and is given the usual one.

    Raises:
        ConfigError: an output that is not finite, or a layer that runs twice or does not depend on the pixels.
    """
    try:
        return _recorded_in(batch, torch.channels_last)
    except RuntimeError:
        return _recorded_in(batch, torch.contiguous_format)


def _recorded_in(batch: Batch, order: torch.memory_format) -> RecordedPass:
    model, targets = batch.model, batch.targets
    paths = {layer.path for layer in batch.layers} | ({targets.layer} if targets.classes is None else set())
    inner = sorted(path for path in paths if path)
    with (
        frozen(model),
        torch.no_grad(),
        recording(model) as tape,
        capture(model, inner, roots=False, once=True) as outputs,
    ):
        with _begun(tape, model) as started:
            images = batch.images.detach().clone(memory_format=order)
            if not isinstance(model, Network):
                started.append(tape.begin(images))
            logits = model(images)
        explained = logits if targets.classes is not None else outputs[targets.layer]
        scores, slopes = _explained_values(targets, logits, explained)
        (start,) = started
        layers = {
            layer.name: start if layer.is_input else _value(tape, outputs[layer.path], f"layer={layer.name}")
            for layer in batch.layers
        }
        return RecordedPass(tape, layers, _value(tape, explained, "model"), scores, slopes)


@contextmanager
def _begun(tape: Tape, model: nn.Module) -> Iterator[list[Value]]:
    """Start the tape at what the body of a fervis network gets, inside."""
    started: list[Value] = []
    if not isinstance(model, Network):
        yield started
        return

    def begin(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        started.append(tape.begin(inputs[0]))

    handle = model.body.register_forward_pre_hook(begin)
    try:
        yield started
    finally:
        handle.remove()


def _explained_values(targets: Targets, logits: Tensor, explained: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the explained values [N,T] and of each target its slope with respect to the value it is part of."""
    with torch.enable_grad():
        leaf = explained.detach().clone().requires_grad_()
        scores = targets.scores(leaf if explained is logits else logits, {targets.layer: leaf})
        if not scores.isfinite().all():
            number = int((~scores.isfinite().all(1)).nonzero()[0])
            raise ConfigError(f"model: its output for image {number} is not finite, so it has no relevance to divide.")
        slopes = [torch.autograd.grad(scores[:, t].sum(), leaf, retain_graph=True)[0] for t in range(targets.count)]
    return scores.detach(), slopes


def _value(tape: Tape, tensor: Tensor, what: str) -> Value:
    value = tape.value(tensor)
    if value is None:
        raise ConfigError(f"{what}: its output does not depend on the pixels, so it has no relevance.")
    return value
