"""Checks that each map is the map of its layer."""

from __future__ import annotations

from fervis.core.layers import INPUT
from fervis.explainers.checks.subject import CHECK_IMAGES, Subject, expect, expect_close, is_close
from fervis.explainers.checks.table import contract, takes_layers


@contract(takes_layers)
def check_a_list_of_layers_is_each_alone(subject: Subject) -> None:
    """Several layers at once give for each what the layer alone gives."""
    names = subject.layer_names[:2]
    together = subject.maps(layer=names)
    for number, name in enumerate(names):
        expect_close(together[[number]], subject.maps(layer=name), f"layer={names} against layer={name}")


@contract(takes_layers)
def check_all_layers_are_each_alone(subject: Subject) -> None:
    """``layer=all`` gives for each layer what the layer alone gives."""
    count = CHECK_IMAGES * subject.classes
    together = subject.maps(layer="all")[0].split(count)
    for name, maps in zip(subject.layer_names, together, strict=False):
        alone = subject.maps(layer=name)[0].flatten(0, 1)
        expect_close(maps, alone, f"layer=all against layer={name}")


@contract(takes_layers)
def check_layers_in_any_order(subject: Subject) -> None:
    """Layers in another order have the same maps in that order."""
    names = subject.layer_names[:2]
    expect_close(subject.maps(layer=names[::-1]).flip(0), subject.maps(layer=names), f"layer={names} turned round")


@contract(takes_layers)
def check_another_layer_has_another_map(subject: Subject) -> None:
    """Layers have different maps."""
    one, two = (subject.maps(layer=name) for name in subject.layer_names[:2])
    expect(not is_close(one, two, 1e-3), f"the maps at {subject.layer_names[:2]} are the same.")


@contract(lambda subject: takes_layers(subject) and subject.has("pixels"))
def check_pixels_are_a_layer_too(subject: Subject) -> None:
    """``layer=input`` among others gives what it gives alone, at the images' size."""
    names = [INPUT, subject.layer_names[0]]
    together = subject.maps(layer=names)
    expect_close(together[:1], subject.maps(layer=INPUT), f"layer={names} against layer={INPUT}")
