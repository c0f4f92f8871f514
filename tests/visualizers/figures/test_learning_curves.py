import itertools
import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Sheet
from matplotlib.image import BboxImage
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from fervis.core.faces import FER2013_CLASSES
from fervis.errors import ConfigError
from fervis.visualizers.figures.axes import epoch_ticks, y_ticks
from fervis.visualizers.figures.confusion_matrix import draw_confusion, matrix
from fervis.visualizers.figures.learning_curves import SPLIT_STYLES, draw_learning_curves, learning_curves
from fervis.visualizers.figures.matrix_cells import COLORMAP, format_percent, text_colour
from fervis.visualizers.figures.style import plain_style

FER = np.array(  # as many faces of each class as FER2013's test split has
    [
        [310, 6, 52, 13, 67, 8, 35],
        [12, 36, 3, 1, 2, 0, 1],
        [52, 2, 285, 9, 93, 46, 41],
        [10, 0, 7, 801, 17, 15, 29],
        [56, 2, 72, 15, 346, 5, 98],
        [7, 0, 33, 17, 4, 348, 7],
        [25, 0, 25, 28, 82, 6, 460],
    ]
)
LONG = tuple(f"compound expression no. {index}, happily surprised" for index in range(20))


def history(count: int, **changes: dict[int, float]) -> list[dict[str, float]]:
    """A smooth training; ``changes`` maps a column (``train_loss``) to new values by epoch."""
    rows = []
    for epoch in range(1, count + 1):
        done = epoch / count
        row = {
            "epoch": epoch,
            "train/loss": 0.4 + 1.4 * math.exp(-3 * done),
            "train/accuracy": 0.9 - 0.66 * math.exp(-2.6 * done),
            "val/loss": 0.95 + 0.85 * math.exp(-6 * done) + 0.1 * done**2,
            "val/accuracy": 0.72 - 0.45 * math.exp(-5 * done),
            "lr": 0.1 * (1 + math.cos(math.pi * done)) / 2 + 1e-5,
            "images_per_second": 5000.0 + epoch,
        }
        rows.append(row | {key.replace("_", "/"): by[epoch] for key, by in changes.items() if epoch in by})
    return rows


def recalls_with_ends(counts: np.ndarray) -> np.ndarray:
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ends = np.stack([np.maximum(shares - 0.05, 0), np.minimum(shares + 0.05, 1)], -1)
    ends[counts.sum(1) == 0] = np.nan
    return ends


def grown(size: int, most: int) -> np.ndarray:
    generator = np.random.default_rng(size)
    return generator.integers(0, most // 20, (size, size)) + np.diag(generator.integers(most // 2, most, size))


def texts_of(sheet: Sheet) -> list[Text]:
    FigureCanvasAgg(sheet).draw()
    ticks = (label for axes in sheet.axes for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels())
    labels = (axes.xaxis.label for axes in sheet.axes)
    return [text for text in (*sheet.texts, *ticks, *labels) if text.get_text()]


def assert_readable(sheet: Sheet) -> None:
    """No text leaves the sheet, meets another or is too small for print."""
    width, height = sheet.get_size_inches() * sheet.dpi
    assert width / sheet.dpi <= 6.5 + 1e-6
    found = texts_of(sheet)
    assert min(text.get_fontsize() for text in found) >= 5
    boxes = np.array([text.get_window_extent().extents for text in found])
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= (width, height)).all()
    shared = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    meet = np.argwhere(np.triu(shared.min(-1) > 2, 1))  # two dots: the line box is taller than its ink
    assert not meet.size, [(found[one].get_text(), found[other].get_text()) for one, other in meet]


