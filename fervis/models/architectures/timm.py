"""timm: any network of the timm package by its name, for one or three channels and any size it can work at."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import torch
from torch import nn

from fervis.core.knobs import Choice, Whole
from fervis.core.network import PIXEL_RANGES, Network, per_channel, pixel_statistics
from fervis.errors import ConfigError, nearest_name
from fervis.models.architectures.base import network_settings
from fervis.models.state_dicts import weights_file
from fervis.system.console import log

# The two operators of torchvision's compiled part without which its Python part does not import.
_OPERATORS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def import_timm() -> ModuleType:
    """Import timm, also where torchvision's compiled part does not fit a CPU build of torch.

    timm needs of torchvision only what is written in Python, so the missing operators are declared, not defined.
    Whether they are missing is known only after torchvision has tried to load them.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name, schema in _OPERATORS.items():
            torch.library.define(name, schema)
    import timm

    return timm


def _size_problem(body: nn.Module, channels: int, size: int) -> str | None:
    """Return what is wrong with images of this size, or None if the network takes them and sees all of each."""
    patch = getattr(getattr(body, "patch_embed", None), "patch_size", None)
    if patch and any(size % side for side in ([patch] if isinstance(patch, int) else patch)):
        return f"it is no multiple of its patches' {patch} pixels, so the images' edges would be left out"
    try:
        with torch.no_grad():
            body.eval()(torch.zeros(1, channels, size, size))
    except Exception as error:  # each network has its own way to refuse a size
        return str(error).strip().partition("\n")[0] or type(error).__name__
    finally:
        body.train()
    return None


@dataclass
class Timm:
    """The knobs of ``timm``. Nothing is downloaded.

    Attributes:
        architecture: the network's name.
        arguments: what timm's builder of the network takes besides channels and classes, such as ``patch_size``,
            ``depth`` and ``embed_dim`` of a vision transformer.
        size: in pixels; None for the images' own, or where the network cannot work at that, its default.
        pixels: what the network takes; None for the normalisation of its pretrained configuration.
        checkpoint: a file of weights, or the folder of a training.
    """

    architecture: str = "resnet18"
    arguments: dict[str, Any] | None = None
    size: Annotated[int | None, Whole(1)] = None
    pixels: Annotated[str | None, Choice(*PIXEL_RANGES)] = None
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        if taken := sorted({"in_chans", "num_classes", "pretrained", "img_size"} & set(self.arguments or {})):
            raise ConfigError(
                f"model.arguments={taken[0]}: the data and model.size decide that; expected other arguments."
            )
        self._pixels_logged = False

    def build(self, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
        """Build the network; the normalisation of its pretrained configuration is averaged over RGB for grey images.

        Raises:
            ConfigError: timm has no such network, or it cannot work at the size.
        """
        timm = import_timm()
        if not timm.is_model(self.architecture):
            hint = nearest_name(self.architecture, timm.list_models())
            raise ConfigError(f"model.architecture={self.architecture}: timm has no such network.{hint}")
        config = timm.get_pretrained_cfg(self.architecture)
        body, pixels = self._body(timm, config, channels, size, len(classes))
        mean, std = (per_channel(values, channels) for values in (config.mean, config.std))
        if self.pixels:
            mean, std = pixel_statistics(self.pixels, channels)
        network = Network(
            body,
            classes=classes,
            channels=channels,
            size=pixels,
            mean=mean,
            std=std,
            standardize=self.pixels == "standardized",
            settings=network_settings("timm", self),
        )
        if not self._pixels_logged:
            why = f"model.pixels={self.pixels}" if self.pixels else "timm's configuration of its pretrained weights"
            log.info("the network gets %s (%s)", network.pixels, why)
            self._pixels_logged = True
        return network

    def _body(self, timm: ModuleType, config: Any, channels: int, size: int, classes: int) -> tuple[nn.Module, int]:
        """Return the network itself and the size that it works at, the first that it can."""
        sizes = [self.size] if self.size else list(dict.fromkeys((size, max(config.input_size[1:]))))
        problem = None
        for pixels in sizes:
            more = (self.arguments or {}) | ({"img_size": pixels} if config.fixed_input_size else {})
            try:
                body = timm.create_model(
                    self.architecture, pretrained=False, in_chans=channels, num_classes=classes, **more
                )
            except TypeError as error:
                if not self.arguments:
                    raise
                raise ConfigError(
                    f"model.arguments={self.arguments}: {self.architecture} refuses it: {error}."
                ) from error
            except (AssertionError, ValueError, RuntimeError) as error:
                problem = str(error).strip().partition("\n")[0] or type(error).__name__
                continue
            problem = _size_problem(body, channels, pixels)
            if problem is None:
                return body, pixels
        raise ConfigError(
            f"model.size={sizes[-1]}: {self.architecture} cannot work at it with {channels} channels ({problem}); its "
            f"default is {max(config.input_size[1:])}."
        )

    def files(self) -> list[Path]:
        """Return the file of weights, where one is given."""
        return [weights_file(self.checkpoint)] if self.checkpoint else []
