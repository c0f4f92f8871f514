"""LRP on networks: identities, captum, BatchNorm folded by hand, sums however they are written, what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from captum.attr import LRP
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

import fervis
from fervis.core.network import Network
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError
from fervis.explainers.relevance.composites import COMPOSITES

NETWORKS = {"vgg8": {"width": 4, "weights": None}, "resnet18": {"width": 4}, "mini_xception": {"width": 4}}


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def lrp(model: nn.Module, images: Tensor, layer: Any = "input", target: Any = 1, **knobs: Any) -> Any:
    return fervis.explain(model, images, "lrp", layer, target, **knobs)


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().eval()


def trained_norms(model: nn.Module) -> nn.Module:
    """Give every BatchNorm statistics and settings as if it were trained: none is the identity."""
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 1.5),
                (module.weight.data, 0.7, 1.3),
                (module.bias.data, -0.2, 0.3),
            ):
                assert tensor is not None
                tensor.uniform_(low, high, generator=generator)
    return model


def house(name: str, width: int = 4) -> Network:
    build = build_plugin("model", name, **{**NETWORKS[name], "width": width}).build
    network = seeded(lambda: trained_norms(build(channels=1, size=32, classes=("a", "b", "c"))))
    assert isinstance(network, Network)
    return network


def assert_same(found: Tensor, expected: Tensor, part: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=part * float(expected.abs().max()))
    assert expected.abs().max() > 0


class Rectified(nn.Module):
    """Convolutions without biases, one of them and one ReLU used twice, with functional and in-place operations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.head, self.relu = nn.Linear(12, 3, bias=False), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv(self.relu(self.conv(F.relu_(self.stem(x))))))
        x = torch.cat([F.max_pool2d(x, 2), F.avg_pool2d(x, 2)], 1)
        y = F.leaky_relu(x, 0.3)
        y += x
        return self.head(torch.flatten(y.mean((2, 3)), 1))


def test_epsilon_to_0_is_input_times_gradient_without_biases():
    model, images = seeded(Rectified).double(), 1e4 * (noise(3, 1, 8, 8).double() - 0.3)
    result = lrp(model, images, ["input", "stem"], "all", composite="epsilon", epsilon=1e-12)
    expected = fervis.explain(model, images, "input_x_gradient", ["input", "stem"], "all")
    assert_same(result.maps, expected.maps)
    torch.testing.assert_close(result.scores["conservation"], torch.ones(18), rtol=0, atol=1e-4)


def test_it_is_captums_on_rectified_convolutions():
    class Net(nn.Module):  # captum has no rule for nn.Flatten
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2, self.head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(16, 3)
            self.relu1, self.relu2, self.pool = nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(self.relu1(self.conv1(x)))
            return self.head(self.relu2(self.conv2(x)).flatten(1))

    model, images = seeded(Net), noise(3, 2, 10, 10)
    for target in range(3):
        expected = LRP(copy.deepcopy(model)).attribute(images.clone().requires_grad_(), target=target).sum(1)
        assert_same(lrp(model, images, target=target, composite="epsilon", epsilon=1e-9).maps, expected.detach())


def test_a_linear_network_gives_weight_times_input():
    model, images = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(50, 3, bias=False))), noise(4, 2, 5, 5)
    for composite in COMPOSITES:
        maps = lrp(model, images, target=2, composite=composite).maps
        assert_same(maps, (model[1].weight[2].view(2, 5, 5) * images).sum(1).detach())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_batchnorm_behind_a_convolution_is_as_if_folded_by_hand(name: str, composite: str):
    model, images = house(name).double(), noise(2, 1, 32, 32).double()
    folded = copy.deepcopy(model)
    for path, conv, norm in convolutions_with_norms(name, folded):
        fused = fuse_conv_bn_eval(conv, folded.get_submodule(norm))
        folded.set_submodule(path, fused)
        folded.set_submodule(norm, nn.Identity())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert_same(lrp(model, images, composite=composite).maps, lrp(folded, images, composite=composite).maps)


