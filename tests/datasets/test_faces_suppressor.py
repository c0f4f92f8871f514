"""Faces with a suppressor: exact independence, the weights that tell the class, and what the pictures show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fervis.core.faces import SPLITS, Faces
from fervis.core.registry import build_plugin
from fervis.datasets.faces_suppressor import NUISANCE, SIGNAL, SMILE_UNITS, draw_classes
from fervis.datasets.portraits import render
from fervis.datasets.portraits.identity import draw_identity
from fervis.errors import ConfigError

SMALL = {"per_class_train": 8, "per_class_val": 2, "per_class_test": 3, "size": 24}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    return build_plugin("dataset", "faces_suppressor", **SMALL).load(tmp_path_factory.mktemp("faces"))


def band_means(faces: Faces) -> torch.Tensor:
    return faces.images[:, 0, : 24 // 8].double().mean((1, 2))


def strengths(faces: Faces) -> torch.Tensor:
    assert faces.truth is not None
    return faces.truth.action_units[:, faces.truth.action_unit_names.index("AU12")].double() / SMILE_UNITS["AU12"]


@pytest.mark.parametrize("split", SPLITS)
def test_the_band_has_the_same_distribution_in_both_classes_to_the_byte(faces: Faces, split: str):
    part = faces.split(split)
    of_class = [band_means(part)[part.labels == label].sort().values for label in (0, 1)]
    assert len(of_class[0]) > 1
    assert torch.equal(of_class[0], of_class[1])
    assert of_class[0].unique().numel() > 1


def test_the_class_is_smile_less_band_with_the_stated_weights(faces: Faces):
    # the band's mean grey is 128 + 120 d times the mean of the profile, to the rounding of a byte
    profile = np.sin(np.pi * (np.arange(24) + 0.5) / 24).mean()
    nuisance = (band_means(faces) - 128) / (120 * profile)
    inputs = torch.stack([strengths(faces), nuisance, torch.ones_like(nuisance)], 1)
    signs = (2 * faces.labels - 1).double()
    weights = torch.linalg.lstsq(inputs, signs[:, None]).solution[:, 0]
    assert weights.tolist() == pytest.approx([1 / SIGNAL, -NUISANCE / SIGNAL, -0.5 / SIGNAL], rel=0.02)
    assert float((inputs @ weights - signs).abs().max()) < 0.1
    assert float((signs * nuisance).mean()) == pytest.approx(0, abs=1e-12)


def test_the_smile_alone_tells_as_many_classes_as_stated():
    labels, nuisance = draw_classes(0, 0, 50_000)
    strength = 0.5 + SIGNAL * (2 * labels - 1) + NUISANCE * nuisance
    assert strength.min() >= 0
    assert strength.max() <= 1
    assert ((strength > 0.5) == (labels == 1)).mean() == pytest.approx(0.5 + SIGNAL / (2 * NUISANCE), abs=0.005)


def test_outside_the_evidence_a_face_is_what_it_is_without_a_smile(faces: Faces):
    assert faces.truth is not None
    drawn = [draw_identity(0, split, range(2 * n)) for split, n in enumerate((8, 2, 3))]
    resting = np.concatenate([render.render(persons, render.units(), 24) for persons in drawn])
    below = faces.images[:, 0, 3:] != torch.from_numpy(resting)[:, 3:]
    assert torch.equal(faces.truth.evidence[:, 3:], below)
    assert not faces.truth.evidence[:, :3].any()
    assert faces.truth.evidence.flatten(1).any(1).float().mean() > 0.9


def test_the_distractor_can_be_the_truth_of_the_same_faces(faces: Faces, tmp_path: Path):
    other = build_plugin("dataset", "faces_suppressor", **SMALL, truth="distractor").load(tmp_path)
    assert other.fingerprint() == faces.fingerprint()
    assert other.truth is not None
    assert other.truth.evidence[:, :3].all()
    assert not other.truth.evidence[:, 3:].any()


def test_another_truth_is_refused():
    with pytest.raises(ConfigError, match=r"^dataset.truth=mark: expected"):
        build_plugin("dataset", "faces_suppressor", truth="mark")
