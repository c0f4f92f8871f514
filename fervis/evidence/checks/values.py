"""Checks of scores: their shapes and values, for ordinary maps and for maps without any form."""

from __future__ import annotations

import torch
from torch import Tensor

from fervis.evidence.baselines import BASELINES
from fervis.evidence.checks.subject import SIZE, MeasureSubject
from fervis.evidence.checks.table import of_measures
from fervis.models.checks.outcomes import expect

_RESERVED = {*BASELINES, "low", "high"}


def _expect_numbers(subject: MeasureSubject, maps: Tensor, what: str) -> None:
    """Raise AssertionError unless maps have scores that are numbers, or NaN where there is none; never infinite."""
    for name, values in subject.run(subject.batch(), maps).items():
        expect(tuple(values.shape) == maps.shape[:2], f"{what}: score {name!r} of shape {list(values.shape)}.")
        expect(not values.isinf().any(), f"{what}: the score {name!r} is infinite; expected a number or NaN.")


@of_measures()
def check_each_score_is_images_by_targets(subject: MeasureSubject) -> None:
    """Each score is [N,T]."""
    for name, values in subject.scores().items():
        shape = list(getattr(values, "shape", ()))
        expect(isinstance(values, Tensor) and shape == [3, 2], f"score {name!r} of shape {shape}, expected [3, 2].")


@of_measures()
def check_the_measure_itself_is_there(subject: MeasureSubject) -> None:
    """There is a score named ``""``, which is the measure itself."""
    expect("" in subject.scores(), f"scores {sorted(subject.scores())}, expected one of the name ''.")


@of_measures()
def check_names_of_scores_are_free(subject: MeasureSubject) -> None:
    """No score has the name of a baseline or of an interval's end, which are appended to it."""
    names = subject.scores()
    wrong = [name for name in names if not isinstance(name, str) or {*name.split("/")} & _RESERVED]
    expect(not wrong, f"scores named {wrong}; expected other names than {', '.join(sorted(_RESERVED))}.")


@of_measures()
def check_scores_are_float_and_detached(subject: MeasureSubject) -> None:
    """Scores are real numbers and part of no graph."""
    for name, values in subject.scores().items():
        expect(values.is_floating_point(), f"score {name!r} of {values.dtype}, expected a float type.")
        expect(not values.requires_grad, f"the score {name!r} hangs on a graph; detach it.")


@of_measures()
def check_scores_are_finite(subject: MeasureSubject) -> None:
    """Ordinary maps have scores."""
    for name, values in subject.scores().items():
        expect(values.isfinite().all(), f"the score {name!r} of ordinary maps is {values.tolist()}.")


@of_measures()
def check_a_map_of_zeros(subject: MeasureSubject) -> None:
    """A map without information has a number or NaN, and raises no error."""
    _expect_numbers(subject, torch.zeros(3, 2, *SIZE), "maps of zeros")


@of_measures()
def check_a_constant_map(subject: MeasureSubject) -> None:
    """A map without any order has a number or NaN, and no error."""
    _expect_numbers(subject, torch.full((3, 2, *SIZE), 0.3), "constant maps")


@of_measures()
def check_a_map_of_one_pixel(subject: MeasureSubject) -> None:
    """A map of a single pixel has a number or NaN, and no error."""
    maps = torch.zeros(3, 2, *SIZE)
    maps[:, :, 4, 5] = 1
    _expect_numbers(subject, maps, "maps of one pixel")


@of_measures()
def check_a_negative_map(subject: MeasureSubject) -> None:
    """A map without any positive value has a number or NaN, and no error."""
    _expect_numbers(subject, -subject.maps().abs(), "negative maps")


@of_measures()
def check_tiny_and_huge_maps(subject: MeasureSubject) -> None:
    """Maps of values near the ends of float32 have a number or NaN, and no error."""
    for scale in (1e-30, 1e15):
        _expect_numbers(subject, subject.maps() * scale, f"maps of values about {scale:g}")


@of_measures()
def check_one_image_and_target(subject: MeasureSubject) -> None:
    """Scores of one image with one target have both axes."""
    batch = subject.batch([1], [[2]])
    for name, values in subject.run(batch, subject.maps([1])[:, :1]).items():
        expect(tuple(values.shape) == (1, 1), f"score {name!r} of {list(values.shape)}, expected [1, 1].")


@of_measures()
def check_oblong_images(subject: MeasureSubject) -> None:
    """Maps of images of 14x19 pixels are scored."""
    size = (14, 19)
    for name, values in subject.run(subject.batch(size=size), subject.maps(size=size)).items():
        expect(values.isfinite().all(), f"the score {name!r} of maps of 14x19 pixels is {values.tolist()}.")


@of_measures()
def check_color_images(subject: MeasureSubject) -> None:
    """Maps of images of three channels are scored."""
    for name, values in subject.run(subject.batch(channels=3), subject.maps()).items():
        expect(values.isfinite().all(), f"the score {name!r} of maps of color images is {values.tolist()}.")


@of_measures()
def check_any_layout_of_maps(subject: MeasureSubject) -> None:
    """Maps need not be contiguous in memory."""
    maps = subject.maps().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    for name, values in subject.run(subject.batch(), maps).items():
        same = torch.equal(values.nan_to_num(), subject.scores()[name].nan_to_num())
        expect(same, f"the score {name!r} of maps of another layout in memory is another one.")
