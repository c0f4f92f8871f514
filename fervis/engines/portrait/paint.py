"""The face itself: a relief of skin under a light, with eyes, mouth, brows and hair painted in layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fervis.engines.portrait.anatomy import Person, brow, eye, jaw_drop, mouth
from fervis.engines.portrait.canvas import Canvas, Side, blob, bump, line, ramp, sides, smooth

Array = NDArray[Any]  # float32

REGIONS = ("background", "forehead", "brows", "eyes", "nose", "cheeks", "mouth", "chin", "hair")
_AT = {name: index for index, name in enumerate(REGIONS)}


@dataclass
class Layers:
    """What is painted on, all [N,H,W].

    Attributes:
        relief: height of the skin towards the camera, in pixels of a face drawn 48 wide.
        albedo: share of the light that the skin gives back.
        regions: index into ``REGIONS``.
        grain: fine and coarse texture, about 0, of the person's own.
    """

    relief: Array
    albedo: Array
    regions: NDArray[np.uint8]
    grain: tuple[Array, Array]


def over(below: Array, colour: Array | float, alpha: Array) -> None:
    """Paint a colour with this opacity over ``below``, in place."""
    below += (colour - below) * alpha


def paint_face(canvas: Canvas, person: Person, grain: tuple[Array, Array]) -> tuple[Array, Array, NDArray[np.uint8]]:
    """Draw the heads.

    Args:
        canvas: the grid.
        person: N persons with their expression.
        grain: fine and coarse texture, [N,H,W] each, about 0 with a deviation near 1.

    Returns:
        Grey in [0, 1], opacity in [0, 1] and regions, [N,H,W] each.
    """
    count = len(person)
    layers = Layers(canvas.blank(count), canvas.blank(count), np.zeros((count, *canvas.shape), np.uint8), grain)
    skin = person.trait("skin")
    layers.albedo += skin * (1 + 0.035 * grain[1] + 0.02 * grain[0])
    inside = _head(canvas, person, layers)
    _nose(canvas, person, layers)
    for half in (-1, 1):
        _upper_face(canvas, person, layers, half)
        _lower_face(canvas, person, layers, half)
    _beard(canvas, person, layers)
    light = _light(canvas, person, layers)
    grey = layers.albedo * light + _gloss(person, light)
    _nostrils(canvas, person, grey)
    for half in (-1, 1):
        _eye(canvas, person, layers, grey, light, half)
        _mouth(canvas, person, layers, grey, light, half)
    alpha = _neck(canvas, person, grey, inside)
    alpha = _hair(canvas, person, layers, grey, inside, alpha)
    _glasses(canvas, person, grey)
    _hat(canvas, person, layers, grey, alpha)
    return grey, alpha, layers.regions


def _pick(pair: tuple[Side, Side], sign: int) -> Side:
    return pair[0] if sign < 0 else pair[1]


def _head(canvas: Canvas, person: Person, layers: Layers) -> Array:
    """Skull and jaw; returns the head's opacity."""
    u, v = canvas.u, canvas.v
    drop = jaw_drop(person)
    width, chin = person.trait("head_width"), person.trait("chin")
    # the jaw takes along what lies below the upper lip
    hung = v - drop * smooth((v - 18) / (chin + drop - 18))
    middle = np.float32(4.0)
    below = ((hung - middle) / (chin - middle)).clip(0, None)
    above = ((middle - v) / np.float32(23.0)).clip(0, None)
    jaw = 0.3 + 0.55 * person.trait("jaw") * (1 - 0.5 * person.trait("female"))
    b2 = below * below
    across = u / (width * (1 - 0.08 * below))
    radius = across * across + b2 * (1 - jaw + jaw * b2) + above * above
    layers.relief += 11.0 * (1 - radius)
    regions = layers.regions
    regions[...] = np.where(v < -2.0, _AT["forehead"], _AT["cheeks"])
    regions[:] = np.where(hung > person.trait("mouth_height") + 4.2, _AT["chin"], regions)
    inside = ramp((1 - radius) * 8.5, 1.6)
    regions[inside < 0.5] = 0
    layers.relief += 1.5 * blob(u, hung - 27.3, 6.5, 5.0)
    layers.relief += 0.9 * blob(u, v - 19.5, 11.0, 9.0)
    boss = person.unit("AU17")
    layers.relief -= (0.8 + 0.6 * boss) * blob(u, hung - 25.2 + 0.03 * u * u, 5.0, 1.9)
    layers.relief += 1.1 * boss * blob(u, hung - 27.5, 4.5, 3.2)
    pits = (1 + layers.grain[0]).clip(0, 2)
    layers.albedo -= layers.albedo * 0.16 * boss * blob(u, hung - 27.6, 4.6, 3.0) * pits
    return inside


