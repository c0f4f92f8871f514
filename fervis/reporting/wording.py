"""A run in words, from its settings: one sentence that a reader understands without the config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_TARGET_PHRASES = {
    "auto": "the label of each face",
    "label": "the label of each face",
    "predicted": "the class predicted for each face",
    "all": "every class",
}


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted keys, in their order; lists stay whole.

    Example:
        >>> flatten_config({"model": {"name": "vgg8", "width": 16}, "faces": [0, 5]})
        {'model.name': 'vgg8', 'model.width': 16, 'faces': [0, 5]}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        nested = isinstance(value, Mapping) and value
        flat |= flatten_config(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def format_setting(value: object) -> str:
    """Format a setting as a reader would write it: ``conv1, conv7`` for a list, ``none`` for None.

    Example:
        >>> format_setting(["conv1", 7]), format_setting(True)
        ('conv1, 7', 'true')
    """
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(format_setting(item) for item in value)
    return str(value)


def join_names(names: Sequence[str], *, word: str = "and", most: int = 12) -> str:
    """Join names: ``conv1, conv3 and conv7``; of more than ``most`` the first two, the last and their number.

    Example:
        >>> join_names(["a", "b", "c", "d"], word="or", most=3)
        'a, b, … or d (4 in all)'
    """
    if len(names) > most:
        return f"{names[0]}, {names[1]}, … {word} {names[-1]} ({len(names)} in all)"
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def describe_run(settings: Mapping[str, Any], *, of_faces: bool = True) -> str:
    """Describe a run in one sentence; an empty one if the settings have no method, network or data.

    Args:
        settings: as ``flatten_config`` returns them. A tuple holds the values of several runs, one for each.
        of_faces: whether the result is of single faces, which have targets; a confusion matrix has none.
    """
    if any(not settings.get(f"{kind}.name") for kind in ("explainer", "model", "dataset")):
        return ""
    if settings.get("parts"):
        dataset = format_setting(settings["dataset.name"])
        return f"{len(settings['parts'])} questions about {_network_phrase(settings)} on {dataset}."
    words = ["What", _each_phrase(settings["explainer.name"])]
    layer = settings.get("layer")
    if layer == "input":
        words.append("at the pixels")
    elif layer is not None:
        words.append(f"at {_each_phrase(layer)}")
    words.append(f"says about {_network_phrase(settings)},")
    count = settings.get("faces.per_class")
    faces = settings.get("faces", "auto" if count is None else f"per_class:{count}")
    target = settings.get("target", "auto")
    if settings["dataset.name"] == "photos":  # found faces have no labels, classes or splits
        explained = _target_phrase("predicted" if target == "auto" else target)
        words.append(f"for {explained}, on" if of_faces else "on")
        words.append(f"the faces found in {Path(str(settings.get('dataset.path', ''))).name}")
    else:
        named = of_faces or target != "auto"
        words.append(f"for {_target_phrase(target)}{_contrast_phrase(settings)}, on" if named else "on")
        words += [f"{_faces_phrase(faces)} of"] if of_faces else []
        dataset = _each_phrase(settings["dataset.name"])
        words.append(f"the {_each_phrase(settings.get('split', 'test'))} split of {dataset}")
    sentence = " ".join(words).replace("the all split", "all splits")
    return f"{sentence}; seed {_each_phrase(settings.get('seed', 0))}."


def _each_phrase(value: Any) -> str:
    """Format one value; several of one run joined by "and", those of several runs by "or"."""
    if isinstance(value, tuple):
        return join_names([format_setting(item) for item in value], word="or", most=8)
    return join_names([format_setting(item) for item in value]) if isinstance(value, list) else format_setting(value)


def _network_phrase(settings: Mapping[str, Any]) -> str:
    model = _each_phrase(settings["model.name"])
    checkpoint = settings.get("checkpoint", "best")
    if file := settings.get("model.checkpoint"):
        return f"{model} with the weights of {_files_phrase(file)}"
    weights = settings.get("model.weights")
    epochs = settings.get("trainer.epochs")
    if isinstance(weights, str) and weights != "auto":
        model += f" with the weights that fervis ships for {weights}"
    elif weights is None and epochs is not None:
        model += f" trained for {_each_phrase(epochs)} epoch{'' if epochs == 1 else 's'}"
    return model if checkpoint == "best" else f"{model} ({_checkpoint_phrase(checkpoint)})"


def _checkpoint_phrase(checkpoint: Any) -> str:
    plural = isinstance(checkpoint, list | tuple)
    return f"checkpoint{'s' if plural else ''} {_files_phrase(checkpoint)}"


def _files_phrase(value: Any) -> str:
    """Return file names without their folders, which differ between machines."""
    if isinstance(value, list | tuple):
        return _each_phrase(type(value)(_files_phrase(item) for item in value))
    return Path(value).name if isinstance(value, str) else format_setting(value)


def _target_phrase(target: Any) -> str:
    if isinstance(target, tuple):
        return _each_phrase(tuple(_target_phrase(item) for item in target))
    if isinstance(target, str) and target in _TARGET_PHRASES:
        return _TARGET_PHRASES[target]
    if isinstance(target, str) and "/" in target:
        layer, _, number = target.rpartition("/")
        return f"filter {number} of {layer}"
    return f"the class {format_setting(target)}"


def _contrast_phrase(settings: Mapping[str, Any]) -> str:
    against = settings.get("explainer.against")
    return "" if against in (None, "auto", "similar") else f" against {_each_phrase(against)}"


def _faces_phrase(faces: Any) -> str:
    if isinstance(faces, tuple):
        return _each_phrase(tuple(_faces_phrase(item) for item in faces))
    if faces == "auto":
        return "one face of each class"
    if faces == "all":
        return "all faces"
    if isinstance(faces, str) and faces.startswith("per_class:"):
        count = faces.partition(":")[2].strip()
        return f"{'one face' if count == '1' else f'{count} faces'} of each class"
    if isinstance(faces, int):
        return f"face {faces}"
    if isinstance(faces, list):
        return f"the faces {join_names([format_setting(item) for item in faces], most=10)}"
    return f"the faces {format_setting(faces)}"
