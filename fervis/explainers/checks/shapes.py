"""Checks of the maps that an explainer returns: shapes, values and their description."""

from __future__ import annotations

from string import Formatter

import torch
from torch import Tensor

from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.checks.subject import CHECK_IMAGES, Subject, expect
from fervis.explainers.checks.table import built_network, contract, gives_maps, own_network


def _layer_maps(subject: Subject) -> LayerMaps:
    raw = subject.raw()
    expect(isinstance(raw, LayerMaps), f"explain returned a {type(raw).__name__}, expected LayerMaps.")
    assert isinstance(raw, LayerMaps)
    return raw


@contract(gives_maps)
def check_maps_are_images_by_targets(subject: Subject) -> None:
    """Maps are [N,T,h,w] at every layer of the run."""
    maps, batch = _layer_maps(subject).maps, subject.raw_batch()
    for layer in batch.layers:
        expect(layer.name in maps, f"no maps at {layer.name}.")
    for name, values in maps.items():
        leading = (len(batch), batch.targets.count)
        right = values.ndim == 4 and tuple(values.shape[:2]) == leading
        expect(right, f"maps of shape {list(values.shape)} at {name}, expected [{leading[0]},{leading[1]},h,w].")


@contract(gives_maps)
def check_maps_are_of_known_layers(subject: Subject) -> None:
    """There are maps of the run's layers, possibly of the pixels too, and of nothing else."""
    known = {layer.name for layer in subject.raw_batch().layers} | {INPUT}
    wrong = sorted(set(_layer_maps(subject).maps) - known)
    expect(not wrong, f"maps at {wrong}, expected of {sorted(known)}.")


@contract(gives_maps)
def check_maps_have_the_layers_grid(subject: Subject) -> None:
    """Maps have a layer's own grid or the images' size, at the pixels at most that; resizing is the caller's."""
    raw, batch = _layer_maps(subject), subject.raw_batch()
    height, width = batch.images.shape[2:]
    for layer in batch.layers:
        h, w = raw.maps[layer.name].shape[2:]
        lawful = (h, w) in (layer.grid, (height, width)) or (layer.is_input and h <= height and w <= width)
        expect(lawful, f"maps of {h}x{w} at {layer.name}, expected its own {layer.grid} or {height}x{width}.")


@contract(gives_maps)
def check_maps_are_float_and_detached(subject: Subject) -> None:
    """Maps are real numbers and part of no graph."""
    for name, values in _layer_maps(subject).maps.items():
        expect(values.is_floating_point(), f"maps of {values.dtype} at {name}, expected a float type.")
        expect(not values.requires_grad, f"maps at {name} hang on a graph; detach them.")


@contract(gives_maps)
def check_maps_are_finite(subject: Subject) -> None:
    """Maps hold no NaN and no infinite value."""
    for name, values in _layer_maps(subject).maps.items():
        expect(values.isfinite().all(), f"maps at {name} are not finite.")


@contract(gives_maps)
def check_maps_say_something(subject: Subject) -> None:
    """Not all maps are constant."""
    maps = subject.maps()
    expect((maps.amax((3, 4)) > maps.amin((3, 4))).any(), "every map of every image and target is constant.")


@contract(gives_maps)
def check_maps_are_not_normalized(subject: Subject) -> None:
    """Maps are raw: neither their largest value nor their sum or norm is the same for all images and targets."""
    raw = _layer_maps(subject).maps[subject.raw_batch().layers[0].name].double().flatten(0, 1)
    varied = raw[raw.flatten(1).amax(1) > raw.flatten(1).amin(1)].flatten(1)
    if len(varied) < 2 or torch.equal(varied, varied[:1].expand_as(varied)):  # a map that does not depend on the image
        return
    norms = {"largest value": varied.abs().amax(1), "sum": varied.abs().sum(1), "norm": varied.norm(dim=1)}
    for what, norm in norms.items():
        alike = bool((norm - norm[0]).abs().max() <= 1e-6 * norm[0])
        expect(not alike, f"the {what} of every map is {float(norm[0]):g}; expected raw values, not normalized ones.")


