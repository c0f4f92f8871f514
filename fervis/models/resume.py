"""Resume a network from a layer: logits of changed activations, without computing what lies before the layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fervis.core.layers import Layer
from fervis.models.hooks import frozen


@dataclass(frozen=True)
class Resumable:
    """One recorded pass of N images, from which the network is resumed at a layer.

    Modules that finished before the layer began hand over what they gave in the recorded pass, so that only the layer's
    successors compute, whatever branches go around the layer.

    Attributes:
        model: the network.
        images: [N,C,H,W] the recorded images.
        layer: where the network is resumed.
        outputs: module -> its recorded output [N,...], of the outermost modules that finished before the layer began.
        at_layer: [N,...] the layer's recorded output.
    """

    model: nn.Module
    images: Tensor
    layer: Layer
    outputs: dict[nn.Module, Tensor]
    at_layer: Tensor

    def logits(self, activations: Tensor, index: Tensor) -> Tensor:
        """Return the logits [M,K] of changed activations.

        Args:
            activations: [M,c,h,w] in place of the layer's output, channels first.
            index: [M] int64, the recorded image that each belongs to.
        """
        with frozen(self.model), torch.no_grad(), ExitStack() as changes:
            for module, output in self.outputs.items():
                changes.enter_context(_giving(module, lambda output=output: output[index]))
            layer = self.model.get_submodule(self.layer.path)
            changes.enter_context(_giving(layer, lambda: self._laid_out(activations, index)))
            return self.model(self.images[index])

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
    return Resumable(model, images, layer, {m: outputs[m] for m in _outermost(model, reusable)}, outputs[target])


def _outermost(model: nn.Module, modules: set[nn.Module]) -> Iterator[nn.Module]:
    """Yield those of the modules that lie in no other of them."""
    if model in modules:
        yield model
        return
    for child in model.children():
        yield from _outermost(child, modules)


@contextmanager
def _giving(module: nn.Module, output: Callable[[], Tensor]) -> Iterator[None]:
    """Let a module return an output instead of computing, inside; hooks, which ran when it was recorded, do not run."""
    own = vars(module).get("forward")
    hooks = [(table, dict(table)) for table in (module._forward_pre_hooks, module._forward_hooks)]
    module.forward = lambda *_, **__: output()
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
