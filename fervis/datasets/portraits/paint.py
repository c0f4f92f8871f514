"""The head: a relief of skin under a light, with eyes, mouth, hair and accessories painted over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fervis.datasets.portraits.accessories import paint_glasses, paint_hair, paint_hat, paint_neck
from fervis.datasets.portraits.anatomy import Person
from fervis.datasets.portraits.eyes_mouth import paint_eye, paint_mouth, paint_nostrils
from fervis.datasets.portraits.paint_layers import PaintLayers
from fervis.datasets.portraits.shapes import Array, Grid
from fervis.datasets.portraits.skin import paint_beard, paint_head, paint_lower_face, paint_nose, paint_upper_face


def paint_face(canvas: Grid, person: Person, grain: tuple[Array, Array]) -> tuple[Array, Array, NDArray[np.uint8]]:
    """Draw the heads.

    Args:
        canvas: the grid.
        person: N persons with their expression.
        grain: fine and coarse texture, [N,H,W] each, about 0 with a deviation near 1.

    Returns:
        Grey in [0, 1], opacity in [0, 1] and regions, [N,H,W] each.
    """
    count = len(person)
    layers = PaintLayers(canvas.blank(count), canvas.blank(count), np.zeros((count, *canvas.shape), np.uint8), grain)
    skin = person.trait("skin")
    layers.albedo += skin * (1 + 0.035 * grain[1] + 0.02 * grain[0])
    inside = paint_head(canvas, person, layers)
    paint_nose(canvas, person, layers)
    for half in (-1, 1):
        paint_upper_face(canvas, person, layers, half)
        paint_lower_face(canvas, person, layers, half)
    paint_beard(canvas, person, layers)
    light = _light(canvas, person, layers)
    grey = layers.albedo * light + _gloss(person, light)
    paint_nostrils(canvas, person, grey)
    for half in (-1, 1):
        paint_eye(canvas, person, layers, grey, light, half)
        paint_mouth(canvas, person, layers, grey, light, half)
    alpha = paint_neck(canvas, person, grey, inside)
    alpha = paint_hair(canvas, person, layers, grey, inside, alpha)
    paint_glasses(canvas, person, grey)
    paint_hat(canvas, person, layers, grey, alpha)
    return grey, alpha, layers.regions


def _light(canvas: Grid, person: Person, layers: PaintLayers) -> Array:
    """Compute the light that reaches the relief: ambient, and Lambert's law for the lamp."""
    relief = layers.relief
    across, down = np.empty_like(relief), np.empty_like(relief)
    half = np.float32(canvas.density / 2)
    np.subtract(relief[:, :, 2:], relief[:, :, :-2], out=across[:, :, 1:-1])
    across[:, :, 0], across[:, :, -1] = across[:, :, 1], across[:, :, -2]
    np.subtract(relief[:, 2:], relief[:, :-2], out=down[:, 1:-1])
    down[:, 0], down[:, -1] = down[:, 1], down[:, -2]
    across *= half
    down *= half
    x, y, ambient = person.trait("light_x"), person.trait("light_y"), person.trait("ambient")
    facing = 1 / np.sqrt(across * across + down * down + 1)
    lamp = ((1.15 - across * x - down * y) * facing / np.sqrt(1.32 + x * x + y * y)).clip(0, None)
    return ambient * (0.75 + 0.25 * facing) + (1.12 - ambient) * lamp


def _gloss(person: Person, light: Array) -> Array:
    """Compute a shine where the skin faces the lamp."""
    l2 = light * light
    l4 = l2 * l2
    return 0.1 * person.trait("gloss") * l4 * l4
