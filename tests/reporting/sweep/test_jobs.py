"""Jobs of a sweep."""

from __future__ import annotations

from fervis.reporting.sweep.jobs import Job


def test_a_layer_of_several_keeps_its_name() -> None:
    numbers = {"conv1/a": 1.0, "conv2/a": 2.0, "b": 3.0}
    assert Job("x", "answered", numbers=numbers, layers=("conv1", "conv2")).own_numbers() == numbers
    both = {"conv1/a": 1.0, "a": 2.0}
    assert Job("x", "answered", numbers=both, layers=("conv1",)).own_numbers() == both