@contract(gives_maps)
def check_unsigned_maps_are_not_negative(subject: Subject) -> None:
    """Maps that are called magnitudes (``signed=False``) hold no negative value."""
    raw = _layer_maps(subject)
    negative = [name for name, values in raw.maps.items() if (values < 0).any()]
    expect(raw.signed or not negative, f"negative values at {negative}; expected signed=True.")


@contract(gives_maps)
def check_unit_says_what_a_value_is(subject: Subject) -> None:
    """``unit`` is a text, in which only ``{layer}`` is filled in."""
    unit = _layer_maps(subject).unit
    expect(isinstance(unit, str) and unit.strip(), f"unit={unit!r}: expected what a value of the map is.")
    names = {name for _, name, _, _ in Formatter().parse(unit) if name is not None}
    expect(names <= {"layer"}, f"unit={unit!r}: expected no placeholder but {{layer}}.")


@contract(gives_maps)
def check_scores_are_images_by_targets(subject: Subject) -> None:
    """Scores are [N,T], or [L,N,T] for L layers, of numbers."""
    batch = subject.raw_batch()
    shape = (len(batch), batch.targets.count)
    for name, values in (_layer_maps(subject).scores or {}).items():
        right = isinstance(values, Tensor) and tuple(values.shape) in (shape, (len(batch.layers), *shape))
        expect(right, f"score {name} of shape {list(getattr(values, 'shape', ()))}, expected {list(shape)}.")
        expect(not values.requires_grad, f"score {name} hangs on a graph; detach it.")


@contract(gives_maps)
def check_result_has_the_images_size(subject: Subject) -> None:
    """The run's maps are float32 [N*T,H,W] at the images' size."""
    result = subject.result()
    shape = (CHECK_IMAGES * subject.classes, *subject.size)
    expect(isinstance(result, HeatMaps), f"a {type(result).__name__}, expected HeatMaps.")
    expect(tuple(result.maps.shape[1:]) == shape[1:], f"maps of {list(result.maps.shape)}, expected {list(shape)}.")
    expect(result.maps.dtype == torch.float32, f"maps of {result.maps.dtype}, expected float32.")


@contract(gives_maps)
def check_one_image_and_one_target(subject: Subject) -> None:
    """Maps of one image with one target have both axes."""
    method, batch = subject.batch(subject.network(), subject.images(1), target=0)
    for name, values in method.explain(batch).maps.items():
        expect(tuple(values.shape[:2]) == (1, 1), f"maps of {list(values.shape)} at {name}, expected [1,1,h,w].")


@contract(own_network)
def check_images_need_not_be_square(subject: Subject) -> None:
    """Images of 16x12 pixels are explained at their own size."""
    result = subject.explain(subject.network(), subject.images(1, size=(16, 12)))
    expect(tuple(result.maps.shape[1:]) == (16, 12), f"maps of {list(result.maps.shape[1:])}, expected [16,12].")
    expect(result.maps.isfinite().all(), "maps are not finite.")


@contract(built_network)
def check_grey_and_color_images(subject: Subject) -> None:
    """Images of one and of three channels are explained by one map per target."""
    for channels in (1, 3):
        images = subject.images(2, channels=channels)
        maps = subject.explain(subject.network(channels=channels), images, target=[0, 1]).maps
        expect(maps.shape[0] == 2, f"{maps.shape[0]} maps of two images of {channels} channels, expected 2.")
        expect(maps.isfinite().all(), f"maps of images of {channels} channels are not finite.")


@contract(built_network)
def check_a_thousand_classes(subject: Subject) -> None:
    """A network of 1,000 classes is explained for its first and its last."""
    network = subject.network(classes=1000)
    maps = subject.explain(network, subject.images(2), target=[[0, 999], [999, 0]]).maps
    expect(maps.shape[0] == 4, f"{maps.shape[0]} maps of two images with two targets, expected 4.")
    expect(maps.isfinite().all(), "maps are not finite.")
