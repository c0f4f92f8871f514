"""The sections of a model card that an evaluation's report fills."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fervis.reporting.model_card.tables import (
    class_table,
    confusion_table,
    number_text,
    reliability_table,
    results_table,
    runs_table,
)


def factors_section(report: Mapping[str, Any]) -> str:
    """By what the results are told apart, and by what they are not."""
    subsets = "\n".join(f"- `{name}`: {text}." for name, text in report["subsets"].items())
    return (
        f"Results are told apart by class ({', '.join(report['classes'])}), by the views averaged at test time "
        "(`none`: the face itself; `flip`: and its mirror image; `tencrop`: four corners, the centre and their mirror "
        f"images; probabilities are averaged) and by subset:\n\n{subsets}\n\n"
        "They are not told apart by who is shown."
    )


def input_sentence(report: Mapping[str, Any]) -> str:
    """How the intervals of this report were made."""
    told = report["interval"]
    return (
        f" Here: {100 * told['level']:g} % intervals from {told['resamples']:,} resamples of "
        f"{told['units']}, seed {told['seed']}."
    )


def evaluation_data(report: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """What the images of each split are."""
    lines = [
        f"- {names.get(split, split)}: {counts['n']:,} labelled images; {counts['copies_of_train']:,} are exact copies "
        f"of images in train, {counts['surplus_copies']:,} are surplus copies within the split."
        for split, counts in report["data"].items()
    ]
    return "\n".join(lines)


def analyses_section(
    report: Mapping[str, Any],
    names: Mapping[str, str],
    split: str,
    runs: Mapping[str, Any] | None,
    ensemble: Mapping[str, Any] | None,
) -> str:
    """All tables; of the first kind of views by class for each split, calibration and confusion for ``split``."""

    def of_all(part: str) -> tuple[str, Mapping[str, Any]]:
        kind, subsets = next(iter(report["results"][part].items()))
        return f"{names.get(part, part)}, views `{kind}`, subset `full`", subsets["full"]

    parts = {"All results": results_table(report, names)}
    for part in report["results"]:
        where, score = of_all(part)
        parts[f"By class: {where}"] = class_table(score)
    where, score = of_all(split)
    parts[f"Calibration: {where}"] = reliability_table(score)
    parts[f"Confusion, % of the label's images: {where}"] = confusion_table(score, report["classes"])
    if runs is not None:
        title = f"Mean ± standard deviation over {runs['runs']} seeds"
        parts[title] = runs_table(runs, names)
    if ensemble is not None:
        parts["Ensemble of the runs (mean of their probabilities)"] = results_table(ensemble, names)
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in parts.items())


def caveats_section(report: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """What a reader of the numbers must know: leaks, label noise, selection, small classes."""
    lines = []
    for split, counts in report["data"].items():
        name = names.get(split, split)
        if counts["copies_of_train"]:
            share = number_text(counts["copies_of_train"] / counts["n"], percent=True)
            lines.append(
                f"- Leak: {counts['copies_of_train']:,} of {counts['n']:,} images of {name} ({share} %) stand in "
                "train; `without_copies` leaves them out. Near copies are not counted."
            )
        agreement = counts.get("ferplus_label_agreement")
        if agreement is not None:
            lines.append(
                f"- Label noise: on `ferplus_majority`, {name}'s label is the class the raters chose in "
                f"{number_text(agreement, percent=True)} % of the images; a network that always gave the raters' class "
                "would be right that often there, measured by the label."
            )
    if not any("ferplus" in counts for counts in report["data"].values()):
        lines.append("- Label noise was not measured: the data at hand have no votes of several raters.")
    lines += [
        "- val served to choose the network, so its numbers are optimistic; those of test count.",
        "- Two networks whose intervals overlap may still differ: compare their answers image by image.",
        "- Classes with few images have wide intervals, and an interval of no width says that nothing else was seen, "
        "not that nothing else can happen.",
    ]
    return "\n".join(lines)
