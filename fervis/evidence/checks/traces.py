"""Checks that scores come from the seed alone, and that a call leaves everything as it was."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from fervis.evidence.checks.subject import MeasureSubject
from fervis.evidence.checks.table import of_measures
from fervis.models.batch import Batch
from fervis.models.checks.outcomes import expect
from fervis.models.checks.snapshots import awkward, reset_globals, same, snapshot


def _score_bytes(scores: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: values.detach().cpu().contiguous().numpy().tobytes() for name, values in scores.items()}


@of_measures()
def check_one_seed_gives_the_same_bytes(subject: MeasureSubject) -> None:
    """The same call gives the same bytes."""
    again = subject.run(subject.batch(), subject.maps())
    expect(_score_bytes(again) == _score_bytes(subject.scores()), "two calls with the same seed differ.")


@of_measures()
def check_global_generators_play_no_part(subject: MeasureSubject) -> None:
    """Neither torch's nor numpy's nor Python's global generators change a score."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        torch.manual_seed(12345)
        np.random.seed(12345)
        random.seed(12345)
        scores = subject.run(subject.batch(), subject.maps())
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
    expect(_score_bytes(scores) == _score_bytes(subject.scores()), "global random state changes the scores.")


@dataclass(frozen=True)
class _RecordedBatch(Batch):
    """A batch that records which generators are taken from it."""

    uses: list[str] = field(default_factory=list)

    def generator(self, use: str) -> Generator:
        self.uses.append(use)
        return Batch.generator(self, use)


@of_measures()
def check_the_seed_decides_what_is_drawn(subject: MeasureSubject) -> None:
    """Another seed gives other scores where the measure draws, and the same where it does not."""
    batch = subject.batch()
    recorded = _RecordedBatch(**{name: getattr(batch, name) for name in batch.__dataclass_fields__})
    subject.run(recorded, subject.maps())
    other = _score_bytes(subject.run(replace(batch, seed=1), subject.maps()))
    unchanged = other == _score_bytes(subject.scores())
    if recorded.uses:
        expect(not unchanged, f"another seed gives the same scores, though {recorded.uses[0]} is drawn from.")
    else:
        expect(unchanged, "another seed gives other scores, though batch.generator is never called.")


def _around_a_call(subject: MeasureSubject) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the snapshots before and after one call, made once."""
    if "around" not in subject.saved:
        batch, maps = subject.batch(), subject.maps()
        awkward(batch.model)
        before = {**snapshot(batch.model, batch.images), "maps": maps.clone()}
        subject.run(batch, maps)
        subject.saved["around"] = before, {**snapshot(batch.model, batch.images), "maps": maps}
        reset_globals(before)
    return subject.saved["around"]


def _expect_as_before(subject: MeasureSubject, *aspects: str) -> None:
    before, after = _around_a_call(subject)
    changed = [aspect for aspect in aspects if not same(before[aspect], after[aspect])]
    expect(not changed, f"{', '.join(changed)} after the call not as before it.")


@of_measures()
def check_pixels_are_not_written(subject: MeasureSubject) -> None:
    """The images are as they were."""
    _expect_as_before(subject, "images")


@of_measures()
def check_maps_are_not_written(subject: MeasureSubject) -> None:
    """The maps are as they were."""
    _expect_as_before(subject, "maps")


@of_measures()
def check_weights_and_buffers_are_left(subject: MeasureSubject) -> None:
    """Parameters, their gradients and flags, and buffers are as before."""
    _expect_as_before(subject, "weights", "gradients", "requires_grad", "buffers")


@of_measures()
def check_modules_are_left(subject: MeasureSubject) -> None:
    """Train and eval modes, hooks and attributes of modules are as before."""
    _expect_as_before(subject, "modes", "hooks", "attributes")


@of_measures()
def check_global_state_is_left(subject: MeasureSubject) -> None:
    """Global random states and modes of torch are as before."""
    _expect_as_before(subject, "random states", "global modes")


class _Stopped(BaseException):
    """An error that no measure expects, such as an interruption by a key."""


@of_measures()
def check_a_failing_pass_leaves_no_trace(subject: MeasureSubject) -> None:
    """After an error in the second pass, if there is one, the network and all global state are as before."""
    batch, maps = subject.batch(), subject.maps()
    network, passes = awkward(batch.model), 0

    def failing(*_: object) -> None:
        nonlocal passes
        passes += 1
        if passes == 2:
            raise _Stopped

    before = snapshot(network, batch.images)
    network.register_forward_pre_hook(failing)  # which a copy of the network has as well
    watched = snapshot(network, batch.images)
    raised = False
    try:
        subject.run(batch, maps)
    except _Stopped:
        raised = True
    after = snapshot(network, batch.images)
    reset_globals(before)
    expect(raised or passes < 2, "an error in a pass was swallowed.")
    changed = [aspect for aspect in watched if not same(watched[aspect], after[aspect])]
    expect(not changed, f"after an error in a pass {', '.join(changed)} are not as before.")


@of_measures()
def check_without_gradients_around(subject: MeasureSubject) -> None:
    """The scores are the same inside ``torch.no_grad``."""
    with torch.no_grad():
        scores = subject.run(subject.batch(), subject.maps())
    expect(_score_bytes(scores) == _score_bytes(subject.scores()), "inside torch.no_grad the scores are others.")
