"""Names of layers against torch.fx traces, known structures and networks made for the purpose."""

import pytest
import torch
from torch import nn

from fervis.core.layers import Layer, expand_layers, find_layer, layer_table, list_layers, spatial
from fervis.errors import ConfigError
from fervis.models.architectures.timm import Timm, import_timm
from fervis.models.architectures.vgg8 import Vgg8

CLASSES = tuple("abcdefg")
IMAGE = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))


def vgg8(width=4):
    return Vgg8(width=width).build(channels=1, size=48, classes=CLASSES)


def of(architecture, channels=3, size=64):
    network = Timm(architecture).build(channels=channels, size=size, classes=CLASSES)
    return network, torch.rand(1, channels, size, size)


def named(layers, stem):
    """Paths of the layers stem1, stem2, ... inside the network."""
    found = {alias: layer.path for layer in layers for alias in layer.aliases if alias.rstrip("0123456789") == stem}
    return [found[f"{stem}{k}"].removeprefix("body.") for k in range(1, len(found) + 1)]


class Reuse(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.unused = nn.Conv2d(1, 1, 1)
        self.pair = Pair()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.act(self.first(x))
        x = self.again(self.act(self.again(x)))
        return self.head(self.pair(x)[0].mean((2, 3)))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def test_vgg8_layers_by_name():
    layers = list_layers(vgg8(), IMAGE)
    paths = [layer.path.removeprefix("body.") for layer in layers]
    expected = []
    for i in range(1, 9):
        expected += [f"conv{i}", f"norm{i}", f"relu{i}"] + ([f"pool{i // 2}"] if i % 2 == 0 else [])
    assert paths == [*expected, "average"]
    assert named(layers, "conv") == [f"conv{i}" for i in range(1, 9)]
    assert named(layers, "relu") == [f"relu{i}" for i in range(1, 9)]
    assert named(layers, "stage") == ["relu2", "relu4", "relu6", "relu8"]
    conv7 = next(layer for layer in layers if layer.name == "conv7")
    assert conv7 == Layer("conv7", "body.conv7", "Conv2d", (32, 6, 6), 16 * 32 * 9, 1, "NCHW", (6, 6), ("conv7",))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("last_conv", "conv8"),
        ("last_map", "relu8"),
        ("stage3", "relu6"),
        ("body.conv2", "conv2"),
        ("pool4", "pool4"),
        ("norm1", "norm1"),
    ],
)
def test_vgg8_finds(name, path):
    network = vgg8()
    layer = find_layer(network, name, IMAGE)
    assert network.get_submodule(layer.path) is network.body.get_submodule(path)


def test_input_is_the_pixels():
    layer = find_layer(vgg8(), "input", IMAGE)
    assert (layer.name, layer.path, layer.shape, layer.grid) == ("input", "", (1, 48, 48), (48, 48))


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenetv3_small_050", "convnext_atto"])
def test_execution_order_is_that_of_a_trace(architecture):
    network, image = of(architecture)
    traced = torch.fx.symbolic_trace(network.body)
    modules = dict(network.body.named_modules())
    ran = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    layers = list_layers(network, image)
    assert named(layers, "conv") == [path for path in ran if isinstance(modules[path], nn.Conv2d)]
    kinds = (nn.ReLU, nn.Hardswish, nn.GELU)
    activations = [path for path in ran if isinstance(modules[path], kinds)]
    assert [path for path in named(layers, "relu") if path in activations] == activations
    assert all("act" in path for path in named(layers, "relu"))


def test_resnet18_of_timm():
    network, image = of("resnet18")
    layers = list_layers(network, image)
    assert named(layers, "stage") == ["layer1", "layer2", "layer3", "layer4"]
    assert len(named(layers, "conv")) == 20
    assert find_layer(network, "layer1.0.conv1", image).name == "conv2"
    assert find_layer(network, "last_conv", image).path == "body.layer4.1.conv2"
    assert find_layer(network, "last_map", image).path == "body.layer4"
    assert find_layer(network, "layer4", image).name == "stage4"
    assert named(layers, "block") == []


def test_last_conv_and_all_leave_out_convolutions_of_one_position():
    network, image = of("mobilenetv3_small_050")
    names = expand_layers(network, "all", image)
    found = {layer.name: layer for layer in list_layers(network, image)}
    assert all(found[name].has_map for name in names)
    left = [name for name in found if name.startswith("conv") and name not in names]
    assert all("se" in found[name].path or "conv_head" in found[name].path for name in left)
    assert len(left) == 2 * 9 + 1
    assert find_layer(network, "last_conv", image).name == names[-1]
    with pytest.raises(ConfigError, match=r"shape \[1024, 1, 1\] has no height and width"):
        find_layer(network, "conv_head", image)


