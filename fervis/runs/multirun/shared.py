"""Passes that the jobs of a sweep share, where one process runs them one after the other.

Jobs that explain the same images with the same weights reuse predictions, activations and gradients of the first of
them, whose passes also compute the layers that the other jobs will need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor, nn

from fervis.core.layers import INPUT, Layer, resolve_layers
from fervis.core.registry import plugin_class
from fervis.errors import ConfigError
from fervis.models.predict import predict
from fervis.models.shared_passes import SharedPasses
from fervis.runs.overrides import parse_override
from fervis.system.hashing import digest
from fervis.system.tensor_hash import tensors_hash

BATCHES_KEPT = 2  # the latest pairs of weights and images, such as those of two checkpoints

_current: ContextVar[_SweepPasses | None] = ContextVar("sweep passes", default=None)


@dataclass
class _SweepPasses:
    """Objects that the jobs of one sweep share.

    Attributes:
        jobs: returns the overrides of each job.
        batches: hash of weights and images -> the predictions for these images, and the passes over them.
    """

    jobs: Callable[[], Sequence[Sequence[str]]]
    batches: dict[str, tuple[Tensor, SharedPasses]] = field(default_factory=dict)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Layers that the jobs name, and the pixels where a method of layers reads them too."""
        return tuple(dict.fromkeys(name for job in self.jobs() for name in _layers_of(job)))


@contextmanager
def sharing_passes(jobs: Callable[[], Sequence[Sequence[str]]]) -> Iterator[None]:
    """Let the jobs of a sweep that run inside, in this process, share their passes.

    Args:
        jobs: returns the overrides of each job; called by the first job that explains in this process.
    """
    token = _current.set(_SweepPasses(jobs))
    try:
        yield
    finally:
        _current.reset(token)


def predict_shared(model: nn.Module, images: Tensor) -> tuple[Tensor, SharedPasses | None]:
    """Return the probabilities [N,K] of images, on the CPU, and the passes over them that jobs of a sweep share.

    The passes are None outside a sweep.
    """
    sweep = _current.get()
    if sweep is None:
        return predict(model, images).cpu(), None
    key = digest([tensors_hash(model.state_dict()), tensors_hash({"images": images})])
    if key not in sweep.batches:
        while len(sweep.batches) >= BATCHES_KEPT:
            del sweep.batches[next(iter(sweep.batches))]
        layers = _known_layers(model, sweep.names, images[:1])
        sweep.batches[key] = predict(model, images).cpu(), SharedPasses(layers)
    return sweep.batches[key]


def _layers_of(job: Sequence[str]) -> Iterator[str]:
    """Yield the layers that a job names, and the pixels where its explainer reads both."""
    for override in job:
        parsed = parse_override(override)
        key, value = (parsed.key_or_group, parsed.value()) if parsed else ("", None)
        if key == "layer" and value:
            yield from map(str, value) if isinstance(value, list) else [str(value)]
        if key == "explainer":
            with suppress(ConfigError):
                if {"layers", "pixels"} <= plugin_class("explainer", str(value)).takes:
                    yield INPUT


def _known_layers(model: nn.Module, names: Sequence[str], image: Tensor) -> tuple[Layer, ...]:
    """Return the layers of those names that the network has; another job may name layers of another network."""
    with suppress(ConfigError):
        return resolve_layers(model, names, image) if names else ()
    known: list[Layer] = []
    for name in names:
        with suppress(ConfigError):
            known += resolve_layers(model, name, image)
    return tuple({layer.name: layer for layer in known}.values())
