"""Backward rules: replace how gradients pass through modules of a type, in one forward and backward pass.

A rule is a function of the module and its input that computes the module's output with a custom backward pass,
usually by a ``torch.autograd.Function``::

    rules = {nn.ReLU: lambda module, x: GuidedRectifier.apply(x)}
    for one in batch.gradients(rules): ...

The forward values stay the network's own. A rule for a type also covers its subclasses, unless these have one of their
own; modules without a rule keep their backward pass.

Operations that are no modules (``F.relu``, ``x.relu_()``, ``x + y``) are reached by ``GraphRules``, which see the graph
that autograd recorded of the forward pass, whoever called its operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Protocol

from torch import Tensor, nn
from torch.autograd.graph import Node

Rule = Callable[[nn.Module, Tensor], Tensor]
Rules = Mapping[type[nn.Module], Rule]


class GraphRules(Protocol):
    """Backward rules by operation: of the functions that a forward pass calls, or of the nodes of its graph."""

    def forward(self) -> AbstractContextManager[object]:
        """Return what is in effect during the forward pass, such as a ``TorchFunctionMode``."""
        ...

    def attach(self, scores: Tensor) -> None:
        """Put hooks on nodes of the graph behind the scores [N,T], before the first backward pass."""
        ...


def in_effect(rules: Rules | GraphRules | None, model: nn.Module) -> AbstractContextManager[object]:
    """Return what rules of either kind need during the forward pass."""
    if not rules:
        return nullcontext()
    return applied(rules, model) if isinstance(rules, Mapping) else rules.forward()


def attach(rules: Rules | GraphRules | None, scores: Tensor) -> None:
    """Let rules of the graph's nodes, if these are such, put their hooks."""
    if rules and not isinstance(rules, Mapping):
        rules.attach(scores)


def nodes_behind(scores: Tensor) -> Iterator[Node]:
    """Yield each node of the graph that a tensor comes from, once."""
    waiting, seen = [scores.grad_fn], {scores.grad_fn}
    while waiting:
        node = waiting.pop()
        if node is not None:
            yield node
            new = {following for following, _ in node.next_functions} - seen
            seen |= new
            waiting.extend(new)


@contextmanager
def applied(rules: Rules, model: nn.Module) -> Iterator[None]:
    """Compute the modules that have a rule by it, inside; their ``forward`` is afterwards as it was."""
    with ExitStack() as changes:
        for module in model.modules():
            rule = rule_of(module, rules)
            if rule is not None:
                changes.callback(_restore_forward, module, vars(module).get("forward"))
                module.forward = partial(rule, module)
        yield


def rule_of(module: nn.Module, rules: Rules) -> Rule | None:
    """Return the rule of the nearest of a module's types that has one."""
    return next((rules[kind] for kind in type(module).__mro__ if kind in rules), None)


def _restore_forward(module: nn.Module, own: object) -> None:
    """Give back a module's ``forward``: its class's, or one that was set on the module itself."""
    del module.forward
    if own is not None:
        module.forward = own  # pyright: ignore[reportAttributeAccessIssue]