def convolutions_with_norms(name: str, model: nn.Module) -> list[tuple[str, nn.Conv2d, str]]:
    """Return path and module of each convolution, and the path of the BatchNorm that is declared next."""
    modules = [(path, module) for path, module in model.named_modules()]
    norms = [(path, module) for path, module in modules if isinstance(module, nn.BatchNorm2d)]
    pairs = []
    for norm, module in norms:
        prefix, _, own = norm.rpartition(".")
        stem = {"vgg8": own.replace("norm", "conv"), "mini_xception": own.replace("norm", "conv")}.get(name, own)
        if name == "resnet18":
            stem = {"1": "0"}.get(own, own.replace("bn", "conv"))
        path = f"{prefix}.{'shortcut' if own == 'shortcut_norm' else stem}"
        conv = model.get_submodule(path)
        if isinstance(conv, nn.Sequential):  # a separable convolution
            path, conv = f"{path}.1", conv[1]
        assert isinstance(conv, nn.Conv2d)
        assert conv.out_channels == module.num_features
        pairs.append((path, conv, norm))
    return pairs


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("composite", COMPOSITES)
def test_what_the_map_lacks_is_what_was_absorbed(name: str, composite: str):
    model, images = house(name), noise(3, 1, 32, 32)
    scores = lrp(model, images, ["input", "conv1"], "all", composite=composite).scores
    torch.testing.assert_close(scores["conservation"] + scores["absorbed"], torch.ones(18), rtol=0, atol=2e-3)
    assert (scores["absorbed"].abs() > 0.01).any()


@pytest.mark.parametrize("name", NETWORKS)
def test_where_biases_are_shared_the_map_adds_up_to_the_logit(name: str):
    # An output that comes from its bias alone, all inputs being 0, has no input to give to: rare in wide networks. The
    # z+ rule has none either where a negative output has no positive contribution, as in sums of branches.
    model, images = house(name, width=24), noise(3, 1, 32, 32)
    for composite in (
        "epsilon",
        "epsilon_gamma_box",
        *(["epsilon_plus", "epsilon_plus_flat"] if name == "vgg8" else []),
    ):
        shared, absorbed = (lrp(model, images, composite=composite, biases=biases) for biases in ("share", "absorb"))
        torch.testing.assert_close(shared.scores["conservation"], torch.ones(3), rtol=0, atol=0.01)
        assert (absorbed.scores["conservation"] - 1).abs().max() > 0.05


def with_norm(norm: nn.BatchNorm2d, padding: int) -> nn.Sequential:
    """A ReLU, the BatchNorm, a convolution, a ReLU, and a linear layer."""
    conv = nn.Conv2d(4, 5, 3, padding=padding)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), norm, conv, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_batchnorm_before_a_convolution_is_as_if_folded_by_hand(composite: str):
    images = noise(2, 1, 8, 8)
    model = seeded(lambda: trained_norms(with_norm(nn.BatchNorm2d(4), 0)))
    norm, conv = model[2], model[3]
    model(images)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded = copy.deepcopy(model)
    folded[2] = nn.Identity()
    folded[3].weight.data = conv.weight * scale[:, None, None]
    folded[3].bias.data = conv.bias + (conv.weight.sum((2, 3)) * (norm.bias - norm.running_mean * scale)).sum(1)
    assert_same(lrp(model, images, composite=composite).maps, lrp(folded, images, composite=composite).maps)


