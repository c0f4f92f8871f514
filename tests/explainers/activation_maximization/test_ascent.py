"""Gradient ascent against closed forms: linear networks, literal transforms, and images that climb alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervis.core.layers import find_layer
from fervis.errors import ConfigError
from fervis.explainers.activation_maximization.ascent import (
    AscentConfig,
    image_strength,
    maximize,
    mean_frequency,
    measure_objective,
    noise_images,
    penalties,
    transform_views,
)
from fervis.explainers.activation_maximization.objectives import (
    at_position,
    check_position,
    class_values,
    filter_values,
)
from fervis.explainers.activation_maximization.parameterizations import Fourier, Pixels
from fervis.metrics.gaussian import gaussian_blur


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(weights: Tensor):
    return lambda images: torch.einsum("nchw,nchw->n", images, weights)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_under_l2_a_linear_objective_is_highest_along_its_weights():
    # w·x - l mean((x - t)²) is highest at t + n w / (2 l), n the number of pixels.
    weights = 0.1 * seeded(2, 1, 6, 5).double()
    tie = torch.full((1, 6, 5), 0.4, dtype=torch.float64)
    unit = torch.tensor([1.0, 2.0])
    images, trace = maximize(
        linear(weights),
        Pixels((1, 6, 5)),
        0.5 + 0.1 * seeded(2, 1, 6, 5, seed=1).double(),
        AscentConfig(steps=250, lr=0.05, l2=20.0),
        generator(),
        unit=unit,
        anchor=tie,
    )
    expected = tie + 30 * weights / unit[:, None, None, None] / (2 * 20)
    assert ((expected > 0) & (expected < 1)).all()
    torch.testing.assert_close(images, expected, atol=1e-4, rtol=0)
    assert trace.shape == (2, 250)


def test_without_rules_a_linear_objective_ends_in_black_and_white():
    weights = seeded(1, 1, 4, 4)
    start = torch.full((1, 1, 4, 4), 0.5)
    images, trace = maximize(
        linear(weights), Pixels((1, 4, 4)), start, AscentConfig(steps=60), generator(), unit=torch.ones(1)
    )
    assert torch.equal(images, (weights > 0).float())
    assert torch.equal(start, torch.full((1, 1, 4, 4), 0.5))
    torch.testing.assert_close(trace[0, 0], (0.5 * weights).sum())
    assert (trace[0].diff() >= -1e-6).all()


def test_the_first_step_is_adams():
    weights = seeded(3, 1, 8, 8)
    start = 0.3 + 0.4 * torch.rand(3, 1, 8, 8, generator=generator())
    rules = AscentConfig(steps=1, lr=0.03)
    images, _ = maximize(linear(weights), Pixels((1, 8, 8)), start, rules, generator(), unit=torch.ones(3))
    torch.testing.assert_close(images, start + 0.03 * weights.sign())


def test_the_step_falls_as_a_half_cosine():
    # Adam's step along a slope that never changes is its step size alone.
    weights = seeded(1, 1, 4, 4).double()
    start = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    rules = AscentConfig(steps=8, lr=0.02)
    images, _ = maximize(linear(weights), Pixels((1, 4, 4)), start, rules, generator(), unit=torch.ones(1))
    way = sum(0.02 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8))
    torch.testing.assert_close(images, start + way * weights.sign(), atol=1e-6, rtol=0)


def test_total_variation_flattens_what_does_not_pay():
    # One pixel pays 1 a unit of brightness, the others take 1/35 each: a flat image pays nothing. The pixel has four
    # neighbours, of 30 pairs down and 30 across: it stands out where 4/30 of the weight are less than it pays.
    weights = torch.full((1, 1, 6, 6), -1 / 35)
    weights[0, 0, 2, 3] = 1
    start = torch.full((1, 1, 6, 6), 0.5)
    ends = {}
    for weight in (7.0, 8.0):
        rules = AscentConfig(steps=300, lr=0.02, total_variation=weight)
        ends[weight], _ = maximize(linear(weights), Pixels((1, 6, 6)), start, rules, generator(), unit=torch.ones(1))
    assert ends[7.0][0, 0, 2, 3] == 1
    assert ends[7.0].max() - ends[7.0].min() > 0.5
    assert ends[8.0].max() - ends[8.0].min() < 0.01


def test_each_image_has_its_own_gradient(residual: nn.Module):
    layer = find_layer(residual, "conv2", torch.zeros(1, 1, 12, 12))
    canvas = Fourier((1, 12, 12))
    start = torch.stack([canvas.noise(torch.Generator().manual_seed(one)) for one in range(3)]).double()
    rules = AscentConfig(steps=12, total_variation=3.0, jitter=2, scale=0.1, rotation=8)
    network, unit = residual.double(), torch.tensor([0.2, 0.1, 0.3])

    def run(which: list[int]) -> Tensor:
        with filter_values(network, layer, [(3, 0, 2)[one] for one in which], "mean") as values:
            return maximize(values, canvas, start[which], rules, generator(), unit=unit[which])[0]

    together = run([0, 1, 2])
    for one in range(3):
        torch.testing.assert_close(together[one], run([one])[0], atol=1e-10, rtol=0)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@pytest.mark.parametrize("place", ["mean", "centre", (0, 3)])
@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(3, 5, 3, padding=1),
        nn.Conv2d(3, 5, (3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1), bias=False),
        nn.Conv2d(3, 6, 3, groups=3),
        nn.Conv2d(3, 5, 1, bias=False),
        nn.Conv2d(3, 5, 3, padding="same"),
        nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_a_filter_alone_is_what_it_is_among_all(convolution: nn.Conv2d, place: str | tuple[int, int]):
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(inplace=True), convolution, nn.ReLU(inplace=True))
    images = seeded(4, 1, 9, 8).requires_grad_()
    filters = [4, 0, 2, 2]
    outputs = network[:3](images)[range(4), filters]
    expected = at_position(outputs, place, "")
    (slope,) = torch.autograd.grad(expected.sum(), images)
    layer = find_layer(network, "conv2", images.detach()[:1])
    with filter_values(network, layer, filters, place) as values:
        found = values(images)
        (own,) = torch.autograd.grad(found.sum(), images)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(own, slope)


def test_nothing_behind_the_layer_runs_and_the_network_is_left_as_it_was():
    class Loud(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("ran")

    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    layers = {name: find_layer(network, name, torch.zeros(1, 1, 8, 8)) for name in ("conv2", "3")}
    network[1].eval()
    for name, layer in layers.items():
        whole = nn.Sequential(*network, Loud()) if name == "3" else nn.Sequential(*network[:3], Loud())
        state = {key: value.clone() for key, value in whole.state_dict().items()}
        strides = [value.stride() for value in whole.state_dict().values()]
        modes = [module.training for module in whole.modules()]
        with filter_values(whole, layer, [1], "mean") as values:
            assert not whole.training
            values(torch.zeros(1, 1, 8, 8))
        assert [module.training for module in whole.modules()] == modes
        assert all(torch.equal(value, state[key]) for key, value in whole.state_dict().items())
        assert [value.stride() for value in whole.state_dict().values()] == strides
        assert all(parameter.requires_grad for parameter in whole.parameters())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in whole.modules())


def test_class_values_are_logits(residual: nn.Module):
    images = seeded(3, 1, 8, 8)
    with class_values(residual, [2, 0, 1]) as values:
        found = measure_objective(values, images)
    torch.testing.assert_close(found, residual(images)[range(3), [2, 0, 1]].detach())
    assert residual.training


def test_penalties_are_what_they_say():
    images = torch.rand(2, 3, 5, 6, generator=generator())
    tie = torch.rand(3, 5, 6, generator=generator())
    steps_down = (images[:, :, 1:] - images[:, :, :-1]).abs().mean((1, 2, 3))
    steps_across = (images[..., 1:] - images[..., :-1]).abs().mean((1, 2, 3))
    grey = ((images - 0.5) ** 2).mean((1, 2, 3))
    tied = ((images - tie) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(penalties(images, AscentConfig(l2=2.0)), 2 * grey)
    torch.testing.assert_close(penalties(images, AscentConfig(l2=3.0), tie), 3 * tied)
    torch.testing.assert_close(penalties(images, AscentConfig(total_variation=0.5)), 0.5 * (steps_down + steps_across))
    assert torch.equal(penalties(images, AscentConfig()), torch.zeros(2))


def test_jitter_moves_by_whole_pixels_all_images_alike():
    images = torch.rand(2, 1, 9, 7, generator=generator())
    seen = set()
    draws = torch.Generator().manual_seed(3)
    for _ in range(200):
        found = transform_views(images, AscentConfig(jitter=2), draws)
        ways = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                rows = [abs(row - down) if row - down < 9 else 16 - (row - down) for row in range(9)]
                columns = [abs(one - right) if one - right < 7 else 12 - (one - right) for one in range(7)]
                if torch.equal(found, images[..., rows, :][..., columns]):
                    ways.append((down, right))
        assert len(ways) == 1
        seen |= set(ways)
    assert len(seen) == 25


@pytest.mark.parametrize(
    "rules", [AscentConfig(scale=0.3), AscentConfig(rotation=20), AscentConfig(jitter=3, scale=0.2, rotation=15)]
)
def test_a_slope_is_shifted_scaled_and_turned(rules: AscentConfig):
    # Interpolation of a slope is exact, so each pixel far from the edges tells where it was taken from.
    height, width = 40, 50
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    images = torch.stack([rows, columns])[:, None]
    inside = (slice(14, 26), slice(18, 32))
    zooms, turns, shifts = [], [], []
    draws = generator()
    for _ in range(60):
        y, x = transform_views(images, rules, draws)[:, 0]
        # The change from a pixel to the next: of a turn by a and a zoom by z it is (cos a, sin a) / z.
        down, right = y[inside].diff(dim=0), y[inside].diff(dim=1)
        torch.testing.assert_close(x[inside].diff(dim=1), down.mean().expand(12, 13))
        torch.testing.assert_close(x[inside].diff(dim=0), -right.mean().expand(11, 14))
        torch.testing.assert_close(down, down.mean().expand(11, 14))
        zooms.append(1 / math.hypot(down.mean(), right.mean()))
        turns.append(math.degrees(math.atan2(right.mean(), down.mean())))
        # The centre of the image, between four pixels, shows what lay the shift before it.
        shifts += [y[19:21, 24:26].mean() - 19.5, x[19:21, 24:26].mean() - 24.5]
    for found, least, most in ((zooms, 1 - rules.scale, 1 + rules.scale), (turns, -rules.rotation, rules.rotation)):
        assert least - 1e-6 <= min(found) <= least + 0.1 * (most - least) + 1e-6
        assert most + 1e-6 >= max(found) >= most - 0.1 * (most - least) - 1e-6
    whole = torch.stack(shifts)
    torch.testing.assert_close(whole, whole.round(), atol=1e-6, rtol=0)
    assert set(whole.round().int().tolist()) == set(range(-rules.jitter, rules.jitter + 1))


def test_what_lies_beyond_the_edge_is_mirrored():
    images = torch.rand(1, 1, 8, 8, generator=generator(), dtype=torch.float64)
    draws = torch.Generator().manual_seed(1)
    torch.randint(0, 1, (2,), generator=draws)
    share = float((2 * torch.rand(2, generator=draws, dtype=torch.float64) - 1)[0])
    # At half the size each pixel lies between two by two; those of the outer ring beyond the image.
    found = transform_views(images, AscentConfig(scale=-0.5 / share), torch.Generator().manual_seed(1))
    wide = torch.cat([images.flip(2), images, images.flip(2)], 2)
    wide = torch.cat([wide.flip(3), wide, wide.flip(3)], 3)[..., 4:20, 4:20]
    torch.testing.assert_close(found, F.avg_pool2d(wide, 2))


def test_a_quarter_turn_is_exact():
    images = torch.rand(1, 1, 6, 6, generator=generator())
    # What this seed draws of the rotation, so that just a quarter turn can be asked for.
    draws = torch.Generator().manual_seed(1)
    torch.randint(0, 1, (2,), generator=draws)
    share = float((2 * torch.rand(2, generator=draws, dtype=torch.float64) - 1)[1])
    found = transform_views(images, AscentConfig(rotation=90 / share), torch.Generator().manual_seed(1))
    turned = [torch.rot90(images, way, (2, 3)) for way in (1, -1)]
    assert any(torch.allclose(found, one, atol=1e-5) for one in turned)
    assert torch.equal(transform_views(images, AscentConfig(), generator()), images)


def test_blur_is_a_gaussian():
    point = torch.zeros(1, 1, 31, 31, dtype=torch.float64)
    point[0, 0, 15, 15] = 1
    found = gaussian_blur(point, 2.0)[0, 0]
    place = torch.arange(-15, 16, dtype=torch.float64)
    bell = torch.where(place.abs() <= 6, torch.exp(-(place**2) / 8), 0)
    bell = bell / bell.sum()
    torch.testing.assert_close(found, bell[:, None] * bell[None])
    flat = torch.full((2, 3, 8, 8), 0.3)
    torch.testing.assert_close(gaussian_blur(flat, 1.5), flat)


def test_blur_smooths_the_image_that_comes_out():
    start = torch.full((1, 1, 16, 16), 0.5)
    weights = seeded(1, 1, 16, 16)
    rules = AscentConfig(steps=30, blur=2.0)
    smooth, _ = maximize(linear(weights), Pixels((1, 16, 16)), start, rules, generator(), unit=torch.ones(1))
    rough, _ = maximize(
        linear(weights), Pixels((1, 16, 16)), start, AscentConfig(steps=30), generator(), unit=torch.ones(1)
    )
    assert mean_frequency(smooth) < 0.4 * mean_frequency(rough)


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (3, 0), (4, 3), (8, 8), (8, 2)])
def test_a_wave_has_its_frequency_and_strength(rows: int, columns: int):
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    wave = 0.5 + 0.2 * torch.cos(2 * math.pi * (rows * y + columns * x) / 16)
    images = wave.expand(1, 3, 16, 16)
    torch.testing.assert_close(mean_frequency(images), torch.tensor([math.hypot(rows, columns) / 16]))
    amplitude = 0.2 if rows in (0, 8) and columns in (0, 8) else 0.2 / math.sqrt(2)
    torch.testing.assert_close(image_strength(images), torch.tensor([amplitude]))


def test_noise_has_the_mean_frequency_of_all_waves_and_a_constant_has_none():
    waves = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(64)[None])
    noise = noise_images(64, (1, 64, 64), 0.5, 0.1, generator())
    torch.testing.assert_close(mean_frequency(noise).mean(), waves.mean(), atol=2e-3, rtol=0)
    assert noise.std().sub(0.1).abs() < 1e-3
    assert mean_frequency(torch.full((1, 1, 8, 8), 0.25)).isnan().all()


def test_places_of_the_objective():
    maps = torch.arange(24.0).view(1, 4, 6)
    assert at_position(maps, check_position("mean"), "a").item() == 11.5
    assert at_position(maps, check_position("centre"), "a").item() == maps[0, 2, 3]
    assert at_position(maps, check_position([1, 5]), "a").item() == maps[0, 1, 5]
    with pytest.raises(ConfigError, match=r"objective=\[4,0\]: the map of a has 4 rows and 6 columns"):
        at_position(maps, check_position([4, 0]), "a")
    for wrong in ("center of", [1], [1, -1], [1, 2.0], 3):
        with pytest.raises(ConfigError, match="expected mean, centre, or a position"):
            check_position(wrong)


def test_bf16_climbs_where_fp32_does():
    convolution = nn.Conv2d(1, 4, 3)
    layer = find_layer(nn.Sequential(convolution), "conv1", torch.zeros(1, 1, 12, 12))
    canvas = Fourier((1, 12, 12))
    start = canvas.noise(generator())[None]
    with filter_values(nn.Sequential(convolution), layer, [1], "mean") as values:
        images = [
            maximize(values, canvas, start, AscentConfig(steps=40, bf16=flag), generator(), unit=torch.ones(1))[0]
            for flag in (False, True)
        ]
        both = [measure_objective(values, one) for one in images]
    assert images[1].dtype == torch.float32
    torch.testing.assert_close(both[0], both[1], rtol=0.05, atol=0.01)
    exact = F.conv2d(images[1], convolution.weight, convolution.bias)[:, 1].mean()
    torch.testing.assert_close(both[1][0], exact.detach())
