"""Networks of the user's own: where they come from, which files they are made of, and which pixels they get."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fervis.core.registry import build_plugin
from fervis.errors import ConfigError
from fervis.models.architectures import own
from fervis.runs.config import compose_config, to_run_config

SEVEN = tuple("abcdefg")
OWN = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn
import neighbour

@dataclass
class Knobs:  # dataclasses look their module up in sys.modules
    filters: int = neighbour.FILTERS

def build(outputs: int, channels: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, Knobs().filters, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(Knobs().filters, outputs))

class Net(nn.Sequential):
    def __init__(self, outputs=7):
        super().__init__(nn.Flatten(), nn.LazyLinear(outputs))

ready = build(7)
fixed = nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 7))
five = [1, 2, 3, 4, 5]
"""


LINEAR = "from torch import nn\n\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))\n"


@pytest.fixture
def own_file(tmp_path):
    (tmp_path / "neighbour.py").write_text("FILTERS = 5\n")
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    yield path
    sys.modules.pop("neighbour", None)
    sys.modules.pop("fervis_own_mine", None)


def build(path, size=15, classes=SEVEN, **knobs):
    return build_plugin("model", "own", path=str(path), **knobs).build(channels=1, size=size, classes=classes)


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"path": None}, r"^model\.path=None and model\.module=None: "),
        ({"module": "torch"}, r"^model\.path=.* and model\.module=torch: "),
        ({"path": None, "module": "no_such.thing"}, r"^model\.module=no_such\.thing: there is no module no_such "),
        ({"attribute": "biuld"}, r"^model\.attribute=biuld: mine\.py has no such name\. Did you mean build\?$"),
        ({}, r"^model\.arguments=\{\}: build refused them .*outputs"),
        ({"attribute": "five"}, r"^model\.attribute=five: .* not list"),
        ({"attribute": "neighbour"}, r"^model\.attribute=neighbour: .* not module"),
        ({"arguments": {"outputs": 5}}, r"gives 5 outputs for an image, and the data has 7 classes"),
        ({"attribute": "ready", "channels": 3}, r"cannot work with 3 channels at 15 pixels"),
        ({"attribute": "fixed"}, r"cannot work with 1 channels at 15 pixels .* model\.size"),
        ({"attribute": "ready", "mean": [0.1, 0.2]}, r"^model\.mean=\[0\.1, 0\.2\]: expected one number"),
        ({"std": [0.0]}, r"^model\.std=\[0\.0\]: expected a list of numbers above 0\.$"),
        ({"mean": []}, r"^model\.mean=\[\]: expected a list of numbers\.$"),
        ({"mean": [float("nan")]}, r"^model\.mean=\[nan\]: "),
        ({"channels": 2}, r"^model\.channels=2: expected 1 or 3\.$"),
        ({"size": 0}, r"^model\.size=0: "),
        ({"pixels": "byte"}, r"^model\.pixels=byte: .* Did you mean bytes\?$"),
    ],
)
def test_refusals(knobs, sentence, own_file):
    with pytest.raises(ConfigError, match=sentence):
        build_plugin("model", "own", **{"path": str(own_file), **knobs}).build(channels=1, size=15, classes=SEVEN)


SEVERAL = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 7)

    def forward(self, x):
        features = self.conv1(x).mean((2, 3))
        return {"features": features, "logits": self.head(features)}

def parallel():
    return nn.DataParallel(Net())

def batchwise():
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(196, 7))

def scripted():
    import torch
    return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(9, 7)))
