"""The rules of layer-wise relevance propagation for a linear layer, each a few lines on one function that shares.

Every rule defines what each input adds to each output (its *contributions*), by which outputs divide their relevance
among the inputs in proportion: ``R_i = Σ_j contribution_ij / (Σ_i contribution_ij + bias_j) R_j``. The contributions
are products of a modified input and a modified weight, so that a division costs a pass forwards and one backwards
through the layer, of any kind.

Notation of the rules: ``x⁺ = max(x, 0)``, ``x⁻ = min(x, 0)``, and the same for weights and biases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fervis.explainers.relevance.linear import LinearLayer

STABILIZER = 1e-6  # added to what is divided by, with its sign

Terms = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class RuleSettings:
    """Numbers of the rules.

    Attributes:
        epsilon: stabiliser of the epsilon rule.
        gamma: how much more positive contributions count, of the gamma rule.
        alpha: weight of the positive contributions, of the alpha-beta rule; beta is alpha - 1.
        share_biases: whether inputs get the biases' shares too, in proportion to the magnitude of their contributions.
        low: lowest value of the layer's inputs, broadcast; for the box rule.
        high: highest value, in the same units.
    """

    epsilon: float = STABILIZER
    gamma: float = 0.25
    alpha: float = 2.0
    share_biases: bool = False
    low: Tensor | None = None
    high: Tensor | None = None


@dataclass(frozen=True)
class Contributions:
    """The contributions of inputs to outputs, by which outputs divide their relevance.

    Attributes:
        terms: pairs of modified input and modified weight; contributions are the sum of their products.
        bias: modified bias, whose share no input gets; or None.
        factor: of the relevance that is divided.
        sign: 1 for outputs of at least 0, -1 for those below; 0 for all.
        epsilon: stabiliser.
        total: sum of the contributions and the bias, where it is known.
        one_signed: whether no contribution has another sign than the bias.
    """

    terms: Terms
    bias: Tensor | None = None
    factor: float = 1.0
    sign: int = 0
    epsilon: float = STABILIZER
    total: Tensor | None = None
    one_signed: bool = False


LinearRule = Callable[[LinearLayer, RuleSettings], list[Contributions]]


def epsilon(layer: LinearLayer, settings: RuleSettings) -> list[Contributions]:
    """Divide by ``x w`` (Bach et al. 2015, equation 58)."""
    terms = [(layer.x, layer.weight)]
    return [Contributions(terms, layer.bias, epsilon=settings.epsilon, total=layer.output)]


def zplus(layer: LinearLayer, settings: RuleSettings) -> list[Contributions]:
    """Divide by the positive part of ``x w`` (Montavon et al. 2017, section 4.1, for inputs of both signs)."""
    return [_positive(layer)]


def alpha_beta(layer: LinearLayer, settings: RuleSettings) -> list[Contributions]:
    """Divide alpha times by the positive of ``x w``, less beta times by the negative part (Bach et al. 2015)."""
    above, below = (
        replace(_positive(layer), factor=settings.alpha),
        replace(_negative(layer), factor=1 - settings.alpha),
    )
    return [above, below] if settings.alpha > 1 else [above]


def gamma(layer: LinearLayer, settings: RuleSettings) -> list[Contributions]:
    """Let contributions of the output's own sign count ``1 + gamma`` times (Montavon et al. 2019, for both signs)."""
    favoured = [(_positive(layer), 1), (_negative(layer), -1)]
    return [_favouring(layer, part, sign, settings.gamma) for part, sign in favoured]


def flat(layer: LinearLayer, settings: RuleSettings) -> list[Contributions]:
    """Divide evenly among the inputs of an output (Lapuschkin et al. 2017)."""
    return [Contributions([(_ones(layer), torch.ones_like(layer.weight))])]


def w2(layer: LinearLayer, settings: RuleSettings) -> list[Contributions]:
    """Divide by the squared weights (Montavon et al. 2017, equation 12)."""
    return [Contributions([(_ones(layer), layer.weight.square())])]


def zbox(layer: LinearLayer, settings: RuleSettings) -> list[Contributions]:
    """Divide by ``x w - low w⁺ - high w⁻``, for inputs from low to high (Montavon et al. 2017, equation 15)."""
    assert settings.low is not None
    assert settings.high is not None
    one = _ones(layer)
    above, below = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    return [Contributions([(layer.x, layer.weight), (-settings.low * one, above), (-settings.high * one, below)])]


