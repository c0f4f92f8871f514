"""Entropy against SciPy's, and its two ends."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import entropy
from support.measures import batch_for, refuse_again

from fervis.core.registry import build_plugin


def test_it_is_that_of_the_magnitudes_as_shares():
    maps = torch.randn(3, 2, 6, 7, generator=torch.Generator().manual_seed(0))
    maps[0, 0, :3] = 0
    scores = build_plugin("evidence", "entropy").measure(batch_for(maps), maps, refuse_again)[""]
    expected = entropy(maps.double().abs().flatten(2).numpy(), axis=2)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-12)


def test_its_ends_are_one_pixel_and_equal_values():
    maps = torch.zeros(3, 1, 4, 4)
    maps[0, 0, 1, 2] = -5
    maps[1] = 0.3
    scores = build_plugin("evidence", "entropy").measure(batch_for(maps), maps, refuse_again)[""]
    np.testing.assert_allclose(scores[:, 0].numpy(), [0, math.log(16), math.log(16)], atol=1e-12)
