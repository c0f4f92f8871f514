import pytest
from support.miniatures import classes_by_value, load_audited, paint, splits_by_value, splits_of

from fervis.core.faces import FER2013_CLASSES
from fervis.errors import ConfigError

WORDS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")  # as folders are sorted
FILMS = ("Airheads", "American_Beauty", "Hangover", "Juno")


def load(path, cache, **knobs):
    return load_audited("sfew", path, cache, **knobs)


def write_split(root, folder, first, films=FILMS):
    for n, word in enumerate(WORDS):
        for k, film in enumerate(films):
            paint(root / folder / word / f"{film}_{n:09}_00000005.png", first + n + 10 * k)


def test_folders_say_class_and_split_and_test_may_have_no_classes(tmp_path):
    root = tmp_path / "set"
    write_split(root, "Train/Train_Aligned_Faces", 0)
    write_split(root, "Val", 100)
    paint(root / "Test" / "Gone_000000001_00000003.png", 200)
    faces = load(root, tmp_path / "cache")
    assert faces.classes == FER2013_CLASSES
    words = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    expected = {first + n + 10 * k: word for first in (0, 100) for n, word in enumerate(words) for k in range(4)}
    assert classes_by_value(faces) == expected | {200: None}
    assert splits_by_value(faces) == {v: ("train", "val", "test")[v // 100] for v in (*expected, 200)}


def test_a_missing_split_is_drawn_by_film(tmp_path):
    write_split(tmp_path / "set", "Train", 0)
    write_split(tmp_path / "set", "Val", 100, ("Other",))
    faces = load(tmp_path / "set", tmp_path / "cache")
    splits = splits_of(faces, lambda name: name.rsplit("_", 2)[0])
    assert splits.pop("Other") == {"val"}
    assert sorted(splits) == sorted(FILMS)
    assert sorted(split for parts in splits.values() for split in parts) == ["test", "train", "train", "train"]


def test_other_folders_are_refused(tmp_path):
    paint(tmp_path / "angry" / "x.png", 0)
    with pytest.raises(ConfigError, match=r"no layout of SFEW is here .* expected Train/<class>/ and Val/<class>/"):
        load(tmp_path, tmp_path / "cache")
