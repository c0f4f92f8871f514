"""The skin: relief and tone, with the folds and bulges of the action units."""

from __future__ import annotations

import numpy as np

from fervis.datasets.portraits.anatomy import Person, brow, eye, jaw_drop, mouth
from fervis.datasets.portraits.paint_layers import REGION, PaintLayers, over, pick
from fervis.datasets.portraits.shapes import Array, Grid, blob, bump, line, ramp, sides, smooth


def paint_head(canvas: Grid, person: Person, layers: PaintLayers) -> Array:
    """Paint skull and jaw; return the head's opacity."""
    u, v = canvas.u, canvas.v
    drop = jaw_drop(person)
    width, chin = person.trait("head_width"), person.trait("chin")
    # the jaw moves everything below the upper lip
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
    regions[...] = np.where(v < -2.0, REGION["forehead"], REGION["cheeks"])
    regions[:] = np.where(hung > person.trait("mouth_height") + 4.2, REGION["chin"], regions)
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


def paint_nose(canvas: Grid, person: Person, layers: PaintLayers) -> None:
    """Paint ridge, tip and wings, and the folds of AU9."""
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
    regions[in_nose] = REGION["nose"]


def paint_upper_face(canvas: Grid, person: Person, layers: PaintLayers, sign: int) -> None:
    """Paint forehead, brow ridge, socket and brow of one side, with the folds of AU1, AU2, AU4 and AU6."""
    side = pick(sides(canvas, 0, 20, -16, 13.5), sign)
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
    regions[hair > 0.4] = REGION["brows"]


def paint_lower_face(canvas: Grid, person: Person, layers: PaintLayers, sign: int) -> None:
    """Paint cheek, the fold from nose to mouth and the lips' relief of one side."""
    side = pick(sides(canvas, 0, 20, 6, 35), sign)
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


def paint_beard(canvas: Grid, person: Person, layers: PaintLayers) -> None:
    """Paint none, stubble, a moustache, a goatee or a full beard, on faces that are not drawn female."""
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
