import csv
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fervis.core.faces import FER2013_CLASSES, Faces
from fervis.datasets.fer2013 import Fer2013
from fervis.datasets.fer2013_formats.schema import OFFICIAL_COUNTS
from fervis.errors import ConfigError

USAGES = ("Training", "PublicTest", "PrivateTest")
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
COUNT = 12


@pytest.fixture(scope="module")
def drawn():
    """Twelve faces of noise with every class, ordered as the original: splits one after another."""
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (COUNT, 48, 48), dtype=np.uint8)
    images[3] = 0
    images[4] = 255
    labels = np.array([4, 0, 6, 1, 2, 3, 5, 6, 4, 0, 5, 3])
    splits = np.repeat([0, 1, 2], [6, 3, 3])
    votes = rng.integers(0, 11, (COUNT, 10), dtype=np.uint8)
    return images, labels, splits, votes


def text(image):
    return " ".join(map(str, image.ravel().tolist()))


def lines(header, cells):
    return "\n".join([header, *(",".join(row) for row in cells)]) + "\n"


def fer2013_csv(images, labels, splits):
    rows = [(str(y), text(x), USAGES[s]) for x, y, s in zip(images, labels, splits, strict=True)]
    return lines("emotion,pixels,Usage", rows)


def write_csv(folder, images, labels, splits, votes):
    (folder / "fer2013.csv").write_text(fer2013_csv(images, labels, splits))


def write_windows_csv(folder, images, labels, splits, votes):
    written = fer2013_csv(images, labels, splits).rstrip("\n").replace("\n", "\r\n")
    (folder / "fer2013.csv").write_bytes(b"\xef\xbb\xbf" + written.encode())


def write_quoted_csv_under_another_name(folder, images, labels, splits, votes):
    rows = [(str(y), f'"{text(x)} "', USAGES[s]) for x, y, s in zip(images, labels, splits, strict=True)]
    deep = folder / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "x.txt").write_text(lines("emotion,pixels,Usage", rows) + "\n")


def write_icml(folder, images, labels, splits, votes):
    rows = [(str(y), USAGES[s], text(x)) for x, y, s in zip(images, labels, splits, strict=True)]
    (folder / "icml_face_data.csv").write_text(lines("emotion, Usage, pixels", rows))


def write_npz(folder, images, labels, splits, votes):
    usage = np.array(USAGES)[splits]
    np.savez_compressed(folder / "fer.npz", images=images, labels=labels.astype(np.uint8), usage=usage, votes=votes)


def write_folders(folder, images, labels, splits, votes):
    for row, (x, y, s) in enumerate(zip(images, labels, splits, strict=True)):
        place = folder / ("test" if s else "train") / FER2013_CLASSES[y]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(place / f"{USAGES[s]}_{row}.png")


def write_torchvision(folder, images, labels, splits, votes):
    (folder / "fer2013").mkdir()
    train = [(str(y), text(x)) for x, y in zip(images[splits == 0], labels[splits == 0], strict=True)]
    (folder / "fer2013" / "train.csv").write_text(lines("emotion,pixels", train))
    (folder / "fer2013" / "test.csv").write_text(lines("pixels", [(text(x),) for x in images[splits > 0]]))


def write_ntu(folder, images, labels, splits, votes):
    train = [(str(y), text(x)) for x, y in zip(images[splits == 0], labels[splits == 0], strict=True)]
    (folder / "train.csv").write_text(lines("label,feature", train))
    test = [(str(place), text(x)) for place, x in enumerate(images[splits > 0])]
    (folder / "test.csv").write_text(lines("id,feature", test))


def write_votes(path, splits, votes):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("Usage", "Image name", *VOTES))
        for row, (s, v) in enumerate(zip(splits, votes, strict=True)):
            writer.writerow((USAGES[s], f"fer{row:07}.png", *v.tolist()))


WITH_LABELS = [
    write_csv,
    write_windows_csv,
    write_quoted_csv_under_another_name,
    write_icml,
    write_npz,
    write_folders,
]


