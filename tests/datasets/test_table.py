import io
import json

import pytest
from PIL import Image
from support.miniatures import SIDE, classes_by_value, paint, splits_by_value, write

from fervis.core.registry import build_plugin
from fervis.datasets.table import label_order
from fervis.errors import ConfigError

WORDS = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")


def load(path, cache, **knobs):
    knobs = {"val_fraction": 0.0, "test_fraction": 0.0, **knobs}
    return build_plugin("dataset", "table", path=str(path), size=SIDE, **knobs).load(cache)


def encoded(value):
    held = io.BytesIO()
    Image.new("L", (SIDE, SIDE), value).save(held, "PNG")
    return held.getvalue()


def write_parquet(file, columns, names=None):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.table(columns)
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, file)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_with_paths_labels_and_splits(delimiter, tmp_path):
    splits = ("Training", "val", "test")
    rows = [("Path", "emotion", "Usage"), *((f"pics\\{n}.png", str(n % 3), splits[n % 3]) for n in range(6))]
    write(tmp_path / "set" / "faces.csv", "\n".join(delimiter.join(row) for row in rows))
    for n in range(6):
        paint(tmp_path / "set" / "pics" / f"{n}.png", n)
    for path in (tmp_path / "set" / "faces.csv", tmp_path / "set"):
        faces = load(path, tmp_path / "cache", classes=["c", "a", "b"])
        assert faces.classes == ("c", "a", "b")
        assert classes_by_value(faces) == {n: "cab"[n % 3] for n in range(6)}
        assert splits_by_value(faces) == {n: ("train", "val", "test")[n % 3] for n in range(6)}
        assert faces.names[0] == "pics/0.png"


def test_a_changed_picture_of_a_csv_is_seen(tmp_path):
    write(tmp_path / "set" / "faces.csv", "image,label\n0.png,a\n")
    paint(tmp_path / "set" / "0.png", 3)
    assert load(tmp_path / "set" / "faces.csv", tmp_path / "cache").images.unique().tolist() == [3]
    paint(tmp_path / "set" / "0.png", 200)
    assert load(tmp_path / "set" / "faces.csv", tmp_path / "cache").images.unique().tolist() == [200]


@pytest.mark.parametrize("kind", ["struct", "binary"])
def test_parquet_with_pictures_states_names_and_splits(kind, tmp_path):
    order = ["sad", "angry", "happy"]
    for split, first in (("train", 0), ("validation", 100), ("test", 200)):
        pictures = [encoded(first + n) for n in range(100 if split == "train" else 3)]
        held = pictures if kind == "binary" else [{"bytes": data, "path": None} for data in pictures]
        file = tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet"
        write_parquet(file, {"image": held, "label": [n % 3 for n in range(len(held))]}, order)
    faces = load(tmp_path / "set", tmp_path / "cache")
    assert faces.classes == ("sad", "angry", "happy")
    values = [*range(100), *range(100, 103), *range(200, 203)]
    assert classes_by_value(faces) == {n: order[n % 100 % 3] for n in values}
    assert splits_by_value(faces) == {n: ("train", "val", "test")[n // 100] for n in values}
    assert len(set(faces.names)) == len(faces)


def test_many_rows_are_read_in_their_order(tmp_path):
    count = 600  # more than are read at once
    write_parquet(tmp_path / "set.parquet", {"image": [encoded(n % 251) for n in range(count)], "label": ["x"] * count})
    faces = load(tmp_path / "set.parquet", tmp_path / "cache")
    assert faces.images[:, 0, 0, 0].tolist() == [n % 251 for n in range(count)]


def test_parquet_with_paths_needs_to_know_where_they_start(tmp_path):
    write_parquet(tmp_path / "set.parquet", {"image": ["0.png"], "label": ["x"]})
    paint(tmp_path / "pics" / "0.png", 5)
    with pytest.raises(ConfigError, match=r"it has paths; say where they start: dataset\.root="):
        load(tmp_path / "set.parquet", tmp_path / "cache")
    assert load(tmp_path / "set.parquet", tmp_path / "cache", root=str(tmp_path / "pics")).images.unique().item() == 5


def test_persons_are_never_parted(tmp_path):
    rows = "".join(f"{n}.png,{n % 2},p{n % 5}\n" for n in range(40))
    write(tmp_path / "set" / "faces.csv", "file,label,subject\n" + rows)
    for n in range(40):
        paint(tmp_path / "set" / f"{n}.png", n)
    faces = load(tmp_path / "set" / "faces.csv", tmp_path / "cache", val_fraction=0.2, test_fraction=0.4)
    splits = splits_by_value(faces)
    of_person = [{splits[n] for n in range(person, 40, 5)} for person in range(5)]
    assert sorted(split for parts in of_person for split in parts) == ["test", "test", "train", "train", "val"]


@pytest.mark.parametrize(
    ("values", "names", "classes", "index"),
    [
        (list(range(1, 8)), WORDS, WORDS, {n: n - 1 for n in range(1, 8)}),  # from 1
        (list(range(7)), WORDS, WORDS, {n: n for n in range(7)}),  # from 0
        (["0", "2.0"], WORDS, WORDS, {"0": 0, "2.0": 2}),
        ([3, 12], (), ("3", "12"), {3: 0, 12: 1}),
        (["b", "a"], (), ("a", "b"), {"a": 0, "b": 1}),
        (["b", "a"], ("b", "a"), ("b", "a"), {"a": 1, "b": 0}),
        (list(WORDS), (), ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"), {"sad": 4, "angry": 0}),
    ],
)
def test_the_order_of_labels(values, names, classes, index):
    got, label_of = label_order(values, names)
    assert got == classes
    assert {value: label_of(value) for value in index} == index


def test_mistakes_are_sentences(tmp_path, monkeypatch):
    write(tmp_path / "a" / "x.csv", "picture,mood\n0.png,1\n")
    with pytest.raises(ConfigError, match=r"no column is called label; name it: dataset\.label=<column>"):
        load(tmp_path / "a", tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"dataset\.label=moode: there is no such .* Did you mean mood\?"):
        load(tmp_path / "a", tmp_path / "cache", label="moode")
    with pytest.raises(ConfigError, match=r"dataset\.classes=\['a'\]: the label 5 of the table is none of them"):
        label_order([5], ["a"])
    write(tmp_path / "b" / "x.csv", "image,label\n../secret.png,1\n")
    with pytest.raises(ConfigError, match=r"the path \.\./secret\.png leads out of"):
        load(tmp_path / "b", tmp_path / "cache")
    write(tmp_path / "c" / "x.csv", "image,label\n0.png\n")
    with pytest.raises(ConfigError, match=r"x\.csv, line 2: expected 2 cells, not 1"):
        load(tmp_path / "c", tmp_path / "cache")
    (tmp_path / "d").mkdir()
    with pytest.raises(ConfigError, match=r"expected a Parquet or CSV file, or a folder of them"):
        load(tmp_path / "d", tmp_path / "cache")
    write(tmp_path / "e" / "x.parquet", "no Parquet")
    pytest.importorskip("pyarrow")
    with pytest.raises(ConfigError, match=r"x\.parquet: this is no whole Parquet file"):
        load(tmp_path / "e", tmp_path / "cache")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match=r"Parquet files need pyarrow: pip install 'fervis-xai\[parquet\]'"):
        load(tmp_path / "e", tmp_path / "cache")
