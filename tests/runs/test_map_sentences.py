"""Maps in words and warnings of evidence, from scores that are set by hand; and what a run writes of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from support.command import SMALL

from fervis.core.faces import Faces
from fervis.core.registry import build_plugin
from fervis.core.results import Explanation, HeatMaps
from fervis.evidence.regions.sentences import region_sentence
from fervis.runs.map_sentences import SAME_MAP, baseline_warnings, map_sentences, randomization_warnings

MOUTH = {"mouth/share": 0.41, "mouth/area": 0.12, "eyes/share": 0.3, "eyes/area": 0.1, "template": 0.0}


def explanation_of(scores: dict[str, list[float]], rows: list[int]) -> Explanation:
    count = len(rows)
    faces = Faces(
        images=torch.zeros(count, 1, 4, 4, dtype=torch.uint8),
        labels=torch.zeros(count, dtype=torch.int64),
        rows=torch.tensor(rows),
        splits=torch.zeros(count, dtype=torch.uint8),
        classes=("happy", "neutral"),
    )
    return Explanation(
        result=HeatMaps(torch.zeros(count, 4, 4), "unit", signed=False),
        faces=faces,
        layers=("conv7",) * count,
        targets=("happy",) * count,
        predictions=torch.zeros(count, dtype=torch.int64),
        probabilities=torch.zeros(count, 2),
        classes=("happy", "neutral"),
        explainer="gradcam",
        model="vgg8",
        dataset="fer2013",
        evidence={name: torch.tensor(values) for name, values in scores.items()},
    )


@pytest.mark.parametrize(
    ("scores", "target", "sentence"),
    [
        (MOUTH, "conv7/4", "The mouth holds 41 % of the map on 12 % of the image."),
        (
            {**MOUTH, "probability": 0.98, "mouth/drop": 0.67, "mouth/random": 0.04},
            "neutral",
            "The mouth holds 41 % of the map on 12 % of the image; hiding it lowers neutral from 0.98 to 0.31, random "
            "patches of that area on the face lead to 0.94 in the mean.",
        ),
        (
            {**MOUTH, "probability": 0.5, "mouth/drop": -0.1, "mouth/random": math.nan},
            "neutral",
            "The mouth holds 41 % of the map on 12 % of the image; hiding it raises neutral from 0.50 to 0.60.",
        ),
        (
            {"eyes/share": 0.3, "eyes/area": 0.1, "probability": 0.5, "eyes/drop": 0.001, "template": 1.0},
            "neutral",
            "The eyes hold 30 % of the map on 10 % of the image; hiding them keeps neutral at 0.50. The regions are "
            "those of a mean face: this image has no landmarks of its own.",
        ),
        (
            {**MOUTH, "action_units/share": 0.6, "action_units/area": 0.25},
            "happy",
            "The mouth holds 41 % of the map on 12 % of the image. The regions of its action units, AU6 and AU12, "
            "hold 60 % on 25 %.",
        ),
        (
            {"mouth/share": 0.12, "mouth/area": 0.12, "eyes/share": 0.1, "eyes/area": 0.1},
            "happy",
            "No region holds 2 % of the map beyond its area.",
        ),
        ({"mouth/share": math.nan, "mouth/area": 0.1}, "happy", "The map is zero everywhere and marks no region."),
    ],
)
def test_a_map_in_words_of_regions(scores: dict[str, float], target: str, sentence: str):
    assert region_sentence(scores, target) == sentence


def test_a_map_that_is_no_better_than_a_baseline_is_called_so():
    measures = {name: build_plugin("evidence", name) for name in ("deletion", "insertion", "sparseness")}
    scores = {
        "deletion": [0.31, 0.1],
        "deletion/edge_map": [0.29, 0.2],
        "deletion/random_map": [0.5, 0.5],
        "insertion": [0.4, 0.8],
        "insertion/edge_map": [0.4, math.nan],
        "sparseness": [0.1, 0.1],
        "sparseness/edge_map": [0.5, 0.5],
    }
    first, second = map_sentences(measures, explanation_of(scores, [3, 4]))
    assert first == (
        "It is no better than an edge map by deletion (0.31 against 0.29, lower is better) and insertion "
        "(0.40 against 0.40, higher is better)."
    )
    assert second == ""
    assert map_sentences(measures, explanation_of({}, [3, 4])) == ()
    assert map_sentences({}, explanation_of(scores, [3, 4])) == ()


def test_a_run_is_warned_of_where_the_interval_of_paired_differences_reaches_zero():
    measures = {name: build_plugin("evidence", name) for name in ("deletion", "insertion")}
    explanation = explanation_of(
        {
            "deletion": [0.30, 0.35, 0.40, 0.45],
            "deletion/random_map": [0.40, 0.45, 0.50, 0.55],  # always worse by 0.1, though the values overlap
            "deletion/edge_map": [0.20, 0.25, 0.30, 0.35],
            "insertion": [0.5, 0.5, 0.5, 0.5],
            "insertion/edge_map": [0.4, 0.4, 0.4, 0.6],
        },
        [1, 2, 3, 4],
    )
    warnings = baseline_warnings(measures, [explanation], 0)
    assert len(warnings) == 2
    assert warnings[0].startswith("By deletion, the maps at conv7 are no better than an edge map: 0.375 against 0.275")
    assert "-0.100, 95 % interval -0.100 to -0.100" in warnings[0]
    assert warnings[1].startswith("By insertion, the maps at conv7 are not shown to be better than an edge map")
    halves = [
        explanation_of({name: values[part].tolist() for name, values in explanation.evidence.items()}, rows)
        for part, rows in ((slice(0, 2), [1, 2]), (slice(2, 4), [3, 4]))
    ]
    assert baseline_warnings(measures, halves, 0) == warnings
    assert baseline_warnings(measures, [explanation_of({"deletion": [0.5], "deletion/edge_map": [0.1]}, [1])], 0) == []


def test_a_run_says_its_maps_in_words_in_summary_caption_and_page(fervis: Callable[..., CompletedProcess[str]]):
    command = [*SMALL, "model.weights=fer2013", "visualizer.dpi=50", "explainer=gradcam", "layer=conv7"]
    done = fervis(*command, "evidence=region_shares", "evidence.region_shares.patches=1", "-q")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    summary = json.loads((folder / "summary.json").read_text())
    sentences = [entry["sentence"] for entry in summary["entries"]]
    assert all(sentence.endswith(".") and "mean face" not in sentence for sentence in sentences)
    captions = " ".join(figure["caption"] for figure in summary["figures"])
    page = (folder / "report.html").read_text()
    assert all(sentence in captions and sentence in page for sentence in sentences)
    assert "In words" in page
    assert "region_shares/mouth/share/edge_map" in summary["numbers"]
    assert not any(name.endswith("drop/edge_map") for name in summary["numbers"])


@pytest.mark.parametrize(
    ("scores", "warns"), [([0.9, 0.8, 0.7], True), ([SAME_MAP] * 3, False), ([0.9, 0.8, 0.1], False)]
)
def test_a_map_that_a_random_network_gives_too_is_warned_of(scores: list[float], warns: bool):
    measures = {"random_network": build_plugin("evidence", "random_network")}
    found = randomization_warnings(measures, [explanation_of({"random_network": scores}, [3, 5, 8])], seed=0)
    assert len(found) == int(warns)
    if warns:
        assert found[0].startswith(
            "By random_network, the maps at conv7 resemble those of the same network without anything learned: rank "
            "correlation 0.80, 95 % interval 0.7"
        )


def test_means_over_partly_random_networks_warn_of_nothing():
    for name, knobs in (("model_parameters", {}), ("model_parameters", {"steps": 1, "order": "independent"})):
        measures = {name: build_plugin("evidence", name, **knobs)}
        assert not randomization_warnings(measures, [explanation_of({name: [0.9, 0.9]}, [3, 5])], seed=0)


def test_regions_are_described_by_the_measure_that_hides_them_where_there_are_two():
    measures = {name: build_plugin("evidence", name) for name in ("region_mass", "region_shares")}
    masses = {f"region_mass/{name}": [value] for name, value in MOUTH.items()}
    hidden = MOUTH | {"probability": 0.9, "mouth/drop": 0.4}
    shares = {f"region_shares/{name}": [value] for name, value in hidden.items()}
    one = {"region_mass": measures["region_mass"]}
    assert map_sentences(one, explanation_of(masses, [3]))[0].startswith("The mouth holds 41 % of the map on 12 %")
    both = map_sentences(measures, explanation_of(masses | shares, [3]))
    assert "hiding it lowers happy from 0.90 to 0.50" in both[0]
