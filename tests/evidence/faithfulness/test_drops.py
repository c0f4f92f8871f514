"""Faithfulness correlation, infidelity, single deletion and average drop against their papers' formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from support.scored_networks import linear_batch, logits, nothing_again, scores

from fervis.core.registry import build_plugin
from fervis.evidence.faithfulness.drops import pearson


@pytest.mark.parametrize("fill", [0.0, "mean"])
def test_faithfulness_correlation_is_pearsons_over_the_sets(fill: float | str):
    batch, _ = linear_batch(channels=2)
    maps = torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(5))
    found = scores("faithfulness_correlation", batch, maps, subsets=30, share=0.25, fill=fill)[""]
    draws = torch.rand(30, 64, generator=batch.generator("evidence/faithfulness_correlation"))
    classes = batch.targets.classes
    assert classes is not None
    for n, t in np.ndindex(2, 2):
        said, happened = [], []
        for draw in draws:
            chosen = draw.argsort()[:16]
            image = batch.images[n].flatten(1).clone()
            image[:, chosen] = 0.0 if fill == 0.0 else image.mean(1, keepdim=True)
            before, after = logits(batch, torch.stack([batch.images[n], image.view(2, 8, 8)]))[:, classes[n, t]]
            said.append(float(maps[n, t].flatten()[chosen].sum()))
            happened.append(float(before - after))
        assert found[n, t].item() == pytest.approx(pearsonr(said, happened).statistic, abs=1e-5)


@pytest.mark.parametrize("name", ["faithfulness_correlation", "single_deletion"])
def test_the_contributions_of_a_linear_network_correlate_fully(name: str):
    batch, maps = linear_batch(channels=2)
    torch.testing.assert_close(scores(name, batch, maps)[""], torch.ones(2, 2), rtol=0, atol=1e-5)
    torch.testing.assert_close(scores(name, batch, -3 * maps)[""], -torch.ones(2, 2), rtol=0, atol=1e-5)
    assert scores(name, batch, torch.ones_like(maps))[""].isnan().all()


def test_a_correlation_is_not_made_of_rounding():
    values = torch.tensor([[0.1, 0.2, 0.7], [0.3, 0.3 + 1e-9, 0.3]], dtype=torch.float64)
    found = pearson(values, torch.tensor([[2.0, 1.0, 5.0]] * 2))
    assert found[0] == pytest.approx(pearsonr([0.1, 0.2, 0.7], [2, 1, 5]).statistic)
    assert math.isnan(found[1])


def test_single_deletion_ranks_the_patches_of_a_grid():
    batch, _ = linear_batch(size=10)
    maps = torch.rand(2, 2, 10, 10, generator=torch.Generator().manual_seed(6))
    found = scores("single_deletion", batch, maps, grid=3, fill=0.5)[""]
    bounds = [0, 4, 7, 10]  # the pixel y lies in the patch of floor(3 y / 10)
    classes = batch.targets.classes
    assert classes is not None
    for n, t in np.ndindex(2, 2):
        sums, drops = [], []
        for i, j in np.ndindex(3, 3):
            rows, columns = slice(bounds[i], bounds[i + 1]), slice(bounds[j], bounds[j + 1])
            image = batch.images[n].clone()
            image[:, rows, columns] = 0.5
            before, after = logits(batch, torch.stack([batch.images[n], image]))[:, classes[n, t]]
            sums.append(float(maps[n, t, rows, columns].sum()))
            drops.append(float(before - after))
        assert found[n, t].item() == pytest.approx(spearmanr(sums, drops).statistic, abs=1e-6)


def test_infidelity_is_zero_for_contributions_of_a_linear_network_and_slopes_under_noise():
    batch, maps = linear_batch()
    for scaled in (True, False):
        found = scores("infidelity", batch, maps, side=3, scaled=scaled)[""]
        torch.testing.assert_close(found, torch.zeros(2, 2), rtol=0, atol=1e-8)
    slopes = maps / batch.images
    found = scores("infidelity", batch, slopes, perturbation="gaussian", scaled=False)[""]
    torch.testing.assert_close(found, torch.zeros(2, 2), rtol=0, atol=1e-8)
    torch.testing.assert_close(scores("infidelity", batch, 7 * maps, side=3)[""], torch.zeros(2, 2), rtol=0, atol=1e-8)
    assert (scores("infidelity", batch, 7 * maps, side=3, scaled=False)[""] > 0.1).all()


def test_infidelity_is_the_mean_square_of_the_papers_first_equation():
    batch, _ = linear_batch()
    maps = torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(7))
    knobs = {"perturbation": "gaussian", "samples": 20, "noise": 0.3}
    noise = 0.3 * torch.randn(20, 1, 8, 8, generator=batch.generator("evidence/infidelity")).double()
    plain, scaled = (scores("infidelity", batch, maps, scaled=scaled, **knobs)[""] for scaled in (False, True))
    classes = batch.targets.classes
    assert classes is not None
    for n, t in np.ndindex(2, 2):
        image = batch.images[n].double()
        weights = batch.model.get_parameter("weights").detach().double()[classes[n, t]]
        happened = np.array([float((weights * image).sum() - (weights * (image - one)).sum()) for one in noise])
        said = np.array([float((one * maps[n, t]).sum()) for one in noise])
        assert plain[n, t].item() == pytest.approx(((said - happened) ** 2).mean(), rel=1e-4)
        best = min(((factor * said - happened) ** 2).mean() for factor in np.linspace(-9, 9, 18001))
        assert scaled[n, t].item() == pytest.approx(best, rel=1e-3)


def test_average_drop_is_the_share_lost_under_the_map():
    batch, maps = linear_batch(count=4)
    maps = maps * torch.tensor([1, -1])[None, :, None, None]  # the second target's maps speak against it
    found = scores("average_drop", batch, maps)
    classes = batch.targets.classes
    assert classes is not None
    for n, t in np.ndindex(4, 2):
        mask = maps[n, t].clamp(min=0) / maps[n, t].max()
        both = torch.stack([batch.images[n], batch.images[n] * mask])
        before, after = logits(batch, both).softmax(1)[:, classes[n, t]].tolist()
        assert found[""][n, t].item() == pytest.approx(max(0.0, before - after) / before, abs=1e-5)
        assert found["increase"][n, t].item() == float(after > before)
    assert {0.0, 1.0} == set(found["increase"].flatten().tolist())


def test_average_drop_of_a_map_of_ones_is_nothing_and_of_zeros_what_a_black_image_loses():
    batch, maps = linear_batch()
    assert (scores("average_drop", batch, torch.full_like(maps, 0.3))[""].abs() < 1e-6).all()
    found = scores("average_drop", batch, torch.zeros_like(maps))[""]
    classes = batch.targets.classes
    assert classes is not None
    before = logits(batch, batch.images).softmax(1).gather(1, classes)
    torch.testing.assert_close(found, ((before - 0.5).clamp(min=0) / before))  # both logits of a black image are 0
    logit = build_plugin("evidence", "average_drop", output="logit").measure(batch, maps, nothing_again)[""]
    assert torch.equal(logit.isnan(), logits(batch, batch.images).gather(1, classes) <= 0)