@pytest.mark.parametrize("write", WITH_LABELS)
@pytest.mark.parametrize("by", ["folder", "file"])
def test_every_labelled_layout_gives_the_same_faces(write, by, drawn, tmp_path):
    images, labels, splits, _ = drawn
    data = tmp_path / "data"
    data.mkdir()
    write(data, *drawn)
    files = [file for file in data.rglob("*") if file.is_file()]
    path = files[0] if by == "file" and len(files) == 1 else data
    for _ in ("parsed", "cached"):
        faces = Fer2013(str(path)).load(tmp_path / "cache")
        assert faces.images.dtype == torch.uint8
        assert np.array_equal(faces.images.numpy(), images[:, None])
        assert faces.labels.dtype == faces.rows.dtype == torch.int64
        assert faces.labels.tolist() == labels.tolist()
        assert faces.rows.tolist() == list(range(COUNT))
        assert faces.splits.dtype == torch.uint8
        assert faces.splits.tolist() == splits.tolist()
        assert faces.classes == FER2013_CLASSES


@pytest.mark.parametrize("write", [write_torchvision, write_ntu])
def test_faces_without_labels_are_test_and_unlabelled(write, drawn, tmp_path):
    images, labels, splits, _ = drawn
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", *drawn)
    faces = Fer2013(str(tmp_path / "data")).load(tmp_path / "cache")
    assert np.array_equal(faces.images.numpy(), images[:, None])
    assert faces.labels.tolist() == [*labels[splits == 0].tolist(), *[-1] * 6]
    assert faces.rows.tolist() == list(range(COUNT))
    assert faces.splits.tolist() == [0] * 6 + [2] * 6


def test_the_original_7178_unlabelled_faces_are_public_and_then_private(tmp_path):
    dark, bright = " ".join(["1"] * 2304), " ".join(["2"] * 2304)
    (tmp_path / "t.csv").write_text("pixels\n" + f"{dark}\n" * 3589 + f"{bright}\n" * 3589)
    faces = Fer2013(str(tmp_path / "t.csv")).load(tmp_path / "cache")
    assert [len(faces.split(name)) for name in ("train", "val", "test")] == [0, 3589, 3589]
    assert faces.split("val").images.eq(1).all()
    assert faces.split("test").images.eq(2).all()


def test_a_labelled_table_without_usage_is_known_by_its_class_counts(tmp_path):
    black = " ".join(["0"] * 2304)
    for split in ("val", "test"):
        rows = [f"{label},{black}\n" * n for label, n in enumerate(OFFICIAL_COUNTS[split])]
        (tmp_path / f"{split}.csv").write_text("emotion,pixels\n" + "".join(rows))
    faces = Fer2013(str(tmp_path / "test.csv")).load(tmp_path / "cache")
    assert faces.splits.unique().tolist() == [2]
    both = Fer2013(str(tmp_path)).load(tmp_path / "cache")
    assert [len(both.split(name)) for name in ("train", "val", "test")] == [0, 3589, 3589]
    one_off = (tmp_path / "val.csv").read_text().replace("0,0 0", "6,0 0", 1)
    (tmp_path / "val.csv").write_text(one_off)
    faces = Fer2013(str(tmp_path / "val.csv")).load(tmp_path / "cache")
    assert faces.splits.unique().tolist() == [0]


def test_any_order_of_columns_and_every_number_of_digits(tmp_path):
    values = [0, 7, 10, 99, 100, 199, 200, 255, *[1] * 2296]
    written = " ".join(map(str, values[:4])) + "  007 " + " ".join(map(str, values[5:]))
    (tmp_path / "t").write_text(f"Usage,pixels,emotion\nPrivateTest,{written},6\n")
    plain = " ".join(map(str, values))
    (tmp_path / "u").write_text(f"Usage,pixels,emotion\nPrivateTest,{plain},6\n")
    values_there = Fer2013(str(tmp_path / "u")).load(tmp_path / "cache").images.flatten().tolist()
    assert values_there == values
    values[4] = 7
    assert Fer2013(str(tmp_path / "t")).load(tmp_path / "cache").images.flatten().tolist() == values


@pytest.mark.parametrize("first", ["fer2013.csv", "icml_face_data.csv", "fer.npz"])
def test_labelled_copies_come_before_train_and_test(first, drawn, tmp_path):
    labels = drawn[1]
    data = tmp_path / "data"
    data.mkdir()
    write_torchvision(data, *drawn)
    writers = {"fer2013.csv": write_csv, "icml_face_data.csv": write_icml, "fer.npz": write_npz}
    for name in list(writers)[list(writers).index(first) :]:
        writers[name](data, *drawn)
    assert [file.name for file in Fer2013(str(data)).files()] == [first]
    assert Fer2013(str(data)).load(tmp_path / "cache").labels.tolist() == labels.tolist()


