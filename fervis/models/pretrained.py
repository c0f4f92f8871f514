"""Networks that come with fervis: trained, each described by a card, found by model and name."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervis.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from fervis.core.network import Network

PRETRAINED_FOLDER = Path(__file__).resolve().parent / "weights"
# The data sets that a shipped network is taken for without being asked for.
PRETRAINED_FOR = {"fer2013": "fer2013", "photos": "fer2013"}


def pretrained_names(model: str) -> list[str]:
    """Names of the weights that come with fervis for a model, such as ``fer2013`` for ``vgg8``."""
    found = [path.stem.removeprefix(f"{model}-") for path in PRETRAINED_FOLDER.glob(f"{model}-*.safetensors")]
    return sorted(name for name in found if "-epoch" not in name)


def default_weights(model: str, dataset: str) -> str | None:
    """The name of the shipped weights for a model and a data set, or None."""
    name = PRETRAINED_FOR.get(dataset)
    return name if name in pretrained_names(model) else None


def pretrained_file(model: str, name: str, checkpoint: Any = "best") -> Path:
    """The file of shipped weights: the best epoch's, or with ``checkpoint=1`` those of the same training's first epoch.

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
    """The epochs of a shipped training whose weights come with fervis, each with its file."""
    from fervis.models.state_dicts import read_metadata

    files = [pretrained_file(model, name), *PRETRAINED_FOLDER.glob(f"{model}-{name}-epoch*.safetensors")]
    return dict(sorted((int(read_metadata(path)["epoch"]), path) for path in files))


def build_config(path: Path) -> dict[str, Any]:
    """What a shipped network was built for: ``model`` (its settings), ``channels``, ``size`` and ``classes``."""
    from fervis.models.state_dicts import read_metadata

    return json.loads(read_metadata(path)["frame"])


def load_model(model: str = "vgg8", weights: str = "fer2013", checkpoint: Any = "best") -> Network:
    """A trained network that comes with fervis, in eval mode. It takes [N,C,H,W] pixels in [0, 1].

    Args:
        model: name of the network.
        weights: what it was trained on; each has a model card beside it in the package.
        checkpoint: ``best``, or 1 for the network after its first epoch.

    Raises:
        ConfigError: there are no such weights.
    """
    from fervis.core.registry import build_plugin
    from fervis.models.state_dicts import load_weights

    path = pretrained_file(model, weights, checkpoint)
    told = build_config(path)
    network = build_plugin("model", told["model"]).build(
        channels=told["channels"], size=told["size"], classes=tuple(told["classes"])
    )
    load_weights(network, path)
    return network.eval()


def package_weights(network: Network, model: Mapping[str, Any], path: Path, facts: Mapping[str, str]) -> None:
    """Write a network as a file to be shipped: convolutions and linear layers in half precision, all else as it is."""
    from fervis.models.state_dicts import save_weights

    small = copy.deepcopy(network)
    for parameter in small.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.half()
    told = {"model": dict(model), "channels": network.channels, "size": network.size, "classes": list(network.classes)}
    save_weights(path, small, {"frame": json.dumps(told), **facts})
