"""Maps in words: what the scores of a map say of regions, and no more than they carry."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fervis.datasets.landmarks.regions import FACE_REGIONS, PLURAL_REGIONS, expression_units, region_words

_FLAT = 0.02  # of the map: a region that holds no more than this beyond its area is not singled out


def region_sentence(scores: Mapping[str, float], target: str, codebook: str = "emfacs") -> str:
    """Describe the region that a map marks most beyond its area, and what hiding it does.

    Args:
        scores: of one map, by name, as ``region_shares`` gives them.
        target: what is explained: a class, or a filter.
        codebook: which action units make an expression.

    Example:
        >>> scores = {"mouth/share": 0.41, "mouth/area": 0.12, "probability": 0.98, "mouth/drop": 0.67}
        >>> region_sentence(scores, "happy")
        'The mouth holds 41 % of the map on 12 % of the image; hiding it lowers happy from 0.98 to 0.31.'
    """
    excess = {name: _score(scores, f"{name}/share") - _score(scores, f"{name}/area") for name in FACE_REGIONS}
    known = {name: value for name, value in excess.items() if math.isfinite(value)}
    if not known:
        return "The map is zero everywhere and marks no region."
    name = max(known, key=lambda region: known[region])
    if known[name] < _FLAT:
        return f"No region holds {_percent(_FLAT)} of the map beyond its area.{_template_note(scores)}"
    return _of_region(scores, name, target) + _action_units(scores, target, codebook) + _template_note(scores)


def _of_region(scores: Mapping[str, float], name: str, target: str) -> str:
    several = name in PLURAL_REGIONS
    share, area = (_percent(_score(scores, f"{name}/{part}")) for part in ("share", "area"))
    words = f"The {region_words(name)} {'hold' if several else 'holds'} {share} of the map on {area} of the image"
    before, drop, random = (_score(scores, key) for key in ("probability", f"{name}/drop", f"{name}/random"))
    if math.isfinite(before) and math.isfinite(drop):
        words += f"; hiding {'them' if several else 'it'} {_change(before, drop, target)}"
        if math.isfinite(random):
            words += f", random patches of that area on the face lead to {before - random:.2f} in the mean"
    return f"{words}."


def _change(before: float, drop: float, target: str) -> str:
    start, end = f"{before:.2f}", f"{before - drop:.2f}"
    verb = "keeps" if start == end else "lowers" if drop > 0 else "raises"
    return f"{verb} {target} at {start}" if start == end else f"{verb} {target} from {start} to {end}"


def _action_units(scores: Mapping[str, float], target: str, codebook: str) -> str:
    share, area = (_score(scores, f"action_units/{part}") for part in ("share", "area"))
    units = expression_units(target, codebook)
    if not units or not math.isfinite(share) or not math.isfinite(area):
        return ""
    listed = " and ".join([", ".join(units[:-1]), units[-1]] if len(units) > 1 else units)
    return f" The regions of its action units, {listed}, hold {_percent(share)} on {_percent(area)}."


def _template_note(scores: Mapping[str, float]) -> str:
    if _score(scores, "template") == 1:
        return " The regions are those of a mean face: this image has no landmarks of its own."
    return ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _score(scores: Mapping[str, float], name: str) -> float:
    return scores.get(name, math.nan)
