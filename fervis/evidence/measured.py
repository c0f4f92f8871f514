"""Take measures of maps and of the baselines on the same images."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fervis.evidence.baselines import BASELINES
from fervis.evidence.protocol import Evidence, ExplainAgain
from fervis.models.batch import Batch


def measured(
    measures: Mapping[str, Evidence], batch: Batch, maps: Tensor, again: ExplainAgain, *, baselines: bool = True
) -> dict[str, Tensor]:
    """Return the scores of maps, and of the baselines if requested.

    Args:
        measures: by name.
        batch: N images with T targets each.
        maps: [N,T,H,W] float32.
        again: explains again.
        baselines: also score a random map and an edge map, except by measures that explain again: a baseline has no
            explainer.

    Returns:
        ``<measure>``, ``<measure>/<part>``, ``<measure>/<baseline>`` -> [N,T] float32 on the CPU.
    """
    scores: dict[str, Tensor] = {}
    made = {f"/{key}": make(batch) for key, make in BASELINES.items()} if baselines else {}
    for name, measure in measures.items():
        others = {} if "explain_again" in measure.needs else made
        for suffix, candidate in {"": maps, **others}.items():
            for part, values in measure.measure(batch, candidate, again).items():
                if suffix and part in getattr(measure, "same_for_every_map", ()):
                    continue
                scores[f"{name}{'/' * bool(part)}{part}{suffix}"] = values.detach().float().cpu()
    return scores
