"""Nostrils, eyes and mouth, painted over the lit skin."""

from __future__ import annotations

import numpy as np

from fervis.datasets.portraits.anatomy import Person, eye, mouth
from fervis.datasets.portraits.paint_layers import REGION, PaintLayers, over, pick
from fervis.datasets.portraits.shapes import Array, Grid, blob, line, ramp, sides


def paint_nostrils(canvas: Grid, person: Person, grey: Array) -> None:
    """Paint two dark holes below the tip of the nose, in place on ``grey``."""
    box = canvas.box(-6, 6, 6, 18)
    u, v = canvas.u[:, :, box[2]], canvas.v[:, box[1]]
    au9, au10 = person.unit("AU9"), person.unit("AU10")
    tip = person.trait("nose_length") - 0.9 - 0.5 * au9
    wide = person.trait("nose_width") * (1 + 0.12 * au9 + 0.08 * au10 + 0.06 * person.unit("AU12"))
    for sign in (-1, 1):
        hole = blob(sign * u - wide * 0.5, v - (tip + 1.75 - 0.35 * au9) - 0.15 * sign * u, 1.5, 1.05)
        over(grey[box], 0.08, 0.85 * hole)


def paint_eye(canvas: Grid, person: Person, layers: PaintLayers, grey: Array, light: Array, sign: int) -> None:
    """Paint one eye: ball, iris, pupil, spark and lids, in place on ``grey`` and the regions."""
    side = pick(sides(canvas, 2.5, 17.5, -7, 6), sign)
    p, v = side.p, side.v
    paint = side.of(grey)
    shape = eye(person, sign)
    q = (p - shape.p) / shape.half
    top, bottom = shape.lids(q.clip(-1, 1))
    within = ramp(1.02 - np.abs(q), 0.18)
    opening = ramp(np.minimum(v - top, bottom - v), 0.8) * within
    shade = 0.25 * person.trait("ambient") + 0.75 * side.of(light)
    ball = 0.86 * shade * (1 - 0.3 * q * q) * (0.74 + 0.26 * ramp(v - top - 0.7, 1.6))
    x = p - shape.p - sign * person.trait("gaze_x")
    y = v + 0.15 - person.trait("gaze_y")
    r2 = x * x + y * y
    colour = ball
    over(colour, person.trait("iris"), ramp(1.9 - np.sqrt(r2), 0.7))
    over(colour, 0.02, ramp(0.8 - np.sqrt(r2), 0.6))
    spark = blob(p - shape.p - sign * (person.trait("gaze_x") - 0.7), y + 0.75, 0.8, 0.8)
    over(colour, 0.95, spark)
    over(paint, colour, opening)
    lash = 0.5 + 0.4 * person.trait("makeup") * person.trait("female")
    over(paint, 0.06, line(v - top + 0.1, 0.75 + 0.35 * lash) * (0.35 + 0.6 * lash) * ramp(1.08 - np.abs(q), 0.2))
    over(paint, paint * 0.62, line(v - bottom - 0.15, 0.7) * 0.6 * ramp(1.0 - np.abs(q), 0.3))
    fold = v - top + shape.crease + 0.2 * q
    over(paint, paint * 0.55, line(fold, 0.75) * ramp(1.1 - np.abs(q), 0.4) * 0.75)
    regions = side.of(layers.regions)
    regions[(v > top - shape.crease - 0.6) & (v < bottom + 1.2) & (np.abs(q) < 1.2)] = REGION["eyes"]


def paint_mouth(canvas: Grid, person: Person, layers: PaintLayers, grey: Array, light: Array, sign: int) -> None:
    """Paint half of the mouth: lips, and teeth and tongue where it is open, in place on ``grey`` and the regions."""
    side = pick(sides(canvas, 0, 14, 12, 35), sign)
    p, v = side.p, side.v
    paint = side.of(grey)
    lips = mouth(person, sign)
    q = (p / lips.half).clip(0, 1.2)
    top, upper, lower, bottom = lips.curves(q.clip(0, 1))
    end = ramp((1.0 - q) * lips.half, 1.2)
    dark = 0.16 + 0.3 * person.trait("lip_dark") * (0.4 + 0.6 * person.trait("female"))
    body = ramp(np.minimum(v - top, bottom - v), 1.0) * end
    over(paint, paint * (1 - dark), body)
    upper_lip = ramp(np.minimum(v - top, upper - v), 1.0) * end
    over(paint, paint * 0.82, upper_lip)
    gap = lower - upper
    opening = ramp(np.minimum(v - upper, lower - v), 0.8) * end * ramp(gap - 0.35, 0.5)
    inside = 0.05 + 0.22 * person.trait("skin") * ramp(gap - 4.0, 3.0) * blob(p, v - lower + 0.4, 5.0, 2.6)
    names = ("AU10", "AU12", "AU16", "AU20", "AU9", "AU23")
    m10, m12, m16, m20, m9, m23 = (person.unit(name) for name in names)
    show = (0.25 + 0.9 * m12 + 0.7 * m10 + 0.5 * m9 + 0.2 * m20 + 0.5 * m23).clip(0, 1)
    reach = np.minimum(0.3 + 2.2 * show, gap + 0.3)
    seams = 1 - 0.1 * line((p * 0.62) % 1.0 - 0.5, 0.3)
    tooth = (0.22 + 0.74 * side.of(light)) * (1 - 0.3 * q * q) * seams
    over(inside, tooth, ramp(upper + reach - v, 0.7) * show * ramp(1.0 - q, 0.3))
    low = (0.9 * m16 + 0.5 * m20 + 0.5 * m23).clip(0, 1)
    over(inside, tooth * 0.85, ramp(v - lower + 1.3 * low, 0.7) * low * ramp(0.95 - q, 0.3))
    over(paint, inside, opening)
    # a closed mouth is a dark line
    seam = line(v - 0.5 * (upper + lower), 0.85) * ramp((1.06 - q) * lips.half, 1.2) * ramp(1.1 - gap, 1.0)
    over(paint, paint * 0.3, seam * 0.9)
    regions = side.of(layers.regions)
    regions[(v > top - 0.8) & (v < bottom + 0.8) & (q < 1.08)] = REGION["mouth"]
