"""Maps in words, from the scores of evidence: a sentence for each map, and warnings where maps show nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from fervis.core.results import Explanation
from fervis.evidence.baselines import BASELINES
from fervis.evidence.protocol import Evidence
from fervis.evidence.regions.sentences import region_sentence
from fervis.runs.evidence import image_mean

_BASELINE_NAMES = {"random_map": "a random map", "edge_map": "an edge map"}


def map_sentences(measures: Mapping[str, Evidence], explanation: Explanation) -> tuple[str, ...]:
    """Return a description of the scores of each entry; empty where no measure has one."""
    if not explanation.evidence:
        return ()
    sentences = []
    for number, target in enumerate(explanation.targets):
        scores = {name: float(values[number]) for name, values in explanation.evidence.items()}
        words = []
        if (shares := measures.get("region_shares")) is not None:
            of_regions = {name.partition("/")[2]: value for name, value in scores.items() if _is_of_regions(name)}
            words.append(region_sentence(of_regions, target, getattr(shares, "codebook", "emfacs")))
        sentences.append(" ".join([*words, *_no_better(measures, scores)]))
    return tuple(sentences) if any(sentences) else ()


def baseline_warnings(measures: Mapping[str, Evidence], parts: Iterable[Explanation], seed: int) -> list[str]:
    """Return a sentence for each measure by which the maps of a layer and checkpoint do not beat a baseline.

    The difference is of the same images, so its interval is that of the mean of differences.

    Args:
        measures: by name.
        parts: one explanation or, of a run in chunks, several, with the scores of their entries.
        seed: root of the bootstrap's randomness.
    """
    rows: dict[str, list[Tensor]] = {}
    values: dict[tuple[str, str, str], list[Tensor]] = {}
    for part in parts:
        for (layer, checkpoint), entries in part.entries_by_layer().items():
            place = f"{layer}, checkpoint {checkpoint}" if part.several_checkpoints else layer
            index = torch.tensor(entries)
            rows.setdefault(place, []).append(part.faces.rows[index])
            for name, baseline in _comparisons(measures, part.evidence):
                both = torch.stack([part.evidence[column][index] for column in (name, f"{name}/{baseline}")])
                values.setdefault((place, name, baseline), []).append(both)
    warnings = [
        _warning(key, torch.cat(both, 1), torch.cat(rows[key[0]]), measures[key[1]].better, seed)
        for key, both in values.items()
    ]
    return [warning for warning in warnings if warning]


def _warning(key: tuple[str, str, str], both: Tensor, rows: Tensor, better: str, seed: int) -> str:
    """Say that maps do not beat a baseline; empty where they do, or where one image alone cannot say."""
    place, name, baseline = key
    known = both.isfinite().all(0)
    if len(rows[known].unique()) < 2:
        return ""
    own, other = (image_mean(values[known], rows[known], seed).value for values in both)
    sign = 1 if better == "higher" else -1
    gain = image_mean(sign * (both[0] - both[1])[known], rows[known], seed)
    if math.isnan(gain.low) or gain.low > 0:
        return ""
    claim = "no better than" if gain.value <= 0 else "not shown to be better than"
    return (
        f"By {name}, the maps at {place} are {claim} {_BASELINE_NAMES[baseline]}: {own:.3f} against {other:.3f} "
        f"({better} is better); the difference in their favour is {gain.value:.3f}, 95 % interval {gain.low:.3f} to "
        f"{gain.high:.3f}."
    )


def _no_better(measures: Mapping[str, Evidence], scores: Mapping[str, float]) -> Iterator[str]:
    """Say of one map by which measures it is no better than each baseline."""
    for baseline, words in _BASELINE_NAMES.items():
        worse = [
            f"{name} ({scores[name]:.2f} against {scores[f'{name}/{baseline}']:.2f}, {measures[name].better} is better)"
            for name, other in _comparisons(measures, scores)
            if other == baseline and not _beats(measures[name].better, scores[name], scores[f"{name}/{baseline}"])
        ]
        if worse:
            yield f"It is no better than {words} by {' and '.join(worse)}."


def _comparisons(measures: Mapping[str, Evidence], scores: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the measures that have a better side, with each baseline that they were computed of."""
    for name, measure in measures.items():
        for baseline in BASELINES:
            if measure.better != "neither" and name in scores and f"{name}/{baseline}" in scores:
                yield name, baseline


def _beats(better: str, own: float, other: float) -> bool:
    """Whether a score is better than another; an unknown one is no worse."""
    if math.isnan(own) or math.isnan(other):
        return True
    return own > other if better == "higher" else own < other


def _is_of_regions(name: str) -> bool:
    return name.startswith("region_shares/") and name.rpartition("/")[2] not in BASELINES