def _nose(canvas: Canvas, person: Person, layers: Layers) -> None:
    box = canvas.box(-10, 10, -7, 18)
    u, v = canvas.u[:, :, box[2]], canvas.v[:, box[1]]
    relief, albedo, regions = layers.relief[box], layers.albedo[box], layers.regions[box]
    au9, au10 = person.unit("AU9"), person.unit("AU10")
    tip = person.trait("nose_length") - 0.9 - 0.5 * au9
    wide = person.trait("nose_width") * (1 + 0.12 * au9 + 0.08 * au10 + 0.06 * person.unit("AU12"))
    high = person.trait("nose_height")
    along = (v + 4.0) / (tip + 4.0)
    ridge = high * (0.12 * ramp(v + 5.5, 2.5) + 0.88 * smooth(along)) * ramp(tip + 1.4 - v, 2.6)
    half = 2.2 + (wide - 1.4) * smooth(along) * 0.75
    relief += ridge * line(u, half * 1.5)
    relief += 0.45 * high * blob(u, v - tip, 2.7, 2.6)
    wing = tip + 0.7 - 0.8 * au9 - 0.4 * au10
    for sign in (-1, 1):
        p = sign * u
        relief += 1.5 * blob(p - wide * 0.92, v - wing, 1.9, 2.0)
        furrow = line(p - (wide * 1.12 + 0.55), 1.0) * bump(((v - wing) / 2.6) ** 2) * (p > 0)
        albedo -= albedo * 0.28 * furrow
        # AU9: skin of the bridge is pulled up in folds along and across it
        for k, (at, slope) in enumerate(((-2.8, 0.45), (-0.6, 0.7), (1.8, 0.9))):
            fold = line(v - at + slope * p - 0.1 * p * p, 0.75) * ramp(4.2 - p, 2.0) * (p > 0)
            albedo -= albedo * (0.42 - 0.06 * k) * au9 * fold
            relief += 0.55 * au9 * line(v - at - 1.05 + slope * p - 0.1 * p * p, 0.8) * ramp(4.2 - p, 2.0) * (p > 0)
    under = blob(u, v - (tip + 2.3), wide * 1.05, 1.5)
    albedo -= albedo * 0.3 * under
    in_nose = (np.abs(u) < 1.3 + (wide + 0.2) * smooth(along)) & (v > -1.0) & (v < tip + 2.2)
    regions[in_nose] = _AT["nose"]


def _nostrils(canvas: Canvas, person: Person, grey: Array) -> None:
    box = canvas.box(-6, 6, 6, 18)
    u, v = canvas.u[:, :, box[2]], canvas.v[:, box[1]]
    au9, au10 = person.unit("AU9"), person.unit("AU10")
    tip = person.trait("nose_length") - 0.9 - 0.5 * au9
    wide = person.trait("nose_width") * (1 + 0.12 * au9 + 0.08 * au10 + 0.06 * person.unit("AU12"))
    for sign in (-1, 1):
        hole = blob(sign * u - wide * 0.5, v - (tip + 1.75 - 0.35 * au9) - 0.15 * sign * u, 1.5, 1.05)
        over(grey[box], 0.08, 0.85 * hole)


