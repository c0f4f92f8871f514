"""What a network is trained towards: labels, smoothed, or the votes of raters."""

from __future__ import annotations

import pytest
import torch

from fervis.core.faces import Faces
from fervis.errors import ConfigError
from fervis.trainers.soft_targets import training_targets

NAMES = ("neutral", "happiness", "anger", "contempt", "unknown")  # FER+'s own words and order
CLASSES = ("angry", "happy", "neutral")


def rated(votes: list[list[int]] | None, labels: list[int]) -> Faces:
    count = len(labels)
    table = None if votes is None else torch.tensor(votes, dtype=torch.uint8)
    images, rows = torch.zeros(count, 1, 8, 8, dtype=torch.uint8), torch.arange(count)
    splits = torch.zeros(count, dtype=torch.uint8)
    return Faces(images, torch.tensor(labels), rows, splits, CLASSES, table, NAMES if votes else ())


def test_votes_are_shares_among_the_classes_whatever_else_raters_chose():
    faces = rated([[1, 6, 3, 0, 0], [2, 2, 0, 4, 2]], [1, 0])
    torch.testing.assert_close(
        training_targets(faces, smoothing=0.0, votes=True), torch.tensor([[0.3, 0.6, 0.1], [0.0, 0.5, 0.5]])
    )


def test_fewer_than_two_votes_for_the_classes_leave_the_label():
    faces = rated([[0, 0, 0, 9, 1], [0, 1, 0, 9, 0], [0, 2, 0, 8, 0]], [0, 0, 0])
    expected = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    torch.testing.assert_close(training_targets(faces, smoothing=0.0, votes=True), expected)


def test_votes_and_labels_are_smoothed_alike():
    faces = rated([[0, 5, 5, 0, 0], [0, 0, 0, 10, 0]], [0, 2])
    expected = torch.tensor([[0.45 + 0.1 / 3, 0.45 + 0.1 / 3, 0.1 / 3], [0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3]])
    torch.testing.assert_close(training_targets(faces, smoothing=0.1, votes=True), expected)


def test_without_votes_the_labels_count_whatever_the_raters_said():
    faces = rated([[0, 9, 1, 0, 0]], [2])
    torch.testing.assert_close(training_targets(faces, smoothing=0.3, votes=False), torch.tensor([[0.1, 0.1, 0.8]]))


def test_faces_without_votes_are_refused():
    with pytest.raises(ConfigError, match=r"trainer\.votes=true: the faces have no votes; dataset\.votes="):
        training_targets(rated(None, [0]), smoothing=0.0, votes=True)
