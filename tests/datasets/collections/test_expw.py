import numpy as np
import pytest
from PIL import Image
from support.miniatures import classes_by_value, load_audited, write

from fervis.core.faces import FER2013_CLASSES
from fervis.errors import ConfigError


def load(path, cache, **knobs):
    return load_audited("expw", path, cache, **knobs)


def write_set(root, count=1):
    """Write pictures with seven faces each, of another grey value, 8 x 8 pixels at (top 5, left 10 face + 3)."""
    lines = ""
    for number in range(count):
        picture = np.full((20, 80), 255, np.uint8)
        for face in range(7):
            top, left = 5, 10 * face + 3
            picture[top : top + 8, left : left + 8] = face + 10 * number
            lines += f"p{number}.jpg {face} {top} {left} {left + 8} {top + 8} 57.1 {face}\n"
        file = root / "image" / "origin" / f"p{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file, format="PNG")
    write(root / "label" / "label.lst", lines)


def test_boxes_are_top_left_right_bottom_and_labels_in_fer2013s_order(tmp_path):
    write_set(tmp_path / "set" / "data")
    faces = load(tmp_path / "set", tmp_path / "cache")
    assert (faces.images == faces.images[:, :, :1, :1]).all()  # nothing of the white around the faces
    assert faces.classes == FER2013_CLASSES
    order = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert classes_by_value(faces) == dict(enumerate(order))
    assert faces.names == tuple(f"image/origin/p0.jpg ({n})" for n in range(1, 8))


def test_faces_of_a_picture_are_never_parted(tmp_path):
    write_set(tmp_path / "set", 20)
    faces = load(tmp_path / "set", tmp_path / "cache", val_fraction=0.3, test_fraction=0.3)
    by_picture = faces.splits.reshape(20, 7)
    assert (by_picture == by_picture[:, :1]).all()
    assert set(by_picture[:, 0].tolist()) == {0, 1, 2}


def test_lines_of_another_form_are_refused(tmp_path):
    write(tmp_path / "label" / "label.lst", "p.jpg 0 1 2 3 4 5\n")
    with pytest.raises(ConfigError, match=r"label\.lst, line 1: expected image_name face_id top left right bottom"):
        load(tmp_path, tmp_path / "cache")
    (tmp_path / "label" / "label.lst").unlink()
    with pytest.raises(ConfigError, match=r"no layout of ExpW is here"):
        load(tmp_path, tmp_path / "cache")
