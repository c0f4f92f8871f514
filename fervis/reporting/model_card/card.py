"""A network's model card (Mitchell et al. 2019, arXiv:1810.03993): what it is, what it is worth, what it is not for.

Every number of a card is handed in; what is not handed in is called not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fervis.reporting.model_card.sections import (
    analyses_section,
    caveats_section,
    evaluation_data,
    factors_section,
    input_sentence,
)
from fervis.reporting.model_card.tables import SPLIT_NAMES
from fervis.reporting.model_card.text import DATA, ETHICS, FORBIDDEN, INTENDED, METRIC_TEXT

UNKNOWN = "not recorded"


@dataclass(frozen=True)
class ModelCardInfo:
    """What a card must be told beside the evaluation. None means that nobody recorded it.

    Attributes:
        name: of the network.
        dataset: as in the config, such as ``fer2013``.
        command: that trains it.
        seeds: of the training, one a run.
        architecture: one sentence.
        parameters: how many.
        input: what the network takes, such as ``48 x 48 pixels, grey``.
        version: of fervis.
        licence: of the weights.
        weights: SHA-256 of the file of weights.
        data: fingerprint of the faces.
        extra_data: pretraining or images beside the data set's own, or ``none``.
        trainer: its knobs.
        selection: how epoch and knobs were chosen, and on which split.
        audit: what ``fervis.datasets.audit.audit_dataset`` counted.
        contact: where to ask.
    """

    name: str
    dataset: str
    command: str
    seeds: tuple[int, ...]
    architecture: str | None = None
    parameters: int | None = None
    input: str | None = None
    version: str | None = None
    licence: str | None = None
    weights: str | None = None
    data: str | None = None
    extra_data: str | None = None
    trainer: Mapping[str, Any] | None = None
    selection: str | None = None
    audit: Mapping[str, Any] | None = None
    contact: str | None = None


def model_card(
    report: Mapping[str, Any],
    facts: ModelCardInfo,
    *,
    runs: Mapping[str, Any] | None = None,
    ensemble: Mapping[str, Any] | None = None,
) -> str:
    """The card as Markdown.

    Args:
        report: of ``fervis.metrics.classifier.evaluation.Evaluation``.
        facts: what else is known.
        runs: of ``fervis.metrics.classifier.seeds.mean_of_runs``, where the network was trained with several seeds.
        ensemble: a report like ``report``, of the runs' ensemble.
    """
    names = SPLIT_NAMES.get(facts.dataset, {})
    split = "test" if "test" in report["results"] else next(iter(report["results"]))
    sections = {
        f"# Model card: {facts.name}": "",
        "## Model details": _details(facts),
        "## Intended use": INTENDED,
        "## Out-of-scope and forbidden use": FORBIDDEN,
        "## Factors": factors_section(report),
        "## Metrics": METRIC_TEXT + input_sentence(report),
        "## Evaluation data": evaluation_data(report, names),
        "## Training data": _training_data(facts, names),
        "## Quantitative analyses": analyses_section(report, names, split, runs, ensemble),
        "## Ethical considerations": ETHICS,
        "## Caveats and recommendations": caveats_section(report, names),
    }
    return "\n\n".join(part for pair in sections.items() for part in pair if part) + "\n"


def _details(facts: ModelCardInfo) -> str:
    details = {
        "Architecture": facts.architecture,
        "Parameters": None if facts.parameters is None else f"{facts.parameters:,}",
        "Input": facts.input,
        "Output": "a probability for each class; the classes exclude each other",
        "Made with": None if facts.version is None else f"fervis {facts.version}",
        "Licence of the weights": facts.licence,
        "Weights, SHA-256": facts.weights,
        "Contact": facts.contact,
    }
    return _list(details)


def _training_data(facts: ModelCardInfo, names: Mapping[str, str]) -> str:
    text = DATA.get(facts.dataset, f"The data set `{facts.dataset}` is not described here.")
    knobs = None if facts.trainer is None else ", ".join(f"{key}={value}" for key, value in facts.trainer.items())
    details: dict[str, str | None] = {
        "Data, SHA-256": facts.data,
        "Data beside it": facts.extra_data,
        "Seeds": ", ".join(map(str, facts.seeds)),
        "Training": knobs,
        "Selection": facts.selection,
    }
    if facts.audit is not None:
        audit = facts.audit
        sizes = ", ".join(f"{names.get(split, split)} {count:,}" for split, count in audit["splits"].items())
        conflicts = audit["conflicts"]
        details |= {
            "Images": sizes,
            "Surplus exact copies": f"{audit['duplicates']['surplus']:,}",
            "Copies with different labels": f"{conflicts['images']:,} images in {conflicts['groups']:,} groups",
        }
        if facts.dataset == "fer2013":
            details["Class counts"] = "those of the original" if audit["original"] else "not those of the original"
    return f"{text}\n\n{_list(details)}\n\nTrained with:\n\n    {facts.command}"


def _list(details: Mapping[str, str | None]) -> str:
    return "\n".join(f"- {name}: {UNKNOWN if value is None else value}" for name, value in details.items())
