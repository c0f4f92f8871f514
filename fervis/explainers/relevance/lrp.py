"""LRP: the target's value divided backwards, layer by layer, onto layers and pixels (Bach et al. 2015).

Every linear layer divides the relevance of each of its outputs among its inputs in proportion to what they contribute,
``R_i = Σ_j c_ij / (Σ_i c_ij + b_j) R_j``; what counts as a contribution is the layer's rule (``lrp_rules``), and which
layer has which rule is the composite's choice (Kohlbrenner et al. 2020, arXiv:1910.09840; Montavon et al. 2019).

- Activations pass relevance on, max-pooling to the winner; averages and sums, residual ones included, in proportion.
- A BatchNorm is part of the convolution before it, or behind it; both outputs have the same relevance.
- Normalisation of the pixels passes relevance on.
- A map adds up to the target's value, but for what biases and stabilisers absorb; the biases of merged BatchNorms may
  absorb most of it. The score ``conservation`` is the map's sum as a part of the value, ``absorbed`` what biases and
  stabilisers took; where all relevance passes through the layer, the two add up to 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Above, AtLeast, Choice, Number
from fervis.core.layers import Layer, spatial
from fervis.core.results import HeatMaps, LayerMaps
from fervis.errors import ConfigError
from fervis.explainers.relevance.composites import COMPOSITES, Composite
from fervis.explainers.relevance.flows import flows
from fervis.explainers.relevance.lrp_rules import RULES, RuleSettings, per_image
from fervis.explainers.relevance.pixels import pixel_bounds, pixel_relevance
from fervis.explainers.relevance.propagate import Relevance, propagate
from fervis.explainers.relevance.recorded import record_pass
from fervis.explainers.relevance.tape import Value
from fervis.models.batch import Batch


@dataclass
class Lrp:
    """Propagate the relevance of any targets to any layers.

    Attributes:
        composite: which layer has which rule, named by the rules of linear layers, of convolutions, and of the first
            layer where it has one of its own.
        first: rule of the first layer instead of the composite's; None for the composite's.
        conv: the same for convolutions.
        dense: the same for linear layers.
        epsilon: stabiliser of the epsilon rule; a large one absorbs weak relevance.
        gamma: how much more contributions of an output's own sign count, of the gamma rule.
        alpha: weight of positive contributions of the alpha-beta rule; beta is alpha - 1.
        biases: ``absorb`` their part of the relevance, as the rules are published; or ``share`` it among the inputs, so
            that the map adds up to the target's value. With the epsilon rule that is ill-conditioned where BatchNorms
            cannot be merged or sums are not rectified (pre-activation and inverted residual networks);
            ``conservation`` shows it.
        low: lowest value that a pixel can have, for the box rule.
        high: highest value that a pixel can have, for the box rule.
    """

    composite: Annotated[str, Choice(*COMPOSITES)] = "epsilon_plus_flat"
    first: Annotated[str | None, Choice(*RULES)] = None
    conv: Annotated[str | None, Choice(*RULES)] = None
    dense: Annotated[str | None, Choice(*RULES)] = None
    epsilon: Annotated[float, Above(0)] = 1e-6
    gamma: Annotated[float, AtLeast(0)] = 0.25
    alpha: Annotated[float, AtLeast(1)] = 2.0
    biases: Annotated[str, Choice("absorb", "share")] = "absorb"
    low: Annotated[float, Number()] = 0.0
    high: Annotated[float, Number()] = 1.0
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"layers", "pixels", "classes", "filters"})
    default_layer: ClassVar = "input"

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ConfigError(f"explainer.low={self.low}: expected a number below explainer.high={self.high}.")
        for role in ("conv", "dense"):
            if getattr(self, role) == "zbox":
                raise ConfigError(f"explainer.{role}=zbox: the box rule is for explainer.first, which sees the pixels.")

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain all layers and targets of a batch in one forward pass and one walk back through it."""
        # Relevance is divided in the network's own precision: products under autocast would not add up.
        with torch.autocast(batch.images.device.type, enabled=False):
            return self._explain(batch)

    def _explain(self, batch: Batch) -> LayerMaps:
        recorded = record_pass(batch)
        bounds = pixel_bounds(batch.model, batch.images, (self.low, self.high))
        settings = RuleSettings(self.epsilon, self.gamma, self.alpha, self.biases == "share", *bounds)
        flow_of = flows(recorded.tape, recorded.target, self._composite(), settings)
        values = list(recorded.layers.values())
        with torch.inference_mode(False), torch.no_grad():
            walks = [propagate(recorded.tape, recorded.target, seeds, values, flow_of) for seeds in recorded.seeds()]
        maps, scores = {}, []
        for layer in batch.layers:
            relevance = _joined(walks, recorded.layers[layer.name], layer)
            maps[layer.name] = torch.stack([_map(batch, layer, values) for values in relevance.values], 1)
            scores.append(_balance(relevance, recorded.scores))
        balance = torch.stack(scores, 1)  # [2,L,N,T]
        return LayerMaps(
            maps, "relevance of {layer}", True, dict(zip(("conservation", "absorbed"), balance, strict=True))
        )

    def _composite(self) -> Composite:
        """Return the composite with the rules that are stated by themselves."""
        stated = {role: rule for role in ("first", "conv", "dense") if (rule := getattr(self, role))}
        return replace(COMPOSITES[self.composite], **stated)


def _joined(walks: list[dict[Value, Relevance]], value: Value, layer: Layer) -> Relevance:
    """Return the relevance of a layer for all targets."""
    if value not in walks[0]:
        raise ConfigError(f"layer={layer.name}: the target does not depend on it, so it has no relevance there.")
    parts = [walk[value] for walk in walks]
    if not all(values.isfinite().all() for part in parts for values in part.values):
        raise ConfigError(
            f"layer={layer.name}: its relevance is not finite in {value.tensor.dtype}; expected network and images "
            "in float32."
        )
    return Relevance([v for part in parts for v in part.values], [a for part in parts for a in part.absorbed])


def _map(batch: Batch, layer: Layer, relevance: Tensor) -> Tensor:
    """Return the sum over channels [N,h,w] of a layer's relevance."""
    if layer.is_input:
        return pixel_relevance(batch.model, batch.images, relevance).sum(1)
    return spatial(relevance, layer).sum(1)


def _balance(relevance: Relevance, scores: Tensor) -> Tensor:
    """Return [2,N,T]: sum of the relevance and what was absorbed, as parts of the scores; of 0, all is conserved."""
    sums = torch.stack([per_image(values) for values in relevance.values], 1)
    absorbed = torch.stack(relevance.absorbed, 1)
    divisor = torch.where(scores == 0, 1, scores)
    return torch.stack([torch.where(scores == 0, 1, sums / divisor), torch.where(scores == 0, 0, absorbed / divisor)])
