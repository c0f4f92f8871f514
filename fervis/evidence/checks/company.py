"""Checks that a map's score does not depend on the other maps of the batch, or on their order."""

from __future__ import annotations

import torch
from torch import nn

from fervis.evidence.checks.subject import MeasureSubject, expect_alike, taken, with_classes
from fervis.evidence.checks.table import of_measures
from fervis.models.checks.outcomes import expect

_MOST_PER_PASS = 200  # per map: chunks of changed images are bounded


@of_measures()
def check_an_image_alone_has_its_score(subject: MeasureSubject) -> None:
    """The score of an image's map does not depend on the other images."""
    alone = subject.run(subject.batch([1]), subject.maps([1]))
    expect_alike(alone, taken(subject.scores(), [1]), "an image alone and among others")


@of_measures()
def check_the_order_of_images_is_free(subject: MeasureSubject) -> None:
    """Images in another order have the same scores in that order."""
    turned = subject.run(subject.batch([2, 0, 1]), subject.maps([2, 0, 1]))
    expect_alike(turned, taken(subject.scores(), [2, 0, 1]), "images in another order")


@of_measures()
def check_equal_maps_have_equal_scores(subject: MeasureSubject) -> None:
    """An image that stands twice in a batch, with the same map, has the same score twice."""
    twice = subject.run(subject.batch([0, 1, 0]), subject.maps([0, 1, 0]))
    expect_alike(taken(twice, 2), taken(twice, 0), "the same image twice")


@of_measures()
def check_a_target_alone_has_its_score(subject: MeasureSubject) -> None:
    """The score of one target's map does not depend on the other targets."""
    batch = with_classes(subject.batch(), [[2]] * 3)
    alone = subject.run(batch, subject.maps()[:, 1:])
    expect_alike(alone, taken(subject.scores(), (slice(None), [1])), "a target alone and among others")


@of_measures()
def check_the_order_of_targets_is_free(subject: MeasureSubject) -> None:
    """Targets in another order have the same scores in that order."""
    batch = with_classes(subject.batch(), [[2, 0]] * 3)
    expect_alike(
        subject.run(batch, subject.maps().flip(1)),
        taken(subject.scores(), (slice(None), [1, 0])),
        "targets in another order",
    )


@of_measures()
def check_no_pass_is_large(subject: MeasureSubject) -> None:
    """No pass holds many more images than there are maps: changed images are computed in chunks."""
    batch, largest = subject.batch(), 0

    def count(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal largest
        largest = max(largest, len(inputs[0]))

    with batch.model.register_forward_pre_hook(count):
        subject.run(batch, subject.maps())
    most = _MOST_PER_PASS * subject.maps().shape[:2].numel()
    expect(largest <= most, f"{largest} images in one pass for 6 maps, expected at most {most}.")
