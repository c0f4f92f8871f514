"""A figure over several parts of a study: which maps it shows, on which scale, and that it has every method."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image
from support.command import SMALL

import fervis
from fervis.core import registry
from fervis.core.registry import names, option_settings, plugin_class
from fervis.core.results import HeatMaps
from fervis.errors import ConfigError
from fervis.runs.study.drawings import study_drawings
from fervis.visualizers.figures.study.gallery import GalleryRow, draw_gallery

PRESET = """# a small gallery
parts:
  - {title: Side by side, draw: gallery, dpi: 60}
  - {title: pixels, ask: [explainer=saliency, layer=input], figures: {saliency.png: overview.png}}
  - {title: deep, ask: [explainer=gradcam, "layer=[conv6,conv7]"], figures: {gradcam.png: overview.png}}
  - {title: network, ask: [explainer=filters, layer=conv7, explainer.filters=2, explainer.steps=2],
     figures: {filters.png: "overview*.png"}}
"""
# Two need a transformer, and one is 1 everywhere.
LEFT_OUT = {"attention_rollout", "attention_gradient", "everything_map"}


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    def run(*overrides: str) -> Path:
        (tmp_path / "small.yaml").write_text(PRESET)
        monkeypatch.setattr(registry, "EXPERIMENTS_FOLDER", tmp_path)
        base = [*SMALL[:3], "experiment=small", "checkpoint=initial", f"outputs={tmp_path}/out"]
        return fervis.ask([*base, *overrides])

    return run


def test_parts_that_give_maps_stand_on_one_sheet(ask: Callable[..., Path]):
    folder = ask()
    first, *others = json.loads((folder / "summary.json").read_text())["figures"]
    assert first["file"] == "figures/gallery.png"
    assert first["section"] == "Side by side"
    assert first["caption"].startswith("Maps of 2 methods for the same 7 faces: saliency, gradcam.")
    assert [Path(figure["file"]).name for figure in others] == ["saliency.png", "gradcam.png", "filters.png"]
    with Image.open(folder / "figures" / "gallery.png") as sheet:
        assert sheet.width == pytest.approx(6.5 * 60, abs=1)


def test_a_wrong_drawing_is_refused():
    with pytest.raises(ConfigError, match="expected title, draw, dpi"):
        study_drawings([{"title": "a", "draw": "gallery"}], seed=0)
    with pytest.raises(ConfigError, match=r"expected one of gallery, leaderboard, verdicts\. Did you mean gallery"):
        study_drawings([{"title": "a", "draw": "galery", "dpi": 100}], seed=0)


def picture(maps: NDArray[np.float32], dpi: int = 100) -> NDArray[np.uint8]:
    face = np.full((8, 8, 3), 200, np.uint8)
    sheet = draw_gallery("t", [face] * len(maps), ["a"] * len(maps), [GalleryRow("m", "n", maps)], dpi)
    sheet.canvas.draw()
    return np.asarray(sheet.canvas.buffer_rgba())[..., :3]  # pyright: ignore[reportAttributeAccessIssue]


def test_all_maps_of_a_method_have_one_scale():
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0], maps[1] = 1.0, 0.25
    together, larger = picture(maps), picture(maps * 7)
    assert np.array_equal(together, larger), "the scale is the method's own"
    maps[0] = 0.25
    alone = picture(maps)
    assert not np.array_equal(together, alone), "the second map is drawn by the strength of the first"


def test_the_preset_has_every_method_that_gives_maps():
    preset = yaml.safe_load((registry.EXPERIMENTS_FOLDER / "gallery.yaml").read_text())
    stated = [word.removeprefix("explainer=") for part in preset["parts"] for word in part.get("ask", [])]
    shown = [word for word in stated if word in names("explainer")]
    own = {path.stem for path in (registry.PACKAGE_FOLDER / "explainers").rglob("*.py")}
    of_maps = {
        name
        for name in names("explainer")
        if name in own and plugin_class("explainer", option_settings("explainer", name).name).result is HeatMaps
    }
    assert len(shown) == len({*shown})
    assert {*shown} == of_maps - LEFT_OUT
