"""Expected gradients against a literal loop over the same draws, and against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import fervis
from fervis.core.seeding import generator_for
from fervis.errors import ConfigError
from fervis.explainers.gradient import lines
from fervis.explainers.gradient.expected_gradients import reference_samples


def drawn(count: int, channels: int = 1, size: int = 8, seed: int = 3) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("at_once", [4, 30])
def test_it_is_a_loop_over_references_and_points(residual: nn.Module, monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr(lines, "POINTS_PER_PASS", at_once)
    images, labels, others = drawn(3), [2, 0, 1], drawn(5, seed=8)
    found = fervis.explain(residual, images, "expected_gradients", target=labels, background=others, samples=11)
    index, positions = reference_samples(11, 5, generator_for(0, "explainer/expected_gradients"))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        total, base = torch.zeros(8, 8, dtype=torch.float64), 0.0
        for pick, position in zip(index.tolist(), positions.tolist(), strict=True):
            point = (others[pick] + position * (image - others[pick])).requires_grad_()
            (slope,) = torch.autograd.grad(residual(point[None])[0, label], point)
            total += ((image - others[pick]) * slope).sum(0).double() / 11
            base += float(residual(others[pick][None])[0, label].detach()) / 11
        torch.testing.assert_close(found.maps[number].double(), total, rtol=0, atol=2e-6 * float(total.abs().max()))
        gap = abs(float(total.sum()) - float(residual(image[None])[0, label].detach()) + base)
        assert float(found.scores["completeness_gap"][number]) == pytest.approx(gap, abs=1e-5)
    assert found.signed


def test_a_linear_network_gives_weights_times_the_difference_from_the_mean_reference():
    weights = torch.randn(3, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 3))
    model[1].weight.data = weights.flatten(1)
    images, others, labels = torch.rand(4, 2, 6, 5), torch.rand(7, 2, 6, 5), torch.tensor([0, 2, 1, 2])
    found = fervis.explain(model, images, "expected_gradients", target=labels, background=others, samples=21)
    expected = (weights[labels] * (images - others.mean(0))).sum(1)
    torch.testing.assert_close(found.maps, expected, rtol=1e-4, atol=1e-5)
    assert found.scores["completeness_gap"].max() < 1e-4


def test_every_reference_is_drawn_as_often_and_every_part_of_the_line_once():
    index, positions = reference_samples(20, 6, torch.Generator().manual_seed(0))
    assert sorted(index.bincount().tolist()) == [3, 3, 3, 3, 4, 4]
    assert sorted((positions * 20).floor().int().tolist()) == list(range(20))


def test_without_a_background_the_images_are_each_others(residual: nn.Module):
    images = drawn(4)
    found = fervis.explain(residual, images, "expected_gradients", target=1, samples=8)
    expected = fervis.explain(residual, images, "expected_gradients", target=1, samples=8, background=images)
    assert torch.equal(found.maps, expected.maps)


def test_more_samples_miss_the_sum_by_less(residual: nn.Module):
    images, others = drawn(4), drawn(30, seed=5)
    few, many = (
        fervis.explain(residual, images, "expected_gradients", target="all", background=others, samples=count).scores[
            "completeness_gap"
        ]
        for count in (4, 400)
    )
    assert many.max() < 0.2 * few.max()


def test_wrong_questions(residual: nn.Module):
    with pytest.raises(ConfigError, match=r"explainer.samples=0: expected a whole number from 1"):
        fervis.explain(residual, drawn(1), "expected_gradients", samples=0)
    with pytest.raises(ConfigError, match="images: expected a float tensor"):
        fervis.explain(residual, drawn(1), "expected_gradients", background=torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
