import pytest
import torch
from support.miniatures import SIDE, classes_by_value, load_audited, paint, splits_by_value, splits_of, write

from fervis.errors import ConfigError

OFFICIAL = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")  # labels 0 to 7
FOLDERS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")  # labels 1 to 7
TABLE = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")  # labels 0 to 7 of the CSV


def load(path, cache, **knobs):
    return load_audited("ck_plus", path, cache, **knobs)


def write_sequences(root, persons=7, facs=True):
    """Write a sequence of five frames of each person, with the label 1 + person % 7; grey values 10 person + frame."""
    for person in range(persons):
        key, label = f"S{person + 5:03}_001", 1 + person % 7
        folder = f"{key.replace('_', '/')}"
        for frame in range(5):
            paint(root / "cohn-kanade-images" / folder / f"{key}_{frame + 1:08}.png", 10 * person + frame)
        write(root / "Emotion" / folder / f"{key}_00000005_emotion.txt", f"   {label}.0000000e+00\n")
        if facs:
            units = f"   4.0000000e+00   {label}.0\n   {label + 10}.0   0.0\n"
            write(root / "FACS" / folder / f"{key}_00000005_facs.txt", units)
    paint(root / "cohn-kanade-images" / "S999" / "002" / "S999_002_00000001.png", 255)  # without a label


def write_folders(root, persons=7):
    for person in range(persons):
        for n, word in enumerate(FOLDERS):
            for frame in range(3):
                paint(root / "CK+48" / word / f"S{person:03}_{n + 1:03}_{frame:08}.png", 30 * person + 3 * n + frame)


def write_table(root):
    usages = ("Training", "PublicTest", "PrivateTest", "Training") * 2
    lines = "".join(f"{n},{' '.join([str(n)] * SIDE * SIDE)},{usage}\n" for n, usage in enumerate(usages))
    write(root / "ckextended.csv", "emotion,pixels,Usage\n" + lines)


def test_sequences_have_the_official_order_and_their_last_frames(tmp_path, caplog):
    caplog.set_level("INFO")
    write_sequences(tmp_path / "set")
    faces = load(tmp_path / "set", tmp_path / "cache")
    assert faces.classes == OFFICIAL
    expected = {10 * person + frame: OFFICIAL[person + 1] for person in range(7) for frame in (2, 3, 4)}
    assert classes_by_value(faces) == expected
    assert caplog.messages[0] == "1 sequence without a label is left out"
    peaks = load(tmp_path / "set", tmp_path / "cache", frames=1, neutral=True)
    expected = {10 * person + 4: OFFICIAL[person + 1] for person in range(7)}
    assert classes_by_value(peaks) == expected | {10 * person: "neutral" for person in range(7)}


def test_action_units_of_the_peak_are_truth_and_a_neutral_frame_shows_none(tmp_path):
    write_sequences(tmp_path / "set", persons=3)
    faces = load(tmp_path / "set", tmp_path / "cache", frames=2, neutral=True, val_fraction=0.0, test_fraction=0.0)
    assert faces.truth is not None
    assert faces.truth.evidence is None
    assert faces.truth.action_unit_names == ("AU4", "AU11", "AU12", "AU13")
    for value, units in zip(faces.images[:, 0, 0, 0].tolist(), faces.truth.action_units, strict=True):
        person, frame = divmod(value, 10)
        expected = [1, *(float(person == n) for n in range(3))] if frame else [0, 0, 0, 0]
        assert units.tolist() == expected
    write_sequences(tmp_path / "uncoded", facs=False)
    assert load(tmp_path / "uncoded", tmp_path / "cache").truth is None


def test_class_folders_have_the_official_order(tmp_path):
    write_folders(tmp_path / "set", persons=3)
    faces = load(tmp_path / "set", tmp_path / "cache")
    assert faces.classes == OFFICIAL
    expected = {30 * p + 3 * n + frame: OFFICIAL[n + 1] for p in range(3) for n in range(7) for frame in range(3)}
    assert classes_by_value(faces) == expected


@pytest.mark.parametrize("layout", [write_sequences, write_folders])
def test_no_person_is_in_two_splits_and_the_draw_follows_the_seed(layout, tmp_path):
    layout(tmp_path / "set", 8)
    splits = splits_of(load(tmp_path / "set", tmp_path / "cache", val_fraction=0.2), lambda name: name[:4])
    assert sorted(split for parts in splits.values() for split in parts) == ["test"] + ["train"] * 5 + ["val"] * 2
    draws = {str(load(tmp_path / "set", tmp_path / "cache", seed=seed).splits.tolist()) for seed in range(6)}
    assert len(draws) > 1
    first, again = (load(tmp_path / "set", tmp_path / "cache").splits for _ in range(2))
    assert torch.equal(first, again)


def test_too_few_persons_to_part_are_refused(tmp_path):
    write_folders(tmp_path / "set", 2)
    with pytest.raises(ConfigError, match=r"persons are not parted, and there are 2 to draw from; expected at least 3"):
        load(tmp_path / "set", tmp_path / "cache")


def test_the_table_has_fer2013s_labels_and_its_random_split_is_refused_unless_asked_for(tmp_path):
    write_table(tmp_path / "set")
    with pytest.raises(ConfigError, match=r"does not say whose face a row is, and its Usage is a random split"):
        load(tmp_path / "set", tmp_path / "cache")
    for path in (tmp_path / "set", tmp_path / "set" / "ckextended.csv"):
        faces = load(path, tmp_path / "cache", splits="file")
        assert faces.classes == OFFICIAL
        assert classes_by_value(faces) == dict(enumerate(TABLE))
        words = ("train", "val", "test", "train") * 2
        assert splits_by_value(faces) == dict(enumerate(words))


def test_what_is_no_layout_is_refused(tmp_path):
    write_folders(tmp_path / "set")
    with pytest.raises(ConfigError, match=r"dataset\.splits=file: these pictures come in no splits"):
        load(tmp_path / "set", tmp_path / "cache", splits="file")
    paint(tmp_path / "other" / "angry" / "x.png", 0)
    with pytest.raises(ConfigError, match=r"no layout of CK\+ is here"):
        load(tmp_path / "other", tmp_path / "cache")
    write(tmp_path / "bad" / "Emotion" / "S005" / "001" / "S005_001_00000011_emotion.txt", "9.0")
    with pytest.raises(ConfigError, match=r"_emotion\.txt: expected a label from 0 to 7"):
        load(tmp_path / "bad", tmp_path / "cache")
