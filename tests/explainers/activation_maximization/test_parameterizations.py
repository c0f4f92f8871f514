"""Canvases against the transforms they stand for, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fervis.errors import ConfigError
from fervis.explainers.activation_maximization.parameterizations import (
    FixedSpectrum,
    Fourier,
    Pixels,
    build_parameterization,
    correlated,
    decorrelated,
)

SHAPES = [(1, 8, 8), (1, 9, 7), (3, 6, 8), (3, 7, 6)]


def faces(shape: tuple[int, int, int], count: int = 5) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def magnitude(shape: tuple[int, int, int]) -> Tensor:
    return torch.fft.rfft2(decorrelated(faces(shape))).abs().mean(0)


@pytest.mark.parametrize("shape", SHAPES)
def test_fourier_is_a_scaled_inverse_transform_through_a_sigmoid(shape: tuple[int, int, int]):
    canvas = Fourier(shape)
    parameters = canvas.noise(torch.Generator().manual_seed(1))[None].double()
    channels, height, width = shape
    expected = np.zeros(shape)
    for channel in range(channels):
        spectrum = np.zeros((height, width // 2 + 1), complex)
        for row in range(height):
            for column in range(width // 2 + 1):
                f = np.hypot((row if row <= (height - 1) // 2 else row - height) / height, column / width)
                real, imaginary = parameters[0, channel, row, column].tolist()
                spectrum[row, column] = complex(real, imaginary) / max(f, 1 / max(width, height))
        expected[channel] = np.fft.irfft2(spectrum, s=(height, width), norm="ortho") / 4
    if channels == 3:
        colours = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
        colours /= np.max(np.linalg.norm(colours, axis=0))
        expected = np.einsum("rc,chw->rhw", colours, expected)
    found = canvas.images(parameters)
    np.testing.assert_allclose(found[0].numpy(), 1 / (1 + np.exp(-expected)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_maco_has_the_magnitudes_of_the_faces_whatever_the_phases(shape: tuple[int, int, int]):
    canvas = FixedSpectrum(magnitude(shape), shape)
    for seed in range(3):
        phases = canvas.noise(torch.Generator().manual_seed(seed))[None].double()
        uncut = canvas.unclamped(phases)
        torch.testing.assert_close(torch.fft.rfft2(uncut)[0].abs(), canvas.magnitude, atol=1e-9, rtol=0)
        assert torch.equal(canvas.images(phases), correlated(uncut).clamp(0, 1))
        torch.testing.assert_close(uncut[0].sum((1, 2)), canvas.magnitude[:, 0, 0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["pixels", "fourier"])
def test_a_face_on_canvas_is_the_face(name: str, shape: tuple[int, int, int]):
    canvas = build_parameterization(name, shape)
    face = 0.02 + 0.96 * faces(shape)[0]
    torch.testing.assert_close(canvas.images(canvas.from_image(face)[None])[0], face, atol=1e-6, rtol=0)


def test_a_face_with_its_own_magnitudes_is_the_face_on_a_maco_canvas():
    # The four real frequencies of an even image are taken as positive, so the face must have them so.
    face = 0.5 + torch.fft.irfft2(torch.fft.rfft2(0.02 * faces((1, 8, 8))[0]), s=(8, 8))
    spectrum = torch.fft.rfft2(face)
    for row in (0, 4):
        for column in (0, 4):
            spectrum[:, row, column] = spectrum[:, row, column].abs()
    face = torch.fft.irfft2(spectrum, s=(8, 8))
    canvas = FixedSpectrum(spectrum.abs(), (1, 8, 8))
    torch.testing.assert_close(canvas.images(canvas.from_image(face)[None])[0], face, atol=1e-9, rtol=0)


def test_colours_and_back():
    images = faces((3, 4, 5))
    torch.testing.assert_close(decorrelated(correlated(images)), images)
    assert not torch.allclose(correlated(images), images)
    grey = faces((1, 4, 5))
    assert correlated(grey) is grey


def test_pixels_that_leave_the_range_come_back_for_good():
    parameters = torch.tensor([-0.5, 0.5, 1.5]).view(1, 1, 1, 3).requires_grad_()
    images = Pixels((1, 1, 3)).images(parameters)
    assert images.flatten().tolist() == [0, 0.5, 1]
    assert parameters.flatten().tolist() == [0, 0.5, 1]


def test_an_unknown_canvas_is_refused():
    with pytest.raises(ConfigError, match="Did you mean fourier"):
        build_parameterization("furier", (1, 8, 8))
