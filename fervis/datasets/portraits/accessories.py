"""Neck and shirt, hair, glasses and hats."""

from __future__ import annotations

import numpy as np

from fervis.datasets.portraits.anatomy import Person
from fervis.datasets.portraits.paint_layers import REGION, PaintLayers, over
from fervis.datasets.portraits.shapes import Array, Grid, line, ramp, sides


def paint_neck(canvas: Grid, person: Person, grey: Array, inside: Array) -> Array:
    """Paint neck and shirt below the chin; return the opacity of all that is painted."""
    box = canvas.box(-27, 27, 14, 35)
    u, v = canvas.u[:, :, box[2]], canvas.v[:, box[1]]
    neck = ramp(10.5 - 2.5 * person.trait("female") + 0.04 * (v - 26) ** 2 - np.abs(u), 1.0)
    shirt = ramp(v - 33.0 + 0.12 * (np.abs(u) - 9).clip(0, None) * 2.0 - 0.5, 1.2) * (np.abs(u) > 0)
    below = np.maximum(neck, shirt)
    colour = person.trait("skin") * (0.42 + 0.16 * person.trait("ambient")) + 0.0 * u
    colour = colour + (person.trait("shirt") * 0.8 - colour) * shirt
    alpha = inside.copy()
    region = inside[box]
    grey[box] = grey[box] * region + colour * (1 - region)
    alpha[box] = np.maximum(region, below)
    return alpha


# bulk, roughness, reach downwards, rise and bend of the hairline, half-width at the temples, lean of the parting
_HAIR = np.array(
    (
        (1.2, 0.35, 4.0, 0.9, 0.026, 17.4, 0.0),  # short
        (1.0, 0.35, 4.0, -4.5, 0.016, 17.4, 0.0),  # receding
        (0.0, 0.0, 0.0, 0.0, 0.0, 17.4, 0.0),  # bald
        (2.2, 0.45, 12.0, 4.6, 0.012, 16.8, 0.0),  # fringe
        (2.4, 0.45, 26.0, -1.0, 0.02, 15.4, 0.22),  # parted
        (2.6, 0.5, 60.0, 0.0, 0.02, 14.8, 0.2),  # long
        (3.8, 1.5, 14.0, 0.5, 0.026, 15.8, 0.0),  # curly
    ),
    np.float32,
)
_BALD = 2
_WOMEN = (0.0, 0.0, 0.0, 0.25, 0.5, 0.85)
_MEN = (0.45, 0.6, 0.7, 0.82, 0.93, 0.93)


def paint_hair(canvas: Grid, person: Person, layers: PaintLayers, grey: Array, inside: Array, alpha: Array) -> Array:
    """Paint hair in seven styles, from a bald head to long hair; return the opacity of all that is painted."""
    u, v = canvas.u, canvas.v
    female, age = person.trait("female"), person.trait("age")
    pick = person.trait("hair_style")
    woman = female > 0.5
    style = np.where(woman, np.digitize(pick, _WOMEN), np.digitize(pick, _MEN))
    chosen = _HAIR[style]
    bulk, rough, reach, rise, bend, temple, lean = (chosen[..., k] for k in range(7))
    volume = bulk + 2.3 * person.trait("hair_volume")
    rough = layers.grain[1] * rough
    across, up = u / (person.trait("head_width") + volume), np.minimum(v - 2, 0) / (19.5 + volume)
    skull = (1 - across * across - up * up) * (0.5 * person.trait("head_width")) + rough
    reach = reach * (0.7 + 0.6 * person.trait("hair_volume"))
    cap = ramp(skull, 1.3) * ramp(reach - v + rough, 3.0)
    turn = person.trait("hair_side")
    part = np.abs(u - 8 * turn * (lean > 0))
    hairline = person.trait("hairline") + rise + bend * u * u * (1 + 0.015 * turn * u) + lean * part
    hairline = hairline + 0.5 * layers.grain[0] + 0.6 * rough
    above = ramp(hairline - v, 1.5)
    temples = ramp(np.abs(u) - temple - 0.01 * np.maximum(v - 4, 0) ** 2 * (temple > 15), 1.4) * ramp(v + 10.0, 5.0)
    bare = style == _BALD
    hair = cap * np.maximum(np.maximum(above, 1 - inside), temples) * ~bare
    tone = person.trait("hair_tone")
    fair = (person.trait("skin") / 0.6).clip(0.3, 1)
    dark = np.maximum(0.05 + 0.15 * tone, 1.5 * (tone - 0.6) * fair)
    dark = np.where((age > 0.85) & (tone > 0.4), 0.5, dark).astype(np.float32)
    glow = 1.25 + (0.15 * person.trait("light_x")) * across - 0.35 * across * across
    colour = dark * glow * (1 + 0.1 * layers.grain[0] + 0.12 * layers.grain[1])
    # long hair falls behind the neck and covers everything but the head
    visible = hair * np.where(v < 15, np.float32(1), inside)
    beyond_neck = np.abs(u) > 9.5
    visible = np.where(beyond_neck, hair, visible)
    # a soft shadow of the hair on the forehead
    grey *= 1 - 0.18 * ramp(hairline + 1.6 - v, 2.5) * inside * ~bare
    over(grey, colour, visible)
    layers.regions[visible > 0.5] = REGION["hair"]
    return np.maximum(alpha, visible)


