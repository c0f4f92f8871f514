import numpy as np
import pytest
from PIL import Image
from support.miniatures import classes_by_value, load_audited, paint, splits_by_value, write

from fervis.errors import ConfigError

OFFICIAL = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")  # labels 0 to 7
HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
PARTS = {"train": "training.csv", "test": "validation.csv"}
VALUES = {(part, label): label + 100 * (part == "test") for part in PARTS for label in range(11)}


def load(path, cache, **knobs):
    knobs = {"val_fraction": 0.0, "test_fraction": 0.0, **knobs}
    return load_audited("affectnet", path, cache, **knobs)


def write_old(root, validation_header=HEADER):
    rows = dict.fromkeys(PARTS, "")
    for (part, label), value in VALUES.items():
        paint(root / "Manually_Annotated" / "Manually_Annotated_Images" / "12" / f"{part}{label}.jpg", value, (20, 20))
        rows[part] += f"12/{part}{label}.jpg,4,4,12,12,1.5;2.5,{label},0.1,-0.2\n"
    lists = root / "Manually_Annotated_file_lists"
    write(lists / "training.csv", HEADER + rows["train"])
    write(lists / "validation.csv", validation_header + rows["test"])


def write_new(root, value_of=str):
    for (part, label), value in VALUES.items():
        folder = root / {"train": "train_set", "test": "val_set"}[part]
        paint(folder / "images" / f"{label}.jpg", value)
        (folder / "annotations").mkdir(exist_ok=True)
        np.save(folder / "annotations" / f"{label}_exp.npy", np.array(value_of(label)))
        np.save(folder / "annotations" / f"{label}_val.npy", np.array("0.5"))


LAYOUTS = {
    "old": write_old,
    "old without a header": lambda root: write_old(root, ""),
    "new with text": write_new,
    "new with numbers": lambda root: write_new(root, int),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_layouts_have_the_official_order_and_the_validation_set_is_test(layout, tmp_path, caplog):
    caplog.set_level("INFO")
    LAYOUTS[layout](tmp_path / "set")
    faces = load(tmp_path / "set", tmp_path / "cache")
    assert faces.classes == OFFICIAL
    assert classes_by_value(faces) == {value: OFFICIAL[label] for (_, label), value in VALUES.items() if label < 8}
    assert splits_by_value(faces) == {value: part for (part, label), value in VALUES.items() if label < 8}
    assert caplog.messages[0] == "6 pictures without an expression (labels 8 to 10) are left out"


def test_the_box_of_the_face_is_cut_out(tmp_path):
    write_old(tmp_path / "set")
    picture = np.zeros((20, 20), np.uint8)
    picture[4:16, 4:16] = 77
    file = tmp_path / "set" / "Manually_Annotated" / "Manually_Annotated_Images" / "12" / "train3.jpg"
    Image.fromarray(picture).save(file, format="PNG")
    faces = load(tmp_path / "set", tmp_path / "cache")
    (row,) = (n for n, name in enumerate(faces.names) if name.endswith("train3.jpg"))
    assert (faces.images[row] == 77).all()


def test_missing_pictures_are_left_out_and_wrong_labels_refused(tmp_path, caplog):
    write_old(tmp_path / "set")
    (tmp_path / "set" / "Manually_Annotated" / "Manually_Annotated_Images" / "12" / "train0.jpg").unlink()
    assert load(tmp_path / "set", tmp_path / "cache").skipped == 1
    assert "train0.jpg: there is no such picture file." in caplog.text
    write_new(tmp_path / "new", lambda label: label + 1)
    with pytest.raises(ConfigError, match=r'10_exp\.npy: the expression "11" is none of 0 to 10'):
        load(tmp_path / "new", tmp_path / "cache")
