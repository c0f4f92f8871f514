import sys
from subprocess import run

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fervis.datasets.images import face_detection
from fervis.datasets.images.face_detection import VOTES, Box, central_box, crop, detect_faces

# Measured by hand on skimage.data.astronaut(): her right pupil, her left pupil, the middle of her mouth (x, y).
MARKS = np.array([(203.3, 101.3), (246.8, 103.3), (225.0, 145.8)])
# Where FER2013 has them on its grid of 48 x 48.
FER2013_MARKS = np.array([(15, 17), (33, 17), (24, 38)])
CORNER = np.array([120, 20])


def head():
    """Her head alone, grey: [200,210], its upper left corner at ``CORNER`` of the whole picture."""
    grey = np.asarray(Image.fromarray(data.astronaut()).convert("L"))
    x, y = CORNER
    return grey[y : y + 200, x : x + 210]


def on_grid(box, marks, size=48):
    return (marks - (box.left, box.top)) / box.side * size


def test_the_one_face_of_the_astronaut_is_found_in_fer2013s_frame():
    (box,) = detect_faces(data.astronaut())
    assert np.abs(on_grid(box, MARKS) - FER2013_MARKS).max() < 3.2
    assert np.abs((on_grid(box, MARKS) - FER2013_MARKS).mean(0)).max() < 1.2
    assert box.votes > 2 * VOTES


def test_colour_is_searched_as_its_luma_and_the_same_picture_gives_the_same_boxes():
    colour = data.astronaut()[20:220, 120:330]
    assert detect_faces(colour) == detect_faces(head()) == detect_faces(head().copy())


def test_a_mirrored_picture_has_the_mirrored_faces():
    picture = head()
    (box,), (mirrored,) = detect_faces(picture), detect_faces(picture[:, ::-1])
    assert mirrored.left == pytest.approx(picture.shape[1] - box.left - box.side)
    assert (mirrored.top, mirrored.side, mirrored.votes) == pytest.approx((box.top, box.side, box.votes))


@pytest.mark.parametrize(("times", "longest"), [(1.5, 640), (2, 200), (6, 210)])
def test_a_larger_picture_has_larger_boxes_whether_shrunk_or_not(times, longest, monkeypatch):
    monkeypatch.setattr(face_detection, "LONGEST", longest)
    (box,) = detect_faces(head())
    large = Image.fromarray(head()).resize((round(210 * times), round(200 * times)), Image.Resampling.BICUBIC)
    (found,) = detect_faces(np.asarray(large))
    assert np.array([found.left, found.top, found.side]) / times == pytest.approx([box.left, box.top, box.side], abs=5)


def test_several_faces_come_from_left_to_right():
    canvas = np.full((300, 620), 128, np.uint8)
    places = {340: 1.25, 10: 1.0}
    for left, scale in places.items():
        face = Image.fromarray(head()).resize((round(210 * scale), round(200 * scale)))
        canvas[40 : 40 + face.height, left : left + face.width] = np.asarray(face)
    boxes = detect_faces(canvas)
    assert len(boxes) == 2
    for box, left in zip(boxes, sorted(places), strict=True):
        marks = (MARKS - CORNER) * places[left] + (left, 40)
        assert np.abs(on_grid(box, marks) - FER2013_MARKS).max() < 4


@pytest.mark.parametrize(
    "picture",
    [
        data.coffee()[100:300, 150:450],
        data.rocket()[:250, 200:420],
        data.gravel()[:200, :200],
        np.zeros((100, 100), np.uint8),
        np.zeros((10, 10, 3), np.uint8),
        np.zeros((3, 5000), np.uint8),
        np.zeros((24, 24), np.uint8),
        np.random.default_rng(0).integers(0, 256, (120, 120), dtype=np.uint8),
    ],
    ids=["coffee", "rocket", "gravel", "black", "tiny", "strip", "one window", "noise"],
)
def test_pictures_without_a_face(picture):
    assert detect_faces(picture) == []


def test_faces_of_others_are_found_and_other_patches_are_not():
    # 100 faces and 100 patches without one, 25 x 25; every tenth, enlarged and set into a larger picture
    patches = (data.lfw_subset()[::10] * 255).astype(np.uint8)
    large = [np.asarray(Image.fromarray(patch).resize((75, 75), Image.Resampling.BICUBIC)) for patch in patches]
    found = np.array([len(detect_faces(np.pad(picture, 30, mode="edge"))) for picture in large])
    assert (found[:10] == 1).sum() >= 9
    assert found[10:].max() == 0


