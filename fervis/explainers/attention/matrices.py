"""Attention matrices of one forward pass, each the root or part of its graph, also where a fused kernel hides them.

``F.scaled_dot_product_attention`` returns the attended values alone. Inside a ``TorchFunctionMode`` it is computed
step by step instead, ``softmax(q kᵀ scale + mask) v``, which is the same to rounding; an attention that calls a softmax
of its own is read there. No module is changed, so none has to be restored but for two hooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from fervis.core.layer_names import is_attention
from fervis.core.layers import INPUT, list_layers, resize_maps
from fervis.core.network import Network
from fervis.core.results import LayerMaps
from fervis.errors import ConfigError
from fervis.models.batch import Batch
from fervis.models.hooks import frozen
from fervis.models.predict import check_logits

_SOFTMAX = (torch.softmax, Tensor.softmax, F.softmax)
_POOLING_TOKENS, _POOLING_MEAN = "token", "avg"


@dataclass(frozen=True)
class AttentionPass:
    """The record of one forward pass.

    Attributes:
        matrices: of each attention in the order in which they ran [N,heads,T,T], from token (row) to token (column).
        scores: [N,targets] the explained values, in the graph of the matrices where gradients are wanted.
        readout: [T] weights, summing to 1, of the tokens that the classifier reads.
        grid: height and width of the patches' tokens, which are the last of the T.
    """

    matrices: list[Tensor]
    scores: Tensor
    readout: Tensor
    grid: tuple[int, int]

    def patches(self, rows: Tensor) -> Tensor:
        """Return values of tokens [N,T] as a map [N,h,w] of the patches."""
        height, width = self.grid
        return rows[:, -height * width :].unflatten(1, (height, width))


def attention_pass(batch: Batch, name: str, first: int = 1, *, gradients: bool = False) -> AttentionPass:
    """Run the batch's images once and return the attention matrices from the ``first`` attention on, counted from 1.

    Args:
        batch: the images, and classes as targets.
        name: of the explainer, for messages.
        first: attentions before it are left out.
        gradients: record the graph from the first matrix to the scores.

    Raises:
        ConfigError: the network has no attention from all tokens to all, or reads its tokens in an unknown way.
    """
    tokens, grid = token_grid(batch.model, batch.images, name)
    readout = _readout(batch.model, tokens, grid, name).to(batch.images.device)
    with frozen(batch.model), torch.set_grad_enabled(gradients), record_attention(batch.model, gradients) as recorded:
        scores = batch.targets.scores(check_logits(batch.model(batch.images.clone())), {})
    count = len(batch.images)
    for path, matrices in recorded.items():
        if len(matrices) != 1 or matrices[0].shape[::2] != (count, tokens) or matrices[0].shape[3] != tokens:
            raise ConfigError(
                f"explainer={name}: {path} has no single attention matrix from all {tokens} tokens to all "
                "(windows, pooled keys or several softmaxes); use explainer=gradcam at one of its blocks."
            )
    if first > len(recorded):
        raise ConfigError(f"explainer.first={first}: expected a number up to the network's {len(recorded)} attentions.")
    return AttentionPass([matrices[0] for matrices in recorded.values()][first - 1 :], scores, readout, grid)


def at_pixels(maps: Tensor, batch: Batch, unit: str) -> LayerMaps:
    """Return maps [N,T,h,w] of patches at the images' size."""
    height, width = batch.images.shape[2:]
    sized = resize_maps(maps.flatten(0, 1), (int(height), int(width))).unflatten(0, maps.shape[:2])
    return LayerMaps({INPUT: sized}, unit)


@contextmanager
def record_attention(model: nn.Module, roots: bool = False) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the matrices [N,heads,T,T] of every attention that runs inside, by dotted path.

    Args:
        model: any network.
        roots: make a matrix that is part of no graph the root of one.
    """
    recorder = _Recorder(roots)
    with ExitStack() as hooks:
        for path, module in model.named_modules():
            if is_attention(module):
                enter = module.register_forward_pre_hook(partial(recorder.enter, path))
                leave = module.register_forward_hook(recorder.leave)
                hooks.callback(enter.remove)
                hooks.callback(leave.remove)
        with recorder:
            yield recorder.matrices


class _Recorder(TorchFunctionMode):
    def __init__(self, roots: bool) -> None:
        self.roots, self.running = roots, list[str]()
        self.matrices: dict[str, list[Tensor]] = {}

    def enter(self, path: str, _module: nn.Module, _inputs: object) -> None:
        self.matrices.setdefault(path, [])
        self.running.append(path)

    def leave(self, _module: nn.Module, _inputs: object, _output: object) -> None:
        self.running.pop()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.running and func is F.scaled_dot_product_attention:
            weights, values = _attention_weights(*args, **kwargs)
            return self._recorded(weights) @ values
        output = func(*args, **kwargs)
        is_matrix = self.running and func in _SOFTMAX and output.ndim == 4
        return self._recorded(output) if is_matrix else output

    def _recorded(self, matrix: Tensor) -> Tensor:
        if self.roots and not matrix.requires_grad:
            matrix = matrix.detach().requires_grad_()
        self.matrices[self.running[-1]].append(matrix)
        return matrix


def _attention_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the matrix [N,heads,T,S] and the values [N,heads,S,c] of ``F.scaled_dot_product_attention``.

    ``dropout_p`` is left out: networks are explained in eval mode.
    """
    if enable_gqa:
        key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], -3) for each in (key, value))
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        boolean = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if boolean else scores + attn_mask
    return scores.softmax(-1), value


def token_grid(model: nn.Module, images: Tensor, name: str) -> tuple[int, tuple[int, int]]:
    """Return the number of tokens of the network's first attention, and the grid of its patches.

    Raises:
        ConfigError: the network has no attention over tokens.
    """
    for layer in list_layers(model, images[:1]):
        if is_attention(model.get_submodule(layer.path)) and layer.layout == "tokens":
            return layer.shape[0], layer.grid
    raise ConfigError(
        f"explainer={name}: the network has no attention over tokens, which transformers such as "
        "model=timm model.architecture=vit_tiny_patch16_224 have; use explainer=gradcam, which takes any layer."
    )


def _readout(model: nn.Module, tokens: int, grid: tuple[int, int], name: str) -> Tensor:
    """Return [T] weights of the tokens that the classifier reads, summing to 1.

    timm's networks state it in ``global_pool``: the class token (and the distillation token, where there is one), or
    the mean of the patches. Of other networks the first token is taken where there is one before the patches.
    """
    body = model.body if isinstance(model, Network) else model
    before = tokens - grid[0] * grid[1]
    pooling = getattr(body, "global_pool", _POOLING_TOKENS if before else _POOLING_MEAN)
    weights = torch.zeros(tokens)
    if pooling == _POOLING_TOKENS and before:
        weights[: 2 if getattr(body, "dist_token", None) is not None else 1] = 1
    elif pooling == _POOLING_MEAN:
        weights[before:] = 1
    else:
        raise ConfigError(
            f"explainer={name}: the network pools its tokens by {pooling or 'nothing'}, expected its class token "
            "(token) or their mean (avg); use explainer=gradcam at one of its blocks."
        )
    return weights / weights.sum()
