"""Checks of randomness: it comes from the seed alone, and from nothing else."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Generator

from fervis.core.results import ExplainerOutput, LayerMaps
from fervis.explainers.checks.subject import CHECK_IMAGES, Subject, expect, run_method
from fervis.explainers.checks.table import contract, gives_maps
from fervis.models.batch import Batch


def _answer_bytes(answer: LayerMaps | ExplainerOutput) -> dict[str, bytes]:
    """Return what an explainer gave as bytes by name."""
    if isinstance(answer, LayerMaps):
        values = {**answer.maps, **{f"scores/{name}": value for name, value in (answer.scores or {}).items()}}
        return {name: value.detach().cpu().contiguous().numpy().tobytes() for name, value in values.items()}
    return {name: array.tobytes() for name, array in answer.result.arrays().items()}


def _answer(subject: Subject, seed: int = 0) -> dict[str, bytes]:
    method, batch = subject.batch(subject.network(), _images(subject), seed=seed)
    return _answer_bytes(run_method(subject, method, batch))


def _images(subject: Subject) -> Any:
    return subject.images(CHECK_IMAGES if subject.gives_maps else 2 * CHECK_IMAGES)


@contract()
def check_the_same_seed_gives_the_same_bytes(subject: Subject) -> None:
    """The same question gives the same bytes."""
    expect(_answer_bytes(subject.raw()) == _answer(subject), "two calls with the same seed differ.")


@contract()
def check_global_seeds_play_no_part(subject: Subject) -> None:
    """Neither torch's nor numpy's nor Python's global generators change an answer."""
    expected = _answer_bytes(subject.raw())
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        torch.manual_seed(12345)
        np.random.seed(12345)
        random.seed(12345)
        answer = _answer(subject)
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
    expect(answer == expected, "global random state changes the answer; draw from batch.generator(...).")


@dataclass(frozen=True)
class _Counted(Batch):
    """A batch that records which generators are taken from it."""

    taken: list[str] = field(default_factory=list)

    def generator(self, use: str) -> Generator:
        self.taken.append(use)
        return Batch.generator(self, use)


@contract(gives_maps)
def check_another_seed_changes_what_is_drawn(subject: Subject) -> None:
    """Another seed gives another map where the explainer draws, and the same map where it does not."""
    method, batch = subject.batch(subject.network(), _images(subject))
    counted = _Counted(**{name: getattr(batch, name) for name in batch.__dataclass_fields__})
    method.explain(counted)
    other = _answer_bytes(method.explain(replace(batch, seed=1)))
    same = other == _answer_bytes(subject.raw())
    if counted.taken:
        expect(not same, f"another seed gives the same map, though {counted.taken[0]} is drawn from.")
    else:
        expect(same, "another seed gives another map, though batch.generator is never called.")
