"""The contract suite for explainers, fervis's own and other people's, in scikit-learn's way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from fervis.errors import ConfigError
from fervis.explainers.checks import (  # noqa: F401, each module registers its checks, in this order
    batches,
    declarations,
    determinism,
    failures,
    invariance,
    kinds,
    layers,
    shapes,
    state,
    targets,
)
from fervis.explainers.checks.subject import CHECK_IMAGES, Subject
from fervis.explainers.checks.table import TABLE
from fervis.explainers.explain import checked_images
from fervis.models.checks.outcomes import CheckOutcome, NamedCheck, outcomes_of

NetworkOrBuilder = nn.Module | Callable[..., nn.Module]


def check_explainer(
    explainer: Any,
    *,
    model: NetworkOrBuilder | None = None,
    images: Tensor | None = None,
    knobs: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    raise_error: bool = True,
) -> list[CheckOutcome]:
    """Check whether an explainer fulfills the contract: shapes, determinism, batches, targets, state, and more.

    Args:
        explainer: a registered name, a plug-in's class, or a plug-in that is built.
        model: what it is tried on: a function ``build(channels, classes)`` that returns a network for 16x16 images, or
            a network; None for a small convolutional network. Checks of other forms of a network need None or a
            function.
        images: [N,C,H,W] float, at least 3, as the network takes them; None for random ones.
        knobs: settings that differ from the defaults, such as fewer samples.
        expected_failures: name of a check -> why it fails. Strict: one that passes is an error.
        raise_error: raise at the end if any check failed.

    Returns:
        The outcome of each check that concerns the explainer.

    Raises:
        AssertionError: checks failed, or passed that were expected to fail; each is named with its reason.
        ConfigError: there is no such explainer or check.
    """
    checks = explainer_checks(explainer, model=model, images=images, knobs=knobs)
    return outcomes_of(checks, expected_failures, raise_error)


def explainer_checks(
    explainer: Any,
    *,
    model: NetworkOrBuilder | None = None,
    images: Tensor | None = None,
    knobs: Mapping[str, Any] | None = None,
) -> list[NamedCheck]:
    """Return the name of each check that concerns an explainer, with a function that runs it.

    They are for ``pytest.mark.parametrize(("name", "check"), ...)``; nothing is computed yet. The functions share what
    they compute. Each raises AssertionError where the contract is broken, and ``unittest.SkipTest``, which pytest
    understands, where the given network is not suitable for the check.

    Args:
        explainer: as in ``check_explainer``.
        model: as in ``check_explainer``.
        images: as in ``check_explainer``.
        knobs: as in ``check_explainer``.
    """
    subject = Subject(explainer, dict(knobs or {}), model, None if images is None else checked_images(images))
    checks = TABLE.checks_of(subject)
    if subject.given is not None and len(subject.given) < CHECK_IMAGES:
        raise ConfigError(f"images: expected at least {CHECK_IMAGES}, not {len(subject.given)}.")
    return checks
