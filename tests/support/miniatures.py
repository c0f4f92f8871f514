"""Made-up miniatures of data sets: each picture has one grey value, by which a test knows it again."""

from collections import defaultdict

import numpy as np
from PIL import Image

from fervis.core.faces import SPLITS
from fervis.core.registry import build_plugin
from fervis.datasets.audit import audit_dataset, audit_text

SIDE = 8


def load_audited(name, path, cache, **knobs):
    """Load a data set and audit it as ``fervis audit`` does: the table counts every face."""
    faces = build_plugin("dataset", name, path=str(path), size=SIDE, **knobs).load(cache)
    lines = audit_text(audit_dataset(faces), name).splitlines()
    assert lines[1].split()[0] == "faces"
    assert lines[1].split()[-1] == f"{len(faces):,}"
    return faces


def paint(path, value, shape=(SIDE, SIDE)):
    """Write a picture of one grey value under any name; its bytes are a PNG's, so that no value changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path, format="PNG")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def classes_by_value(faces):
    """Return grey value of a picture -> name of its class."""
    values = faces.images[:, 0, 0, 0].tolist()
    named = [faces.classes[label] if label >= 0 else None for label in faces.labels.tolist()]
    return dict(zip(values, named, strict=True))


def splits_by_value(faces):
    """Return grey value of a picture -> name of its split."""
    values = faces.images[:, 0, 0, 0].tolist()
    return {value: SPLITS[split] for value, split in zip(values, faces.splits.tolist(), strict=True)}


def splits_of(faces, person_of):
    """Return person -> the splits in which there is a picture of the person, by a function of the file's name."""
    splits = defaultdict(set)
    for name, split in zip(faces.names, faces.splits.tolist(), strict=True):
        splits[person_of(name.rsplit("/", 1)[-1])].add(SPLITS[split])
    return dict(splits)
