"""Checks that a call leaves everything as it was, after success."""

from __future__ import annotations

from typing import Any

from fervis.explainers.checks.subject import CHECK_IMAGES, Subject, expect, run_method
from fervis.explainers.checks.table import contract
from fervis.models.checks.snapshots import awkward, reset_globals, same, snapshot


def _states(subject: Subject) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the snapshots before and after one call of ``explain``, made once."""
    if "states" not in subject.saved:
        network = awkward(subject.network())
        images = subject.images(CHECK_IMAGES if subject.gives_maps else 2 * CHECK_IMAGES)
        method, batch = subject.batch(network, images)
        before = snapshot(network, images)
        run_method(subject, method, batch)
        subject.saved["states"] = before, snapshot(network, images)
        reset_globals(before)
    return subject.saved["states"]


def _expect_left(subject: Subject, aspect: str, what: str) -> None:
    before, after = _states(subject)
    expect(same(before[aspect], after[aspect]), f"{what} after the call are not as they were before it.")


@contract()
def check_images_are_not_written(subject: Subject) -> None:
    """The caller's images are as they were."""
    _expect_left(subject, "images", "the images")


@contract()
def check_train_and_eval_modes_are_left(subject: Subject) -> None:
    """Each module is in train or eval mode as before."""
    _expect_left(subject, "modes", "train and eval modes of modules")


@contract()
def check_requires_grad_is_left(subject: Subject) -> None:
    """Each parameter's ``requires_grad`` is as before."""
    _expect_left(subject, "requires_grad", "flags requires_grad of parameters")


@contract()
def check_gradients_of_parameters_are_left(subject: Subject) -> None:
    """Each parameter's ``.grad`` is as before: None, or the same values."""
    _expect_left(subject, "gradients", "gradients of parameters")


@contract()
def check_weights_are_left(subject: Subject) -> None:
    """Each parameter is the same object with the same values in the same memory."""
    _expect_left(subject, "weights", "weights")


@contract()
def check_buffers_are_left(subject: Subject) -> None:
    """Running statistics and counters are as before."""
    _expect_left(subject, "buffers", "buffers")


@contract()
def check_hooks_are_removed(subject: Subject) -> None:
    """The hooks of others are there, and no others."""
    _expect_left(subject, "hooks", "hooks of modules")


@contract()
def check_attributes_of_modules_are_left(subject: Subject) -> None:
    """No ``forward`` or other attribute stays on a module, and those of others are there."""
    _expect_left(subject, "attributes", "attributes of modules")


@contract()
def check_random_states_are_left(subject: Subject) -> None:
    """The global generators of torch, numpy and Python are in the state they were in."""
    _expect_left(subject, "random states", "global random states")


@contract()
def check_global_modes_are_left(subject: Subject) -> None:
    """Gradient mode, default dtype, deterministic algorithms, threads and the like are as before."""
    _expect_left(subject, "global modes", "global modes of torch")
