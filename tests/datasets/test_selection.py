"""Which faces ``faces=`` selects."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fervis.core.faces import Faces
from fervis.datasets.selection import select_faces
from fervis.errors import ConfigError


def faces_of(labels: list[int], splits: list[int]) -> Faces:
    count = len(labels)
    return Faces(
        images=torch.zeros(count, 1, 2, 2, dtype=torch.uint8),
        labels=torch.tensor(labels),
        rows=10 * torch.arange(count),
        splits=torch.tensor(splits, dtype=torch.uint8),
        classes=("a", "b"),
    )


LABELLED = faces_of([0, 1, 1, 0, 1, -1], [0, 2, 2, 2, 2, 2])


@pytest.mark.parametrize(
    ("spec", "rows"),
    [
        ("all", [10, 20, 30, 40, 50]),
        ("auto", [30, 10]),
        ("per_class:2", [30, 10, 20]),
        ({"per_class": 1}, [30, 10]),
        (20, [20]),
        ([40, 10], [40, 10]),
    ],
)
def test_the_faces_that_a_form_names(spec: Any, rows: list[int]):
    assert select_faces(LABELLED, "test", spec).rows.tolist() == rows


def test_without_labels_the_first_faces_are_taken_and_classes_refused():
    unlabelled = faces_of([-1] * 20, [2] * 20)
    assert select_faces(unlabelled, "test", "auto").rows.tolist() == [10 * row for row in range(16)]
    with pytest.raises(
        ConfigError, match=r"^faces=per_class:1: no face of split=test has a label; ask with row numbers"
    ):
        select_faces(unlabelled, "test", "per_class:1")


@pytest.mark.parametrize(
    ("split", "spec", "sentence"),
    [
        ("tst", "all", r"^split=tst: .* Did you mean test\?"),
        ("val", "all", r"^split=val: the data set has no faces there \(train 1, val 0, test 5\)\.$"),
        ("test", 0, r"^faces=0: split=test has no such row; it is in split=train\.$"),
        ("test", [10, 70], r"^faces=70: split=test has no such row; the data set's rows are 0 to 50\.$"),
        ("test", True, r"^faces=True: expected row numbers"),
        ("test", [], r"^faces=\[\]: expected row numbers"),
        ("test", "per_class:0", r"^faces=per_class:0: expected row numbers"),
    ],
)
def test_other_forms_are_refused(split: str, spec: Any, sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        select_faces(LABELLED, split, spec)
