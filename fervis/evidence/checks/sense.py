"""Checks that a score depends on the map, in the direction that is stated, and on nothing that it must not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fervis.evidence.checks.subject import SIZE, KnownNetwork, MeasureSubject, expect_alike, known_batch
from fervis.evidence.checks.table import of_measures
from fervis.evidence.protocol import ExplainAgain
from fervis.models.checks.outcomes import expect


def _has_direction(subject: MeasureSubject) -> bool:
    return subject.has_direction


def _scores_given_maps(subject: MeasureSubject) -> bool:
    return subject.has_direction and "explain_again" not in getattr(subject.cls, "needs", ())


def _explains_by(make: Callable[[nn.Module, Tensor], Tensor]) -> ExplainAgain:
    batch = known_batch()

    def again(images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None) -> Tensor:
        return make(batch.model if model is None else model, batch.images if images is None else images)

    return again


def _contributions(model: nn.Module, images: Tensor) -> Tensor:
    assert isinstance(model, KnownNetwork)
    return model.contributions(images)


def _perfect(subject: MeasureSubject) -> float:
    again = _explains_by(_contributions)
    return subject.known_score(again(), again)


def _wrong_scores(subject: MeasureSubject) -> list[float]:
    """Return the scores of an explainer that always gives the same random maps, and of one that draws fresh ones."""
    generator = torch.Generator().manual_seed(7)
    fixed = torch.rand(8, 1, *SIZE, generator=generator)

    def same(model: nn.Module, images: Tensor) -> Tensor:
        return fixed[torch.arange(len(images)) % len(fixed)]

    def fresh(model: nn.Module, images: Tensor) -> Tensor:
        return torch.rand(len(images), 1, *SIZE, generator=generator)

    return [subject.known_score(fixed, _explains_by(make)) for make in (same, fresh)]


@of_measures(_has_direction)
def check_a_perfect_map_beats_a_random_one(subject: MeasureSubject) -> None:
    """The exact contributions of pixels to a network's logit score better than random maps.

    Where a measure explains again, one of two wrong explainers must score worse: one that gives the same random maps
    for any input, and one that draws new maps in every call.
    """
    perfect, wrong, lower = _perfect(subject), _wrong_scores(subject), subject.cls.better == "lower"
    worst = max(wrong) if lower else min(wrong)
    beaten = perfect < worst if lower else perfect > worst
    expect(beaten, f"better={subject.cls.better}: a perfect map has {perfect:.4g}, a random one {worst:.4g}.")


@of_measures(_scores_given_maps)
def check_the_opposite_map_is_no_better(subject: MeasureSubject) -> None:
    """The negative of a perfect map does not score better than it."""
    perfect, again = _perfect(subject), _explains_by(_contributions)
    opposite = subject.known_score(-again(), again)
    better = opposite < perfect if subject.cls.better == "lower" else opposite > perfect
    expect(not better, f"better={subject.cls.better}: a perfect map has {perfect:.4g}, its negative {opposite:.4g}.")


@of_measures()
def check_the_map_matters(subject: MeasureSubject) -> None:
    """Another map has another score."""
    batch, one = subject.batch(), subject.maps()
    other = subject.run(batch, one.abs() ** 3 * torch.linspace(0, 1, SIZE[1]))
    same = all(torch.equal(values.nan_to_num(), other[name].nan_to_num()) for name, values in subject.scores().items())
    expect(not same, "quite other maps have the same scores.")


@of_measures()
def check_the_unit_of_a_map_does_not_matter(subject: MeasureSubject) -> None:
    """A map times four has the same score, since maps of different methods have different units."""
    expect_alike(subject.run(subject.batch(), 4 * subject.maps()), subject.scores(), "maps times four")
