"""Jobs of a sweep share their passes and give the arrays of single runs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

Run = Callable[..., subprocess.CompletedProcess[str]]
NETWORK = """
import pathlib
from torch import nn

class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.head = nn.Conv2d(1, 4, 5, 2), nn.Conv2d(4, 4, 3), nn.Linear(4, 7)

    def forward(self, x):
        with open(pathlib.Path(__file__).with_name("passes.txt"), "a") as file:
            print(len(x), file=file)
        return self.head(self.conv2(self.conv1(x).relu()).relu().mean((2, 3)))
"""


def test_one_pass_serves_methods_and_layers_of_a_sweep(fervis: Run, tmp_path: Path):
    (tmp_path / "counting.py").write_text(NETWORK)
    base = ["model=own", "model.path=counting.py", "model.attribute=Counting", "checkpoint=initial"]
    base += ["dataset.per_class_train=2", "dataset.per_class_val=2", "dataset.per_class_test=2", "visualizer.dpi=40"]
    counted = tmp_path / "passes.txt"
    swept = fervis(*base, "-m", "explainer=gradcam,saliency", "layer=conv1,conv2", cwd=tmp_path)
    assert swept.returncode == 0, swept.stderr
    of_all_faces = [line for line in counted.read_text().splitlines() if line == "7"]
    assert len(of_all_faces) == 2, "one pass predicts, one explains"
    for folder in list(map(Path, swept.stdout.split()))[1::2]:  # those at conv2
        _, explainer, layer, _ = folder.name.split("-")
        alone = fervis(*base, f"explainer={explainer}", f"layer={layer}", "outputs=alone", cwd=tmp_path)
        one, other = (np.load(path / "arrays.npz") for path in (folder, Path(alone.stdout.split()[-1])))
        assert {*one.files} == {*other.files}
        assert all(np.array_equal(one[name], other[name]) for name in one.files), folder.name
