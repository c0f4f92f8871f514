"""Each check of measures can fail: a measure that breaks it is caught by it, and a lawful one passes all."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
import torch
from support.plugins import install_plugin
from torch import Tensor

import fervis
from fervis.core.knobs import Above
from fervis.errors import ConfigError
from fervis.evidence.checks.table import MEASURE_CHECKS
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class Sound:
    """The correlation of a map with the brightness of the image, plus noise from the seed."""

    power: Annotated[float, Above(0)] = 1.0
    better: ClassVar[str] = "higher"
    needs: ClassVar[frozenset[str]] = frozenset()

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        grey = batch.images.double().mean(1).flatten(1)[:, None]
        x, y = (v - v.mean(2, keepdim=True) for v in (maps.double().flatten(2), grey))
        norms = x.norm(dim=2) * y.norm(dim=2)
        scores = (x * y).sum(2) / norms.where(norms > 0, float("nan"))
        scores = scores + 1e-3 * torch.rand((), generator=self.generator(batch), dtype=torch.float64)
        return self.change({"": scores.float()}, batch, maps)

    def generator(self, batch: Batch) -> torch.Generator:
        return batch.generator("evidence/sound")

    def change(self, scores: dict[str, Tensor], batch: Batch, maps: Tensor) -> dict[str, Tensor]:
        return scores


MUTANTS: dict[str, type] = {}


def breaks(*checks: str) -> Any:
    """Register a measure as one that these checks must catch."""

    def register(cls: type) -> type:
        MUTANTS.update(dict.fromkeys(checks, dataclass(cls)))
        return cls

    return register


def changed(*checks: str) -> Any:
    """Register a sound measure of which a function changes the scores, or meddles with what it is given."""

    def register(function: Any) -> Any:
        def change(self: Any, scores: dict[str, Tensor], batch: Batch, maps: Tensor) -> Any:
            return function(scores[""], batch, maps)

        breaks(*checks)(type(function.__name__, (Sound,), {"change": change}))
        return function

    return register


# What it states.


@breaks("better_is_known")
class BetterIsMore(Sound):
    better = "more"


@breaks("needs_are_known")
class NeedsLuck(Sound):
    needs = frozenset({"luck"})


@breaks("settings_have_lawful_defaults")
class WithADefaultOutOfRange(Sound):
    power: Annotated[float, Above(0)] = 0.0


@breaks("settings_refuse_wrong_types")
class TakesAnyFill(Sound):
    fill: Any = None


# The scores.


@changed("each_score_is_images_by_targets")
def one_per_image(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores[:, 0]}


@changed("the_measure_itself_is_there")
def only_a_part(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"part": scores}


@changed("names_of_scores_are_free")
def with_an_end(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores, "low": scores}


@changed("scores_are_float_and_detached")
def on_a_graph(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores.clone().requires_grad_() * 1}


@changed("scores_are_finite")
def unknown(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores * float("nan")}


@changed("a_map_of_zeros")
def over_the_maps_sum(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores.nan_to_num() + 1 / maps.abs().sum((2, 3))}


@changed("a_constant_map")
def over_the_maps_range(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores.nan_to_num() + 1 / (maps.amax((2, 3)) - maps.amin((2, 3)))}


@changed("a_map_of_one_pixel")
def over_the_median(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores + 1 / maps.flatten(2).abs().median(2).values}


@changed("a_negative_map")
def over_the_positive_part(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores + 1 / maps.relu().sum((2, 3))}


@changed("tiny_and_huge_maps")
def of_squares_of_squares(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores + maps.square().square().mean((2, 3))}


@changed("one_image_and_target")
def squeezed(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores.squeeze()}


@changed("oblong_images")
def of_square_maps(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores + 0 * (maps - maps.mT).mean((2, 3))}


@changed("color_images")
def of_grey_images(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    batch.images.view(len(batch), *batch.images.shape[2:])
    return {"": scores}


@changed("any_layout_of_maps")
def by_view(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores + maps.view(*maps.shape[:2], -1).mean(2)}


# Sense.


@breaks("a_perfect_map_beats_a_random_one", "the_opposite_map_is_no_better")
class LowerIsSaidToBeBetter(Sound):
    better = "lower"


@changed("the_map_matters")
def of_the_image(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": batch.images.mean((1, 2, 3))[:, None].expand_as(scores)}


@changed("the_unit_of_a_map_does_not_matter")
def with_the_maps_sum(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores + maps.abs().mean((2, 3))}


# Company.


@changed("an_image_alone_has_its_score")
def less_the_mean_of_images(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores - scores.mean(0, keepdim=True)}


@changed("the_order_of_images_is_free", "equal_maps_have_equal_scores")
def by_position(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores + torch.arange(len(scores))[:, None]}


@changed("a_target_alone_has_its_score")
def less_the_mean_of_targets(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores - scores.mean(1, keepdim=True)}


@changed("the_order_of_targets_is_free")
def by_position_of_the_target(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores + torch.arange(scores.shape[1])}


@changed("no_pass_is_large")
def in_one_pass(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    with torch.no_grad():
        batch.model(batch.images.repeat(500, 1, 1, 1))
    return {"": scores}


# Randomness and state.


@breaks("one_seed_gives_the_same_bytes")
class FromTheSystem(Sound):
    def generator(self, batch: Batch) -> torch.Generator:
        return torch.Generator().manual_seed(random.SystemRandom().getrandbits(40))


@breaks("global_generators_play_no_part")
class FromTorchsGenerator(Sound):
    def generator(self, batch: Batch) -> torch.Generator:
        return torch.Generator().manual_seed(torch.initial_seed())


@breaks("the_seed_decides_what_is_drawn")
class OfASeedOfItsOwn(Sound):
    def generator(self, batch: Batch) -> torch.Generator:
        batch.generator("evidence/sound")
        return torch.Generator().manual_seed(42)


@changed("pixels_are_not_written")
def writes_images(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    batch.images.mul_(0.5)
    return {"": scores}


@changed("maps_are_not_written")
def writes_maps(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    maps.clamp_(min=0)
    return {"": scores}


@changed("weights_and_buffers_are_left")
def lets_a_counter_run(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    with torch.no_grad():
        batch.model(batch.images)
    return {"": scores}


@changed("modules_are_left")
def leaves_eval_mode(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    batch.model.eval()
    return {"": scores}


@changed("global_state_is_left")
def draws_globally(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    np.random.rand()
    return {"": scores}


@changed("a_failing_pass_leaves_no_trace")
def turns_gradients_off_by_hand(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    for _ in range(2):
        batch.model(batch.images)
    torch.set_grad_enabled(before)
    return {"": scores}


@changed("without_gradients_around")
def by_gradients(scores: Tensor, batch: Batch, maps: Tensor) -> Any:
    return {"": scores + torch.zeros(1, requires_grad=True).mul(1).requires_grad}


WITH_YAML = {"yaml_states_every_setting", "yaml_names_the_source"}
OWN_ERRORS: dict[str, type[Exception]] = dict.fromkeys(
    ("oblong_images", "color_images", "any_layout_of_maps"), RuntimeError
)


def test_a_sound_measure_passes_every_check():
    outcomes = fervis.check_evidence(Sound)
    assert {outcome.status for outcome in outcomes} == {"passed"}
    assert len(outcomes) == len(MEASURE_CHECKS.entries) - len(WITH_YAML) >= 30
    assert fervis.check_evidence(Sound())[0].status == "passed"


def test_every_check_has_a_measure_that_breaks_it():
    assert set(MUTANTS) | WITH_YAML == set(MEASURE_CHECKS.entries)


@pytest.mark.parametrize("name", list(MUTANTS))
def test_a_measure_that_breaks_a_check_is_caught_by_it(name: str):
    with torch.random.fork_rng():
        run = dict(fervis.evidence_checks(MUTANTS[name]))[name]
        with pytest.raises(OWN_ERRORS.get(name, AssertionError)) as caught:
            run()
    assert str(caught.value)


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("# Correlation with brightness (Nobody 2026)\nname: sound\npower: 1.0 # exponent\n", set()),
        ("# Correlation with brightness (Nobody 2026)\nname: sound\n", {"yaml_states_every_setting"}),
        ("# Correlation with brightness\nname: sound\npower: 1.0 # exponent\n", {"yaml_names_the_source"}),
    ],
)
def test_the_yaml_file_of_a_registered_measure_is_checked(text: str, broken: set[str], tmp_path, monkeypatch):
    install_plugin(monkeypatch, tmp_path, "evidence", "sound", Sound, text)
    outcomes = fervis.check_evidence("sound", raise_error=False)
    assert {outcome.check for outcome in outcomes if outcome.status == "failed"} == broken


def test_failures_are_named_and_what_is_no_measure_is_refused():
    with pytest.raises(AssertionError, match="better_is_known: better=more: expected lower, higher or neither"):
        fervis.check_evidence(BetterIsMore)
    outcomes = fervis.check_evidence(BetterIsMore, expected_failures={"better_is_known": "for the test"})
    assert "expected" in {outcome.status for outcome in outcomes}
    with pytest.raises(AssertionError, match="it passed, though a failure is expected: why"):
        fervis.check_evidence(Sound, expected_failures={"better_is_known": "why"})
    with pytest.raises(ConfigError, match=r"^evidence=deletoin: .* Did you mean deletion\?"):
        fervis.check_evidence("deletoin")
    with pytest.raises(ConfigError, match=r"^evidence=int: expected a dataclass with a method measure"):
        fervis.check_evidence(int)
