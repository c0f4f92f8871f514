"""Evaluate trained networks once, one by one and over seeds, and write the results into their folders."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fervis import __version__
from fervis.core.faces import Faces
from fervis.core.network import Network
from fervis.core.results import Figure
from fervis.datasets.audit import audit_dataset
from fervis.errors import ConfigError
from fervis.metrics.classifier.evaluation import SINGLE, Evaluation, evaluate, evaluate_predictions
from fervis.metrics.classifier.seeds import ensemble, mean_of_runs
from fervis.reporting.model_card.card import ModelCardInfo, model_card
from fervis.system.console import log
from fervis.system.files import atomic_path, write_text
from fervis.visualizers.figures.confusion_matrix import draw_confusion
from fervis.visualizers.figures.learning_curves import draw_learning_curves

EVALUATION_VIEWS = ("none", "flip", "tencrop")


def evaluate_training(
    network: Network, faces: Faces, folder: Path, history: Mapping[str, Any], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Evaluate the best epoch's network on val and test, and write the results into the training's folder.

    Written are ``probabilities.npz``, ``curves.png``, ``confusion.png``, ``card.md`` and last ``evaluation.json``, so
    the others exist where it does. The epoch was chosen on val; test is used here, once.

    Args:
        network: with the best epoch's weights.
        faces: every split, since copies of training faces are a subset of their own.
        folder: of the training.
        history: the training's record.
        facts: of the model card: ``model``, ``dataset``, ``command``, ``seed``, ``trainer``.

    Returns:
        The evaluation's report.
    """
    path = folder / "evaluation.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    log.info("evaluating the best epoch, %d, on val and test", history["best"])
    evaluation = evaluate(network, faces, views=EVALUATION_VIEWS, seed=int(facts["seed"]))
    report = evaluation.report
    save_probabilities(evaluation, folder / "probabilities.npz")
    draw_evaluation(report, folder, history, facts)
    weights = folder / f"epoch_{history['best']:03d}.safetensors"
    info = ModelCardInfo(
        name=f"{facts['model']} on {facts['dataset']}",
        dataset=str(facts["dataset"]),
        command=str(facts["command"]),
        seeds=(int(facts["seed"]),),
        architecture=facts.get("architecture"),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        input=f"{network.size} x {network.size} pixels in [0, 1], {'grey' if network.channels == 1 else 'RGB'}",
        version=__version__,
        licence=facts.get("licence"),
        weights=hashlib.sha256(weights.read_bytes()).hexdigest(),
        data=faces.fingerprint(),
        extra_data="none",
        trainer=facts["trainer"],
        selection=f"epoch {history['best']} of {history['last']}, by accuracy on val",
        audit=audit_dataset(faces),
    )
    write_text(folder / "card.md", model_card(report, info))
    write_text(path, json.dumps(report, indent=1, allow_nan=False) + "\n")
    return report


def draw_evaluation(
    report: Mapping[str, Any], folder: Path, history: Mapping[str, Any], facts: Mapping[str, Any]
) -> list[Figure]:
    """Draw ``curves.png`` and, where test has labels, ``confusion.png`` into a training's folder."""
    name = f"{facts['model']} on {facts['dataset']}"
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as lines:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]
    figures = [draw_learning_curves(rows, folder / "curves.png", title=name, best=int(history["best"]))]
    return figures + draw_test_confusion(report, folder / "confusion.png", name)


def draw_test_confusion(report: Mapping[str, Any], path: Path, name: str) -> list[Figure]:
    """Draw the confusion matrix of test; nothing where test has no labels."""
    if "test" not in report["results"]:
        return []
    scored = report["results"]["test"]["none"]["full"]
    title = f"{name}, test: {format_accuracy(scored['accuracy'])}"
    return [draw_confusion(np.array(scored["confusion"]["counts"]), report["classes"], path, title=title)]


