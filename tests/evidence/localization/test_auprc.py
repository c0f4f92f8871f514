"""Average precision against scikit-learn, with and without equal values."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import average_precision_score
from support.measures import batch_for, refuse_again

from fervis.core.registry import build_plugin


def test_it_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    maps, evidence = torch.randn(6, 2, 9, 8, generator=generator), torch.rand(6, 9, 8, generator=generator) < 0.2
    maps[2:4] = (2 * maps[2:4]).round()  # many equal values
    maps[4, 0] = 0
    scores = build_plugin("evidence", "auprc").measure(batch_for(maps, evidence), maps, refuse_again)[""]
    for n in range(6):
        for t in range(2):
            expected = average_precision_score(evidence[n].flatten().numpy(), maps[n, t].flatten().numpy())
            assert float(scores[n, t]) == pytest.approx(expected, abs=1e-12)
    assert float(scores[4, 0]) == pytest.approx(evidence[4].double().mean().item())


def test_the_mask_itself_reaches_one_and_an_image_without_evidence_has_no_score():
    evidence = torch.zeros(2, 4, 4, dtype=torch.bool)
    evidence[0, :2, 1] = True
    maps = evidence.float()[:, None]
    scores = build_plugin("evidence", "auprc").measure(batch_for(maps, evidence), maps, refuse_again)[""]
    assert scores[0, 0] == 1
    assert math.isnan(scores[1, 0])
