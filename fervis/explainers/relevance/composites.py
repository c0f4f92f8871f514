"""The choice of a rule for each linear layer, by its role in the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fervis.explainers.relevance.linear import LinearLayer
from fervis.explainers.relevance.tape import Operation, Tape


@dataclass(frozen=True)
class Composite:
    """Names of rules.

    Attributes:
        first: of layers that see the pixels; None for the same as of others.
        conv: of convolutions.
        dense: of linear layers, and of convolutions that are the network's last layer or see a whole map at once.
    """

    first: str | None
    conv: str
    dense: str = "epsilon"


COMPOSITES = {
    "epsilon": Composite(None, "epsilon"),
    "epsilon_plus": Composite(None, "zplus"),
    "epsilon_alpha2_beta1": Composite(None, "alpha_beta"),
    "epsilon_plus_flat": Composite("flat", "zplus"),
    "epsilon_alpha2_beta1_flat": Composite("flat", "alpha_beta"),
    "epsilon_gamma_box": Composite("zbox", "gamma"),
}


def rule_names(tape: Tape, layers: Mapping[Operation, LinearLayer], composite: Composite) -> dict[Operation, str]:
    """Return the name of the rule of each linear layer.

    The network's last layer always has the rule of dense layers: a rule that divides evenly or by positive
    contributions alone would lose evidence against the target. A BatchNorm alone does not count as a layer.
    """
    weighted = {operation for operation, layer in layers.items() if layer.kind != "scale"}
    seen: set[Operation] = set()  # operations with a layer before them
    for operation in tape.operations:
        producers = [value.producer for value in operation.inputs]
        if any(producer in weighted or producer in seen for producer in producers if producer):
            seen.add(operation)
    followed: set[Operation] = set()  # operations with a layer behind them
    for operation in reversed(tape.operations):
        consumers = [consumer for value in operation.outputs if value for consumer in value.consumers]
        if any(consumer in weighted or consumer in followed for consumer in consumers):
            followed.add(operation)
    return {
        operation: _rule_name(layer, operation in seen, operation in followed, composite)
        for operation, layer in layers.items()
    }


def _rule_name(layer: LinearLayer, seen: bool, followed: bool, composite: Composite) -> str:
    if layer.kind == "scale":
        return composite.conv
    if not followed:
        return composite.dense
    if not seen and composite.first:
        return composite.first
    return composite.dense if layer.kind == "product" or layer.output.shape[2:].numel() == 1 else composite.conv