def test_a_batchnorm_before_a_padded_convolution_has_its_share_of_the_bias_at_each_position():
    images = noise(2, 1, 8, 8)
    model = seeded(lambda: trained_norms(with_norm(nn.BatchNorm2d(4), 1)))
    model(images)
    norm, conv = model[2], model[3]
    found = lrp(model, images, ["2", "3"], composite="epsilon", epsilon=1e-9).maps.unflatten(0, (2, 2))
    x, scale = model[:2](images), norm.weight / (norm.running_var + norm.eps).sqrt()
    x = x.detach().requires_grad_()
    fed = x * scale[:, None, None] + (norm.bias - norm.running_mean * scale)[:, None, None]
    score = model[4:](conv(fed))[:, 1].sum()
    (slope,) = torch.autograd.grad(score, x)  # where the layers are rectified linear, epsilon's relevance is x times it
    expected = F.interpolate((x * slope).sum(1, keepdim=True), (8, 8), mode="bilinear")[:, 0].detach()
    share = 1 - model[6].bias[1] / model(images)[:, 1]  # the linear layer's own bias
    assert_same(found[0], expected, 1e-4)
    assert (share != 1).all()


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_batchnorm_by_itself_is_a_convolution_of_each_channel(composite: str):
    class Alone(nn.Module):
        def __init__(self, norm: nn.Module) -> None:
            super().__init__()
            self.norm, self.conv1, self.conv2 = norm, nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.norm(F.relu(self.conv1(x))))
            return self.head(F.relu(self.conv2(x)).mean((2, 3)))

    model = seeded(lambda: trained_norms(Alone(nn.BatchNorm2d(4))))
    norm = model.norm
    by_hand = copy.deepcopy(model)
    by_hand.norm = nn.Conv2d(4, 4, 1, groups=4)
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    by_hand.norm.weight.data = scale.view(4, 1, 1, 1)
    by_hand.norm.bias.data = norm.bias.detach() - norm.running_mean * scale
    images = noise(2, 1, 8, 8)
    assert_same(lrp(model, images, composite=composite).maps, lrp(by_hand, images, composite=composite).maps)


