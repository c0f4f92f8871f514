"""Resume a network from a layer: logits of changed activations, without computing the modules before the layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fervis.core.layers import Layer
from fervis.models.hooks import frozen


@dataclass(frozen=True)
class Resumable:
    """One recorded pass of N images, from which the network is resumed at a layer.

    Modules that finished before the layer began return their outputs of the recorded pass, so that only the layer's
    successors compute, also where branches bypass the layer.

    Attributes:
        model: the network.
        images: [N,C,H,W] the recorded images.
        layer: where the network is resumed.
        outputs: module -> its recorded output [N,...], of the outermost modules that finished before the layer began.
        at_layer: [N,...] the layer's recorded output.
        unread: those of the modules whose output nothing that computes again reads, such as all that precede the layer
            in a plain chain; they return one image's output, not copied for each.
    """

    model: nn.Module
    images: Tensor
    layer: Layer
    outputs: dict[nn.Module, Tensor]
    at_layer: Tensor
    unread: frozenset[nn.Module] = frozenset()

    def logits(self, activations: Tensor, index: Tensor) -> Tensor:
        """Return the logits [M,K] of changed activations.

        Args:
            activations: [M,c,h,w] in place of the layer's output, channels first.
            index: [M] int64, the recorded image that each belongs to.
        """
        with frozen(self.model), torch.no_grad():
            return self.run(
                {
                    module: output[:1].expand(len(index), *output.shape[1:]) if module in self.unread else output[index]
                    for module, output in self.outputs.items()
                },
                self._laid_out(activations, index),
                self.images[index],
            )

    def run(self, outputs: dict[nn.Module, Tensor], at_layer: Tensor, images: Tensor) -> Tensor:
        """Run images [M,C,H,W] with recorded outputs of the modules before the layer, and of the layer itself."""
        with ExitStack() as changes:
            for module, output in outputs.items():
                changes.enter_context(_giving(module, output))
            changes.enter_context(_giving(self.model.get_submodule(self.layer.path), at_layer))
            return self.model(images)

    def _laid_out(self, activations: Tensor, index: Tensor) -> Tensor:
        """Channels-first maps in the layout of the layer's own output; tokens that are not patches as recorded."""
        if self.layer.layout == "NHWC":
            return activations.permute(0, 2, 3, 1)
        if self.layer.layout == "tokens":
            recorded = self.at_layer[index]
            patches = activations.flatten(2).transpose(1, 2)
            return torch.cat([recorded[:, : recorded.shape[1] - patches.shape[1]], patches], 1)
        return activations.clone()


def record(model: nn.Module, images: Tensor, layer: Layer) -> Resumable:
    """Run [N,C,H,W] images once and record what is needed to resume the network at a layer other than ``input``."""
    target = model.get_submodule(layer.path)
    outputs: dict[nn.Module, Tensor] = {}
    calls: Counter[nn.Module] = Counter()
    before: set[nn.Module] = set()
    begun = False

    def began(module: nn.Module, *_: object) -> None:
        nonlocal begun
        calls[module] += 1
        begun = begun or module is target

    def finished(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and (module is target or not begun):
            outputs[module] = output.clone()  # an in-place operation may follow
        if not begun:
            before.add(module)

    with frozen(model), torch.no_grad(), ExitStack() as hooks:
        for module in model.modules():
            hooks.callback(module.register_forward_pre_hook(began).remove)
            hooks.callback(module.register_forward_hook(finished).remove)
        model(images.clone())
    reusable = {
        module for module in before if module in outputs and calls[module] == 1 and len(outputs[module]) == len(images)
    }
    found = Resumable(model, images, layer, {m: outputs[m] for m in _outermost(model, reusable)}, outputs[target])
    return replace(found, unread=_unread(found))


def _unread(recorded: Resumable) -> frozenset[nn.Module]:
    """Return the modules whose recorded output the logits do not depend on, once the layer's own output is given.

    They are those that no gradient reaches. What passes no gradient may still be read: the logits must stay the same
    where such outputs are NaN, else all are taken to be read.
    """
    twice = [0, 0]  # the first image, as a batch of which outputs may be one image's, expanded
    floats = {module: output[twice] for module, output in recorded.outputs.items() if output.is_floating_point()}
    candidates = {module: output.requires_grad_() for module, output in floats.items()}
    rest = {module: output[twice] for module, output in recorded.outputs.items() if module not in floats}
    at_layer, images = recorded.at_layer[twice].requires_grad_(), recorded.images[twice]
    with frozen(recorded.model):
        try:
            logits = recorded.run(candidates | rest, at_layer.clone(), images.clone())
            slopes = torch.autograd.grad(logits.sum(), list(candidates.values()), allow_unused=True)
            unread = {module for module, slope in zip(candidates, slopes, strict=True) if slope is None}
            missing = {
                module: torch.full_like(floats[module][:1], torch.nan).expand_as(floats[module]) for module in unread
            }
            with torch.no_grad():
                same = torch.equal(recorded.run(candidates | rest | missing, at_layer.clone(), images.clone()), logits)
        except RuntimeError:  # a network that works in place or without gradients
            return frozenset()
    return frozenset(unread) if same else frozenset()


def _outermost(model: nn.Module, modules: set[nn.Module]) -> Iterator[nn.Module]:
    """Yield those of the modules that no other of them contains."""
    if model in modules:
        yield model
        return
    for child in model.children():
        yield from _outermost(child, modules)


@contextmanager
def _giving(module: nn.Module, output: Tensor) -> Iterator[None]:
    """Let a module return an output instead of computing, inside; hooks, which ran when it was recorded, do not run."""
    own = vars(module).get("forward")
    hooks = [(table, dict(table)) for table in (module._forward_pre_hooks, module._forward_hooks)]
    module.forward = lambda *_, **__: output
    for table, _ in hooks:
        table.clear()
    try:
        yield
    finally:
        for table, saved in hooks:
            table.update(saved)
        del module.forward
        if own is not None:
            module.forward = own
