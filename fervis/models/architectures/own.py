"""own: a network of the user's own, from a Python file or an installed package."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import torch
from torch import nn

from fervis.core.knobs import Above, Choice, Number, Text, Whole
from fervis.core.network import PIXEL_RANGES, Network, pixel_statistics
from fervis.errors import ConfigError, nearest_name
from fervis.models.architectures.base import network_settings
from fervis.models.local_imports import importing_from, load_file, local_files, module_files, user_code
from fervis.models.serving import refuse_company, refuse_script_modules, unwrapped
from fervis.models.state_dicts import weights_file
from fervis.system.console import log


@dataclass
class Own:
    """The knobs of ``own``: where the network comes from and what pixels it takes.

    Attributes:
        attribute: a class or a function that returns an ``nn.Module`` when called with ``arguments``, or a module.
        path: the Python file that has it, or
        module: the installed module that has it.
        arguments: keyword arguments.
        channels: 1 (grey) or 3 (RGB); None for the images' own.
        size: in pixels; None for the images' own.
        pixels: the range of the pixels that the network takes.
        mean: of pixels in [0, 1], one number or one per channel; it wins over ``pixels``.
        std: likewise.
        output: key, field or position of the logits where the network returns several tensors; None where only one of
            them could be.
        checkpoint: a file of weights, or the folder of a training.
    """

    attribute: str = "build"
    path: str | None = None
    module: str | None = None
    arguments: dict[str, Any] | None = None
    channels: Annotated[int | None, Choice(1, 3)] = None
    size: Annotated[int | None, Whole(1)] = None
    pixels: Annotated[str, Choice(*PIXEL_RANGES)] = "unit"
    mean: list[float] | None = None
    std: list[float] | None = None
    output: Annotated[Any, Text("a name") | Whole(0) | Choice(None)] = None
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        for key, allowed, what in (("mean", Number(), "numbers"), ("std", Above(0), "numbers above 0")):
            values = getattr(self, key)
            if values is not None and not (values and all(map(allowed.allows, values))):
                raise ConfigError(f"model.{key}={values}: expected a list of {what}.")
        self._pixels_logged = False

    def build(self, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
        """Build the network and run it once on black images, to check that it gives one logit per class.

        Raises:
            ConfigError: there is no such network, its code fails, or it does not fit the data.
        """
        channels, size = self.channels or channels, self.size or size
        mean, std = pixel_statistics(self.pixels, channels)
        network = Network(
            self._body(),
            classes=classes,
            channels=channels,
            size=size,
            mean=mean if self.mean is None and self.std is None else self._per_channel("mean", self.mean, 0, channels),
            std=std if self.mean is None and self.std is None else self._per_channel("std", self.std, 1, channels),
            standardize=self.pixels == "standardized" and self.mean is None and self.std is None,
            settings=network_settings("own", self),
            output=self.output,
        )
        self._check(network)
        self._state_pixels(network)
        return network

    def files(self) -> list[Path]:
        """Return the files that determine the network, and the file of weights where one is given.

        They are its Python file with the local modules that it imports, or the files of its package.
        """
        source: list[Path] = []
        if self.path:
            source = local_files(Path(self.path))
        elif self.module:
            try:
                source = module_files(self.module)
            except ModuleNotFoundError as error:
                raise self._not_installed(error) from error
        return [*source, *([weights_file(self.checkpoint)] if self.checkpoint else [])]

    def _not_installed(self, error: ModuleNotFoundError) -> Exception:
        """Return a ConfigError for a module that does not exist; the error itself if one of its own imports fails."""
        if error.name is None or not f"{self.module}.".startswith(f"{error.name}."):
            return error
        return ConfigError(f"model.module={self.module}: there is no module {error.name} installed.")

    def _per_channel(self, key: str, values: list[float] | None, neutral: float, channels: int) -> tuple[float, ...]:
        values = [neutral] if values is None else values
        if len(values) not in (1, channels):
            raise ConfigError(f"model.{key}={values}: expected one number, or one for each of {channels} channels.")
        return tuple(values) * (channels if len(values) == 1 else 1)

    def _state_pixels(self, network: Network) -> None:
        """Log what the network gets, once for each plug-in: nothing about pixels is guessed in silence."""
        if not self._pixels_logged:
            knob = f"model.pixels={self.pixels}" if self.mean is None and self.std is None else "model.mean, model.std"
            log.info("the network gets %s (%s)", network.pixels, knob)
            self._pixels_logged = True

    def _check(self, network: Network) -> None:
        """Raise ConfigError unless the network gives one logit per class for an image of its size."""
        channels, size = network.channels, network.size
        try:
            with torch.no_grad(), self._user_code():
                logits = network.eval()(torch.zeros(1, channels, size, size))
        except ConfigError as error:
            if str(error).startswith(("output=", "model: its output")):
                raise ConfigError(str(error).replace("output=", "model.output=")) from error
            raise ConfigError(
                f"model.attribute={self.attribute}: the network cannot work with {channels} channels at {size} pixels "
                f"({str(error).partition(': ')[2].rstrip('.')}); set model.channels and model.size."
            ) from error
        finally:
            network.train()
        shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if shape != [1, len(network.classes)]:
            outputs = f"{shape[1]} outputs" if isinstance(shape, list) and len(shape) == 2 else f"an output of {shape}"
            raise ConfigError(
                f"model.attribute={self.attribute}: the network gives {outputs} for an image, and the data has "
                f"{len(network.classes)} classes ({', '.join(network.classes)})."
            )
        noise = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))
        with self._user_code():
            refuse_company(network, noise)

    @contextmanager
    def _user_code(self) -> Iterator[None]:
        """Run the user's code with its folder importable; an error in it becomes one sentence with file and line."""
        files = local_files(Path(self.path)) if self.path else module_files(str(self.module))
        with (
            importing_from(Path(self.path)) if self.path else contextlib.nullcontext(),
            user_code(f"model.attribute={self.attribute}", files),
        ):
            yield

    def _source(self) -> ModuleType:
        if (self.path is None) == (self.module is None):
            raise ConfigError(
                f"model.path={self.path} and model.module={self.module}: expected one of a Python file and an "
                "installed module."
            )
        if self.path:
            return load_file(Path(self.path))
        try:
            files = module_files(str(self.module))
        except ModuleNotFoundError as error:
            raise self._not_installed(error) from error
        with user_code(f"model.module={self.module}", files):
            return importlib.import_module(str(self.module))

    def _body(self) -> nn.Module:
        source = self._source()
        if not hasattr(source, self.attribute):
            names = [name for name in vars(source) if not name.startswith("_")]
            where = Path(self.path).name if self.path else self.module
            hint = nearest_name(self.attribute, names)
            raise ConfigError(f"model.attribute={self.attribute}: {where} has no such name.{hint}")
        made = getattr(source, self.attribute)
        if isinstance(made, nn.Module) and not self.arguments:
            made = deepcopy(made)  # so that training it does not change the next one
        elif callable(made) and not isinstance(made, nn.Module):
            arguments = self.arguments or {}
            with self._user_code():
                try:
                    made = made(**arguments)
                except TypeError as error:
                    if error.__traceback__ and error.__traceback__.tb_next:  # raised inside, not by the call
                        raise
                    raise ConfigError(
                        f"model.arguments={arguments}: {self.attribute} refused them ({error})."
                    ) from error
        if not isinstance(made, nn.Module):
            raise ConfigError(
                f"model.attribute={self.attribute}: expected a torch.nn.Module, not {type(made).__name__}."
            )
        made = unwrapped(made)
        refuse_script_modules(made)
        return made
