"""Weights in files: written as safetensors, read from safetensors or torch state dicts, whole or not at all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fervis.core.network import Network, pixel_statistics
from fervis.errors import ConfigError
from fervis.system.console import log
from fervis.system.files import atomic_path

METADATA = "fervis"
BUILD = "frame"
"""Key of the metadata under which a file stores what its network was built from."""
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_WRAPPERS = ("state_dict", "model_state_dict", "model")
# What DataParallel, torch.compile and the usual Lightning modules put before every key.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")


def save_weights(path: Path | str, network: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write all parameters and buffers as safetensors, whole or not at all; the same weights give the same bytes.

    What the network was built from is written with them, so that the file alone gives the network back. Safetensors
    writes several metadata in no fixed order, so they are one JSON object with sorted keys.
    """
    # Clones, since safetensors refuses tensors that share memory; loading gives each its own name again.
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    metadata = {**describe_build(network), **metadata}
    data = save(tensors, metadata={METADATA: json.dumps(metadata, sort_keys=True)})
    with atomic_path(Path(path)) as partial:
        partial.write_bytes(data)


def describe_build(network: nn.Module, settings: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the metadata that say what a network was built from; none where its plug-in did not say.

    Args:
        network: any.
        settings: of the model plug-in, in place of those that the network states.
    """
    settings = settings or getattr(network, "settings", None)
    if not isinstance(network, Network) or not settings:
        return {}
    frame = {"channels": network.channels, "size": network.size, "classes": list(network.classes)}
    return {BUILD: json.dumps({"model": dict(settings), **frame}, sort_keys=True)}


def saved_build(path: Path | str) -> dict[str, Any] | None:
    """Return what the network in a file was built from; None for a file that fervis did not write.

    Returns:
        ``model`` (the name and the knobs of the plug-in), ``channels``, ``size`` and ``classes``.

    Raises:
        ConfigError: there is no such file, or it is damaged.
    """
    path = weights_file(path)
    text = read_metadata(path).get(BUILD)
    if text is None:
        return None
    try:
        build = json.loads(text)
        whole = {"model", "channels", "size", "classes"} <= build.keys() and isinstance(build["model"], dict)
    except (ValueError, AttributeError, RecursionError) as error:
        raise _damaged_file(path, error) from error
    if not whole:
        raise _damaged_file(path, ValueError("its description of the network is not whole"))
    return build


def weights_file(path: Path | str) -> Path:
    """Return the file of weights that a path means: the file itself, or of a training's folder that of its best epoch.

    Raises:
        ConfigError: the folder holds no finished training.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return path
    try:
        best = int(json.loads((path / "training.json").read_text(encoding="utf-8"))["best"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"checkpoint={path}: this folder holds no finished training (its training.json names the best epoch)."
        ) from error
    return path / f"epoch_{best:03d}.safetensors"


def read_metadata(path: Path | str) -> dict[str, str]:
    """Return what ``save_weights`` was given as metadata; of a foreign safetensors file its own, of others none."""
    path = existing_weights(path)
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        metadata = json.loads(metadata[METADATA]) if METADATA in metadata else metadata
        return {str(key): str(value) for key, value in metadata.items()}
    except Exception as error:  # a damaged header can fail in any way
        raise _damaged_file(path, error) from error


def load_weights(network: nn.Module, path: Path | str) -> None:
    """Copy the weights of a file into a network, all of them or, where anything does not fit, none.

    The file may hold the whole ``Network`` or its body alone, may wrap the weights as ``{"state_dict": ...}`` or
    ``{"model": ...}``, and may have ``module.`` or ``model.`` before each key. A file of the body alone does not state
    the normalisation: a network whose pixels nobody stated gets them in [0, 1] then.

    Raises:
        ConfigError: there is no such file, it does not hold only tensors, or they are not those of the network.
    """
    path = existing_weights(path)
    state, target = _match_keys(network, _read_tensors(path))
    expected = target.state_dict()
    for key, value in expected.items():
        if key not in state:
            raise _describe_misfit(path, f"{key} of shape {list(value.shape)} is in the network and not in the file")
        if state[key].shape != value.shape:
            raise _describe_misfit(
                path, f"{key} has shape {list(state[key].shape)} in the file and {list(value.shape)} in the network"
            )
    for key, value in state.items():
        if key not in expected:
            raise _describe_misfit(path, f"{key} of shape {list(value.shape)} is in the file and not in the network")
    stated = network.pixels if isinstance(network, Network) and network.pixels_stated else None
    target.load_state_dict(state)
    if isinstance(network, Network):
        _state_pixels(network, path, stated, whole=target is network)


def _state_pixels(network: Network, path: Path, stated: str | None, *, whole: bool) -> None:
    """Log which pixels the network gets if the config does not state it, or if the file states something else."""
    if whole and stated not in (None, network.pixels):
        log.warning("%s: the network gets %s, as the file states, and not %s", path.name, network.pixels, stated)
    elif not whole and stated is None:
        mean, std = pixel_statistics("unit", network.channels)
        network.mean.copy_(network.mean.new_tensor(mean).view_as(network.mean))
        network.std.copy_(network.std.new_tensor(std).view_as(network.std))
        log.info("%s: the network gets %s (model.pixels= changes it)", path.name, network.pixels)


def load_partial(network: Network, path: Path | str) -> None:
    """Copy the weights of a file into a network that is to be trained further, for other classes or channels.

    All weights must fit, but for two: those of the last layer stay as they are where the file's are for other classes,
    and a first convolution of colour images becomes one of grey ones by the sum over its channels.

    Raises:
        ConfigError: as ``load_weights``.
    """
    path = existing_weights(path)
    state, target = _match_keys(network, _read_tensors(path))
    expected = target.state_dict()
    last = list(expected)[-1].rpartition(".")[0]
    for key, value in expected.items():
        given = state.get(key)
        if given is None or given.shape == value.shape:
            continue
        elif key.startswith(f"{last}.") and given.shape[1:] == value.shape[1:]:
            state[key] = value
        elif given.ndim == 4 and given.sum(1, keepdim=True).shape == value.shape:
            state[key] = given.sum(1, keepdim=True)
    for key, value in expected.items():
        if key not in state or state[key].shape != value.shape:
            shape = list(state[key].shape) if key in state else "nothing"
            raise _describe_misfit(
                path, f"{key} of shape {list(value.shape)} is in the network and {shape} in the file"
            )
    target.load_state_dict({key: state[key] for key in expected})


def _match_keys(network: nn.Module, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], nn.Module]:
    """Return the weights without what wrappers put before their keys, and the module they fit: network or body.

    Of all ways to remove prefixes, the one that matches most of the module's keys is taken; if none matches any, the
    body, so that an error names the user's own layers and not fervis's normalisation.
    """
    targets = [network.body, network] if isinstance(network, Network) else [network]
    ways = [(stripped, target) for stripped in _without_prefixes(state) for target in targets]
    return max(ways, key=lambda way: len(way[0].keys() & way[1].state_dict().keys()))


def _without_prefixes(state: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the weights, and again each time that a known prefix of all keys is taken off."""
    yield state
    for prefix in _PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            yield from _without_prefixes({key.removeprefix(prefix): value for key, value in state.items()})
            return


def existing_weights(path: Path | str) -> Path:
    """Return the file of weights that a path means, as ``weights_file`` does, and check that it is there.

    Raises:
        ConfigError: there is no such file, or its name does not end as files of weights do.
    """
    path = weights_file(path)
    if not path.is_file():
        raise ConfigError(f"checkpoint={path}: there is no such file.")
    if path.suffix not in WEIGHT_SUFFIXES:
        raise ConfigError(f"checkpoint={path}: expected a file of weights, ending in {', '.join(WEIGHT_SUFFIXES)}.")
    return path


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the file's tensors by key."""
    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else _unpickled_tensors(path)
    except ConfigError:
        raise
    except Exception as error:  # a damaged file can fail in any way: IndexError, struct.error, RuntimeError, ...
        raise _damaged_file(path, error) from error
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
            break
    if not isinstance(state, dict):
        raise ConfigError(f"checkpoint={path}: expected a state dict, not a {type(state).__name__}.")
    for key, value in state.items():
        if not isinstance(key, str):
            raise ConfigError(f"checkpoint={path}: the key {key} is a {type(key).__name__}, expected a name.")
        if not isinstance(value, Tensor):
            raise ConfigError(f"checkpoint={path}: {key} is a {type(value).__name__}, expected a tensor.")
    if not state:
        raise ConfigError(f"checkpoint={path}: there are no weights in it.")
    return dict(state)


def _unpickled_tensors(path: Path) -> Any:
    """Return what a torch file holds, which can be tensors and plain containers alone."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"checkpoint={path}: it holds Python objects, which could run code when read; save the network's "
            "state_dict() instead."
        ) from error


def _damaged_file(path: Path, error: Exception) -> ConfigError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return ConfigError(f"checkpoint={path}: it is not a whole file of weights ({reason}).")


def _describe_misfit(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"checkpoint={path}: {what}; build the network as the one these weights were trained in (model, width, "
        "channels, size, classes)."
    )
