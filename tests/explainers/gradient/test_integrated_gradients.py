"""Integrated gradients against captum, a literal loop, completeness, and the closed form of a linear network."""

from __future__ import annotations

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

import fervis
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError
from fervis.explainers.gradient import integrated_gradients as under_test


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def network(channels: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_plugin("model", "vgg8", width=4).build(channels=channels, size=16, classes=("a", "b", "c"))
        return model.eval()


@pytest.mark.parametrize(("channels", "steps", "baseline"), [(1, 20, 0.0), (3, 7, 0.5), (1, 70, 1.0)])
def test_all_classes_at_once_are_captums_maps_one_by_one(channels: int, steps: int, baseline: float):
    model, images = network(channels), noise(3, channels, 16, 16)
    found = fervis.explain(model, images, "integrated_gradients", target="all", steps=steps, baseline=baseline)
    method = IntegratedGradients(model)
    calls = [
        method.attribute(images, baselines=baseline, target=k, n_steps=steps, method="gausslegendre").sum(1)
        for k in range(3)
    ]
    expected = torch.stack(calls, 1).flatten(0, 1).detach().float()
    torch.testing.assert_close(found.maps, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    assert found.signed


def test_the_midpoint_rule_is_a_loop_over_equal_steps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(under_test, "POINTS_PER_PASS", 4)  # 9 points come as 4, 4 and 1
    model, images, labels = network(), noise(2, 1, 16, 16), [2, 0]
    found = fervis.explain(model, images, "integrated_gradients", target=labels, steps=9, rule="midpoint", baseline=0.3)
    for image, label, own in zip(images, labels, found.maps, strict=True):
        total = torch.zeros(1, 16, 16, dtype=torch.float64)
        for step in range(9):
            point = (0.3 + (step + 0.5) / 9 * (image - 0.3)).requires_grad_()
            total += torch.autograd.grad(model(point[None])[0, label], point)[0].double() / 9
        expected = (total * (image - 0.3)).sum(0).float()
        torch.testing.assert_close(own, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


def test_a_map_adds_up_to_what_the_logit_gains_and_the_gap_is_reported():
    model, images = network(), noise(3, 1, 16, 16)
    with torch.no_grad():
        gains = (model(images) - model(torch.zeros_like(images))).flatten()
    gaps = []
    for steps in (2, 200):
        found = fervis.explain(model, images, "integrated_gradients", target="all", steps=steps)
        missed = (found.maps.double().sum((1, 2)) - gains).abs().float()
        torch.testing.assert_close(found.scores["completeness_gap"], missed, rtol=1e-3, atol=1e-6)
        gaps.append(float(missed.max()))
    assert gaps[1] < 0.05 * gaps[0]
    assert gaps[1] < 0.01 * float(gains.abs().max())


@pytest.mark.parametrize("rule", ["gauss_legendre", "midpoint"])
def test_a_linear_network_is_exact_with_one_step(rule: str):
    weights = torch.randn(3, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 3))
    model[1].weight.data = weights.flatten(1)
    images, labels = noise(4, 2, 6, 5), torch.tensor([0, 2, 1, 2])
    for steps in (1, 5):
        maps = fervis.explain(
            model, images, "integrated_gradients", target=labels, steps=steps, rule=rule, baseline=0.25
        ).maps
        torch.testing.assert_close(maps, (weights[labels] * (images - 0.25)).sum(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_quadrature_is_exact_for_polynomials(steps: int):
    points, weights = under_test.quadrature("gauss_legendre", steps)
    for degree in range(2 * steps):
        assert float((weights * points**degree).sum()) == pytest.approx(1 / (degree + 1), abs=1e-12)
    points, weights = under_test.quadrature("midpoint", steps)
    assert float(weights.sum()) == pytest.approx(1)
    assert float((weights * points).sum()) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"steps": 0}, "explainer.steps=0: expected"),
        ({"rule": "midpoints"}, "Did you mean midpoint?"),
        ({"baseline": 2.0}, "explainer.baseline=2.0: expected"),
        ({"layer": "conv3"}, "layer=conv3: explainer=integrated_gradients"),
    ],
)
def test_wrong_questions(knobs: dict[str, object], sentence: str):
    with pytest.raises(ConfigError) as error:
        fervis.explain(network(), noise(1, 1, 16, 16), "integrated_gradients", **{"target": 0, **knobs})  # pyright: ignore
    assert sentence in str(error.value)
