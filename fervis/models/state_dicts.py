"""Weights in files: written as safetensors, read from safetensors or torch state dicts, whole or not at all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fervis.core.network import Network
from fervis.errors import ConfigError
from fervis.system.files import atomic_path

METADATA = "fervis"
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every key


def save_weights(path: Path | str, network: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write all parameters and buffers as safetensors, whole or not at all; the same weights give the same bytes.

    Safetensors writes several metadata in no fixed order, so they are kept as one, a JSON object with sorted keys.
    """
    # Clones, since safetensors refuses tensors that share memory; loading gives each its own name again.
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    data = save(tensors, metadata={METADATA: json.dumps(dict(metadata), sort_keys=True)})
    with atomic_path(Path(path)) as partial:
        partial.write_bytes(data)


def read_metadata(path: Path | str) -> dict[str, str]:
    """What ``save_weights`` was given as metadata; of a foreign safetensors file its own metadata, of others none."""
    path = _existing_file(path)
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise _damaged_file(path, error) from error
    return json.loads(metadata[METADATA]) if METADATA in metadata else dict(metadata)


def load_weights(network: nn.Module, path: Path | str) -> None:
    """Copy the weights of a file into a network, all of them or, where anything does not fit, none.

    The file may hold the whole ``Network`` or its body alone, may wrap the weights as ``{"state_dict": ...}`` or
    ``{"model": ...}``, and may have ``module.`` before each key.

    Raises:
        ConfigError: there is no such file, it does not hold only tensors, or they are not those of the network.
    """
    path = _existing_file(path)
    state, target = _strip_prefixes(network, _read_tensors(path))
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
    target.load_state_dict(state)


def load_partial(network: Network, path: Path | str) -> None:
    """Copy the weights of a file into a network that is to be trained further, for other classes or channels.

    All weights must fit, but for two: those of the last layer stay as they are where the file's are for other classes,
    and a first convolution of colour pictures becomes one of grey ones by the sum over its channels.

    Raises:
        ConfigError: as ``load_weights``.
    """
    path = _existing_file(path)
    state, target = _strip_prefixes(network, _read_tensors(path))
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


def _strip_prefixes(network: nn.Module, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], nn.Module]:
    """The weights without what wrappers put before their keys, and the module they are of: the network or its body."""
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    targets = [network, network.body] if isinstance(network, Network) else [network]
    return state, max(targets, key=lambda module: len(state.keys() & module.state_dict().keys()))


def _existing_file(path: Path | str) -> Path:
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"checkpoint={path}: there is no such file.")
    if path.suffix not in WEIGHT_SUFFIXES:
        raise ConfigError(f"checkpoint={path}: a file of weights was expected, ending in {', '.join(WEIGHT_SUFFIXES)}.")
    return path


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The file's tensors by key."""
    if path.suffix == ".safetensors":
        try:
            state: Any = load_file(path)
        except SafetensorError as error:
            raise _damaged_file(path, error) from error
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ConfigError(
                f"checkpoint={path}: it holds Python objects, which could run code when read; save the network's "
                "state_dict() instead."
            ) from error
        except (RuntimeError, EOFError, BadZipFile, OSError, ValueError, KeyError) as error:
            raise _damaged_file(path, error) from error
    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
            break
    if not isinstance(state, dict):
        raise ConfigError(f"checkpoint={path}: a state dict was expected, not a {type(state).__name__}.")
    wrong = next((key for key, value in state.items() if not isinstance(value, Tensor)), None)
    if wrong is not None:
        raise ConfigError(f"checkpoint={path}: {wrong} is a {type(state[wrong]).__name__}, and a tensor was expected.")
    if not state:
        raise ConfigError(f"checkpoint={path}: there are no weights in it.")
    return dict(state)


def _damaged_file(path: Path, error: Exception) -> ConfigError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return ConfigError(f"checkpoint={path}: it is not a whole file of weights ({reason}).")


def _describe_misfit(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"checkpoint={path}: {what}; build the network as the one these weights were trained in (model, width, "
        "channels, size, classes)."
    )
