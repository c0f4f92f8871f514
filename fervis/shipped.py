"""Networks that come with fervis: trained, each described by a card, found by model and name."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervis.errors import WrongQuestion, unknown

if TYPE_CHECKING:
    from fervis.network import Network

FOLDER = Path(__file__).resolve().parent / "weights"
# The data sets that a shipped network is taken for without being asked for.
FITS = {"fer2013": "fer2013", "photos": "fer2013"}


def shipped_names(model: str) -> list[str]:
    """Names of the weights that come with fervis for a model, such as ``fer2013`` for ``vgg8``."""
    found = [path.stem.removeprefix(f"{model}-") for path in FOLDER.glob(f"{model}-*.safetensors")]
    return sorted(name for name in found if "-epoch" not in name)


def fitting(model: str, dataset: str) -> str | None:
    """The name of the shipped weights for a model and a data set, or None."""
    name = FITS.get(dataset)
    return name if name in shipped_names(model) else None


def shipped_file(model: str, name: str, checkpoint: Any = "best") -> Path:
    """The file of shipped weights: the best epoch's, or with ``checkpoint=1`` those of the same training's first epoch.

    Raises:
        WrongQuestion: there are no such weights, or not of that epoch.
    """
    if name not in shipped_names(model):
        raise unknown("model.weights", name, [*shipped_names(model), "auto", "null (train)"])
    path = FOLDER / f"{model}-{name}{'' if checkpoint in ('best', 'last') else f'-epoch{checkpoint}'}.safetensors"
    if not path.is_file():
        raise WrongQuestion(
            f"checkpoint={checkpoint}: the weights that come with fervis are those of the best epoch and of epoch 1; "
            "ask with model.weights=null to train a network of all epochs."
        )
    return path


def shipped_epochs(model: str, name: str) -> dict[int, Path]:
    """The epochs of a shipped training whose weights come with fervis, each with its file."""
    from fervis.engines.weights import read_metadata

    files = [shipped_file(model, name), *FOLDER.glob(f"{model}-{name}-epoch*.safetensors")]
    return dict(sorted((int(read_metadata(path)["epoch"]), path) for path in files))


def frame(path: Path) -> dict[str, Any]:
    """What a shipped network was built for: ``model`` (its settings), ``channels``, ``size`` and ``classes``."""
    from fervis.engines.weights import read_metadata

    return json.loads(read_metadata(path)["frame"])


def load_model(model: str = "vgg8", weights: str = "fer2013", checkpoint: Any = "best") -> Network:
    """A trained network that comes with fervis, in eval mode. It takes [N,C,H,W] pixels in [0, 1].

    Args:
        model: name of the network.
        weights: what it was trained on; each has a model card beside it in the package.
        checkpoint: ``best``, or 1 for the network after its first epoch.

    Raises:
        WrongQuestion: there are no such weights.
    """
    from fervis.engines.weights import load_weights
    from fervis.registry import build

    path = shipped_file(model, weights, checkpoint)
    told = frame(path)
    network = build("model", told["model"]).build(
        channels=told["channels"], size=told["size"], classes=tuple(told["classes"])
    )
    load_weights(network, path)
    return network.eval()


def ship(network: Network, model: Mapping[str, Any], path: Path, facts: Mapping[str, str]) -> None:
    """Write a network as a file to be shipped: convolutions and linear layers in half precision, all else as it is."""
    from fervis.engines.weights import save_weights

    small = copy.deepcopy(network)
    for parameter in small.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.half()
    told = {"model": dict(model), "channels": network.channels, "size": network.size, "classes": list(network.classes)}
    save_weights(path, small, {"frame": json.dumps(told), **facts})
