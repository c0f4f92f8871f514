"""What a trained network is worth: measured once when its training is whole, and kept beside its checkpoints."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fervis.atomic import whole_file, write_text
from fervis.engines.audit import audit
from fervis.engines.confusion import draw_confusion
from fervis.engines.curves import draw_curves
from fervis.engines.evaluation import Evaluation, evaluate
from fervis.engines.model_card import Facts, model_card
from fervis.faces import Faces
from fervis.network import Network

VIEWS = ("none", "flip", "tencrop")
log = logging.getLogger("fervis")


def assess_training(
    network: Network, faces: Faces, folder: Path, history: Mapping[str, Any], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Evaluate the best epoch's network on val and test, and write what was found into the training's folder.

    ``evaluation.json`` (written last: where it is, all is), ``probabilities.npz``, ``curves.png``, ``confusion.png``
    and ``card.md``. The epoch was chosen on val; test is looked at here, once.

    Args:
        network: with the best epoch's weights.
        faces: every split, since copies of training faces are told apart.
        folder: of the training.
        history: the training's record.
        facts: what the card must be told: ``model``, ``dataset``, ``command``, ``seed``, ``trainer``.

    Returns:
        The evaluation's report.
    """
    path = folder / "evaluation.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    log.info("evaluating the best epoch, %d, on val and test", history["best"])
    evaluation = evaluate(network, faces, views=VIEWS, seed=int(facts["seed"]))
    report = evaluation.report
    keep_probabilities(evaluation, folder / "probabilities.npz")
    rows = [
        {name: float(value) for name, value in row.items()}
        for row in csv.DictReader((folder / "metrics.csv").read_text(encoding="utf-8").splitlines())
    ]
    name = f"{facts['model']} on {facts['dataset']}"
    draw_curves(rows, folder / "curves.png", title=name, best=int(history["best"]))
    if "test" in report["results"]:
        scored = report["results"]["test"]["none"]["full"]
        title = f"{name}, test: {percent(scored['accuracy'])}"
        draw_confusion(
            np.array(scored["confusion"]["counts"]), report["classes"], folder / "confusion.png", title=title
        )
    weights = folder / f"epoch_{history['best']:03d}.safetensors"
    told = Facts(
        name=name,
        dataset=str(facts["dataset"]),
        command=str(facts["command"]),
        seeds=(int(facts["seed"]),),
        architecture=facts.get("architecture"),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        input=f"{network.size} x {network.size} pixels in [0, 1], {'grey' if network.channels == 1 else 'RGB'}",
        version=version("fervis"),
        licence=facts.get("licence"),
        weights=hashlib.sha256(weights.read_bytes()).hexdigest(),
        data=faces.fingerprint(),
        extra_data="none",
        trainer=facts["trainer"],
        selection=f"epoch {history['best']} of {history['last']}, by accuracy on val",
        audit=audit(faces),
    )
    write_text(folder / "card.md", model_card(report, told))
    write_text(path, json.dumps(report, indent=1, allow_nan=False) + "\n")
    return report


def keep_probabilities(evaluation: Evaluation, path: Path) -> None:
    """Write the answers to every face, for ensembles and paired tests: ``<split>/<view>`` and ``<split>/rows``."""
    found = {f"{split}/rows": rows.numpy() for split, rows in evaluation.rows.items()}
    for split, answers in evaluation.probabilities.items():
        found |= {f"{split}/{view}": answer.float().numpy() for view, answer in answers.items()}
    with whole_file(path) as partial:
        np.savez_compressed(partial, allow_pickle=False, **found)


def percent(scored: Mapping[str, Any]) -> str:
    """``67.1 % [65.5, 68.6]``: a value with its 95 % interval."""
    return f"{100 * scored['value']:.1f} % [{100 * scored['low']:.1f}, {100 * scored['high']:.1f}]"


def told(report: Mapping[str, Any]) -> str:
    """The report's accuracies as lines: a split, a way of looking and a subset each."""
    lines = ["split  view     subset              n   accuracy [95 %]          macro-F1"]
    for split, looks in report["results"].items():
        for view, subsets in looks.items():
            for subset, scored in subsets.items():
                accuracy = scored["accuracy"]
                macro = percent(scored["macro_f1"]) if scored["macro_f1"]["value"] is not None else "-"
                lines.append(f"{split:<6} {view:<8} {subset:<16} {accuracy['n']:>5}   {percent(accuracy):<24} {macro}")
    return "\n".join(lines)
