"""Normalisation and dropout over the whole batch where several processes share it.

torch's ``SyncBatchNorm`` runs on GPUs alone and replaces modules; this also serves the CPU and functional calls.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class GlobalBatch(TorchFunctionMode):
    """A context in which training computes what one process with the whole batch would.

    BatchNorm takes mean and variance over the shares of all processes, and its gradients flow back to all of them.
    Dropout draws for the whole batch, from torch's global generator, and uses the part of this process, so that the
    generators of all processes stay in step. Both are replaced where they are computed, ``F.batch_norm`` and
    ``F.dropout``, so every network works unchanged; noise drawn by other means is the same on each share.

    Args:
        rank: of this process.
        size: how many processes there are, with equal shares in the order of their ranks.
    """

    def __init__(self, rank: int, size: int) -> None:
        super().__init__()
        self.rank, self.size = rank, size

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm and _flag("training", args, kwargs, 5, False):
            return self._batch_norm(*args, **kwargs)
        if func is F.dropout and _flag("training", args, kwargs, 2, True):
            return self._dropout(*args, **kwargs)
        return func(*args, **kwargs)

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Compute ``F.batch_norm`` of the whole batch, for the rows [n,C,...] of this process."""
        pixels = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        dims = [0, *range(2, x.ndim)]
        count = self.size * x.numel() // x.shape[1]
        # The variance about the common mean: sums of squares about zero would lose digits in fp32.
        mean = _sum_over_ranks(pixels.sum(dims)) / count
        variance = _sum_over_ranks((pixels - _per_channel(mean, x)).square().sum(dims)) / count
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean), momentum)
                running_var.lerp_((variance * (count / max(count - 1, 1))).to(running_var), momentum)
        gain = torch.rsqrt(variance + eps) * (1 if weight is None else weight)
        rest = -mean * gain + (0 if bias is None else bias)
        return torch.addcmul(_per_channel(rest, x), pixels, _per_channel(gain, x)).to(x.dtype)

    def _dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """Compute ``F.dropout`` with this process's part of the whole batch's mask."""
        if p == 0 or p == 1:
            return F.dropout(x, p, training, inplace)
        mask = x.new_empty((self.size * len(x), *x.shape[1:])).bernoulli_(1 - p).div_(1 - p)
        mask = mask[self.rank * len(x) : (self.rank + 1) * len(x)]
        return x.mul_(mask) if inplace else x * mask


class _SumOverRanks(torch.autograd.Function):
    """Sum over all processes, forward and backward."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        total = slopes[0].clone()
        dist.all_reduce(total)
        return total


def _sum_over_ranks(part: Tensor) -> Tensor:
    return _SumOverRanks.apply(part)  # pyright: ignore[reportReturnType]


def _flag(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], position: int, default: bool) -> bool:
    """Return an argument given by name or by position."""
    return bool(kwargs[name] if name in kwargs else args[position] if len(args) > position else default)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Reshape [C] to [1,C,1,...] with as many dimensions as the other tensor."""
    return values.view(1, -1, *[1] * (like.ndim - 2))