RULES: dict[str, LinearRule] = {
    "epsilon": epsilon,
    "gamma": gamma,
    "zplus": zplus,
    "alpha_beta": alpha_beta,
    "flat": flat,
    "zbox": zbox,
    "w2": w2,
}


def _ones(layer: LinearLayer) -> Tensor:
    """Return [1,...] ones in place of the inputs of every image."""
    return torch.ones_like(layer.x[:1])


def _positive(layer: LinearLayer) -> Contributions:
    above, below = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    terms = [(layer.x.clamp(min=0), above), (layer.x.clamp(max=0), below)]
    return Contributions(terms, None if layer.bias is None else layer.bias.clamp(min=0), one_signed=True)


def _negative(layer: LinearLayer) -> Contributions:
    above, below = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    terms = [(layer.x.clamp(min=0), below), (layer.x.clamp(max=0), above)]
    return Contributions(terms, None if layer.bias is None else layer.bias.clamp(max=0), one_signed=True)


def _favouring(layer: LinearLayer, part: Contributions, sign: int, by: float) -> Contributions:
    """Return all contributions, those of a part ``1 + by`` times, at the outputs of a sign."""
    terms = [(x, layer.weight + by * weight) for x, weight in part.terms]
    bias = None if layer.bias is None or part.bias is None else layer.bias + by * part.bias
    return Contributions(terms, bias, sign=sign)


def stabilized(values: Tensor, by: float) -> Tensor:
    """Move values away from 0; 0 counts as positive."""
    return values + _away(values, by)


def _away(values: Tensor, by: float) -> Tensor:
    return torch.where(values < 0, -by, by).to(values)


def per_image(values: Tensor) -> Tensor:
    """Return the sum of each image's values, [N]."""
    return values.flatten(1).sum(1)


class Division:
    """Divide the relevance of a layer's outputs among its inputs; what does not depend on it is computed once.

    Args:
        layer: a linear layer.
        parts: what the inputs contribute.
        share_biases: whether the inputs also get the biases' shares. Where all contributions have one sign, that is to
            divide without the bias; otherwise each gets of the bias in proportion to its magnitude.
    """

    def __init__(self, layer: LinearLayer, parts: list[Contributions], share_biases: bool) -> None:
        self.layer, self.output = layer, layer.output
        self.parts = [_effective(part, share_biases) for part in parts]
        self.totals = [self._total(part) for part in self.parts]
        shared = [share_biases and part.bias is not None for part in self.parts]
        self.magnitudes = [self._magnitude(part) if own else None for part, own in zip(self.parts, shared, strict=True)]

    def _total(self, part: Contributions) -> Tensor:
        """Return the sum of the contributions and the bias at each output; of one image if it is the same for all."""
        if part.total is not None:
            return part.total
        addends = [self.layer.apply(x, weight) for x, weight in part.terms]
        addends += [] if part.bias is None else [part.bias]
        return sum(addends[1:], addends[0]) if addends else torch.zeros_like(self.output[:1])

    def _magnitude(self, part: Contributions) -> Tensor:
        """Return the sum of the contributions' magnitudes at each output, nowhere 0."""
        magnitude = torch.full_like(self.output, STABILIZER)
        for x, weight in part.terms:
            magnitude += self.layer.apply(x.abs(), weight.abs())
        return magnitude

    def __call__(self, relevance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the relevance of the inputs, and per image what biases and stabilisers absorbed."""
        shares: list[Tensor] = []
        absorbed = relevance.new_zeros(len(relevance))
        for part, total, magnitude in zip(self.parts, self.totals, self.magnitudes, strict=True):
            lost = _away(total, part.epsilon)
            rate = part.factor * relevance / (total + lost)
            if part.sign:
                rate = torch.where((self.output >= 0) == (part.sign > 0), rate, 0)
            shares += [x * self.layer.adjoint(rate, weight) for x, weight in part.terms]
            if magnitude is not None and part.bias is not None:
                of_bias = rate * part.bias / magnitude
                shares += [x.abs() * self.layer.adjoint(of_bias, weight.abs()) for x, weight in part.terms]
                absorbed += per_image(of_bias * STABILIZER)
            elif part.bias is not None:
                lost = lost + part.bias
            absorbed += per_image(rate * lost)
        return sum(shares[1:], shares[0]) if shares else torch.zeros_like(self.layer.x), absorbed


def _effective(part: Contributions, share_biases: bool) -> Contributions:
    """Return contributions without the terms that are 0 everywhere, and without a bias that need not be known."""
    terms = [(x, weight) for x, weight in part.terms if x.any()]
    return replace(part, terms=terms, bias=None if share_biases and part.one_signed else part.bias)
