import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fervis.core.faces import FER2013_CLASSES, SPLITS, Faces
from fervis.datasets.audit import LEAKS, audit_dataset, audit_text
from fervis.datasets.fer2013_formats.schema import OFFICIAL_COUNTS


def faces_of(pictures, labels, splits, classes=("a", "b", "c")):
    """Faces of 4 x 4 pixels: the same number is the same picture, a negative one a constant picture."""
    images = [np.full(16, -n) if n < 0 else np.random.default_rng(n).integers(0, 256, 16) for n in np.asarray(pictures)]
    count = len(images)
    return Faces(
        images=torch.from_numpy(np.array(images, np.uint8).reshape(count, 1, 4, 4)),
        labels=torch.tensor(labels, dtype=torch.int64),
        rows=torch.arange(count),
        splits=torch.tensor([SPLITS.index(split) for split in splits], dtype=torch.uint8),
        classes=classes,
    )


def test_a_set_counted_by_hand():
    # picture, label, split
    held = [
        (1, 0, "train"),
        (1, 0, "train"),  # a copy within train
        (1, 0, "test"),  # leak, same label
        (2, 1, "train"),
        (2, 2, "test"),  # leak, other label: a conflict
        (2, 1, "test"),  # leak, same label, in that conflict
        (3, 0, "val"),
        (3, 1, "test"),  # leak from val, other label: a conflict
        (-5, 2, "val"),
        (-6, 2, "train"),
        (4, 2, "train"),
        (5, 0, "val"),
    ]
    report = audit_dataset(faces_of(*zip(*held, strict=True)))
    assert report == {
        "images": 12,
        "skipped": 0,
        "unique": 7,
        "splits": {"train": 5, "val": 3, "test": 4},
        "classes": {
            "train": {"a": 2, "b": 1, "c": 2},
            "val": {"a": 2, "b": 0, "c": 1},
            "test": {"a": 1, "b": 2, "c": 1},
        },
        "constant": {"train": 1, "val": 1, "test": 0},
        "duplicates": {"groups": 3, "images": 8, "surplus": 5, "largest": 3},
        "surplus_within": {"train": 1, "val": 0, "test": 1},
        "leaks": {
            "val_in_train": {"images": 0, "same_label": 0, "other_label": 0},
            "test_in_train": {"images": 3, "same_label": 2, "other_label": 1},
            "test_in_val": {"images": 1, "same_label": 0, "other_label": 1},
        },
        "conflicts": {"groups": 2, "images": 5},
        "fer2013": {"train": False, "val": False, "test": False},
        "original": False,
    }
    assert json.loads(json.dumps(report)) == report


def test_every_count_against_a_comparison_of_all_pairs():
    rng = np.random.default_rng(3)
    count = 120
    pictures, labels = rng.integers(0, 60, count), rng.integers(0, 3, count)
    splits = [SPLITS[index] for index in rng.integers(0, 3, count)]
    report = audit_dataset(faces_of(pictures, labels, splits))
    same = pictures[:, None] == pictures[None]
    agree = labels[:, None] == labels[None]
    split = np.array(splits)
    for of, into in LEAKS:
        leaked = same[split == of][:, split == into]
        agreed = (same & agree)[split == of][:, split == into]
        expected = {"images": leaked.any(1).sum(), "same_label": agreed.any(1).sum()}
        expected["other_label"] = expected["images"] - expected["same_label"]
        assert report["leaks"][f"{of}_in_{into}"] == expected
    earlier = np.tri(count, k=-1, dtype=bool) & same
    assert report["duplicates"]["surplus"] == earlier.any(1).sum()
    assert report["duplicates"]["images"] == (same.sum(1) > 1).sum()
    assert report["duplicates"]["largest"] == same.sum(1).max()
    in_conflict = [len(set(labels[same[i]])) > 1 for i in range(count)]
    assert report["conflicts"]["images"] == sum(in_conflict)
    assert report["conflicts"]["groups"] == len(set(pictures[in_conflict]))
    for name in SPLITS:
        inside = split == name
        assert report["surplus_within"][name] == earlier[inside][:, inside].any(1).sum()


def test_faces_without_labels_conflict_with_nothing():
    report = audit_dataset(faces_of([1, 1, 2, 2], [0, -1, -1, 1], ["train", "test", "train", "val"]))
    assert report["leaks"]["test_in_train"] == {"images": 1, "same_label": 0, "other_label": 0}
    assert report["leaks"]["val_in_train"] == {"images": 1, "same_label": 0, "other_label": 0}
    assert report["conflicts"] == {"groups": 0, "images": 0}
    assert report["classes"]["test"] == {"a": 0, "b": 0, "c": 0, "unlabelled": 1}
    assert "  unlabelled" in audit_text(report)


