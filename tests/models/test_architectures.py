"""What every network must do, and what is particular to each."""

import warnings
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from fervis.core.layers import find_layer, list_layers
from fervis.core.registry import build_plugin, plugin_class
from fervis.errors import ConfigError
from fervis.models.architectures import mini_xception, own, resnet18, timm, vgg8

CONF = Path(__file__).parents[2] / "conf" / "model"
SEVEN, EIGHT = tuple("abcdefg"), tuple("abcdefgh")
OWN = """
from torch import nn

def build(outputs, channels):
    return nn.Sequential(nn.Conv2d(channels, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, outputs))
"""


def plugin_of(module):
    return plugin_class("model", module.__name__.rpartition(".")[2])


@pytest.fixture(params=["vgg8", "mini_xception", "resnet18", "timm", "own"])
def make(request, tmp_path):
    """Plug-ins small enough to test, by channels and number of classes."""
    path = tmp_path / "small.py"
    path.write_text(OWN)
    makers = {
        "vgg8": lambda channels, outputs: vgg8.Vgg8(width=2),
        "mini_xception": lambda channels, outputs: mini_xception.MiniXceptionKnobs(width=2),
        "resnet18": lambda channels, outputs: resnet18.ResNet18(width=2),
        "timm": lambda channels, outputs: timm.Timm("mobilenetv3_small_050"),
        "own": lambda channels, outputs: own.Own(path=str(path), arguments={"outputs": outputs, "channels": channels}),
    }
    return makers[request.param]


@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 48, SEVEN), (3, 64, EIGHT), (3, 48, SEVEN)])
def test_contract(make, channels, size, classes):
    torch.manual_seed(3)
    network = make(channels, len(classes)).build(channels=channels, size=size, classes=classes)
    assert (network.channels, network.size, network.classes, network.training) == (channels, size, classes, True)
    assert network.mean.shape == network.std.shape == (1, channels, 1, 1)

    torch.manual_seed(3)
    again = make(channels, len(classes)).build(channels=channels, size=size, classes=classes)
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )

    network.eval()
    pixels = torch.rand(2, channels, size, size, requires_grad=True)
    logits = network(pixels)
    assert logits.shape == (2, len(classes))
    assert logits.isfinite().all()
    logits[:, 0].sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().amax((1, 2, 3)).gt(0).all()
    # The same faces alone, at twice the size by repetition of pixels, or from the other number of channels.
    torch.testing.assert_close(network(pixels[1:]), logits[1:], rtol=1e-4, atol=1e-5)
    assert network(torch.rand(1, 4 - channels, 2 * size, 2 * size)).shape == (1, len(classes))

    layers = list_layers(network, pixels[:1])
    assert all(type(network.get_submodule(layer.path)).__name__ == layer.kind for layer in layers)
    assert find_layer(network, "conv1", pixels[:1]).calls == 1


def test_every_learned_number_gets_a_gradient(make):
    network = make(1, 7).build(channels=1, size=48, classes=SEVEN)
    nn.functional.cross_entropy(network(torch.rand(4, 1, 48, 48)), torch.arange(4)).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("module", [vgg8, mini_xception, resnet18, timm, own], ids=lambda m: m.__name__)
def test_yaml_states_every_knob_with_its_default(module):
    path = CONF / f"{module.__name__.rpartition('.')[2]}.yaml"
    knobs = OmegaConf.load(path)
    assert path.read_text().startswith("# ")
    assert knobs.pop("name") == path.stem
    assert OmegaConf.to_container(OmegaConf.structured(plugin_of(module))) == OmegaConf.to_container(knobs)


@pytest.mark.parametrize("module", [vgg8, mini_xception, resnet18, timm, own], ids=lambda m: m.__name__)
def test_files_name_the_checkpoint(module):
    assert plugin_of(module)().files() == []
    assert plugin_of(module)(checkpoint="weights.pt").files() == [Path("weights.pt")]


@pytest.mark.parametrize("module", [vgg8, mini_xception, resnet18], ids=lambda m: m.__name__)
def test_nothing_of_ours_works_in_place_or_twice(module):
    network = plugin_of(module)(width=2).build(channels=1, size=48, classes=SEVEN)
    assert not any(getattr(layer, "inplace", False) for layer in network.modules())
    assert {layer.calls for layer in list_layers(network, torch.rand(1, 1, 48, 48))} == {1}


