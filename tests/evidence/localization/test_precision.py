"""Precision against a literal version of XAI-TRIS's code, and against its chance level."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fervis.core.faces import Truth
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.models.batch import Batch


def scored(maps: torch.Tensor, evidence: torch.Tensor) -> dict[str, torch.Tensor]:
    count = len(maps)
    truth = Truth(evidence, evidence.to(torch.uint8), ("", ""), torch.zeros(count, 0), ())
    batch = Batch(nn.Identity(), torch.zeros(count, 1, *maps.shape[2:]), (), class_targets([0] * count), truth=truth)
    return build_plugin("evidence", "precision").measure(batch, maps, None)


def test_it_is_the_share_of_the_highest_magnitudes():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(40, 1, 8, 8, generator=generator)
    maps[20:] *= torch.rand(20, 1, 8, 8, generator=generator) < 0.08  # fewer than n are not 0
    evidence = torch.rand(40, 8, 8, generator=generator) < 0.2
    expected = []
    for attribution, mask in zip(maps.flatten(1).numpy(), evidence.flatten(1).numpy(), strict=True):
        n = int(mask.sum())
        nonzero = np.flatnonzero(attribution)
        highest = nonzero[np.argsort(-np.abs(attribution[nonzero]))[:n]]
        expected.append(mask[highest].sum() / n)
    np.testing.assert_allclose(scored(maps, evidence)[""][:, 0], expected, atol=1e-9)


@pytest.mark.parametrize(("scenario", "chance"), [("linear", 8 / 64), ("translations_rotations", 4 / 64)])
def test_a_random_map_has_the_published_chance_level(scenario: str, chance: float):
    faces = build_plugin("dataset", "xai_tris", scenario=scenario, count=4000).load(Path())
    assert faces.truth is not None
    scores = scored(torch.rand(4000, 1, 8, 8, generator=torch.Generator().manual_seed(1)), faces.truth.evidence)
    assert scores["chance"].unique().tolist() == [chance]
    assert scores[""].mean() == pytest.approx(chance, abs=4 * math.sqrt(chance / 4000 / (64 * chance)))


def test_constant_maps_score_at_chance_maps_of_zeros_score_0_and_images_without_evidence_not():
    evidence = torch.zeros(3, 4, 4, dtype=torch.bool)
    evidence[:2, 0, :2] = True
    maps = torch.stack([torch.ones(1, 4, 4), torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    scores = scored(maps, evidence)[""][:, 0].tolist()
    assert scores[:2] == pytest.approx([2 / 16, 0])
    assert math.isnan(scores[2])