"""


@pytest.mark.parametrize("attribute", ["Net", "parallel"])
@pytest.mark.parametrize("output", ["logits", 1])
def test_output_names_the_logits_of_a_network_that_returns_several_tensors(attribute, output, tmp_path):
    (tmp_path / "several.py").write_text(SEVERAL)
    network = build(tmp_path / "several.py", 9, attribute=attribute, output=output)
    pixels = torch.rand(2, 1, 9, 9)
    assert torch.equal(network(pixels), network.body(pixels)["logits"])
    assert "conv1" in dict(network.body.named_modules())


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        (
            {"attribute": "Net"},
            r"holds features \[1, 4\], logits \[1, 7\]; .* by model\.output=features or model\.output=",
        ),
        ({"attribute": "Net", "output": "logit"}, r"^model\.output=logit: there is no such tensor .*mean logits\?"),
        ({"attribute": "Net", "output": 2}, r"^model\.output=2: there is no such tensor"),
        ({"attribute": "Net", "output": "features"}, r"gives 4 outputs for an image, and the data has 7 classes"),
        ({"attribute": "Net", "output": -1}, r"^model\.output=-1: expected a name or a whole number from 0"),
        ({"attribute": "batchwise"}, r"^model: its logits of an image depend on the other images of the batch"),
        ({"attribute": "scripted"}, r"^model: it is a ScriptModule"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_outputs_and_networks_that_are_refused(knobs, sentence, tmp_path):
    (tmp_path / "several.py").write_text(SEVERAL)
    with pytest.raises(ConfigError, match=sentence):
        build(tmp_path / "several.py", 9, **knobs)


def test_a_path_that_leads_nowhere_is_told_from_what_is_no_python_file(own_file):
    (own_file.parent / "net.txt").write_text(LINEAR)
    with pytest.raises(
        ConfigError, match=r"^model\.path=.*miney\.py: there is no such file\. Did you mean mine\.py\?$"
    ):
        build(own_file.with_name("miney.py"))
    with pytest.raises(ConfigError, match=r"^model\.path=.*: this is a folder, and a Python file \(\.py\) is expected"):
        build(own_file.parent)
    with pytest.raises(ConfigError, match=r"^model\.path=.*net\.txt: expected a Python file, ending in \.py\.$"):
        build(own_file.with_name("net.txt"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import sys\nsys.exit(0)\n", r"bad\.py, line 2: it ends the program \(sys\.exit\), and is to define"),
        (
            "import argparse\n\nparser = argparse.ArgumentParser()\nparser.add_argument('--x', required=True)\n"
            "parser.parse_args()\n",
            r"bad\.py, line 5: it ends the program .*arguments are required: --x",
        ),
        ("class Stop(BaseException): pass\n\nraise Stop('now')\n", r"bad\.py, line 3: Stop: now\.$"),
        ("\n\nx = = 1\n", r"bad\.py, line 3: SyntaxError: invalid syntax\.$"),
        ("import a_module_that_is_not_there\n", r"line 1: ModuleNotFoundError: No module named 'a_module_that_is_not"),
        ("import broken\n", r"broken\.py, line 2: ZeroDivisionError: division by zero\.$"),
        ("def build():\n    import sys\n    sys.exit(3)\n", r"^model\.attribute=build: bad\.py, line 3: it ends the"),
        ("def build():\n    return len(3)\n", r"^model\.attribute=build: bad\.py, line 2: TypeError: "),
        (
            "from torch import nn\n\nclass build(nn.Module):\n    def forward(self, x):\n        return self.nothing\n",
            r"cannot work with 1 channels at 15 pixels \(bad\.py, line 5: AttributeError: .*nothing",
        ),
    ],
    ids=["exit", "argparse", "base", "syntax", "import", "neighbour", "exit later", "type error", "forward"],
)
def test_whatever_a_users_file_raises_is_one_sentence_with_its_line(text, sentence, tmp_path, capsys):
    (tmp_path / "bad.py").write_text(text)
    (tmp_path / "broken.py").write_text("\n1 / 0\n")
    with pytest.raises(ConfigError, match=sentence) as error:
        build(tmp_path / "bad.py")
    assert "\n" not in str(error.value)
    assert capsys.readouterr().err == ""


def test_a_file_with_a_command_line_of_its_own_does_not_see_that_of_fervis(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--width', default=2)\n"
        f"WIDTH = parser.parse_args().width\n{LINEAR}"
    )
    monkeypatch.setattr(sys, "argv", ["fervis", "model=own"])
    assert build(tmp_path / "net.py", 2, ("a", "b"))
    assert sys.argv == ["fervis", "model=own"]


def test_a_class_a_module_and_their_knobs(own_file):
    fixed = own.Own(path=str(own_file), attribute="fixed", size=48, mean=[0.2], std=[0.3])
    network = fixed.build(channels=1, size=64, classes=SEVEN)
    pixels = torch.rand(2, 1, 48, 48)
    torch.testing.assert_close(network(pixels), network.body((pixels - 0.2) / 0.3))
    grey = own.Own(path=str(own_file), attribute="Net").build(channels=1, size=10, classes=SEVEN)
    assert grey(torch.rand(1, 3, 10, 10)).shape == (1, 7)


def test_arguments_work_as_the_help_writes_them(own_file):
    for override in ("model.arguments={outputs:7}", "+model.arguments.outputs=7"):
        config = to_run_config(compose_config(["model=own", f"model.path={own_file}", override]))
        assert build_plugin("model", config.model).build(channels=1, size=9, classes=SEVEN)


def test_pixels_go_in_as_0_to_1_and_the_log_says_so_once(own_file, caplog):
    plugin = build_plugin("model", "own", path=str(own_file), attribute="fixed", size=48)
    with caplog.at_level("INFO", "fervis"):
        network = plugin.build(channels=1, size=48, classes=SEVEN)
        plugin.build(channels=1, size=48, classes=SEVEN)
    assert [record.message for record in caplog.records] == ["the network gets pixels in [0, 1] (model.pixels=unit)"]
    pixels = torch.rand(2, 1, 48, 48)
    assert torch.equal(network(pixels), network.body(pixels))


@pytest.mark.parametrize(
    ("knobs", "expected", "words"),
    [
        ({"pixels": "signed"}, lambda x: 2 * x - 1, "pixels in [-1, 1]"),
        ({"pixels": "bytes"}, lambda x: 255 * x, "pixels from 0 to 255"),
        (
            {"pixels": "imagenet"},
            lambda x: (x - (0.485 + 0.456 + 0.406) / 3) / ((0.229 + 0.224 + 0.225) / 3),
            "pixels in [0, 1] less ImageNet's mean, over its deviation",
        ),
        (
            {"pixels": "standardized"},
            lambda x: (x - x.mean((1, 2, 3), True)) / x.var((1, 2, 3), keepdim=True, correction=0).sqrt(),
            "each image brought to mean 0 and deviation 1",
        ),
        ({"pixels": "bytes", "mean": [0.2]}, lambda x: x - 0.2, "(pixels - 0.2) / 1 of pixels in [0, 1]"),
        ({"std": [0.5]}, lambda x: x / 0.5, "(pixels - 0) / 0.5 of pixels in [0, 1]"),
    ],
)
def test_the_pixels_that_the_config_states(knobs, expected, words, own_file):
    network = build(own_file, 48, attribute="fixed", **knobs)
    pixels = torch.rand(3, 1, 48, 48)
    network, pixels = network.double(), pixels.double()  # so that the order of sums does not matter
    torch.testing.assert_close(network(pixels), network.body(expected(pixels)))
    assert network.pixels == words


def test_an_image_of_one_value_is_standardized_to_zeros_with_a_finite_gradient(own_file):
    network = build(own_file, 48, attribute="fixed", pixels="standardized")
    pixels = torch.full((1, 1, 48, 48), 0.5, requires_grad=True)
    logits = network(pixels)
    torch.testing.assert_close(logits, network.body(torch.zeros(1, 1, 48, 48)))
    assert torch.autograd.grad(logits.sum(), pixels)[0].isfinite().all()


def test_files_are_the_file_and_every_local_module_that_it_imports(tmp_path):
    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    write("net.py", f"import torch\nfrom package.deep import tail\n{LINEAR}    import late\n")
    write("package/__init__.py", "")
    write("package/deep/__init__.py", "from . import sibling\nfrom ..shallow import THING\n")
    write("package/deep/tail.py", "import net\n")  # a circle
    write("package/deep/sibling.py", "x = = 1\n")
    write("package/shallow.py", "from missing import gone\n")
    write("package/other.py", "")
    write("late.py", "import package.deep.tail as t\n")
    write("unused.py", "")
    names = [
        "net.py", "late.py", "package/__init__.py", "package/deep/__init__.py", "package/deep/sibling.py",
        "package/deep/tail.py", "package/shallow.py",
    ]  # fmt: skip
    assert own.Own(path=str(tmp_path / "net.py")).files() == [tmp_path / name for name in names]
    files = own.Own(path=str(tmp_path / "net.py"), checkpoint="w.pt").files()
    assert files[0] == tmp_path / "net.py"
    assert files[-1] == Path("w.pt")


def test_files_know_modules_of_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "net.py").write_text(f"from shared.blocks import X\n{LINEAR}")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "blocks.py").write_text("X = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    files = own.Own(path="nets/net.py").files()
    assert [path.resolve().name for path in files] == ["net.py", "blocks.py"]


def test_two_folders_with_a_module_of_the_same_name_each_get_their_own(tmp_path):
    made = []
    for folder, width in (("a", 3), ("b", 5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "blocks.py").write_text(f"WIDTH = {width}\n")
        (tmp_path / folder / "net.py").write_text(
            "from torch import nn\nimport blocks\n\ndef build():\n"
            "    return nn.Sequential(nn.Flatten(), nn.Linear(4, blocks.WIDTH), nn.Linear(blocks.WIDTH, 2))\n"
        )
        made.append(build(tmp_path / folder / "net.py", 2, ("a", "b")).body[1].out_features)
    assert made == [3, 5]


def test_a_neighbour_can_be_imported_when_the_network_is_built(tmp_path):
    (tmp_path / "later.py").write_text("WIDTH = 4\n")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef build():\n    import later\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(later.WIDTH, 2))\n"
    )
    assert build(tmp_path / "net.py", 2, ("a", "b")).body[1].in_features == 4


def test_two_builds_do_not_share_weights(tmp_path, monkeypatch):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "parts.py").write_text("SIDE = 4\n")
    (tmp_path / "pack" / "nets.py").write_text(
        "from torch import nn\nfrom .parts import SIDE\n\n"
        "shared = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 7))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    ours = own.Own(module="pack.nets", attribute="shared")
    first, second = (ours.build(channels=1, size=4, classes=SEVEN) for _ in range(2))
    before = second.body[1].weight.clone()
    with torch.no_grad():
        first.body[1].weight.zero_()
    assert torch.equal(second.body[1].weight, before)
    folder = tmp_path / "pack"
    assert ours.files() == [folder / "nets.py", folder / "__init__.py", folder / "parts.py"]


def test_a_network_that_needs_no_arguments_is_a_module(own_file):
    assert isinstance(build(own_file, 48, attribute="fixed").body, nn.Sequential)