@pytest.mark.parametrize(("channels", "width", "classes"), [(1, 16, SEVEN), (3, 5, EIGHT)])
def test_vgg8_size(channels, width, classes):
    network = vgg8.Vgg8(width=width).build(channels=channels, size=48, classes=classes)
    w = [width, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width]
    convs = sum(9 * before * after for before, after in zip([channels, *w], w, strict=False))
    norms = 2 * sum(w)
    head = 8 * width * len(classes) + len(classes)
    assert sum(p.numel() for p in network.parameters()) == convs + norms + head


def test_vgg8_is_what_the_names_promise():
    network = vgg8.Vgg8().build(channels=1, size=48, classes=SEVEN)
    names = [name for name, _ in network.body.named_children()]
    assert [name for name in names if name.startswith("conv")] == [f"conv{i}" for i in range(1, 9)]
    assert names[names.index("relu8") + 1] == "pool4"
    assert network.body.conv7.out_channels >= 128
    assert find_layer(network, "relu8", torch.rand(1, 1, 48, 48)).shape == (128, 6, 6)


def test_vgg8_by_hand():
    """The network once more, written with functional calls alone."""
    network = vgg8.Vgg8(width=2).build(channels=1, size=32, classes=SEVEN).eval()
    pixels = torch.rand(2, 1, 32, 32)
    x = (pixels - 0.5) / 0.25
    for i in range(1, 9):
        x = nn.functional.conv2d(x, network.body.get_parameter(f"conv{i}.weight"), padding=1)
        x = network.body.get_submodule(f"norm{i}")(x)
        x = torch.where(x > 0, x, 0.1 * x)
        if i % 2 == 0:
            x = x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).amax((3, 5))
    logits = x.mean((2, 3)) @ network.body.head.weight.T + network.body.head.bias
    torch.testing.assert_close(network(pixels), logits)


def test_mini_xception_learns_as_many_numbers_as_published():
    """The authors' network for one channel and seven classes: 58,423 with and 56,951 without running statistics."""
    network = mini_xception.MiniXceptionKnobs().build(channels=1, size=64, classes=SEVEN)
    statistics = sum(b.numel() for name, b in network.body.named_buffers() if "running" in name)
    assert sum(p.numel() for p in network.parameters()) == 56_951
    assert statistics == 58_423 - 56_951
    shapes = [find_layer(network, f"stage{k}", torch.rand(1, 1, 64, 64)).shape for k in range(1, 5)]
    assert shapes == [(16, 30, 30), (32, 15, 15), (64, 8, 8), (128, 4, 4)]


def test_mini_xception_logits_are_means_of_class_maps():
    network = mini_xception.MiniXceptionKnobs(width=2).build(channels=1, size=48, classes=SEVEN).eval()
    maps = {}
    network.body.head.register_forward_hook(lambda _, __, output: maps.update(head=output))
    logits = network(torch.rand(2, 1, 48, 48))
    assert maps["head"].shape == (2, 7, 3, 3)
    torch.testing.assert_close(maps["head"].mean((2, 3)), logits)


def test_resnet18_size():
    """The CIFAR network's well-known 11,173,962 parameters for three channels and ten classes."""
    network = resnet18.ResNet18().build(channels=3, size=32, classes=tuple("abcdefghij"))
    assert sum(p.numel() for p in network.parameters()) == 11_173_962
    assert find_layer(network, "stage1", torch.rand(1, 3, 32, 32)).path == "body.layer1"


def test_resnet18_computes_what_timm_computes_behind_the_stem():
    package = timm.import_timm()
    theirs = package.create_model("resnet18", num_classes=7, in_chans=1).eval()
    ours = resnet18.ResNet18().build(channels=1, size=32, classes=SEVEN).body.eval()
    state = theirs.state_dict()
    state["conv1.weight"] = ours.state_dict()["conv1.weight"]
    ours.load_state_dict(state)
    theirs.conv1, theirs.maxpool = ours.conv1, nn.Identity()
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "knob", "size", "expected"),
    [
        ("resnet18", None, 48, 48),
        ("resnet18", 96, 48, 96),
        ("vit_tiny_patch16_224", None, 48, 48),
        ("vit_tiny_patch16_224", None, 47, 224),
        ("vit_tiny_patch16_224", 64, 48, 64),
    ],
)
def test_timm_chooses_a_size_it_can_work_at(architecture, knob, size, expected):
    network = timm.Timm(architecture, size=knob).build(channels=1, size=size, classes=SEVEN)
    assert network.size == expected
    assert network(torch.rand(1, 1, size, size)).shape == (1, 7)


