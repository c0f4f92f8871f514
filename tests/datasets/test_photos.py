import logging
import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from fervis.core.faces import FER2013_CLASSES
from fervis.core.registry import build_plugin
from fervis.datasets import photos
from fervis.datasets.images.face_detection import detect_faces
from fervis.datasets.photos import Photos
from fervis.errors import ConfigError

# Measured by hand on skimage.data.astronaut(): her right pupil and her left pupil (x, y).
PUPILS = np.array([(203.3, 101.3), (246.8, 103.3)])
CORNER = np.array([120, 20])


def head():
    """The astronaut's head, [200,210,3], its upper left corner at ``CORNER`` of the whole picture."""
    x, y = CORNER
    return data.astronaut()[y : y + 200, x : x + 210]


def mug():
    """A picture without a face, [90,120,3]."""
    return data.coffee()[100:190, 200:320]


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def pictures(tmp_path):
    return tmp_path / "pictures"


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


@pytest.fixture
def told(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("fervis"), "propagate", True)  # the command turns it off
    caplog.set_level(logging.INFO, "fervis")
    return lambda level: [record.getMessage() for record in caplog.records if record.levelname == level]


def test_the_astronauts_face_fills_the_frame_as_in_fer2013(pictures, cache, told):
    save(pictures / "astronaut.png", data.astronaut())
    faces = Photos(str(pictures / "astronaut.png"), size=96).load(cache)
    assert faces.images.shape == (1, 1, 96, 96)
    assert faces.images.dtype == torch.uint8
    assert faces.classes == FER2013_CLASSES
    assert (faces.labels.dtype, faces.labels.tolist()) == (torch.int64, [-1])
    assert (faces.rows.dtype, faces.rows.tolist()) == (torch.int64, [0])
    assert (len(faces.split("test")), len(faces.split("all")), len(faces.split("train"))) == (1, 1, 0)
    assert told("INFO") == ["row 0: astronaut.png"]
    assert told("WARNING") == []
    # FER2013's eyes are near (15,17) and (33,17) of 48: here near (30,34) and (66,34). Her pupils, the darkest points
    # there but for lashes, must lie where the hand-measured ones fall and within 3 pixels of 48 of FER2013's.
    (box,) = [box.grown(0.02) for box in detect_faces(data.astronaut())]
    grey = faces.images[0, 0].numpy()
    for pupil, (x, y) in zip(PUPILS, [(30, 34), (66, 34)], strict=True):
        near = grey[y - 7 : y + 8, x - 7 : x + 8]
        down, right = np.unravel_index(near.argmin(), near.shape)
        seen = np.array([x - 7 + right, y - 7 + down]) + 0.5
        expected = (pupil + 0.5 - (box.left, box.top)) / box.side * 96
        assert np.abs(seen - expected).max() < 3.5
        assert np.abs(seen - (x, y)).max() < 6.5


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_exif_orientation_is_applied(orientation, pictures, cache):
    save(pictures / "a.png", head())
    stored = np.rot90(head(), {3: 2, 6: 1, 8: -1}[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(pictures / "b.png", stored, exif=exif)
    upright, turned = Photos(str(pictures), channels=3).load(cache).images
    assert torch.equal(upright, turned)


def test_pictures_without_a_face_are_named_and_left_out(pictures, cache, told, monkeypatch):
    for name in ("b/astronaut.png", "d.png"):
        save(pictures / name, head())
    for name in ("a.png", "c.JPG"):
        save(pictures / name, mug())
    (pictures / "notes.txt").write_text("no picture")
    first = Photos(str(pictures)).load(cache)
    assert first.rows.tolist() == [0, 1]
    assert first.splits.tolist() == [2, 2]
    assert torch.equal(first.images[0], first.images[1])
    warning = (
        "2 of 4 pictures show no frontal face that was detected: a.png, c.JPG; dataset.face=whole takes whole pictures"
    )
    assert told("WARNING") == [warning]
    assert told("INFO") == ["row 0: b/astronaut.png", "row 1: d.png"]
    monkeypatch.setattr(photos, "detect_faces", None)  # what is kept is not searched again, and says the same
    assert Photos(str(pictures)).load(cache).fingerprint() == first.fingerprint()
    assert told("WARNING") == [warning] * 2
    assert len(told("INFO")) == 4


def test_many_pictures_are_not_all_named(pictures, cache, told):
    save(pictures / "z.png", head())
    for number in range(20):
        save(pictures / f"{number:02}.png", np.zeros((30, 30), np.uint8))
    assert Photos(str(pictures)).load(cache).rows.tolist() == [0]
    listed = ", ".join(f"{number:02}.png" for number in range(10))
    assert f"20 of 21 pictures show no frontal face that was detected: {listed}, ...;" in told("WARNING")[0]
    assert told("INFO") == []


def test_where_none_has_a_face_the_question_is_wrong(pictures, cache):
    save(pictures / "mug.png", mug())
    for path in (pictures, pictures / "mug.png"):
        with pytest.raises(ConfigError, match=r"1 of 1 picture shows no frontal face .*: mug\.png; dataset\.face="):
            Photos(str(path)).load(cache)
        assert list(cache.iterdir()) == []


def test_whole_pictures_are_taken_as_they_are(pictures, cache, told):
    square = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    save(pictures / "a.png", np.pad(square, ((0, 0), (11, 11), (0, 0))))  # the middle of the longer side is kept
    save(pictures / "b" / "c" / "d.png", np.pad(square, ((8, 8), (0, 0), (0, 0))))
    faces = Photos(str(pictures), face="whole", channels=3, margin=0.7, every="all").load(cache)
    expected = torch.from_numpy(square.transpose(2, 0, 1).copy())
    assert torch.equal(faces.images, torch.stack([expected, expected]))
    assert told("WARNING") == []


def pair():
    """Two heads, the left one smaller."""
    canvas = np.full((300, 600, 3), 128, np.uint8)
    canvas[60:260, 10:220] = head()
    canvas[10:290, 280:574] = np.asarray(Image.fromarray(head()).resize((294, 280), Image.Resampling.BICUBIC))
    return canvas


def test_the_largest_or_all_faces_of_a_picture(pictures, cache, told):
    save(pictures / "pair.png", pair())
    save(pictures / "single.png", head())
    largest = Photos(str(pictures)).load(cache)
    every = Photos(str(pictures), every="all").load(cache)
    assert every.rows.tolist() == [0, 1, 2]
    assert told("INFO")[2:] == ["row 0: pair.png (1)", "row 1: pair.png (2)", "row 2: single.png"]
    assert torch.equal(largest.images, every.images[1:])
    assert largest.names == ("pair.png", "single.png")
    assert every.names == ("pair.png (1)", "pair.png (2)", "single.png")
    assert every.images[0].ne(every.images[1]).any()


def test_the_margin_widens_the_crop_round_its_centre(pictures, cache):
    save(pictures / "head.png", head())
    narrow = Photos(str(pictures), size=48, margin=0.0).load(cache).images
    wide = Photos(str(pictures), size=96, margin=1.0).load(cache).images
    # twice as wide at twice the size: the middle shows the same at the same scale, but for what lies at its border
    difference = (wide[0, 0, 24:72, 24:72].float() - narrow[0, 0].float()).abs()
    assert difference[4:-4, 4:-4].max() <= 1
    assert difference.mean() < 0.5


def test_grey_and_colour_show_the_same_crop(pictures, cache):
    save(pictures / "head.png", head())
    grey = Photos(str(pictures)).load(cache).images
    colour = Photos(str(pictures), channels=3).load(cache).images
    assert colour.shape == (1, 3, 48, 48)
    luma = torch.einsum("chw,c->hw", colour[0].float(), torch.tensor([0.299, 0.587, 0.114]))
    assert (luma - grey[0, 0]).abs().max() < 2.5
    assert len(list(cache.glob("photos-*.safetensors"))) == 2


@pytest.mark.parametrize("content", [b"", b"no picture", b"version https://git-lfs.github.com/spec/v1\n"])
def test_an_unreadable_picture_is_refused_by_name(content, pictures, cache):
    save(pictures / "a.png", np.zeros((30, 30), np.uint8))
    (pictures / "bad.jpg").write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.jpg: "):
        Photos(str(pictures)).load(cache)
    assert list(cache.iterdir()) == []


def test_every_broken_picture_is_named_at_once(pictures, cache):
    save(pictures / "a.png", head())
    for name in ("b.png", "c.png"):
        (pictures / name).write_bytes(b"broken")
    with pytest.raises(ConfigError, match=r"^2 pictures cannot be used: .*b\.png: .*; .*c\.png: "):
        Photos(str(pictures)).load(cache)


def test_places_without_pictures_are_refused(pictures, cache):
    with pytest.raises(ConfigError, match=r"dataset\.path is empty"):
        Photos().load(cache)
    with pytest.raises(ConfigError, match=r"there is no such file or folder"):
        Photos(str(pictures)).files()
    pictures.mkdir()
    with pytest.raises(ConfigError, match=r"the folder holds no picture \(png, jpg, "):
        Photos(str(pictures)).load(cache)
    assert Photos(str(pictures)).files() == [pictures]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"face": "fnd"}, r"dataset\.face=fnd: expected find or whole\. Did you mean find\?"),
        ({"every": "larges"}, r"dataset\.every=larges: expected largest or all\. Did you mean largest\?"),
        ({"size": 0}, r"dataset\.size=0: "),
        ({"channels": 2}, r"dataset\.channels=2: expected 1 or 3\."),
        ({"margin": -0.6}, r"dataset\.margin=-0\.6: "),
        ({"margin": float("nan")}, r"dataset\.margin=nan: "),
    ],
)
def test_wrong_knobs_are_refused(knobs, message):
    with pytest.raises(ConfigError, match=message):
        build_plugin("dataset", "photos", path="x", **knobs)


@pytest.mark.skipif("FERVIS_FER2013" not in os.environ, reason="needs FER2013 (FERVIS_FER2013)")
def test_fer2013s_frame_is_the_crop(monkeypatch):
    monkeypatch.syspath_prepend(os.environ["FERVIS_FER2013"])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    from export_fer2013 import load  # pyright: ignore[reportMissingImports]

    _, tiles = load(first=12)
    crops = []
    for tile in tiles:
        large = np.asarray(Image.fromarray(tile).resize((96, 96), Image.Resampling.BICUBIC))
        found = detect_faces(np.pad(large, 48, constant_values=int(tile.mean())))
        crops += [max(found, key=lambda box: box.votes).grown(Photos().margin)] if found else []
    assert len(crops) > 0.45 * len(tiles)
    frames = np.array([(box.left, box.top, box.side) for box in crops])
    assert abs(np.median(frames[:, 2]) - 96) < 4
    assert np.abs(np.median(frames[:, :2], 0) - 48).max() < 3
