"""What layers answer, counted by hand on networks whose answers are known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fervis.core.layers import find_layer, spatial
from fervis.metrics.bootstrap import RESAMPLES, bootstrap_mean, resample_indices
from fervis.metrics.representation.cka import gram
from fervis.metrics.representation.layer_statistics import (
    LayerStatistics,
    cka_with_interval,
    dead_units,
    even_batches,
    layer_statistics,
)


def one_by_one(weights: list[float]) -> nn.Module:
    """A convolution whose filters multiply the pixel by these numbers."""
    conv = nn.Conv2d(1, len(weights), 1, bias=False)
    conv.weight.data = torch.tensor(weights).view(-1, 1, 1, 1)
    return nn.Sequential(conv, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(len(weights), 2))


def faces() -> torch.Tensor:
    """Eight faces of 2 x 2: all pixels positive, but in face 5 one is negative and in face 6 all are 0."""
    images = torch.rand(8, 1, 2, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    images[5, 0, 1, 0] = -0.5
    images[6] = 0
    return images


def test_dead_filters_and_black_outputs_are_counted():
    model, images = one_by_one([1.0, -1.0, 0.0, 2.0]), faces()
    layer = find_layer(model, "conv1", images[:1])
    _, found = layer_statistics(model, [images[:5], images[5:]], [layer])
    alive = torch.tensor([[True, False, False, True]] * 8)
    alive[5, 1] = True
    alive[6] = False
    assert torch.equal(found["conv1"].alive, alive)
    black = torch.full((8,), 0.5, dtype=torch.float64)
    black[5], black[6] = 9 / 16, 1
    torch.testing.assert_close(found["conv1"].black, black)
    interval = dead_units(found["conv1"], resample_indices(8, torch.Generator().manual_seed(0)))
    assert interval.value == 0.25
    # Filter 1 lives on one face of eight, which is missing from a third of the resamples.
    assert interval.low == 0
    assert interval.high == 0.25


def test_the_pass_hands_over_logits_and_all_layers_and_leaves_the_network_alone():
    model, images = one_by_one([1.0, -1.0, 0.5]).train(), faces()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    kept = images.clone()
    layers = [find_layer(model, name, images[:1]) for name in ("conv1", "relu1")]
    logits, found = layer_statistics(model, even_batches(images, 3), layers)
    torch.testing.assert_close(logits, model(images).detach())
    assert model.training
    assert all(not module._forward_hooks for module in model.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(images, kept)
    # The ReLU works in place, on a copy: the convolution's own answers are still there.
    outputs = model[0](images).detach()
    torch.testing.assert_close(found["conv1"].black, (outputs <= 0).double().mean((1, 2, 3)))
    torch.testing.assert_close(found["relu1"].black, found["conv1"].black)
    rest = outputs.relu().tensor_split(3)
    for part, expected in zip(found["relu1"].grams, rest, strict=True):
        torch.testing.assert_close(part, gram(expected))


def test_channels_that_come_last_are_filters_too():
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(1, 3, 1), nn.LayerNorm(3), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))

    model, images = Last(), torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    layer = find_layer(model, "norm", images[:1])
    assert layer.layout == "NHWC"
    outputs = spatial(model.norm(model.conv(images).permute(0, 2, 3, 1)), layer).detach()
    found = layer_statistics(model, [images], [layer])[1]["norm"]
    assert torch.equal(found.alive, (outputs > 0).flatten(2).any(2))


def test_batches_are_even_and_hold_every_face_once():
    images = torch.arange(130.0).view(-1, 1, 1, 1)
    parts = list(even_batches(images))
    assert [len(part) for part in parts] == [44, 43, 43]
    assert torch.equal(torch.cat(parts), images)
    assert [len(part) for part in even_batches(images[:64])] == [64]


def test_resamples_draw_as_many_faces_as_there_are_by_the_generator():
    one, two = (resample_indices(30, torch.Generator().manual_seed(4)) for _ in range(2))
    assert one.shape == (RESAMPLES, 30)
    assert torch.equal(one, two)
    assert (one.sum(1) == 30).all()
    assert (one.var(0) - 29 / 30).abs().max() < 0.25


def test_the_interval_of_a_mean_is_that_of_the_central_limit_and_leaves_nan_out():
    values = torch.randn(400, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    weights = resample_indices(402, torch.Generator().manual_seed(6))
    nan = torch.tensor([torch.nan] * 2, dtype=torch.float64)
    found = bootstrap_mean(torch.cat([nan[:1], values, nan[1:]]), weights)
    assert found.value == pytest.approx(float(values.mean()), abs=1e-14)
    reach = 1.96 * float(values.std()) / 20
    assert found.low == pytest.approx(found.value - reach, abs=0.15 * reach)
    assert found.high == pytest.approx(found.value + reach, abs=0.15 * reach)
    nothing = bootstrap_mean(nan, weights[:, :2])
    assert all(end != end for end in (nothing.value, nothing.low, nothing.high))


def test_the_interval_of_cka_covers_its_spread_over_sets_of_faces():
    """Of 60 sets of 48 faces from one population: the intervals are as wide as the estimates are spread."""
    generator = torch.Generator().manual_seed(7)
    mix = torch.randn(6, 20, generator=generator, dtype=torch.float64)
    estimates, widths = [], []
    for _ in range(60):
        cause = torch.randn(48, 6, generator=generator, dtype=torch.float64)
        x = cause @ mix
        y = cause @ mix + 3 * torch.randn(48, 20, generator=generator, dtype=torch.float64)
        pair = [
            LayerStatistics(torch.ones(48, 1).bool(), torch.zeros(48), (gram(f[:24]), gram(f[24:]))) for f in (x, y)
        ]
        found = cka_with_interval(*pair, resample_indices(48, generator)[:200])
        assert found.low <= found.value <= found.high
        estimates.append(found.value)
        widths.append(found.high - found.low)
    spread = 2 * 1.96 * float(torch.tensor(estimates).std())
    assert 0.75 < sum(widths) / 60 / spread < 1.35