def test_vit_tokens_become_the_grid_of_their_patches():
    network, image = of("vit_tiny_patch16_224", channels=1)
    layers = list_layers(network, image)
    assert named(layers, "block") == [f"blocks.{i}" for i in range(12)]
    assert expand_layers(network, "all", image) == [f"block{i}" for i in range(1, 13)]
    layer = find_layer(network, "block3", image)
    assert (layer.layout, layer.grid, layer.shape, layer.channels) == ("tokens", (4, 4), (17, 192), 192)
    tokens = torch.rand(2, 17, 192)
    maps = spatial(tokens, layer)
    for y in range(4):
        for x in range(4):
            assert torch.equal(maps[:, :, y, x], tokens[:, 1 + 4 * y + x])
    with pytest.raises(ConfigError, match=r"no convolution runs after .* such as block11 "):
        find_layer(network, "last_conv", image)


def test_swin_is_channels_last():
    network, image = of("swin_tiny_patch4_window7_224", size=56)
    layers = list_layers(network, image)
    assert named(layers, "stage") == [f"layers.{i}" for i in range(4)]
    assert named(layers, "block") == [f"layers.{i}.blocks.{j}" for i, n in enumerate((2, 2, 6, 2)) for j in range(n)]
    layer = find_layer(network, "stage2", image)
    assert (layer.layout, layer.grid, layer.channels) == ("NHWC", (7, 7), 192)
    activation = torch.rand(2, 7, 7, 192)
    assert torch.equal(spatial(activation, layer)[1, 5], activation[1, :, :, 5])
    convolution = find_layer(network, "conv1", image)
    assert (convolution.layout, convolution.grid) == ("NCHW", (14, 14))


def test_prefix_tokens_beside_a_grid_that_is_not_square():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.norm = nn.Conv2d(1, 6, 4, 4), nn.LayerNorm(6)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            return self.norm(torch.cat([x.new_zeros(len(x), 5, 6), x], 1)).mean(1)

    layer = find_layer(Tokens(), "norm", torch.rand(1, 1, 8, 12))
    assert (layer.shape, layer.layout, layer.grid) == ((11, 6), "tokens", (2, 3))
    assert spatial(torch.rand(4, 11, 6), layer).shape == (4, 6, 2, 3)


def test_a_transformer_whose_attention_returns_a_pair():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(1, 8, 4, 4)
            self.encoder = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            for layer in self.encoder:
                x = layer(x)
            return x.mean(1)

    assert expand_layers(Tokens(), "all", torch.rand(1, 1, 16, 16)) == ["block1", "block2"]


def test_maps_as_deep_as_wide_are_told_apart_by_their_modules():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear, self.act = nn.Conv2d(1, 8, 1), nn.Linear(8, 6), nn.ReLU()

        def forward(self, x):
            return self.act(self.linear(self.conv(x).permute(0, 2, 3, 1))).mean((1, 2))

    model, image = Last(), torch.rand(1, 1, 8, 6)
    assert {layer.name: layer.layout for layer in list_layers(model, image)} == {
        "conv1": "NCHW",
        "linear": "NHWC",
        "relu1": "NHWC",
    }


def test_a_real_path_wins_over_an_alias():
    model = nn.Sequential()
    model.add_module("conv2", nn.Conv2d(1, 2, 3))
    model.add_module("conv1", nn.Conv2d(2, 3, 3))
    model.add_module("other", nn.Conv2d(3, 4, 3))
    image = torch.rand(1, 1, 9, 9)
    assert [find_layer(model, name, image).shape[0] for name in ("conv2", "conv1", "conv3")] == [2, 3, 4]
    assert [layer.name for layer in list_layers(model, image)] == ["conv2", "conv1", "conv3"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("again", "layer=again: this module runs 2 times in one forward pass"),
        ("conv2", "layer=conv2: this module runs 2 times in one forward pass"),
        ("relu1", "give the network a separate ReLU for each"),
        ("unused", "layer=unused: this module does not run in a forward pass"),
        ("pair", "layer=pair: this module does not run in a forward pass, or returns no tensor"),
        ("head", r"layer=head: its output of shape \[2\] has no height and width"),
        ("fisrt", "layer=fisrt: there is no such layer. Did you mean first"),
        ("last_cnov", "Did you mean last_conv"),
        ("conv", "Known: conv1, conv2, last_conv, last_map, relu1, "),
        ("", "there is no such layer"),
    ],
)
def test_refusals(name, sentence):
    with pytest.raises(ConfigError, match=sentence):
        find_layer(Reuse(), name, torch.rand(1, 1, 8, 8))


def test_two_paths_to_one_module():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    model.add_module("twin", nn.Identity())
    model[1].also = model[0]
    assert find_layer(model, "1.also", torch.rand(1, 1, 8, 8)).path == "0"


