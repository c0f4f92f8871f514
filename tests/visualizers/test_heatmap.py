import dataclasses
import itertools
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure as Sheet
from omegaconf import OmegaConf
from PIL import Image

from fervis.core.faces import FER2013_CLASSES, Faces
from fervis.core.intervals import format_number
from fervis.core.registry import build_plugin
from fervis.core.results import Explanation, HeatMaps
from fervis.errors import ConfigError, RunError
from fervis.visualizers.figures.color import to_rgb
from fervis.visualizers.figures.heatmap_items import heatmap_items
from fervis.visualizers.figures.style import plain_style
from fervis.visualizers.heatmap import HeatMap, _pages

SIZE = 48


def explained(
    maps: torch.Tensor,
    *,
    layers: tuple[str, ...] | None = None,
    targets: tuple[str, ...] | None = None,
    rows: list[int] | None = None,
    channels: int = 1,
    signed: bool = False,
    pixel_maps: torch.Tensor | None = None,
    predictions: list[int] | None = None,
    unit: str = "|d logit / d pixel|",
    classes: tuple[str, ...] = FER2013_CLASSES,
) -> Explanation:
    n = len(maps)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, channels, *maps.shape[1:]), generator=generator, dtype=torch.uint8)
    labels = torch.arange(n) % 7
    numbers = torch.tensor(rows if rows is not None else list(range(299, 299 + n)))
    probabilities = torch.softmax(torch.randn(n, len(classes), generator=generator), 1)
    return Explanation(
        result=HeatMaps(maps, unit, signed, pixel_maps, "|d logit / d pixel|"),
        faces=Faces(images, labels, numbers, torch.zeros(n, dtype=torch.uint8), FER2013_CLASSES),
        layers=layers or ("conv7",) * n,
        targets=targets or tuple(FER2013_CLASSES[label] for label in labels),
        predictions=torch.tensor(predictions) if predictions is not None else labels % len(classes),
        probabilities=probabilities,
        classes=classes,
        explainer="saliency",
        model="vgg8",
        dataset="faces",
    )


