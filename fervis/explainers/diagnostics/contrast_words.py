"""Confused faces in words: which regions speak for which class, and which of them flip predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fervis.core.intervals import Interval, format_interval, format_number
from fervis.datasets.landmarks.regions import FACE_REGIONS, PLURAL_REGIONS, region_words
from fervis.explainers.diagnostics.groups import MeasuredGroup

NAMED = 3  # regions of either class


def cell_sentence(group: MeasuredGroup, labelled: int, share: Interval, split: str) -> str:
    """Say how many faces of the target are taken for the other class, and how many of them are measured."""
    target, other = (group.classes[number] for number in group.pair)
    count, measured = len(group.cell.positions), len(group.rows)
    words = format_interval(share.informative.percent, ".1f", unit=" %")
    some = "" if measured == count else f"; {measured} of them, drawn at random, are measured"
    return (
        f"The network takes {count:,} of the {labelled:,} {target} faces of split={split} ({words}) for {other}{some}."
    )


def right_sentence(group: MeasuredGroup) -> str:
    """Say which faces are compared with."""
    name = group.classes[group.cell.label]
    return f"On {len(group.rows)} {name} faces that are taken for {name}, for comparison:"


def effect_sentences(group: MeasuredGroup) -> str:
    """Say which regions speak for which class beyond random patches, and what flips most predictions."""
    target, other = (group.classes[number] for number in group.pair)
    spoken = [_speakers(group, 1, target), _speakers(group, -1, other)]
    sentence = f"{spoken[0]}, {spoken[1]}, beyond random patches of the same area."
    return f"{sentence[:1].upper()}{sentence[1:]} {_flips(group)}"


def template_sentence(group: MeasuredGroup) -> str:
    """Say of how many faces the regions are those of a mean face; empty where all are known."""
    unknown = int((~group.regions.known).sum())
    if not unknown:
        return ""
    return f"{unknown} of the {len(group.rows)} faces have no landmarks of their own, and the regions of a mean face."


def _speakers(group: MeasuredGroup, sign: int, name: str) -> str:
    """List the regions whose effect beyond random patches has this sign, the strongest first."""
    beyond = {region: sign * float(group.values["beyond"][region]) for region in group.shown}
    clear = [region for region in group.shown if group.clear[region] and beyond[region] > 0]
    clear = sorted(clear, key=lambda region: -beyond[region])
    if not clear:
        return f"no region speaks clearly for {name}"
    listed = [f"the {_word(region)} ({_logits(group, region)})" for region in clear[:NAMED]]
    more = [f"{len(clear) - NAMED} more"] if len(clear) > NAMED else []
    verb = "speak" if len(clear) > 1 or FACE_REGIONS[clear[0]] in PLURAL_REGIONS else "speaks"
    return f"{_joined([*listed, *more])} {verb} for {name}"


def _logits(group: MeasuredGroup, region: int) -> str:
    ends = (float(group.values[f"beyond{end}"][region]) for end in ("", "/low", "/high"))
    return format_interval(Interval(*ends), "+.2f")


def _flips(group: MeasuredGroup) -> str:
    """Say which region flips most predictions to the other class of the pair."""
    turned, flips = group.classes[group.turned], group.values["flips"]
    region = max(group.shown, key=lambda one: float(flips[one].nan_to_num(-1)))
    share = Interval(*(float(group.values[f"flips{end}"][region]) for end in ("", "/low", "/high")))
    known = int(group.effects.effects[:, region].isfinite().sum())
    count = round(share.value * known) if known else 0
    if not count:
        return f"Hiding a region turns no face to {turned}."
    random, third = (float(group.values[name][region]) for name in ("flips/random", "elsewhere"))
    beside = f", random patches of its area {_percent(random)}" if math.isfinite(random) else ""
    rest = f"; {_percent(third)} turn to a third class" if third else ""
    words = format_interval(share.informative.percent, ".0f", unit=" %")
    word = _word(region)
    return f"Hiding the {word} turns most faces to {turned}: {count} of {known} ({words}){beside}{rest}."


def _word(region: int) -> str:
    return region_words(FACE_REGIONS[region])


def _percent(share: float) -> str:
    return f"{format_number(100 * share, '.0f')} %"


def _joined(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