def test_expand():
    network = vgg8()
    convs = [f"conv{i}" for i in range(1, 9)]
    assert expand_layers(network, "all", IMAGE) == convs
    assert expand_layers(network, ["last_conv", "input", "conv8", "stage1"], IMAGE) == ["conv8", "input", "relu2"]
    assert expand_layers(network, ["relu1", "all"], IMAGE) == ["relu1", *convs]
    with pytest.raises(ConfigError, match=r"layer=cnv7: .* Did you mean conv7\?"):
        expand_layers(network, ["conv1", "cnv7"], IMAGE)
    with pytest.raises(ConfigError, match="no convolution or block"):
        expand_layers(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), "all", torch.rand(1, 1, 8, 8))


@pytest.mark.parametrize("shape", [(1, 1, 48, 48), (1, 2, 48, 48)])  # the second one fails in the forward pass
def test_the_model_is_left_as_it_was_found(shape):
    model = vgg8()
    model.train()
    model.body.norm3.eval()
    model.body.conv1.register_forward_hook(lambda *_: None)
    before = {name: module.training for name, module in model.named_modules()}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    model.body.conv1.weight.requires_grad_(False)
    if shape[1] == 2:
        with pytest.raises(RuntimeError):
            list_layers(model.body, torch.rand(shape))
    else:
        list_layers(model, torch.rand(shape))
    assert {name: module.training for name, module in model.named_modules()} == before
    assert {name: len(module._forward_hooks) for name, module in model.named_modules() if module._forward_hooks} == {
        "body.conv1": 1
    }
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["body.conv1.weight"]
    assert all(p.grad is None for p in model.parameters())


def test_what_has_no_face_in_it_is_no_layer():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.table = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 4, 1)

        def forward(self, x):
            return (self.conv(x) + self.table(torch.ones(1, 1, 8, 8))).mean((2, 3))

    model, image = Positions(), torch.rand(1, 1, 8, 8)
    assert [layer.path for layer in list_layers(model, image)] == ["conv"]
    with pytest.raises(ConfigError, match="layer=table: "):
        find_layer(model, "table", image)


def test_a_map_as_deep_as_wide_is_read_as_its_class_is_elsewhere():
    network, image = of("edgenext_xx_small", channels=1, size=96)
    stages = [find_layer(network, f"stage{k}", image) for k in range(1, 5)]
    assert stages[0].shape == (24, 24, 24)
    assert {(layer.kind, layer.layout) for layer in stages} == {("EdgeNeXtStage", "NCHW")}


def test_stages_are_those_that_finish_last_not_the_stem():
    network, image = of("efficientformerv2_s0", channels=1, size=96)
    assert named(list_layers(network, image), "stage") == [f"stages.{i}" for i in range(4)]


def test_table():
    lines = layer_table(list_layers(Reuse(), torch.rand(1, 1, 8, 8))).splitlines()
    assert [line.split() for line in lines] == [
        ["name", "path", "kind", "output", "parameters"],
        ["conv1", "first", "Conv2d", "4", "x", "8", "x", "8", "40"],
        ["relu1", "act", "ReLU", "(runs", "2", "times)", "4", "x", "8", "x", "8", "0"],
        ["conv2,", "last_conv,", "last_map", "again", "Conv2d", "(runs", "2", "times)", "4", "x", "8", "x", "8", "148"],
    ]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("architecture", ["efficientnet_b0", "regnetx_002", "repvgg_a0", "mobilevit_xxs"])
def test_other_networks_keep_their_order(architecture):
    """Where fx cannot trace, hooks of our own are the oracle; stages must shrink."""
    network, image = of(architecture)
    ran = []
    body = network.body
    kept = [
        m.register_forward_hook(lambda *_, path=path: ran.append(path))
        for path, m in body.named_modules()
        if isinstance(m, nn.Conv2d)
    ]
    with torch.no_grad():
        network.eval()(image)
    for hook in kept:
        hook.remove()
    assert named(list_layers(network, image), "conv") == ran
    grids = [layer.grid for layer in list_layers(network, image) if layer.name.startswith("stage")]
    assert grids == sorted(grids, reverse=True)


def test_gradients_reach_tokens_through_spatial():
    layer = Layer("block1", "block1", "Block", (5, 3), 0, 1, "tokens", (2, 2))
    tokens = torch.rand(1, 5, 3, requires_grad=True)
    spatial(tokens, layer).sum().backward()
    assert torch.equal(tokens.grad, torch.tensor([0.0, 1, 1, 1, 1]).view(1, 5, 1).expand(1, 5, 3))


def test_spatial_refuses_what_is_no_map():
    layer = Layer("head", "head", "Linear", (7,), 0, 1, "none", (0, 0))
    with pytest.raises(ConfigError, match=r"layer=head: its output of shape \[7\] cannot be laid out as a map"):
        spatial(torch.rand(2, 7), layer)


def test_timm_imports_once():
    assert import_timm() is import_timm()
