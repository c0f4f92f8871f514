"""A network's model card (Mitchell et al. 2019, arXiv:1810.03993): what it is, how good it is, what it is not for.

The standing text is that of ``model_card.md.j2``; every number comes from the evaluation. What the caller does not know
is called not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from fervis.reporting.model_card.tables import (
    SPLIT_NAMES,
    class_table,
    confusion_table,
    number_text,
    reliability_table,
    results_table,
    runs_table,
)
from fervis.reporting.rendering import render_template


@dataclass(frozen=True)
class ModelCardInfo:
    """The contents of a card besides the evaluation. None means that it was not recorded.

    Attributes:
        name: of the network.
        dataset: as in the config, such as ``fer2013``.
        command: that trains it.
        seeds: of the training, one per run.
        architecture: one sentence.
        parameters: how many.
        input: what the network takes, such as ``48 x 48 pixels, grey``.
        version: of fervis.
        licence: of the weights.
        weights: SHA-256 of the file of weights.
        data: fingerprint of the faces.
        extra_data: pretraining or images other than the data set's own, or ``none``.
        trainer: its knobs.
        selection: how epoch and knobs were chosen, and on which split.
        audit: counts of ``fervis.datasets.audit.audit_dataset``.
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
    info: ModelCardInfo,
    *,
    runs: Mapping[str, Any] | None = None,
    ensemble: Mapping[str, Any] | None = None,
) -> str:
    """Return the card as Markdown.

    Args:
        report: of ``fervis.metrics.classifier.evaluation.Evaluation``.
        info: what else is known.
        runs: of ``fervis.metrics.classifier.seeds.mean_of_runs``, where the network was trained with several seeds.
        ensemble: a report like ``report``, of the runs' ensemble.
    """
    names = SPLIT_NAMES.get(info.dataset, {})
    results = report["results"]

    def split_name(split: str) -> str:
        return names.get(split, split)

    def subset_name(split: str) -> str:
        return f"{split_name(split)}, views `{next(iter(results[split]))}`, subset `full`"

    return render_template(
        "model_card.md.j2",
        report=report,
        info=info,
        runs=runs,
        ensemble=ensemble,
        training=None if info.trainer is None else ", ".join(f"{key}={value}" for key, value in info.trainer.items()),
        main_split="test" if "test" in results else next(iter(results)),
        votes_measured=any("ferplus" in counts for counts in report["data"].values()),
        split_name=split_name,
        percent=partial(number_text, percent=True),
        subset_name=subset_name,
        # By class, calibration and confusion are of the first kind of views.
        full_score=lambda split: next(iter(results[split].values()))["full"],
        results_table=partial(results_table, names=names),
        runs_table=partial(runs_table, names=names),
        class_table=class_table,
        reliability_table=reliability_table,
        confusion_table=confusion_table,
    )
