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
    name, count, measured = group.classes[group.cell.label], len(group.cell.positions), len(group.rows)
    some = f"{measured:,}" if measured == count else f"{measured:,} of the {count:,}"
    return f"For comparison, {some} {name} faces that are taken for {name}."


def effect_sentences(group: MeasuredGroup) -> str:
    """Say which regions speak for which class beyond random patches, and which one flips most predictions."""
    spoken = [_speakers(group, sign, group.classes[number]) for sign, number in zip((1, -1), group.pair, strict=True)]
    if not any(spoken):
        return f"No region speaks clearly for either class beyond random patches of the same area. {_flips(group)}"
    silent = [f"no region clearly for {group.classes[number]}" for number in group.pair]
    words = [said or none for said, none in zip(spoken, silent, strict=True)]
    return (
        f"Beyond random patches of the same area, {'; '.join(sorted(words, key=silent.__contains__))}. {_flips(group)}"
    )


def template_sentence(group: MeasuredGroup) -> str:
    """Say of how many faces the regions are those of a mean face; empty where all are known."""
    unknown = int((~group.regions.known).sum())
    if not unknown:
        return ""
    return f"Of {unknown} of the {len(group.rows)} faces the regions are a mean face's, for lack of landmarks."


def _speakers(group: MeasuredGroup, sign: int, name: str) -> str:
    """List the regions that clearly speak for a class, the strongest first; empty where there are none."""
    beyond = {region: sign * float(group.values["beyond"][region]) for region in group.shown}
    clear = [region for region in group.shown if group.clear["beyond"][region] and beyond[region] > 0]
    clear = sorted(clear, key=lambda region: -beyond[region])
    if not clear:
        return ""
    listed = [f"the {_word(region)} ({_logits(group, region)})" for region in clear[:NAMED]]
    more = [f"{len(clear) - NAMED} more"] if len(clear) > NAMED else []
    verb = "speak" if len(clear) > 1 or _is_plural(clear[0]) else "speaks"
    return f"{_joined_words([*listed, *more])} {verb} for {name}"


def _logits(group: MeasuredGroup, region: int) -> str:
    ends = (float(group.values[f"beyond{end}"][region]) for end in ("", "/low", "/high"))
    return format_interval(Interval(*ends), "+.2f")


def _flips(group: MeasuredGroup) -> str:
    """Say which region flips most predictions to the other class of the pair, and whether patches flip as many."""
    turned, flips = group.classes[group.turned], group.values["flips"]
    region = max(group.shown, key=lambda one: float(flips[one].nan_to_num(-1)))
    share = Interval(*(float(group.values[f"flips{end}"][region]) for end in ("", "/low", "/high")))
    known = int(group.effects.effects[:, region].isfinite().sum())
    count = round(share.value * known) if known else 0
    if not count:
        return f"Hiding a region turns none of these faces to {turned}."
    random, third = (float(group.values[name][region]) for name in ("flips/random", "elsewhere"))
    words = [format_interval(share.informative.percent, ".0f", unit=" %")]
    if math.isfinite(random):
        clearly = "" if group.clear["flips/beyond"][region] else ", no clear difference"
        words.append(
            f"random patches of {'their' if _is_plural(region) else 'its'} area {_whole_percent(random)}{clearly}"
        )
    words += [f"to a third class {_whole_percent(third)}"] if third else []
    most = f"Of all regions, hiding the {_word(region)} turns the most faces to {turned}"
    return f"{most}: {count} of {known} ({'; '.join(words)})."


def _is_plural(region: int) -> bool:
    return FACE_REGIONS[region] in PLURAL_REGIONS


def _word(region: int) -> str:
    return region_words(FACE_REGIONS[region])


def _whole_percent(share: float) -> str:
    return f"{format_number(100 * share, '.0f')} %"


def _joined_words(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
