"""timm: any network of the timm package by its name, for one or three channels and any size it can work at."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from fervis.core.network import Network
from fervis.errors import ConfigError, nearest_name

# The two operators of torchvision's compiled part without which its Python part does not import.
OPERATORS = {
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
        for name, schema in OPERATORS.items():
            torch.library.define(name, schema)
    import timm

    return timm


def works(body: nn.Module, channels: int, size: int) -> str | None:
    """None if the network takes images of this size and sees all of them, else what is wrong."""
    patch = getattr(getattr(body, "patch_embed", None), "patch_size", None)
    if patch and any(size % side for side in ([patch] if isinstance(patch, int) else patch)):
        return f"it is no multiple of its patches' {patch} pixels, so the faces' edges would be left out"
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
    """The knobs of ``timm``: the network's name, its size in pixels, a file of weights. Nothing is downloaded."""

    architecture: str = "resnet18"
    size: int | None = None
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ConfigError(f"model.size={self.size}: a number of pixels, or null for the faces' own, was expected.")

    def build(self, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
        """Build it with the normalisation of its pretrained configuration (averaged over RGB for grey faces).

        Its size is the knob's; else the faces', or where the network cannot work at that, its own default.
        """
        timm = import_timm()
        if not timm.is_model(self.architecture):
            hint = nearest_name(self.architecture, timm.list_models())
            raise ConfigError(f"model.architecture={self.architecture}: timm has no such network.{hint}")
        config = timm.get_pretrained_cfg(self.architecture)
        sizes = [self.size] if self.size else list(dict.fromkeys((size, max(config.input_size[1:]))))
        problem = None
        for pixels in sizes:
            fixed = {"img_size": pixels} if config.fixed_input_size else {}
            try:
                body = timm.create_model(
                    self.architecture, pretrained=False, in_chans=channels, num_classes=len(classes), **fixed
                )
            except (AssertionError, ValueError, RuntimeError) as error:
                problem = str(error).strip().partition("\n")[0] or type(error).__name__
                continue
            problem = works(body, channels, pixels)
            if problem is None:
                mean, std = (
                    v if channels == len(v) else (sum(v) / len(v),) * channels for v in (config.mean, config.std)
                )
                return Network(body, classes=classes, channels=channels, size=pixels, mean=tuple(mean), std=tuple(std))
        raise ConfigError(
            f"model.size={sizes[-1]}: {self.architecture} cannot work at it with {channels} channels ({problem}); its "
            f"default is {max(config.input_size[1:])}."
        )

    def files(self) -> list[Path]:
        """The checkpoint, where one is given."""
        return [Path(self.checkpoint)] if self.checkpoint else []
