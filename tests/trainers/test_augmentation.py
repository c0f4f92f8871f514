"""Augmentation against rotations, rolls and slices that need no interpolation, and literal loops over the images."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fervis.core.registry import build_plugin
from fervis.errors import ConfigError
from fervis.trainers.augmentation import ERASED_AREA, ERASED_ASPECT, Augmentation, crop_window, erase, resample, tone

EVERYTHING = {
    "flip": True,
    "rotation": 20.0,
    "scale": 0.2,
    "shift": 0.1,
    "crop": 10,
    "contrast": 0.3,
    "erasing": 0.5,
}


def resampled(images: Tensor, size: tuple[int, int] | None = None, **changes: float | Tensor) -> Tensor:
    """``resample`` with every amount at rest but those given."""
    still = {"angle": 0.0, "factor": 1.0, "mirror": False, "right": 0.0, "down": 0.0, "top": 0, "left": 0}
    amounts = {name: torch.as_tensor(value).expand(len(images)) for name, value in (still | changes).items()}
    height, width = images.shape[2:]
    return resample(images, size=size or (height, width), **amounts)


def faces(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def close(one: Tensor, two: Tensor) -> bool:
    assert one.shape == two.shape
    return bool((one - two).abs().max() < 1e-5)


@pytest.mark.parametrize("side", [12, 13, 48])
@pytest.mark.parametrize("quarters", [-1, 1, 2, 3])
def test_quarter_turns_are_rot90_counter_clockwise(generator: torch.Generator, side: int, quarters: int):
    images = torch.rand(3, 2, side, side, generator=generator)
    assert close(resampled(images, angle=90.0 * quarters), torch.rot90(images, quarters, (2, 3)))


def test_a_turn_of_an_oblong_face_does_not_shear_it(generator: torch.Generator):
    images = torch.rand(2, 1, 10, 16, generator=generator)
    turned = resampled(images, angle=90.0)
    # The middle square of a turned picture is the turned middle square, whatever lies beside it.
    assert close(turned[:, :, :, 3:13], torch.rot90(images[:, :, :, 3:13], 1, (2, 3)))
    assert close(resampled(images, angle=180.0), images.flip(2, 3))


def test_whole_shifts_roll_the_inside_and_carry_the_edge_on(generator: torch.Generator):
    images = torch.rand(2, 1, 9, 12, generator=generator)
    moved = resampled(images, right=3.0, down=-2.0)
    assert close(moved[:, :, :-2, 3:], images.roll((-2, 3), (2, 3))[:, :, :-2, 3:])
    assert close(moved[:, :, :-2, :3], images[:, :, 2:, :1].expand(-1, -1, -1, 3))
    assert close(moved[:, :, -2:, 3:], images[:, :, -1:, :-3].expand(-1, -1, 2, -1))


def test_half_a_pixel_is_the_mean_of_two(generator: torch.Generator):
    images = torch.rand(2, 1, 8, 8, generator=generator)
    assert close(resampled(images, right=0.5)[..., 1:], (images[..., 1:] + images[..., :-1]) / 2)


def test_scale_keeps_the_centroid_and_multiplies_the_spread():
    axis = torch.arange(48) - 23.5
    blob = torch.exp(-(axis[:, None] ** 2 / 50 + axis**2 / 18)).expand(3, 1, 48, 48)
    factors = torch.tensor([0.7, 1.0, 1.3])
    grown = resampled(blob, factor=factors)
    mass = grown.sum((1, 2, 3))
    for marginal, variance in ((grown.sum((1, 2)), 9), (grown.sum((1, 3)), 25)):
        assert ((marginal * axis).sum(1) / mass).abs().max() < 1e-4
        spread = (marginal * axis**2).sum(1) / mass
        torch.testing.assert_close(spread, variance * factors**2, rtol=0.02, atol=0.0)


def test_amounts_compose_as_mirror_then_turn_and_scale_then_shift(generator: torch.Generator):
    images = torch.rand(2, 1, 16, 16, generator=generator)
    whole = resampled(images, mirror=True, angle=90.0, right=2.0, down=1.0)
    steps = torch.rot90(images.flip(3), 1, (2, 3)).roll((1, 2), (2, 3))
    assert close(whole[:, :, 1:, 2:], steps[:, :, 1:, 2:])
    doubled = resampled(images, factor=2.0, right=2.0)
    # Output pixels 7.5 + 2 +- 0.5 look at the source 7.5 +- 0.25: the scale does not stretch the shift.
    near, far = images[:, :, 7:9, 7:9], images[:, :, 7:9, 7:9].flip(3)
    across = 0.75 * near + 0.25 * far
    assert close(doubled[:, :, 7:9, 9:11], 0.75 * across + 0.25 * across.flip(2))


def test_each_image_gets_its_own_amounts(generator: torch.Generator):
    images = torch.rand(4, 1, 12, 12, generator=generator)
    angle, factor = torch.tensor([10.0, -20.0, 90.0, 3.0]), torch.tensor([1.1, 0.9, 1.0, 1.3])
    mirror, right = torch.tensor([True, False, True, False]), torch.tensor([1.5, -2.0, 0.0, 3.0])
    batch = resampled(images, angle=angle, factor=factor, mirror=mirror, right=right)
    for n in range(4):
        amounts = {"angle": angle[n], "factor": factor[n], "mirror": mirror[n], "right": right[n]}
        assert close(resampled(images[n : n + 1], None, **amounts), batch[n : n + 1])


def test_resample_is_the_bilinear_formula_pixel_by_pixel(generator: torch.Generator):
    images = torch.rand(1, 1, 7, 9, generator=generator)
    found = resampled(images, (4, 5), angle=25.0, factor=1.2, mirror=True, right=0.7, down=-1.1, top=2, left=3)[0, 0]
    cosine, sine = math.cos(math.radians(25)), math.sin(math.radians(25))
    for row in range(4):
        for column in range(5):
            x, y = column + 3 - 4.0 - 0.7, row + 2 - 3.0 + 1.1
            source_x = -(cosine * x - sine * y) / 1.2 + 4.0
            source_y = (sine * x + cosine * y) / 1.2 + 3.0
            source_x, source_y = min(max(source_x, 0), 8), min(max(source_y, 0), 6)
            wanted = sum(
                float(images[0, 0, i, j]) * max(0, 1 - abs(i - source_y)) * max(0, 1 - abs(j - source_x))
                for i in range(7)
                for j in range(9)
            )
            assert float(found[row, column]) == pytest.approx(wanted, abs=1e-5)


def test_windows_are_slices_copied_or_resampled(generator: torch.Generator):
    images = faces(generator, 5, 3, 12, 15)
    mirror = torch.tensor([False, True, True, False, True])
    top, left = torch.tensor([0, 5, 2, 5, 1]), torch.tensor([0, 8, 3, 8, 0])
    copied = crop_window(images, mirror, top, left, (7, 7))
    for n in range(5):
        source = images[n].flip(2) if mirror[n] else images[n]
        assert torch.equal(copied[n], source[:, top[n] : top[n] + 7, left[n] : left[n] + 7])
    assert close(resampled(images.float() / 255, (7, 7), mirror=mirror, top=top, left=left), copied / 255)


def test_tone_is_its_formula_and_stays_in_range(generator: torch.Generator):
    images = torch.rand(4, 3, 6, 6, generator=generator)
    contrast, brightness = torch.tensor([1.0, 0.5, 1.4, 0.8]), torch.tensor([1.0, 1.2, 0.7, 1.5])
    changed = tone(images, contrast, brightness)
    for n in range(4):
        mean = images[n].mean()
        assert close(changed[n], (brightness[n] * (mean + contrast[n] * (images[n] - mean))).clamp(0, 1))
    assert changed.max() == 1, "the last image was bright enough to be cut off"
    assert close(
        tone(torch.full((1, 1, 4, 4), 0.6), torch.tensor([0.3]), torch.tensor([1.5])),
        torch.tensor(0.9).expand(1, 1, 4, 4),
    )


def test_erasing_changes_the_rectangle_and_nothing_else(generator: torch.Generator):
    images = torch.rand(3, 2, 8, 10, generator=generator)
    rectangles = torch.tensor([[0, 0, 8, 10], [2, 3, 5, 4], [7, 9, 8, 10]])
    erased = erase(images, rectangles, torch.tensor(-1.0))
    for n, (top, left, bottom, right) in enumerate(rectangles.tolist()):
        wanted = images[n].clone()
        wanted[:, top:bottom, left:right] = -1
        assert torch.equal(erased[n], wanted)


def test_erased_rectangles_have_the_documented_probability_areas_and_aspects(generator: torch.Generator):
    images = torch.zeros(4000, 1, 48, 48, dtype=torch.uint8)
    noisy = Augmentation(erasing=0.4)(images, generator)[:, 0]
    hit = noisy > 0  # uniform noise is exactly 0 in one pixel of 2^24
    rows, columns = hit.any(2).sum(1), hit.any(1).sum(1)
    erased = rows > 0
    assert abs(int(erased.sum()) - 1600) < 4 * math.sqrt(4000 * 0.4 * 0.6)
    area, aspect = rows[erased] * columns[erased] / 48**2, rows[erased] / columns[erased]
    assert (hit.sum((1, 2)) >= rows * columns - 1).all(), "solid rectangles"
    # Sides are rounded to whole pixels, by up to half a pixel each.
    slack = (rows + columns)[erased] / 2 / 48**2
    assert (area + slack > ERASED_AREA[0]).all()
    assert (area - slack < ERASED_AREA[1]).all()
    assert ((rows[erased] - 0.5) / (columns[erased] + 0.5) < ERASED_ASPECT).all()
    assert ((columns[erased] - 0.5) / (rows[erased] + 0.5) < ERASED_ASPECT).all()
    assert area.mean().item() == pytest.approx(sum(ERASED_AREA) / 2, abs=0.01)
    assert aspect.log().mean().abs() < 0.05, "as often upright as lying"
    # A rectangle touches every border now and then, and the noise is uniform.
    assert hit[:, 0].any()
    assert hit[:, -1].any()
    assert hit[:, :, 0].any()
    assert hit[:, :, -1].any()
    assert noisy[hit].mean().item() == pytest.approx(0.5, abs=0.002)
    assert noisy[hit].var().item() == pytest.approx(1 / 12, abs=0.001)


def test_with_everything_off_it_is_exactly_the_bytes_over_255(generator: torch.Generator):
    images = faces(generator, 6, 3, 11, 11)
    pixels = Augmentation()(images, generator)
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, images / 255)


def test_flip_and_crop_alone_copy_pixels(generator: torch.Generator):
    images = faces(generator, 400, 1, 11, 11)
    pixels = Augmentation(flip=True)(images, generator)
    mirrored = (pixels == images.flip(3) / 255).flatten(1).all(1)
    assert (mirrored ^ (pixels == images / 255).flatten(1).all(1)).all()
    assert 160 < mirrored.sum() < 240, "half, within four standard deviations"

    number = torch.arange(121, dtype=torch.uint8).view(1, 1, 11, 11).expand(400, -1, -1, -1)
    corners = (Augmentation(crop=9)(number, generator)[:, 0, 0, 0] * 255).round().long()
    seen, counts = corners.unique(return_counts=True)
    assert seen.tolist() == [11 * row + column for row in range(3) for column in range(3)]
    assert (counts - 400 / 9).abs().max() < 4 * math.sqrt(400 / 9)


def test_the_drawn_amounts_are_those_of_the_knobs(generator: torch.Generator):
    images = faces(generator, 50, 1, 20, 20)
    state = generator.get_state()
    changed = Augmentation(flip=True, rotation=30, scale=0.2, shift=0.1, crop=16, contrast=0.4)(images, generator)
    generator.set_state(state)
    turn, grow, side, right, down, top, left, contrast, brightness, *_ = torch.rand(14, 50, generator=generator)
    placed = resample(
        images.float() / 255,
        angle=60 * turn - 30,
        factor=0.8 + 0.4 * grow,
        mirror=side < 0.5,
        right=4 * right - 2,
        down=4 * down - 2,
        top=(5 * top).floor(),
        left=(5 * left).floor(),
        size=(16, 16),
    )
    torch.testing.assert_close(changed, tone(placed, 0.6 + 0.8 * contrast, 0.6 + 0.8 * brightness), rtol=0, atol=1e-4)


def test_the_same_state_gives_the_same_bytes_and_another_does_not(generator: torch.Generator):
    images = faces(generator, 20, 1, 12, 12)
    change = Augmentation(**EVERYTHING)
    one, two, other = (change(images, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert one.shape == (20, 1, 10, 10)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_neither_the_batch_given_nor_the_global_generator_is_touched(generator: torch.Generator):
    images = faces(generator, 20, 1, 12, 12)
    copy, state = images.clone(), torch.get_rng_state()
    Augmentation(**EVERYTHING)(images, generator)
    assert torch.equal(images, copy)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_set_of_switches_draws_as_much():
    images = torch.zeros(7, 1, 12, 12, dtype=torch.uint8)
    states = []
    for knobs in ({}, EVERYTHING, *({name: value} for name, value in EVERYTHING.items())):
        generator = torch.Generator().manual_seed(1)
        Augmentation(**knobs)(images, generator)
        states.append(generator.get_state())
    assert all(torch.equal(state, states[0]) for state in states)


def test_a_switch_leaves_the_draws_of_the_others(generator: torch.Generator):
    images = faces(generator, 30, 1, 12, 12)
    plain, toned = (
        Augmentation(erasing=1.0, contrast=contrast)(images, torch.Generator().manual_seed(2)) for contrast in (0, 0.3)
    )
    noise = plain != images / 255
    assert noise.any(3).any(2).all(), "every image has its rectangle"
    assert torch.equal(toned[noise], plain[noise])


def test_values_out_of_range_are_refused_by_name(generator: torch.Generator):
    for knobs, sentence in (
        ({"rotation": -1}, r"trainer\.rotation=-1\.0: expected a number from 0 to 180\."),
        ({"erasing": 1.5}, r"trainer\.erasing=1\.5: expected a number from 0 to 1\."),
        ({"scale": 1.0}, r"trainer\.scale=1\.0: expected a number from 0 to below 1\."),
        ({"shift": math.nan}, r"trainer\.shift=nan: expected a number from 0 to below 1\."),
        ({"contrast": -0.1}, r"trainer\.contrast=-0\.1: expected a number from 0 to below 1\."),
        ({"crop": -4}, r"trainer\.crop=-4: expected a whole number from 0\."),
    ):
        with pytest.raises(ConfigError, match=sentence):
            build_plugin("trainer", "supervised", **knobs)
    with pytest.raises(ConfigError, match=r"trainer\.crop=13: expected at most 12, the side of the faces in pixels"):
        Augmentation(crop=13)(faces(generator, 2, 1, 12, 12), generator)
