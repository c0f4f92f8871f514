"""From a head on its canvas to a photograph: pose, background, occlusions, lens, grain and bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fervis.datasets.portraits.anatomy import Person
from fervis.datasets.portraits.identity import Identity
from fervis.datasets.portraits.paint import paint_face
from fervis.datasets.portraits.shapes import LEFT, TOP, Array, Grid, blob, line, ramp

OVERSAMPLING = 2


@dataclass(frozen=True)
class Scene:
    """Everything in N pictures that no action unit changes.

    Attributes:
        canvas: where the heads are painted.
        grain: fine and coarse texture of skin and hair, [N,H,W] on the canvas.
        samples: position on the canvas of each point of the finer picture: index of a sample and shares to the next.
        nearest: index of the sample of the canvas nearest to each pixel.
        back: [N,h,w] the background, finer than the picture.
        ink: grey and opacity of the watermark, as ``back``.
        hand: grey and opacity of the fingers, as ``back``.
        noise: [N,size,size] of the sensor.
    """

    canvas: Grid
    grain: tuple[Array, Array]
    samples: tuple[NDArray[np.intp], Array, Array]
    nearest: NDArray[np.intp]
    back: Array
    ink: tuple[Array, Array]
    hand: tuple[Array, Array]
    noise: Array


def set_scene(identity: Identity, size: int) -> Scene:
    """Prepare pictures of these persons, with this number of pixels per side (a multiple of 8)."""
    person = Person(identity, np.zeros_like(identity.resting))
    canvas = Grid.of(OVERSAMPLING * size / 48)
    grain, noise, chance = _randomness(person, canvas.shape, size)
    x, y = _sampling_grid(OVERSAMPLING * size)
    return Scene(
        canvas=canvas,
        grain=grain,
        samples=_between(canvas, *_pose(person, x, y)),
        nearest=_nearest_samples(canvas, *_pose(person, *_sampling_grid(size))),
        back=_background(person, x, y, chance),
        ink=_watermark(person, x, y, chance),
        hand=_hand(person, x, y),
        noise=noise,
    )


def photograph(scene: Scene, person: Person) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Take the pictures of the persons of a scene.

    Returns:
        The pictures and their regions, [N,size,size] uint8 each.
    """
    grey, alpha, regions = paint_face(scene.canvas, person, scene.grain)
    grey *= alpha
    picture = scene.back * (1 - _sample(scene, alpha)) + _sample(scene, grey)
    for colour, opacity in (scene.ink, scene.hand):
        picture += (colour - picture) * opacity
    visible = regions.reshape(-1)[scene.nearest]
    visible[_shrink(scene.hand[1]) > 0.5] = 0
    return _develop(person, _shrink(picture), scene.noise), visible