def cells_of(sheet: Sheet, size: int) -> tuple[Bbox, dict[tuple[int, int], list[Text]]]:
    """Where the K by K cells are, in dots, and the texts whose middle is in each."""
    pictures = [artist for artist in sheet.artists if isinstance(artist, BboxImage)]
    (place,) = [image.get_window_extent() for image in pictures if np.shape(image.get_array())[:2] == (size, size)]
    inside: dict[tuple[int, int], list[Text]] = {}
    for text in sheet.texts:
        box = text.get_window_extent()
        row = int((place.y1 - (box.y0 + box.y1) / 2) // (place.height / size))
        column = int(((box.x0 + box.x1) / 2 - place.x0) // (place.width / size))
        if row in range(size) and column in range(size):
            inside.setdefault((row, column), []).append(text)
    return place, inside


def lightness(colour: object) -> float:
    """CIELAB L* of an sRGB colour."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


BAD = dict.fromkeys((3, 4, 6, 7, 11, 12), math.nan)


def constant(value: float, quantity: str) -> dict[str, dict[int, float]]:
    return {f"{split}_{quantity}": dict.fromkeys(range(13), value) for split in ("train", "val")}


TRAININGS = {
    "one": (history(1), 1),
    "two": (history(2), 2),
    "thirty": (history(30), 24),
    "three hundred": (history(300), 1),
    "long": (history(1200), 1200),
    "gaps": (history(12, train_loss=BAD, val_loss={5: math.inf}), 11),
    "nothing finite": (history(5, **constant(math.nan, "loss")), 2),
    "exploded": (history(9, train_loss={8: 3.4e12, 9: 8.1e30}), 7),
    "tiny": (history(9, train_loss=dict.fromkeys(range(10), 1.32e-9), val_loss=dict.fromkeys(range(10), 1.07e-9)), 7),
    "perfect": (history(6, **constant(1.0, "accuracy")), 1),
    "all but flat": (history(6, **constant(0.99952, "accuracy") | {"val_accuracy": {3: 0.9996}}), 3),
    "no loss left": (history(4, **constant(0.0, "loss")), 3),
    "negative loss": (history(4, **constant(-2.0, "loss")), 3),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_curves_can_be_read_and_no_text_lies_on_a_curve(name: str) -> None:
    rows, best = TRAININGS[name]
    with plain_style():
        sheet = learning_curves(rows, title="resnet18 on fer2013, " + "a long remark, " * 10, best=best, dpi=300)
        assert_readable(sheet)
    for text, axes in itertools.product(sheet.texts, sheet.axes):
        box, panel = text.get_window_extent(), axes.get_window_extent()
        assert not (box.x0 < panel.x1 and box.x1 > panel.x0 and box.y0 < panel.y1 and box.y1 > panel.y0), text


def test_the_best_epoch_is_marked_and_named() -> None:
    rows = history(30, val_accuracy={25: 0.7349}, val_loss={25: 0.98765})
    with plain_style():
        sheet = learning_curves(rows, title="vgg8", best=25, dpi=100)
    said = [text.get_text() for text in sheet.texts]
    assert "best epoch 25: validation accuracy 73.5 %" in said
    assert "epoch 25: validation loss 0.988" in said
    for axes, y in zip(sheet.axes, (0.98765, 73.49), strict=True):
        upright, ring = axes.lines[0], axes.lines[-1]
        assert set(upright.get_xdata()) == {25}
        assert 24 in axes.lines[2].get_markevery()
        np.testing.assert_allclose(ring.get_xydata(), [[25, y]])


def test_names_stand_where_their_curves_end_and_apart() -> None:
    for train, val in ((0.5, 0.9), (0.7, 0.701), (0.701, 0.7)):
        rows = history(30, train_accuracy={30: train}, val_accuracy={30: val})
        with plain_style():
            sheet = learning_curves(rows, title="vgg8", best=30, dpi=100)
        axes = sheet.axes[1]
        at = {t.get_text(): t.get_window_extent() for t in sheet.texts if t.get_window_extent().x0 > axes.bbox.x1}
        middle = {name: (box.y0 + box.y1) / 2 for name, box in at.items()}
        assert (middle["train"] > middle["validation"]) == (train > val)
        ends = [axes.transData.transform((30, 100 * end))[1] for end in (train, val)]
        assert sum(middle.values()) == pytest.approx(sum(ends), abs=3)
        if abs(train - val) > 0.1:
            assert list(map(middle.get, ("train", "validation"))) == pytest.approx(ends, abs=2)


def ink(sheet: Sheet, axes: Axes, colour: str, first: float, last: float) -> int:
    """How many dots of about this colour a panel shows between two epochs."""
    canvas = FigureCanvasAgg(sheet)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    (left, _), (right, _) = (axes.transData.transform((epoch, 0)) for epoch in (first, last))
    strip = picture[: int(picture.shape[0] - axes.bbox.y0) - 1, math.ceil(left) : math.floor(right)]
    return int((np.abs(strip - 255 * np.array(to_rgb(colour))).max(-1) < 40).sum())


def test_gaps_are_gaps_and_lonely_points_are_seen() -> None:
    red, blue = SPLIT_STYLES["train"]["color"], SPLIT_STYLES["val"]["color"]
    rows = history(60, train_loss=dict.fromkeys((*range(10, 30), *range(31, 50)), math.nan), val_loss={40: math.inf})
    with plain_style():
        sheet = learning_curves(rows, title="vgg8", best=60, dpi=300)
        loss = sheet.axes[0]
        for first, last, seen in (
            (1, 8.5, True),
            (10.5, 28.5, False),
            (29.2, 30.8, True),
            (31.5, 48.5, False),
            (50, 59, True),
        ):
            assert (ink(sheet, loss, red, first, last) > 0) == seen, (first, last)
        assert ink(sheet, loss, blue, 39.8, 40.2) == 0
        assert ink(sheet, loss, blue, 36.2, 38.8) > 0


def test_train_and_validation_differ_by_more_than_hue() -> None:
    train, val = SPLIT_STYLES["train"], SPLIT_STYLES["val"]
    assert train["marker"] != val["marker"]
    assert train["linestyle"] != val["linestyle"]
    assert lightness(train["color"]) - lightness(val["color"]) > 15
    assert all(lightness(look["color"]) < 60 for look in (train, val))  # at least 4 : 1 on white


def test_caption_of_curves_says_the_numbers(tmp_path: Path) -> None:
    rows = history(3, train_loss={1: 1.5, 2: math.nan, 3: math.inf}, val_loss={2: 0.91239, 3: 0.95})
    rows[1] |= {"val/accuracy": 0.72341, "train/accuracy": 0.8}
    rows[2] |= {"val/accuracy": 0.7, "train/accuracy": 0.9}
    for row, rate, speed in zip(rows, (0.01, 0.1, 2e-5), (100, 5432.1, 6000), strict=True):
        row |= {"lr": rate, "images_per_second": speed}
    figure = draw_learning_curves(rows, tmp_path / "curves.png", title="vgg8 on faces", best=2, dpi=50)
    assert figure.path == tmp_path / "curves.png"
    assert figure.caption == (
        "vgg8 on faces. Loss (nats per face) and accuracy over epochs, train (dashed, squares) and validation (solid, "
        "dots). 3 epochs · learning rate 0.1 at most, 2·10⁻⁵ last · 5,432 images/s (median). Best epoch 2: validation "
        "accuracy 72.3 %, loss 0.912; train accuracy 80.0 %, no finite loss. Last epoch 3: validation accuracy 70.0 %, "
        "loss 0.95; train accuracy 90.0 %, no finite loss. Gaps, where a number is not finite: train/loss in 2 of 3 "
        "epochs."
    )


def test_caption_of_a_bare_history(tmp_path: Path) -> None:
    row = {"epoch": 7, "train/loss": 1.0, "train/accuracy": 0.5, "val/loss": 2.0, "val/accuracy": 0.25}
    figure = draw_learning_curves([row], tmp_path / "curves.png", title="vgg8", best=7, dpi=50)
    assert figure.caption == (
        "vgg8. Loss (nats per face) and accuracy over epochs, train (dashed, squares) and validation (solid, dots). "
        "1 epoch. Best epoch 7: validation accuracy 25.0 %, loss 2; train accuracy 50.0 %, loss 1."
    )


@pytest.mark.parametrize(
    ("first", "last", "ticks"),
    [(1, 1, [1]), (1, 2, [1, 2]), (1, 12, [1, 2, 4, 6, 8, 10, 12]), (1, 300, [1, 50, 100, 150, 200, 250, 300])],
)
def test_epoch_ticks(first: int, last: int, ticks: list[int]) -> None:
    assert epoch_ticks(first, last) == ticks


def test_y_ticks_hold_all_values_and_say_what_they_are() -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        values = generator.normal(size=5) * 10.0 ** generator.integers(-3, 5)
        values = np.abs(values) + generator.integers(2) * 10 if generator.integers(2) else values
        ticks, labels = y_ticks(np.append(values, math.nan))
        assert ticks[0] <= values.min()
        assert values.max() <= ticks[-1]
        assert 2 <= len(ticks) <= 9
        assert len(set(labels)) == len(labels)
        if "·" not in "".join(labels):
            step = ticks[1] - ticks[0]
            read = [float(label.replace("\N{MINUS SIGN}", "-")) for label in labels]
            np.testing.assert_allclose(read, ticks, atol=step / 1000)
    assert y_ticks(np.array([0.4, 1.8]))[0][0] == 0
    assert y_ticks(np.array([60.0, 99.0]))[0][0] == 60


@pytest.mark.parametrize(
    ("best", "rows", "said"), [(31, 30, "1 to 30"), (0, 1, "1 to 1"), (1, 0, "one epoch at least")]
)
def test_a_best_epoch_that_does_not_exist_is_refused(tmp_path: Path, best: int, rows: int, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^best={best}: expected .*{said}"):
        draw_learning_curves(history(rows), tmp_path / "curves.png", title="vgg8", best=best)
    assert not list(tmp_path.iterdir())


CONFUSIONS = {
    "fer": (FER, FER2013_CLASSES, True),
    "fer, no intervals": (FER, FER2013_CLASSES, False),
    "two": (np.array([[90, 10], [3, 197]]), ("no", "yes"), True),
    "two long": (np.array([[90, 10], [3, 197]]), LONG[:2], True),
    "many": (grown(20, 90_000), tuple(f"c{index}" for index in range(20)), True),
    "many long": (np.where(np.arange(20)[:, None] == 7, 0, grown(20, 900)), LONG, True),
    "huge": (grown(12, 10**9), FER2013_CLASSES + LONG[:5], True),
    "no face": (np.zeros((3, 3), dtype=np.int64), ("a", "b", "c"), True),
    "one class": (np.array([[0, 0], [2, 5]]), ("a", "b"), True),
}


@pytest.mark.parametrize("name", CONFUSIONS)
def test_confusions_can_be_read(name: str) -> None:
    counts, classes, with_ends = CONFUSIONS[name]
    ends = recalls_with_ends(counts) if with_ends else None
    with plain_style():
        sheet = matrix(counts, classes, title="resnet18 on fer2013 test, " * 9, intervals=ends, dpi=300)
        assert_readable(sheet)
    place, cells = cells_of(sheet, len(classes))
    assert place.width == pytest.approx(place.height)
    side = place.width / len(classes)
    within = [text for texts in cells.values() for text in texts]
    for (row, column), texts in cells.items():  # a number stays in its cell
        for text in texts:
            box, right = text.get_window_extent(), place.x0 + (column + 1) * side
            if text.get_text() != "no face":
                assert right - side <= box.x0 <= box.x1 <= right, text
                assert place.y1 - (row + 1) * side - 2 <= box.y0 <= box.y1 <= place.y1 - row * side + 2, text
    for text in set(sheet.texts) - set(within):  # a name stays out of the cells
        assert not place.overlaps(text.get_window_extent()), text


def test_cells_hold_percentages_faces_and_intervals() -> None:
    ends = recalls_with_ends(FER)
    with plain_style():
        sheet = matrix(FER, FER2013_CLASSES, title="vgg8", intervals=ends, dpi=100)
    _, cells = cells_of(sheet, 7)
    for row, column in itertools.product(range(7), repeat=2):
        count, share = int(FER[row, column]), 100 * FER[row, column] / sum(FER[row])
        expected = ["0"] if count == 0 else ["<1" if share < 0.5 else str(round(share)), str(count)]
        if row == column:
            expected.append(f"{round(share - 5)}–{round(share + 5)}")  # noqa: RUF001
        assert [text.get_text() for text in cells[row, column]] == expected
    names = [text.get_text() for text in sheet.texts]
    assert all(names.count(name) == 2 for name in FER2013_CLASSES)
    assert [name for name in names if name.startswith("n = ")] == [
        f"n = {n}" for n in (491, 55, 528, 879, 594, 416, 626)
    ]


def test_names_wider_than_a_cell_stand_upright_and_whole() -> None:
    classes = (*FER2013_CLASSES, "contempt", "confusion", "boredom", "awe", "calm")
    for size, upright in ((7, 0), (12, 90)):
        with plain_style():
            sheet = matrix(grown(size, 900), classes[:size], title="vgg8", intervals=None, dpi=100)
        for name in classes[:size]:
            row, head = sorted((t for t in sheet.texts if t.get_text() == name), key=Text.get_rotation)
            assert (row.get_rotation(), head.get_rotation()) == (0, upright)
            assert head.get_fontsize() == 7


def test_lines_without_room_are_left_out_of_cells_and_foot() -> None:
    counts, classes, _ = CONFUSIONS["huge"]
    ends = recalls_with_ends(counts)
    with plain_style():
        said = [text.get_text() for text in matrix(counts, classes, title="vgg8", intervals=ends, dpi=100).texts]
    foot = " ".join(said[-2:])
    assert "per cent of the true class; 95 % interval" in foot
    assert "number of faces" not in foot
    assert f"{counts[0, 0]:,}" not in said


def test_colours_are_the_shares_from_0_to_100_per_cent(tmp_path: Path) -> None:
    counts = np.array([[8, 2, 0], [0, 0, 0], [1, 1, 2]])
    figure = draw_confusion(counts, ("a", "b", "c"), tmp_path / "confusion.png", title="vgg8")
    with plain_style():
        sheet = matrix(counts, ("a", "b", "c"), title="vgg8", intervals=None, dpi=300)
    (place, cells), picture = cells_of(sheet, 3), np.asarray(Image.open(figure.path).convert("RGB"))
    for row, column in itertools.product(range(3), repeat=2):
        x = int(place.x0 + (column + 0.08) * place.width / 3)
        y = int(picture.shape[0] - place.y1 + (row + 0.08) * place.height / 3)
        share = counts[row, column] / counts[row].sum() if counts[row].any() else None
        expected = (255, 255, 255) if share is None else colormaps[COLORMAP](share, bytes=True)[:3]
        assert tuple(picture[y, x]) == tuple(expected), (row, column)
    seam, middle = (int(place.x0 + place.width / 3), int(picture.shape[0] - place.y1 + place.height / 2))
    assert (picture[middle, seam - 3 : seam + 4] == 255).all()  # no line between the cells of a class without faces
    assert [text.get_text() for column in range(3) for text in cells.get((1, column), [])] == ["no face"]


def test_colours_darken_with_the_share_and_text_has_contrast() -> None:
    shares = np.linspace(0, 1, 256)
    colours = colormaps[COLORMAP](shares)[:, :3]
    assert (np.diff([lightness(colour) for colour in colours]) < 0).all()
    assert lightness(colours[0]) - lightness(colours[-1]) > 70
    assert (np.diff(colours, axis=0) <= 1e-9).all()  # in each primary, so for every eye
    for share, colour in zip(shares, colours, strict=True):
        luminance = {name: ((lightness(of) + 16) / 116) ** 3 for name, of in (("cell", colour), ("white", "white"))}
        luminance["black"] = 0.0
        low, high = sorted((luminance["cell"], luminance[text_colour(float(share))]))
        assert (high + 0.05) / (low + 0.05) > 4.5


@pytest.mark.parametrize(
    ("count", "total", "text"),
    [(0, 9, "0"), (1, 201, "<1"), (1, 199, "1"), (9, 9, "100"), (200, 201, ">99"), (198, 199, "99"), (1, 3, "33")],
)
def test_percent_keeps_few_from_none_and_most_from_all(count: int, total: int, text: str) -> None:
    assert format_percent(count, total) == text


def test_caption_of_a_confusion_says_the_numbers(tmp_path: Path) -> None:
    ends = recalls_with_ends(FER)
    figure = draw_confusion(FER, FER2013_CLASSES, tmp_path / "c.png", title="vgg8 on faces", intervals=ends, dpi=50)
    right, total = sum(FER[k][k] for k in range(7)), sum(map(sum, FER.tolist()))
    recalls = {name: FER[k][k] / sum(FER[k]) for k, name in enumerate(FER2013_CLASSES)}
    assert max(recalls, key=recalls.__getitem__) == "happy"
    assert min(recalls, key=recalls.__getitem__) == "fear"
    shares = {(r, c): FER[r][c] / sum(FER[r]) for r in range(7) for c in range(7) if r != c}
    assert max(shares, key=shares.__getitem__) == (1, 0)
    happy, fear = 100 * recalls["happy"], 100 * recalls["fear"]
    assert figure.caption == (
        "vgg8 on faces. Confusion matrix: rows are true classes, columns predicted ones, each row in per cent of its "
        f"faces. Accuracy {100 * right / total:.1f} % (2,586 of 3,589 faces). "
        f"Best recall: {happy:.1f} %, happy (n = 879, 95 % interval {happy - 5:.1f} to {happy + 5:.1f} %). "
        f"Worst recall: {fear:.1f} %, fear (n = 528, 95 % interval {fear - 5:.1f} to {fear + 5:.1f} %). "
        f"Largest confusion: disgust taken for angry, {100 * 12 / 55:.1f} % (12 of 55)."
    )


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (
            [[9, 1, 0], [20, 180, 0], [0, 0, 7]],
            "Accuracy 90.3 % (196 of 217 faces). Best recall: 100.0 %, c (n = 7). Worst recall: 90.0 %, a (n = 10) and "
            "b (n = 200). Largest confusion: b taken for a, 10.0 % (20 of 200).",
        ),
        (
            [[3, 0, 0], [0, 0, 0], [0, 0, 7]],
            "Accuracy 100.0 % (10 of 10 faces). Best recall: 100.0 %, a (n = 3) and c (n = 7). Worst recall: 100.0 %, "
            "a (n = 3) and c (n = 7). No face is confused. Without a face: b.",
        ),
        ([[0, 0, 0]] * 3, "No face. Without a face: a, b, c."),
    ],
)
def test_captions_of_ties_and_empty_classes(tmp_path: Path, counts: list[list[int]], said: str) -> None:
    figure = draw_confusion(np.array(counts), ("a", "b", "c"), tmp_path / "c.png", title="vgg8", dpi=50)
    assert figure.caption.split("of its faces. ")[1] == said


@pytest.mark.parametrize(
    ("counts", "ends", "said"),
    [
        (FER[:6], None, r"\[6, 7\]: expected \[K, K\] counts.* for 7 classes"),
        (FER, np.zeros((7, 2)), r"\[7, 7\] and \[7, 2\]: expected"),
        (FER / 2, None, "float64 from 0.0: expected whole numbers"),
        (-FER, None, "int64 from -801: expected whole numbers"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(
    tmp_path: Path, counts: np.ndarray, ends: np.ndarray | None, said: str
) -> None:
    with pytest.raises(ConfigError, match=f"^confusion={said}"):
        draw_confusion(counts, FER2013_CLASSES, tmp_path / "c.png", title="vgg8", intervals=ends)
    assert not list(tmp_path.iterdir())


def test_same_bytes_of_the_stated_size_whatever_the_users_settings(tmp_path: Path) -> None:
    def draw(folder: Path) -> list[bytes]:
        ends = recalls_with_ends(FER)
        figures = [
            draw_learning_curves(history(30), folder / "curves.png", title="vgg8", best=24),
            draw_confusion(FER, FER2013_CLASSES, folder / "confusion.png", title="vgg8", intervals=ends),
        ]
        assert sorted(folder.iterdir()) == sorted(figure.path for figure in figures)
        return [figure.path.read_bytes() for figure in figures]

    first = draw(tmp_path / "a")
    with matplotlib.rc_context({"font.size": 20, "font.family": "serif", "axes.grid": True, "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert draw(tmp_path / "b") == first
        assert dict(matplotlib.rcParams) == before
    with Image.open(tmp_path / "a" / "curves.png") as picture:
        assert picture.size == (1950, 795)
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert "Software" not in picture.info
    with Image.open(tmp_path / "a" / "confusion.png") as picture:
        assert 7 * 0.62 * 300 < picture.size[0] <= 1950
