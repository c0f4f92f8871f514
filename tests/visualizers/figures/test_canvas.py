import numpy as np
import pytest
import torch
from matplotlib import colormaps

from fervis.core.intervals import format_number
from fervis.visualizers.figures.canvas import add_text, colour_bar, file_name, new_figure, wrap_text
from fervis.visualizers.figures.color import colorize, overlay, scale_of, to_rgb


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.03127, "0.0313"),
        (12.0, "12"),
        (-1.5, "-1.5"),
        (2.0e-5, "2·10⁻⁵"),
        (-3.14159e-7, "-3.14·10⁻⁷"),
        (123456, "1.23·10⁵"),
        (4321.0, "4321"),
        (0.001, "0.001"),
    ],
)
def test_numbers_for_people(value: float, text: str) -> None:
    assert format_number(value) == text.replace("-", "\N{MINUS SIGN}")


def test_file_names_are_safe_and_never_meet() -> None:
    used: set[str] = set()
    names = [file_name(299, target, "conv7", used=used) for target in ("conv7/4", "conv7-4", "Happy", "happy", "../..")]
    assert names == ["299_conv7-4_conv7", "299_conv7-4_conv7_2", "299_Happy_conv7", "299_happy_conv7_2", "299_-_conv7"]
    assert len(file_name(1, "x" * 500, used=used)) == 120


@pytest.mark.parametrize(
    ("values", "signed", "low", "high"),
    [
        ([0.1, 1.0], False, 0.0, 1.0),  # magnitudes start at 0
        ([0.99, 1.0], False, 0.0, 1.0),  # also those that ride on an offset
        ([-0.5, 1.0], False, -0.5, 1.0),  # unless there are values below
        ([-2.0, -1.0], False, -2.0, 0.0),
        ([-2.0, 1.0], True, -2.0, 2.0),  # signed limits are symmetric
        ([0.0, 0.0], False, 0.0, 0.0),
        ([3.0, 3.0], False, 0.0, 3.0),
    ],
)
def test_scale_of(values: list[float], signed: bool, low: float, high: float) -> None:
    scale = scale_of(np.array(values), signed=signed)
    assert (scale.low, scale.high) == (low, high)


def test_percentile_gives_the_last_colour_and_never_hides_a_sparse_map() -> None:
    values = np.arange(101.0)
    scale = scale_of(values, signed=False, percentile=90)
    assert scale.high == 90
    np.testing.assert_array_equal(scale.position(np.array([0, 45, 90, 100])), [0, 0.5, 1, 1])
    values = np.zeros(1000)
    values[3] = 7
    assert scale_of(values, signed=False, percentile=90).high == 7


def test_zero_is_the_middle_of_signed_maps_and_has_no_strength() -> None:
    scale = scale_of(np.array([-2.0, 1.0]), signed=True)
    np.testing.assert_array_equal(scale.position(np.array([-2.0, 0, 1, 2])), [0, 0.5, 0.75, 1])
    np.testing.assert_array_equal(scale.strength(np.array([-2.0, 0, 1])), [1, 0, 0.5])
    flat = scale_of(np.zeros(4), signed=True)
    np.testing.assert_array_equal(flat.strength(np.zeros(4)), np.zeros(4))


def test_overlay_is_the_stated_mixture() -> None:
    generator = np.random.default_rng(0)
    face = generator.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    values = generator.random((5, 4))
    values[0, 0], values[1, 1] = 0, 1
    scale = scale_of(values, signed=False)
    share = 0.8 * np.sqrt(values / values.max())[..., None]
    expected = np.rint(0.7 * face * (1 - share) + colorize(values, scale, "inferno") * share)
    got = overlay(face, values, scale, "inferno", opacity=0.8)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(got[0, 0], np.rint(0.7 * face[0, 0]))  # where the map is 0 only the face is seen


def test_rgb_repeats_grey_and_keeps_colour() -> None:
    grey = torch.arange(6, dtype=torch.uint8).reshape(1, 2, 3)
    assert (to_rgb(grey) == np.arange(6).reshape(2, 3, 1)).all()
    colour = torch.arange(18, dtype=torch.uint8).reshape(3, 2, 3)
    np.testing.assert_array_equal(to_rgb(colour), np.arange(18).reshape(3, 2, 3).transpose(1, 2, 0))


def _lightness(colours: np.ndarray) -> np.ndarray:
    """CIELAB L* of linear sRGB."""
    luminance = colours @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


# Machado, Oliveira and Fernandes 2009, severity 1, on linear sRGB.
SIGHT = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("name", ["inferno", "cividis"])
def test_lightness_grows_with_the_value_for_every_eye(name: str, sight: str) -> None:
    colours = colormaps[name](np.linspace(0, 1, 64))[:, :3]
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    lightness = _lightness(np.clip(linear @ np.array(SIGHT[sight]).T, 0, 1))
    assert (np.diff(lightness) > 0).all()
    assert lightness[-1] - lightness[0] > 70


def test_text_shrinks_and_then_ends_in_dots_to_fit_its_room() -> None:
    figure = new_figure(4, 1, 100)
    short = add_text(figure, 0, 0, "conv7", room=2, size=7)
    assert (short.get_text(), short.get_fontsize()) == ("conv7", 7)
    middling = add_text(figure, 0, 0, "a name somewhat too long", room=1.1, size=7)
    assert middling.get_text() == "a name somewhat too long"
    assert middling.get_fontsize() < 7
    long = add_text(figure, 0, 0, "blocks.11.attention.projection " * 5, room=1, size=7)
    assert long.get_text().endswith("…")
    assert all(line.get_window_extent().width / 100 <= room for line, room in ((middling, 1.1), (long, 1)))


def test_lines_break_between_words() -> None:
    assert wrap_text("one", room=0.1, size=6) == ["one"]
    assert wrap_text("largest gradient over channels", room=1, size=6) == ["largest gradient over", "channels"]


def test_an_interval_stays_on_one_line() -> None:
    text = "Largest: fear called sad in 21 % [17, 23] of its faces"
    for room in (0.5, 0.8, 1.1, 1.4, 1.7, 2.0):
        lines = wrap_text(text, room=room, size=6, most=9)
        assert " ".join(lines) == text
        assert any("21 % [17, 23]" in line for line in lines)


def test_a_narrow_colour_bar_drops_its_middle_label() -> None:
    for width, shown in ((1.5, ["0", "1.76·10⁻⁵", "3.52·10⁻⁵"]), (0.9, ["0", "3.52·10⁻⁵"])):
        figure = new_figure(3, 1, 100)
        colour_bar(figure, 0.1, 0.1, width, "inferno", ("0", "1.76·10⁻⁵", "3.52·10⁻⁵"))
        assert [text.get_text() for text in figure.texts] == shown
