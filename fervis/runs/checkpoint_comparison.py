"""Compare the first checkpoint of a run with each of the others, where ``checkpoint=`` names several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fervis.core.faces import Faces
from fervis.core.layers import INPUT, expand_layers, find_layer
from fervis.core.results import Explanation, Figure, HeatMaps
from fervis.core.seeding import generator_for
from fervis.metrics.representation.checkpoint_comparison import FEWEST_FACES, CheckpointComparison, compare_checkpoints
from fervis.visualizers.figures.checkpoint_comparison import draw_checkpoint_comparison

COMPARED_FACES = 256  # faces spread evenly over the split, on which the layers of two checkpoints are compared


def compare_run_checkpoints(
    explanation: Explanation, networks: Sequence[nn.Module], pool: Faces, layers: Sequence[str], seed: int, device: str
) -> list[CheckpointComparison]:
    """Compare the first checkpoint with each of the others.

    Args:
        explanation: of all checkpoints; heat maps are compared face by face.
        networks: the trained network of each checkpoint, in that order.
        pool: the faces of the split.
        layers: names of the config's layers; every convolution is compared too.
        seed: root of the bootstrap's randomness.
        device: where the networks are.

    Returns:
        One comparison per checkpoint after the first; none where the split has fewer than 8 faces.
    """
    if len(networks) < 2 or len(pool) < FEWEST_FACES:
        return []
    indices = torch.linspace(0, len(pool) - 1, min(COMPARED_FACES, len(pool))).round().long()
    images = pool.images[indices].to(device).float() / 255
    names = [name for name in expand_layers(networks[0], ["all", *layers], images[:1]) if name != INPUT]
    compared = [find_layer(networks[0], name, images[:1]) for name in names]
    checkpoints = list(dict.fromkeys(explanation.checkpoints))
    return [
        compare_checkpoints(
            networks[0],
            other,
            images,
            compared,
            names=(checkpoints[0], name),
            generator=generator_for(seed, f"contrast/{name}"),
            maps=_maps_of(explanation, checkpoints[0], name),
            signed=isinstance(explanation.result, HeatMaps) and explanation.result.signed,
        )
        for name, other in zip(checkpoints[1:], networks[1:], strict=True)
    ]


def _maps_of(explanation: Explanation, first: str, second: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the heat maps of two checkpoints by layer, where the same faces were explained for the same targets."""
    if not isinstance(explanation.result, HeatMaps):
        return {}
    maps: dict[str, tuple[Tensor, Tensor]] = {}
    groups = explanation.entries_by_layer()
    for layer in dict.fromkeys(explanation.layers):
        entries = [groups[layer, name] for name in (first, second)]
        of_first, of_second = (
            [(int(explanation.faces.rows[entry]), explanation.targets[entry]) for entry in group] for group in entries
        )
        if of_first == of_second:
            maps[layer] = explanation.result.maps[entries[0]], explanation.result.maps[entries[1]]
    return maps


def draw_checkpoint_comparisons(
    comparisons: Sequence[CheckpointComparison], explanation: Explanation, folder: Path
) -> list[Figure]:
    """Draw each comparison as ``contrast_<first>_<second>.png`` into ``folder``."""
    folder.mkdir(exist_ok=True)
    return [
        draw_checkpoint_comparison(
            comparison,
            folder / f"contrast_{comparison.names[0]}_{comparison.names[1]}.png",
            title=f"{explanation.model} on {explanation.dataset}",
        )
        for comparison in comparisons
    ]
