"""Alignment by landmarks: similarities that are known, and maps whose moved values are known."""

from __future__ import annotations

import math

import pytest
import torch

from fervis.datasets.landmarks.alignment import fit_similarity, warp_to_frame


@pytest.fixture
def frame() -> torch.Tensor:
    return 8 + 32 * torch.rand(30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def moved(points: torch.Tensor, scale: complex, shift: complex) -> torch.Tensor:
    numbers = [scale * complex(x, y) + shift for x, y in points.tolist()]
    return torch.tensor([[number.real, number.imag] for number in numbers], dtype=torch.float64)


def test_a_known_similarity_is_recovered(frame: torch.Tensor):
    scale, shift = 1.3 * complex(math.cos(0.4), math.sin(0.4)), complex(-3, 5)
    found_scale, found_shift = fit_similarity(moved(frame, scale, shift)[None], frame)
    torch.testing.assert_close(found_scale[0], torch.tensor(1 / scale, dtype=torch.complex128))
    torch.testing.assert_close(found_shift[0], torch.tensor(-shift / scale, dtype=torch.complex128))


def test_the_fit_is_the_least_squares_solution(frame: torch.Tensor):
    points = frame + torch.randn(30, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scale, shift = (value[0].item() for value in fit_similarity(points[None], frame))
    # x' = c x - s y + u, y' = s x + c y + v, as one linear system.
    x, y, one, zero = points[:, 0], points[:, 1], torch.ones(30).double(), torch.zeros(30).double()
    system = torch.cat([torch.stack([x, -y, one, zero], 1), torch.stack([y, x, zero, one], 1)])
    solution = torch.linalg.lstsq(system, torch.cat([frame[:, 0], frame[:, 1]])[:, None]).solution[:, 0]
    assert [scale.real, scale.imag, shift.real, shift.imag] == pytest.approx(solution.tolist())


def test_a_linear_map_moves_with_its_face(frame: torch.Tensor):
    """Where the frame's pixel comes from inside the image, the value is that of the linear function there."""
    scale, shift = 0.9 * complex(math.cos(-0.2), math.sin(-0.2)), complex(4, 2)
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(48) + 0.5, indexing="ij")
    maps = (2 * x - 3 * y).double()[None]
    warped = warp_to_frame(maps, moved(frame, scale, shift)[None], frame)[0]
    for row, column in ((20, 20), (30, 12), (24, 33)):
        place = scale * complex(column + 0.5, row + 0.5) + shift
        assert warped[row, column] == pytest.approx(2 * place.real - 3 * place.imag)


def test_the_face_of_the_frame_stays_where_it_is(frame: torch.Tensor):
    maps = torch.rand(2, 48, 48, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(warp_to_frame(maps, frame.expand(2, -1, -1), frame), maps)