def noise(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def panels(path: Path, count: int, dpi: int) -> list[np.ndarray]:
    """The colours at the middle of each of the 48 x 48 pixels of each panel of a single figure."""
    picture = np.asarray(Image.open(path).convert("RGB"))
    side = min(1.72, (6.5 - 2 * 0.04 - (count - 1) * 0.12) / count)
    middles = (np.arange(SIZE) + 0.5) / SIZE * side
    ys = ((0.51 + middles) * dpi).astype(int)
    return [picture[np.ix_(ys, ((0.04 + k * (side + 0.12) + middles) * dpi).astype(int))] for k in range(count)]


def test_every_pixel_of_face_map_and_overlay_has_its_own_colour(tmp_path: Path) -> None:
    maps, pixel_maps = noise(1), noise(1, 1) * 1e-5
    explanation = explained(maps, pixel_maps=pixel_maps)
    (figure,) = HeatMap().draw(explanation, tmp_path)
    assert figure.path == tmp_path / "299_angry_conv7.png"
    face, heat, over, pixels = panels(figure.path, 4, 300)
    values = maps[0].numpy()
    expected = colormaps["inferno"](values / values.max(), bytes=True)[..., :3]
    np.testing.assert_array_equal(face, to_rgb(explanation.faces.images[0]))
    np.testing.assert_array_equal(heat, expected)
    np.testing.assert_array_equal(
        pixels, colormaps["inferno"]((pixel_maps / pixel_maps.max())[0].numpy(), bytes=True)[..., :3]
    )
    share = 0.85 * np.sqrt(values / values.max())[..., None]
    mixture = 0.7 * to_rgb(explanation.faces.images[0]) * (1 - share) + expected * share
    np.testing.assert_allclose(over, mixture, atol=1)


def test_signed_maps_are_symmetric_about_zero(tmp_path: Path) -> None:
    maps = noise(1) - 0.3
    maps[0, 10, 10] = 0
    (figure,) = HeatMap(diverging="cividis").draw(explained(maps, signed=True, channels=3), tmp_path)
    heat = panels(figure.path, 3, 300)[1]
    colours = colormaps["cividis"](0.5 + 0.5 * (maps[0] / maps.abs().max()).numpy(), bytes=True)[..., :3]
    np.testing.assert_array_equal(heat, colours)
    np.testing.assert_array_equal(heat[10, 10], colormaps["cividis"](0.5, bytes=True)[:3])


def test_shared_scale_compares_and_own_scale_does_not(tmp_path: Path) -> None:
    maps = torch.cat([noise(1), noise(1) / 4])
    for scale, top in (("own", 1.0), ("shared", 0.25)):
        figures = HeatMap(scale=scale).draw(explained(maps), tmp_path / scale)
        weak = panels(figures[2].path, 3, 300)[1]
        y, x = np.unravel_index(maps[1].numpy().argmax(), (SIZE, SIZE))
        np.testing.assert_array_equal(weak[y, x], colormaps["inferno"](top, bytes=True)[:3])
    notes = [entry.maps[0].note for entry in heatmap_items(explained(maps), shared=True, clip=99.5)]
    assert notes == ["one scale for all 2 maps; last colour from percentile 99.5 up"] * 2
    (note, _) = [entry.maps[0].note for entry in heatmap_items(explained(maps), shared=False, clip=100)]
    least, most = format_number(float(maps[0].min())), format_number(float(maps[0].max()))
    assert note == f"colours from 0 to {most}; the map runs from {least} to {most}"
    maps[0, 0, 0] = 0
    (note, _) = [entry.maps[0].note for entry in heatmap_items(explained(maps), shared=False, clip=100)]
    assert note == f"0 to {most}, this map's own range"


def test_same_bytes_whatever_the_users_matplotlib_settings(tmp_path: Path) -> None:
    explanation = explained(noise(2), pixel_maps=noise(2, 1))
    first = [figure.path.read_bytes() for figure in HeatMap(dpi=100).draw(explanation, tmp_path / "a")]
    with matplotlib.rc_context({"font.size": 20, "font.family": "serif", "savefig.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        second = [figure.path.read_bytes() for figure in HeatMap(dpi=100).draw(explanation, tmp_path / "b")]
        assert dict(matplotlib.rcParams) == before
    assert first == second
    with Image.open(tmp_path / "a" / "299_angry_conv7.png") as picture:
        assert picture.info["dpi"] == pytest.approx((100, 100), abs=0.1)
        assert "Software" not in picture.info
        assert picture.size[0] == 650


def test_overview_comes_first_and_many_entries_get_overviews_only(tmp_path: Path) -> None:
    names = [figure.path.name for figure in HeatMap(dpi=40).draw(explained(noise(3)), tmp_path / "few")]
    assert names == ["overview.png", "299_angry_conv7.png", "300_disgust_conv7.png", "301_fear_conv7.png"]
    many = HeatMap(dpi=40).draw(explained(noise(81)), tmp_path / "many")
    assert [figure.path.name for figure in many] == ["overview_1.png", "overview_2.png", "overview_3.png"]
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == [figure.path.name for figure in many]
    assert many[2].caption == (
        "Overview of saliency at conv7 for vgg8 on faces. Maps: 1; faces: 1; predicted as labelled: 1 of 1."
    )


def test_pages_keep_a_face_together_in_any_order_of_entries() -> None:
    rows = [row for _ in range(7) for row in range(6)]  # layer by layer, six faces at a time
    layers = tuple(f"conv{k}" for k in range(7) for _ in range(6))
    pages = _pages(heatmap_items(explained(noise(42), rows=rows, layers=layers), shared=False, clip=100))
    assert [[(block[0].row, len(block)) for block in page] for page in pages] == [
        [(0, 7), (1, 7), (2, 7), (3, 7), (4, 7)],
        [(5, 7)],
    ]
    assert [entry.layer for entry in pages[1][0]] == [f"conv{k}" for k in range(7)]


def test_names_are_unique_where_a_face_has_many_targets(tmp_path: Path) -> None:
    targets = ("conv7/4", "conv7/5", "conv7/5")
    figures = HeatMap(dpi=40).draw(explained(noise(3), rows=[8, 8, 8], targets=targets), tmp_path)
    names = [figure.path.name for figure in figures]
    assert names == ["overview.png", "8_conv7-4_conv7.png", "8_conv7-5_conv7.png", "8_conv7-5_conv7_2.png"]


def _texts(figure: Sheet) -> list:
    return [text for text in figure.texts if text.get_text()]


@pytest.mark.parametrize(
    ("scale", "pixels", "count", "layers", "long"),
    [
        ("own", True, 7, 1, False),
        ("own", True, 2, 1, True),
        ("shared", True, 7, 1, True),
        ("shared", False, 1, 1, False),
        ("own", False, 7, 1, True),
        ("own", False, 20, 1, False),
        ("own", True, 25, 1, True),
        ("own", False, 40, 1, False),
        ("own", False, 2, 7, False),
        ("shared", False, 1, 2, False),
        ("own", True, 2, 16, True),
    ],
)
def test_no_text_leaves_the_sheet_or_meets_another(
    scale: str, pixels: bool, count: int, layers: int, long: bool
) -> None:
    n = count * layers
    names = tuple(f"blocks.{k}.attention.projection" if long else f"conv{k}" for k in range(layers)) * count
    explanation = explained(
        (noise(n) - 0.5 * (layers > 1)) * 3.96e-5,
        signed=layers > 1,
        layers=names,
        rows=[35_000 + k // layers for k in range(n)],
        pixel_maps=noise(n, 1) if pixels else None,
        predictions=[3] * n,
        unit="largest |d logit / d activation| over the channels of this layer" if long else "|d logit / d pixel|",
    )
    visualizer = HeatMap(scale=scale, clip=99.0)
    entries = heatmap_items(explanation, shared=scale == "shared", clip=99.0)
    with plain_style():
        sheets = [visualizer.single(entries[0]), *(visualizer.draw_overview(page) for page in _pages(entries))]
        for sheet in sheets:
            width, height = sheet.get_size_inches() * sheet.dpi
            assert width / sheet.dpi <= 6.5 + 1e-6
            boxes = [(text.get_text(), text.get_window_extent()) for text in _texts(sheet)]
            images = [("a picture", artist.get_window_extent()) for artist in sheet.artists if hasattr(artist, "bbox")]
            assert len(images) >= 3
            for text, box in boxes:
                assert box.x0 >= 0, text
                assert box.y0 >= 0, text
                assert box.x1 <= width, text
                assert box.y1 <= height, text
            for (one, box), (other, rival) in itertools.combinations(boxes, 2):
                across = min(box.x1, rival.x1) - max(box.x0, rival.x0)
                down = min(box.y1, rival.y1) - max(box.y0, rival.y0)
                assert across <= 0 or down <= 2, (one, other)  # two dots: the line box is taller than its ink
            # minimal size of type in print
            assert min(text.get_fontsize() for text in _texts(sheet)) >= 5


def test_right_and_wrong_are_told_in_sign_and_word() -> None:
    right, wrong = heatmap_items(explained(noise(2), predictions=[0, 3]), shared=False, clip=100)
    assert right.verdict.startswith(f"predicted angry {right.probability:.2f} ✓ right")
    assert wrong.verdict.startswith(f"predicted happy {wrong.probability:.2f} ✗ wrong")
    assert wrong.short == f"300 disgust → happy {wrong.probability:.2f} ✗"
    assert wrong.title == "saliency at conv7 · disgust (1), face 300"
    (stranger,) = heatmap_items(explained(noise(1), classes=("cat", "dog"), predictions=[1]), shared=False, clip=100)
    assert stranger.verdict == f"predicted dog {stranger.probability:.2f} · explained: angry"


def test_caption_says_where_the_map_is_strongest() -> None:
    maps = noise(1) * 0.1
    maps[0, 0, 0] = 0
    maps[0, 30:47, 17:32] = 0.4  # 255 pixels about (24, 38), just over 10 %, spread sqrt((15² + 17² - 2) / 12)
    maps[0, 33:44, 18:31] = 0.5
    (entry,) = heatmap_items(explained(maps), shared=False, clip=100)
    assert entry.caption() == (
        f"Face 299 of faces, labelled angry, predicted angry by vgg8 (probability {entry.probability:.2f}). The map, "
        "saliency at conv7 for angry as |d logit / d pixel|, runs from 0 to 0.5; its strongest 10 % lie around x 24, "
        "y 38 of 48 by 48 pixels, 7 pixels to either side."
    )


@pytest.mark.parametrize(("value", "signed"), [(0.0, False), (0.0, True), (0.25, False), (-0.25, True)])
def test_maps_of_one_value_are_drawn_and_said_to_be(tmp_path: Path, value: float, signed: bool) -> None:
    explanation = explained(torch.full((1, SIZE, SIZE), value), signed=signed)
    (figure,) = HeatMap(dpi=60).draw(explanation, tmp_path)
    said = f"{format_number(value)} everywhere"
    assert said in figure.caption
    assert "strongest" not in figure.caption
    (entry,) = heatmap_items(explanation, shared=False, clip=100)
    assert entry.maps[0].note == f"constant: {said}"


@pytest.mark.parametrize("scale", ["own", "shared"])
def test_rounding_noise_is_drawn_flat_and_covers_nothing(tmp_path: Path, scale: str) -> None:
    maps = 0.0625 * (1 + 1e-7 * noise(1))
    assert maps.unique().numel() > 1
    explanation = explained(maps)
    (figure,) = HeatMap(scale=scale).draw(explanation, tmp_path)
    face, heat, over = panels(figure.path, 3, 300)
    assert (heat == colormaps["inferno"](1.0, bytes=True)[:3]).all()
    if scale == "own":
        np.testing.assert_allclose(over, 0.7 * face, atol=0.5)
    assert "is constant, 0.0625 everywhere" in figure.caption


def test_a_map_that_rides_on_an_offset_is_drawn_from_zero_and_its_range_is_said(tmp_path: Path) -> None:
    maps = 2.1e-7 + 2e-9 * noise(1)
    (entry,) = heatmap_items(explained(maps), shared=False, clip=100)
    assert entry.maps[0].scale.low == 0
    assert entry.maps[0].note.startswith("colours from 0 to 2.12·10⁻⁷; the map runs from 2.1·10⁻⁷ to 2.12·10⁻⁷")
    (figure,) = HeatMap().draw(explained(maps), tmp_path)
    expected = colormaps["inferno"]((maps[0] / maps.max()).double().numpy(), bytes=True)[..., :3]
    np.testing.assert_allclose(panels(figure.path, 3, 300)[1].astype(int), expected.astype(int), atol=2)


def test_the_range_of_a_signed_map_is_not_that_of_its_colours() -> None:
    maps = torch.full((1, SIZE, SIZE), -0.0653)
    maps[0, 0, 0] = 0.134
    (entry,) = heatmap_items(explained(maps, signed=True), shared=False, clip=100)
    minus = "\N{MINUS SIGN}"
    assert entry.maps[0].note == f"colours from {minus}0.134 to 0.134; the map runs from {minus}0.0653 to 0.134"


def test_the_legend_fills_the_half_beside_an_odd_face() -> None:
    with plain_style():
        odd, even = (
            HeatMap().draw_overview(_pages(heatmap_items(explained(noise(n)), shared=False, clip=100))[0])
            for n in (7, 8)
        )
    assert odd.get_size_inches()[1] < even.get_size_inches()[1]
    legend = next(text for text in odd.texts if text.get_text() == "largest").get_window_extent()
    assert legend.x0 > odd.get_size_inches()[0] * odd.dpi / 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_maps_that_are_not_finite_are_refused(tmp_path: Path, bad: float) -> None:
    maps = noise(2)
    maps[1, 3, 4] = bad
    with pytest.raises(RunError, match=r"^saliency of face 300 at conv7: 1 of 2304 values of its map are not finite"):
        HeatMap(scale="shared").draw(explained(maps), tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def test_other_sizes_and_shapes_keep_their_proportions() -> None:
    (entry,) = heatmap_items(explained(torch.rand(1, 32, 64)), shared=False, clip=100)
    with plain_style():
        figure = HeatMap().single(entry)
    face = next(artist for artist in figure.artists if hasattr(artist, "bbox")).get_window_extent()
    assert face.width / face.height == pytest.approx(2)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"colormap": "infernal"}, r"^visualizer.colormap=infernal: expected .* Did you mean inferno\?"),
        ({"diverging": "cividi"}, r"^visualizer.diverging=cividi: .* Did you mean cividis\?"),
        ({"scale": "share"}, r"^visualizer.scale=share: expected own or shared. Did you mean shared\?$"),
        ({"opacity": 1.5}, r"^visualizer.opacity=1.5: expected a number from 0 to 1.$"),
        ({"clip": 0.0}, r"^visualizer.clip=0.0: expected a number from 50 to 100.$"),
        ({"dpi": 0}, r"^visualizer.dpi=0"),
        ({"max_single": -1}, r"^visualizer.max_single=-1"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_plugin("visualizer", "heatmap", **knobs)


def test_yaml_states_every_knob() -> None:
    stated = OmegaConf.to_container(OmegaConf.load(Path(__file__).parents[2] / "conf" / "visualizer" / "heatmap.yaml"))
    assert stated == {"name": "heatmap"} | dataclasses.asdict(HeatMap())


def test_without_overviews_a_run_of_many_entries_has_no_figure(tmp_path):
    assert HeatMap(dpi=40, max_single=1, overview=False).draw(explained(noise(2)), tmp_path / "none") == []
    few = HeatMap(dpi=40, max_single=2, overview=False).draw(explained(noise(2)), tmp_path / "few")
    assert [figure.path.name for figure in few] == ["299_angry_conv7.png", "300_disgust_conv7.png"]
