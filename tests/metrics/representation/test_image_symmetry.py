import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import BboxImage
from torch import Tensor

from fervis.errors import ConfigError
from fervis.metrics.representation.image_symmetry import (
    SYMMETRIES,
    SymmetricPairs,
    _null_level,
    apply_symmetry,
    find_symmetric_pairs,
    phase_randomised,
)
from fervis.visualizers.figures.image_symmetry import closest_pairs, draw_symmetric_pairs, symmetric_pairs_figure
from fervis.visualizers.figures.style import plain_style


def noise(count: int, size: tuple[int, ...] = (1, 12, 12), seed: int = 0) -> Tensor:
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def textures(count: int, seed: int, side: int = 16) -> Tensor:
    """Gaussian textures, each with a spectrum of its own: from nearly white to a few waves."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.fft.fftfreq(side), torch.fft.rfftfreq(side), indexing="ij")
    found = []
    for white in torch.randn(count, side, side, generator=generator, dtype=torch.float64):
        centre, width = torch.rand(2, generator=generator) * 0.4, 0.03 + 0.4 * torch.rand((), generator=generator)
        passed = (-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * width**2)).exp()
        found.append(torch.fft.irfft2(torch.fft.rfft2(white) * passed, s=(side, side)))
    return torch.stack(found)[:, None]


# The eight symmetries again, as positions in a 3 x 3 picture of the digits 0 to 8 read from a printed page.
DIGITS = {
    "identity": "012345678",
    "turn 90": "258147036",
    "turn 180": "876543210",
    "turn 270": "630741852",
    "flip left-right": "210543876",
    "flip upside-down": "678345012",
    "flip on the diagonal": "036147258",
    "flip on the antidiagonal": "852741630",
}


@pytest.mark.parametrize("name", SYMMETRIES)
def test_symmetries_are_what_their_names_say(name: str) -> None:
    picture = apply_symmetry(torch.arange(9).view(3, 3), SYMMETRIES.index(name))
    assert "".join(map(str, picture.flatten().tolist())) == DIGITS[name]


@pytest.mark.parametrize("symmetry", range(8))
@pytest.mark.parametrize("channels", [1, 3])
def test_a_moved_copy_is_found_with_its_symmetry_and_shift(symmetry: int, channels: int) -> None:
    images = noise(4, (channels, 12, 12))
    images[1] = 3 - 0.5 * -apply_symmetry(images[2], symmetry, (5, 9))  # contrast and brightness do not matter
    result = find_symmetric_pairs(images, torch.Generator().manual_seed(1), shuffles=5)
    assert result.correlation[1, 2].item() == pytest.approx(1, abs=1e-12)
    assert int(result.symmetry[1, 2]) == symmetry
    assert result.shift[1, 2].tolist() == [5, 9]
    assert result.found[1:3].all()
    assert result.twin[1:3].tolist() == [2, 1]
    assert result.move(1, 2) == f"{SYMMETRIES[symmetry]}, 5 down, 3 left"


def test_every_pair_is_brought_into_line_as_it_says_in_both_directions() -> None:
    images = noise(6, (2, 8, 8))
    result = find_symmetric_pairs(images, torch.Generator(), shuffles=5)
    for one in range(6):
        assert math.isnan(result.correlation[one, one])
        for other in set(range(6)) - {one}:
            brought = apply_symmetry(images[other], int(result.symmetry[one, other]), result.shift[one, other])
            expected = np.corrcoef(images[one].flatten(), brought.flatten())[0, 1]
            assert result.correlation[one, other].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 8, 8), (1, 7, 7), (1, 6, 8)])
def test_correlations_equal_those_of_trying_every_symmetry_and_shift(size: tuple[int, int, int]) -> None:
    images, (_, height, width) = noise(3, size), size
    result = find_symmetric_pairs(images, torch.Generator(), shuffles=5)
    square = {name: moves for name, moves in literal_symmetries().items() if height == width or name not in QUARTERS}
    for one in range(3):
        for other in set(range(3)) - {one}:
            tried = {
                (name, down, right): np.corrcoef(
                    images[one].flatten(), np.roll(carry(images[other].numpy()), (down, right), (1, 2)).flatten()
                )[0, 1]
                for name, carry in square.items()
                for down in range(height)
                for right in range(width)
            }
            best = max(tried, key=tried.__getitem__)
            assert result.correlation[one, other].item() == pytest.approx(tried[best], abs=1e-12)
            said = (SYMMETRIES[int(result.symmetry[one, other])], *result.shift[one, other].tolist())
            assert tried[OTHERWISE.get(said[0], said[0]), said[1], said[2]] == pytest.approx(tried[best], abs=1e-12)


QUARTERS = ("turn 90", "turn 270", "turn 90 and flip", "turn 270 and flip")
OTHERWISE = {"flip on the diagonal": "turn 90 and flip", "flip on the antidiagonal": "turn 270 and flip"}


def literal_symmetries() -> dict:
    """The square's symmetries from turns and one flip of numpy's."""
    axes = (1, 2)
    return {
        "identity": lambda image: image,
        "turn 90": lambda image: np.rot90(image, 1, axes),
        "turn 180": lambda image: np.rot90(image, 2, axes),
        "turn 270": lambda image: np.rot90(image, 3, axes),
        "flip left-right": lambda image: image[:, :, ::-1],
        "flip upside-down": lambda image: image[:, ::-1, :],
        "turn 90 and flip": lambda image: np.rot90(image, 1, axes)[:, ::-1, :],
        "turn 270 and flip": lambda image: np.rot90(image, 3, axes)[:, ::-1, :],
    }


@pytest.mark.parametrize("size", [(1, 16, 16), (3, 9, 12), (2, 15, 15)])
def test_random_phases_keep_the_spectrum_the_mean_and_what_channels_share(size: tuple[int, int, int]) -> None:
    images = noise(5, size) + 2
    other = phase_randomised(images, torch.Generator().manual_seed(3))
    before, after = torch.fft.fft2(images), torch.fft.fft2(other)
    assert (before.abs().square() - after.abs().square()).abs().max() < 1e-10 * before.abs().square().max()
    shared = [(spectra[:, :1] * spectra.conj()) for spectra in (before, after)]
    torch.testing.assert_close(*shared, rtol=1e-10, atol=1e-8)
    torch.testing.assert_close(images.mean((1, 2, 3)), other.mean((1, 2, 3)), rtol=1e-12, atol=0)
    turned = (after[:, 0] / before[:, 0]).angle().flatten(1)[:, 1:]
    assert turned.abs().mean().item() == pytest.approx(math.pi / 2, abs=0.15)  # uniform phases: none is kept
    assert torch.corrcoef(torch.stack([images[:, 0].flatten() - 2, other[:, 0].flatten() - 2]))[0, 1].abs() < 0.2


def test_textures_that_have_nothing_in_common_have_twins_as_often_as_chance_says() -> None:
    """Spectra that differ much: one level for all images would call narrow spectra twins and wide ones never."""
    results = [
        find_symmetric_pairs(textures(12, seed, 12), torch.Generator().manual_seed(seed), shuffles=6)
        for seed in range(24)
    ]
    found = torch.cat([result.found for result in results]).double()
    best, baseline = (torch.cat([getattr(result, name) for result in results]) for name in ("best", "baseline"))
    assert 0.03 < found.mean() < 0.08
    narrow = baseline > baseline.median()
    one_level = torch.cat([result.null.flatten() for result in results]).quantile(0.95)
    for_all = (best > one_level).double()
    assert for_all[narrow].mean() > 0.08
    assert for_all[~narrow].mean() == 0
    for half in (narrow, ~narrow):
        assert 0.01 < found[half].mean() < 0.1


def test_the_level_is_the_percentile_of_a_new_value_given_the_others() -> None:
    """Values of any mean and spread: a new one lies above the level in a twentieth of the cases."""
    generator = torch.Generator().manual_seed(0)
    spreads = 0.01 * 2 ** torch.randint(0, 3, (4000,), generator=generator).double()
    means = 0.2 + 0.5 * torch.rand(4000, generator=generator, dtype=torch.float64)
    drawn = (torch.randn(11, 4000, generator=generator, dtype=torch.float64) * spreads + means).tanh()
    above = drawn[10] > _null_level(drawn[:10])
    for spread in spreads.unique():
        assert above[spreads == spread].double().mean().item() == pytest.approx(0.05, abs=0.015)
    literal = drawn[:10, 7].atanh()
    by_one = torch.stack(
        [(literal[k] - (rest := torch.cat([literal[:k], literal[k + 1 :]])).mean()) / rest.std() for k in range(10)]
    )
    alone = literal.mean() + by_one.quantile(0.95) * literal.std()
    assert _null_level(drawn[:10, 7:8]).item() == pytest.approx(math.tanh(alone), abs=1e-12)


def test_waves_are_no_twins_since_any_phase_brings_them_into_line() -> None:
    place = torch.arange(16, dtype=torch.float64)
    waves = torch.stack([torch.cos(2 * math.pi * (2 * place / 16) + phase).expand(16, 16) for phase in (0.0, 0.7, 2.0)])
    result = find_symmetric_pairs(waves[:, None], torch.Generator().manual_seed(0), shuffles=5)
    assert result.best.min().item() > 0.9
    assert not result.found.any()


def test_what_is_alike_in_many_ways_is_named_in_the_simplest() -> None:
    cross = torch.zeros(2, 1, 9, 9, dtype=torch.float64)
    cross[:, :, 4, :] = cross[:, :, :, 4] = 1
    result = find_symmetric_pairs(torch.cat([cross, noise(1, (1, 9, 9))]), torch.Generator(), shuffles=5)
    assert (int(result.symmetry[0, 1]), result.shift[0, 1].tolist()) == (0, [0, 0])
    assert result.move(0, 1) == "identity"


def test_an_image_of_one_value_is_like_no_other() -> None:
    images = torch.cat([torch.full((1, 1, 12, 12), 0.1), noise(3).float()])
    result = find_symmetric_pairs(images, torch.Generator(), shuffles=5)
    assert result.correlation[0, 1:].tolist() == [0, 0, 0]
    assert not result.found[0]
    assert torch.isfinite(result.baseline).all()


def test_numbers_and_words() -> None:
    images = noise(6, seed=2)
    images[3] = apply_symmetry(images[0], 0, (2, 0))
    images[5] = apply_symmetry(images[4], 1)
    result = find_symmetric_pairs(images, torch.Generator().manual_seed(0), shuffles=6)
    numbers = result.numbers()
    assert numbers["twins"] == 4
    assert numbers["twins/as_is"] == 2
    assert numbers["twins/flipped_or_turned"] == 2
    assert numbers["twins/share"] == pytest.approx(4 / 6)
    assert numbers["twins/strongest"] == pytest.approx(1)
    assert all(type(value) is float for value in numbers.values())
    said = result.sentence([f"conv7/{index}" for index in range(6)])
    assert said.startswith("4 of 6 images have a twin beyond chance (by chance 0.3 would), 2 as it is and 2 flipped")
    assert "conv7/" in said
    assert result.shift.dtype == result.symmetry.dtype == torch.int64
    assert result.correlation.dtype == result.null.dtype == torch.float64
    assert result.null.shape == (6, 6)


def test_the_same_generator_gives_the_same_numbers_and_leaves_the_images_alone() -> None:
    images = noise(5).float().requires_grad_()
    kept = images.detach().clone()
    one, two = (find_symmetric_pairs(images, torch.Generator().manual_seed(7), shuffles=5) for _ in range(2))
    assert torch.equal(one.null, two.null)
    assert torch.equal(one.correlation.nan_to_num(), two.correlation.nan_to_num())
    assert torch.equal(images, kept)


@pytest.mark.parametrize(
    ("images", "shuffles", "said"),
    [
        (torch.zeros(1, 1, 4, 4), 20, r"images=\[1, 1, 4, 4\]: expected \[N,C,H,W\] with at least 2"),
        (torch.zeros(4, 4, 4), 20, r"images=\[4, 4, 4\]: expected"),
        (torch.zeros(2, 1, 4, 4), 4, "shuffles=4: expected 5"),
        (torch.full((2, 1, 4, 4), math.nan), 20, "not finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(images: Tensor, shuffles: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_symmetric_pairs(images, torch.Generator(), shuffles=shuffles)


def drawn_twins(count: int) -> tuple[Tensor, list[str], SymmetricPairs]:
    images = noise(count, (1, 16, 16))
    images[1] = apply_symmetry(images[0], 1, (3, 0))
    images = (images - images.min()) / (images.max() - images.min())
    names = [f"conv7/{index}" for index in range(count)]
    return images, names, find_symmetric_pairs(images, torch.Generator().manual_seed(0), shuffles=5)


def test_the_closest_pairs_are_drawn_with_the_twin_brought_into_line(tmp_path: Path) -> None:
    images, names, found = drawn_twins(6)
    pairs = closest_pairs(found)
    assert len(pairs) == 8
    assert pairs[0][:2] == (0, 1)
    assert [value for *_, value in pairs] == sorted((value for *_, value in pairs), reverse=True)
    with plain_style():
        sheet = symmetric_pairs_figure(images, names, found, title="Filter images of conv7", dpi=300)
    pictures = [artist.get_array() for artist in sheet.artists if isinstance(artist, BboxImage)]
    assert len(pictures) == 3 * 8
    np.testing.assert_array_equal(pictures[0], pictures[2])  # the copy, brought into line, is the image
    assert (pictures[0] != pictures[1]).any()
    figure = draw_symmetric_pairs(images, names, found, tmp_path / "twins.png", title="Filter images of conv7", dpi=60)
    again = draw_symmetric_pairs(images, names, found, tmp_path / "again.png", title="Filter images of conv7", dpi=60)
    assert figure.path.read_bytes() == again.path.read_bytes()
    assert figure.caption.startswith("Filter images of conv7. 2 of 6 images have a twin beyond chance")
    assert "conv7/0 and conv7/1, 1.00 (turn 270, 3 right)" in figure.caption


@pytest.mark.parametrize("count", [2, 5, 40])
def test_twins_can_be_read(count: int) -> None:
    images, names, found = drawn_twins(count)
    with plain_style():
        sheet = symmetric_pairs_figure(
            images, [f"stage2.block1.{name}" for name in names], found, title="A " * 90, dpi=300
        )
        FigureCanvasAgg(sheet).draw()
    width, height = sheet.get_size_inches() * 300
    labels = sheet.axes[0].get_yticklabels()
    texts = [text for text in (*sheet.texts, *labels) if text.get_text()]
    boxes = np.array([text.get_window_extent().extents for text in texts])
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= (width, height)).all()
    shared = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    meet = np.argwhere(np.triu(shared.min(-1) > 4, 1))
    assert not meet.size, [(texts[one].get_text(), texts[other].get_text()) for one, other in meet]


def test_names_and_images_must_be_those_that_were_compared(tmp_path: Path) -> None:
    images, names, found = drawn_twins(3)
    with pytest.raises(ConfigError, match="3 images and 2 names for 3 compared"):
        draw_symmetric_pairs(images, names[:2], found, tmp_path / "twins.png")
    assert not list(tmp_path.iterdir())
