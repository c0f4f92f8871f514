"""Cases of the contract tests: the checks of every plug-in, with those that it cannot pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest


def contract_cases(
    name: str, checks: Sequence[tuple[str, Callable[[], None]]], expected: Mapping[str, str]
) -> Iterator[Any]:
    """Yield a case per check of a plug-in; one that is expected to fail must fail."""
    for check, run in checks:
        marks = [pytest.mark.xfail(reason=expected[check], strict=True)] if check in expected else []
        yield pytest.param(run, id=f"{name}-{check}", marks=marks)
