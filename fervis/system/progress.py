"""Progress bars: on standard error, on a terminal only, for what takes longer than a moment; none where it is quiet.

The command shows them. Whoever calls fervis from Python sees none, unless they say ``with quietly(False)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

DELAY = 1.0  # seconds after which a bar appears: what is done by then needs none
_quiet: ContextVar[bool] = ContextVar("quiet", default=True)


@contextmanager
def quiet_progress(quiet: bool = True) -> Iterator[None]:
    """Draw no progress bar inside, or draw them."""
    token = _quiet.set(quiet)
    try:
        yield
    finally:
        _quiet.reset(token)


def progress(
    things: Iterable[Any] | None,
    doing: str,
    unit: str,
    *,
    total: float | None = None,
    scaled: bool = False,
    quiet: bool = False,
) -> tqdm[Any]:
    """A bar over ``things``, or one to be moved by ``update``; it goes away when all is done.

    Args:
        things: what is gone through; None for a bar that is moved by hand, which is best used with ``with``.
        doing: what is being done, in a word or two.
        unit: what is counted, in the singular.
        total: how many there are, where ``things`` does not tell.
        scaled: whether large numbers are shown as thousands and millions, as for bytes.
        quiet: draw none in any case.
    """
    return tqdm(
        things,
        doing,
        total,
        unit=unit,
        unit_scale=scaled,
        delay=DELAY,
        leave=False,
        dynamic_ncols=True,
        disable=True if quiet or _quiet.get() else None,  # None: unless standard error is a terminal
    )
