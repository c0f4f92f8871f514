"""Run a network without changing it: eval mode, no gradients of parameters, buffers and random state restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Compute in eval mode without gradients of parameters; afterwards the network is as it was.

    Restored are the flags of every module and parameter, buffers that a forward pass changed (a counter, say), and
    torch's own random state.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for module, _ in modes:
            module.training = False
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, name, buffer, value in buffers:
            module._buffers[name] = buffer  # a pass may have put another in its place
            if not torch.equal(buffer, value):
                buffer.data.copy_(value)
        for module, mode in modes:
            module.training = mode
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)