def merged(monkeypatch, *windows):
    """Faces found where the cascade gives each (left, top, side) so many times, and nothing in the mirror image."""
    raw = [np.repeat(np.array([window], float), count, 0) for window, count in windows]
    given = iter([np.empty((0, 3)), np.concatenate(raw)])  # the mirror image is searched first
    monkeypatch.setattr(face_detection, "_windows", lambda _: next(given))
    return detect_faces(np.zeros((200, 300), np.uint8))


def test_windows_that_agree_become_their_mean(monkeypatch):
    # an overlap of 0.9 * 0.9 over 2 - 0.81 is 0.68; of 0.5 over 1.5 is 0.33
    found = merged(monkeypatch, ((100, 50, 40), 10), ((104, 54, 40), 30), ((124, 54, 40), 5))
    assert found == [Box(103, 53, 40, 40)]


def test_votes_decide_what_is_a_face(monkeypatch):
    assert merged(monkeypatch, ((10, 10, 40), VOTES - 1)) == []
    assert merged(monkeypatch, ((10, 10, 40), VOTES)) == [Box(10, 10, 40, VOTES)]
    one, other = (100, 50, 40), (10, 50, 60)
    assert merged(monkeypatch, (one, 60), (other, 20)) == [Box(*other, 20), Box(*one, 60)]
    assert merged(monkeypatch, (one, 60), (other, 19)) == [Box(*one, 60)]


def test_a_face_within_a_face_is_dropped(monkeypatch):
    outer = (100, 50, 80)
    assert merged(monkeypatch, (outer, 40), ((120, 70, 30), 30)) == [Box(*outer, 40)]
    half_in, half_out = (165, 50, 30), (166, 50, 30)  # shared: exactly a half, and less
    assert len(merged(monkeypatch, (outer, 40), (half_in, 30))) == 2
    assert len(merged(monkeypatch, (outer, 40), (half_out, 30))) == 2
    assert merged(monkeypatch, (outer, 40), ((164, 50, 30), 30)) == [Box(*outer, 40)]


def test_growing_keeps_the_centre():
    assert Box(10, 20, 40, 7).grown(0.5) == Box(0, 10, 60, 7)
    assert Box(10, 20, 40).grown(-0.5) == Box(20, 30, 20)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30, 3), (31, 50)])
def test_the_middle_square(shape):
    box = central_box(np.zeros(shape, np.uint8))
    assert box.side == min(shape[:2])
    assert (box.left, box.top) == ((shape[1] - box.side) // 2, (shape[0] - box.side) // 2)


@pytest.mark.parametrize("shape", [(60, 70), (60, 70, 3)])
def test_a_box_of_the_asked_size_keeps_every_pixel(shape):
    picture = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(crop(picture, Box(13, 7, 48), 48), picture[7:55, 13:61])


def test_what_lies_beyond_the_picture_repeats_its_edge():
    picture = np.random.default_rng(2).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    padded = np.pad(picture, ((5, 13), (7, 21), (0, 0)), mode="edge")
    assert np.array_equal(crop(picture, Box(-7, -5, 58), 58), padded)


def test_a_crop_keeps_fractions_of_a_pixel():
    # grey is the column (times 2): the middle of pixel n of a crop lies at left + (n + 0.5) * step
    ramp = np.tile((2 * np.arange(100)).astype(np.uint8), (100, 1))
    box = Box(10.3, 20.6, 60.5)
    expected = 2 * (box.left + (np.arange(24) + 0.5) * box.side / 24 - 0.5)
    for picture, flipped in ((ramp, False), (ramp.T.copy(), True)):
        shift = 2 * (box.top - box.left) if flipped else 0
        found = crop(picture, box, 24).astype(float)
        found = found.T if flipped else found
        assert np.abs(found - expected - shift)[:, 2:-2].max() <= 0.75


def test_shrinking_does_not_alias():
    stripes = np.zeros((96, 96), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(crop(stripes, Box(0, 0, 96), 24).astype(float)[:, 2:-2] - 127.5).max() < 2


def test_scikit_image_is_not_imported_before_a_face_is_looked_for():
    code = "import sys, fervis.datasets.photos; print('skimage' in sys.modules)"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