def paint_glasses(canvas: Grid, person: Person, grey: Array) -> None:
    """Paint the frames of those who wear glasses: 16 of 100."""
    pick = person.trait("glasses")
    wears = pick < 0.16
    if not wears.any():
        return
    thick = np.where(pick < 0.07, np.float32(0.95), np.float32(0.6))
    dark = np.where(pick < 0.12, np.float32(0.06), np.float32(0.45))
    shape = person.trait("glasses_shape")
    half_p, half_v = 5.4 + 0.8 * shape, 3.9 + 1.0 * shape
    for side in sides(canvas, 0, 22, -8, 8):
        p, v = side.p, side.v
        x, y = (p - person.trait("eye_spacing")) / half_p, (v - 0.7) / half_v
        x2, y2 = x * x, y * y
        radius = np.where(shape < 0.5, x2 + y2, x2 * x2 + y2 * y2)
        rim = line((radius - 1) * np.where(shape < 0.5, np.float32(2.2), np.float32(1.15)), thick)
        bridge = line(v + 0.6 + 0.12 * p * p - 0.2, thick) * (p < person.trait("eye_spacing") - half_p + 0.4)
        arm = line(v + 1.0, thick) * (p > person.trait("eye_spacing") + half_p - 0.3) * (p < person.trait("head_width"))
        paint = side.of(grey)
        over(paint, dark, np.maximum(np.maximum(rim, bridge), arm) * wears * 0.9)
        glare = ramp(1 - radius, 0.3) * line(x + 0.7 * y * side.sign + 0.3, 0.35)
        over(paint, 0.9, glare * wears * 0.12)


def paint_hat(canvas: Grid, person: Person, layers: PaintLayers, grey: Array, alpha: Array) -> None:
    """Paint a knitted hat or a cap on one in ten."""
    wearing = np.flatnonzero(person.identity.traits["hat"] < 0.1)
    if not len(wearing):
        return
    person = person.take(wearing)
    box = canvas.box(-27, 27, -20, 2)
    at = (wearing, *box[1:])
    u, v = canvas.u, canvas.v[:, box[1]]
    cap = (person.trait("hat") < 0.05).astype(np.float32)
    width = person.trait("head_width") + 2.2
    edge = person.trait("hairline") + 2.4 + 0.006 * u * u * (1 + 1.2 * cap)
    round_ = 1 - (u / width) ** 2 - (np.minimum(v, 0) / 24) ** 2
    dome = ramp(round_ * 10, 1.2) * ramp(edge - v, 0.9)
    ribs = 1 + 0.12 * (1 - cap) * (2 * line((u * 0.45) % 1.0 - 0.5, 0.5) - 1) + 0.05 * layers.grain[0][at]
    shade = (1 - 0.3 * np.abs(u / width)) * (1 + 0.25 * person.trait("light_x") * u / width)
    brim = 1 - cap * 0.45 * ramp(v - edge + 2.6, 0.8) - (1 - cap) * 0.18 * ramp(v - edge + 4, 0.7)
    painted = grey[at]
    painted *= 1 - 0.3 * line(v - edge - 0.9, 1.8)
    over(painted, person.trait("hat_tone") * ribs * shade * brim, dome)
    grey[at] = painted
    alpha[at] = np.maximum(alpha[at], dome)
    layers.regions[at] = np.where(dome > 0.5, 0, layers.regions[at])
