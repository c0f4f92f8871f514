"""Backward rules for rectifiers, wherever a network calls them: guided backpropagation and the deconvolution network.

The rules are put on the nodes of the graph that autograd recorded, so that ``nn.ReLU``, ``F.relu``, ``x.relu_()``,
``x.clamp_min(0)``, an activation within another module and a module that runs several times are all the same
to them; the forward pass stays the network's own.

A rectifier is ReLU, and with it every activation that suppresses negative values and lets positive ones through: capped
(ReLU6) and leaky ones (LeakyReLU, PReLU, RReLU), ELU, SELU and CELU, and the smooth ones (GELU, SiLU, Mish, Softplus,
Hardswish). With the gradient R that arrives and the derivative φ' at the forward pass's value, the rules are

- guided: φ' · max(R, 0). For ReLU, 1[a > 0] · 1[R > 0] · R (Springenberg et al. 2014, arXiv:1412.6806).
- deconvolution: max(R, 0), independent of the forward pass's value (Zeiler and Fergus 2014, arXiv:1311.2901).

Sigmoid, tanh and the gates made of them suppress no sign and keep their own derivative. What is written out of other
operations, such as ``x * (x > 0)``, is not recognised as a rectifier.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from fervis.errors import ConfigError
from fervis.models.rules import nodes_behind


def _always(_: Any) -> bool:
    return True


_RECTIFIERS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("Relu", "LeakyRelu", "PreluKernel", "RreluWithNoise", "Elu", "Celu"), _always),
    **dict.fromkeys(("Gelu", "Silu", "Mish", "Softplus", "Hardswish"), _always),
    "Threshold": lambda node: _is_zero(node._saved_threshold),
    "ClampMin": lambda node: _is_zero(node._saved_min),
    "Clamp": lambda node: _is_zero(node._saved_min),
    "Hardtanh": lambda node: _is_zero(node._saved_min_val),
    "Maximum": lambda node: any(_is_zero(value) for value in (node._saved_self, node._saved_other)),
}
"""Operation -> whether a node of it in the graph is a rectifier; ``ReluBackward0`` is a node of ``Relu``."""


@dataclass(frozen=True)
class RectifierRules:
    """Put a rule on every rectifier behind the scores.

    Attributes:
        kind: the rule.
        explainer: name of the method, for its refusals.
    """

    kind: Literal["guided", "deconvolution"]
    explainer: str

    def forward(self) -> AbstractContextManager[object]:
        """Change nothing in the forward pass."""
        return nullcontext()

    def attach(self, scores: Tensor) -> None:
        """Put the rule on each rectifier.

        Raises:
            ConfigError: the scores depend on no rectifier, or on an operation with a custom backward pass.
        """
        count = 0
        for node in nodes_behind(scores):
            name = node.name()
            if isinstance(node, BackwardCFunction) or "Graph" in name:
                raise ConfigError(
                    f"explainer={self.explainer}: the network has an operation with a custom backward pass "
                    f"({name}), whose rectifiers no rule can reach; expected a network without it (not compiled)."
                )
            if is_rectifier(node):
                count += 1
                _rule(node, self.kind)
        if not count:
            raise ConfigError(
                f"explainer={self.explainer}: no rectifier (ReLU, LeakyReLU, GELU, ...) is between the layer and "
                "the target, so its map would be the plain gradient; use explainer=saliency."
            )


def is_rectifier(node: Node) -> bool:
    """Return whether a node of autograd's graph is a rectifier."""
    condition = _RECTIFIERS.get(node.name().split("::")[-1].rstrip("0123456789").removesuffix("Backward"))
    return condition is not None and condition(node)


def _rule(node: Node, kind: str) -> None:
    if kind == "guided":
        node.register_prehook(lambda arriving: tuple(_not_negative(gradient) for gradient in arriving))
    else:
        node.register_hook(
            lambda passed, arriving: tuple(None if own is None else _not_negative(arriving[0]) for own in passed)
        )


def _not_negative(gradient: Tensor) -> Tensor:
    return gradient.clamp(min=0)


def _is_zero(value: Any) -> bool:
    """Return whether a number, or every value of a tensor, is 0."""
    return bool((value == 0).all()) if isinstance(value, Tensor) else value == 0