def test_a_set_without_flaws_and_an_empty_split():
    report = audit_dataset(faces_of([1, 2, 3], [0, 1, 2], ["train", "train", "val"]))
    assert report["duplicates"] == {"groups": 0, "images": 0, "surplus": 0, "largest": 0}
    assert report["splits"] == {"train": 2, "val": 1, "test": 0}
    assert report["surplus_within"] == {"train": 0, "val": 0, "test": 0}


def test_the_originals_class_counts_are_known():
    labels = [label for split in SPLITS for label, n in enumerate(OFFICIAL_COUNTS[split]) for _ in range(n)]
    splits = [split for split in SPLITS for _ in range(sum(OFFICIAL_COUNTS[split]))]
    count = len(labels)
    faces = Faces(
        images=torch.arange(count, dtype=torch.int32).view(torch.uint8).reshape(count, 1, 2, 2),
        labels=torch.tensor(labels),
        rows=torch.arange(count),
        splits=torch.tensor([SPLITS.index(split) for split in splits], dtype=torch.uint8),
        classes=FER2013_CLASSES,
    )
    report = audit_dataset(faces)
    assert report["original"] is True
    assert report["unique"] == 35887
    assert "The class counts of every split are those of the original FER2013." in audit_text(report)
    changed = faces.labels.clone()
    changed[-1] = 0
    report = audit_dataset(Faces(faces.images, changed, faces.rows, faces.splits, FER2013_CLASSES))
    assert report["fer2013"] == {"train": True, "val": True, "test": False}
    assert "The class counts of test are not those of the original FER2013." in audit_text(report)


def test_the_table_to_read():
    text = audit_text(audit_dataset(faces_of([1, 1, 2, -3], [0, 1, 1, 2], ["train", "test", "test", "val"])))
    assert text.splitlines() == [
        "                        train      val     test      all",
        "faces                       1        1        2        4",
        "  a                         1        0        0        1",
        "  b                         0        0        2        2",
        "  c                         0        1        0        1",
        "one grey level only         0        1        0        1",
        "surplus exact copies        0        0        0        1",
        "",
        "2 images are exact copies of others, in 1 group.",
        "0 val images are in train too: 0 with the same label, 0 with another.",
        "1 test image is in train too: 0 with the same label, 1 with another.",
        "0 test images are in val too: 0 with the same label, 0 with another.",
        "1 group of copies with different labels: 2 images.",
        "The class counts of train, val, test are not those of the original FER2013.",
    ]


def test_pictures_that_were_left_out_are_counted():
    report = audit_dataset(replace(faces_of([1, 2], [0, 1], ["train", "test"]), skipped=3))
    assert report["skipped"] == 3
    assert audit_text(report, "image_folder").splitlines()[-1] == "3 pictures that cannot be read are left out."


def test_only_fer2013_is_held_against_the_original():
    report = audit_dataset(faces_of([1, 2], [0, 1], ["train", "test"]))
    assert "original FER2013" in audit_text(report, "fer2013")
    assert "FER2013" not in audit_text(report, "image_folder")


@pytest.mark.skipif("FERVIS_FER2013" not in os.environ, reason="FERVIS_FER2013 names no folder with FER2013")
def test_fer2013_itself():
    folder = Path(os.environ["FERVIS_FER2013"])
    table = np.genfromtxt(folder / "fer2013_rows.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    with Image.open(folder / "fer2013.png") as sheet:
        tiles = np.asarray(sheet).reshape(-1, 48, 190, 48).swapaxes(1, 2).reshape(-1, 48, 48)[: len(table)]
    usages = ["Training", "PublicTest", "PrivateTest"]
    faces = Faces(
        images=torch.from_numpy(tiles.copy()).unsqueeze(1),
        labels=torch.from_numpy(table["emotion"].astype(np.int64)),
        rows=torch.arange(len(table)),
        splits=torch.tensor([usages.index(usage) for usage in table["usage"]], dtype=torch.uint8),
        classes=FER2013_CLASSES,
    )
    start = time.perf_counter()
    report = audit_dataset(faces)
    assert time.perf_counter() - start < 5
    assert report["original"]
    # As counted before on JPEG copies of the set.
    assert report["constant"] == {"train": 11, "val": 1, "test": 0}
    assert report["leaks"]["val_in_train"] == {"images": 280, "same_label": 273, "other_label": 7}
    assert report["leaks"]["test_in_train"] == {"images": 288, "same_label": 279, "other_label": 9}
    assert report["leaks"]["test_in_val"]["images"] == 44
    # On the JPEG copies these were 1,516, 3,369 and 1,853; the twelve are the black ones.
    assert report["duplicates"] == {"groups": 1518, "images": 3373, "surplus": 1855, "largest": 12}
