"""Checks that each map is the map of its target."""

from __future__ import annotations

import torch

from fervis.errors import ConfigError
from fervis.explainers.checks.subject import (
    CHECK_IMAGES,
    Subject,
    by_layer,
    expect,
    expect_close,
    head_changed,
    is_close,
)
from fervis.explainers.checks.table import contract, gives_maps, takes_classes


@contract(gives_maps)
def check_all_targets_are_each_alone(subject: Subject) -> None:
    """``target=all`` gives for each class what the class alone gives."""
    together = subject.maps()
    for target in range(min(subject.classes, 3)):
        expect_close(together[:, :, [target]], subject.maps(target=target), f"target=all against target={target}")


@contract(gives_maps)
def check_each_image_has_its_own_target(subject: Subject) -> None:
    """A class per image gives each image the map of its class."""
    chosen = [number % subject.classes for number in range(CHECK_IMAGES)]
    expected = subject.maps()[:, torch.arange(CHECK_IMAGES), chosen]
    expect_close(subject.maps(target=chosen)[:, :, 0], expected, f"target={chosen} against target=all")


@contract(gives_maps)
def check_targets_in_any_order_and_twice(subject: Subject) -> None:
    """Targets in another order have their maps in that order, and one that stands twice the same map twice."""
    order = [subject.classes - 1, 0, 0]
    maps = by_layer(subject.explain(subject.network(), subject.images(), target=[order] * CHECK_IMAGES), CHECK_IMAGES)
    expect_close(maps, subject.maps()[:, :, order], f"targets {order} against target=all")


@contract(takes_classes)
def check_another_class_has_another_map(subject: Subject) -> None:
    """Classes have different maps where the explainer takes classes."""
    maps = subject.maps()
    expect(not is_close(maps[:, :, 0], maps[:, :, 1], 1e-3), "classes 0 and 1 have the same map.")


@contract(lambda subject: subject.gives_maps and not subject.has("classes"))
def check_classes_play_no_part(subject: Subject) -> None:
    """Classes have the same map where the explainer declares that it takes none."""
    maps = subject.maps()
    expect_close(maps[:, :, 1:], maps[:, :, :1].expand_as(maps[:, :, 1:]), "an explainer that takes no classes")


@contract(gives_maps)
def check_permuted_classes_have_permuted_maps(subject: Subject) -> None:
    """With the head's classes in another order the maps move with them."""
    order = [*range(1, subject.classes), 0]
    moved = subject.explain(head_changed(subject, lambda rows: rows[order]), subject.images())
    what = "the head's classes in another order"
    expect_close(by_layer(moved, CHECK_IMAGES), subject.maps()[:, :, order], what, 1e-3)


@contract(takes_classes)
def check_equal_classes_have_equal_maps(subject: Subject) -> None:
    """Two classes with the same weights have the same map."""

    def doubled(rows: torch.Tensor) -> torch.Tensor:
        rows[1] = rows[0]
        return rows

    maps = by_layer(subject.explain(head_changed(subject, doubled), subject.images()), CHECK_IMAGES)
    expect_close(maps[:, :, 1], maps[:, :, 0], "two classes with the same weights", 1e-3)


@contract(takes_classes)
def check_a_constant_network_has_constant_maps(subject: Subject) -> None:
    """A network whose logits are the same for every image has nothing to explain."""
    maps = by_layer(subject.explain(head_changed(subject, torch.zeros_like), subject.images()), CHECK_IMAGES)
    spread = (maps.amax((3, 4)) - maps.amin((3, 4))).max()
    most = 1e-5 * float(subject.maps().abs().max())
    expect(maps.isfinite().all(), "the maps of a network with constant logits are not finite.")
    expect(float(spread) <= most, f"the maps of a network with constant logits vary by {float(spread):.2g}.")


@contract(gives_maps)
def check_filters_are_explained_or_refused(subject: Subject) -> None:
    """A filter as a target is explained where the explainer takes filters, with other maps for other filters."""
    layer = subject.layer_names[-1]
    images = subject.images()
    if not subject.has("filters"):
        try:
            subject.explain(subject.network(), images, target=f"{layer}/1")
        except ConfigError:
            return
        raise AssertionError("a filter as a target is neither taken nor refused.")
    first, *_ = subject.layer_names
    at = {"layer": first} if subject.has("layers") else {}
    one, two = (subject.explain(subject.network(), images, target=f"{layer}/{number}", **at).maps for number in (0, 1))
    expect(one.isfinite().all() and two.isfinite().all(), "maps of filters are not finite.")
    expect(not is_close(one, two, 1e-3), "two filters have the same map.")
