"""Adding plug-ins: a file and a YAML in the checkout, or the same two files in a package of one's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command import ROOT, SMALL

BRIGHTNESS = '''"""Brightness: how bright each pixel is, as far as it counts."""

from dataclasses import dataclass
from typing import ClassVar

from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.gradient.passes import maps_of_targets
from fervis.models.batch import Batch


@dataclass
class Brightness:
    """Gradient times brightness.

    Attributes:
        power: exponent of the brightness.
    """

    power: float = 1.0
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = "input"

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain."""
        maps = maps_of_targets(batch.gradients(), lambda x, gradient: (gradient * x**self.power).sum(1))
        return LayerMaps(maps, "brightness", signed=True)
'''
BRIGHTNESS_YAML = "# gradient times brightness, for a test\nname: brightness\npower: 1.0\n"

# The plug-ins of a package: a module and a YAML each, two YAMLs for a kind of result with explainer and visualizer.
PLUGINS = {
    "stripes.py": '''"""Stripes: images of horizontal stripes, bright ones in the lower half for the second class."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fervis.core.faces import Faces

COUNTS = (40, 20, 300)


@dataclass
class Stripes:
    """Draw stripes.

    Attributes:
        size: side of the images in pixels.
    """

    size: int = 16

    def load(self, cache: Path) -> Faces:
        """Draw all images."""
        count = sum(COUNTS)
        images = torch.randint(0, 128, (count, 1, self.size, 1), generator=torch.Generator().manual_seed(7))
        images = images.expand(-1, -1, -1, self.size).clone()
        labels = torch.arange(count) % 2
        images[labels == 1, :, self.size // 2 :] += 100
        splits = torch.arange(3).repeat_interleave(torch.tensor(COUNTS))
        return Faces(images.byte(), labels, torch.arange(count), splits.byte(), ("upper", "lower"))

    def files(self) -> list[Path]:
        """Return nothing: the images come from no file."""
        return []
''',
    "conf/dataset/stripes.yaml": "# stripes, for a test\nname: stripes\nsize: 16\n",
    "tiny.py": '''"""Tiny: two convolutions and a linear head."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fervis.core.network import Network


