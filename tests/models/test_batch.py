"""Shared passes against one torch.autograd call per layer and target, and resumed passes against full ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fervis.core.layers import Layer, resolve_layers, spatial
from fervis.core.registry import build_plugin
from fervis.core.targets import Targets, class_targets
from fervis.errors import ConfigError
from fervis.explainers.explain import explain_batch
from fervis.models.batch import SCORED_AT_ONCE, Batch

CLASSES = tuple("abcdefg")


def network(name: str = "vgg8", size: int = 16, channels: int = 1, **knobs: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = build_plugin("model", name, **knobs).build(channels=channels, size=size, classes=CLASSES).eval()
        # Statistics that are not those of an identity, and no branch that an untrained network scales to nothing.
        for path, values in built.state_dict().items():
            if path.endswith("running_mean"):
                values.normal_(0, 0.1)
            elif path.endswith(("running_var", "gamma")):
                values.uniform_(0.5, 2)
    return built


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def batch_of(
    model: nn.Module, images: Tensor, layers: str | list[str] = "all", targets: Targets | None = None
) -> Batch:
    every = class_targets(torch.arange(7).expand(len(images), -1))
    return Batch(model, images, resolve_layers(model, layers, images[:1]), every if targets is None else targets)


class Counted(nn.Module):
    """A network that counts the images of its forward passes, and its backward passes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.forwards: list[int] = []
        self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards.append(len(images))
        logits = self.network(images)
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits

    def count(self, _: Tensor) -> None:
        self.backwards += 1


def test_gradients_are_those_of_a_call_per_layer_and_target_to_the_bit():
    model, images = network(width=4), noise(5, 1, 16, 16)
    names = ["input", "conv2", "relu3", "conv7"]
    classes = torch.tensor([[0, 3, 6], [1, 1, 2], [5, 4, 3], [2, 0, 1], [6, 5, 0]])
    passes = list(batch_of(model, images, names, class_targets(classes)).gradients())
    assert [one.target for one in passes] == [0, 1, 2]
    for one in passes:
        assert list(one.gradients) == list(one.activations) == names
        for name in names:
            pixels = images.clone().requires_grad_()
            outputs: list[Tensor] = [pixels]
            handle = None
            if name != "input":
                outputs.clear()
                module = model.get_submodule(f"body.{name}")
                handle = module.register_forward_hook(lambda _m, _i, output, outputs=outputs: outputs.append(output))
            logits = model(pixels)
            if handle:
                handle.remove()
            chosen = logits.gather(1, classes[:, [one.target]])[:, 0]
            (expected,) = torch.autograd.grad(chosen.sum(), outputs)
            assert torch.equal(one.gradients[name], expected), name
            assert torch.equal(one.activations[name], outputs[0].detach()), name
            assert torch.equal(one.scores, chosen.detach())
            assert not one.activations[name].requires_grad
            assert expected.abs().max() > 0


def test_gradcam_of_all_layers_and_classes_is_one_forward_and_a_backward_per_class():
    model = Counted(network(width=4, size=48))
    batch = batch_of(model, noise(7, 1, 48, 48))
    assert len(batch.layers) == 8
    model.forwards.clear()
    output = explain_batch(build_plugin("explainer", "gradcam"), batch)
    assert len(output.layers) == 8 * 7 * 7
    assert model.forwards == [7]
    assert model.backwards == 7


@pytest.mark.parametrize("explainer", ["saliency", "input_x_gradient", "gradcam"])
def test_passes_do_not_grow_with_layers(explainer: str):
    for layers in (["conv2"], ["conv1", "conv3", "conv8"]):
        model = Counted(network(width=4))
        batch = batch_of(model, noise(3, 1, 16, 16), layers, class_targets([[0, 1]] * 3))
        model.forwards.clear()
        explain_batch(build_plugin("explainer", explainer), batch)
        assert (model.forwards, model.backwards) == ([3], 2)


@pytest.mark.parametrize("stops", ["breaks", "raises"])
def test_the_network_is_left_as_it_was_when_a_consumer_stops_in_the_middle(stops: str):
    model = network(width=4).train()
    model.get_submodule("body.conv3").weight.requires_grad_(False)  # pyright: ignore[reportAttributeAccessIssue]
    buffers = [buffer.clone() for buffer in model.buffers()]
    state = torch.random.get_rng_state()
    batch = batch_of(model, noise(2, 1, 16, 16), ["input", "conv3"])
    rules = {nn.ReLU: lambda _, x: x.clamp(min=0)}
    try:
        for number, _ in enumerate(batch.gradients(rules)):
            if number == 2 and stops == "breaks":
                break
            if number == 2:
                raise KeyError("a consumer's own")
    except KeyError:
        assert stops == "raises"
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert not any("forward" in vars(module) for module in model.modules())
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["body.conv3.weight"]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(map(torch.equal, buffers, model.buffers()))
    assert torch.equal(state, torch.random.get_rng_state())


