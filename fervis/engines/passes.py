"""One forward (and backward) pass that hands over activations and gradients of any layers, and leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fervis.errors import WrongQuestion

INPUT = "input"


@dataclass(frozen=True)
class Target:
    """What is explained of each image: a class's logit, or the mean output of one filter of a layer.

    Attributes:
        classes: [N] int64, a class for each image, or None where a filter is the target.
        layer: dotted path of the filter's layer.
        filter: the filter's number.
    """

    classes: Tensor | None = None
    layer: str = ""
    filter: int = 0

    def __getitem__(self, where: slice) -> Target:
        """The target of some of the images."""
        return self if self.classes is None else Target(self.classes[where])

    def score(self, logits: Tensor, activations: dict[str, Tensor]) -> Tensor:
        """[N] the explained value of each image.

        Raises:
            WrongQuestion: the network gives something else than [N,K] logits, or has no such class.
        """
        if self.classes is not None:
            if logits.ndim != 2:
                raise WrongQuestion(f"model: its output is {list(logits.shape)}, expected [N,K] logits.")
            wrong = self.classes[(self.classes < 0) | (self.classes >= logits.shape[1])]
            if len(wrong):
                raise WrongQuestion(f"target={int(wrong[0])}: the network has {logits.shape[1]} classes, from 0.")
            return logits.gather(1, self.classes.to(logits.device)[:, None])[:, 0]
        return activations[self.layer][:, self.filter].flatten(1).mean(1)


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


class _Stop(Exception):
    pass


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
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
def listening(
    model: nn.Module, paths: Sequence[str], *, roots: bool, stop: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of layers during the forward passes inside, by dotted path.

    The network goes on with a copy of each collected output, so that an in-place operation that follows changes the
    copy and not what was collected. With ``roots``, an output that hangs on no graph becomes the root of one: nothing
    before the first layer asked for is recorded. With ``stop``, the pass ends after the last of the layers.
    """
    heard: dict[str, Tensor] = {}

    def hear(path: str, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise WrongQuestion(f"layer={path}: its output is a {type(output).__name__}, expected one tensor.")
        if roots and not output.requires_grad:
            output = output.detach().requires_grad_()
        heard[path] = output
        if stop and len(heard) == len(paths):
            raise _Stop
        return output.clone()

    with ExitStack() as hooks:
        for path in paths:
            module = model.get_submodule(path)
            handle = module.register_forward_hook(lambda _module, _inputs, output, path=path: hear(path, output))
            hooks.callback(handle.remove)
        yield heard


def activations(model: nn.Module, images: Tensor, paths: Sequence[str]) -> dict[str, Tensor]:
    """Outputs of layers for [N,C,H,W] images, in one forward pass that ends after the deepest of them."""
    with undisturbed(model), torch.no_grad(), listening(model, paths, roots=False, stop=True) as heard:
        with suppress(_Stop):
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
        WrongQuestion: the target does not depend on a layer, so that it has no gradient there.
    """
    paths = [layer for layer in dict.fromkeys((*layers, target.layer)) if layer and layer != INPUT]
    with undisturbed(model), listening(model, paths, roots=True) as heard:
        source = images.detach().clone().requires_grad_(INPUT in layers)
        # A copy goes in, so that a network that changes its input in place changes the copy.
        logits = model(source.clone())
        scores = target.score(logits, heard)
        found = {**heard, INPUT: source}
        wanted = [found[layer] for layer in layers]
        slopes = torch.autograd.grad(scores.sum(), wanted, allow_unused=True)
    for layer, slope in zip(layers, slopes, strict=True):
        if slope is None:
            raise WrongQuestion(f"layer={layer}: the target does not depend on it, so it has no gradient there.")
    return Pass(
        scores=scores.detach(),
        activations={layer: found[layer].detach() for layer in layers},
        gradients={layer: slope for layer, slope in zip(layers, slopes, strict=True) if slope is not None},
    )