def _upper_face(canvas: Canvas, person: Person, layers: Layers, sign: int) -> None:
    """Forehead, brow ridge, socket and brow of one side, with the folds of AU1, AU2, AU4 and AU6."""
    side = _pick(sides(canvas, 0, 20, -16, 13.5), sign)
    p, v = side.p, side.v
    relief, albedo, regions = side.of(layers.relief), side.of(layers.albedo), side.of(layers.regions)
    shape = brow(person, sign)
    ball = eye(person, sign)
    au1, au2, au4, au6 = (person.unit(name, sign) for name in ("AU1", "AU2", "AU4", "AU6"))
    au9, au7 = person.unit("AU9", sign), person.unit("AU7", sign)
    age = person.trait("age")
    t = shape.along(p)
    height = shape.height(t)
    relief += (0.9 + 0.5 * au4) * blob(p - 8.0, v - height - 0.3, 9.0, 3.2)
    relief -= 2.0 * blob(p - 8.6, v - 0.2, 7.5, 4.8)
    relief -= 1.1 * blob(p - 4.3, v - 0.2, 3.2, 3.6)
    albedo -= albedo * 0.16 * blob(p - 7.0, v + 1.6, 7.5, 3.8)
    # bags and AU6, AU7: the skin below the lid bunches
    bag = ball.v + ball.lower + 1.7 - 0.04 * (p - ball.p) ** 2
    albedo -= (
        albedo * (0.05 + 0.13 * age + 0.16 * au6 + 0.1 * au7) * line(v - bag, 0.9) * bump(((p - ball.p) / 5.0) ** 2)
    )
    relief += (0.2 + 0.5 * au6 + 0.3 * au7) * line(v - bag + 1.0, 1.2) * bump(((p - ball.p) / 5.0) ** 2)
    relief += (1.1 + 1.0 * au6 + 0.3 * au9) * blob(p - 11.2 + 0.5 * au6, v - 7.2 + 1.4 * au6 + 0.6 * au9, 6.6, 5.2)
    for slope in (-0.55, -0.05, 0.45):
        foot = line(v - 0.3 - slope * (p - 13.6), 0.7) * bump(((p - 16.2) / 2.4) ** 2)
        albedo -= albedo * (0.1 * age * age + 0.34 * au6) * foot
    # forehead: AU1 folds the middle, AU2 the side, both all of it
    lift = au1 * bump((p / 9.0) ** 2) * 1.1 + au2 * bump(((p - 9.5) / 9.0) ** 2)
    depth = 0.26 * np.minimum(lift, 1.0) * (0.55 + 0.6 * age) + 0.1 * age * bump((p / 13.0) ** 2)
    for row in (2.6, 4.7, 6.8):
        at = shape.base - row - 1.9 * np.minimum(lift, 1.0) - 0.25 * au1 * bump((p / 6.0) ** 2)
        albedo -= albedo * depth * line(v - at, 0.75)
        relief += 1.5 * depth * line(v - at - 1.0, 1.0)
    # AU4: the brows' inner ends push up a bulge and two upright furrows
    frown = np.maximum(au4, 0.55 * au9)
    furrow = line(p - 1.5 - 0.1 * (v + 4.0), 0.8) * bump(((v + 4.6 - 0.6 * au1) / 3.9) ** 2)
    albedo -= albedo * (0.06 * age + 0.55 * frown) * furrow
    relief += 0.9 * frown * blob(p - 3.3, v + 4.2, 2.0, 3.0)
    oblique = np.minimum(au1, au4)
    albedo -= albedo * 0.3 * oblique * line(v - height - 1.7 + 0.35 * (p - 8.0), 0.9) * bump(((p - 7.5) / 4.5) ** 2)
    # the brow: thick inside, thin outside, hairs uneven
    thin = shape.thick * (1.15 - 0.55 * t * t)
    hair = ramp(thin - np.abs(v - height), 1.0) * ramp((p - shape.inner) * 0.8, 1.5) * ramp(shape.outer - p, 1.8)
    strength = person.trait("brow_dark") * (0.72 + 0.28 * (1 - person.trait("hair_tone")))
    over(albedo, person.trait("skin") * 0.18, hair * (strength + 0.08 * side.of(layers.grain[0])).clip(0, 0.97))
    regions[hair > 0.4] = _AT["brows"]


