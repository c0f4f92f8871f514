"""The subject of a check: the explainer with networks and images to test it on, and its earlier results."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar
from unittest import SkipTest

import torch
from torch import Tensor, nn

from fervis.core.layers import resolve_layers
from fervis.core.results import ExplainerOutput, HeatMaps, LayerMaps
from fervis.errors import ConfigError
from fervis.explainers.explain import explain, made_ready
from fervis.models.batch import Batch
from fervis.models.checks.networks import CHECK_SIZE, CheckNetwork, linear_head
from fervis.models.checks.outcomes import expect as expect
from fervis.models.checks.plugin import CheckedPlugin

CHECK_IMAGES = 3
_ALIKE = 1e-4  # relative to the largest value of a map; rounding in another order changes less


@dataclass
class Subject(CheckedPlugin):
    """An explainer with all that its checks need; answers are computed once and shared.

    Attributes:
        explainer: a registered name, a class or an instance.
        knobs: settings that differ from the defaults.
        model: a network, a function of ``channels`` and ``classes`` that builds one, or None for the checks' own.
        given: [N,C,H,W] images, or None for random ones.
    """

    kind: ClassVar[str] = "explainer"
    explainer: Any
    knobs: Mapping[str, Any] = field(default_factory=dict)
    model: nn.Module | Callable[..., nn.Module] | None = None
    given: Tensor | None = None
    saved: dict[Any, Any] = field(default_factory=dict)

    @property
    def plugin(self) -> Any:
        """The registered name, the class or the instance."""
        return self.explainer

    def has(self, setting: str) -> bool:
        """Whether the explainer takes ``layers``, ``pixels``, ``classes`` or ``filters``."""
        return setting in getattr(self.cls, "takes", ())

    @property
    def gives_maps(self) -> bool:
        """Whether it explains images by maps."""
        return getattr(self.cls, "result", None) is HeatMaps

    @property
    def network_varies(self) -> bool:
        """Whether the network is the checks' own, in all its forms."""
        return self.model is None

    @property
    def network_is_built(self) -> bool:
        """Whether networks of other channels and classes can be built."""
        return not isinstance(self.model, nn.Module)

    def network(self, **form: Any) -> nn.Module:
        """Return a new network, always with the same weights; ``form`` as ``CheckNetwork`` takes it."""
        if isinstance(self.model, nn.Module):
            return copy.deepcopy(self.model).eval()
        if self.model is None:
            return CheckNetwork(**form)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.model(**{"channels": self.channels, "classes": 3, **form}).eval()

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return 1 if self.given is None else self.given.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return (CHECK_SIZE, CHECK_SIZE) if self.given is None else (self.given.shape[2], self.given.shape[3])

    def images(self, count: int = CHECK_IMAGES, channels: int | None = None, size: Any = None) -> Tensor:
        """Return images of their own memory: those that were given, or random ones, the same every time."""
        if self.given is not None and channels is None and size is None:
            return self.given[torch.arange(count) % len(self.given)].clone()
        shape = (count, channels or self.channels, *(size or self.size))
        return torch.rand(shape, generator=torch.Generator().manual_seed(4))

    def background(self, images: Tensor) -> Tensor:
        """Return images that others are compared with, the same whichever images are explained, of their shape."""
        same = images.shape[1:] == (self.channels, *self.size)
        background = self.images() if same else self.images(channels=images.shape[1], size=tuple(images.shape[2:]))
        return background.to(images)

    @cached_property
    def classes(self) -> int:
        """Number of the network's classes."""
        with torch.no_grad():
            return int(self.network()(self.images(2)).shape[1])

    @cached_property
    def layer_names(self) -> list[str]:
        """Names of the layers of which maps can be made, at most three."""
        network = self.network()
        return [layer.name for layer in resolve_layers(network, "all", self.images(1))][:3]

    def explain(self, network: nn.Module, images: Tensor, **arguments: Any) -> Any:
        """Explain images by ``fervis.explain``; by default all classes at the explainer's default layer."""
        if not self.gives_maps:
            arguments.setdefault("target", torch.arange(len(images)) % self.classes)
            if self.has("layers"):
                arguments.setdefault("layer", self.layer_names[-1])
        arguments.setdefault("target", "all")
        try:
            return explain(network, images, self.build(), background=self.background(images), **arguments)
        except ConfigError as error:
            if getattr(self.cls, "scope", "") == "network":
                raise SkipTest(f"{self.name} refuses a lone network: {error}") from error
            raise

    def maps(self, count: int = CHECK_IMAGES, form: Mapping[str, Any] | None = None, **arguments: Any) -> Tensor:
        """Return the maps [L,N,T,H,W] of the first images, computed once for each set of arguments."""
        key = repr((count, sorted((form or {}).items()), sorted(arguments.items())))
        if key not in self.saved:
            result = self.explain(self.network(**(form or {})), self.images(count), **arguments)
            self.saved[key] = by_layer(result, count, arguments.get("layer"))
        return self.saved[key]

    def result(self) -> Any:
        """Return the result for the first images, computed once; six images for an explainer of another kind."""
        if "result" not in self.saved:
            count = CHECK_IMAGES if self.gives_maps else 2 * CHECK_IMAGES
            self.saved["result"] = self.explain(self.network(), self.images(count))
        return self.saved["result"]

    def batch(
        self, network: nn.Module, images: Tensor, layer: Any = None, target: Any = "all", seed: int = 0
    ) -> tuple[Any, Batch]:
        """Return the plug-in and a batch as ``fervis.explain`` passes it, for a call of ``explain`` alone."""
        method = self.build()
        if not self.gives_maps:
            target = torch.arange(len(images)) % self.classes
            layer = self.layer_names[-1] if layer is None and self.has("layers") else layer
        classes = tuple(map(str, range(self.classes)))
        rows, references = torch.arange(len(images)), self.background(images)
        batch = Batch(network, images, (), classes=classes, seed=seed, rows=rows, references=references)
        return method, made_ready(batch, method, layer, target)

    def raw(self) -> LayerMaps | ExplainerOutput:
        """Return what ``explain`` gave for a batch, computed once."""
        if "raw" not in self.saved:
            count = CHECK_IMAGES if self.gives_maps else 2 * CHECK_IMAGES
            method, batch = self.batch(self.network(), self.images(count))
            self.saved["raw"] = run_method(self, method, batch)
            self.saved["raw batch"] = batch
        return self.saved["raw"]

    def raw_batch(self) -> Batch:
        """Return the batch of ``raw``."""
        self.raw()
        return self.saved["raw batch"]


