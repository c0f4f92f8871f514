"""The order in which the values of a setting are listed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any


def order_values(values: Iterable[str], listed: Sequence[str] = ()) -> list[str]:
    """Order values as a reader expects: numbered ones by number, else as the command lists them, else by name.

    Example:
        >>> order_values({"conv10", "conv2"}), order_values({"lime", "gradcam"}, ["lime", "gradcam"])
        (['conv2', 'conv10'], ['lime', 'gradcam'])
    """
    values = set(values)
    stems = {re.sub(r"\d+", "#", value) for value in values}
    numbered = (len(stems) == 1 and "#" in next(iter(stems))) or all(is_number(value) for value in values)
    if not numbered and values <= set(listed):
        return sorted(values, key=list(listed).index)
    return sorted(values, key=natural_key)


def is_number(text: str) -> bool:
    """Return whether the text of a setting is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def natural_key(value: str) -> tuple[Any, ...]:
    """Return a key that sorts conv2 before conv10, numbers before words, and the input before every layer.

    Example:
        >>> sorted(["conv10", "conv2", "8", "input"], key=natural_key)
        ['input', '8', 'conv2', 'conv10']
    """
    if value == "input":
        return (0, ())
    if is_number(value):
        return (1, float(value))
    return (2, [(int(part), "") if part.isdecimal() else (-1, part) for part in re.findall(r"\d+|\D+", value)])
