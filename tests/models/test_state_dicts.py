"""Weights in files: bit for bit there and back, and one sentence for each thing that can be wrong with a file."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fervis.core.registry import build_plugin
from fervis.errors import ConfigError
from fervis.models.architectures.vgg8 import Vgg8
from fervis.models.state_dicts import (
    existing_weights,
    load_weights,
    read_metadata,
    save_weights,
    saved_build,
)

CLASSES = tuple("abcdefg")


def vgg8(seed, width=2, classes=CLASSES):
    torch.manual_seed(seed)
    network = Vgg8(width=width).build(channels=1, size=48, classes=classes)
    with torch.no_grad():  # BatchNorm's statistics must travel too
        network(torch.rand(8, 1, 48, 48))
    return network


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_bit_for_bit(tmp_path):
    a, b = vgg8(0), vgg8(1)
    assert not same(a, b)
    save_weights(tmp_path / "w.safetensors", a, {"epoch": "3", "net": "vgg8"})
    load_weights(b, tmp_path / "w.safetensors")
    assert same(a, b)
    metadata = read_metadata(tmp_path / "w.safetensors")
    assert (metadata["epoch"], metadata["net"]) == ("3", "vgg8")
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_the_same_weights_give_the_same_bytes_in_every_process(tmp_path):
    code = (
        "import sys, torch; from fervis.models.state_dicts import save_weights\n"
        "layer = torch.nn.Linear(2, 2); torch.nn.init.ones_(layer.weight); torch.nn.init.ones_(layer.bias)\n"
        "save_weights(sys.argv[1], layer, {k: k for k in 'abcdefgh'})"
    )
    paths = [tmp_path / f"{i}.safetensors" for i in range(2)]
    for path in paths:
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_shared_and_transposed_tensors(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight
            self.register_buffer("turned", torch.rand(2, 5).T)

    a, b = Tied(), Tied()
    save_weights(tmp_path / "w.safetensors", a, {})
    load_weights(b, tmp_path / "w.safetensors")
    assert same(a, b)
    assert b.a.weight is b.b.weight


@pytest.mark.parametrize(
    "wrap",
    [
        lambda network: network.state_dict(),
        lambda network: network.body.state_dict(),
        lambda network: {"state_dict": network.body.state_dict(), "epoch": 3},
        lambda network: {"model": network.state_dict(), "optimizer": {"lr": 0.1}},
        lambda network: {"state_dict": {f"module.{k}": v for k, v in network.body.state_dict().items()}},
        lambda network: {f"_orig_mod.{k}": v for k, v in network.state_dict().items()},
        lambda network: {"state_dict": {f"model.{k}": v for k, v in network.body.state_dict().items()}},
        lambda network: {"state_dict": {f"net.module.{k}": v for k, v in network.body.state_dict().items()}},
    ],
    ids=["whole", "body", "state_dict", "model", "module", "compiled", "lightning", "lightning net"],
)
@pytest.mark.parametrize("ending", [".pt", ".pth"])
def test_torch_files_in_their_usual_wrappers(wrap, ending, tmp_path):
    a, b = vgg8(0), vgg8(1)
    path = tmp_path / f"w{ending}"
    torch.save(wrap(a), path)
    load_weights(b, path)
    assert same(a.body, b.body)
    assert read_metadata(path) == {}


def test_a_safetensors_file_of_the_body_alone(tmp_path):
    a, b = vgg8(0), vgg8(1)
    save_file(a.body.state_dict(), tmp_path / "w.safetensors", metadata={"format": "pt"})
    load_weights(b, tmp_path / "w.safetensors")
    assert same(a.body, b.body)
    assert read_metadata(tmp_path / "w.safetensors") == {"format": "pt"}
    assert saved_build(tmp_path / "w.safetensors") is None


def test_weights_of_a_foreign_file_get_pixels_in_0_1_unless_the_config_says_otherwise(tmp_path, caplog):
    path, pixels = tmp_path / "w.safetensors", torch.rand(2, 1, 48, 48)
    save_file(vgg8(0).body.state_dict(), path)
    found = {}
    for knob in (None, "signed"):
        network = Vgg8(width=2, pixels=knob).build(channels=1, size=48, classes=CLASSES).eval()
        with caplog.at_level("INFO", "fervis"):
            load_weights(network, path)
        with torch.no_grad():
            found[knob] = network(pixels), network.body
    assert torch.equal(found[None][0], found[None][1](pixels))
    torch.testing.assert_close(found["signed"][0], found["signed"][1](2 * pixels - 1))
    lines = [record.message for record in caplog.records if "pixels" in record.message]
    assert lines == ["w.safetensors: the network gets pixels in [0, 1] (model.pixels= changes it)"]


def test_a_file_of_fervis_keeps_its_own_normalisation(tmp_path, caplog):
    trained = vgg8(0)
    save_weights(tmp_path / "w.safetensors", trained, {})
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        network = vgg8(1)
        load_weights(network, tmp_path / name)
        assert network.pixels == trained.pixels == "(pixels - 0.5) / 0.25 of pixels in [0, 1]"
    other = Vgg8(width=2, pixels="signed").build(channels=1, size=48, classes=CLASSES)
    load_weights(other, tmp_path / "w.pt")
    assert other.pixels == trained.pixels
    assert "the network gets (pixels - 0.5) / 0.25 of pixels in [0, 1], as the file states, and not pixels in [-1" in (
        caplog.text
    )


def test_a_file_of_fervis_gives_its_network_back(tmp_path):
    trained = Vgg8(width=3, dropout=0.5).build(channels=3, size=32, classes=("a", "b"))
    save_weights(tmp_path / "epoch_002.safetensors", trained, {"epoch": "2"})
    (tmp_path / "training.json").write_text('{"best": 2, "last": 4}')
    for checkpoint in (tmp_path, tmp_path / "epoch_002.safetensors"):
        # The config says the default width, and the data is of another size and other classes.
        plugin = build_plugin("model", "vgg8", checkpoint=str(checkpoint))
        network = plugin.build(channels=1, size=48, classes=CLASSES)
        load_weights(network, checkpoint)
        assert same(network, trained)
        assert (network.classes, network.size, network.channels) == (("a", "b"), 32, 3)
        assert network.body.dropout.p == 0.5
        assert plugin.files() == [tmp_path / "epoch_002.safetensors"]


def test_a_checkpoint_of_another_model_or_of_other_pixels_is_refused_by_name(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, vgg8(0), {})
    with pytest.raises(
        ConfigError, match=r"^model\.checkpoint=.*: it holds the weights of a vgg8; ask with model=vgg8"
    ):
        build_plugin("model", "resnet18", checkpoint=str(path)).build(channels=1, size=48, classes=CLASSES)
    with pytest.raises(ConfigError, match=r"^model\.pixels=signed: the network in .* was trained with other pixels"):
        build_plugin("model", "vgg8", checkpoint=str(path), pixels="signed").build(channels=1, size=48, classes=CLASSES)


def test_a_folder_without_a_finished_training_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^checkpoint=.*: this folder holds no finished training"):
        existing_weights(tmp_path)


def test_a_misfit_names_the_users_layers_and_not_our_normalisation(tmp_path):
    torch.save({"state_dict": {"other.weight": torch.ones(2)}}, tmp_path / "w.ckpt")
    with pytest.raises(ConfigError, match=r"w\.ckpt: conv1\.weight of shape \[2, 1, 3, 3\] is in the network and not"):
        load_weights(vgg8(0), tmp_path / "w.ckpt")


def without(key):
    return lambda state: {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without("body.conv3.weight"), r"body\.conv3\.weight of shape \[4, 2, 3, 3\] is in the network and not in the"),
        (
            lambda s: {**s, "body.more": torch.ones(2)},
            r"body\.more of shape \[2\] is in the file and not in the network",
        ),
        (
            lambda s: {**s, "body.head.bias": torch.ones(8)},
            r"body\.head\.bias has shape \[8\] in the file and \[7\] in",
        ),
        (lambda s: {**s, "note": "hello"}, "note is a str, expected a tensor"),
        (lambda s: list(s.values()), "expected a state dict, not a list"),
        (lambda s: {}, "there are no weights in it"),
        (lambda s: {0: torch.ones(2)}, "the key 0 is a int, expected a name"),
        (lambda s: nn.Linear(2, 2), r"it holds Python objects, .* save the network's state_dict\(\) instead"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(change, sentence, tmp_path):
    network = vgg8(0)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    path = tmp_path / "w.pt"
    torch.save(change({key: value + 1 for key, value in before.items()}), path)
    with pytest.raises(ConfigError, match=sentence) as error:
        load_weights(network, path)
    assert str(error.value).startswith(f"checkpoint={path}: ")
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_network_of_another_width_is_named_by_its_first_difference(tmp_path):
    save_weights(tmp_path / "w.safetensors", vgg8(0, width=3), {})
    with pytest.raises(
        ConfigError, match=r"body\.conv1\.weight has shape \[3, 1, 3, 3\] in the file and \[2, 1, 3, 3\]"
    ):
        load_weights(vgg8(0), tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("content", ["empty", "text", "half"])
def test_damaged_files(name, content, tmp_path):
    path, network = tmp_path / name, vgg8(0)
    if content == "half":
        if name.endswith("pt"):
            torch.save(network.state_dict(), path)
        else:
            save_weights(path, network, {})
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(b"" if content == "empty" else b"not weights at all, only words")
    with pytest.raises(ConfigError, match=r"^checkpoint=.*w\.(pt|safetensors): it (is not a whole file|holds Python)"):
        load_weights(network, path)
    if name == "w.safetensors":
        with pytest.raises(ConfigError, match="is not a whole file of weights"):
            read_metadata(path)


@pytest.mark.parametrize("read", [lambda path: load_weights(nn.Linear(1, 1), path), read_metadata])
def test_no_such_file_and_no_such_ending(read, tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.pt: there is no such file"):
        read(tmp_path / "gone.pt")
    (tmp_path / "w.h5").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"w\.h5: expected a file of weights, ending in \.safetensors, \.pt"):
        read(tmp_path / "w.h5")


def test_nothing_is_left_where_writing_fails(tmp_path):
    (tmp_path / "w.safetensors").mkdir()
    with pytest.raises(OSError, match="directory"):
        save_weights(tmp_path / "w.safetensors", nn.Linear(1, 1), {})
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("header", [b'{"__metadata__":{"fervis":"{"}}', b'{"__metadata__":{"fervis":"[1]"}}'])
def test_metadata_that_are_no_json_object_are_refused(header, tmp_path):
    header += b" " * (-len(header) % 8)
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ConfigError, match="is not a whole file of weights"):
        read_metadata(tmp_path / "w.safetensors")


@pytest.mark.parametrize("frame", ["{", "[]", "{}", '{"model": 1, "channels": 1, "size": 1, "classes": []}'])
def test_a_description_of_the_network_that_is_not_whole_is_refused(frame, tmp_path):
    save_weights(tmp_path / "w.safetensors", nn.Linear(1, 1), {"frame": frame})
    with pytest.raises(ConfigError, match="is not a whole file of weights"):
        saved_build(tmp_path / "w.safetensors")


def test_a_torch_file_cut_or_changed_anywhere_is_refused_or_read(tmp_path):
    """Whatever bytes change, only ConfigError comes out."""
    path = tmp_path / "w.pt"
    torch.save(nn.Linear(2, 2).state_dict(), path, _use_new_zipfile_serialization=False)
    data, generator = path.read_bytes(), torch.Generator().manual_seed(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(data)
        for position in torch.randint(len(data), (3,), generator=generator).tolist():
            changed[position] = int(torch.randint(256, (1,), generator=generator))
        path.write_bytes(changed)
        try:
            load_weights(nn.Linear(2, 2), path)
        except ConfigError:
            refused += 1
    assert refused > 50