@dataclass
class Tiny:
    """A small network.

    Attributes:
        width: filters.
        checkpoint: a file of weights.
    """

    width: int = 4
    checkpoint: str | None = None

    def build(self, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
        """Build it."""
        body = nn.Sequential(
            nn.Conv2d(channels, self.width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(self.width, self.width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(self.width * (size // 2) ** 2, len(classes)),
        )
        return Network(body, classes=classes, channels=channels, size=size, mean=(0.5,), std=(0.25,))

    def files(self) -> list[Path]:
        """Return nothing: the network comes from no other file."""
        return []
''',
    "conf/model/tiny.yaml": "# a small network, for a test\nname: tiny\nwidth: 4\ncheckpoint: null\n",
    "energy.py": '''"""Energy: the size of activation times gradient at a layer."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from fervis.core.knobs import Above
from fervis.core.results import HeatMaps, LayerMaps
from fervis.models.batch import Batch


@dataclass
class Energy:
    """Sum |activation x gradient| over the channels of a layer.

    Attributes:
        scale: multiplies the map.
    """

    scale: Annotated[float, Above(0)] = 1.0
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"layers", "classes"})
    default_layer: ClassVar = "last_conv"

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain."""
        maps = {layer.name: [] for layer in batch.layers}
        for one in batch.gradients():
            for name, gradient in one.gradients.items():
                maps[name].append(self.scale * (one.activations[name] * gradient).abs().sum(1))
        return LayerMaps({name: torch.stack(parts, 1) for name, parts in maps.items()}, "energy at {layer}")
''',
    "conf/explainer/energy.yaml": "# energy of a layer, for a test\nname: energy\nscale: 1.0\n",
    "flatness.py": '''"""Flatness: how little a map varies."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass
class Flatness:
    """Measure the least value of a map as part of its largest."""

    better: ClassVar = "neither"
    needs: ClassVar = frozenset()

    def measure(self, batch, maps, again):
        """Return the share [N,T]."""
        flat = maps.flatten(2)
        return {"": flat.amin(2) / flat.amax(2).clamp(min=1e-12)}
''',
    "conf/evidence/flatness.yaml": "# @package evidence.flatness\n# flatness, for a test\nname: flatness\n",
    "notes.py": '''"""Notes: a tracker that writes what it is given into the run folder."""

import json
from dataclasses import dataclass


@dataclass
class Notes:
    """Write notes.

    Attributes:
        file: name of the file.
    """

    file: str = "notes.json"

    def start(self, run):
        """Begin."""
        self.path, self.notes = run.folder / self.file, {"start": run.name, "epochs": [], "pictures": 0, "rows": 0}

    def log_metrics(self, numbers, epoch=None):
        """Note the numbers."""
        if epoch is None:
            self.notes["numbers"] = dict(numbers)
        else:
            self.notes["epochs"].append(epoch)

    def log_figure(self, name, figure):
        """Count the figure."""
        self.notes["pictures"] += 1

    def log_images(self, rows):
        """Count the rows."""
        self.notes["rows"] = len(rows)

    def log_confusion(self, name, counts, classes):
        """Do nothing."""

    def log_artifact(self, name, kind, files):
        """Note the kind."""
        self.notes.setdefault("files", []).append(kind)

    def finish(self, ok):
        """Write the notes."""
        self.path.write_text(json.dumps(self.notes | {"ok": ok}))
''',
    "conf/tracker/notes.yaml": "# notes in the run folder, for a test\nname: notes\nfile: notes.json\n",
    "profile.py": '''"""Profile: the mean brightness of each row of pixels, with explainer and visualizer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fervis.core.results import SHARED, ExplainerOutput, Explanation, Figure
from fervis.models.batch import Batch


@dataclass(frozen=True)
class Profile:
    """Rows of numbers.

    Attributes:
        values: [N,H] float32.
        words: N words.
        heights: H heights in the image, the same for all entries.
    """

    values: Tensor
    words: tuple[str, ...]
    heights: Annotated[tuple[float, ...], SHARED]
    kind: ClassVar[str] = "profile"

    def arrays(self):
        """Return values, words and heights."""
        return {"values": self.values.numpy(), "words": np.array(self.words), "heights": np.array(self.heights)}

    def summary_row(self, entry):
        """Return the word and the brightest height."""
        return {"word": self.words[entry], "brightest": self.heights[int(self.values[entry].argmax())]}


@dataclass
class ProfileExplainer:
    """Compute the profile of each image.

    Attributes:
        power: exponent of the brightness.
    """

    power: float = 1.0
    result: ClassVar = Profile
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels"})
    default_layer: ClassVar = "input"

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Explain."""
        values = (batch.images**self.power).mean((1, 3))
        count, height = values.shape
        words = tuple(f"profile {round(1000 * float(row.mean()))}" for row in values)
        result = Profile(values, words, tuple((row + 0.5) / height for row in range(height)))
        return ExplainerOutput(result, ("input",) * count, ("brightness",) * count, torch.arange(count))


@dataclass
class ProfileFigure:
    """Draw the profiles as stripes.

    Attributes:
        zoom: pixels per value.
    """

    zoom: int = 2
    kind: ClassVar[str] = "profile"

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Draw one picture of all profiles."""
        folder.mkdir(parents=True, exist_ok=True)
        values = (255 * explanation.result.values.clamp(0, 1)).byte().numpy().T
        Image.fromarray(values.repeat(self.zoom, 0).repeat(self.zoom, 1)).save(folder / "profiles.png")
        return [Figure(folder / "profiles.png", f"Profiles of {len(explanation.faces)} images")]
''',
    "conf/explainer/profile.yaml": "# profiles, for a test\nname: profile\npower: 1.0\n",
    "conf/visualizer/profile_figure.yaml": "# profiles as stripes, for a test\nname: profile_figure\nzoom: 2\n",
}
ENTRY_POINTS = {
    "datasets": {"stripes": "stripes:Stripes"},
    "models": {"tiny": "tiny:Tiny"},
    "explainers": {"energy": "energy:Energy", "profile": "profile:ProfileExplainer"},
    "visualizers": {"profile_figure": "profile:ProfileFigure"},
    "trackers": {"notes": "notes:Notes"},
    "evidence": {"flatness": "flatness:Flatness"},
}


def run(*command: str, cwd: Path, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )


def install(folder: Path, name: str, files: dict[str, str], points: dict[str, dict[str, str]]) -> Path:
    """Build a package of these files and install it into a folder, which is returned."""
    source, installed = folder / "source", folder / "installed"
    for file, text in {"__init__.py": "", "conf/__init__.py": "", **files}.items():
        (source / name / file).parent.mkdir(parents=True, exist_ok=True)
        (source / name / file).write_text(text, encoding="utf-8")
    groups = {**points, "conf": {name: f"{name}.conf"}}
    listed = "".join(
        f'[project.entry-points."fervis.{group}"]\n'
        + "".join(
            f'{point} = "{target if group == "conf" else f"{name}.{target}"}"\n' for point, target in named.items()
        )
        for group, named in groups.items()
    )
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        f'[project]\nname = "{name}"\nversion = "1"\n{listed}'
    )
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = run(*pip, "--disable-pip-version-check", "--target", str(installed), str(source), cwd=folder, path=folder)
    assert done.returncode == 0, done.stderr
    return installed


def check(cwd: Path, path: Path) -> None:
    listed = run("-m", "fervis", "list", cwd=cwd, path=path).stdout
    assert "brightness gradient times brightness, for a test" in " ".join(listed.split())
    assert ", brightness, " in " ".join(run("-m", "fervis", "--help", cwd=cwd, path=path).stdout.split())
    mistake = run("-m", "fervis", "explainer=brightnes", cwd=cwd, path=path)
    assert mistake.returncode == 2
    assert "Did you mean brightness?" in mistake.stderr
    wrong = run("-m", "fervis", *SMALL, "explainer=brightness", "explainer.power=x", cwd=cwd, path=path)
    assert wrong.returncode == 2
    assert "explainer.power=x" in wrong.stderr
    answer = run("-m", "fervis", *SMALL, "explainer=brightness", "explainer.power=2", cwd=cwd, path=path)
    assert answer.returncode == 0, answer.stderr
    assert (Path(answer.stdout.splitlines()[-1]) / "summary.json").is_file()


def test_one_file_and_one_yaml(tmp_path: Path):
    for part in ("fervis", "conf", "experiments", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "fervis/explainers/brightness.py").write_text(BRIGHTNESS)
    (tmp_path / "conf/explainer/brightness.yaml").write_text(BRIGHTNESS_YAML)
    check(tmp_path, tmp_path)
    contract = run("-m", "pytest", "tests/contract", "-k", "brightness", cwd=tmp_path, path=tmp_path)
    assert contract.returncode == 0, contract.stdout
    assert " passed" in contract.stdout or "%]" in contract.stdout


def test_a_package_of_ones_own(tmp_path: Path):
    files = {"method.py": BRIGHTNESS, "conf/explainer/brightness.yaml": BRIGHTNESS_YAML}
    check(tmp_path, install(tmp_path, "bright", files, {"explainers": {"brightness": "method:Brightness"}}))


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder to run in, and where a package with a plug-in of every kind is installed."""
    folder = tmp_path_factory.mktemp("outside")
    return folder, install(folder, "outside", PLUGINS, ENTRY_POINTS)


def ask(outside: tuple[Path, Path], *overrides: str) -> Path:
    common = ["dataset=stripes", "model=tiny", "tracker=notes", "trainer.epochs=1", "split=test", "faces=all"]
    done = run("-m", "fervis", *common, "quiet=true", *overrides, cwd=outside[0], path=outside[1])
    assert done.returncode == 0, done.stderr
    return outside[0] / done.stdout.splitlines()[-1]


def merged(outside: tuple[Path, Path], *overrides: str) -> Path:
    """The run folder of two shards, merged."""
    for shard in ("1/2", "2/2"):
        folder = ask(outside, *overrides, f"shard={shard}")
        assert not (folder / "summary.json").exists()
    done = run("-m", "fervis", "merge", str(folder), "tracker=notes", cwd=outside[0], path=outside[1])
    assert done.returncode == 0, done.stderr
    return folder


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        return dict(file)


def test_explainer_dataset_model_tracker_and_evidence_from_outside(outside: tuple[Path, Path]):
    question = ["explainer=energy", "layer=[conv1,conv2]", "visualizer.dpi=40"]
    folder = merged(outside, *question)
    arrays = arrays_of(folder)
    assert arrays["maps"].shape == (600, 16, 16)
    assert arrays["layers"].tolist() == ["conv1"] * 300 + ["conv2"] * 300
    assert arrays["rows"].tolist() == list(range(60, 360)) * 2
    assert (arrays["maps"] >= 0).all()
    assert (arrays["maps"].max((1, 2)) > 0).mean() > 0.9
    assert arrays["classes"].tolist() == ["upper", "lower"]
    notes = json.loads((folder / "notes.json").read_text())
    assert notes["ok"] is True
    assert notes["pictures"] > 0
    assert notes["rows"] > 0
    assert notes["numbers"]["explained"] == 600
    scaled = ask(outside, *question, "explainer.scale=2.0", "evidence=[flatness]")
    found = arrays_of(scaled)
    np.testing.assert_allclose(found["maps"], 2 * arrays["maps"], rtol=1e-5)
    flat = found["maps"].reshape(600, -1)
    expected = flat.min(1) / np.maximum(flat.max(1), 1e-12)
    np.testing.assert_allclose(found["scores/flatness"], expected, rtol=1e-4, atol=1e-6)
    wrong = run("-m", "fervis", "explainer=energy", "explainer.scale=0", cwd=outside[0], path=outside[1])
    assert wrong.returncode == 2
    assert "explainer.scale=0" in wrong.stderr


def test_a_kind_of_result_with_its_visualizer_from_outside(outside: tuple[Path, Path]):
    question = ["explainer=profile", "visualizer=profile_figure"]
    folder = merged(outside, *question)
    arrays = arrays_of(folder)
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(0, 128, (360, 1, 16, 1), generator=generator).expand(-1, -1, -1, 16).clone()
    images[1::2, :, 8:] += 100
    np.testing.assert_allclose(arrays["values"], (images[60:].float() / 255).mean((1, 3)), rtol=1e-5)
    assert arrays["heights"].tolist() == [(row + 0.5) / 16 for row in range(16)]
    assert len(arrays["words"]) == 300
    assert arrays["words"][0] == f"profile {round(1000 * float((images[60].float() / 255).mean()))}"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["entries"][0]["word"] == arrays["words"][0]
    assert [figure["file"] for figure in summary["figures"]] == ["figures/profiles.png"]
    assert (folder / "report.html").is_file()
    # A few images at once, not in chunks, say the same of them.
    few = arrays_of(ask(outside, *question, "faces=[60,61,62]"))
    assert few["heights"].tolist() == arrays["heights"].tolist()
    np.testing.assert_array_equal(few["values"], arrays["values"][:3])
