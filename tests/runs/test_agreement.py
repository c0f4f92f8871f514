"""Agreement of methods from Python: means over images with intervals, forms of maps, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fervis
from fervis.errors import ConfigError
from fervis.metrics.map_agreement import pair_agreement
from fervis.models.checks.networks import CheckNetwork
from fervis.runs.evidence import image_mean


def test_every_pair_has_means_over_images_with_intervals():
    generator = torch.Generator().manual_seed(0)
    maps = {name: torch.randn(6, 8, 8, generator=generator) for name in ("a", "b", "c")}
    rows = torch.tensor([4, 4, 5, 6, 6, 7])
    found = fervis.agreement({**maps, "b": maps["b"].numpy()}, share=0.2, images=rows, seed=3)
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    for (one, other), scores in found.items():
        for name, values in pair_agreement(maps[one], maps[other], 0.2).items():
            assert scores[name].value == pytest.approx(image_mean(values, rows, 3).value, abs=1e-12)
            assert scores[name].low == pytest.approx(image_mean(values, rows, 3).low, abs=1e-12)
            assert scores[name].low < scores[name].value < scores[name].high or name == "rank_agreement"


def test_results_of_several_methods_are_compared_as_they_come():
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    results = fervis.explain(CheckNetwork(), images, ["saliency", "input_x_gradient"], target=[0, 1, 2])
    found = fervis.agreement(results)["saliency", "input_x_gradient"]
    maps = [results[name].maps for name in ("saliency", "input_x_gradient")]
    assert found["rank_correlation"].value == pytest.approx(float(pair_agreement(*maps)["rank_correlation"].mean()))


@pytest.mark.parametrize(
    ("maps", "knobs", "message"),
    [
        ({"a": torch.rand(2, 4, 4)}, {}, "1 of a method; expected those of two or more"),
        (
            {"a": torch.rand(2, 4, 4), "b": torch.rand(2, 4, 5)},
            {},
            r"those of b are \[2, 4, 5\], those of a \[2, 4, 4\]",
        ),
        ({"a": torch.rand(2, 4, 4), "b": torch.rand(4, 4)}, {}, r"those of b are \[4, 4\]; expected \[N,H,W\]"),
        ({"a": torch.rand(2, 4, 4), "b": torch.rand(2, 4, 4)}, {"share": 0.0}, "share=0.0: expected a share"),
        (
            {"a": torch.rand(2, 4, 4), "b": torch.rand(2, 4, 4)},
            {"images": torch.arange(3)},
            "3 numbers for 2 maps; expected one for each",
        ),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(maps: dict[str, torch.Tensor], knobs: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        fervis.agreement(maps, **knobs)
