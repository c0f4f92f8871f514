"""FunnyBirds' scores on drawn faces against a literal version, and its aggregation against the published numbers."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from fervis.core.registry import build_plugin
from fervis.datasets.portraits.action_units import ACTION_UNIT_NAMES, PART_UNITS
from fervis.evidence.faithfulness.part_removal import THRESHOLDS, completeness_and_correctness, part_scores

ALL = tuple(range(4))


def subsets(parts: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [chosen for size in range(len(parts) + 1) for chosen in itertools.combinations(parts, size)]


def literal(mass: np.ndarray, whole: float, logits: np.ndarray, target: int, has: tuple[int, ...]) -> list[float]:
    """The five scores of one map, part by part and threshold by threshold."""

    def outputs(shown: tuple[int, ...]) -> np.ndarray:
        # Parts that the face does not have change nothing, so that any number of them may be shown.
        return logits[sum(1 << part for part in shown) + sum(1 << part for part in ALL if part not in has)]

    prediction = outputs(has).argmax()
    keeps = [chosen for chosen in subsets(has) if outputs(chosen).argmax() == prediction]
    minimal = [chosen for chosen in keeps if not any(set(other) < set(chosen) for other in keeps)]
    logit = outputs(has)[target]
    drops = [logit - outputs(tuple(part for part in has if part != left))[target] for left in has]
    idle = [part for part, drop in zip(has, drops, strict=True) if drop < 0.05 * abs(logit)]
    rows = []
    for threshold in THRESHOLDS.tolist():
        marked = {part for part in has if mass[part] > threshold * whole}
        rest = tuple(part for part in has if part not in marked)
        rows.append(
            [
                max(len(marked & set(chosen)) / len(chosen) if chosen else math.nan for chosen in minimal),
                float(outputs(tuple(marked)).argmax() == prediction),
                float(outputs(rest).argmax() != prediction),
                1 - len(marked & set(idle)) / len(idle) if idle else math.nan,
            ]
        )
    order = (1 + spearmanr(drops, mass[list(has)]).statistic) / 2 if len(has) > 1 else math.nan
    return [*np.mean(rows, 0), order]


def test_scores_are_those_of_a_literal_version():
    generator = torch.Generator().manual_seed(0)
    mass = torch.rand(60, 2, 4, generator=generator, dtype=torch.float64) ** 2
    whole = mass.sum(2) * 1.1
    active = torch.rand(60, 4, generator=generator) < 0.8
    active[:, 0] = True
    logits = torch.randn(60, 16, 3, generator=generator, dtype=torch.float64)
    shown = torch.arange(16)
    for number in range(60):  # parts that a face does not have change nothing
        missing = sum(1 << part for part in ALL if not active[number, part])
        logits[number] = logits[number, shown | missing]
    classes = torch.randint(3, (60, 2), generator=generator)
    scores = part_scores(mass, whole, logits, classes, active)
    for number, target in itertools.product(range(60), range(2)):
        has = tuple(part for part in ALL if active[number, part])
        expected = literal(
            mass[number, target].numpy(),
            float(whole[number, target]),
            logits[number].numpy(),
            int(classes[number, target]),
            has,
        )
        found = [float(values[number, target]) for name, values in scores.items() if name != "sensitive"]
        assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_the_published_parts_give_the_published_completeness():
    published = {"sufficient": 0.7353, "preserved": 0.602, "deleted": 0.532, "distraction": 0.54372, "order": 0.54592}
    scores = {name: torch.tensor(value, dtype=torch.float64) for name, value in published.items()}
    both = float(completeness_and_correctness(scores))
    completeness = 2 * both - 0.54592
    assert completeness == pytest.approx(0.583, abs=5e-4)
    contrastivity = 0.806  # which is not measured here
    assert (completeness + 0.54592 + contrastivity) / 3 == pytest.approx(0.645, abs=5e-4)


def test_parts_hold_every_action_unit_once():
    assert sorted(itertools.chain(*PART_UNITS.values())) == sorted(ACTION_UNIT_NAMES)


def test_faces_are_drawn_again_to_the_byte_and_differ_without_a_part(tmp_path: Path):
    dataset = build_plugin("dataset", "synthetic", per_class_train=2, per_class_val=1, per_class_test=2)
    faces = dataset.load(tmp_path).take(torch.tensor([3, 15, 22, 30, 33]))
    truth = faces.truth
    assert truth is not None
    assert truth.redraw is not None
    assert truth.persons is not None
    assert torch.equal(truth.redraw(truth.persons, truth.action_units), faces.images[:, 0])
    resting = truth.redraw(truth.persons, torch.zeros_like(truth.action_units))
    assert torch.equal(resting != faces.images[:, 0], truth.evidence)
    shortcut = build_plugin("dataset", "synthetic", per_class_train=1, per_class_val=0, per_class_test=0, shortcut=True)
    marked = shortcut.load(tmp_path).truth
    assert marked is not None
    assert marked.redraw is None
