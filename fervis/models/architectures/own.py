"""own: a network of the user's own, from a Python file or an installed package."""

from __future__ import annotations

import importlib.util
import sys
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from fervis.core.network import Network
from fervis.errors import ConfigError, nearest_name


def load_file(path: Path) -> ModuleType:
    """Run a Python file as a module; it can import its neighbours."""
    name = f"fervis_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"model.path={path}: a Python file (.py) was expected there.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


@dataclass
class Own:
    """The knobs of ``own``: where the network comes from and what pixels it is used to.

    ``attribute`` names a class or a function that gives an ``nn.Module`` when called with ``arguments``, or a module.
    """

    attribute: str = "build"
    path: str | None = None
    module: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    channels: int | None = None
    size: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"model.channels={self.channels}: 1 (grey), 3 (RGB) or null was expected.")
        if self.size is not None and self.size < 1:
            raise ConfigError(f"model.size={self.size}: a number of pixels, or null for the faces' own, was expected.")
        if self.std is not None and min(self.std, default=0) <= 0:
            raise ConfigError(f"model.std={self.std}: numbers above 0 were expected.")

    def build(self, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
        """Build it and run it once on black faces to see that it gives one logit a class."""
        channels, size = self.channels or channels, self.size or size
        mean = self._per_channel("mean", self.mean or [0.5], channels)
        std = self._per_channel("std", self.std or [0.25], channels)
        body = self._body()
        network = Network(body, classes=classes, channels=channels, size=size, mean=mean, std=std)
        try:
            with torch.no_grad():
                logits = network.eval()(torch.zeros(1, channels, size, size))
        except (RuntimeError, ValueError, TypeError) as error:
            raise ConfigError(
                f"model.attribute={self.attribute}: the network cannot work with {channels} channels at {size} pixels "
                f"({str(error).strip().partition(chr(10))[0]}); set model.channels and model.size."
            ) from error
        finally:
            network.train()
        shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if shape != [1, len(classes)]:
            outputs = f"{shape[1]} outputs" if isinstance(shape, list) and len(shape) == 2 else f"an output of {shape}"
            raise ConfigError(
                f"model.attribute={self.attribute}: the network gives {outputs} for a face, and the data has "
                f"{len(classes)} classes ({', '.join(classes)})."
            )
        return network

    def files(self) -> list[Path]:
        """The Python file, or that of the package, and the checkpoint, where one is given."""
        origin = self.path
        if self.module:
            try:
                spec = importlib.util.find_spec(self.module)
            except ModuleNotFoundError as error:
                raise self._not_installed(error) from error
            origin = spec and spec.origin
        return [Path(file) for file in (origin, self.checkpoint) if file]

    def _not_installed(self, error: ModuleNotFoundError) -> Exception:
        """Our sentence for a module that is not there; the error itself where that module lacks another."""
        if error.name is None or not f"{self.module}.".startswith(f"{error.name}."):
            return error
        return ConfigError(f"model.module={self.module}: there is no module {error.name} installed.")

    def _per_channel(self, key: str, values: list[float], channels: int) -> tuple[float, ...]:
        if len(values) not in (1, channels):
            raise ConfigError(
                f"model.{key}={values}: one number, or one for each of {channels} channels, was expected."
            )
        return tuple(values) * (channels if len(values) == 1 else 1)

    def _body(self) -> nn.Module:
        if (self.path is None) == (self.module is None):
            raise ConfigError(
                f"model.path={self.path} and model.module={self.module}: one of a Python file and an installed module "
                "was expected."
            )
        try:
            source = load_file(Path(self.path)) if self.path else importlib.import_module(str(self.module))
        except ModuleNotFoundError as error:
            raise self._not_installed(error) from error
        if not hasattr(source, self.attribute):
            names = [name for name in vars(source) if not name.startswith("_")]
            hint = nearest_name(self.attribute, names)
            raise ConfigError(f"model.attribute={self.attribute}: {source.__name__} has no such name.{hint}")
        made = getattr(source, self.attribute)
        if isinstance(made, nn.Module) and not self.arguments:
            made = deepcopy(made)  # so that training it does not change the next one
        elif callable(made) and not isinstance(made, nn.Module):
            try:
                made = made(**self.arguments)
            except TypeError as error:
                raise ConfigError(
                    f"model.arguments={self.arguments}: {self.attribute} refused them ({error})."
                ) from error
        if not isinstance(made, nn.Module):
            raise ConfigError(
                f"model.attribute={self.attribute}: a torch.nn.Module was expected, not {type(made).__name__}."
            )
        return made