def test_several_filters_are_targets_of_one_pass(residual: nn.Module):
    images = noise(3, 1, 8, 8)
    layers = resolve_layers(residual, "conv1", images[:1])
    targets = Targets(layer="conv2", filters=(3, 0), name="conv2")
    passes = list(Batch(residual, images, layers, targets).gradients())
    for one, number in zip(passes, (3, 0), strict=True):
        leaf = residual.conv1(images).detach().requires_grad_()
        mean = residual.conv2(leaf.tanh())[:, number].mean((1, 2))
        (expected,) = torch.autograd.grad(mean.sum(), leaf)
        torch.testing.assert_close(one.gradients["conv1"], expected)
        torch.testing.assert_close(one.scores, mean.detach())


def test_targets_are_taken_repeated_and_chosen():
    targets = class_targets(torch.tensor([[0, 3], [1, 2], [4, 5]]))
    assert targets.count == 2
    assert targets[1:].classes.tolist() == [[1, 2], [4, 5]]
    assert targets[torch.tensor([2, 0])].classes.tolist() == [[4, 5], [0, 3]]
    assert targets.only(1).classes.tolist() == [[3], [2], [5]]
    assert targets[:2].repeat(2).classes.tolist() == [[0, 3], [0, 3], [1, 2], [1, 2]]
    logits = noise(3, 6)
    expected = torch.stack([logits[[0, 1, 2], [0, 1, 4]], logits[[0, 1, 2], [3, 2, 5]]], 1)
    assert torch.equal(targets.scores(logits, {}), expected)
    assert class_targets([2, 0]).classes.tolist() == [[2], [0]]
    filters = Targets(layer="body.conv1", filters=(3, 1), name="conv1")
    assert filters.count == 2
    assert filters[1:] is filters.repeat(4) is filters
    assert filters.only(1).filters == (1,)
    outputs = noise(3, 4, 5, 6)
    loops = [[outputs[image, number].mean() for number in (3, 1)] for image in range(3)]
    torch.testing.assert_close(filters.scores(logits, {"body.conv1": outputs}), torch.tensor(loops))
    with pytest.raises(ConfigError, match="target=6: the network has 6 classes"):
        class_targets([0, 6]).scores(noise(2, 6), {})
    with pytest.raises(ConfigError, match=r"expected \[N,K\] logits"):
        class_targets([0]).scores(noise(1, 6, 2), {})


def test_a_part_of_a_batch_has_its_own_targets_and_the_same_draws():
    model, images = network(width=4), noise(5, 1, 16, 16)
    batch = batch_of(model, images, "input", class_targets([0, 1, 2, 3, 4]))
    part = batch.part(slice(3, 5))
    assert torch.equal(part.images, images[3:5])
    assert part.targets.classes.tolist() == [[3], [4]]
    one, two = (torch.rand(3, generator=some.generator("a use")) for some in (batch, part))
    assert torch.equal(one, two)
    assert not torch.equal(one, torch.rand(3, generator=batch.generator("another use")))
    assert batch.with_images(images[:2] + 1, class_targets([6, 6])).targets.classes.tolist() == [[6], [6]]


def test_other_images_are_scored_as_by_the_network_itself():
    model = network(width=4, size=48)
    batch = batch_of(model, noise(2, 1, 48, 48), "input")
    chunks = [noise(count, 1, 48, 48, seed=count) for count in (1, SCORED_AT_ONCE + 3, 5)]
    before = [chunk.clone() for chunk in chunks]
    found = batch.score(iter(chunks))
    with torch.no_grad():
        expected = torch.cat([model(chunk) for chunk in chunks])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert expected.std(0).min() > 1e-4
    assert all(map(torch.equal, before, chunks))


