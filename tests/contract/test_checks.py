"""Each check of the contract can fail: an explainer that breaks it is caught by it, and a lawful one passes all."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
import torch
from support.plugins import install_plugin
from torch import Tensor, nn

import fervis
from fervis.core.knobs import Above
from fervis.core.results import ExplainerOutput, HeatMaps, LayerMaps
from fervis.errors import ConfigError, RunError
from fervis.explainers.checks.suite import TABLE
from fervis.models.batch import Batch
from fervis.models.checks.networks import CheckNetwork


@dataclass
class Lawful:
    """Gradient times activation with a random factor."""

    power: Annotated[float, Above(0)] = 1.0
    result: ClassVar[Any] = HeatMaps
    scope: ClassVar[str] = "image"
    takes: ClassVar[frozenset[str]] = frozenset({"layers", "pixels", "classes", "filters"})
    default_layer: ClassVar[str] = "last_conv"

    def explain(self, batch: Batch) -> Any:
        draw = 1 + torch.rand((), generator=self.generator(batch))
        maps: dict[str, list[Tensor]] = {}
        for one in batch.gradients(**self.arguments(batch)):
            for name, gradients in one.gradients.items():
                maps.setdefault(name, []).append((gradients * one.activations[name]).sum(1) * draw)
        stacked = {name: self.change(torch.stack(parts, 1), batch) for name, parts in maps.items()}
        scores = {"highest": next(iter(stacked.values())).amax((2, 3))}
        return LayerMaps(stacked, "gradient × activation at {layer}", signed=True, scores=scores)

    def generator(self, batch: Batch) -> torch.Generator:
        return batch.generator("explainer/lawful")

    def arguments(self, batch: Batch) -> dict[str, Any]:
        return {}

    def change(self, maps: Tensor, batch: Batch) -> Tensor:
        return maps


MUTANTS: dict[str, type] = {}


def breaks(*checks: str) -> Any:
    """Register an explainer as one that these checks must catch."""

    def register(cls: type) -> type:
        MUTANTS.update(dict.fromkeys(checks, dataclass(cls)))
        return cls

    return register


def changed(*checks: str) -> Any:
    """Register a lawful explainer whose maps a function changes."""

    def register(function: Any) -> Any:
        breaks(*checks)(type(function.__name__, (Lawful,), {"change": lambda self, maps, batch: function(maps, batch)}))
        return function

    return register


def meddling(*checks: str) -> Any:
    """Register a lawful explainer that meddles with the batch before it explains."""

    def register(function: Any) -> Any:
        def explain(self: Any, batch: Batch) -> Any:
            function(batch)
            return Lawful.explain(self, batch)

        breaks(*checks)(type(function.__name__, (Lawful,), {"explain": explain}))
        return function

    return register


def returning(*checks: str) -> Any:
    """Register a lawful explainer of which a function changes what it returns."""

    def register(function: Any) -> Any:
        def explain(self: Any, batch: Batch) -> Any:
            return function(Lawful.explain(self, batch))

        breaks(*checks)(type(function.__name__, (Lawful,), {"explain": explain}))
        return function

    return register


# What it states.


@breaks("scope_is_known")
class OfAnUnknownScope(Lawful):
    scope = "picture"


@breaks("result_has_a_kind")
class OfNoResult(Lawful):
    result = int


@breaks("takes_are_known")
class TakesColors(Lawful):
    takes = frozenset({"layers", "colors"})


@breaks("default_layer_is_lawful")
class StartsAtTheFirst(Lawful):
    default_layer = "first"


@breaks("knobs_have_lawful_defaults")
class DefaultOutOfRange(Lawful):
    power: Annotated[float, Above(0)] = 0.0


@breaks("knobs_refuse_wrong_types")
class TakesAnything(Lawful):
    fill: Any = None


# The maps.


@changed("maps_are_images_by_targets")
def without_the_targets_axis(maps: Tensor, batch: Batch) -> Tensor:
    return maps[:, :1].expand(-1, 5, -1, -1)


@returning("maps_are_of_known_layers")
def with_maps_of_elsewhere(maps: LayerMaps) -> LayerMaps:
    return replace(maps, maps={**maps.maps, "elsewhere": next(iter(maps.maps.values()))})


@changed("maps_have_the_layers_grid")
def at_half_the_grid(maps: Tensor, batch: Batch) -> Tensor:
    return nn.functional.avg_pool2d(maps, 2)


@changed("maps_are_float_and_detached")
def on_a_graph(maps: Tensor, batch: Batch) -> Tensor:
    return maps.clone().requires_grad_() * 1


@changed("maps_are_finite")
def divided_by_zero(maps: Tensor, batch: Batch) -> Tensor:
    return maps / maps.relu().sign()


@changed("maps_say_something")
def silent(maps: Tensor, batch: Batch) -> Tensor:
    return maps * 0


@changed("maps_are_not_normalized")
def normalized(maps: Tensor, batch: Batch) -> Tensor:
    return maps / maps.abs().amax((2, 3), keepdim=True).clamp(min=1e-12)


@returning("unsigned_maps_are_not_negative")
def called_a_magnitude(maps: LayerMaps) -> LayerMaps:
    return replace(maps, signed=False)


@returning("unit_says_what_a_value_is")
def of_no_unit(maps: LayerMaps) -> LayerMaps:
    return replace(maps, unit="of {method}")


@returning("scores_are_images_by_targets")
def with_one_score(maps: LayerMaps) -> LayerMaps:
    return replace(maps, scores={"highest": torch.zeros(1)})


@returning("result_has_the_images_size")
def as_a_dict(maps: LayerMaps) -> Any:
    return maps.maps


@returning("one_image_and_one_target")
def squeezed(maps: LayerMaps) -> LayerMaps:
    return replace(maps, maps={name: values.squeeze() for name, values in maps.maps.items()})


@meddling("images_need_not_be_square")
def of_square_images(batch: Batch) -> None:
    batch.images.view(len(batch), -1, batch.images.shape[2], batch.images.shape[2])


@meddling("grey_and_color_images")
def of_grey_images(batch: Batch) -> None:
    batch.images.view(len(batch), *batch.images.shape[2:])


@meddling("a_thousand_classes")
def of_three_classes(batch: Batch) -> None:
    if batch.targets.classes is not None:
        [("no", "yes", "maybe")[number] for number in batch.targets.classes.flatten().tolist()]


# Randomness.


@breaks("the_same_seed_gives_the_same_bytes")
class DrawsFromTheSystem(Lawful):
    def generator(self, batch: Batch) -> torch.Generator:
        return torch.Generator().manual_seed(random.SystemRandom().getrandbits(40))


@breaks("global_seeds_play_no_part")
class DrawsFromNumpy(Lawful):
    def generator(self, batch: Batch) -> torch.Generator:
        return torch.Generator().manual_seed(int(np.random.randint(2**31)))


@breaks("another_seed_changes_what_is_drawn")
class HasASeedOfItsOwn(Lawful):
    def generator(self, batch: Batch) -> torch.Generator:
        batch.generator("explainer/lawful")
        return torch.Generator().manual_seed(42)


# Batches.


@changed("batch_size_does_not_matter")
def a_mean_over_the_batch(maps: Tensor, batch: Batch) -> Tensor:
    return maps / len(batch)


@changed("an_image_alone_is_as_among_others")
def less_the_mean_of_the_batch(maps: Tensor, batch: Batch) -> Tensor:
    return maps - maps.mean(0, keepdim=True)


@changed("the_order_of_images_does_not_matter", "equal_images_have_equal_maps")
def by_position(maps: Tensor, batch: Batch) -> Tensor:
    return maps * (1 + torch.arange(len(maps)).to(maps))[:, None, None, None]


@meddling("passes_are_bounded")
def in_one_pass(batch: Batch) -> None:
    with torch.no_grad():
        batch.model(batch.images.repeat(300, 1, 1, 1))


# Targets.


@changed("all_targets_are_each_alone")
def less_the_mean_of_targets(maps: Tensor, batch: Batch) -> Tensor:
    return maps - maps.mean(1, keepdim=True)


def with_classes(batch: Batch, classes: Tensor) -> Batch:
    return replace(batch, targets=replace(batch.targets, classes=classes))


@breaks("each_image_has_its_own_target")
class OfTheFirstImagesClass(Lawful):
    def explain(self, batch: Batch) -> Any:
        classes = batch.targets.classes
        return super().explain(batch if classes is None else with_classes(batch, classes[:1].expand_as(classes)))


@breaks("targets_in_any_order_and_twice")
class OfSortedClasses(Lawful):
    def explain(self, batch: Batch) -> Any:
        classes = batch.targets.classes
        return super().explain(batch if classes is None else with_classes(batch, classes.sort(1).values))


@breaks("another_class_has_another_map")
class OfOneClass(Lawful):
    def explain(self, batch: Batch) -> Any:
        classes = batch.targets.classes
        return super().explain(batch if classes is None else with_classes(batch, classes * 0))


@breaks("classes_play_no_part")
class DeniesItsClasses(Lawful):
    takes = frozenset({"layers", "pixels", "filters"})


@changed("permuted_classes_have_permuted_maps", "equal_classes_have_equal_maps")
def by_number_of_the_class(maps: Tensor, batch: Batch) -> Tensor:
    if batch.targets.classes is None:
        return maps
    return maps * (1 + batch.targets.classes)[:, :, None, None]


@changed("a_constant_network_has_constant_maps")
def over_its_largest_value(maps: Tensor, batch: Batch) -> Tensor:
    return maps + batch.images.mean((1, 2, 3))[:, None, None, None] * torch.linspace(0, 1, maps.shape[3])


@breaks("filters_are_explained_or_refused")
class OfTheFirstFilter(Lawful):
    def explain(self, batch: Batch) -> Any:
        if batch.targets.classes is None:
            batch = replace(batch, targets=replace(batch.targets, filters=(0,)))
        return super().explain(batch)


# Layers.


@changed("a_list_of_layers_is_each_alone", "all_layers_are_each_alone", "pixels_are_a_layer_too")
def a_mean_over_the_layers(maps: Tensor, batch: Batch) -> Tensor:
    return maps / len(batch.layers)


@breaks("layers_in_any_order")
class OfTheFirstLayerFirst(Lawful):
    def explain(self, batch: Batch) -> Any:
        given = super().explain(batch)
        given.maps[batch.layers[0].name] *= 2
        return given


@breaks("another_layer_has_another_map")
class OfThePixels(Lawful):
    def explain(self, batch: Batch) -> Any:
        pixels = fervis.core.layers.resolve_layers(batch.model, "input", batch.images[:1])
        given = super().explain(replace(batch, layers=pixels))
        return replace(given, maps={layer.name: given.maps["input"] for layer in batch.layers})


# What it leaves behind.


@meddling("images_are_not_written")
def writes_to_images(batch: Batch) -> None:
    batch.images.add_(1)


@meddling("train_and_eval_modes_are_left")
def sets_eval_mode(batch: Batch) -> None:
    batch.model.eval()


@meddling("requires_grad_is_left")
def freezes(batch: Batch) -> None:
    batch.model.requires_grad_(False)


@meddling("gradients_of_parameters_are_left")
def zeroes_gradients(batch: Batch) -> None:
    batch.model.zero_grad()


@meddling("weights_are_left")
def moves_weights(batch: Batch) -> None:
    for parameter in batch.model.parameters():
        parameter.data = parameter.data.clone()


@meddling("buffers_are_left")
def counts_passes(batch: Batch) -> None:
    batch.model(batch.images)


@meddling("hooks_are_removed")
def leaves_a_hook(batch: Batch) -> None:
    next(batch.model.children()).register_forward_hook(lambda *_: None)


@meddling("attributes_of_modules_are_left")
def leaves_a_forward(batch: Batch) -> None:
    next(batch.model.children()).forward = next(batch.model.children()).forward


@meddling("random_states_are_left")
def draws_globally(batch: Batch) -> None:
    np.random.rand()


@meddling("global_modes_are_left")
def disables_gradients(batch: Batch) -> None:
    torch.set_grad_enabled(False)


@breaks(
    "an_error_in_a_module_leaves_no_trace",
    "an_error_in_a_pass_leaves_no_trace",
    "an_error_in_a_backward_pass_leaves_no_trace",
)
class RestoresAfterSuccessAlone(Lawful):
    def explain(self, batch: Batch) -> Any:
        modes = {module: module.training for module in batch.model.modules()}
        batch.model.eval()
        given = super().explain(batch)
        for module, mode in modes.items():
            module.training = mode
        return given


# How the network is written and called.


def own_gradient(batch: Batch, images: Tensor) -> Tensor:
    classes = torch.zeros(len(images), 1, dtype=torch.int64)
    return torch.autograd.grad(batch.model(images).gather(1, classes).sum(), images)[0]


def scaled(maps: Tensor, values: Tensor) -> Tensor:
    return maps * values.abs().flatten(1).mean(1)[:, None, None, None]


@changed("a_network_in_train_mode", "inside_no_grad", "inside_inference_mode")
def by_a_pass_of_its_own(maps: Tensor, batch: Batch) -> Tensor:
    return scaled(maps, own_gradient(batch, batch.images.clone().requires_grad_()))


@changed("frozen_parameters")
def by_gradients_of_weights(maps: Tensor, batch: Batch) -> Tensor:
    return maps * sum(parameter.requires_grad for parameter in batch.model.parameters())


@meddling("images_that_take_gradients")
def goes_backward_into_the_images(batch: Batch) -> None:
    images = batch.images if batch.images.requires_grad else batch.images.clone().requires_grad_()
    batch.model(images).sum().backward()


@meddling("any_layout_in_memory")
def views_images(batch: Batch) -> None:
    batch.images.view(-1)


@changed("double_precision")
def in_single_precision(maps: Tensor, batch: Batch) -> Tensor:
    with torch.no_grad():
        return scaled(maps, batch.model.eval()(batch.images.float()))


@changed("constant_images_are_explained")
def by_the_range_of_the_image(maps: Tensor, batch: Batch) -> Tensor:
    return maps / (batch.images.amax((1, 2, 3)) - batch.images.amin((1, 2, 3)))[:, None, None, None]


@changed("in_place_activations")
def by_outputs_read_late(maps: Tensor, batch: Batch) -> Tensor:
    outputs: list[Tensor] = []
    conv = batch.model.get_submodule("conv3")
    with torch.no_grad(), conv.register_forward_hook(lambda _module, _inputs, output: outputs.append(output)):
        batch.model(batch.images)
    return scaled(maps, outputs[0])


class AbsoluteSlope(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.relu()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient.abs()


@breaks("functional_activations")
class RulesModulesAlone(Lawful):
    def arguments(self, batch: Batch) -> dict[str, Any]:
        return {"rules": {nn.ReLU: lambda module, x: AbsoluteSlope.apply(x)}}

    default_layer = "all"


@changed("one_activation_used_thrice")
def by_number_of_activations(maps: Tensor, batch: Batch) -> Tensor:
    return maps * sum(isinstance(module, nn.ReLU) for module in batch.model.modules())


@meddling("hooks_of_others_run")
def clears_hooks(batch: Batch) -> None:
    for module in batch.model.modules():
        module._forward_hooks.clear()


# Results that are no maps.


@dataclass(frozen=True)
class Means:
    """Mean brightness of images."""

    means: Tensor
    names: tuple[str, ...]
    kind: ClassVar[str] = "means"

    def arrays(self) -> dict[str, Any]:
        return {"means": self.means.numpy()}

    def summary_row(self, entry: int) -> dict[str, Any]:
        return {"mean": float(self.means[entry])}


@dataclass
class LawfulKind:
    """Mean brightness of each image."""

    result: ClassVar[Any] = Means
    scope: ClassVar[str] = "image"
    takes: ClassVar[frozenset[str]] = frozenset()
    default_layer: ClassVar[str] = "input"
    kind: ClassVar[Any] = Means

    def explain(self, batch: Batch) -> ExplainerOutput:
        names = tuple(map(str, range(len(batch))))
        result = self.kind(batch.images.mean((1, 2, 3)), names)
        return ExplainerOutput(result, ("input",) * len(batch), names, torch.arange(len(batch)))


class OtherMeans(Means):
    pass


class FewNames(Means):
    def __init__(self, means: Tensor, names: tuple[str, ...]) -> None:
        super().__init__(means, names[1:])


class ObjectMeans(Means):
    def arrays(self) -> dict[str, Any]:
        return {"means": self.means.tolist()}


class TensorRows(Means):
    def summary_row(self, entry: int) -> dict[str, Any]:
        return {"mean": float("nan")}


def of_kind(check: str, means: type, declared: type) -> None:
    breaks(check)(type(means.__name__, (LawfulKind,), {"kind": means, "result": declared}))


of_kind("result_is_of_the_declared_kind", OtherMeans, Means)
of_kind("entries_agree_in_number", FewNames, FewNames)
of_kind("arrays_are_plain", ObjectMeans, ObjectMeans)
of_kind("summary_rows_are_plain", TensorRows, TensorRows)
# What these raise in the middle of an explanation fails their check as well as a comparison does.
OWN_ERRORS: dict[str, Any] = {
    "a_thousand_classes": IndexError,
    "any_layout_in_memory": RuntimeError,
    "double_precision": RuntimeError,
    "grey_and_color_images": RuntimeError,
    "images_need_not_be_square": RuntimeError,
    "inside_inference_mode": RuntimeError,
    "inside_no_grad": RuntimeError,
    "result_has_the_images_size": RunError,
}
WITH_YAML = {"yaml_states_every_knob", "yaml_has_a_summary"}


@pytest.mark.parametrize("cls", [Lawful, LawfulKind])
def test_a_lawful_explainer_passes_every_check(cls: type):
    outcomes = fervis.check_explainer(cls)
    assert {outcome.status for outcome in outcomes} == {"passed"}
    assert len(outcomes) >= (60 if cls is Lawful else 20)
    assert fervis.check_explainer(cls())[0].status == "passed"


def test_every_check_has_an_explainer_that_breaks_it():
    assert set(MUTANTS) | WITH_YAML | {"cuda_is_as_the_processor"} == set(TABLE.entries)


@pytest.mark.parametrize("name", list(MUTANTS))
def test_an_explainer_that_breaks_a_check_is_caught_by_it(name: str):
    with torch.random.fork_rng():
        run = dict(fervis.explainer_checks(MUTANTS[name]))[name]
        with pytest.raises(OWN_ERRORS.get(name, AssertionError)) as caught:
            run()
    assert str(caught.value)


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("# Gradient times activation\nname: lawful\npower: 1.0 # exponent\n", set()),
        ("# Gradient times activation\nname: lawful\n", {"yaml_states_every_knob"}),
        ("name: lawful\npower: 1.0 # exponent\n", {"yaml_has_a_summary"}),
    ],
)
def test_the_yaml_file_of_a_registered_name_is_checked(text: str, broken: set[str], tmp_path, monkeypatch):
    install_plugin(monkeypatch, tmp_path, "explainer", "lawful", Lawful, text)
    outcomes = fervis.check_explainer("lawful", raise_error=False)
    assert {outcome.check for outcome in outcomes if outcome.status == "failed"} == broken


def test_failures_are_named_in_one_error_and_expected_ones_are_strict():
    cls = MUTANTS["unsigned_maps_are_not_negative"]
    with pytest.raises(AssertionError, match="unsigned_maps_are_not_negative: negative values at"):
        fervis.check_explainer(cls)
    outcomes = fervis.check_explainer(cls, expected_failures={"unsigned_maps_are_not_negative": "for the test"})
    assert {outcome.reason for outcome in outcomes if outcome.status == "expected"} == {"for the test"}
    with pytest.raises(AssertionError, match="maps_are_finite: it passed, though a failure is expected: why"):
        fervis.check_explainer(Lawful, expected_failures={"maps_are_finite": "why"})
    with pytest.raises(ConfigError, match=r"expected_failures=maps_are_finit: .* Did you mean maps_are_finite\?"):
        fervis.check_explainer(Lawful, expected_failures={"maps_are_finit": "why"})


def test_what_is_no_explainer_is_refused_with_a_sentence():
    with pytest.raises(ConfigError, match=r"^explainer=salency: .* Did you mean saliency\?"):
        fervis.check_explainer("salency")
    with pytest.raises(ConfigError, match=r"^explainer=int: expected a dataclass with a method explain"):
        fervis.check_explainer(int)
    with pytest.raises(ConfigError, match=r"^images: expected at least 3, not 2"):
        fervis.check_explainer(Lawful, images=torch.rand(2, 1, 16, 16))


@pytest.mark.parametrize("as_function", [False, True])
def test_a_network_of_the_callers_own_is_taken(as_function: bool):
    def build(channels: int, classes: int) -> nn.Module:
        return CheckNetwork(channels, classes)

    images = torch.rand(4, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    model = build if as_function else build(3, 3)
    outcomes = fervis.check_explainer("saliency", model=model, images=images)
    names = {outcome.check for outcome in outcomes}
    assert ("grey_and_color_images" in names) == as_function
    assert "in_place_activations" not in names
    assert {outcome.status for outcome in outcomes} == {"passed"}