def headline(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the report's main metrics, such as ``test/accuracy``: of all images, without test-time augmentation."""
    found = {
        f"{split}/{metric}": looks["none"]["full"][metric]["value"]
        for split, looks in report["results"].items()
        for metric in SINGLE
    }
    return {name: value for name, value in found.items() if value is not None}


def evaluate_seeds(folders: Sequence[Path], faces: Faces, folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Summarize several evaluated trainings that differ in the seed alone.

    Written into ``folder``: ``card.md``, the ensemble's ``probabilities.npz`` and ``confusion.png``, and last
    ``summary.json``.

    Args:
        folders: of the trainings.
        faces: every split.
        folder: where to write.
        facts: as ``evaluate_training`` takes them, with ``seeds`` in the order of the folders.

    Returns:
        The summary: ``trainings`` (name of the folder, seed, best epoch and headline numbers of each), ``runs`` (of
        ``mean_of_runs``) and ``ensemble``, the report of the mean of their probabilities.

    Raises:
        ConfigError: the trainings are not of the same faces.
    """
    summary_file = folder / "summary.json"
    if summary_file.is_file():
        return json.loads(summary_file.read_text(encoding="utf-8"))
    reports = [json.loads((path / "evaluation.json").read_text(encoding="utf-8")) for path in folders]
    histories = [json.loads((path / "training.json").read_text(encoding="utf-8")) for path in folders]
    runs = mean_of_runs(reports)
    answers = [dict(np.load(path / "probabilities.npz", allow_pickle=False)) for path in folders]
    if any(not np.array_equal(one[key], answers[0][key]) for one in answers for key in one if key.endswith("/rows")):
        raise ConfigError("seed: the trainings were evaluated on different faces.")
    together: dict[str, dict[str, torch.Tensor]] = {split: {} for split in reports[0]["results"]}
    for split, views in together.items():
        for view in reports[0]["results"][split]:
            views[view] = ensemble([torch.from_numpy(one[f"{split}/{view}"]) for one in answers])
    evaluation = evaluate_predictions(together, faces, tuple(reports[0]["classes"]), seed=int(facts["seed"]))
    seeds = [int(seed) for seed in facts["seeds"]]
    name = f"{facts['model']} on {facts['dataset']}"
    summary = {
        "trainings": [
            {"training": one.name, "seed": seed, "best": history["best"], **headline(report)}
            for one, seed, history, report in zip(folders, seeds, histories, reports, strict=True)
        ],
        "runs": runs,
        "ensemble": evaluation.report,
    }
    save_probabilities(evaluation, folder / "probabilities.npz")
    draw_test_confusion(evaluation.report, folder / "confusion.png", f"{name}, ensemble of {len(folders)}")
    info = ModelCardInfo(
        name=f"{name}, {len(folders)} seeds (all but mean and ensemble: seed {seeds[0]})",
        dataset=str(facts["dataset"]),
        command=str(facts["command"]),
        seeds=tuple(seeds),
        architecture=facts.get("architecture"),
        version=__version__,
        data=faces.fingerprint(),
        extra_data="none",
        trainer=facts["trainer"],
        selection="of each seed the best epoch, by accuracy on val; no seed was left out",
        audit=audit_dataset(faces),
    )
    write_text(folder / "card.md", model_card(reports[0], info, runs=runs, ensemble=evaluation.report))
    write_text(summary_file, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    return summary


def save_probabilities(evaluation: Evaluation, path: Path) -> None:
    """Write every face's probabilities for ensembles and paired tests, as ``<split>/<view>`` and ``<split>/rows``."""
    found = {f"{split}/rows": rows.numpy() for split, rows in evaluation.rows.items()}
    for split, answers in evaluation.probabilities.items():
        found |= {f"{split}/{view}": answer.float().numpy() for view, answer in answers.items()}
    with atomic_path(path) as partial:
        np.savez_compressed(partial, allow_pickle=False, **found)


def format_accuracy(scored: Mapping[str, Any]) -> str:
    """Return a value with its 95 % interval, such as ``67.1 % [65.5, 68.6]``."""
    return f"{100 * scored['value']:.1f} % [{100 * scored['low']:.1f}, {100 * scored['high']:.1f}]"


def accuracy_table(report: Mapping[str, Any]) -> str:
    """Return the report's accuracies as a table with one line per split, views and subset."""
    lines = ["split  view     subset              n   accuracy [95 %]          macro-F1"]
    for split, looks in report["results"].items():
        for view, subsets in looks.items():
            for subset, scored in subsets.items():
                accuracy = scored["accuracy"]
                macro = format_accuracy(scored["macro_f1"]) if scored["macro_f1"]["value"] is not None else "-"
                lines.append(
                    f"{split:<6} {view:<8} {subset:<16} {accuracy['n']:>5}   {format_accuracy(accuracy):<24} {macro}"
                )
    return "\n".join(lines)


def seeds_table(summary: Mapping[str, Any]) -> str:
    """Return the summary as a table: each training, then mean, standard deviation and ensemble by split and subset."""
    runs = summary["runs"]
    lines = ["seed  best epoch  val accuracy  test accuracy  training"]
    for one in summary["trainings"]:
        val, test = (f"{100 * one[key]:.1f} %" if key in one else "-" for key in ("val/accuracy", "test/accuracy"))
        lines.append(f"{one['seed']:<5} {one['best']:>10}  {val:>12}  {test:>13}  {one['training']}")
    head = f"accuracy over {runs['runs']} seeds"
    lines += ["", f"split  view     subset              n   {head:<24} ensemble [95 %]"]
    for split, looks in runs["results"].items():
        for view, subsets in looks.items():
            for subset, scored in subsets.items():
                one, all_of_them = scored["accuracy"], summary["ensemble"]["results"][split][view][subset]["accuracy"]
                spread = f" ± {100 * one['sd']:.2f}" if one["sd"] is not None else ""
                mean = f"{100 * one['mean']:.2f}{spread} %"
                lines.append(
                    f"{split:<6} {view:<8} {subset:<16} {scored['n']:>5}   {mean:<24} {format_accuracy(all_of_them)}"
                )
    return "\n".join(lines)