def replaced(model: nn.Module, images: Tensor, layer: Layer, change: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of a full pass in which a layer's output is changed by a hook, and the changed output, channels first."""
    changed: list[Tensor] = []

    def scale(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        maps = spatial(output, layer) * change
        changed.append(maps.clone())
        if layer.layout == "NHWC":
            return maps.permute(0, 2, 3, 1).contiguous()
        if layer.layout == "tokens":
            count = maps.shape[2] * maps.shape[3]
            return torch.cat([output[:, : output.shape[1] - count], maps.flatten(2).transpose(1, 2)], 1)
        return maps

    handle = model.get_submodule(layer.path).register_forward_hook(scale)
    with torch.no_grad():
        logits = model(images)
    handle.remove()
    return logits, changed[0]


RESUMED = {
    "vgg8": ("vgg8", {"width": 4}, 16, ["conv1", "relu4", "pool2", "conv8"]),
    "resnet18": ("resnet18", {}, 48, ["conv1", "conv6", "stage2", "relu8", "last_conv"]),
    "mini_xception": ("mini_xception", {}, 48, ["conv1", "conv5", "stage2", "last_conv"]),
    "timm resnet18": ("timm", {"architecture": "resnet18"}, 48, ["conv1", "conv8", "stage3", "layer2.0"]),
    "timm convnext": ("timm", {"architecture": "convnext_atto"}, 64, ["conv2", "stage2", "stages.1.blocks.0.mlp.fc1"]),
    "timm vit": ("timm", {"architecture": "vit_tiny_patch16_224"}, 48, ["block1", "block7"]),
}


@pytest.mark.parametrize("case", RESUMED)
def test_resumed_logits_are_those_of_a_full_pass_with_the_layer_replaced(case: str):
    name, knobs, size, layers = RESUMED[case]
    model = network(name, size, 3 if "timm" in case else 1, **knobs)
    images = noise(3, 3 if "timm" in case else 1, size, size)
    with torch.no_grad():
        plain = model(images)
    for layer in resolve_layers(model, layers, images[:1]):
        change = 2 * noise(3, layer.channels, *layer.grid, seed=5)
        expected, activations = replaced(model, images, layer, change)
        batch = Batch(model, images, (layer,))
        unit = float(expected.abs().max())
        torch.testing.assert_close(batch.resume(layer, activations), expected, rtol=0, atol=1e-6 * max(1, unit))
        assert (expected - plain).abs().max() > 1e-3 * unit, layer.name
        # Any number of changed activations, each of one of the recorded images.
        index = torch.tensor([2, 0, 0, 1, 2])
        found = batch.recorded(layer).logits(activations[index], index)
        torch.testing.assert_close(found, expected[index], rtol=0, atol=2e-6 * max(1, unit))
    assert not any("forward" in vars(module) or module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["conv1", "conv2", "bypass", "relu"])
def test_a_network_is_resumed_whatever_branches_go_around_the_layer(residual: nn.Module, name: str):
    images = noise(3, 1, 8, 8)
    (layer,) = resolve_layers(residual, name, images[:1])
    expected, activations = replaced(residual, images, layer, 3 * noise(3, 4, 8, 8, seed=1))
    torch.testing.assert_close(
        Batch(residual, images, (layer,)).resume(layer, activations), expected, rtol=0, atol=1e-6
    )


def test_only_what_follows_a_layer_computes_again():
    model, images = network(width=4), noise(2, 1, 16, 16)
    (layer,) = resolve_layers(model, "conv5", images[:1])
    recorded = Batch(model, images, (layer,)).recorded(layer)
    computed: list[str] = []
    handles = [
        module.register_forward_hook(
            lambda module, *_, path=path: computed.append(path) if "forward" not in vars(module) else None
        )
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    recorded.logits(torch.zeros(2, layer.channels, *layer.grid), torch.arange(2))
    for handle in handles:
        handle.remove()
    assert computed == ["body.conv6", "body.conv7", "body.conv8"]


class GradientFree(nn.Module):
    """A network whose second half reads the first half's output twice, once without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.head = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3), nn.Linear(6, 2)

    def forward(self, images: Tensor) -> Tensor:
        first = self.conv1(images)
        second = self.conv2(first)
        return self.head(torch.cat([first.detach().mean((2, 3)), second.mean((2, 3))], 1))


def test_outputs_that_nothing_reads_again_are_not_copied(residual: nn.Module):
    model, images = network(width=4), noise(3, 1, 16, 16)
    recorded = batch_of(model, images, "conv5").recorded(resolve_layers(model, "conv5", images[:1])[0])
    names = {module: name for name, module in model.named_modules()}
    assert {names[module].removeprefix("body.") for module in recorded.unread} == {
        f"{kind}{number}" for number in range(1, 5) for kind in ("conv", "norm", "relu")
    } | {"pool1", "pool2"}
    images = noise(3, 1, 8, 8)
    (bypass,) = resolve_layers(residual, "bypass", images[:1])
    recorded = batch_of(residual, images, "bypass", class_targets([0, 1, 2])).recorded(bypass)
    modules = dict(residual.named_modules())
    assert recorded.unread == {modules["conv1"], modules["conv2"]}
    assert modules["relu"] in recorded.outputs


def test_outputs_read_without_a_gradient_are_those_of_their_image():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GradientFree()
    images = noise(3, 1, 8, 8)
    batch = batch_of(model, images, "conv2", class_targets([0, 1, 0]))
    recorded = batch.recorded(batch.layers[0])
    assert not recorded.unread
    index = torch.tensor([2, 1])
    with torch.no_grad():
        expected = model(images)[index]
        found = recorded.logits(model.conv2(model.conv1(images))[index], index)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found[0], found[1])


def test_scores_in_bf16_are_near_those_in_fp32_and_leave_the_network_as_it_was():
    model, images = network(width=8), noise(5, 1, 16, 16)
    weights = {name: values.clone() for name, values in model.state_dict().items()}
    batch = batch_of(model, images)
    whole, low = batch.score([images]), batch.score([images], "bf16")
    assert low.dtype == torch.float32
    difference = float((whole - low).abs().max() / whole.abs().max())
    assert 1e-5 < difference < 0.05
    assert all(torch.equal(values, weights[name]) for name, values in model.state_dict().items())
    assert all(values.dtype == weights[name].dtype for name, values in model.state_dict().items())
