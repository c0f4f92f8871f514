"""Each rule of LRP against its published formula, written in loops over the dense matrix of a layer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn

import fervis
from fervis.explainers.relevance.lrp_rules import RULES

EPSILON, GAMMA, ALPHA, LOW, HIGH = 0.02, 0.4, 1.5, -3.0, 4.0
SIZE = 5  # pixels

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(2, 4, 3, padding=1),
    "strided": lambda: nn.Conv2d(2, 4, 3, stride=2, padding=2, dilation=2),
    "grouped": lambda: nn.Conv2d(2, 4, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(2, 3, 2, stride=2, padding=1),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(2 * SIZE * SIZE, 6)),
}


def stable(value: float, by: float = 1e-6) -> float:
    return value + (by if value >= 0 else -by)


def literal(rule: str, x: Tensor, w: Tensor, linked: Tensor, b: Tensor, relevance: Tensor, share: bool) -> Tensor:
    """Divide the relevance [J] of a layer's outputs among its inputs x [I], one output after the other.

    Args:
        rule: its name.
        x: [I] inputs.
        w: [J,I] weights.
        linked: [J,I] how many weights link an input to an output.
        b: [J] bias.
        relevance: [J] of the outputs.
        share: whether the inputs also get the bias's part.
    """
    result = torch.zeros_like(x)
    for j in range(len(w)):
        c, bias, r = x * w[j], float(b[j]), relevance[j]
        positive, negative = c.clamp(min=0), c.clamp(max=0)
        parts: list[tuple[float, Tensor, float, float]] = []  # factor, contributions, bias, stabiliser
        if rule == "epsilon":
            parts = [(1, c, bias, EPSILON)]
        elif rule == "zplus":
            parts = [(1, positive, max(bias, 0), 1e-6)]
        elif rule == "alpha_beta":
            parts = [(ALPHA, positive, max(bias, 0), 1e-6), (1 - ALPHA, negative, min(bias, 0), 1e-6)]
        elif rule == "gamma" and c.sum() + bias >= 0:
            parts = [(1, c + GAMMA * positive, bias + GAMMA * max(bias, 0), 1e-6)]
        elif rule == "gamma":
            parts = [(1, c + GAMMA * negative, bias + GAMMA * min(bias, 0), 1e-6)]
        elif rule == "flat":
            parts = [(1, linked[j], 0, 1e-6)]
        elif rule == "w2":
            parts = [(1, w[j] ** 2, 0, 1e-6)]
        elif rule == "zbox":
            parts = [(1, c - LOW * w[j].clamp(min=0) - HIGH * w[j].clamp(max=0), 0, 1e-6)]
        for factor, contributions, own, by in parts:
            rate = factor * r / stable(float(contributions.sum()) + own, by)
            result += contributions * rate
            if share:
                result += own * rate * contributions.abs() / (float(contributions.abs().sum()) + 1e-12)
    return result


def network(layer: nn.Module, bias: bool = True) -> nn.Module:
    """The layer, and behind it a linear layer to three classes."""
    outputs = layer(torch.zeros(1, 2, SIZE, SIZE)).numel()
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(outputs, 3))
    if not bias:
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.zeros_(module.bias)
    return model.double()


def dense(function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the matrix [J,I] of a linear function of an image."""
    zero = torch.zeros(1, 2, SIZE, SIZE, dtype=torch.float64)
    return torch.autograd.functional.jacobian(lambda x: function(x).flatten(), zero).flatten(1)


@pytest.mark.parametrize(("rule", "kind", "share"), list(product(RULES, LAYERS, [False, True])))
def test_a_rule_is_its_formula_in_loops(rule: str, kind: str, share: bool):
    torch.manual_seed(3)
    layer = LAYERS[kind]()
    model = network(layer)
    image = torch.empty(1, 2, SIZE, SIZE, dtype=torch.float64).uniform_(LOW, HIGH)
    knobs = {"epsilon": EPSILON, "gamma": GAMMA, "alpha": ALPHA, "low": LOW, "high": HIGH}
    rules = {"first": rule, "biases": "share" if share else "absorb"}
    maps = fervis.explain(model, image, "lrp", "input", target=1, **knobs, **rules).maps

    matrix, head = dense(layer), model[2]
    with torch.no_grad():
        bias, z = layer(torch.zeros_like(image)).flatten(), layer(image).flatten()
        score, weight = model(image)[0, 1:2], head.weight[1:2].clone()
        behind = literal("epsilon", z, weight, torch.ones_like(weight), head.bias[1:2].clone(), score, share)
    for parameter in layer.parameters():
        parameter.data.fill_(1 if parameter.ndim > 1 else 0)
    expected = literal(rule, image.flatten(), matrix, dense(layer), bias, behind, share).view(2, SIZE, SIZE).sum(0)
    torch.testing.assert_close(maps[0].double(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in {"epsilon", "gamma"}])
def test_without_biases_the_map_adds_up_to_the_logit(rule: str):
    torch.manual_seed(1)
    model = network(LAYERS["conv"](), bias=False)
    images = torch.rand(4, 2, SIZE, SIZE, dtype=torch.float64)
    result = fervis.explain(model, images, "lrp", "input", target="all", first=rule)
    torch.testing.assert_close(result.maps.sum((1, 2)).double(), model(images).detach().flatten(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result.scores["conservation"], torch.ones(12), rtol=0, atol=1e-4)
