"""State that an explainer must not change: the network, the images, random states and global modes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fervis.models.checks.networks import leaves

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)
_TABLES = {*_HOOKS, "_parameters", "_buffers", "_modules", "training"}


def snapshot(network: nn.Module, images: Tensor) -> dict[str, Any]:
    """Return all that must be the same afterwards, by aspect."""
    modules, parameters = list(network.modules()), list(network.parameters())
    return {
        "modes": [module.training for module in modules],
        "requires_grad": [parameter.requires_grad for parameter in parameters],
        "gradients": [None if p.grad is None else p.grad.clone() for p in parameters],
        "weights": [(id(p), p.data_ptr(), p.stride(), p.detach().clone()) for p in parameters],
        "buffers": [(id(buffer), buffer.clone()) for buffer in network.buffers()],
        "hooks": [[list(getattr(module, table, ())) for table in _HOOKS] for module in modules],
        "attributes": [{name: id(v) for name, v in vars(m).items() if name not in _TABLES} for m in modules],
        "random states": [torch.get_rng_state(), _numpy_state(), random.getstate()],
        "global modes": _global_modes(),
        "images": [images.detach().clone(), None if images.grad is None else images.grad.clone()],
    }


def _numpy_state() -> list[Any]:
    state: Any = np.random.get_state()
    return [torch.from_numpy(np.asarray(state[1]).astype(np.int64)), state[2]]


def _global_modes() -> list[Any]:
    return [
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_anomaly_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_num_threads(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
    ]


def reset_globals(before: dict[str, Any]) -> None:
    """Bring random states and global modes back, so that what one check breaks does not disturb the next."""
    modes = before["global modes"]
    torch.set_rng_state(before["random states"][0])
    random.setstate(before["random states"][2])
    torch.set_grad_enabled(modes[0])
    torch.set_default_dtype(modes[2])
    torch.use_deterministic_algorithms(modes[3])
    torch.autograd.set_detect_anomaly(modes[4])
    torch.set_autocast_enabled("cpu", modes[5])
    torch.set_num_threads(modes[6])
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = modes[7:]


def same(one: Any, two: Any) -> bool:
    """Whether two parts of snapshots are equal, NaN included."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.shape == two.shape and one.dtype == two.dtype and torch.equal(one.nan_to_num(), two.nan_to_num())
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and bool(one == two)


def awkward(network: nn.Module) -> nn.Module:
    """Return the network in a state that a careless explainer changes: partly training and frozen, hooked."""
    network.train()
    modules, parameters = leaves(network), list(network.parameters())
    modules[len(modules) // 2].eval()
    parameters[0].requires_grad_(False)
    parameters[-1].grad = torch.ones_like(parameters[-1])
    modules[0].register_forward_hook(_hook_of_another_tool)
    modules[-1].forward = modules[-1].forward  # as tools that wrap a module's forward leave it
    return network


def _hook_of_another_tool(module: nn.Module, inputs: Any, output: Any) -> None:
    return None
