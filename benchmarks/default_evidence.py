"""Measure what ``evidence=default`` adds to a cheap explanation, as a run's stages ``explain`` and ``evidence`` do.

    env OMP_NUM_THREADS=1 python benchmarks/default_evidence.py [--rounds 7] [--evidence default] [--each]

The network is vgg8 with initial weights on 14 drawn faces of 48x48, one target each, which costs what learned weights
do. The stage ``explain`` predicts the faces and explains them; the stage ``evidence`` scores their maps and those of
the baselines, and computes means, intervals, sentences and warnings. ``bare`` is the explanation without the
predictions.
``--each`` also takes each measure by itself.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from measure import seconds_of

from fervis.core.protocols import RunInfo
from fervis.core.results import Explanation
from fervis.explainers.explain import explain_batch
from fervis.runs.artifacts import RunMetadata
from fervis.runs.config import compose_config, to_run_config
from fervis.runs.evidence import evidence_metrics, score_maps, with_scores
from fervis.runs.explain import explain_faces
from fervis.runs.inputs import RunInputs, load_inputs, plan_targets
from fervis.runs.map_sentences import baseline_warnings, map_sentences, randomization_warnings
from fervis.runs.setup import RunSetup, build_run, image_tensor

METHODS = {"saliency": "input", "gradcam": "conv7"}


def prepared(method: str, evidence: str, folder: Path) -> tuple[RunSetup, RunInputs]:
    """Return what a run of a method needs, with its faces drawn and its network built."""
    question = [f"explainer={method}", f"layer={METHODS[method]}", f"evidence=[{evidence}]", "faces=per_class:2"]
    question += ["dataset=synthetic", "checkpoint=initial", f"outputs={folder}", "quiet=true"]
    setup = build_run(to_run_config(compose_config(question)))
    record = RunMetadata("", RunInfo("", "", folder, {}), 0, setup.device, setup.precision, setup.threads)
    return setup, load_inputs(setup, record, setup.config.cache)


def score(setup: RunSetup, inputs: RunInputs, explanation: Explanation) -> None:
    """Do what the stage ``evidence`` does."""
    scored = with_scores(explanation, score_maps(setup, inputs, explanation))
    randomization_warnings(setup.evidence, [scored], 0)
    baseline_warnings(setup.evidence, [scored], 0)
    map_sentences(setup.evidence, scored)
    evidence_metrics([scored], 0)


def bare(setup: RunSetup, inputs: RunInputs, explanation: Explanation) -> Callable[[], Any]:
    """Return the explanation alone, of faces whose predictions are known."""
    loaded, faces = inputs.checkpoints[0].batch, inputs.selected
    pixels = image_tensor(faces, setup)
    targets = plan_targets("auto", faces, loaded.model, loaded.classes, pixels, explanation.predictions)
    batch = replace(loaded, images=pixels, targets=targets)
    return lambda: explain_batch(setup.explainer, batch)


def works_of(method: str, evidence: str, folder: Path, each: bool) -> Mapping[str, Callable[[], Any]]:
    """Return the works to time, by name."""
    setup, inputs = prepared(method, evidence, folder)
    explanation, _, _ = explain_faces(setup, inputs, inputs.selected)
    works: dict[str, Callable[[], Any]] = {
        "explain": lambda: explain_faces(setup, inputs, inputs.selected),
        "bare": bare(setup, inputs, explanation),
        "evidence": lambda: score(setup, inputs, explanation),
    }
    for name, measure in setup.evidence.items() if each else ():
        works[name] = partial(score, replace(setup, evidence={name: measure}), inputs, explanation)
    return works


def main() -> None:
    """Print the ratios, each the median over the rounds with its range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--evidence", default="default", help="names, separated by commas")
    parser.add_argument("--each", action="store_true")
    arguments = parser.parse_args()
    print("| method | work | ms | x explain | x bare |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for method in METHODS:
            works = works_of(method, arguments.evidence, Path(folder), arguments.each)
            taken = seconds_of(works, arguments.rounds)
            for name, seconds in taken.items():
                cells = [method, name, f"{1000 * median(seconds):.0f}"]
                for unit in ("explain", "bare"):
                    ratios = [one / other for one, other in zip(seconds, taken[unit], strict=True)]
                    cells.append(f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