def test_copies_of_one_rank_must_agree(drawn, tmp_path):
    write_csv(tmp_path, *drawn)
    shutil.copy(tmp_path / "fer2013.csv", tmp_path / "copy.csv")
    assert len(Fer2013(str(tmp_path)).files()) == 1
    written = (tmp_path / "copy.csv").read_text()
    (tmp_path / "copy.csv").write_text(written.replace(",PublicTest", ",Training", 1))
    with pytest.raises(ConfigError, match=r"copy\.csv and .*fer2013\.csv are different copies"):
        Fer2013(str(tmp_path)).files()


def test_random_numbers_of_jpeg_folders_are_kept_and_shared_ones_counted_anew(drawn, tmp_path):
    image = Image.fromarray(drawn[0][0])
    for place in ("train/Happiness/Training_900.jpg", "test/Anger/PublicTest_17.jpg", "test/sad/PrivateTest_18.jpeg"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        image.convert("RGB").save(tmp_path / place)
    faces = Fer2013(str(tmp_path)).load(tmp_path / "cache")
    assert (faces.rows.tolist(), faces.labels.tolist(), faces.splits.tolist()) == ([17, 18, 900], [0, 4, 3], [1, 2, 0])
    image.save(tmp_path / "test/sad/PrivateTest_17.jpg")
    faces = Fer2013(str(tmp_path)).load(tmp_path / "cache")
    assert faces.rows.tolist() == [0, 1, 2, 3]
    assert (faces.labels.tolist(), faces.splits.tolist()) == ([3, 0, 4, 4], [0, 1, 2, 2])


@pytest.mark.parametrize("write", WITH_LABELS)
def test_votes_join_by_row(write, drawn, tmp_path):
    _, _, splits, votes = drawn
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", *drawn)
    write_votes(tmp_path / "votes.csv", splits, votes)
    faces = Fer2013(str(tmp_path / "data"), str(tmp_path / "votes.csv")).load(tmp_path / "cache")
    assert faces.vote_names == VOTES
    assert faces.votes is not None
    assert faces.votes.dtype == torch.uint8
    assert np.array_equal(faces.votes.numpy(), votes)
    alone = Fer2013(str(tmp_path / "data")).load(tmp_path / "cache")
    assert (alone.votes is None, alone.vote_names) == ((False, VOTES) if write is write_npz else (True, ()))


def test_votes_of_other_faces_are_refused(drawn, tmp_path):
    _, _, splits, votes = drawn
    write_csv(tmp_path, *drawn)
    question = Fer2013(str(tmp_path), str(tmp_path / "v"))
    write_votes(tmp_path / "v", splits[:-1], votes[:-1])
    with pytest.raises(ConfigError, match=r"v: it has votes for rows 0 to 10 and none for the face with row 11\."):
        question.load(tmp_path / "cache")
    write_votes(tmp_path / "v", np.roll(splits, 1), votes)
    with pytest.raises(ConfigError, match=r"v, line 2: row 0 is of PrivateTest where .* is of Training\."):
        question.load(tmp_path / "cache")
    write_votes(tmp_path / "v", splits, votes)
    written = (tmp_path / "v").read_text()
    (tmp_path / "v").write_text(written.replace("sadness", "sadnes"))
    with pytest.raises(ConfigError, match=r"v, line 1: .* no column sadness, .* perhaps it is sadnes\."):
        question.load(tmp_path / "cache")
    (tmp_path / "v").write_text(written[: len(written) - 8])
    with pytest.raises(ConfigError, match=r"v, line 13: \d+ columns where the first line names 12; .* cut off\."):
        question.load(tmp_path / "cache")
    (tmp_path / "v").write_text(written.replace("\nTraining,fer0000000.png,", "\nTraining,fer0000000.png,-"))
    with pytest.raises(ConfigError, match=r"v, line 2: the votes for neutral are \"-\d+\", not a whole number\."):
        question.load(tmp_path / "cache")


GOOD = " ".join(["9"] * 2304)
HEAD = "emotion,pixels,Usage\n"
LINE = f"3,{GOOD},Training\n"


def with_pixel(value):
    return HEAD + LINE + f"3,{value} {GOOD[2:]},Training\n"


DAMAGED = {
    "wrong column": ("emotion,pixel,Usage\n" + LINE, 1, 'the column "pixel" is none of .*; perhaps pixels'),
    "no pixels": ("emotion,Usage\n3,Training\n", 1, 'no column is named pixels or feature, only "emotion", "Usage"'),
    "a column twice": ("emotion,label,pixels\n", 1, "a column is named twice"),
    "no header": (LINE, 1, 'the column "3" is none of'),
    "columns only": (HEAD, 1, "holds no face"),
    "2,303 pixels": (HEAD + LINE + f"3,{GOOD[2:]},Training\n" + LINE, 3, "2,303 pixels where .* has 2,304"),
    "2,305 pixels": (HEAD + LINE + LINE + f"3,9 {GOOD},Training\n", 4, "2,305 pixels"),
    "pixel 256": (with_pixel("256"), 3, 'pixel 1 is "256", not a whole number from 0 to 255'),
    "pixel 1000": (with_pixel("1000"), 3, 'pixel 1 is "1000"'),
    "pixel -1": (with_pixel("-1"), 3, 'pixel 1 is "-1"'),
    "pixel 300 with zeros": (with_pixel("000000000300"), 3, 'pixel 1 is "000000000300", not a whole number'),
    "a pixel of 5,000 digits": (with_pixel("0" * 5000 + "7" * 5000), 3, r'pixel 1 is "0+\.\.\.", not a whole number'),
    "pixel 9.0": (with_pixel("9.0"), 3, 'pixel 1 is "9.0"'),
    "text in a pixel": (with_pixel("1x"), 3, 'pixel 1 is "1x"'),
    "label 7": (HEAD + f"7,{GOOD},Training\n", 2, 'the label "7" is not a whole number from 0 to 6'),
    "label -1": (HEAD + f"-1,{GOOD},Training\n", 2, 'the label "-1"'),
    "text in a label": (HEAD + LINE + f"happy,{GOOD},Training\n", 3, 'the label "happy"'),
    "no label": (HEAD + LINE + f",{GOOD},Training\n", 3, 'the label ""'),
    "unknown usage": (HEAD + f"3,{GOOD},Publictst\n", 2, 'Usage "Publictst" is none of .*; perhaps PublicTest'),
    "cut in the pixels": (HEAD + LINE + LINE[:4000], 3, "2 columns where .* names 3; .* cut off"),
    "cut in the usage": (HEAD + LINE + LINE[:-3], 3, 'Usage "Traini" is none of'),
    "icml cut in the pixels": (
        f"emotion, Usage, pixels\n3,Training,{GOOD}\n3,Training,{GOOD[:999]}",
        3,
        "500 pixels where .* cut off",
    ),
    "too many columns": (HEAD + LINE.replace("Training", "Training,1"), 2, "4 columns where .* names 3"),
    "empty": ("", 1, "the file is empty"),
    "LFS pointer": ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", 1, "LFS .*git lfs pull"),
}


@pytest.mark.parametrize("by", ["file", "folder"])
@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_table_is_refused_by_file_line_and_reason(case, by, tmp_path):
    written, line, reason = DAMAGED[case]
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    cache.mkdir()
    (data / "fer.csv").write_text(written)
    question = Fer2013(str(data if by == "folder" else data / "fer.csv"))
    expected = (
        "nothing in this folder" if (case, by) == ("no header", "folder") else rf"fer\.csv, line {line}: .*{reason}"
    )
    with pytest.raises(ConfigError, match=expected) as error:
        question.load(cache)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)
    assert list(cache.iterdir()) == []


