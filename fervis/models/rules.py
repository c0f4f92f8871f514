"""Backward rules: replace how gradients pass through modules of a type, in one forward and backward pass.

A rule is a function of the module and its input that computes the module's output with a backward pass of its own,
usually by a ``torch.autograd.Function``::

    rules = {nn.ReLU: lambda module, x: GuidedRectifier.apply(x)}
    for one in batch.gradients(rules): ...

The forward values stay the network's own. A rule for a type also covers its subclasses, unless these have one of their
own; modules without a rule keep their backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import Tensor, nn

Rule = Callable[[nn.Module, Tensor], Tensor]
Rules = Mapping[type[nn.Module], Rule]


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
