"""Overlap with the regions of expressions: by hand, and the published values of Gaya-Morey et al. (2024)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fervis.core.faces import FER2013_CLASSES
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import Targets, class_targets
from fervis.datasets.landmarks.regions import EXPRESSIONS, expression_units, face_regions
from fervis.metrics.mask_overlap import overlaps
from fervis.metrics.thresholds import otsu_thresholds
from fervis.models.batch import Batch

DATA = os.environ.get("FERVIS_FER2013")


def refuse(images: Tensor | None = None, model: nn.Module | None = None) -> Tensor:
    raise AssertionError("nothing is to be explained again")


def batch_of(targets: list[list[int]]) -> Batch:
    images = torch.rand(len(targets), 1, 48, 48, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 7))
    layers = resolve_layers(model, "input", images[:1])
    return Batch(model, images, layers, class_targets(torch.tensor(targets)), FER2013_CLASSES)


def test_a_map_of_its_own_regions_fits_them_whole_and_others_by_their_overlap():
    batch = batch_of([[3, 3, 6], [5, 0, 6]])
    regions = face_regions(batch.images)
    masks = {name: regions.action_units(expression_units(name))[0].numpy() for name in EXPRESSIONS}
    happy = torch.from_numpy(masks["happy"]).float()
    maps = torch.stack([happy, -3 * happy, happy]).expand(2, -1, -1, -1)
    scores = build_plugin("evidence", "region_shares", patches=0).measure(batch, maps, refuse)

    def overlap(one: str, two: str) -> float:
        return float((masks[one] & masks[two]).sum() / (masks[one] | masks[two]).sum())

    others = {name: [overlap("happy", other) for other in EXPRESSIONS if other != name] for name in EXPRESSIONS}
    for entry, name in (((0, 0), "happy"), ((0, 1), "happy"), ((1, 0), "surprise"), ((1, 1), "angry")):
        own, other = overlap("happy", name), sum(others[name]) / 5
        found = [float(scores[f"action_units/{part}"][entry]) for part in ("iou", "other_iou", "iou_lead")]
        assert found == pytest.approx([own, other, own - other], abs=1e-6)
    assert scores["action_units/iou"][0, 0] == 1
    assert scores["action_units/iou_lead"][:, 2].isnan().all()  # neutral


def test_constant_maps_and_filters_have_no_overlap():
    batch = batch_of([[3]])
    measure = build_plugin("evidence", "region_shares", patches=0, codebook="facs")
    assert measure.measure(batch, torch.full((1, 1, 48, 48), 0.5), refuse)["action_units/iou_lead"].isnan().all()
    filters = replace(batch, targets=Targets(layer="1", filters=(0, 2), name="1"))
    assert measure.measure(filters, torch.rand(1, 2, 48, 48), refuse)["action_units/iou"].isnan().all()


@pytest.mark.skipif(DATA is None, reason="needs the published maps: FERVIS_FER2013")
def test_the_72_published_overlaps_and_what_they_say_of_classes():
    assert DATA is not None
    with np.load(Path(DATA) / "ekman_maps.npz") as published:
        maps, expected = torch.from_numpy(published["maps"]), torch.from_numpy(published["iou"]).double()
        bits = np.unpackbits(published["masks"], axis=-1)[..., : maps.shape[-1]]
    masks = torch.from_numpy(bits.astype(bool))
    marked = maps > otsu_thresholds(maps.flatten(0, 1).flatten(1)).reshape(12, 6, 1, 1)
    values = overlaps(marked, masks)  # [12,6,6]: a network's map of a class with each class's mask
    own = torch.eye(6, dtype=torch.bool)
    matched = values[:, own]
    torch.testing.assert_close(matched, expected, rtol=0, atol=1e-3)
    of_networks = matched.mean(1)
    assert matched.mean() == pytest.approx(0.2689, abs=1e-3)
    assert of_networks.max() == pytest.approx(0.3269, abs=1e-3)
    assert of_networks.min() == pytest.approx(0.2066, abs=1e-3)
    # No evidence of class-specific maps: other classes' masks, and one map for all classes, fit as well.
    assert values[:, ~own].mean() == pytest.approx(0.2623, abs=1e-3)
    assert (values.argmax(2) == torch.arange(6)).sum() == 15
    areas = marked.flatten(2).sum(2)
    ranks = maps.double().mean(1).flatten(1).argsort(dim=1, descending=True, stable=True).argsort(1)
    agnostic = (ranks[:, None] < areas[..., None]).unflatten(2, maps.shape[2:])
    assert overlaps(agnostic, masks)[:, own].mean() == pytest.approx(0.2718, abs=1e-3)
    assert masks.double().mean() == pytest.approx(0.2575, abs=1e-3)  # everything marked
