"""Optimizers, learning-rate schedules and the moving average of the weights, as pure functions of the step.

torch's schedulers and ``AveragedModel`` have state of their own; without it, resuming to the bit is simple.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("one_cycle", "cosine", "constant")


def optimizer_for(
    network: nn.Module, name: str, *, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return SGD with Nesterov momentum, or AdamW, with decay of the weights of convolutions and linear layers alone.

    Biases and the scales and shifts of normalisations are not decayed, as in He et al. 2018 (arXiv:1812.01187).

    Args:
        network: whose parameters are trained.
        name: ``sgd`` or ``adamw``.
        lr: learning rate; ``learning_rate`` sets it step by step.
        momentum: of SGD; the first beta of AdamW.
        weight_decay: L2 penalty of SGD; decoupled decay of AdamW.
    """
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=(momentum, 0.999))
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0)


def learning_rate(step: int, steps: int, *, peak: float, schedule: str, warmup: float) -> float:
    """Return the learning rate of a step.

    ``one_cycle`` rises on a cosine from a 25th of the peak during the warm-up and falls on one to nearly nothing, as
    torch's OneCycleLR (Smith and Topin 2017, arXiv:1708.07120); ``cosine`` rises in a straight line and falls on a
    cosine (Loshchilov and Hutter 2016, arXiv:1608.03983); ``constant`` rises in a straight line and stays.

    Args:
        step: from 0.
        steps: of the whole training.
        peak: the highest rate.
        schedule: one of ``SCHEDULES``.
        warmup: part of the training during which the rate rises.
    """
    if schedule == "one_cycle":
        top = warmup * steps - 1
        if step <= top:
            return _cosine(peak / 25, peak, step / top if top > 0 else 1.0)
        return _cosine(peak, peak / 250_000, (step - top) / max(steps - 1 - top, 1))
    rising = warmup * steps
    if step < rising:
        return peak * (step + 1) / rising if rising >= 1 else peak
    return peak if schedule == "constant" else _cosine(peak, 0.0, (step - rising) / max(steps - rising, 1))


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move an exponential moving average one step towards the network, statistics of normalisations included.

    In the first steps the average follows faster, with a decay of at most (1 + step) / (10 + step).
    """
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(_floats(average), _floats(network), 1 - decay)  # pyright: ignore[reportPrivateImportUsage]


def _floats(module: nn.Module) -> list[Tensor]:
    return [value for value in module.state_dict().values() if value.is_floating_point()]
