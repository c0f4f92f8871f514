"""DeepLIFT against captum on networks of modules, the same by functions, and its sum on networks that captum cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import DeepLift
from torch import Tensor, nn
from torch.nn import functional as F

import fervis
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:Setting forward, backward hooks", "ignore:Input Tensor")


class Modules(nn.Module):
    """Each activation a module of its own, as captum asks for."""

    def __init__(self, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv1, self.norm, self.act1 = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), activation()
            self.pool, self.conv2, self.act2 = nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), activation()
            self.hidden, self.act3, self.head = nn.Linear(8 * 9, 10), activation(), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm(self.pool(self.conv1(x))))
        return self.head(self.act3(self.hidden(self.act2(self.conv2(x)).flatten(1))))


class Functions(Modules):
    """The same network by functions; ``activation`` is one function or one module, called three times."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__(nn.Identity)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm(F.max_pool2d(self.conv1(x), 2)))
        return self.head(self.activation(self.hidden(self.activation(self.conv2(x)).flatten(1))))


def images() -> Tensor:
    return torch.rand(4, 2, 12, 12, generator=torch.Generator().manual_seed(1))


def assert_close(found: Tensor, expected: Tensor) -> None:
    expected = expected.detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def both_maps(model: nn.Module, faces: Tensor, start: Tensor) -> tuple[Any, Tensor]:
    """Return the result of all classes at once, and captum's maps of one class after the other."""
    found = fervis.explain(model, faces, "deep_lift", target="all", baseline="mean", background=start)
    start = start.expand_as(faces).contiguous()
    calls = [DeepLift(model).attribute(faces, start, target=target).sum(1) for target in range(3)]
    return found, torch.stack(calls, 1).flatten(0, 1).detach()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Sigmoid, nn.Tanh, nn.Softplus])
def test_all_classes_at_once_are_captums_maps_one_by_one(activation: Any):
    """In float64: in float32, a slope over a short difference loses digits, of either, differently per processor."""
    model, start = Modules(activation).eval(), torch.rand(1, 2, 12, 12, generator=torch.Generator().manual_seed(5))
    # An image of noise: of a baseline of one value, all positions of a pooling tie.
    single, captum_single = both_maps(model, images(), start)
    double, captum = both_maps(model.double(), images().double(), start.double())
    largest = float(captum.abs().max())
    torch.testing.assert_close(double.maps, captum.float(), rtol=0, atol=1e-6 * largest)
    assert double.scores["completeness_gap"].max() < 1e-12
    assert double.signed
    assert single.scores["completeness_gap"].max() < 1e-5
    error, captums_error = (float((maps - captum).abs().max()) / largest for maps in (single.maps, captum_single))
    assert error < 2 * captums_error + 1e-6, "in float32, as near to the float64 maps as captum"


def test_a_pooling_right_behind_an_activation_where_captum_misses_the_sum():
    """Written out: the slope of the activation times the parts of the pooling's difference, each at its position."""
    x, base = (4 * torch.rand(1, 1, 2, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    model = nn.Sequential(nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 1, bias=False))
    nn.init.ones_(model[3].weight)  # pyright: ignore[reportArgumentType]
    found = fervis.explain(model, x, "deep_lift", target=0, baseline="mean", background=base)
    expected = torch.zeros(2, 8)
    for window in range(4):
        here, there = (values.tanh()[0, 0, :, 2 * window : 2 * window + 2].flatten() for values in (x, base))
        larger = torch.maximum(here.max(), there.max())
        row, column = divmod(int(here.argmax()), 2)
        expected[row, 2 * window + column] += larger - there.max()
        row, column = divmod(int(there.argmax()), 2)
        expected[row, 2 * window + column] += here.max() - larger
    torch.testing.assert_close(found.maps[0], expected, rtol=1e-4, atol=1e-6)
    gain = (model(x) - model(base)).item()
    assert float(found.maps.sum()) == pytest.approx(gain, abs=1e-5)
    captum = DeepLift(model).attribute(x, base, target=0).detach()
    assert abs(float(captum.sum()) - gain) > 0.1 * abs(gain)


CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "x.relu": lambda x: x.relu(),
    "x.relu_": lambda x: x.relu_(),
    "x.clamp_min": lambda x: x.clamp_min(0),
    "x.clamp_": lambda x: x.clamp_(min=0),
    "nn.ReLU reused": nn.ReLU(),
    "nn.ReLU reused, in place": nn.ReLU(inplace=True),
}


@pytest.mark.parametrize("call", list(CALLS))
def test_functions_and_reused_modules_give_the_map_of_modules(call: str):
    maps = [fervis.explain(model.eval(), images(), "deep_lift", target=1).maps
            for model in (Functions(CALLS[call]), Modules(nn.ReLU))]  # fmt: skip
    assert_close(*maps)


NETWORKS: dict[str, dict[str, Any]] = {
    "vgg8": {"width": 4},
    "resnet18": {"width": 4},
    "mini_xception": {"width": 2},  # pools overlapping windows
    "mobilenetv3_small_050": {},  # gates of squeeze and excitation
    "convnext_atto": {},  # LayerNorm
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_contributions_add_up_to_the_difference_of_logits(name: str):
    own = name in ("vgg8", "resnet18", "mini_xception")
    size = 24 if own else 32
    with torch.random.fork_rng():
        torch.manual_seed(0)
        knobs = NETWORKS[name] if own else {"architecture": name}
        model = build_plugin("model", name if own else "timm", **knobs).build(channels=3, size=size, classes=("a", "b"))
        for path, values in model.double().eval().state_dict().items():
            if path.endswith("running_var"):
                values.uniform_(0.5, 2)
            elif path.endswith(("running_mean", "bias", "gamma")):
                values.normal_(0, 0.2)
    faces = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2)).double()
    found = fervis.explain(model, faces, "deep_lift", target="all")
    with torch.no_grad():
        gains = (model(faces) - model(torch.zeros_like(faces))).flatten()
    assert found.scores["completeness_gap"].max() < 1e-6 * float(gains.abs().max())
    torch.testing.assert_close(found.maps.sum((1, 2)), gains.float(), rtol=1e-3, atol=1e-4 * float(gains.abs().max()))
    gradient = fervis.explain(model, faces, "input_x_gradient", target="all").maps.sum((1, 2))
    assert (gradient - gains).abs().max() > 0.01 * gains.abs().max(), "the plain gradient does not add up"


def test_what_passes_its_own_derivative_leaves_a_gap_that_is_reported():
    model = Functions(lambda x: F.softmax(3 * x, 1)).eval()
    found = fervis.explain(model, images(), "deep_lift", target=1)
    with torch.no_grad():
        gains = (model(images()) - model(torch.zeros_like(images())))[:, 1]
    missed = (found.maps.sum((1, 2)) - gains).abs()
    torch.testing.assert_close(found.scores["completeness_gap"], missed, rtol=1e-3, atol=1e-6)
    assert missed.max() > 1e-4


def test_an_image_that_is_its_own_baseline_gets_zeros_and_no_nans():
    found = fervis.explain(
        Modules(nn.ReLU).eval(), torch.full((1, 2, 12, 12), 0.5), "deep_lift", target=0, baseline=0.5
    )
    assert torch.equal(found.maps, torch.zeros_like(found.maps))


def test_a_network_that_computes_otherwise_for_the_baseline_is_refused():
    class Branching(Modules):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.mean() < 0.1 else super().forward(x.abs())

    with pytest.raises(ConfigError, match="explainer=deep_lift: the network computes otherwise for the baseline"):
        fervis.explain(Branching(nn.ReLU).eval(), images(), "deep_lift", target=0)
