"""What a network's layers answer to many faces, in one pass: which filters answer at all, how much of it is black.

A pass keeps no outputs, only what can be compared and resampled by face afterwards: two numbers a filter or layer, and
the layer's inner products between the faces of a batch, from which CKA is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fervis.engines.cka import cka, gram
from fervis.engines.metrics import resampled_counts
from fervis.engines.passes import listening, undisturbed
from fervis.engines.progress_bar import progress
from fervis.layers import Layer, spatial

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Responses:
    """One layer's answers to n faces, on the CPU.

    Attributes:
        alive: [n,F] bool, whether a filter's output is anywhere above zero for the face.
        black: [n] float64, the share of the layer's outputs at or below zero, for the face.
        grams: [m,m] float64 a batch, as ``fervis.engines.cka.gram``.
    """

    alive: Tensor
    black: Tensor
    grams: tuple[Tensor, ...]


@dataclass(frozen=True)
class Interval:
    """A number with the ends of its 95 % bootstrap interval over faces; NaN where there is none."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


def even_batches(images: Tensor, most: int = 64) -> Iterable[Tensor]:
    """The images in batches of one size, or of two that differ by one, of at most ``most``: CKA weighs all alike."""
    return images.tensor_split(max(1, -(-len(images) // most)))


def responses(
    model: nn.Module, batches: Iterable[Tensor], layers: Sequence[Layer]
) -> tuple[Tensor, dict[str, Responses]]:
    """What all the layers answer to all the faces, from one forward pass a batch; the model is left as it was.

    Args:
        model: network from images to [N,K] logits.
        batches: [m,C,H,W] float each; every face once.
        layers: layers with a map, such as ``fervis.layers.find_layer`` gives them.

    Returns:
        [n,K] float32 logits on the CPU, and the responses by the layer's name.
    """
    logits: list[Tensor] = []
    parts: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {layer.name: [] for layer in layers}
    paths = list(dict.fromkeys(layer.path for layer in layers))
    with undisturbed(model), torch.no_grad(), listening(model, paths, roots=False) as heard:
        for batch in progress(batches, "layers' answers", "batch"):
            logits.append(model(batch.clone()).float().cpu())
            for layer in layers:
                parts[layer.name].append(_response(spatial(heard[layer.path], layer)))
    found = {}
    for name, some in parts.items():
        alive, black, grams = zip(*some, strict=True)
        found[name] = Responses(torch.cat(alive), torch.cat(black), grams)
    return torch.cat(logits), found


def _response(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    above = (outputs > 0).flatten(2)
    black = 1 - above.sum((1, 2)).double() / above[0].numel()
    return above.any(2).cpu(), black.cpu(), gram(outputs).cpu()


def resampled(faces: int, generator: torch.Generator) -> Tensor:
    """[1000,n] float64: how often each of n faces is in each bootstrap resample of as many, drawn with replacement."""
    return torch.cat(list(resampled_counts(faces, RESAMPLES, generator)))


def mean_of(values: Tensor, weights: Tensor) -> Interval:
    """The mean of one number a face with its percentile interval; faces whose number is NaN are left out.

    One face has a number and no interval, none has neither.

    Args:
        values: [n] float64.
        weights: [R,n] float64, as ``resampled``.
    """
    known = values.isfinite()
    values, weights = values[known].double(), weights[:, known]
    if len(values) < 2:
        return Interval(float(values.mean()))
    return Interval(float(values.mean()), *_ends((weights * values).sum(1) / weights.sum(1)))


def dead_of(responses: Responses, weights: Tensor) -> Interval:
    """The share of filters whose output is nowhere above zero for any of the faces, with its interval.

    A resample holds fewer faces, and so can only have more dead filters than the faces themselves, while more faces
    could only have fewer. The interval is therefore the basic one, reflected at the estimate and cut at 0: it says how
    many filters live on few faces, and might be alive on others.
    """
    estimate = 1 - responses.alive.any(0).double().mean()
    drawn = 1 - (weights @ responses.alive.double() > 0).double().mean(1)
    low, high = _ends(drawn)
    return Interval(float(estimate), max(0.0, 2 * float(estimate) - high), max(0.0, 2 * float(estimate) - low))


def cka_of(first: Responses, second: Responses, weights: Tensor) -> Interval:
    """The linear CKA without bias of two layers' answers to the same faces, with its percentile interval."""
    return Interval(float(cka(first.grams, second.grams)), *_ends(cka(first.grams, second.grams, weights)))


def _ends(values: Tensor) -> tuple[float, float]:
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = values.double().nanquantile(ends).tolist()
    return low, high