def test_damage_after_a_good_load_leaves_no_record(drawn, tmp_path):
    write_csv(tmp_path, *drawn)
    Fer2013(str(tmp_path)).load(tmp_path / "cache")
    kept = {file.suffix for file in (tmp_path / "cache").iterdir()} - {".json"}
    assert kept == {".safetensors"}
    with (tmp_path / "fer2013.csv").open("a") as file:
        file.write("3,1 2 3,Training\n")
    with pytest.raises(ConfigError, match=r"fer2013\.csv, line 14: 3 pixels"):
        Fer2013(str(tmp_path)).load(tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("content-*.json"))
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 1


def test_a_change_of_the_file_is_seen(drawn, tmp_path):
    images, labels, splits, votes = drawn
    write_csv(tmp_path, *drawn)
    stat = (tmp_path / "fer2013.csv").stat()
    before = Fer2013(str(tmp_path)).load(tmp_path / "cache")
    write_csv(tmp_path, images, np.roll(labels, 1), splits, votes)
    os.utime(tmp_path / "fer2013.csv", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = Fer2013(str(tmp_path)).load(tmp_path / "cache")
    assert after.labels.tolist() == np.roll(labels, 1).tolist()
    assert torch.equal(before.images, after.images)


def test_a_broken_parsed_copy_is_replaced(drawn, tmp_path):
    write_csv(tmp_path, *drawn)
    question = Fer2013(str(tmp_path))
    whole = question.load(tmp_path / "cache").fingerprint()
    (copy,) = (tmp_path / "cache").glob("*.safetensors")
    copy.write_bytes(copy.read_bytes()[:500])
    assert question.load(tmp_path / "cache").fingerprint() == whole
    assert copy.stat().st_size > COUNT * 2304


def arrays(drawn):
    images, labels, splits, votes = drawn
    return {"images": images, "labels": labels, "usage": np.array(USAGES)[splits], "votes": votes}


def altered(values, place, value, dtype):
    changed = values.astype(dtype)
    changed[place] = value
    return changed


DAMAGED_ARRAYS = {
    "no labels": (lambda a: a.pop("labels"), "the archive has no array labels, only images, usage, votes"),
    "2,303 pixels": (lambda a: a.update(images=a["images"].reshape(12, -1)[:, 1:]), r"the shape \(12, 2303\)"),
    "no faces": (lambda a: a.update(images=a["images"][:0]), r"the shape \(0, 48, 48\)"),
    "pixel 256": (
        lambda a: a.update(images=altered(a["images"], (2, 0, 5), 256, np.int16)),
        r"images\[2, 0, 5\] is 256, not a whole number from 0 to 255",
    ),
    "pixel -1": (lambda a: a.update(images=altered(a["images"], (1, 0, 0), -1, np.int16)), r"images\[1, 0, 0\] is -1"),
    "real pixels": (lambda a: a.update(images=a["images"] / 255), "images holds float64"),
    "label 7": (lambda a: a.update(labels=altered(a["labels"], 9, 7, int)), r"labels\[9\] is 7, .* 0 to 6"),
    "text in labels": (lambda a: a.update(labels=a["usage"]), "labels holds <U11"),
    "fewer labels": (lambda a: a.update(labels=a["labels"][1:]), r"labels has the shape \(11,\), expected \(12,\)"),
    "unknown usage": (lambda a: a.update(usage=np.where(a["usage"] == "Training", "Train", a["usage"])), '"Train" is'),
    "usage of numbers": (lambda a: a.update(usage=a["labels"]), "usage holds int64, expected words"),
    "pickles": (lambda a: a.update(usage=a["usage"].astype(object)), "pickled objects, which are never loaded"),
    "nine votes": (lambda a: a.update(votes=a["votes"][:, 1:]), r"votes has the shape \(12, 9\), expected \(12, 10\)"),
}


@pytest.mark.parametrize("case", DAMAGED_ARRAYS)
def test_a_damaged_archive_is_refused(case, drawn, tmp_path):
    spoil, reason = DAMAGED_ARRAYS[case]
    held = arrays(drawn)
    spoil(held)
    np.savez(tmp_path / "fer.npz", **held)
    (tmp_path / "cache").mkdir()
    with pytest.raises(ConfigError, match=rf"fer\.npz: .*{reason}"):
        Fer2013(str(tmp_path / "fer.npz")).load(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def npy(array):
    """The bytes of an .npy file."""
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("member", "data", "reason"),
    [
        ("images", b"no npy", r"images is a file of 6 bytes, expected a NumPy array \(images\.npy\)"),
        ("labels.npy", b"no npy", "labels is a file of 6 bytes, expected a NumPy array"),
        # A header that is no Python literal (TokenError), one of an array that no memory holds, a broken shape.
        ("labels.npy", npy(np.arange(12)).replace(b"'descr': ", b"'descr': (", 1), "the archive is damaged or cut off"),
        ("labels.npy", npy(np.arange(12)).replace(b"(12,), ", b"(10**", 1), "the archive is damaged or cut off"),
        ("labels.npy", npy(np.arange(12)).replace(b"(12,), }   ", b"(9" + b"9" * 8 + b",)}", 1), "damaged or cut off"),
        ("usage.npy", npy(np.array([b"\xff\xfe"] * 12)), "Usage .* is none of Training"),
        (
            "usage.npy",
            npy(np.zeros(12, "U2")).replace(b"\0\0\0\0", b"\xff\xff\xff\xff"),
            "archive is damaged|is none of",
        ),
    ],
    ids=["no npy", "no magic", "token", "power", "huge", "bytes", "code point"],
)
def test_whatever_is_wrong_in_an_archive_is_one_sentence(member, data, reason, drawn, tmp_path):
    members = {f"{name}.npy": npy(array) for name, array in arrays(drawn).items()}
    members = {name: held for name, held in members.items() if name.partition(".")[0] != member.partition(".")[0]}
    with zipfile.ZipFile(tmp_path / "fer.npz", "w") as archive:
        for name, held in {**members, member: data}.items():
            archive.writestr(name, held)
    with pytest.raises(ConfigError, match=rf"fer\.npz: .*{reason}") as error:
        Fer2013(str(tmp_path / "fer.npz")).load(tmp_path / "cache")
    assert "\n" not in str(error.value)


def test_archives_with_changed_bytes_are_read_or_refused(drawn, tmp_path):
    """Whatever bytes of the headers change, only ConfigError comes out."""
    path, rng = tmp_path / "fer.npz", np.random.default_rng(0)
    np.savez(path, **{name: array[:1] for name, array in arrays(drawn).items()})
    data = np.frombuffer(path.read_bytes(), np.uint8)
    headers = np.concatenate([np.arange(220), np.arange(len(data) - 1400, len(data))])
    refused = 0
    for number in range(300):
        changed = data.copy()
        changed[rng.choice(headers, 2)] = rng.integers(0, 256, 2)
        (tmp_path / f"{number}.npz").write_bytes(changed.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                Fer2013(str(tmp_path / f"{number}.npz")).load(tmp_path / "cache")
            except ConfigError:
                refused += 1
    assert refused > 100


@pytest.mark.parametrize("text", ["\0", '"' + "x" * 200_000 + '"'])
def test_votes_that_are_no_csv_are_refused(text, drawn, tmp_path):
    write_csv(tmp_path, *drawn)
    write_votes(tmp_path / "v", drawn[2], drawn[3])
    (tmp_path / "v").write_text((tmp_path / "v").read_text() + text + "\n")
    with pytest.raises(ConfigError, match=r"v(, line 14)?: "):
        Fer2013(str(tmp_path), str(tmp_path / "v")).load(tmp_path / "cache")


def test_the_fingerprint_covers_the_votes(drawn, tmp_path):
    _, _, splits, votes = drawn
    write_csv(tmp_path, *drawn)
    digests = [Fer2013(str(tmp_path)).load(tmp_path / "cache").fingerprint()]
    for name, change in (("v1", 0), ("v2", 1)):
        write_votes(tmp_path / name, splits, votes + change)
        digests.append(Fer2013(str(tmp_path), str(tmp_path / name)).load(tmp_path / "cache").fingerprint())
    assert len(set(digests)) == 3
    faces = Fer2013(str(tmp_path), str(tmp_path / "v1")).load(tmp_path / "cache")
    assert replace(faces, vote_names=faces.vote_names[::-1]).fingerprint() != faces.fingerprint()
    assert replace(faces, votes=None, vote_names=()).fingerprint() == digests[0]


def test_every_broken_picture_is_named_at_once(drawn, tmp_path):
    write_folders(tmp_path / "data", *drawn)
    broken = sorted((tmp_path / "data").rglob("*.png"))[::4]
    for path in broken:
        path.write_bytes(b"broken")
    with pytest.raises(ConfigError, match=rf"^{len(broken)} pictures cannot be used: ") as error:
        Fer2013(str(tmp_path / "data")).load(tmp_path / "cache")
    assert all(path.name in str(error.value) for path in broken)


@pytest.mark.parametrize("by", ["file", "folder"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_a_cut_archive_is_refused(share, by, drawn, tmp_path):
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    cache.mkdir()
    write_npz(data, *drawn)
    whole = (data / "fer.npz").read_bytes()
    (data / "fer.npz").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ConfigError, match=r"fer\.npz: the archive is damaged or cut off \(.+\)\."):
        Fer2013(str(data if by == "folder" else data / "fer.npz")).load(cache)
    assert list(cache.iterdir()) == []


def test_a_flipped_byte_in_an_archive_is_seen(drawn, tmp_path):
    np.savez(tmp_path / "fer.npz", **arrays(drawn))
    held = bytearray((tmp_path / "fer.npz").read_bytes())
    held[len(held) // 2] ^= 1
    (tmp_path / "fer.npz").write_bytes(held)
    with pytest.raises(ConfigError, match=r"fer\.npz: the archive is damaged or cut off \(Bad CRC-32"):
        Fer2013(str(tmp_path)).load(tmp_path / "cache")


DAMAGED_PICTURES = {
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:900]), "the picture cannot be read"),
    "empty": (lambda file: file.write_bytes(b""), "the picture file is empty"),
    "no picture": (lambda file: file.write_text("no picture"), "no picture that Pillow can read"),
    "LFS pointer": (lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
    "another size": (lambda file: Image.new("L", (224, 47)).save(file), "the picture is 224 x 47 where .* 48 x 48"),
}


@pytest.mark.parametrize("case", DAMAGED_PICTURES)
def test_a_damaged_picture_is_refused(case, drawn, tmp_path):
    spoil, reason = DAMAGED_PICTURES[case]
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    cache.mkdir()
    write_folders(data, *drawn)
    spoil(data / "train" / "neutral" / "Training_2.png")
    with pytest.raises(ConfigError, match=rf"train/neutral/Training_2\.png: .*{reason}"):
        Fer2013(str(data)).load(cache)
    assert list(cache.iterdir()) == []


def test_a_picture_without_usage_or_twice_is_refused(drawn, tmp_path):
    write_folders(tmp_path, *drawn)
    shutil.copytree(tmp_path / "train", tmp_path / "again")
    with pytest.raises(ConfigError, match=r"train/angry/Training_1\.png: the same face is in .*again/angry/Train"):
        Fer2013(str(tmp_path)).load(tmp_path / "cache")
    shutil.rmtree(tmp_path / "again")
    (tmp_path / "train" / "neutral" / "Training_2.png").rename(tmp_path / "train" / "neutral" / "2.png")
    with pytest.raises(ConfigError, match=r"neutral/2\.png: the name does not say the split .*dataset=image_folder"):
        Fer2013(str(tmp_path)).load(tmp_path / "cache")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x1f\x8b\x08\x00", "a gzip archive; unpack it first"),
        (b"PAR1\x00", "a Parquet file; save it as CSV first"),
        (b"\x7fELF\x00\x00", "neither a CSV nor an .npz"),
        (b"PK\x05\x06" + bytes(18), "the archive has no array images, only nothing"),
    ],
)
def test_another_kind_of_file_is_refused_by_name(content, reason, tmp_path):
    (tmp_path / "fer2013.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"fer2013\.csv: .*{reason}"):
        Fer2013(str(tmp_path / "fer2013.csv")).load(tmp_path / "cache")


def test_a_place_that_is_not_there_is_named_with_its_nearest(drawn, tmp_path):
    write_csv(tmp_path, *drawn)
    with pytest.raises(ConfigError, match=r"fer2103\.csv: there is no such file or folder. Did you mean fer2013\.csv"):
        Fer2013(str(tmp_path / "fer2103.csv")).load(tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"dataset\.path is empty: .*dataset\.path=<file or folder>"):
        Fer2013().load(tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"dataset\.votes=.*fer2013new\.cvs: there is no such file"):
        Fer2013(str(tmp_path), str(tmp_path / "fer2013new.cvs")).files()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"dataset\.path=.*empty: nothing in this folder"):
        Fer2013(str(tmp_path / "empty")).load(tmp_path / "cache")


