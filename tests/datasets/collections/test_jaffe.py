import pytest
from support.miniatures import classes_by_value, load_audited, paint, splits_of

from fervis.core.faces import FER2013_CLASSES
from fervis.errors import ConfigError

CODES = {"AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "SA": "sad", "SU": "surprise", "NE": "neutral"}
PERSONS = ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM")


def load(path, cache, **knobs):
    return load_audited("jaffe", path, cache, **knobs)


def write_set(root, persons=PERSONS):
    for person, letters in enumerate(persons):
        for n, code in enumerate(CODES):
            paint(root / "jaffe" / f"{letters}.{code}{1 + n % 3}.{39 + n}.tiff", 10 * person + n)
    paint(root / "jaffe" / "overview.png", 255)


def test_names_say_the_class(tmp_path, caplog):
    caplog.set_level("INFO")
    write_set(tmp_path / "set")
    faces = load(tmp_path / "set", tmp_path / "cache")
    assert faces.classes == FER2013_CLASSES
    expected = {10 * person + n: word for person in range(10) for n, word in enumerate(CODES.values())}
    assert classes_by_value(faces) == expected
    assert caplog.messages[0] == "1 picture with another name is left out"


def test_a_person_is_in_one_split(tmp_path):
    write_set(tmp_path / "set")
    splits = splits_of(load(tmp_path / "set", tmp_path / "cache"), lambda name: name[:2])
    assert sorted(split for parts in splits.values() for split in parts) == ["test", *["train"] * 8, "val"]


def test_other_pictures_are_refused(tmp_path):
    paint(tmp_path / "x.png", 0)
    with pytest.raises(ConfigError, match=r"no layout of JAFFE is here .* pictures named like KA\.AN1\.39\.tiff"):
        load(tmp_path, tmp_path / "cache")
