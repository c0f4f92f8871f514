"""Means of region effects: corrected for the number of regions, and the faces on which a region does most."""

from __future__ import annotations

import torch
from torch import Tensor

from fervis.core.seeding import generator_for
from fervis.explainers.diagnostics.region_effects import RegionEffects, mean_effects, strongest_faces

FACES, REGIONS = 64, 12


def effects_of(standard_errors: float, compared: int) -> RegionEffects:
    """Effects whose mean is so many standard errors, of regions that all but a few are compared with no patches."""
    values = torch.randn(FACES, generator=torch.Generator().manual_seed(0)).double()
    values = (values - values.mean()) / values.std(correction=0) + standard_errors / FACES**0.5
    effects = values[:, None].expand(-1, REGIONS)
    random = torch.zeros(FACES, REGIONS).double()
    random[:, compared:] = torch.nan
    predicted = torch.zeros(FACES, REGIONS, dtype=torch.int64)
    predicted[: FACES // 4] = 1
    return RegionEffects(values, effects, random, predicted, predicted[:, None].expand(-1, 3, -1), random)


def means_of(standard_errors: float, compared: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return mean_effects(effects_of(standard_errors, compared), (0, 1), 1, 4000, generator_for(0, "test"))


def test_what_is_clear_of_one_region_is_not_of_ten():
    # 2.4 standard errors: beyond the 1.96 of one interval, within the 2.81 of ten (Bonferroni).
    _, alone = means_of(2.4, 1)
    values, among_ten = means_of(2.4, 10)
    assert alone["beyond"].tolist() == [True] + [False] * 11
    assert not among_ten["beyond"].any()
    assert (values["beyond/low"][:10] > 0).all()  # the stated intervals are of 95 %, each by itself
    assert means_of(3.4, 10)[1]["beyond"].tolist() == [True] * 10 + [False] * 2
    assert means_of(-3.4, 10)[1]["beyond"].tolist() == [True] * 10 + [False] * 2


def test_flips_are_compared_with_those_of_patches_face_by_face():
    values, clear = means_of(2.4, 10)
    assert values["flips"].tolist() == [0.25] * 12
    assert values["flips/beyond"][:10].tolist() == [0.0] * 10  # patches flip the very same faces
    assert not clear["flips/beyond"].any()
    assert values["flips/random"][10:].isnan().all()
    assert values["elsewhere"].tolist() == [0.0] * 12


def test_the_strongest_faces_are_those_in_the_direction_of_the_mean():
    effects = torch.tensor([0.5, -3.0, torch.nan, -1.0, -2.0])
    assert strongest_faces(effects, 2).tolist() == [1, 4]
    assert strongest_faces(-effects, 9).tolist() == [1, 4, 3, 0]
    assert strongest_faces(torch.full((3,), torch.nan), 2).tolist() == []
