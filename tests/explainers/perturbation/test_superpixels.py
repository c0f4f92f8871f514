"""Superpixels: literal means, cells and parts that are where they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fervis.errors import ConfigError
from fervis.explainers.perturbation.superpixels import (
    AREAS,
    PART_NAMES,
    PARTS,
    SEGMENTATIONS,
    consecutive,
    face_areas,
    face_parts,
    grid_cells,
    segment_means,
    slic_segments,
    superpixels,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("way", SEGMENTATIONS)
@pytest.mark.parametrize("shape", [(1, 48, 48), (3, 48, 48), (1, 16, 16), (1, 20, 30), (2, 9, 12)])
def test_pieces_are_numbered_without_gaps_and_there_are_about_as_many_as_asked(way: str, shape: tuple[int, ...]):
    image = 5 * noise(*shape) - 3
    found = superpixels(image, way, segments=24, compactness=10.0)
    assert found.shape == shape[1:]
    assert torch.equal(found.unique(), torch.arange(int(found.max()) + 1))
    least, most = (8, 10) if way == "areas" else (12, 36)
    assert least <= int(found.max()) + 1 <= most
    assert torch.equal(found, superpixels(image, way, segments=24, compactness=10.0))


def test_a_grid_is_of_equal_cells():
    found = grid_cells(6, 9, 6)
    assert found.tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 2]] * 3 + [[3, 3, 3, 4, 4, 4, 5, 5, 5]] * 3
    assert grid_cells(2, 3, 1000).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_slic_follows_an_edge_and_does_not_mind_the_range_of_values():
    image = torch.zeros(1, 24, 24)
    image[:, :, 10:] = 1
    found = slic_segments(image, 9, 1.0)
    left, right = set(found[:, :9].unique().tolist()), set(found[:, 11:].unique().tolist())
    assert not left & right
    assert torch.equal(found, slic_segments(255 * image - 17, 9, 1.0))
    assert torch.equal(found, slic_segments(image.expand(3, -1, -1), 9, 1.0))


def test_parts_lie_where_the_template_says():
    found = face_parts(48, 48)
    at = {name: (found == PART_NAMES.index(name)).nonzero() for name in PART_NAMES}
    assert all(len(places) for places in at.values())
    assert len(PART_NAMES) == 33
    assert found[18, 13] == PART_NAMES.index("eye left")
    assert found[18, 33] == PART_NAMES.index("eye right")
    assert found[23, 24] == found[33, 24] == PART_NAMES.index("nose")
    assert found[38, 24] == PART_NAMES.index("mouth middle")
    assert found[46, 24] == PART_NAMES.index("chin")
    # Left mirrors right.
    mirror = [PART_NAMES.index(_mirrored(name)) for name in PART_NAMES]
    assert torch.equal(torch.tensor(mirror)[found].flip(1), found)
    # Twice the size is every pixel twice.
    assert torch.equal(face_parts(96, 96), found.repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert PARTS[-1][0] == 48
    assert all(strip[-1][1] == 48 for _, strip in PARTS)


def _mirrored(name: str) -> str:
    swapped = {"left": "right", "right": "left"}
    return " ".join(swapped.get(word, word) for word in name.split())


def test_means_are_those_of_numpy():
    image, segments = noise(3, 7, 5), consecutive((noise(7, 5, seed=1) * 6).long())
    pixels, pieces = image.double().numpy(), segments.numpy()
    expected = np.empty_like(pixels)
    for channel in range(3):
        for piece in np.unique(pieces):
            expected[channel][pieces == piece] = pixels[channel][pieces == piece].mean()
    found = segment_means(image, segments)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), torch.from_numpy(expected), rtol=0, atol=1e-7)


def test_one_piece_is_refused():
    with pytest.raises(ConfigError, match=r"explainer\.superpixels=grid: it finds one superpixel"):
        superpixels(noise(1, 1, 1), "grid", segments=9, compactness=10.0)


def test_an_image_of_one_value_is_cut_into_cells():
    assert torch.equal(slic_segments(torch.full((1, 12, 12), 0.4), 9, 10.0), grid_cells(12, 12, 9))


def test_the_areas_are_groups_of_the_parts_and_hold_each_of_them_once():
    assert sorted(part for parts in AREAS.values() for part in parts) == sorted(PART_NAMES)
    areas, parts = face_areas(48, 48), face_parts(48, 48)
    for number, (name, group) in enumerate(AREAS.items()):
        inside = torch.zeros(48, 48, dtype=torch.bool)
        for part in group:
            inside |= parts == PART_NAMES.index(part)
        assert torch.equal(areas == number, inside), name
    assert int(areas.max()) == 9
