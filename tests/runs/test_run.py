"""Answers that are there: read without a lock, and loaded from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

import fervis
from fervis.core.faces import FER2013_CLASSES
from fervis.errors import ConfigError
from fervis.system import locks

SMALL = ["dataset.per_class_train=1", "dataset.per_class_val=1", "dataset.per_class_test=2", "quiet=true"]
SMALL += ["model.weights=fer2013", "visualizer.dpi=40"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def folder(outputs: Path) -> Path:
    return fervis.ask([f"outputs={outputs}", *SMALL, "layer=conv7", "faces=[0,3]", "split=all", "target=all"])


def test_an_answer_that_is_there_is_given_where_no_lock_can_be_taken(
    outputs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def refused(*_: Any) -> NoReturn:
        raise PermissionError("read-only")

    monkeypatch.setattr(locks, "lock_for", refused)
    typed = [f"outputs={outputs}", *SMALL, "layer=conv7", "faces=[0,3]", "split=all"]
    assert fervis.ask([*typed, "target=all"]) == folder
    with pytest.raises(PermissionError):
        fervis.ask([*typed, "target=happy"])


def test_the_maps_of_a_run_folder_are_loaded(folder: Path):
    loaded = fervis.load_result(folder)
    with np.load(folder / "arrays.npz") as arrays:
        np.testing.assert_array_equal(loaded.maps.numpy(), arrays["maps"])
        np.testing.assert_array_equal(loaded.rows.numpy(), arrays["rows"])
        np.testing.assert_array_equal(loaded.pixel_maps, arrays["pixel_maps"])
    assert loaded.targets == FER2013_CLASSES * 2
    assert set(loaded.layers) == {"conv7"}
    assert (loaded.unit, loaded.pixel_unit, loaded.signed) == ("|∂ logit / ∂ conv7|", "|∂ logit / ∂ pixel|", False)
    assert repr(loaded).startswith("ExplainedMaps(saliency: 1 layer × 2 images × 7 targets, maps of 48 × 48;")
    faces = torch.stack([loaded.images[row] for row in sorted(loaded.images)])
    explained = fervis.explain(
        fervis.load_model("vgg8", weights="fer2013"), faces[:, :1].float() / 255, layer="conv7", target="all"
    )
    torch.testing.assert_close(explained.maps, loaded.maps)
    assert "data:image/png" in loaded._repr_html_()


def test_a_run_without_maps_is_refused(folder: Path, tmp_path: Path):
    np.savez(tmp_path / "arrays.npz", counts=np.zeros((1, 7, 7)))
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(ConfigError, match="no map per image"):
        fervis.load_result(tmp_path)
