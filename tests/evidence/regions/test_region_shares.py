"""Shares of regions in closed form, the effect of hiding them on a linear network, and a literal loop over patches."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fervis.core.faces import Truth
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import Targets, class_targets
from fervis.datasets.landmarks.regions import FACE_REGIONS, FaceRegions, face_regions
from fervis.evidence.regions import region_shares
from fervis.evidence.regions.region_shares import region_mass
from fervis.models.batch import Batch


class Linear(nn.Module):
    """Two classes whose log odds are a weighted sum of pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images: Tensor) -> Tensor:
        odds = (images[:, 0] * self.weights).flatten(1).sum(1)
        return torch.stack([odds, torch.zeros_like(odds)], 1)


def refuse(images: Tensor | None = None, model: nn.Module | None = None) -> Tensor:
    raise AssertionError("nothing is to be explained again")


def batch_of(images: Tensor, truth: Truth | None = None, weights: Tensor | None = None) -> Batch:
    size = images.shape[2:]
    drawn = torch.randn(*size, generator=torch.Generator().manual_seed(4)) / 8 if weights is None else weights
    model = Linear(drawn)
    targets = class_targets(torch.tensor([[0, 1]] * len(images)))
    return Batch(model, images, resolve_layers(model, "input", images[:1]), targets, ("happy", "neutral"), 5, truth)


def drawn_truth(labels: Tensor) -> Truth:
    names = ("background", "mouth", "eyes", "cheeks")
    units = torch.zeros(len(labels), 1)
    return Truth(labels > 0, labels.to(torch.uint8), names, units, ("AU1",))


@pytest.fixture
def faces(generator: torch.Generator) -> tuple[Tensor, Truth]:
    """Two faces of 8 x 8: eyes above, a mouth below, cheeks between and background around."""
    labels = torch.zeros(2, 8, 8)
    labels[:, 1:7, 1:7] = 3
    labels[:, 2, 2:6] = 2
    labels[0, 5, 2:6] = 1
    labels[1, 4:6, 3:5] = 1
    return torch.rand(2, 1, 8, 8, generator=generator), drawn_truth(labels)


def test_shares_and_densities_of_a_hand_set_map(faces: tuple[Tensor, Truth]):
    images, truth = faces
    maps = torch.zeros(2, 2, 8, 8)
    maps[0, 0, 5, 2:6] = torch.tensor([3.0, -2, 1, 0])  # on the mouth: 6
    maps[0, 0, 2, 2] = -2.0  # on the eyes
    maps[0, 0, 3, 3] = 2.0  # on the cheeks
    maps[1] = 1.0
    scores = build_plugin("evidence", "region_shares", patches=0).measure(batch_of(images, truth), maps, refuse)
    assert scores["mouth/share"][0, 0] == pytest.approx(0.6)
    assert scores["eyes/share"][0, 0] == pytest.approx(0.2)
    assert scores["mouth/area"][0, 0] == pytest.approx(4 / 64)
    assert scores["mouth/density"][0, 0] == pytest.approx(0.6 / (4 / 64))
    assert math.isnan(scores["mouth/share"][0, 1])  # a map of zeros
    for name in ("mouth", "eyes", "cheeks", "background"):
        assert scores[f"{name}/density"][1].tolist() == pytest.approx([1, 1])
    assert not any(name.startswith("chin") for name in scores)  # drawn faces of this kind have none
    assert scores[""][0, 0] == pytest.approx(1)
    assert scores[""][1].tolist() == pytest.approx([36 / 64] * 2)
    assert scores["template"].tolist() == [[0, 0], [0, 0]]
    # happy: AU6 and AU12, that is below the eyes, cheeks and mouth; neutral has none
    cheeks = float(scores["cheeks/share"][0, 0])
    assert scores["action_units/share"][0, 0] == pytest.approx(0.6 + cheeks)
    assert math.isnan(scores["action_units/share"][1, 1])
    assert not any(name.endswith(("drop", "random")) for name in scores)


