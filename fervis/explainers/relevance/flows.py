"""Propagation of relevance through each operation of a tape under a composite: linear layers by their rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from fervis.errors import ConfigError
from fervis.explainers.relevance.composites import Composite, rule_names
from fervis.explainers.relevance.linear import LinearLayer, merged_layers
from fervis.explainers.relevance.lrp_rules import RULES, Division, RuleSettings
from fervis.explainers.relevance.operations import RESHAPES, Flow, flow_of
from fervis.explainers.relevance.tape import Operation, Tape, Value

_MAY_PRECEDE_BOX = {"add", "sub", "rsub", "mul", "div", "expand", "permute", "mean", "sum", "_to_copy", *RESHAPES}


def flows(tape: Tape, fixed: Value, composite: Composite, settings: RuleSettings) -> Callable[[Operation], Flow]:
    """Return a function that propagates relevance through an operation.

    Args:
        tape: of a forward pass.
        fixed: the target's value.
        composite: the rules.
        settings: numbers of the rules; ``low`` and ``high`` are those of the tape's start.
    """
    layers, merged = merged_layers(tape, fixed)
    names = rule_names(tape, layers, composite)

    def flow(operation: Operation) -> Flow:
        if operation in merged:
            (source,) = operation.inputs
            return lambda relevance: ({source: relevance[0]}, torch.zeros_like(relevance[0].flatten(1)[:, 0]))
        if operation not in layers:
            return flow_of(operation)
        layer, rule = layers[operation], names[operation]
        bounds = _bounded(settings, operation.inputs[0], layer) if rule == "zbox" else settings
        return _flow_of_layer(operation.inputs[0], Division(layer, RULES[rule](layer, bounds), settings.share_biases))

    return flow


def _flow_of_layer(value: Value, division: Division) -> Flow:
    def flow(relevance: list[Tensor]) -> tuple[dict[Value, Tensor], Tensor]:
        shares, absorbed = division(relevance[0])
        return {value: shares}, absorbed

    return flow


def _bounded(settings: RuleSettings, value: Value, layer: LinearLayer) -> RuleSettings:
    """Return the settings with the bounds of a layer's inputs, which follow from those of the tape's start."""
    assert settings.low is not None
    assert settings.high is not None
    ends = [_recomputed(value, bound) for bound in (settings.low, settings.high)]
    low, high = torch.minimum(*ends), torch.maximum(*ends)
    slack = 1e-4 * (high - low).abs().amax()
    if bool((layer.x < low - slack).any() or (layer.x > high + slack).any()):
        found = f"{float(layer.x.min()):g} to {float(layer.x.max()):g}"
        raise ConfigError(
            f"explainer.low, explainer.high: the box rule got values from {found}, expected all from "
            f"{float(low.min()):g} to {float(high.max()):g}; state the lowest and the highest value of a pixel."
        )
    return replace(settings, low=low, high=high)


def _recomputed(value: Value, start: Tensor) -> Tensor:
    """Return what a value becomes for another start of the tape."""
    if value.producer is None:
        return start
    if value.producer.name not in _MAY_PRECEDE_BOX or len(value.producer.inputs) > 1:
        raise ConfigError(
            f"explainer.composite: the box rule needs a first layer that sees the pixels, but {value.producer.name} "
            "comes before it; use explainer.composite=epsilon_plus_flat instead."
        )
    before = _recomputed(value.producer.inputs[0], start)
    if value.producer.name in RESHAPES:
        return (
            before.expand(len(before), *value.producer.inputs[0].tensor.shape[1:])
            .flatten(1)
            .view(len(before), *value.tensor.shape[1:])
        )
    arguments = value.producer.args, value.producer.kwargs
    args, kwargs = tree_map(lambda leaf: before.clone() if isinstance(leaf, Value) else leaf, arguments)
    return value.producer.function(*args, **kwargs)
