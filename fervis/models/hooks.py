"""Forward and backward passes that return activations and gradients of any layers and leave the network as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fervis.core.frozen import frozen
from fervis.core.layers import Layer, spatial
from fervis.core.targets import Targets
from fervis.errors import ConfigError
from fervis.models.rules import GraphRules, Rules, attach, in_effect


@dataclass(frozen=True)
class TargetPass:
    """The results of the backward pass of one target.

    Attributes:
        target: number of the target, from 0 to T-1.
        scores: [N] the explained value of each image, detached.
        activations: name of a layer -> [N,c,h,w] its output, channels first; the images themselves for ``input``.
        gradients: name of a layer -> [N,c,h,w] the gradient of each image's score with respect to it.
    """

    target: int
    scores: Tensor
    activations: dict[str, Tensor]
    gradients: dict[str, Tensor]


class _ForwardDone(Exception):
    pass


@contextmanager
def capture(
    model: nn.Module, paths: Sequence[str], *, roots: bool, stop: bool = False, once: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of layers during the forward passes inside, by dotted path.

    The network continues with a copy of each collected output, so that an in-place operation that follows changes the
    copy and not what was collected.

    Args:
        model: any network.
        paths: dotted paths of the layers.
        roots: make an output that is part of no graph the root of one, so that nothing before the first of the layers
            is recorded.
        stop: end the pass after the last of the layers.
        once: refuse a layer that runs a second time.
    """
    captured: dict[str, Tensor] = {}

    def collect(path: str, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise ConfigError(f"layer={path}: its output is a {type(output).__name__}, expected one tensor.")
        if once and path in captured:
            raise ConfigError(
                f"layer={path}: this module runs more than once in a forward pass; its output is not one map."
            )
        if roots and not output.requires_grad:
            output = output.detach().requires_grad_()
        captured[path] = output
        if stop and len(captured) == len(paths):
            raise _ForwardDone
        return output.clone()

    with ExitStack() as hooks:
        for path in paths:
            module = model.get_submodule(path)
            handle = module.register_forward_hook(lambda _module, _inputs, output, path=path: collect(path, output))
            hooks.callback(handle.remove)
        yield captured


def activations(model: nn.Module, images: Tensor, paths: Sequence[str]) -> dict[str, Tensor]:
    """Return the outputs of layers for [N,C,H,W] images, in one forward pass that ends after the deepest of them."""
    with frozen(model), torch.no_grad(), capture(model, paths, roots=False, stop=True, once=True) as captured:
        with suppress(_ForwardDone):
            model(images.clone())
        return dict(captured)


def outputs_at(model: nn.Module, images: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
    """Return the output [N,c,h,w] of each layer in one forward pass, the images themselves for the pixels."""
    paths = list(dict.fromkeys(layer.path for layer in layers if not layer.is_input))
    captured = activations(model, images, paths) if paths else {}
    return [images.detach() if layer.is_input else spatial(captured[layer.path], layer) for layer in layers]


def target_passes(
    model: nn.Module,
    images: Tensor,
    targets: Targets,
    layers: Sequence[Layer],
    rules: Rules | GraphRules | None = None,
) -> Iterator[TargetPass]:
    """Yield the activations and gradients of all layers, target by target: one forward and T backward passes.

    The hooks are gone and the network is as it was before the first backward pass runs, so that a caller may stop at
    any target. The graph is retained until the last target.

    Args:
        model: any network from images to [N,K] logits.
        images: [N,C,H,W] float; the network sees a copy.
        targets: T per image.
        layers: where activations and gradients are taken.
        rules: replace the backward passes of modules, by their types, or of operations.

    Raises:
        ConfigError: a target does not depend on a layer, or the network computes without gradients, so that it has no
            gradient there.
    """
    inner = [layer.path for layer in layers if not layer.is_input]
    paths = list(dict.fromkeys((*inner, targets.layer) if targets.classes is None else inner))
    paths = [path for path in paths if path]
    with frozen(model), in_effect(rules, model), capture(model, paths, roots=True, once=True) as captured:
        source = images.detach().clone().requires_grad_(len(inner) < len(layers))
        # A copy goes in, so that a network that changes its input in place changes the copy.
        logits = model(source.clone())
        scores = targets.scores(logits, captured)
        if not scores.isfinite().all():
            number = int((~scores.isfinite().all(1)).nonzero()[0])
            raise ConfigError(f"model: its output for image {number} is not finite, so it has no gradient to explain.")
        outputs = [source if layer.is_input else captured[layer.path] for layer in layers]
        if not scores.requires_grad:
            raise ConfigError(
                f"layer={layers[0].name}: the target has no gradient there; the network computes under torch.no_grad "
                "or detaches what it computes, so expected an explainer that reads outputs alone, such as occlusion."
            )
        attach(rules, scores)
    values = {layer.name: spatial(output.detach(), layer) for layer, output in zip(layers, outputs, strict=True)}
    for number in range(targets.count):
        with torch.inference_mode(False):
            last = number == targets.count - 1
            slopes = torch.autograd.grad(scores[:, number].sum(), outputs, retain_graph=not last, allow_unused=True)
        gradients: dict[str, Tensor] = {}
        for layer, slope in zip(layers, slopes, strict=True):
            if slope is None:
                raise ConfigError(f"layer={layer.name}: the target does not depend on it, so it has no gradient there.")
            gradients[layer.name] = spatial(slope, layer)
        yield TargetPass(number, scores[:, number].detach(), values, gradients)
