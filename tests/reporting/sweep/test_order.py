"""The order of a setting's values, against lists sorted by hand."""

from __future__ import annotations

from fervis.reporting.sweep.order import natural_key, order_values


def test_natural_order() -> None:
    words = ["conv10", "last", "2", "input", "conv2", "layer1.10.conv1", "10", "layer1.9.conv1", "best"]
    expected = ["input", "2", "10", "best", "conv2", "conv10", "last", "layer1.9.conv1", "layer1.10.conv1"]
    assert sorted(words, key=natural_key) == expected
    assert order_values({"conv10", "conv2"}, ["conv10", "conv2"]) == ["conv2", "conv10"]
    assert order_values({"input", "fc1", "conv7"}, ["input", "conv7", "fc1"]) == ["input", "conv7", "fc1"]
    assert order_values({"input", "fc1", "conv7"}, ["conv7"]) == ["input", "conv7", "fc1"]
