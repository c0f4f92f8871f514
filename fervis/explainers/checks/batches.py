"""Checks that an image is explained alike in any batch, and that passes stay small."""

from __future__ import annotations

import torch
from torch import nn

from fervis.explainers.checks.subject import CHECK_IMAGES, Subject, by_layer, expect, expect_close
from fervis.explainers.checks.table import contract, gives_maps

MOST_IMAGES_PER_PASS = 160  # per image of the batch: what chunks of masks and of noisy copies hold, and a reserve


@contract(gives_maps)
def check_batch_size_does_not_matter(subject: Subject) -> None:
    """The same maps for any number of images per batch."""
    for size in (1, 2):
        expect_close(subject.maps(batch_size=size), subject.maps(), f"batch_size={size} against all images at once")


@contract(gives_maps)
def check_an_image_alone_is_as_among_others(subject: Subject) -> None:
    """The map of an image does not depend on the other images."""
    alone = subject.explain(subject.network(), subject.images()[1:2])
    expect_close(by_layer(alone, 1), subject.maps()[:, 1:2], "an image alone against the same image among others")


@contract(gives_maps)
def check_the_order_of_images_does_not_matter(subject: Subject) -> None:
    """Images in another order have the same maps in that order."""
    turned = by_layer(subject.explain(subject.network(), subject.images().flip(0)), CHECK_IMAGES)
    expect_close(turned.flip(1), subject.maps(), "the images in reverse order")


@contract(gives_maps)
def check_equal_images_have_equal_maps(subject: Subject) -> None:
    """An image that stands twice in a batch has the same map twice."""
    images = subject.images()[[0, 1, 0]]
    maps = by_layer(subject.explain(subject.network(), images), CHECK_IMAGES)
    expect_close(maps[:, 2], maps[:, 0], "the same image twice in a batch")


@contract(gives_maps)
def check_passes_are_bounded(subject: Subject) -> None:
    """No pass holds many more images than the batch: copies and masks are computed in chunks."""
    network, largest = subject.network(), 0

    def count(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal largest
        largest = max(largest, len(inputs[0]))

    method, batch = subject.batch(network, subject.images(2))
    with network.register_forward_pre_hook(count):
        method.explain(batch)
    most = MOST_IMAGES_PER_PASS * len(batch)
    expect(largest <= most, f"{largest} images in one pass for a batch of 2, expected at most {most}.")
