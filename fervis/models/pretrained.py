"""Trained networks that come with fervis, each with a model card and the record of its training."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervis.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from fervis.core.network import Network

PRETRAINED_FOLDER = Path(__file__).resolve().parent / "weights"
# The data sets for which a pretrained network is the default.
_PRETRAINED_FOR = {"fer2013": "fer2013", "photos": "fer2013"}


def pretrained_names(model: str) -> list[str]:
    """Return the names of the weights that come with fervis for a model, such as ``fer2013`` for ``vgg8``."""
    names = [path.stem.removeprefix(f"{model}-") for path in PRETRAINED_FOLDER.glob(f"{model}-*.safetensors")]
    return sorted(name for name in names if "-epoch" not in name)


def default_weights(model: str, dataset: str) -> str | None:
    """Return the name of the pretrained weights that are the default for a model and a data set, or None."""
    name = _PRETRAINED_FOR.get(dataset)
    return name if name in pretrained_names(model) else None


def pretrained_file(model: str, name: str, checkpoint: Any = "best") -> Path:
    """Return the file of pretrained weights: the best epoch's, or with ``checkpoint=1`` the first epoch's.

    Raises:
        ConfigError: there are no such weights, or not of that epoch.
    """
    if name not in pretrained_names(model):
        raise unknown_name("model.weights", name, [*pretrained_names(model), "auto", "null (train)"])
    path = (
        PRETRAINED_FOLDER
        / f"{model}-{name}{'' if checkpoint in ('best', 'last') else f'-epoch{checkpoint}'}.safetensors"
    )
    if not path.is_file():
        raise ConfigError(
            f"checkpoint={checkpoint}: the weights that come with fervis are those of the best epoch and of epoch 1; "
            "ask with model.weights=null to train a network of all epochs."
        )
    return path


def pretrained_epochs(model: str, name: str) -> dict[int, Path]:
    """Return the epochs of a training whose weights come with fervis, each with its file."""
    from fervis.models.state_dicts import read_metadata

    files = [pretrained_file(model, name), *PRETRAINED_FOLDER.glob(f"{model}-{name}-epoch*.safetensors")]
    return dict(sorted((int(read_metadata(path)["epoch"]), path) for path in files))


def build_config(path: Path) -> dict[str, Any]:
    """Return what a pretrained network was built from: ``model`` (its settings), ``channels``, ``size``, ``classes``.

    Raises:
        ConfigError: the file does not say it.
    """
    from fervis.models.state_dicts import saved_build

    build = saved_build(path)
    if build is None:
        raise ConfigError(f"{path}: this file does not say what its network was built from.")
    return build


def pretrained_recipe(model: str, name: str) -> dict[str, Any]:
    """Return what pretrained weights were made with, for configs, manifests, reports and trackers.

    Args:
        model: name of the network, such as ``vgg8``.
        name: of its weights, such as ``fer2013``.

    Returns:
        ``model`` (name and settings), ``trainer`` (the settings of the last stage), ``stages`` (for each stage the
        settings of its training and its ``best`` epoch), ``epochs`` (over all stages), ``seed``, ``data`` (the name
        and the hash of the faces) and ``command``; empty where nothing is recorded.
    """
    pretrained_file(model, name)
    path = PRETRAINED_FOLDER / f"{model}-{name}.json"
    return json.loads(path.read_text(encoding="utf-8")).get("recipe", {}) if path.is_file() else {}


def pretrained_refusal(model: str, dataset: str, overrides: Sequence[str]) -> str | None:
    """Return why a run with these overrides trains although weights for its data come with fervis; None if it does not.

    Any setting of the training or of the network requires a new training, even one that states a default, since
    the pretrained network was made with others.

    Args:
        model: name of the network.
        dataset: name of the data set.
        overrides: as typed, such as ``model.width=16``.

    Example:
        >>> print(pretrained_refusal("vgg8", "fer2013", ["dataset=fer2013", "model.width=16"]))
        model.width=16: the pretrained network is not used (it has width 32, trained for 76 epochs); training a new one.
    """
    name = default_weights(model, dataset)
    deciding = [override.lstrip("+~") for override in overrides]
    if name is None or any(override.startswith(("model.checkpoint=", "model.weights=")) for override in deciding):
        return None
    leaving = [override for override in deciding if override.startswith(("trainer", "model."))]
    if not leaving:
        return None
    recipe = pretrained_recipe(model, name)
    width = recipe.get("model", {}).get("width")
    facts = [f"has width {width}"] * (width is not None)
    facts += [f"trained for {recipe['epochs']} epochs"] if recipe else []
    known = f" (it {', '.join(facts)})" if facts else ""
    return f"{', '.join(leaving)}: the pretrained network is not used{known}; training a new one."


def load_model(model: str = "vgg8", weights: str = "fer2013", checkpoint: Any = "best") -> Network:
    """Load a trained network that comes with fervis, in eval mode. It takes [N,C,H,W] pixels in [0, 1].

    Args:
        model: name of the network.
        weights: what it was trained on; the package holds a model card of each.
        checkpoint: ``best``, or 1 for the network after its first epoch.

    Raises:
        ConfigError: there are no such weights.
    """
    from fervis.core.registry import build_plugin
    from fervis.models.state_dicts import load_weights

    path = pretrained_file(model, weights, checkpoint)
    built = build_config(path)
    network = build_plugin("model", built["model"]).build(
        channels=built["channels"], size=built["size"], classes=tuple(built["classes"])
    )
    load_weights(network, path)
    return network.eval()


def package_weights(network: Network, model: Mapping[str, Any], path: Path, facts: Mapping[str, str]) -> None:
    """Write a network as a file to be shipped: convolutions and linear layers in half precision, all else as it is."""
    from fervis.models.state_dicts import describe_build, save_weights

    halved = copy.deepcopy(network)
    for parameter in halved.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.half()
    save_weights(path, halved, {**describe_build(network, model), **facts})
