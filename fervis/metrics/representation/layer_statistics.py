"""Statistics of a network's layers over many faces, in one pass: filters that are active at all, share of zeros.

A pass stores no outputs, only what can be compared and resampled by face afterwards: two numbers per filter or layer,
and the layer's inner products between the faces of a batch, from which CKA is made.
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
    """Statistics of one layer's outputs for n faces, on the CPU.

    Attributes:
        alive: [n,F] bool, whether a filter's output is anywhere above zero for the face.
        black: [n] float64, the share of the layer's outputs at or below zero, for the face.
        grams: [m,m] float64 per batch, as ``fervis.metrics.representation.cka.gram``.
    """

    alive: Tensor
    black: Tensor
    grams: tuple[Tensor, ...]


def even_batches(images: Tensor, most: int = 64) -> Iterable[Tensor]:
    """Split images into batches of at most ``most`` whose sizes differ by at most one: CKA weights all alike."""
    return images.tensor_split(max(1, -(-len(images) // most)))


def layer_statistics(
    model: nn.Module, batches: Iterable[Tensor], layers: Sequence[Layer]
) -> tuple[Tensor, dict[str, LayerStatistics]]:
    """Compute the statistics of all layers from one forward pass per batch; the model is left as it was.

    Args:
        model: network from images to [N,K] logits.
        batches: [m,C,H,W] float each; every face once.
        layers: layers with a map, such as ``fervis.core.layers.find_layer`` gives them.

    Returns:
        [n,K] float32 logits on the CPU, and the statistics by the layer's name.
    """
    logits: list[Tensor] = []
    parts: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {layer.name: [] for layer in layers}
    paths = list(dict.fromkeys(layer.path for layer in layers))
    with frozen(model), torch.no_grad(), capture(model, paths, roots=False) as captured:
        for batch in progress(batches, "layer statistics", "batch"):
            logits.append(model(batch.clone()).float().cpu())
            for layer in layers:
                parts[layer.name].append(_batch_statistics(spatial(captured[layer.path], layer)))
    statistics = {}
    for name, batches_of in parts.items():
        alive, black, grams = zip(*batches_of, strict=True)
        statistics[name] = LayerStatistics(torch.cat(alive), torch.cat(black), grams)
    return torch.cat(logits), statistics


def _batch_statistics(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    above = (outputs > 0).flatten(2)
    black = 1 - above.sum((1, 2)).double() / above[0].numel()
    return above.any(2).cpu(), black.cpu(), gram(outputs).cpu()


def dead_units(layer: LayerStatistics, weights: Tensor) -> Interval:
    """Compute the share of filters whose output is nowhere above zero for any face, with its interval.

    A resample holds fewer faces, and so can only have more dead filters than the faces themselves, while more faces
    could only have fewer. The interval is therefore the basic one, reflected at the estimate and cut at 0: it says how
    many filters live on few faces, and might be alive on others.
    """
    estimate = 1 - layer.alive.any(0).double().mean()
    drawn = 1 - (weights @ layer.alive.double() > 0).double().mean(1)
    low, high = interval_ends(drawn)
    return Interval(float(estimate), max(0.0, 2 * float(estimate) - high), max(0.0, 2 * float(estimate) - low))


def cka_with_interval(first: LayerStatistics, second: LayerStatistics, weights: Tensor) -> Interval:
    """Compute the linear CKA without bias of two layers' outputs for the same faces, with its percentile interval."""
    return Interval(float(cka(first.grams, second.grams)), *interval_ends(cka(first.grams, second.grams, weights)))