# The set itself, where it is at hand.

REAL = os.environ.get("FERVIS_FER2013")
needs_fer2013 = pytest.mark.skipif(REAL is None, reason="FERVIS_FER2013 names no folder with FER2013")


@pytest.fixture(scope="session")
def export(tmp_path_factory):
    """Write a layout once with the set's own exporter, all of it or the first faces of each usage."""
    made: dict[tuple[str, int | None], Path] = {}

    def write(layout: str, first: int | None = None) -> Path:
        if (layout, first) not in made:
            folder = tmp_path_factory.mktemp(layout)
            command = [sys.executable, str(Path(REAL or "") / "export_fer2013.py"), str(folder), "--layout", layout]
            subprocess.run(command + ([] if first is None else ["--first", str(first)]), check=True)
            made[layout, first] = folder
        return made[layout, first]

    yield write
    for folder in made.values():
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def original():
    """Images, labels, splits and votes of the set, from its sheet of tiles and its table of rows."""
    folder = Path(REAL or "")
    with (folder / "fer2013_rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with Image.open(folder / "fer2013.png") as sheet:
        tiles = np.asarray(sheet).reshape(-1, 48, 190, 48).swapaxes(1, 2).reshape(-1, 48, 48)[: len(rows)]
    labels = np.array([int(row["emotion"]) for row in rows])
    splits = np.array([USAGES.index(row["usage"]) for row in rows])
    votes = np.array([[int(row[name]) for name in VOTES] for row in rows])
    return tiles, labels, splits, votes


def assert_original(faces: Faces, original, kept, rows):
    images, labels, splits, votes = (values[kept] for values in original)
    assert np.array_equal(faces.images[:, 0].numpy(), images)
    assert np.array_equal(faces.labels.numpy(), labels)
    assert np.array_equal(faces.splits.numpy(), splits)
    assert np.array_equal(faces.rows.numpy(), rows)
    if faces.votes is not None:
        assert np.array_equal(faces.votes.numpy(), votes)


MEASURED = """
import re, sys, time
from pathlib import Path
from fervis.datasets.fer2013 import Fer2013
for _ in range(2):
    start = time.perf_counter()
    faces = Fer2013(sys.argv[1]).load(Path(sys.argv[2]))
    print(time.perf_counter() - start)
# getrusage would count the memory of the process that started this one
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
print(peak, faces.fingerprint())
"""


@needs_fer2013
def test_the_whole_set_as_csv_and_as_archive(export, original, tmp_path):
    table, archive, votes = export("csv"), export("npz"), export("ferplus") / "fer2013new.csv"
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED, str(table), str(tmp_path)], check=True, capture_output=True, text=True
    )
    _, second, rest = measured.stdout.splitlines()
    peak, fingerprint = rest.split()
    assert float(second) < 0.5
    assert int(peak) < 1.5e9
    assert measured.stderr == ""
    everything = np.arange(35887)
    faces = Fer2013(str(table), str(votes)).load(tmp_path)
    assert replace(faces, votes=None, vote_names=()).fingerprint() == fingerprint != faces.fingerprint()
    assert faces.votes is not None
    assert_original(faces, original, everything, everything)
    faces = Fer2013(str(archive)).load(tmp_path)
    assert faces.votes is not None
    assert_original(faces, original, everything, everything)


@needs_fer2013
@pytest.mark.parametrize("layout", ["csv", "icml", "npz", "folders", "torchvision"])
def test_part_of_the_set_in_every_layout(layout, export, original, tmp_path):
    first = 100
    splits = original[2]
    kept = np.concatenate([np.flatnonzero(splits == split)[:first] for split in range(3)])
    faces = Fer2013(str(export(layout, first))).load(tmp_path)
    if layout == "torchvision":
        assert np.array_equal(faces.images[:, 0].numpy(), original[0][kept])
        assert faces.labels.tolist() == [*original[1][kept[:first]].tolist(), *[-1] * 2 * first]
        assert faces.splits.tolist() == [0] * first + [2] * 2 * first
    else:
        assert_original(faces, original, kept, kept if layout == "folders" else np.arange(3 * first))
