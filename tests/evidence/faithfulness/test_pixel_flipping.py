"""Pixel flipping and region perturbation against the literal loop of Samek et al. 2017."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.scored_networks import linear_batch, logits, scores


@pytest.mark.parametrize(("region", "steps", "share"), [(1, 8, 1.0), (3, 4, 0.5), (2, 16, 1.0)])
@pytest.mark.parametrize("fill", [0.0, "mean", "uniform"])
def test_the_area_is_the_mean_fall_over_the_steps(region: int, steps: int, share: float, fill: float | str):
    batch, maps = linear_batch(channels=2)
    knobs = {"region": region, "steps": steps, "share": share, "fill": fill, "output": "logit"}
    found = scores("pixel_flipping", batch, maps, **knobs)[""]
    classes = batch.targets.classes
    assert classes is not None
    noise = torch.rand(2, 8, 8, generator=batch.generator("evidence/pixel_flipping"))
    for n, t in np.ndindex(2, 2):
        image, one = batch.images[n], maps[n, t]
        if fill == "uniform":
            other = image.min() + (image.max() - image.min()) * noise
        else:
            other = torch.zeros_like(image) if fill == 0.0 else image.mean((1, 2), keepdim=True).expand(2, 8, 8)
        corners = [(y, x) for y in range(0, 8, region) for x in range(0, 8, region)]
        sums = [float(one[y : y + region, x : x + region].double().sum()) for y, x in corners]
        order = sorted(range(len(corners)), key=lambda i: -sums[i])
        perturbed, falls = image.clone(), []
        counts = [round(part / steps * max(1, round(share * len(corners)))) for part in range(steps + 1)]
        for k in range(len(order) + 1):
            if k:
                y, x = corners[order[k - 1]]
                perturbed[:, y : y + region, x : x + region] = other[:, y : y + region, x : x + region]
            fall = logits(batch, image[None])[0, classes[n, t]] - logits(batch, perturbed[None])[0, classes[n, t]]
            falls += [float(fall)] * counts.count(k)
        assert found[n, t].item() == pytest.approx(np.mean(falls), abs=1e-4)


def test_no_order_falls_faster_than_that_of_a_linear_networks_own_contributions():
    batch, maps = linear_batch()
    best = scores("pixel_flipping", batch, maps, steps=64, output="logit")[""]
    for seed in range(5):
        other = torch.rand(maps.shape, generator=torch.Generator().manual_seed(seed))
        assert (scores("pixel_flipping", batch, other, steps=64, output="logit")[""] < best).all()
