"""What fervis says when a question is wrong or a run fails: one sentence with the nearest known name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """The question cannot be answered as it was asked. The command ends with exit code 2."""


class RunError(RuntimeError):
    """The question was right and its run failed. The command ends with exit code 1."""


def nearest_name(word: str, known: Iterable[object]) -> str:
    """``' Did you mean conv7?'`` for ``cnv7`` among the layers, or an empty string where nothing is near."""
    names = {str(name).lower(): str(name) for name in known}
    close = get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return f" Did you mean {names[close[0]]}?" if close else ""


def unknown_name(what: str, word: object, known: Iterable[object], *, limit: int = 40) -> ConfigError:
    """Return the error for a name that does not exist: the value, the nearest name and the known names.

    Example:
        >>> str(unknown_name("layer", "cnv2", ["conv1", "conv2"]))
        'layer=cnv2: there is no such layer. Did you mean conv2? Known: conv1, conv2.'
    """
    names = [str(name) for name in known]
    listed = ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")
    return ConfigError(f"{what}={word}: there is no such {what}.{nearest_name(str(word), names)} Known: {listed}.")


# The names of fervis 0.1, to be removed in 0.3.
WrongQuestion = ConfigError
RunFailed = RunError
