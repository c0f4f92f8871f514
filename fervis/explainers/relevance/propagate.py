"""Propagate relevance backwards through a tape, from a target to any values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fervis.explainers.relevance.operations import Flow
from fervis.explainers.relevance.tape import Operation, Tape, Value


@dataclass(frozen=True)
class Relevance:
    """The relevance of a value for T targets.

    Attributes:
        values: T tensors of the value's shape.
        absorbed: T tensors [N], what biases and stabilisers absorbed between the targets and the value.
    """

    values: list[Tensor]
    absorbed: list[Tensor]


def propagate(
    tape: Tape,
    start: Value,
    seeds: Sequence[Tensor],
    wanted: Sequence[Value],
    flow_of: Callable[[Operation], Flow],
) -> dict[Value, Relevance]:
    """Return the relevance of the wanted values that the start depends on; each operation is visited once.

    Args:
        tape: of a forward pass.
        start: the value whose relevance is given.
        seeds: its relevance for each of T targets.
        wanted: where relevance is wanted; nothing before the first of them is computed.
        flow_of: how relevance passes through an operation.
    """
    reached = _leading_to(tape, wanted)
    relevance: dict[Value, list[Tensor]] = {start: list(seeds)}
    absorbed = [torch.zeros_like(seed.flatten(1)[:, 0]) for seed in seeds]
    results: dict[Value, Relevance] = {}

    def finish(value: Value) -> None:
        if value in wanted and value in relevance:
            results[value] = Relevance(relevance[value], list(absorbed))

    for operation in reversed(tape.operations):
        outputs = [value for value in operation.outputs if value is not None]
        for value in outputs:
            finish(value)
        arrived = {value: relevance.pop(value) for value in outputs if value in relevance}
        if not arrived or not any(value in reached for value in operation.inputs):
            continue
        flow = flow_of(operation)
        for number in range(len(seeds)):
            passed, lost = flow([_at(arrived, value, number) for value in outputs])
            absorbed[number] = absorbed[number] + lost
            for value, share in passed.items():
                if value in reached:
                    sums = relevance.setdefault(value, [])
                    if number == len(sums):
                        sums.append(share)
                    else:
                        sums[number] = sums[number] + share
    for value in wanted:
        if value.producer is None:
            finish(value)
    return results


def _at(arrived: Mapping[Value, list[Tensor]], value: Value, number: int) -> Tensor:
    """Return the relevance of an output for a target; 0 where nothing arrived."""
    return arrived[value][number] if value in arrived else torch.zeros_like(value.tensor)


def _leading_to(tape: Tape, wanted: Sequence[Value]) -> set[Value]:
    """Return the values that depend on any of the wanted, these included."""
    reached = set(wanted)
    for operation in tape.operations:
        if any(value in reached for value in operation.inputs):
            reached.update(value for value in operation.outputs if value is not None)
    return reached
