"""Which faces, classes, devices and precisions a question means, or why it can mean none."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from fervis.engines.passes import Target
from fervis.errors import WrongQuestion, unknown
from fervis.faces import SPLITS, Faces

FIRST = 16
PRECISIONS = ("auto", "bf16", "fp32")


def choose_faces(faces: Faces, split: str, spec: Any) -> Faces:
    """The faces of a split that ``faces=`` asks for: ``all``, ``per_class:<n>``, row numbers in order, or ``auto``.

    ``per_class`` takes the first n faces of each class, in class order; ``auto`` one of each class, or the first faces
    where none has a label.

    Raises:
        WrongQuestion: an unknown split, a row that is not in it, or a form that is none of the above.
    """
    if split not in (*SPLITS, "all"):
        raise unknown("split", split, (*SPLITS, "all"))
    there = faces.split(split)
    if not len(there):
        counts = ", ".join(f"{name} {int((faces.splits == i).sum())}" for i, name in enumerate(SPLITS))
        raise WrongQuestion(f"split={split}: the data set has no faces there ({counts}).")
    if spec == "all":
        return there
    if spec == "auto" and not (there.labels >= 0).any():
        return there.take(torch.arange(min(len(there), FIRST)))
    spec = "per_class:1" if spec == "auto" else spec
    count = _per_class(spec)
    if count is not None:
        first = [(there.labels == label).nonzero().flatten()[:count] for label in range(len(there.classes))]
        return there.take(torch.cat(first))
    rows = [spec] if isinstance(spec, int) and not isinstance(spec, bool) else spec
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not all(type(row) is int for row in rows) or not rows:
        raise WrongQuestion(f"faces={spec}: expected row numbers such as [0,299,5], per_class:<n>, or all.")
    place = {row: position for position, row in enumerate(there.rows.tolist())}
    for row in rows:
        if row not in place:
            elsewhere = [name for i, name in enumerate(SPLITS) if row in faces.rows[faces.splits == i].tolist()]
            where = f"it is in split={elsewhere[0]}" if elsewhere else _range(faces)
            raise WrongQuestion(f"faces={row}: split={split} has no such row; {where}.")
    return there.take(torch.tensor([place[row] for row in rows]))


def _per_class(spec: Any) -> int | None:
    if isinstance(spec, dict) and list(spec) == ["per_class"]:
        spec = f"per_class:{spec['per_class']}"
    found = re.fullmatch(r"per_class:\s*(\d+)", spec) if isinstance(spec, str) else None
    return int(found[1]) if found and int(found[1]) > 0 else None


def _range(faces: Faces) -> str:
    return f"the data set's rows are {int(faces.rows.min())} to {int(faces.rows.max())}"


def choose_targets(spec: Any, faces: Faces, classes: Sequence[str], predictions: Tensor) -> tuple[Tensor, Tensor]:
    """Which face is explained for which class: two [M] int64 tensors, positions of faces and classes.

    Raises:
        WrongQuestion: an unknown class, or ``label`` for a face that has none.
    """
    everyone = torch.arange(len(faces))
    if spec == "all":
        return everyone.repeat_interleave(len(classes)), torch.arange(len(classes)).repeat(len(faces))
    if spec == "predicted":
        return everyone, predictions
    if spec == "label":
        return everyone, _labels_as(faces, classes)
    if spec == "auto":
        known = torch.tensor([label >= 0 and faces.classes[label] in classes for label in faces.labels.tolist()])
        chosen = predictions.clone()
        chosen[known] = _labels_as(faces.take(known), classes) if known.any() else chosen[known]
        return everyone, chosen
    return everyone, torch.full((len(faces),), class_index(spec, classes))


def _labels_as(faces: Faces, classes: Sequence[str]) -> Tensor:
    """The faces' labels as numbers of the network's classes, which may stand in another order."""
    unlabelled = faces.labels < 0
    if unlabelled.any():
        row = int(faces.rows[unlabelled][0])
        raise WrongQuestion(f"target=label: face {row} has no label in this data; ask with target=predicted.")
    place = {name: index for index, name in enumerate(classes)}
    named = [faces.classes[label] for label in faces.labels.tolist()]
    foreign = [name for name in named if name not in place]
    if foreign:
        raise WrongQuestion(f"target=label: the network has no class {foreign[0]}; it knows {', '.join(classes)}.")
    return torch.tensor([place[name] for name in named])


def class_index(spec: Any, classes: Sequence[str]) -> int:
    """The number of a class given by name or number."""
    if spec in classes:
        return list(classes).index(spec)
    if str(spec).isdecimal() and int(spec) < len(classes):
        return int(spec)
    raise unknown("target", spec, [*classes, "auto", "label", "predicted", "all", "<layer>/<filter>"])


def filter_target(spec: Any) -> tuple[str, int] | None:
    """Layer name and filter number of a target such as ``conv7/4``; None for other targets."""
    layer, slash, number = str(spec).rpartition("/")
    if not slash:
        return None
    if not number.isdecimal():
        raise WrongQuestion(f"target={spec}: expected <layer>/<filter> with a filter's number, such as conv7/4.")
    return layer, int(number)


def class_target(classes: Tensor | Sequence[int]) -> Target:
    """The target that explains each image's class of this number."""
    return Target(torch.as_tensor(classes, dtype=torch.int64))


def choose_device(spec: str) -> str:
    """The device that ``device=`` means here: ``auto`` is the first GPU, else the CPU."""
    if spec == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(spec)
        torch.empty(0, device=device)
    except Exception as error:
        raise WrongQuestion(f"device={spec}: this machine cannot use it; expected auto or {_devices()}.") from error
    return str(device)


def _devices() -> str:
    return ", ".join(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])


def choose_precision(spec: str, device: str) -> str:
    """``bf16`` or ``fp32``; ``auto`` is bf16 where the processor computes in it."""
    if spec not in PRECISIONS:
        raise unknown("precision", spec, PRECISIONS)
    if spec != "auto":
        return spec
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    fast = device == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return "bf16" if fast else "fp32"


def generator_for(seed: int, use: str) -> Generator:
    """A generator for one use of randomness, so that no use changes what another draws."""
    return Generator().manual_seed(seed_for(seed, use))


def seed_for(seed: int, use: str) -> int:
    """63 bits from SHA-256 over the seed and the name of the use."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{use}".encode()).digest()[:8], "big") >> 1
