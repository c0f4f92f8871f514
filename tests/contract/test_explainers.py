"""What every explainer must do: the public contract (``fervis.explainer_checks``), and what a run refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from support.concept_folders import small_concepts
from support.contract_cases import contract_cases
from support.transformers import transformer
from torch import Tensor, nn

import fervis
from fervis.core.registry import build_plugin, names, option_settings, plugin_class
from fervis.core.results import HeatMaps
from fervis.errors import ConfigError


def class_of(name: str) -> Any:
    return plugin_class("explainer", option_settings("explainer", name).name)


EXPLAINERS = names("explainer")
HEAT_MAPS = [name for name in EXPLAINERS if class_of(name).result is HeatMaps]
NEEDS_TRAINING = {"training"}  # reads the epochs of a training, which a lone network does not have
# Settings by which the checks are quick. At its own defaults quickshift finds a single superpixel in images as small
# as these.
KNOBS: dict[str, dict[str, Any]] = {
    "class_image": {"steps": 2},
    "confused": {"resamples": 20, "patches": 2, "examples": 2},
    "confusion": {"resamples": 20},
    "filters": {"steps": 2, "filters": [0, 2]},
    "expected_gradients": {"samples": 6},
    "integrated_gradients": {"steps": 6},
    "extremal_perturbation": {"steps": 80},
    "kernel_shap": {"samples": 160, "superpixels": "grid", "segments": 16},
    "lime": {"samples": 60},
    "lime_reference": {"kernel_size": 1, "max_dist": 3, "num_samples": 30},
    "nearest": {"k": 3},
    "part_shapley": {"parts": "grid", "segments": 4},
    "refine": {"layers": "all", "method": "layercam"},  # its stages end in activations, if these are modules
    "occlusion": {"window": 5, "stride": 3},
    "rise": {"samples": 60, "grid": 3},
    "smoothgrad": {"samples": 6},
    "tcav": {"concepts": small_concepts(), "partitions": 3},
}
# Methods that refuse the small convolutional network of the checks -> a function that builds one that they explain.
NETWORKS: dict[str, Callable[..., nn.Module]] = dict.fromkeys(("attention_gradient", "attention_rollout"), transformer)
RANDOM = "a random map does not know the network"
# Name of an explainer -> name of a check -> why it fails. Strict: one that passes is an error.
EXPECTED_FAILURES: dict[str, dict[str, str]] = {
    "everything_map": {"maps_say_something": "a baseline that is 1 everywhere"},
    "extremal_perturbation": {
        "a_constant_network_has_constant_maps": "without evidence its mask is where the area's penalty leads",
    },
    "random_map": {
        "a_constant_network_has_constant_maps": RANDOM,
        "equal_classes_have_equal_maps": RANDOM,
        "permuted_classes_have_permuted_maps": RANDOM,
    },
    "rise": {
        "a_constant_network_has_constant_maps": "its map is then the mean of its masks, which chance makes uneven",
    },
    "scorecam": {
        "a_constant_network_has_constant_maps": "its weights are a softmax, which sums to 1 whatever the scores are",
    },
}


def cases() -> Iterator[Any]:
    for name in EXPLAINERS:
        checks = fervis.explainer_checks(name, model=NETWORKS.get(name), knobs=KNOBS.get(name))
        yield from contract_cases(name, checks, EXPECTED_FAILURES.get(name, {}))


@pytest.mark.parametrize("run", list(cases()))
def test_contract(run: Callable[[], None]):
    run()


def test_every_expected_failure_is_of_a_check_that_there_is():
    for name in set(EXPLAINERS) & set(EXPECTED_FAILURES):
        expected = EXPECTED_FAILURES[name]
        assert set(expected) <= set(dict(fervis.explainer_checks(name)))


def network(name: str) -> nn.Module:
    if name in NETWORKS:
        return NETWORKS[name](channels=1, classes=3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_plugin("model", "vgg8", width=4).build(channels=1, size=16, classes=("a", "b", "c"))


def images(count: int = 6) -> Tensor:
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(4))


def explain(name: str, layer: str | None = None, target: Any = None) -> Any:
    labels = torch.arange(6) % 3 if target is None else target
    return fervis.explain(network(name), images(), name, layer, labels, **KNOBS.get(name, {}))


@pytest.mark.parametrize("name", [name for name in HEAT_MAPS if name != "everything_map"])
def test_a_network_of_fervis_is_explained(name: str):
    result = explain(name)
    assert result.maps.shape == (6, 16, 16)
    assert result.maps.isfinite().all()
    assert (result.maps.amax((1, 2)) > result.maps.amin((1, 2))).any()


@pytest.mark.parametrize("name", [name for name in EXPLAINERS if "layers" not in class_of(name).takes])
def test_a_layer_that_would_change_nothing_is_refused(name: str):
    with pytest.raises(ConfigError, match="layer=conv5: "):
        explain(name, "conv5")


@pytest.mark.parametrize(
    "name", [name for name in EXPLAINERS if class_of(name).takes & {"layers", "pixels"} == {"layers"}]
)
def test_the_pixels_are_refused_where_they_are_no_layer(name: str):
    with pytest.raises(ConfigError, match="layer=input: "):
        explain(name, "input")


@pytest.mark.parametrize("name", sorted(NEEDS_TRAINING))
def test_what_needs_a_training_says_so(name: str):
    with pytest.raises(ConfigError, match="epoch"):
        explain(name, "conv5")
