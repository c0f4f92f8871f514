import json

import numpy as np
import pytest
from PIL import Image
from support.miniatures import classes_by_value, load_audited, paint, splits_by_value, write

from fervis.errors import ConfigError

OFFICIAL = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")  # the order of the labels 1 to 7
FACES = [(f"{part}_{n:05}", n, part) for part in ("train", "test") for n in range(1, 8)]


def load(path, cache, **knobs):
    knobs = {"val_fraction": 0.0, "test_fraction": 0.0, **knobs}
    return load_audited("raf_db", path, cache, **knobs)


def value(label, part):
    return label + 100 * (part == "test")


def write_official(root, kind="aligned"):
    base = root / "basic"
    write(base / "EmoLabel" / "list_patition_label.txt", "".join(f"{name}.jpg {n}\n" for name, n, _ in FACES))
    for name, n, part in FACES:
        file = f"aligned/{name}_aligned.jpg" if kind == "aligned" else f"original/{name}.jpg"
        paint(base / "Image" / file, value(n, part))


def write_folders(root):
    for name, n, part in FACES:
        paint(root / "DATASET" / part / str(n) / f"{name}_aligned.jpg", value(n, part))
    write(root / "train_labels.csv", "image,label\ntrain_00001_aligned.jpg,1\n")


def write_parquet(root, first=1, names=None):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for part in ("train", "test"):
        rows = [(name, n) for name, n, other in FACES if other == part]
        for name, n in rows:
            paint(root / "drawn" / f"{name}.jpg", value(n, part))
        data = [{"bytes": (root / "drawn" / f"{name}.jpg").read_bytes(), "path": f"{name}.jpg"} for name, _ in rows]
        table = arrow.table({"image": data, "label": [n - 1 + first for _, n in rows]})
        if names:
            features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
        (root / "data").mkdir(exist_ok=True)
        parquet.write_table(table, root / "data" / f"{part}-00000-of-00001.parquet")


@pytest.mark.parametrize("layout", [write_official, write_folders, write_parquet])
def test_each_layout_has_the_official_order_of_labels_and_splits(layout, tmp_path):
    layout(tmp_path / "set")
    faces = load(tmp_path / "set", tmp_path / "cache")
    assert faces.classes == OFFICIAL
    assert classes_by_value(faces) == {value(n, part): OFFICIAL[n - 1] for _, n, part in FACES}
    assert splits_by_value(faces) == {value(n, part): part for _, n, part in FACES}


def test_val_is_drawn_from_train_alone(tmp_path):
    write_official(tmp_path / "set")
    splits = splits_by_value(load(tmp_path / "set", tmp_path / "cache", val_fraction=0.5))
    assert {splits[value(n, "test")] for n in range(1, 8)} == {"test"}
    assert {splits[value(n, "train")] for n in range(1, 8)} == {"train", "val"}


def test_boxes_are_cut_out_of_original_pictures(tmp_path):
    write_official(tmp_path / "set", "original")
    base = tmp_path / "set" / "basic"
    picture = np.zeros((40, 60), np.uint8)
    picture[10:18, 30:38] = 200
    Image.fromarray(picture).save(base / "Image" / "original" / "train_00001.jpg", format="PNG")
    write(base / "Annotation" / "boundingbox" / "train_00001_boundingbox.txt", "30.0 10.0 38.0 18.0\n")
    faces = load(tmp_path / "set", tmp_path / "cache")
    (row,) = (n for n, name in enumerate(faces.names) if name.endswith("train_00001.jpg"))
    assert (faces.images[row] == 200).all()
    assert len(faces) == len(FACES)


@pytest.mark.parametrize(
    "names",
    [
        None,
        OFFICIAL,
        tuple("1234567"),
        ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral"),
    ],
)
def test_mirrors_with_labels_from_0_or_with_names_are_the_same(names, tmp_path):
    write_parquet(tmp_path / "set", 0, names)
    faces = load(tmp_path / "set", tmp_path / "cache")
    assert classes_by_value(faces) == {value(n, part): OFFICIAL[n - 1] for _, n, part in FACES}


def test_names_in_another_order_are_followed(tmp_path):
    order = ["anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]
    write_parquet(tmp_path / "set", 0, order)
    classes = classes_by_value(load(tmp_path / "set", tmp_path / "cache"))
    words = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert [classes[value(n, "train")] for n in range(1, 8)] == list(words)


def test_wrong_labels_and_other_folders_are_refused(tmp_path):
    write(tmp_path / "a" / "EmoLabel" / "list_patition_label.txt", "train_00001.jpg 8\n")
    with pytest.raises(ConfigError, match=r'label\.txt, line 1: the label "8" is none of 1 to 7'):
        load(tmp_path / "a", tmp_path / "cache")
    paint(tmp_path / "b" / "x.png", 1)
    with pytest.raises(ConfigError, match=r"no layout of RAF-DB is here .* expected EmoLabel/list_patition_label"):
        load(tmp_path / "b", tmp_path / "cache")
