"""Problems of a data set, independent of any network: copies, leaks, conflicts and empty pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from fervis.core.faces import FER2013_CLASSES, SPLITS, Faces
from fervis.datasets.fer2013_formats.schema import OFFICIAL_COUNTS, UNLABELLED

LEAKS = (("val", "train"), ("test", "train"), ("test", "val"))
"""Pairs of splits that should share no image: of the first, those are counted that are in the second too."""


def audit_dataset(faces: Faces) -> dict[str, Any]:
    """Count what affects any accuracy on these images.

    Copies are exact: all pixels are the same. A group is a set of two or more images that are copies of each other.

    Returns:
        Plain data for JSON:

        - ``images``: number of faces; ``unique``: number of different pictures among them.
        - ``splits``: faces of each split; ``classes``: for each split, faces of each class, and ``unlabelled`` where
          there are any.
        - ``constant``: for each split, faces whose values are all the same.
        - ``duplicates``: over all splits ``groups``, ``images`` in them, ``surplus`` copies (images - groups) and
          ``largest`` group; ``surplus_within``: for each split, its copies beyond the first.
        - ``leaks``: for each of ``LEAKS``, as ``test_in_train``: ``images`` of the first split that are in the
          second too; of these ``same_label``, where a copy has the label too, and ``other_label``, where none has.
        - ``conflicts``: ``groups`` of copies with more than one label, and ``images`` in them.
        - ``fer2013``: for each split, whether its class counts are those of the original FER2013; ``original``:
          whether all three are.
    """
    labels, splits = faces.labels.numpy(), faces.splits.numpy()
    pixels = faces.images.reshape(len(faces), -1).contiguous().numpy()
    groups = _duplicate_groups(pixels)
    copies = [group for group in groups if len(group) > 1]
    inside = {index: np.flatnonzero(splits == index) for index in range(len(SPLITS))}
    constant = (pixels == pixels[:, :1]).all(axis=1)
    conflicting = [group for group in copies if len(set(labels[group].tolist()) - {UNLABELLED}) > 1]
    counts = {split: _class_counts(labels[inside[index]], faces.classes) for index, split in enumerate(SPLITS)}
    fer2013 = {split: _is_official(split, counts[split], faces.classes) for split in SPLITS}
    members = np.array([np.bincount(splits[group], minlength=len(SPLITS)) for group in copies]).reshape(-1, len(SPLITS))
    within = np.maximum(members - 1, 0).sum(axis=0).astype(int).tolist()
    return {
        "images": len(faces),
        "unique": len(groups),
        "splits": {split: len(inside[index]) for index, split in enumerate(SPLITS)},
        "classes": counts,
        "constant": {split: int(constant[inside[index]].sum()) for index, split in enumerate(SPLITS)},
        "duplicates": {
            "groups": len(copies),
            "images": sum(map(len, copies)),
            "surplus": len(faces) - len(groups),
            "largest": max(map(len, copies), default=0),
        },
        "surplus_within": dict(zip(SPLITS, within, strict=True)),
        "leaks": {f"{of}_in_{into}": _leak(copies, labels, splits, of, into) for of, into in LEAKS},
        "conflicts": {"groups": len(conflicting), "images": sum(map(len, conflicting))},
        "fer2013": fer2013,
        "original": all(fer2013.values()),
    }


def audit_text(report: Mapping[str, Any], dataset: str = "fer2013") -> str:
    """Format what ``audit_dataset`` counted as a table.

    Args:
        report: of ``audit_dataset``.
        dataset: name of the data set; that of FER2013 is held against the original.
    """
    columns = [*SPLITS, "all"]
    counts: dict[str, Mapping[str, int]] = {"faces": report["splits"]}
    names = list(dict.fromkeys(name for split in SPLITS for name in report["classes"][split]))
    for name in names:
        counts[f"  {name}"] = {split: report["classes"][split].get(name, 0) for split in SPLITS}
    counts["one grey level only"] = report["constant"]
    counts["surplus exact copies"] = report["surplus_within"]
    width = max(map(len, counts))
    lines = [" " * width + "".join(f"{column:>9}" for column in columns)]
    for name, row in counts.items():
        # Copies in different splits are surplus to the whole set alone, so the splits do not add up to it.
        whole = report["duplicates"]["surplus"] if row is report["surplus_within"] else sum(row.values())
        lines.append(f"{name:<{width}}" + "".join(f"{row[split]:>9,}" for split in SPLITS) + f"{whole:>9,}")
    copies, conflicts = report["duplicates"], report["conflicts"]
    lines += [
        "",
        f"{copies['images']:,} images are exact copies of others, in {_format_count(copies['groups'], 'group')}.",
    ]
    for of, into in LEAKS:
        leak = report["leaks"][f"{of}_in_{into}"]
        lines.append(
            f"{_format_count(leak['images'], f'{of} image')} "
            f"{'is' if leak['images'] == 1 else 'are'} in {into} too: "
            f"{leak['same_label']:,} with the same label, "
            f"{leak['other_label']:,} with another."
        )
    lines.append(
        f"{_format_count(conflicts['groups'], 'group')} of copies with different labels: "
        f"{conflicts['images']:,} images."
    )
    differing = [split for split in SPLITS if not report["fer2013"][split]]
    if dataset == "fer2013":
        lines.append(
            f"The class counts of {', '.join(differing)} are not those of the original FER2013."
            if differing
            else "The class counts of every split are those of the original FER2013."
        )
    return "\n".join(lines) + "\n"


def _format_count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _duplicate_groups(pixels: np.ndarray) -> list[list[int]]:
    """Return the positions of images that are the same, in the order of their first."""
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for position, image in enumerate(pixels):
        groups[image.tobytes()].append(position)
    return list(groups.values())


def _class_counts(labels: np.ndarray, classes: tuple[str, ...]) -> dict[str, int]:
    counts = {name: int((labels == index).sum()) for index, name in enumerate(classes)}
    unlabelled = int((labels == UNLABELLED).sum())
    return counts | ({"unlabelled": unlabelled} if unlabelled else {})


def _is_official(split: str, counts: Mapping[str, int], classes: tuple[str, ...]) -> bool:
    return classes == FER2013_CLASSES and tuple(counts.values()) == OFFICIAL_COUNTS[split]


def _leak(copies: list[list[int]], labels: np.ndarray, splits: np.ndarray, of: str, into: str) -> dict[str, int]:
    images = same = unknown = 0
    for group in copies:
        leaked = {int(labels[position]) for position in group if splits[position] == SPLITS.index(into)}
        if not leaked:
            continue
        own = [int(labels[position]) for position in group if splits[position] == SPLITS.index(of)]
        images += len(own)
        same += sum(label in leaked - {UNLABELLED} for label in own)
        unknown += sum(label == UNLABELLED or leaked == {UNLABELLED} for label in own)
    return {"images": images, "same_label": same, "other_label": images - same - unknown}
