"""SmoothGrad against a literal loop, against saliency, and against the closed form of a linear network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fervis
from fervis.core.registry import build_plugin
from fervis.core.seeding import generator_for
from fervis.errors import ConfigError
from fervis.explainers.gradient import smoothgrad as under_test

REDUCED = {
    "mean": lambda slopes: np.abs(slopes.mean(0)),
    "absolute": lambda slopes: np.abs(slopes).mean(0),
    "square": lambda slopes: (slopes**2).mean(0),
    "variance": lambda slopes: slopes.var(0),
}


def drawn(count: int = 3, channels: int = 1, size: int = 8) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(3))


def gradients_of_copies(model: nn.Module, image: Tensor, label: int, samples: int, noise: float, layer: str | None):
    """The gradients of a face's noisy copies, one after the other, each by torch's own autograd."""
    generator = generator_for(0, "explainer/smoothgrad")
    slopes = []
    for _ in range(samples):
        draws = torch.randn(image.shape, generator=generator)
        copy = (image + noise * (image.max() - image.min()) * draws)[None].requires_grad_()
        kept: dict[str, Tensor] = {}
        module = model.get_submodule(layer or "")
        handle = module.register_forward_hook(lambda _module, _inputs, output, kept=kept: kept.update(layer=output))
        logit = model(copy)[0, label]
        handle.remove()
        slopes.append(torch.autograd.grad(logit, kept["layer"] if layer else copy)[0][0].double().numpy())
    return np.stack(slopes)


@pytest.mark.parametrize("statistic", list(REDUCED))
@pytest.mark.parametrize("layer", [None, "conv2"])
def test_it_is_a_loop_over_noisy_copies(
    residual: nn.Module, monkeypatch: pytest.MonkeyPatch, statistic: str, layer: str | None
):
    monkeypatch.setattr(under_test, "COPIES_PER_CHUNK", 4)  # 9 copies come as 4, 4 and 1
    images, labels = drawn(), [2, 0, 1]
    knobs = {"samples": 9, "noise": 0.3, "statistic": statistic}
    result = fervis.explain(residual, images, "smoothgrad", layer, labels, **knobs)
    for image, label, found in zip(images, labels, result.maps, strict=True):
        slopes = gradients_of_copies(residual, image, label, 9, 0.3, layer)
        expected = torch.from_numpy(REDUCED[statistic](slopes).max(0))[None, None]
        expected = F.interpolate(expected, (8, 8), mode="bilinear")[0, 0].float()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))


def test_without_noise_it_is_saliency(residual: nn.Module):
    images = drawn()
    for layer in ("input", "conv1"):
        found = fervis.explain(residual, images, "smoothgrad", layer, 1, noise=0.0, samples=70)
        expected = fervis.explain(residual, images, "saliency", layer, 1)
        torch.testing.assert_close(found.maps, expected.maps, rtol=1e-5, atol=1e-7)
        assert found.maps.max() > 0
        if layer != "input":
            torch.testing.assert_close(found.pixel_maps, expected.pixel_maps, rtol=1e-5, atol=1e-7)


def test_a_linear_network_gives_its_weights_whatever_the_noise():
    weights = torch.randn(3, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 3, bias=False))
    model[1].weight.data = weights.flatten(1)
    images, labels = torch.rand(4, 2, 6, 5), torch.tensor([0, 2, 1, 2])
    expected = weights[labels].abs().amax(1)
    for statistic, power in (("mean", 1), ("absolute", 1), ("square", 2)):
        maps = fervis.explain(model, images, "smoothgrad", "input", labels, noise=2.0, statistic=statistic).maps
        torch.testing.assert_close(maps, expected**power, rtol=1e-5, atol=1e-6)
    maps = fervis.explain(model, images, "smoothgrad", "input", labels, noise=2.0, statistic="variance").maps
    assert maps.max() < 1e-12


def test_the_batch_does_not_matter_to_the_bit(residual: nn.Module):
    images, labels = drawn(5), torch.tensor([0, 1, 2, 0, 1])
    whole = fervis.explain(residual, images, "smoothgrad", "conv1", labels, samples=6)
    parts = fervis.explain(residual, images, "smoothgrad", "conv1", labels, samples=6, batch_size=2)
    assert torch.equal(whole.maps, parts.maps)
    assert whole.pixel_maps is not None
    assert torch.equal(whole.pixel_maps, parts.pixel_maps)


def test_noise_is_a_part_of_each_faces_own_range():
    images = torch.stack([drawn(1)[0], drawn(1)[0] * 100 + 7, torch.full((1, 8, 8), 0.5)])
    for image in images:
        (copies,) = under_test.noisy_copies(image, 50, 0.2, torch.Generator().manual_seed(0))
        spread = float((copies - image).std())
        assert spread == pytest.approx(0.2 * float(image.max() - image.min()), rel=0.05)


def test_more_samples_begin_with_the_same_draws_and_a_seed_changes_them(residual: nn.Module):
    image = drawn(1)[0]
    fewer, more = (
        torch.cat(list(under_test.noisy_copies(image, count, 0.2, torch.Generator().manual_seed(0))))
        for count in (70, 130)
    )
    assert len(more) == 130
    assert torch.equal(more[:70], fewer)
    one, two = (fervis.explain(residual, drawn(), "smoothgrad", target=0, seed=seed).maps for seed in (0, 1))
    assert not torch.allclose(one, two)


def test_a_filter_can_be_the_target(residual: nn.Module):
    images = drawn()
    found = fervis.explain(residual, images, "smoothgrad", target="conv1/2", noise=0.0, samples=2)
    expected = fervis.explain(residual, images, "saliency", target="conv1/2")
    torch.testing.assert_close(found.maps, expected.maps)


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"samples": 0}, "explainer.samples=0: expected a whole number from 1."),
        ({"noise": -0.1}, "explainer.noise=-0.1: expected a number from 0."),
        (
            {"statistic": "varianz"},
            "explainer.statistic=varianz: expected mean, absolute, square or variance. Did you mean variance?",
        ),
        (
            {"statistic": "variance", "noise": 0.0},
            "explainer.statistic=variance: expected 2 or more samples and a noise above 0.",
        ),
    ],
)
def test_wrong_knobs(knobs: dict[str, object], sentence: str):
    with pytest.raises(ConfigError) as error:
        build_plugin("explainer", "smoothgrad", **knobs)
    assert str(error.value) == sentence
