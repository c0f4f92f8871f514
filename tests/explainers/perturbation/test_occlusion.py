"""Occlusion against captum and against a literal loop over windows."""

from __future__ import annotations

import pytest
import torch
from captum.attr import Occlusion
from torch import Tensor, nn

import fervis
from fervis.errors import ConfigError


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


class Exact(nn.Module):
    """A network that computes in double precision, so that its outputs differ by no more than their last digit."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * height * width, 16),
            nn.ReLU(),
            nn.Linear(16, 3),
        ).double()
        for weights in self.body.parameters():
            nn.init.normal_(weights, 0, 0.3)

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images.double())


def network(channels: int = 1, height: int = 16, width: int = 16) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Exact(channels, height, width)


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize(
    ("channels", "height", "width", "window", "stride", "fill"),
    [(1, 16, 16, 8, 4, 0.5), (3, 17, 19, 5, 3, 0.0), (1, 16, 18, 6, 5, 1.0), (1, 16, 16, 7, 7, 0.25)],
)
def test_all_classes_at_once_are_captums_maps_one_by_one(
    output: str, channels: int, height: int, width: int, window: int, stride: int, fill: float
):
    model, images = network(channels, height, width), noise(2, channels, height, width)
    found = fervis.explain(
        model, images, "occlusion", target="all", window=window, stride=stride, fill=fill, output=output
    )
    scored = model if output == "logit" else (lambda pixels: model(pixels).softmax(1))
    calls = [
        Occlusion(scored).attribute(
            images,
            sliding_window_shapes=(channels, window, window),
            strides=(channels, stride, stride),
            baselines=fill,
            target=k,
        )
        for k in range(3)
    ]
    # captum repeats the fall for each channel of a window.
    expected = torch.stack(calls, 1).detach()
    assert torch.equal(expected.amax(2), expected.amin(2))
    expected = expected[:, :, 0].flatten(0, 1)
    torch.testing.assert_close(found.maps, expected.float(), rtol=0, atol=1e-6 * float(expected.abs().max()))
    assert found.signed
    assert output in found.unit


class Pixels(nn.Module):
    """Logits that are linear in the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.randn(3, 1, 9, 7, generator=torch.Generator().manual_seed(2))

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("nchw,kchw->nk", images, self.weights)


def test_of_a_linear_network_it_is_the_mean_over_windows_of_what_they_hide():
    model, image = Pixels(), noise(1, 1, 9, 7)
    found = fervis.explain(model, image, "occlusion", target=[2], window=4, stride=3, fill=0.2).maps[0]
    total, count = torch.zeros(9, 7, dtype=torch.float64), torch.zeros(9, 7)
    for top in (0, 3, 6):
        for left in (0, 3):
            here = (slice(top, top + 4), slice(left, left + 4))
            hidden = model.weights[2, 0][here].double() * (image[0, 0][here].double() - 0.2)
            total[here] += hidden.sum()
            count[here] += 1
    assert count.min() == 1
    torch.testing.assert_close(found, (total / count).float(), rtol=1e-5, atol=1e-5)


def test_a_filters_mean_output_can_be_explained(residual: nn.Module):
    image = noise(1, 1, 8, 8)
    found = fervis.explain(residual, image, "occlusion", target="conv1/2", window=8, stride=8, fill=0.0)
    with torch.no_grad():
        falls = residual.conv1(image)[0, 2].mean() - residual.conv1(torch.zeros_like(image))[0, 2].mean()
    torch.testing.assert_close(found.maps, falls.expand(1, 8, 8), rtol=0, atol=1e-6)
    assert "filter" in found.unit


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"stride": 9}, "explainer.stride=9: expected at most explainer.window=8."),
        ({"window": 0}, "explainer.window=0: expected"),
        ({"fill": 2.0}, "explainer.fill=2.0: expected"),
        ({"layer": "conv3"}, "layer=conv3: explainer=occlusion"),
        ({"target": 3}, "target=3: the network has 3 classes"),
    ],
)
def test_wrong_questions(knobs: dict[str, object], sentence: str):
    with pytest.raises(ConfigError) as error:
        fervis.explain(network(), noise(1, 1, 16, 16), "occlusion", **{"target": 0, **knobs})  # pyright: ignore
    assert sentence in str(error.value)