def _randomness(person: Person, shape: tuple[int, int], size: int) -> tuple[tuple[Array, Array], Array, Array]:
    """Draw skin grain, sensor noise and a few numbers for the scene, each from its person's own seed."""
    count = len(person)
    fine = np.empty((count, shape[0] // 2 + 1, shape[1] // 2 + 1), np.float32)
    coarse = np.empty((count, 16, 16), np.float32)
    noise = np.empty((count, size, size), np.float32)
    scene = np.empty((count, 16), np.float32)
    for at, seed in enumerate(person.identity.seed):
        generator = np.random.default_rng((int(seed[0]), int(seed[1]), 1))
        for field in (scene, coarse, noise, fine):
            generator.standard_normal(out=field[at], dtype=np.float32)
    return (_enlarge(fine, shape), 1.4 * _enlarge(coarse, shape)), noise, scene


def _enlarge(field: Array, shape: tuple[int, int]) -> Array:
    """Enlarge [N,h,w] bilinearly to [N,H,W]."""
    for axis, length in ((1, shape[0]), (2, shape[1])):
        place = np.linspace(0, field.shape[axis] - 1, length).astype(np.float32)
        low = np.minimum(place.astype(np.int64), field.shape[axis] - 2)
        share = (place - low).astype(np.float32)
        share = share[None, :, None] if axis == 1 else share[None, None, :]
        field = np.take(field, low, axis) * (1 - share) + np.take(field, low + 1, axis) * share
    return field


def _sampling_grid(side: int) -> tuple[Array, Array]:
    """Return picture coordinates, [1,1,W] and [1,H,1], from the middle between the eyes at (24, 17) of 48."""
    centres = ((np.arange(side) + 0.5) * 48 / side).astype(np.float32)
    return centres[None, None, :] - 24, centres[None, :, None] - 17


def _pose(person: Person, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the position on the canvas of each point of a picture: shift, roll, scale, yaw and pitch by depth."""
    t = person.trait
    # roll and scale turn about the middle of the face, so that the mouth does not leave the picture
    x, y = x - t("shift_x"), y - t("shift_y") - 10
    cos, sin = np.cos(t("roll")) / t("scale"), np.sin(t("roll")) / t("scale")
    u, v = x * cos + y * sin, y * cos - x * sin + 10
    depth = 11 - 0.028 * u * u - 0.012 * (v - 7) ** 2 + 4.0 * blob(u, v - 10, 6.0, 9.0)
    depth = depth.clip(-8, None) - 9
    yaw, pitch = t("yaw"), t("pitch")
    u = (u + depth * np.sin(yaw)) / np.cos(yaw)
    v = 8 + (v - 8 + depth * np.sin(pitch)) / np.cos(pitch)
    return u, v


def _first_samples(canvas: Grid, count: int) -> NDArray[np.intp]:
    rows, columns = canvas.shape
    return (np.arange(count) * (rows * columns))[:, None, None]


def _between(canvas: Grid, u: Array, v: Array) -> tuple[NDArray[np.intp], Array, Array]:
    """Return the upper left of the four samples around each point, and the shares to the right and down."""
    rows, columns = canvas.shape
    # beyond the edge of the canvas its edge is repeated
    x = ((u - LEFT) * canvas.density - 0.5).clip(0, columns - 1.001)
    y = ((v - TOP) * canvas.density - 0.5).clip(0, rows - 1.001)
    left, top = x.astype(np.intp), y.astype(np.intp)
    x, y = (x - left).astype(np.float32), (y - top).astype(np.float32)
    return _first_samples(canvas, len(u)) + top * columns + left, x, y


def _sample(scene: Scene, field: Array) -> Array:
    """Sample [N,H,W] on the canvas bilinearly."""
    flat, columns = field.reshape(-1), field.shape[2]
    index, x, y = scene.samples
    upper, lower = flat.take(index), flat.take(index + columns)
    upper += (flat.take(index + 1) - upper) * x
    lower += (flat.take(index + (columns + 1)) - lower) * x
    upper += (lower - upper) * y
    return upper


def _nearest_samples(canvas: Grid, u: Array, v: Array) -> NDArray[np.intp]:
    rows, columns = canvas.shape
    x = ((u - LEFT) * canvas.density).astype(np.intp).clip(0, columns - 1)
    y = ((v - TOP) * canvas.density).astype(np.intp).clip(0, rows - 1)
    return _first_samples(canvas, len(u)) + y * columns + x


def _background(person: Person, x: Array, y: Array, scene: Array) -> Array:
    """Draw a wall with a gradient, blurred things, stripes, or nothing."""
    t = person.trait
    kind, tone, depth = t("background"), t("background_tone"), t("background_depth")
    cos, sin = np.cos(t("background_turn")), np.sin(t("background_turn"))
    across = (x * cos + (y - 7) * sin) / 24
    grey = tone + depth * across * 0.6
    numbers = scene[:, :, None, None]
    things = np.flatnonzero(kind < 0.45)
    for k in range(4):
        a, b, c = (numbers[things, 3 * k + j] for j in range(3))
        thing = blob(x - 26 * np.sign(a) + 4 * c, y - 7 - 16 * c, 10 + 3 * np.abs(a), 9 + 5 * np.abs(b))
        grey[things] += 0.35 * b * thing
    stripes = np.flatnonzero((kind >= 0.45) & (kind < 0.6))
    wave = (across[stripes] * (3 + 8 * depth[stripes])) % 1 - 0.5
    grey[stripes] += 0.25 * (2 * line(wave, 0.5) - 0.8)
    return grey.clip(0.02, 0.98)


def _watermark(person: Person, x: Array, y: Array, scene: Array) -> tuple[Array, Array]:
    """Draw strokes like letters along the lower or the upper edge of one picture in eight: grey and opacity."""
    opacity = np.zeros((len(person), y.shape[1], x.shape[2]), np.float32)
    wearing = np.flatnonzero(person.identity.traits["watermark"] < 0.125)
    t = person.take(wearing).trait
    place = t("watermark_place")
    base = np.where(place < 0.7, 27.5 - 3 * place, np.float32(-14.5))
    start = -18 + 14 * place
    ink = opacity[wearing]
    for k in range(7):
        lean, kind = scene[wearing, 2 * k, None, None], scene[wearing, 2 * k + 1, None, None]
        dx, dy = x - start - 2.6 * k, y - base
        upright = line(dx - 0.12 * lean * dy, 0.55) * (np.abs(dy) < 1.5)
        cross = line(dy - 0.8 * np.sign(kind), 0.55) * ((dx > 0) & (dx < 1.7))
        curve = line(np.sqrt(dx * dx + dy * dy) - 1.1, 0.55)
        ink = np.maximum(ink, np.where(kind > 0.3, curve, np.maximum(upright, cross)) * (lean > -1.2))
    opacity[wearing] = 0.75 * ink
    return np.where(person.trait("watermark_tone") < 0.75, np.float32(0.97), np.float32(0.03)), opacity


def _hand(person: Person, x: Array, y: Array) -> tuple[Array, Array]:
    """Draw fingers that come in from the side on one picture in ten: grey and opacity."""
    colour = np.zeros((len(person), y.shape[1], x.shape[2]), np.float32)
    cover = np.zeros_like(colour)
    wearing = np.flatnonzero(person.identity.traits["hand"] < 0.1)
    t = person.take(wearing).trait
    place, turn = t("hand_place"), t("hand_turn")
    p = np.where(place < 0.5, -x, x)
    height = 12 + 16 * (place * 2 % 1)
    for k in range(4):
        dy = y - height - 3.1 * k - 0.18 * turn * (24 - p)
        dx = (20 + 1.2 * abs(k - 1.3) + 1.2 * turn - p).clip(0, None)
        distance = np.sqrt(dx * dx + dy * dy)
        finger = ramp(1.75 - distance, 0.8)
        skin = t("skin") * (0.95 - 0.22 * distance) * (0.8 + 0.2 * t("exposure"))
        colour[wearing] += (skin - colour[wearing]) * finger
        cover[wearing] = np.maximum(cover[wearing], finger)
    return colour, cover


def _shrink(field: Array) -> Array:
    """Average 2 by 2: [N,2H,2W] to [N,H,W]."""
    rows = field[:, ::2] + field[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) * np.float32(0.25)


def _develop(person: Person, picture: Array, noise: Array) -> NDArray[np.uint8]:
    """Apply exposure, contrast, blur and grain, and return bytes."""
    t = person.trait
    picture = (picture * t("exposure")).clip(0, 1)
    picture = picture + t("contrast") * picture * (1 - picture) * (2 * picture - 1)
    amount = 0.26 * t("blur") ** 2
    for axis in (1, 2):
        picture = _blur(picture, axis, amount)
    strength = 0.006 + 0.02 * t("noise") ** 3
    picture = picture + strength * noise
    return (picture.clip(0, 1) * 255 + np.float32(0.5)).astype(np.uint8)


def _blur(picture: Array, axis: int, amount: Array) -> Array:
    """Blur once by (a, 1 - 2a, a) along an axis; the edge is repeated."""
    padded = np.concatenate([np.take(picture, [0], axis), picture, np.take(picture, [-1], axis)], axis)
    length = picture.shape[axis]
    before = padded[:, :length] if axis == 1 else padded[:, :, :length]
    after = padded[:, 2:] if axis == 1 else padded[:, :, 2:]
    return picture * (1 - 2 * amount) + (before + after) * amount
