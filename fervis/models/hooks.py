"""One forward (and backward) pass that hands over activations and gradients of any layers, and leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fervis.core.layers import INPUT, Layer, spatial
from fervis.core.targets import Target
from fervis.errors import ConfigError


def outputs_at(model: nn.Module, images: Tensor, layers: Sequence[Layer | None]) -> list[Tensor]:
    """Outputs of layers as maps [N,F,h,w], from one pass that ends after the deepest; None: the images."""
    paths = list(dict.fromkeys(layer.path for layer in layers if layer is not None))
    heard = activations(model, images, paths) if paths else {}
    return [images.detach() if layer is None else spatial(heard[layer.path], layer) for layer in layers]


@dataclass(frozen=True)
class Pass:
    """What one pass gave.

    Attributes:
        scores: [N] the explained value, detached.
        activations: layer -> its output, detached.
        gradients: layer -> d score / d output, of the output's shape.
    """

    scores: Tensor
    activations: dict[str, Tensor]
    gradients: dict[str, Tensor]


class _ForwardDone(Exception):
    pass


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode, no parameter gradients, gradients on; every flag of every module and parameter restored after."""
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for module, _ in modes:
            module.training = False
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)


@contextmanager
def capture(model: nn.Module, paths: Sequence[str], *, roots: bool, stop: bool = False) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of layers during the forward passes inside, by dotted path.

    The network goes on with a copy of each collected output, so that an in-place operation that follows changes the
    copy and not what was collected. With ``roots``, an output that hangs on no graph becomes the root of one: nothing
    before the first layer asked for is recorded. With ``stop``, the pass ends after the last of the layers.
    """
    heard: dict[str, Tensor] = {}

    def hear(path: str, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise ConfigError(f"layer={path}: its output is a {type(output).__name__}, expected one tensor.")
        if roots and not output.requires_grad:
            output = output.detach().requires_grad_()
        heard[path] = output
        if stop and len(heard) == len(paths):
            raise _ForwardDone
        return output.clone()

    with ExitStack() as hooks:
        for path in paths:
            module = model.get_submodule(path)
            handle = module.register_forward_hook(lambda _module, _inputs, output, path=path: hear(path, output))
            hooks.callback(handle.remove)
        yield heard


def activations(model: nn.Module, images: Tensor, paths: Sequence[str]) -> dict[str, Tensor]:
    """Outputs of layers for [N,C,H,W] images, in one forward pass that ends after the deepest of them."""
    with frozen(model), torch.no_grad(), capture(model, paths, roots=False, stop=True) as heard:
        with suppress(_ForwardDone):
            model(images.clone())
        return dict(heard)


def gradients(model: nn.Module, images: Tensor, target: Target, layers: Sequence[str]) -> Pass:
    """Outputs of layers and the gradients of the target with respect to them, in one forward and one backward pass.

    Args:
        model: any network from images to [N,K] logits.
        images: [N,C,H,W] float.
        target: what is explained of each image.
        layers: dotted paths, ``input`` for the images themselves.

    Raises:
        ConfigError: the target does not depend on a layer, so that it has no gradient there.
    """
    paths = [layer for layer in dict.fromkeys((*layers, target.layer)) if layer and layer != INPUT]
    with frozen(model), capture(model, paths, roots=True) as heard:
        source = images.detach().clone().requires_grad_(INPUT in layers)
        # A copy goes in, so that a network that changes its input in place changes the copy.
        logits = model(source.clone())
        scores = target.score(logits, heard)
        found = {**heard, INPUT: source}
        wanted = [found[layer] for layer in layers]
        slopes = torch.autograd.grad(scores.sum(), wanted, allow_unused=True)
    for layer, slope in zip(layers, slopes, strict=True):
        if slope is None:
            raise ConfigError(f"layer={layer}: the target does not depend on it, so it has no gradient there.")
    return Pass(
        scores=scores.detach(),
        activations={layer: found[layer].detach() for layer in layers},
        gradients={layer: slope for layer, slope in zip(layers, slopes, strict=True) if slope is not None},
    )
