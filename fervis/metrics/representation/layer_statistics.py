"""What a network's layers answer to many faces, in one pass: which filters answer at all, how much of it is black.

A pass keeps no outputs, only what can be compared and resampled by face afterwards: two numbers a filter or layer, and
the layer's inner products between the faces of a batch, from which CKA is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fervis.core.intervals import Interval
from fervis.core.layers import Layer, spatial
from fervis.metrics.bootstrap import interval_ends
from fervis.metrics.representation.cka import cka, gram
from fervis.models.hooks import capture, frozen
from fervis.system.progress import progress


@dataclass(frozen=True)
class LayerStatistics:
    """One layer's answers to n faces, on the CPU.

    Attributes:
        alive: [n,F] bool, whether a filter's output is anywhere above zero for the face.
        black: [n] float64, the share of the layer's outputs at or below zero, for the face.
        grams: [m,m] float64 a batch, as ``fervis.metrics.representation.cka.gram``.
    """

    alive: Tensor
    black: Tensor
    grams: tuple[Tensor, ...]


def even_batches(images: Tensor, most: int = 64) -> Iterable[Tensor]:
    """The images in batches of one size, or of two that differ by one, of at most ``most``: CKA weighs all alike."""
    return images.tensor_split(max(1, -(-len(images) // most)))


def layer_statistics(
    model: nn.Module, batches: Iterable[Tensor], layers: Sequence[Layer]
) -> tuple[Tensor, dict[str, LayerStatistics]]:
    """What all the layers answer to all the faces, from one forward pass a batch; the model is left as it was.

    Args:
        model: network from images to [N,K] logits.
        batches: [m,C,H,W] float each; every face once.
        layers: layers with a map, such as ``fervis.core.layers.find_layer`` gives them.

    Returns:
        [n,K] float32 logits on the CPU, and the responses by the layer's name.
    """
    logits: list[Tensor] = []
    parts: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {layer.name: [] for layer in layers}
    paths = list(dict.fromkeys(layer.path for layer in layers))
    with frozen(model), torch.no_grad(), capture(model, paths, roots=False) as heard:
        for batch in progress(batches, "layers' answers", "batch"):
            logits.append(model(batch.clone()).float().cpu())
            for layer in layers:
                parts[layer.name].append(_batch_statistics(spatial(heard[layer.path], layer)))
    found = {}
    for name, some in parts.items():
        alive, black, grams = zip(*some, strict=True)
        found[name] = LayerStatistics(torch.cat(alive), torch.cat(black), grams)
    return torch.cat(logits), found


def _batch_statistics(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    above = (outputs > 0).flatten(2)
    black = 1 - above.sum((1, 2)).double() / above[0].numel()
    return above.any(2).cpu(), black.cpu(), gram(outputs).cpu()


def dead_units(responses: LayerStatistics, weights: Tensor) -> Interval:
    """The share of filters whose output is nowhere above zero for any of the faces, with its interval.

    A resample holds fewer faces, and so can only have more dead filters than the faces themselves, while more faces
    could only have fewer. The interval is therefore the basic one, reflected at the estimate and cut at 0: it says how
    many filters live on few faces, and might be alive on others.
    """
    estimate = 1 - responses.alive.any(0).double().mean()
    drawn = 1 - (weights @ responses.alive.double() > 0).double().mean(1)
    low, high = interval_ends(drawn)
    return Interval(float(estimate), max(0.0, 2 * float(estimate) - high), max(0.0, 2 * float(estimate) - low))


def cka_with_interval(first: LayerStatistics, second: LayerStatistics, weights: Tensor) -> Interval:
    """The linear CKA without bias of two layers' answers to the same faces, with its percentile interval."""
    return Interval(float(cka(first.grams, second.grams)), *interval_ends(cka(first.grams, second.grams, weights)))