class Add(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.add(x, y)


class Shortcut(nn.Module):
    """Two branches with a BatchNorm each, added in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.stem, self.head, self.add, self.way = nn.Conv2d(1, 4, 3), nn.Linear(4, 3), Add(), way
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.norm_a, self.norm_b = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x, y = self.norm_a(self.a(x)), self.norm_b(self.b(x))
        if self.way == "operator":
            x = x + y
        elif self.way == "module":
            x = self.add(x, y)
        elif self.way == "in place":
            x += y
        elif self.way == "method":
            x = x.add_(y)
        elif self.way == "less":
            x = x - (-y)
        return self.head(F.relu_(x).mean((2, 3)))


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_sum_is_shared_alike_however_it_is_written(composite: str):
    maps = []
    for way in ("operator", "module", "in place", "method", "less"):
        model = seeded(lambda way=way: trained_norms(Shortcut(way)))
        maps.append(lrp(model, noise(3, 1, 9, 9), ["input", "a", "b"], "all", composite=composite).maps)
    for one in maps[1:]:
        assert_same(one, maps[0], 1e-6)


def test_the_branches_of_a_sum_get_their_parts_of_it():
    model, images = seeded(lambda: trained_norms(Shortcut("operator"))), noise(3, 1, 9, 9)
    x = F.relu(model.stem(images))
    a, b = model.norm_a(model.a(x)), model.norm_b(model.b(x))
    total = a + b
    pooled = F.relu(total).mean((2, 3))
    score = model(images)[:, 1]
    at_pooled = pooled * model.head.weight[1] * (score / (score + 1e-6 * score.sign()))[:, None]
    at_total = F.relu(total) / (total.shape[2] * total.shape[3]) * (at_pooled / (pooled + 1e-6))[:, :, None, None]
    for layer, part in (("a", a), ("norm_a", a), ("b", b), ("norm_b", b)):
        expected = (part / (total + 1e-6 * total.sign()) * at_total).sum(1).detach()
        found = lrp(model, images, layer).maps
        assert_same(found, F.interpolate(expected[:, None], (9, 9), mode="bilinear")[:, 0])


def test_a_module_that_runs_twice_is_as_two_copies():
    class Twice(nn.Module):
        def __init__(self, copies: bool) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)
            self.first = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True))
            self.second = copy.deepcopy(self.first) if copies else self.first

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.second(self.first(self.stem(x))).mean((2, 3)))

    images = noise(2, 1, 8, 8)
    for composite in COMPOSITES:
        one, two = (lrp(seeded(lambda c=c: Twice(c)), images, composite=composite).maps for c in (False, True))
        assert torch.equal(one, two)


def test_a_network_that_views_its_tensors_in_memory_order_is_explained_alike():
    class Viewed(nn.Module):
        def __init__(self, view: bool) -> None:
            super().__init__()
            self.conv, self.head, self.view = nn.Conv2d(1, 4, 3), nn.Linear(144, 3), view

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.conv(x))
            return self.head(x.view(len(x), -1) if self.view else x.flatten(1))

    one, two = (lrp(seeded(lambda v=v: Viewed(v)), noise(2, 1, 8, 8)).maps for v in (False, True))
    assert_same(one, two, 1e-6)


def test_the_box_has_the_bounds_of_normalized_pixels():
    body = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    network = Network(body, classes=("a", "b", "c"), channels=3, size=8, mean=mean, std=std)
    images = noise(2, 3, 8, 8)
    found = lrp(network, images, composite="epsilon_gamma_box", epsilon=1e-12).maps
    w, b = body[0].weight, body[0].bias
    low, high = ((value - torch.tensor(mean)) / torch.tensor(std) for value in (0.0, 1.0))
    x = network.normalized(images)
    unfolded = F.unfold(x, 3).transpose(1, 2)  # [N,36,27], one row per output position
    rows = w.flatten(1)
    low, high = low.repeat_interleave(9), high.repeat_interleave(9)
    z = body[0](x).flatten(2)
    after = z.clamp(min=0) * body[3].weight[1].view(4, 36)
    assert b is not None
    pixels = torch.zeros(2, 3, 8, 8)
    for n in range(2):
        for o in range(4):
            contributions = unfolded[n] * rows[o] - low * rows[o].clamp(min=0) - high * rows[o].clamp(max=0)
            shares = contributions / (contributions.sum(1, keepdim=True) + 1e-6) * after[n, o][:, None]
            pixels[n] += F.fold(shares.T[None], (8, 8), 3)[0]
    assert_same(found, pixels.sum(1).detach())


@pytest.mark.parametrize("settings", [{}, {"standardize": True}])
def test_pixels_of_another_size_or_colour_share_what_the_network_got(settings: dict[str, Any]):
    body = seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)))
    network = Network(body, classes=("a", "b", "c"), channels=1, size=8, mean=(0.5,), std=(0.25,), **settings)
    for shape in ((2, 3, 8, 8), (2, 1, 12, 12), (2, 3, 5, 5), (2, 1, 8, 8)):
        for composite in COMPOSITES:
            result = lrp(network, noise(*shape), composite=composite, biases="share")
            assert result.maps.shape == (2, *shape[2:])
            torch.testing.assert_close(
                result.scores["conservation"], torch.ones(2), rtol=0, atol=0.05 * ("alpha" in composite) * 10 + 1e-3
            )
            assert_same(result.maps.sum((1, 2)) * 0 + 1, torch.ones(2))


def test_a_gate_passes_nothing_and_its_signal_all():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gate, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 4), nn.Linear(4, 3)
            self.fixed: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.conv(x))
            gate = torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
            return self.head((x * (gate if self.fixed is None else self.fixed)).mean((2, 3)))

    model, fixed, images = seeded(Gated), seeded(Gated), noise(1, 1, 8, 8)
    with torch.no_grad():  # the gate of this one image as a constant
        fixed.fixed = torch.sigmoid(model.gate(F.relu(model.conv(images)).mean((2, 3))))[:, :, None, None]
    assert_same(lrp(model, images).maps, lrp(fixed, images).maps)


@pytest.mark.parametrize("name", ["autocast", "half", "wrapped"])
def test_precision_and_wrappers_change_nothing_beyond_rounding(name: str):
    model, images = house("vgg8"), noise(2, 1, 32, 32)
    expected = lrp(model, images).maps
    if name == "autocast":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(lrp(model, images).maps, expected)
    elif name == "half":
        assert_same(lrp(model.half(), images.half()).maps, expected, 0.03)
    else:
        assert torch.equal(lrp(nn.DataParallel(model), images).maps, expected)


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
def test_a_timm_network_is_explained_and_attention_refused():
    for architecture, composite in (("resnet10t", "epsilon_plus_flat"), ("mobilenetv3_small_050", "epsilon")):
        build = build_plugin("model", "timm", architecture=architecture).build
        model = seeded(lambda build=build: build(channels=1, size=32, classes=("a", "b", "c")))
        result = lrp(model, noise(2, 1, 32, 32), composite=composite)
        scores = result.scores
        torch.testing.assert_close(scores["conservation"] + scores["absorbed"], torch.ones(2), rtol=0, atol=2e-3)
    build = build_plugin("model", "timm", architecture="vit_tiny_patch16_224", size=32).build
    model = seeded(lambda: build(channels=1, size=32, classes=("a", "b", "c")))
    with pytest.raises(ConfigError, match="no rule covers native_layer_norm in body"):
        lrp(model, noise(2, 1, 32, 32))


def test_a_filter_gets_its_mean_output_divided():
    model, images = house("vgg8"), noise(2, 1, 32, 32)
    outputs: list[Tensor] = []
    handle = model.get_submodule("body.conv5").register_forward_hook(lambda _m, _i, output: outputs.append(output))
    model(images)
    handle.remove()
    maps = lrp(model, images, target="conv5/3", composite="epsilon", biases="share").maps
    torch.testing.assert_close(maps.sum((1, 2)), outputs[0][:, 3].mean((1, 2)).detach(), rtol=2e-3, atol=1e-5)


class Odd(nn.Module):
    """A convolution and something that no rule covers."""

    def __init__(self, odd: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.head, self.odd = nn.Conv2d(1, 4, 3), nn.Linear(4, 3), odd

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.odd(self.conv(x)).mean((2, 3)))


def _half_changed(x: Tensor) -> Tensor:
    x[:, :2].mul_(2)
    return x


@pytest.mark.parametrize(
    ("odd", "named"),
    [
        (lambda x: x.softmax(1), "_softmax"),
        (lambda x: x * x, "mul"),
        (lambda x: x * x.flip(1), "mul"),
        (lambda x: torch.sigmoid(x), "sigmoid"),
        (lambda x: F.layer_norm(x, x.shape[1:]), "native_layer_norm"),
        (lambda x: F.group_norm(x, 2), "native_group_norm"),
        (lambda x: F.batch_norm(x, None, None, training=True), "normalises by the statistics of the batch"),
        (lambda x: 1 / (x + 10), "reciprocal"),
        (lambda x: torch.einsum("nchw,ncij->nchw", x, x), "no rule covers"),
        (_half_changed, "of which a part was changed in place"),
    ],
)
def test_what_no_rule_covers_is_refused(odd: Callable[[Tensor], Tensor], named: str):
    with pytest.raises(ConfigError, match=named) as error:
        lrp(seeded(lambda: Odd(odd)), noise(2, 1, 8, 8))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"composite": "epsilon_plus_flt"}, "Did you mean epsilon_plus_flat"),
        ({"epsilon": 0}, "explainer.epsilon=0.0: expected a number above 0"),
        ({"alpha": 0.5}, "explainer.alpha=0.5: expected a number from 1"),
        ({"low": 1.0}, "explainer.low=1.0: expected a number below explainer.high=1.0"),
        ({"conv": "zbox"}, "explainer.conv=zbox: "),
        ({"first": "zbox", "high": 0.5}, "explainer.low, explainer.high: "),
    ],
)
def test_wrong_settings_are_refused(knobs: dict[str, Any], sentence: str):
    with pytest.raises(ConfigError) as error:
        lrp(house("vgg8"), noise(1, 1, 32, 32), **knobs)
    assert sentence in str(error.value)
