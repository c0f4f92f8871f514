"""Integrated gradients against captum, a literal loop, completeness, and the closed form of a linear network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

import fervis
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError
from fervis.explainers.gradient import integrated_gradients as under_test
from fervis.explainers.gradient import lines
from fervis.metrics.gaussian import gaussian_blur


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
    knobs = {"steps": steps, "rule": "gauss_legendre", "fit": False, "baseline": baseline}
    found = fervis.explain(model, images, "integrated_gradients", target="all", **knobs)
    method = IntegratedGradients(model)
    calls = [
        method.attribute(images, baselines=baseline, target=k, n_steps=steps, method="gausslegendre").sum(1)
        for k in range(3)
    ]
    expected = torch.stack(calls, 1).flatten(0, 1).detach().float()
    torch.testing.assert_close(found.maps, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    assert found.signed


@pytest.mark.parametrize("at_once", [4, 20])
def test_the_midpoint_rule_is_a_loop_over_equal_steps(monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr(lines, "POINTS_PER_PASS", at_once)  # 4: 9 points come as 4, 4 and 1; 20: of two images at once
    model, images, labels = network(), noise(3, 1, 16, 16), [2, 0, 1]
    knobs = {"steps": 9, "rule": "midpoint", "baseline": 0.3, "fit": False}
    found = fervis.explain(model, images, "integrated_gradients", target=labels, **knobs)
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
        found = fervis.explain(model, images, "integrated_gradients", target="all", steps=steps, fit=False)
        missed = (found.maps.double().sum((1, 2)) - gains).abs().float()
        torch.testing.assert_close(found.scores["completeness_gap"], missed, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(found.scores["quadrature_gap"], missed, rtol=1e-3, atol=1e-6)
        gaps.append(float(missed.max()))
    assert gaps[1] < 0.05 * gaps[0]
    assert gaps[1] < 0.01 * float(gains.abs().max())


def test_twenty_fitted_steps_miss_the_sum_by_less_than_captums_fifty_and_stay_as_near_to_the_integral():
    model, images = network(), noise(3, 1, 16, 16)
    classes = torch.tensor([0, 2, 1])
    captum, gaps = IntegratedGradients(model).attribute(
        images, target=classes, n_steps=50, return_convergence_delta=True
    )
    assert captum.shape == images.shape
    maps = {}
    for name, knobs in {"fitted": {}, "equal": {"fit": False}, "exact": {"steps": 300, "fit": False}}.items():
        result = fervis.explain(model, images, "integrated_gradients", target=classes, **knobs)
        maps[name] = result.maps
        if name == "fitted":
            assert result.scores["completeness_gap"].max() < 1e-6 < gaps.abs().max()
            assert result.scores["quadrature_gap"].max() > 1e-4
    errors = {name: float((maps[name] - maps["exact"]).norm()) for name in ("fitted", "equal")}
    assert errors["fitted"] < 1.25 * errors["equal"] < 0.2 * float(maps["exact"].norm())


def test_fitted_weights_are_the_nearest_that_meet_the_sum():
    draws = np.random.default_rng(0)
    weights, slopes = draws.dirichlet(np.ones(9)), draws.normal(size=9)
    gain = weights @ slopes + 0.02
    # Lagrange's conditions in matrix form: v = w + W A' (A W A')^-1 (b - A w) for A v = b
    conditions, demanded, metric = np.stack([np.ones(9), slopes]), np.array([1, gain]), np.diag(weights)
    missing = demanded - conditions @ weights
    expected = weights + metric @ conditions.T @ np.linalg.solve(conditions @ metric @ conditions.T, missing)
    given = [torch.from_numpy(values)[None, :, None] for values in (weights, slopes)]
    found = under_test.fit_weights(*given, torch.tensor([[gain]], dtype=torch.float64))[0, :, 0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    far = under_test.fit_weights(*given, torch.tensor([[gain + 50]], dtype=torch.float64))[0, :, 0].numpy()
    assert np.abs(far / weights - 1).max() == pytest.approx(0.5)
    assert far.sum() == pytest.approx(1)
    same = under_test.fit_weights(given[0], torch.ones(1, 9, 1).double(), torch.tensor([[7.0]]).double())
    assert torch.equal(same, given[0])


def test_the_mean_and_the_blurred_baseline():
    model, images, others = network(), noise(2, 1, 16, 16), noise(5, 1, 16, 16) ** 2
    starts = {"mean": others.mean(0).expand_as(images), "blur": gaussian_blur(images, 1.6)}
    for name, baseline in starts.items():
        knobs = {"baseline": name, "rule": "gauss_legendre", "steps": 10, "fit": False}
        found = fervis.explain(model, images, "integrated_gradients", target=1, background=others, **knobs)
        expected = IntegratedGradients(model).attribute(images, baseline, target=1, n_steps=10)[:, 0].detach().float()
        torch.testing.assert_close(found.maps, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


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
        ({"baseline": "blurred"}, "Did you mean blur?"),
        ({"background": torch.rand(2, 3, 16, 16)}, "background: expected images of shape [1, 16, 16]"),
        ({"layer": "conv3"}, "layer=conv3: explainer=integrated_gradients"),
    ],
)
def test_wrong_questions(knobs: dict[str, object], sentence: str):
    with pytest.raises(ConfigError) as error:
        fervis.explain(network(), noise(1, 1, 16, 16), "integrated_gradients", **{"target": 0, **knobs})  # pyright: ignore
    assert sentence in str(error.value)
