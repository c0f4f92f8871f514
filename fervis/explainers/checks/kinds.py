"""Checks of results that are no maps: entry by entry, plain, of the declared kind."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from torch import Tensor

from fervis.core.results import ExplainerOutput, entry_fields
from fervis.explainers.checks.subject import Subject, expect
from fervis.explainers.checks.table import contract


def _other_kind(subject: Subject) -> bool:
    return not subject.gives_maps


def _output(subject: Subject) -> ExplainerOutput:
    raw = subject.raw()
    expect(isinstance(raw, ExplainerOutput), f"explain returned a {type(raw).__name__}, expected an ExplainerOutput.")
    assert isinstance(raw, ExplainerOutput)
    return raw


def _lengths(result: Any) -> dict[str, int]:
    values = {name: getattr(result, name) for name in entry_fields(result)}
    return {name: len(value) for name, value in values.items() if isinstance(value, Tensor | tuple)}


@contract(_other_kind)
def check_result_is_of_the_declared_kind(subject: Subject) -> None:
    """The result is of the class that the explainer states as ``result``."""
    kind = type(_output(subject).result)
    expect(kind is subject.cls.result, f"a result of {kind.__name__}, expected {subject.cls.result.__name__}.")


@contract(_other_kind)
def check_entries_agree_in_number(subject: Subject) -> None:
    """Every tensor and tuple that is not shared has one item per entry, and so have layers and targets."""
    output = _output(subject)
    lengths = _lengths(output.result) | {"layers": len(output.layers), "targets": len(output.targets)}
    expect(len(set(lengths.values())) == 1, f"numbers of entries differ: {lengths}.")
    expect(min(lengths.values()) >= 1, "the result has no entry.")


@contract(_other_kind)
def check_arrays_are_plain(subject: Subject) -> None:
    """``arrays()`` gives numpy arrays of numbers, which an .npz file holds without pickling."""
    for name, array in _output(subject).result.arrays().items():
        right = isinstance(array, np.ndarray) and array.dtype != object
        expect(right, f"array {name}: a {type(array).__name__}, expected a numpy array of numbers.")


@contract(_other_kind)
def check_summary_rows_are_plain(subject: Subject) -> None:
    """``summary_row`` gives plain data for every entry, without NaN, as JSON takes it."""
    output = _output(subject)
    for entry in range(len(output.layers)):
        row = output.result.summary_row(entry)
        try:
            json.dumps(row, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"summary_row({entry}) is no plain data: {error}.") from error
