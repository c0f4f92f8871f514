"""Score maps by measures of evidence: the Python entry point, for any network and any library's maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fervis.core.faces import Truth
from fervis.core.layers import resolve_layers
from fervis.core.network import Network
from fervis.core.registry import build_plugin, is_plugin, names, option_files, option_settings
from fervis.core.results import HeatMaps, MapScores
from fervis.errors import ConfigError, unknown_name
from fervis.evidence.measured import measured
from fervis.evidence.protocol import Evidence, ExplainAgain
from fervis.explainers.explain import checked_images, requested_targets
from fervis.models.batch import Batch
from fervis.models.predict import warn_if_probabilities
from fervis.models.serving import served

Maps = Tensor | NDArray[Any] | HeatMaps
OneOrMore = str | Evidence | Sequence[str | Evidence] | Mapping[str, Mapping[str, Any]]
PASSES_ALONE = ("deletion", "insertion", "sparseness")
_EXPECTED_MAPS = "maps: expected [N,H,W] or [N,T,H,W]"


def score(
    model: nn.Module,
    images: Tensor | NDArray[Any],
    maps: Maps,
    evidence: OneOrMore = PASSES_ALONE,
    target: Tensor | Sequence[int] | int | str = "predicted",
    *,
    truth: Truth | Tensor | NDArray[Any] | None = None,
    explainer: Callable[[nn.Module, Tensor], Maps] | None = None,
    baselines: bool = False,
    output: str | int | None = None,
    seed: int = 0,
) -> MapScores:
    """Score maps of a network's images, from any library. Needs no config and no data set.

    Args:
        model: any network from [N,C,H,W] images to [N,K] logits; afterwards it is as it was, as by ``explain``.
        images: [N,C,H,W] float, as the network takes them.
        maps: [N,H,W], or [N,T,H,W] for T targets per image, of the images' size, un-normalised; tensors and numpy
            arrays, or the result of ``explain`` at one layer.
        evidence: names of measures (``fervis.names("evidence")``), one, a list, or a dictionary from names to
            settings; or measures that are built. Without it those that need nothing but passes of the network.
        target: what the maps explain: as in ``explain``.
        truth: [N,H,W] bool, the pixels that matter, or a ``Truth``, for measures that need it.
        explainer: explains again, as ``explainer(model, images)``, for measures that need it: returns maps as ``maps``
            are, of other images, or of another network of the same form, for the same targets. For maps under another
            seed, torch's own generator is seeded.
        baselines: also score a random map and an edge map on the same images: ``<measure>/random_map`` and so on.
        output: which tensor of the network's output the logits are; as in ``explain``.
        seed: root of the measures' randomness.

    Returns:
        Name of a score -> [N] for maps [N,H,W], [N,T] for maps [N,T,H,W]; float32 on the CPU. A dictionary that prints
        in few lines, with ``to_dataframe()``.

    Raises:
        ConfigError: an unknown measure, setting or class, maps of a wrong shape, or a measure without its requirements.
    """
    measures = chosen_measures(evidence)
    with torch.inference_mode(False):
        pixels = checked_images(images)
        with served(model, pixels, output) as (network, logits):
            warn_if_probabilities(logits, network)
            targets = requested_targets(network, pixels, target)
            wanted, single = _checked_maps(maps, pixels, targets.count)
            known = network.classes if isinstance(network, Network) else tuple(map(str, range(logits.shape[1])))
            layers = resolve_layers(network, "input", pixels[:1])
            rows = torch.arange(len(pixels))
            batch = Batch(
                network, pixels, layers, targets, classes=known, seed=seed, rows=rows, truth=_truth(truth, pixels)
            )
            _refuse_what_is_missing(measures, batch, explainer)
            scores = measured(measures, batch, wanted, _explains_again(batch, explainer), baselines=baselines)
    return MapScores({name: values[:, 0] if single else values for name, values in scores.items()})


def chosen_measures(evidence: OneOrMore) -> dict[str, Evidence]:
    """Return the measures by name; a name of several, such as ``default``, gives each of them.

    Raises:
        ConfigError: there is no such measure or setting, or nothing is chosen.
    """
    if isinstance(evidence, Mapping):
        return {name: build_plugin("evidence", name, **dict(knobs)) for name, knobs in evidence.items()}
    chosen: dict[str, Evidence] = {}
    for one in evidence if isinstance(evidence, Sequence) and not isinstance(evidence, str) else [evidence]:
        if isinstance(one, str):
            chosen |= {name: build_plugin("evidence", name) for name in _members(one)}
        elif is_plugin("evidence", type(one)):
            chosen[type(one).__name__] = one
        else:
            raise ConfigError(f"evidence={one}: expected the name of a measure, or a measure that is built.")
    if not chosen:
        raise ConfigError("evidence=[]: expected at least one measure.")
    return chosen


def _members(name: str) -> list[str]:
    """Return the measures that a name selects: itself, or those that its YAML lists."""
    from omegaconf import OmegaConf

    if name not in names("evidence"):
        raise unknown_name("evidence", name, names("evidence"))
    if "name" in option_settings("evidence", name):
        return [name]
    listed: Any = OmegaConf.to_container(OmegaConf.load(option_files("evidence")[name]))
    return [member for one in listed["defaults"] for member in _members(one)]


def _checked_maps(maps: Maps, images: Tensor, count: int) -> tuple[Tensor, bool]:
    """Return maps as [N,T,H,W] float32 on the images' device, and whether they came as [N,H,W].

    Raises:
        ConfigError: they have another shape, or are not finite.
    """
    single = False
    if isinstance(maps, HeatMaps):
        if len(maps.maps) != len(images) * count:
            raise ConfigError(
                f"maps: {len(maps.maps)} maps for {len(images)} images with {count} targets each; expected those of "
                "one layer, and target= as they were explained."
            )
        maps, single = maps.maps.unflatten(0, (len(images), count)), count == 1
    values = torch.as_tensor(maps).detach().to(images.device, torch.float32)
    shape = list(values.shape)
    if values.ndim == 3:
        values, single = values[:, None], True
    if values.ndim != 4 or len(values) != len(images):
        raise ConfigError(f"{_EXPECTED_MAPS} for {len(images)} images, not {shape}.")
    if values.shape[2:] != images.shape[2:]:
        raise ConfigError(f"{_EXPECTED_MAPS} of the images' size {list(images.shape[2:])}, not {shape}; resize them.")
    if values.shape[1] != count:
        hint = "; sum attributions over channels" if values.shape[1] == images.shape[1] > 1 else ""
        raise ConfigError(f"{_EXPECTED_MAPS} with T={count}, as target= states, not {shape}{hint}.")
    if not values.isfinite().all():
        raise ConfigError("maps: some values are not finite.")
    return values, single


def _truth(truth: Truth | Tensor | NDArray[Any] | None, images: Tensor) -> Truth | None:
    """Return what is known of the images, of which a mask is the pixels that matter."""
    if truth is None:
        return None
    evidence = truth.evidence if isinstance(truth, Truth) else torch.as_tensor(truth)
    expected = [len(images), *images.shape[2:]]
    if evidence is None:
        return truth if isinstance(truth, Truth) else None
    if list(evidence.shape) != expected or evidence.dtype != torch.bool:
        kind = str(evidence.dtype).removeprefix("torch.")
        raise ConfigError(f"truth: expected a bool mask {expected}, not {kind} {list(evidence.shape)}.")
    if isinstance(truth, Truth):
        return truth
    regions = torch.zeros(expected, dtype=torch.uint8)
    return Truth(evidence.cpu(), regions, ("",), torch.zeros(len(images), 0), ())


def _refuse_what_is_missing(measures: Mapping[str, Evidence], batch: Batch, explainer: object) -> None:
    """Raise ConfigError if a requirement of a measure is missing."""
    pixels_known = batch.truth is not None and batch.truth.evidence is not None
    has = {"truth": pixels_known, "explain_again": explainer is not None}
    says = {
        "truth": "it needs to know which pixels matter; give truth=, a mask [N,H,W].",
        "explain_again": "it explains again; give explainer=, a function of a network and images that returns maps.",
    }
    for name, measure in measures.items():
        for need in sorted(measure.needs):
            if not has.get(need):
                raise ConfigError(f"evidence={name}: {says.get(need, f'it needs {need}, which only a run can give.')}")


def _explains_again(batch: Batch, explainer: Callable[[nn.Module, Tensor], Maps] | None) -> ExplainAgain:
    def explain_again(
        images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None
    ) -> Tensor:
        assert explainer is not None
        network, pixels = batch.model if model is None else model, batch.images if images is None else images
        maps = []
        # The function may have targets image by image, so it gets each version of the images separately.
        for version in pixels.unflatten(0, (len(batch), -1)).unbind(1):
            with torch.enable_grad(), torch.random.fork_rng(devices=[]):
                if seed is not None:
                    torch.manual_seed(seed)
                returned = explainer(network, version.clone())
            maps.append(_checked_maps(returned, version, batch.targets.count)[0])
        return torch.stack(maps, 1).flatten(0, 1)

    return explain_again