def run_method(subject: Subject, method: Any, batch: Batch) -> Any:
    """Call ``explain``; a method of the network that refuses a lone network is not tried further."""
    try:
        return method.explain(batch)
    except ConfigError as error:
        if getattr(subject.cls, "scope", "") == "network":
            raise SkipTest(f"{subject.name} refuses a lone network: {error}") from error
        raise


def by_layer(result: HeatMaps, count: int, layer: Any = None) -> Tensor:
    """Return the maps of a result as [L,N,T,H,W]."""
    layers = len(layer) if isinstance(layer, list | tuple) else 1
    if layer == "all":
        return result.maps[None]
    return result.maps.unflatten(0, (layers, count, -1))


def head_changed(subject: Subject, change: Callable[[Tensor], Tensor], **form: Any) -> nn.Module:
    """Return the network with its head's weights and biases, a row per class, changed.

    Raises:
        SkipTest: the network that was given has no linear head.
    """
    network = subject.network(**form)
    head = linear_head(network)
    if head is None or head.out_features != subject.classes:
        raise SkipTest("the network has no linear head whose classes could be changed")
    with torch.no_grad():
        for parameter in (head.weight, head.bias):
            if parameter is not None:
                parameter.copy_(change(parameter.clone()))
    return network


def is_close(one: Tensor, two: Tensor, tolerance: float = _ALIKE) -> bool:
    """Whether two sets of maps are alike, relative to their largest value."""
    if one.shape != two.shape:
        return False
    scale = float(two.abs().max().nan_to_num(0)) if two.numel() else 0.0
    return bool((one - two).abs().nan_to_num(0).max() <= tolerance * scale) and torch.equal(one.isnan(), two.isnan())


def expect_close(one: Tensor, two: Tensor, what: str, tolerance: float = _ALIKE) -> None:
    """Raise AssertionError unless two sets of maps are alike."""
    if not is_close(one, two, tolerance):
        far = f" (by {float((one - two).abs().max()):.2g})" if one.shape == two.shape else ""
        raise AssertionError(f"{what}: the maps differ{far}; shapes {list(one.shape)} and {list(two.shape)}.")