def test_shares_of_all_regions_add_up_to_one_on_real_polygons():
    images = torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(2))
    maps = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(3))
    shares, areas = region_mass(maps, face_regions(images).masks)
    torch.testing.assert_close(shares.sum(2), torch.ones(2, 3).double())
    torch.testing.assert_close(areas.sum(2), torch.ones(2, 3).double())


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_drops_of_a_linear_network_and_patches_against_a_literal_loop(faces: tuple[Tensor, Truth], fill: str):
    images, truth = faces
    batch = batch_of(images, truth)
    measure = build_plugin("evidence", "region_shares", patches=3, fill=fill, blur=3)
    scores = measure.measure(batch, torch.ones(2, 2, 8, 8), refuse)
    weights = batch.model.weights.detach().double().numpy()
    draws = torch.rand(3, generator=batch.generator("evidence/region_shares")).tolist()

    def happy(pixels: np.ndarray) -> float:
        return float(1 / (1 + np.exp(-(weights * pixels).sum())))

    for number in range(2):
        pixels = images[number, 0].double().numpy()
        labels = truth.regions[number].numpy()
        stand_in = np.full_like(pixels, pixels.mean()) if fill == "mean" else box_blur(box_blur(pixels))
        before = happy(pixels)
        assert scores["probability"][number].tolist() == pytest.approx([before, 1 - before], abs=1e-5)
        for name in ("mouth", "eyes"):
            region = labels == truth.region_names.index(name)
            drop = before - happy(np.where(region, stand_in, pixels))
            assert scores[f"{name}/drop"][number].tolist() == pytest.approx([drop, -drop], abs=1e-5)
            falls = [
                before - happy(np.where(literal_patch(labels > 0, int(region.sum()), draw), stand_in, pixels))
                for draw in draws
            ]
            mean = sum(falls) / 3
            assert scores[f"{name}/random"][number].tolist() == pytest.approx([mean, -mean], abs=1e-5)


def literal_patch(face: np.ndarray, area: int, draw: float) -> np.ndarray:
    """The pixels of a face nearest to one of it, one by one; of equally near ones the first of the image."""
    points = [(y, x) for y, x in np.ndindex(*face.shape) if face[y, x]]
    middle = points[int(np.float32(draw) * np.float32(len(points)))]
    ordered = sorted(points, key=lambda point: (point[0] - middle[0]) ** 2 + (point[1] - middle[1]) ** 2)
    patch = np.zeros_like(face)
    for point in ordered[:area]:
        patch[point] = True
    return patch


def box_blur(pixels: np.ndarray) -> np.ndarray:
    blurred = np.zeros_like(pixels)
    for y, x in np.ndindex(*pixels.shape):
        blurred[y, x] = pixels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean()
    return blurred


def test_hiding_is_computed_once_for_the_maps_of_the_same_images(
    faces: tuple[Tensor, Truth], monkeypatch: pytest.MonkeyPatch
):
    images, truth = faces
    calls: list[FaceRegions] = []
    effects = region_shares.hiding_effects

    def counted(batch: Batch, regions: FaceRegions, fill: Tensor, patches: int) -> dict[str, Tensor]:
        calls.append(regions)
        return effects(batch, regions, fill, patches)

    monkeypatch.setattr(region_shares, "hiding_effects", counted)
    measure, batch = build_plugin("evidence", "region_shares"), batch_of(images, truth)
    first = measure.measure(batch, torch.rand(2, 2, 8, 8), refuse)
    again = measure.measure(batch.part(slice(0, 2)), torch.rand(2, 2, 8, 8), refuse)
    assert len(calls) == 1
    assert torch.equal(first["mouth/drop"], again["mouth/drop"])
    alone = measure.measure(batch.part(slice(1, 2)), torch.rand(1, 2, 8, 8), refuse)
    assert len(calls) == 2
    torch.testing.assert_close(alone["mouth/random"], first["mouth/random"][1:])


def test_targets_that_are_filters_have_no_action_units(faces: tuple[Tensor, Truth]):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Flatten(), nn.Linear(192, 2))
    images, truth = faces
    targets = Targets(layer="0", filters=(0, 2), name="conv1")
    batch = Batch(model, images, resolve_layers(model, "input", images[:1]), targets, ("a", "b"), truth=truth)
    measure = build_plugin("evidence", "region_shares")
    scores = measure.measure(batch, torch.ones(2, 2, 8, 8), refuse)
    assert not any(name.startswith("action_units") for name in scores)  # a and b are no expressions
    known = measure.measure(replace(batch, classes=("happy", "sad")), torch.ones(2, 2, 8, 8), refuse)
    assert known["action_units/share"].isnan().all()
    expected = model[0](images)[:, [0, 2]].mean((2, 3))
    torch.testing.assert_close(scores["probability"], expected.detach(), atol=1e-5, rtol=0)


def test_the_template_is_marked_and_what_is_not_on_the_face_has_no_patches():
    images = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(2))
    scores = build_plugin("evidence", "region_shares", patches=1).measure(
        batch_of(images), torch.rand(1, 2, 48, 48), refuse
    )
    assert scores["template"].tolist() == [[1, 1]]
    assert {name.partition("/")[0] for name in scores} == {*FACE_REGIONS, "", "action_units", "template", "probability"}
    patched = {name.partition("/")[0] for name in scores if name.endswith("/random")}
    assert patched == set(FACE_REGIONS) - {"background", "hair"}
    assert all(values.isfinite().all() for name, values in scores.items() if not name.startswith("action_units"))
