"""Landmarks in their compact form, regions between them against a literal rasteriser, and the codebook."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fervis.core.faces import Truth
from fervis.datasets.landmarks.compact import (
    SHIPPED_LANDMARKS,
    encode_landmarks,
    image_keys,
    main,
    read_points,
    shipped_landmarks,
)
from fervis.datasets.landmarks.regions import (
    EXPRESSIONS,
    FACE_REGIONS,
    OUTSIDE_FACE,
    expression_units,
    face_regions,
    landmarks_of,
    polygon_masks,
    read_codebook,
    region_masks,
)

DATA = os.environ.get("FERVIS_FER2013")
needs_data = pytest.mark.skipif(DATA is None, reason="needs FER2013's landmarks: FERVIS_FER2013")


def inside(corners: NDArray[np.float64], x: float, y: float) -> bool:
    """Whether a polygon winds around a point: the sum of the angles under which its edges are seen."""
    to = corners - (x, y)
    after = np.roll(to, -1, 0)
    angles = np.arctan2(to[:, 0] * after[:, 1] - to[:, 1] * after[:, 0], (to * after).sum(1))
    return abs(angles.sum()) > np.pi


def test_polygons_hold_the_pixels_whose_middle_they_wind_around(generator: torch.Generator):
    angles = torch.rand(3, 9, generator=generator).sort(1).values * 2 * torch.pi
    radii = 3 + 6 * torch.rand(3, 9, generator=generator)
    corners = torch.stack([10 + radii * angles.cos(), 8 + radii * angles.sin()], -1)  # stars: no edge crosses another
    masks = polygon_masks(corners, 17, 20)
    for number, y, x in np.ndindex(*masks.shape):
        assert masks[number, y, x] == inside(corners[number].double().numpy(), x + 0.5, y + 0.5)


def test_a_square_is_filled_and_touches_no_pixel_outside():
    square = torch.tensor([[[1.0, 2], [4, 2], [4, 5], [1, 5]]])
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[2:5, 1:4] = True
    assert torch.equal(polygon_masks(square, 6, 6)[0], expected)


def test_regions_of_the_mean_face_cover_every_pixel_once_and_lie_where_they_are_on_a_face():
    masks = region_masks(torch.from_numpy(shipped_landmarks().mean)[None], 48, 48)
    assert torch.equal(masks.sum(1), torch.ones(1, 48, 48, dtype=torch.int64))
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    middle = {
        name: (float(x[mask].mean()), float(y[mask].mean())) for name, mask in zip(FACE_REGIONS, masks[0], strict=True)
    }
    upwards = ["chin", "mouth", "nose", "below_eyes", "eyes", "brows", "forehead", "hair"]
    heights = [middle[name][1] for name in upwards]
    assert heights == sorted(heights, reverse=True)
    for name in set(FACE_REGIONS) - set(OUTSIDE_FACE):
        assert middle[name][0] == pytest.approx(23.5, abs=1)  # the mean of many faces is about symmetric
    assert masks[0, FACE_REGIONS.index("mouth"), 38, 24]
    assert masks[0, FACE_REGIONS.index("eyes"), 18, 15]
    assert masks[0, FACE_REGIONS.index("eyes"), 18, 33]


def test_the_template_is_stretched_to_the_image_and_marked_as_such():
    regions = face_regions(torch.rand(2, 3, 96, 144, generator=torch.Generator().manual_seed(0)))
    assert regions.known.tolist() == [False, False]
    small = face_regions(torch.zeros(1, 1, 48, 48))
    assert not small.known[0]
    shares = [one.masks[0].flatten(1).double().mean(1) for one in (regions, small)]
    torch.testing.assert_close(*shares, rtol=0, atol=0.01)


def test_landmarks_come_back_by_the_hash_of_the_image_within_a_tenth_of_a_pixel():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (30, 48, 48), dtype=np.uint8)
    images[7] = images[3]
    shapes = generator.normal(size=(4, 468, 2))
    points = shipped_landmarks().mean + np.tensordot(generator.normal(size=(30, 4)), shapes, 1)
    compact = encode_landmarks(points, image_keys(images))
    assert len(compact.keys) == 29
    positions = compact.positions(image_keys(images[[3, 7, 12]]))
    assert positions[0] == positions[1]
    assert np.abs(compact.decode(positions) - points[[3, 3, 12]]).max() < 0.1
    assert compact.positions(image_keys(255 - images)).tolist() == [-1] * 30


def test_drawn_faces_have_their_own_regions():
    labels = torch.tensor([[[0, 1], [2, 3]]], dtype=torch.uint8)
    truth = Truth(labels > 0, labels, ("background", "mouth", "hair", "eyes"), torch.zeros(1, 1), ("AU1",))
    regions = face_regions(torch.zeros(1, 1, 2, 2), truth)
    found = {name: mask.tolist() for name, mask in zip(FACE_REGIONS, regions.masks[0], strict=True) if mask.any()}
    assert found == {
        "background": [[True, False], [False, False]],
        "eyes": [[False, False], [False, True]],
        "hair": [[False, False], [True, False]],
        "mouth": [[False, True], [False, False]],
    }
    assert regions.face.tolist() == [[[False, True], [False, True]]]
    assert regions.known.all()
    assert regions.names == ("background", "hair", "mouth", "eyes")
    assert not face_regions(torch.zeros(1, 1, 2, 2), replace(truth, region_names=("", "mouth", "a", "b"))).known.any()


def test_the_codebook_names_landmarks_regions_and_units_that_exist():
    codebook = read_codebook()
    assert (*OUTSIDE_FACE, *codebook["polygons"]) == FACE_REGIONS
    numbers = [number for polygons in codebook["polygons"].values() for polygon in polygons for number in polygon]
    assert set(numbers) <= set(range(468))
    assert {name for names in codebook["action_units"].values() for name in names} <= set(FACE_REGIONS)
    for expressions in codebook["expressions"].values():
        assert tuple(expressions) == EXPRESSIONS
        assert {unit for units in expressions.values() for unit in units} <= set(codebook["action_units"])
    assert expression_units("Anger") == ("AU4", "AU5", "AU7", "AU23")
    assert expression_units("neutral") == expression_units("conv7/4") == ()


def test_a_mask_of_action_units_is_the_union_of_their_regions():
    regions = face_regions(torch.zeros(1, 1, 48, 48))
    parts = regions.masks[0, [FACE_REGIONS.index(name) for name in ("below_eyes", "cheeks", "mouth")]]
    assert torch.equal(regions.action_units(("AU6", "AU12"))[0], parts.any(0))
    assert not regions.action_units(()).any()


def test_the_shipped_landmarks_are_small():
    assert SHIPPED_LANDMARKS.stat().st_size <= 2_000_000


@needs_data
def test_the_shipped_landmarks_are_those_of_the_archive_to_a_third_of_a_pixel(tmp_path: Path):
    assert DATA is not None
    archive = Path(DATA) / "fer2013_landmarks.npz"
    points, keys = read_points(archive)
    compact = shipped_landmarks()
    positions = compact.positions(keys)
    assert (positions >= 0).all()
    first = np.unique(positions, return_index=True)[1]  # equal images have one entry, of the first
    errors = np.linalg.norm(compact.decode(positions[first]) - points[first], axis=2)
    assert errors.mean() < 0.12
    assert np.quantile(errors, 0.999) < 0.35
    assert errors.mean(1).max() < 0.2  # of any face
    assert (errors > 0.5).mean() < 1e-4
    assert errors.max() < 1.6


@needs_data
def test_every_layout_finds_a_face_of_fer2013_and_no_other_picture(monkeypatch: pytest.MonkeyPatch):
    assert DATA is not None
    monkeypatch.syspath_prepend(DATA)
    import export_fer2013  # pyright: ignore[reportMissingImports]

    _, images = export_fer2013.load()
    pixels = torch.from_numpy(images[30000:30040].copy())[:, None]
    of_bytes, of_floats = landmarks_of(pixels), landmarks_of(pixels.float() / 255)
    assert of_bytes[1].float().mean() > 0.9
    assert torch.equal(of_bytes[0], of_floats[0])
    assert torch.equal(landmarks_of(pixels.expand(-1, 3, -1, -1))[0], of_bytes[0])
    assert not landmarks_of(255 - pixels)[1].any()


@needs_data
def test_building_again_gives_the_shipped_file(tmp_path: Path):
    assert DATA is not None
    main(str(Path(DATA) / "fer2013_landmarks.npz"), str(tmp_path / "built.npz"))
    with np.load(tmp_path / "built.npz") as built, np.load(SHIPPED_LANDMARKS) as shipped:
        assert set(built.files) == set(shipped.files)
        assert np.array_equal(built["keys"], shipped["keys"])
        assert np.allclose(built["mean"], shipped["mean"])
