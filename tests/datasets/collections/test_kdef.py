import pytest
from support.miniatures import classes_by_value, load_audited, paint, splits_of

from fervis.core.faces import FER2013_CLASSES
from fervis.errors import ConfigError

CODES = {"AN": "angry", "DI": "disgust", "AF": "fear", "HA": "happy", "SA": "sad", "SU": "surprise", "NE": "neutral"}
ANGLES = ("S", "HL", "HR", "FL", "FR")


def load(path, cache, **knobs):
    return load_audited("kdef", path, cache, **knobs)


def write_set(root, persons=("F01", "M01", "F02", "M02")):
    """Write both sessions of each person; the grey value is that of the expression."""
    for person in persons:
        for session in "AB":
            for n, code in enumerate(CODES):
                for angle in ANGLES:
                    paint(root / f"{session}{person}" / f"{session}{person}{code}{angle}.JPG", n)
    paint(root / "AKDEF" / "AKDEF_F_AF_S.JPG", 99)


def test_names_say_the_class_and_straight_views_are_the_default(tmp_path, caplog):
    caplog.set_level("INFO")
    write_set(tmp_path / "set")
    faces = load(tmp_path / "set", tmp_path / "cache")
    assert faces.classes == FER2013_CLASSES
    assert classes_by_value(faces) == dict(enumerate(CODES.values()))
    assert len(faces) == 4 * 2 * 7
    assert caplog.messages[:2] == [
        "224 pictures from another angle (dataset.angles) are left out",
        "1 picture with another name is left out",
    ]
    assert {name[-5] for name in faces.names} == {"S"}
    assert len(load(tmp_path / "set", tmp_path / "cache", angles="half")) == 3 * 56
    assert len(load(tmp_path / "set", tmp_path / "cache", angles="all")) == 5 * 56


def test_both_sessions_of_a_person_are_in_one_split(tmp_path):
    write_set(tmp_path / "set")
    splits = splits_of(load(tmp_path / "set", tmp_path / "cache"), lambda name: name[1:4])
    assert sorted(split for parts in splits.values() for split in parts) == ["test", "train", "train", "val"]


def test_other_pictures_are_refused(tmp_path):
    paint(tmp_path / "AF01.JPG", 0)
    with pytest.raises(ConfigError, match=r"no layout of KDEF is here .* expected pictures named like AF01ANS\.JPG"):
        load(tmp_path, tmp_path / "cache")