def _lower_face(canvas: Canvas, person: Person, layers: Layers, sign: int) -> None:
    """Cheek, the fold from nose to mouth and the lips' relief of one side."""
    side = _pick(sides(canvas, 0, 20, 6, 35), sign)
    p, v = side.p, side.v
    relief, albedo = side.of(layers.relief), side.of(layers.albedo)
    names = ("AU9", "AU10", "AU12", "AU15", "AU20", "AU24", "AU17", "AU23")
    au9, au10, au12, au15, au20, au24, au17, au23 = (person.unit(name, sign) for name in names)
    lips = mouth(person, sign)
    age = person.trait("age")
    # nasolabial fold: from the wing of the nose around the corner of the mouth
    wing = person.trait("nose_width") + 1.0
    start = person.trait("nose_length") - 1.8 - 1.2 * au9 - 0.8 * au10
    end = person.trait("mouth_height") - 0.5 + 0.6 * au15
    t = (v - start) / (end - start)
    at = wing + (person.trait("mouth_width") + 2.6 + 5.0 * au12 + 1.0 * au20 - wing) * t
    at = at + (0.7 * au12 + 0.9 * au10 + 0.6 * au9) * 4 * (t * (1 - t)).clip(0, None)
    ends = ramp(t - 0.08, 0.3) * ramp(0.9 - t, 0.45)
    upper = ends * (1 - 0.75 * t).clip(0, 1)
    depth = (0.05 + 0.13 * age + 0.12 * au12) * ends + (0.42 * au10 + 0.36 * au9) * upper
    slant = 0.72 + 0.1 * (au9 + au10)
    albedo -= albedo * depth.clip(0, 0.55) * line((p - at) * slant, 1.25 + 0.6 * au12)
    relief += 2.8 * depth * line((p - at - 2.2) * slant, 2.4)
    relief += 1.2 * au12 * blob(p - 11.0, v - 11.5, 5.5, 5.0)
    # the corner: AU12 dimples it, AU15 drags a pouch down from it, AU20 stretches upright folds beside it
    dimple = blob(p - lips.half - 0.6, v - lips.corner, 1.6, 1.8)
    albedo -= albedo * (0.12 + 0.2 * au12 + 0.2 * au15 + 0.12 * au24 + 0.2 * au23) * dimple
    drag = line(p - lips.half - 0.1 - 0.25 * (v - lips.corner), 0.95) * bump(((v - lips.corner - 2.2) / 2.8) ** 2)
    albedo -= albedo * (0.1 * age * age + 0.4 * au15 + 0.15 * au20) * drag
    stretch = line(p - lips.half - 1.9 + 0.04 * (v - 22.0) ** 2, 0.9) * bump(((v - lips.corner - 0.5) / 4.5) ** 2)
    albedo -= albedo * 0.36 * au20 * stretch
    # lips stand out, and bulge around when they are pressed
    q = (p / lips.half).clip(0, 1)
    top, upper_edge, lower_edge, bottom = lips.curves(q)
    relief += 0.75 * line(v - 0.5 * (top + upper_edge), 1.7) * (1 - q * q)
    relief += 1.0 * line(v - 0.5 * (lower_edge + bottom), 1.9) * (1 - q * q)
    relief += 0.9 * (au24 + 0.5 * au23) * (line(v - top + 1.3, 1.4) + line(v - bottom - 1.3, 1.4)) * (1 - q * q)
    shadow = line(v - bottom - 1.0, 1.4) * (1 - q * q)
    albedo -= albedo * (0.16 + 0.1 * au17) * shadow
    philtrum = line(p, 0.9) * bump(((v - top + 2.0) / 2.2) ** 2)
    albedo -= albedo * 0.08 * philtrum


def _eye(canvas: Canvas, person: Person, layers: Layers, grey: Array, light: Array, sign: int) -> None:
    side = _pick(sides(canvas, 2.5, 17.5, -7, 6), sign)
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
    regions[(v > top - shape.crease - 0.6) & (v < bottom + 1.2) & (np.abs(q) < 1.2)] = _AT["eyes"]


def _mouth(canvas: Canvas, person: Person, layers: Layers, grey: Array, light: Array, sign: int) -> None:
    side = _pick(sides(canvas, 0, 14, 12, 35), sign)
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
    regions[(v > top - 0.8) & (v < bottom + 0.8) & (q < 1.08)] = _AT["mouth"]


