"""Results of a kind of one's own: entries are joined and taken, what is shared by all entries stays as it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar

import pytest
import torch
from torch import Tensor

from fervis.core.results import SHARED, Progress, entry_fields, join_results, take_from_result
from fervis.runs.chunked.serialization import pack_result, unpack_result


@dataclass(frozen=True)
class Profile:
    """A row of numbers per entry, on an axis that all entries share."""

    values: Tensor
    words: tuple[str, ...]
    parts: dict[str, Tensor]
    axis: Annotated[tuple[int, ...], SHARED]
    scale: Annotated[Tensor, SHARED]
    unit: str
    kind: ClassVar[str] = "profile"

    def arrays(self) -> dict[str, Any]:
        """Return the values."""
        return {"values": self.values.numpy()}

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return the word of an entry."""
        return {"word": self.words[entry]}


@dataclass(frozen=True)
class Counted:
    """A kind that joins in a way of its own."""

    total: int
    kind: ClassVar[str] = "counted"

    @classmethod
    def join(cls, results: Sequence[Counted]) -> Counted:
        return cls(sum(result.total for result in results))


def profile(first: int, count: int) -> Profile:
    numbers = torch.arange(first, first + count)
    return Profile(
        values=numbers[:, None] * torch.ones(2),
        words=tuple(f"entry {number}" for number in numbers.tolist()),
        parts={"half": numbers / 2},
        axis=(5, 7, 11),
        scale=torch.tensor([1.0, 2.0]),
        unit="logit",
    )


def assert_same(one: Profile, other: Profile) -> None:
    for f in fields(one):
        first, second = getattr(one, f.name), getattr(other, f.name)
        if isinstance(first, Tensor):
            assert torch.equal(first, second), f.name
        elif isinstance(first, dict):
            assert first.keys() == second.keys()
            assert all(torch.equal(first[key], second[key]) for key in first), f.name
        else:
            assert first == second, f.name


def test_entries_are_joined_and_shared_fields_are_not_repeated():
    joined = join_results([profile(0, 2), profile(2, 3), profile(5, 1)])
    assert entry_fields(joined) == ["values", "words", "parts", "unit"]
    assert_same(joined, profile(0, 6))
    one = profile(0, 2)
    assert join_results([one]) is one


def test_entries_are_taken_in_any_order_with_all_that_is_shared():
    taken = take_from_result(profile(0, 6), torch.tensor([4, 0, 4]))
    assert taken.values[:, 0].tolist() == [4, 0, 4]
    assert taken.words == ("entry 4", "entry 0", "entry 4")
    assert taken.parts["half"].tolist() == [2, 0, 2]
    assert (taken.axis, taken.scale.tolist(), taken.unit) == ((5, 7, 11), [1, 2], "logit")


def test_a_kind_may_join_in_a_way_of_its_own():
    assert join_results([Counted(2), Counted(5)]) == Counted(7)


def test_a_plug_ins_kind_is_unpacked_as_it_was_packed():
    tensors, metadata = pack_result(profile(3, 4))
    assert_same(unpack_result(tensors, json.loads(json.dumps(metadata)), Profile), profile(3, 4))


@pytest.mark.parametrize("count", [1, 3])
def test_the_epochs_of_a_training_hold_for_all_its_entries(count: int):
    def progress(entries: int) -> Progress:
        table = {"loss": torch.rand(entries, 2)}
        return Progress((1, 5), table, table, table)

    joined = join_results([progress(count), progress(2)])
    assert joined.epochs == (1, 5)
    assert joined.values["loss"].shape == (count + 2, 2)
    assert take_from_result(joined, torch.tensor([0])).epochs == (1, 5)
