"""Checks that a call that fails half-way leaves everything as it was, and that its error is not swallowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from fervis.explainers.checks.subject import Subject, expect, run_method
from fervis.explainers.checks.table import contract
from fervis.models.checks.networks import leaves
from fervis.models.checks.snapshots import awkward, reset_globals, same, snapshot

_MOST_POINTS = 6  # of failure, evenly spread over all at which a call could fail


class Midway(BaseException):
    """An error that no explainer expects, such as an interruption by a key."""


class _Fuse:
    """A counter of events that raises at one of them."""

    def __init__(self, at: int = -1) -> None:
        self.at, self.count = at, 0

    def __call__(self) -> None:
        self.count += 1
        if self.count - 1 == self.at:
            raise Midway


Install = Callable[[nn.Module, _Fuse], Any]


@contextmanager
def _in_modules(network: nn.Module, fuse: _Fuse) -> Iterator[None]:
    with ExitStack() as hooks:
        for module in leaves(network):
            hooks.callback(module.register_forward_pre_hook(lambda *_: fuse()).remove)
        yield


@contextmanager
def _in_passes(network: nn.Module, fuse: _Fuse) -> Iterator[None]:
    forward = network.forward

    def counted(*arguments: Any, **more: Any) -> Any:
        fuse()
        return forward(*arguments, **more)

    network.forward = counted
    try:
        yield
    finally:
        del network.forward


@contextmanager
def _in_backward(network: nn.Module, fuse: _Fuse) -> Iterator[None]:
    def watch(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(lambda gradient: fuse())

    with ExitStack() as hooks:
        for module in leaves(network):
            hooks.callback(module.register_forward_hook(watch).remove)
        yield


def _fail_everywhere(subject: Subject, install: Install) -> None:
    """Let a call fail at points spread over all, and compare the states before and after each."""
    counter = _Fuse()
    _call(subject, install, counter)
    step = max(1, -(-counter.count // _MOST_POINTS))
    points = {*range(0, counter.count, step), counter.count - 1} - {-1}
    for point in sorted(points):
        left, raised = _call(subject, install, _Fuse(point))
        expect(raised, f"an error at event {point} of {counter.count} was swallowed.")
        expect(not left, f"after an error at event {point} of {counter.count}: {', '.join(left)} not as before.")


def _call(subject: Subject, install: Install, fuse: _Fuse) -> tuple[list[str], bool]:
    """Return what a call left otherwise than before, and whether it raised the error."""
    network, images = awkward(subject.network()), subject.images(2 if subject.gives_maps else 6)
    method, batch = subject.batch(network, images, target=0)
    raised = False
    before = snapshot(network, images)
    with install(network, fuse):
        watched = snapshot(network, images)
        try:
            run_method(subject, method, batch)
        except Midway:
            raised = True
        after = snapshot(network, images)
    reset_globals(before)
    return [aspect for aspect in watched if not same(watched[aspect], after[aspect])], raised


@contract()
def check_an_error_in_a_module_leaves_no_trace(subject: Subject) -> None:
    """After an error in any module the network, the images and all global state are as before."""
    _fail_everywhere(subject, _in_modules)


@contract()
def check_an_error_in_a_pass_leaves_no_trace(subject: Subject) -> None:
    """After an error in any forward pass, those of a fused network included, all is as before."""
    _fail_everywhere(subject, _in_passes)


@contract()
def check_an_error_in_a_backward_pass_leaves_no_trace(subject: Subject) -> None:
    """After an error in any backward pass all is as before."""
    _fail_everywhere(subject, _in_backward)