def _beard(canvas: Canvas, person: Person, layers: Layers) -> None:
    """None, stubble, a moustache, a goatee or a full beard, on faces that are not drawn female."""
    box = canvas.box(-22, 22, 4, 35)
    u, v = canvas.u[:, :, box[2]], canvas.v[:, box[1]]
    albedo = layers.albedo[box]
    male = 1 - person.trait("female")
    amount, kind = person.trait("beard"), person.trait("beard_kind")
    wears = (male > 0.55) * (amount > 0.5)
    lips = mouth(person, 0)
    drop = jaw_drop(person)
    top, _, _, bottom = lips.curves((np.abs(u) / lips.half).clip(0, 1))
    moustache = (1.6 * bump((u / (lips.half + 1.5)) ** 2) * line(v - top + 0.9 - 0.03 * u * u, 2.6)).clip(0, 1)
    goatee = (1.6 * blob(u, v - (bottom + 3.2 + 0.4 * drop), 5.5, 5.5)).clip(0, 1)
    edge = 18.0 - 0.05 * u * u + 7.0 * bump((u / 9.5) ** 2)
    jaw = ramp(v - edge - 1.5, 4.0)
    stubble = 0.4 * np.maximum(jaw, moustache)
    below = np.where(kind < 0.6, 0, np.where(kind < 0.75, goatee, 0.9 * jaw))
    shape = np.where(kind < 0.4, stubble, np.maximum(moustache, below))
    shape = shape * (1 - ramp(np.minimum(v - top, bottom - v), 1.0) * (np.abs(u) < lips.half)) * wears
    texture = 0.78 + 0.1 * layers.grain[0][box]
    tone = 0.07 + 0.25 * person.trait("hair_tone") * person.trait("age")
    over(albedo, tone, (shape * texture).clip(0, 0.9))


def _light(canvas: Canvas, person: Person, layers: Layers) -> Array:
    """The light that reaches the relief: ambient, and Lambert's law for the lamp."""
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
    """A shine where the skin faces the lamp."""
    l2 = light * light
    l4 = l2 * l2
    return 0.1 * person.trait("gloss") * l4 * l4


def _neck(canvas: Canvas, person: Person, grey: Array, inside: Array) -> Array:
    """Neck and shirt below the chin; returns the opacity of all that is painted."""
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


def _hair(canvas: Canvas, person: Person, layers: Layers, grey: Array, inside: Array, alpha: Array) -> Array:
    """Seven styles from a bald head to long hair; returns the opacity of all that is painted."""
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
    beside = ramp(np.abs(u) - temple - 0.01 * np.maximum(v - 4, 0) ** 2 * (temple > 15), 1.4) * ramp(v + 10.0, 5.0)
    bare = style == _BALD
    hair = cap * np.maximum(np.maximum(above, 1 - inside), beside) * ~bare
    tone = person.trait("hair_tone")
    fair = (person.trait("skin") / 0.6).clip(0.3, 1)
    dark = np.maximum(0.05 + 0.15 * tone, 1.5 * (tone - 0.6) * fair)
    dark = np.where((age > 0.85) & (tone > 0.4), 0.5, dark).astype(np.float32)
    glow = 1.25 + (0.15 * person.trait("light_x")) * across - 0.35 * across * across
    colour = dark * glow * (1 + 0.1 * layers.grain[0] + 0.12 * layers.grain[1])
    # behind the neck long hair lies over everything but the head
    shown = hair * np.where(v < 15, np.float32(1), inside)
    beside_neck = np.abs(u) > 9.5
    shown = np.where(beside_neck, hair, shown)
    # a soft shadow of the hair on the forehead
    grey *= 1 - 0.18 * ramp(hairline + 1.6 - v, 2.5) * inside * ~bare
    over(grey, colour, shown)
    layers.regions[shown > 0.5] = _AT["hair"]
    return np.maximum(alpha, shown)


def _glasses(canvas: Canvas, person: Person, grey: Array) -> None:
    """Frames that are on or off by the person's trait; three in twenty wear them."""
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


def _hat(canvas: Canvas, person: Person, layers: Layers, grey: Array, alpha: Array) -> None:
    """A knitted hat or a cap on one in ten."""
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
