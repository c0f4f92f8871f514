"""Checks that a map depends on what the network computes, and not on how it is written or called."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fervis.errors import ConfigError
from fervis.explainers.checks.subject import CHECK_IMAGES, Subject, by_layer, expect, expect_close
from fervis.explainers.checks.table import contract, gives_maps, own_network


def _maps(subject: Subject, network: nn.Module, images: Tensor | None = None, **arguments: Any) -> Tensor:
    images = subject.images() if images is None else images
    return by_layer(subject.explain(network, images, **arguments), CHECK_IMAGES)


def _maps_of_batch(subject: Subject, network: nn.Module, images: Tensor) -> Tensor:
    """Return the maps at the first layer as ``explain`` gives them: the caller's precautions play no part."""
    method, batch = subject.batch(network, images)
    return method.explain(batch).maps[batch.layers[0].name]


def _plain(subject: Subject) -> Tensor:
    if "plain" not in subject.saved:
        subject.saved["plain"] = _maps_of_batch(subject, subject.network(), subject.images())
    return subject.saved["plain"]


@contract(gives_maps)
def check_a_network_in_train_mode(subject: Subject) -> None:
    """A network that was left in train mode is explained in eval mode."""
    maps = _maps_of_batch(subject, subject.network().train(), subject.images())
    expect_close(maps, _plain(subject), "a network in train mode")


@contract(gives_maps)
def check_frozen_parameters(subject: Subject) -> None:
    """A network whose parameters take no gradients has the same maps."""
    maps = _maps_of_batch(subject, subject.network().requires_grad_(False), subject.images())
    expect_close(maps, _plain(subject), "a network with frozen parameters")


@contract(gives_maps)
def check_images_that_take_gradients(subject: Subject) -> None:
    """Images with ``requires_grad`` have the same maps and get no ``.grad``."""
    images = subject.images().requires_grad_()
    maps = _maps_of_batch(subject, subject.network(), images)
    expect(images.grad is None, "the images got a gradient.")
    expect_close(maps.detach(), _plain(subject), "images that take gradients")


@contract(gives_maps)
def check_inside_no_grad(subject: Subject) -> None:
    """Inside ``torch.no_grad()`` the maps are the same."""
    with torch.no_grad():
        maps = _maps_of_batch(subject, subject.network(), subject.images())
    expect_close(maps, _plain(subject), "inside torch.no_grad()")


@contract(gives_maps)
def check_inside_inference_mode(subject: Subject) -> None:
    """Inside ``torch.inference_mode()`` the maps are the same."""
    method, batch = subject.batch(subject.network(), subject.images())
    with torch.inference_mode():
        maps = method.explain(batch).maps[batch.layers[0].name]
    expect_close(maps, _plain(subject), "inside torch.inference_mode()")


@contract(gives_maps)
def check_any_layout_in_memory(subject: Subject) -> None:
    """Images that are not contiguous in memory have the same maps."""
    spread = subject.images().transpose(2, 3).contiguous().transpose(2, 3)
    assert not spread.is_contiguous()
    expect_close(_maps(subject, subject.network(), spread), subject.maps(), "images that lie apart in memory")


@contract(gives_maps)
def check_double_precision(subject: Subject) -> None:
    """A network and images of float64 have the same maps, but for rounding."""
    maps = _maps(subject, subject.network().double(), subject.images().double())
    expect(maps.dtype == torch.float32, f"maps of {maps.dtype}, expected float32.")
    expect_close(maps, subject.maps(), "in double precision", 1e-3)


@contract(gives_maps)
def check_constant_images_are_explained(subject: Subject) -> None:
    """Black and white images have finite maps."""
    images = subject.images()
    images[0], images[1] = 0, 1
    expect(_maps(subject, subject.network(), images).isfinite().all(), "maps of black and white images are not finite.")


@contract(own_network)
def check_in_place_activations(subject: Subject) -> None:
    """Activations that overwrite their input have the same maps."""
    at = _last_layer(subject)
    expect_close(subject.maps(form={"activation": "inplace"}, **at), subject.maps(**at), "with in-place activations")


@contract(own_network)
def check_functional_activations(subject: Subject) -> None:
    """Activations that are no modules have the same maps, or are refused with a sentence."""
    _same_or_refused(subject, "functional")


@contract(own_network)
def check_one_activation_used_thrice(subject: Subject) -> None:
    """A module that runs several times in a pass has the same maps, or is refused with a sentence."""
    _same_or_refused(subject, "shared")


def _same_or_refused(subject: Subject, activation: str) -> None:
    at = _last_layer(subject)
    try:
        maps = subject.maps(form={"activation": activation}, **at)
    except ConfigError:
        return
    expect_close(maps, subject.maps(**at), f"with {activation} activations")


def _last_layer(subject: Subject) -> dict[str, Any]:
    """Return the last convolution as ``layer=``: the default layer depends on the modules that follow."""
    return {"layer": subject.layer_names[-1]} if subject.has("layers") else {}


@contract(own_network)
def check_hooks_of_others_run(subject: Subject) -> None:
    """A hook of another tool that changes a module's output counts as part of the network."""
    network = subject.network()
    conv: Any = network.get_submodule("conv2")
    hook = conv.register_forward_hook(lambda _module, _inputs, output: output * 2)
    at = _last_layer(subject)
    maps = _maps(subject, network, **at)
    hook.remove()
    expect_close(maps, subject.maps(form={"double_conv2": True}, **at), "with the output of conv2 doubled by a hook")


@contract(lambda subject: gives_maps(subject) and torch.cuda.is_available())
def check_cuda_is_as_the_processor(subject: Subject) -> None:
    """On CUDA the maps are the same, and are on that device."""
    result = subject.explain(subject.network().cuda(), subject.images().cuda())
    expect(result.maps.is_cuda, "the maps are not on the images' device.")
    expect_close(by_layer(result, CHECK_IMAGES).cpu(), subject.maps(), "on CUDA", 1e-2)