def test_timm_hands_its_builder_the_arguments():
    knobs = {"architecture": "vit_tiny_patch16_224", "arguments": {"patch_size": 8, "depth": 2, "embed_dim": 24}}
    network = build_plugin("model", "timm", **knobs).build(channels=1, size=48, classes=SEVEN)
    assert network.get_submodule("body.patch_embed.proj").weight.shape == (24, 1, 8, 8)
    assert len(list(network.get_submodule("body.blocks").children())) == 2
    assert network.settings["arguments"] == knobs["arguments"]


def test_timm_normalises_as_the_network_was_trained():
    network = timm.Timm("resnet18").build(channels=3, size=48, classes=SEVEN)
    torch.testing.assert_close(network.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(network.std.flatten(), torch.tensor([0.229, 0.224, 0.225]))
    grey = timm.Timm("resnet18").build(channels=1, size=48, classes=SEVEN)
    torch.testing.assert_close(grey.mean.flatten(), torch.tensor([(0.485 + 0.456 + 0.406) / 3]))


def test_timm_imports_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert timm.import_timm().__name__ == "timm"


@pytest.mark.parametrize(
    ("name", "knobs", "sentence"),
    [
        ("vgg8", {"width": 0}, r"^model\.width=0: expected a whole number from 1\.$"),
        ("vgg8", {"dropout": 1}, r"^model\.dropout=1\.0: expected a number from 0 .*below 1\.$"),
        ("vgg8", {"pixels": "sigend"}, r"^model\.pixels=sigend: expected unit, signed, .* Did you mean signed\?$"),
        ("vgg8", {}, r"^model=vgg8: images of 8 pixels vanish in four poolings; .* at least 16 pixels are needed"),
        ("vgg8", {"checkpoint": "gone.pt"}, r"^checkpoint=gone\.pt: there is no such file\.$"),
        ("mini_xception", {"width": 0}, r"^model\.width=0: "),
        ("mini_xception", {}, r"^model=mini_xception: .* 8 pixels .* at least 21"),
        ("resnet18", {"width": 0}, r"^model\.width=0: "),
        ("resnet18", {}, r"^model=resnet18: .* 8 pixels .* at least 9"),
        ("timm", {"architecture": "resnt18"}, r"^model\.architecture=resnt18: .* Did you mean resnet18\?$"),
        (
            "timm",
            {"architecture": "hf-hub:timm/resnet18"},
            r"^model\.architecture=hf-hub:timm/resnet18: timm has no such",
        ),
        ("timm", {"size": 0}, r"^model\.size=0: expected a whole number from 1\.$"),
        (
            "timm",
            {"architecture": "vit_tiny_patch16_224", "size": 50},
            r"^model\.size=50: .* edges would be left out.* its default is 224\.$",
        ),
        ("timm", {"arguments": {"in_chans": 3}}, r"^model\.arguments=in_chans: the data and model\.size decide that"),
        ("timm", {"arguments": {"dept": 3}}, r"^model\.arguments=\{'dept': 3\}: resnet18 refuses it: .*'dept'"),
    ],
)
def test_refusals(name, knobs, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_plugin("model", name, **knobs).build(channels=1, size=8, classes=SEVEN)


@pytest.mark.parametrize("name", ["vgg8", "mini_xception", "resnet18", "timm"])
def test_the_pixels_that_a_network_gets_are_stated_and_can_be_chosen(name):
    """In float64: in float32 the logits of large pixels lose more digits on some processors."""
    knobs = {"architecture": "mobilenetv3_small_050"} if name == "timm" else {"width": 2}
    said = {"timm": "pixels in [0, 1] less ImageNet's mean, over its deviation"}
    network = build_plugin("model", name, **knobs).build(channels=3, size=48, classes=SEVEN)
    assert network.pixels == said.get(name, "(pixels - 0.5) / 0.25 of pixels in [0, 1]")
    pixels = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0)).double()
    for knob, expected in RANGES.items():
        torch.manual_seed(0)
        network = build_plugin("model", name, **knobs, pixels=knob).build(channels=3, size=48, classes=SEVEN)
        network = network.double().eval()
        torch.testing.assert_close(network(pixels), network.body(expected(pixels)), rtol=1e-6, atol=1e-6)


RANGES = {
    "unit": lambda pixels: pixels,
    "signed": lambda pixels: pixels * 2 - 1,
    "bytes": lambda pixels: pixels * 255,
    "standardized": lambda pixels: torch.stack([(one - one.mean()) / one.std(correction=0) for one in pixels]),
    "imagenet": lambda pixels: torch.stack(
        [(pixels[:, i] - m) / s for i, (m, s) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)])], 1
    ),
}
