"""Read the runs that claims are tested on: maps by method and network, and numbers of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fervis.core.faces import Faces
from fervis.datasets.landmarks.regions import FACE_REGIONS, face_regions
from fervis.errors import RunError
from fervis.evidence.regions.region_shares import region_mass
from fervis.metrics.map_means import class_means, magnitude_shares
from fervis.models.image_edges import sobel_magnitude
from fervis.reporting.run_files import read_config
from fervis.runs.checkpoints import INITIAL_CHECKPOINT
from fervis.runs.study.faces import FacesLoader, faces_loader
from fervis.runs.study.run_maps import explainer_family, explainer_of, has_heat_maps, read_run_maps
from fervis.system.files import read_json

MEAN_MAP = "mean map"
CONTROL_CHECKPOINTS = {INITIAL_CHECKPOINT: "random weights", "1": "one epoch"}
_ONLY_EFFECTS = "everything_map"  # a map that says nothing: its run measures what hiding regions does
_EDGE_SHARE = 0.2  # of an image's pixels that count as its edges


@dataclass(frozen=True)
class MapCase:
    """The maps of one method for one network.

    Attributes:
        method: the explainer.
        network: model, seed and checkpoint in words.
        control: which control the case is, such as ``edge_map`` or ``random weights``; empty for none.
        classes: names of the classes.
        labels: [N] number of each image's class.
        correct: [N] bool, whether the network takes the image for its class.
        maps: [N,H,W] float32, each the map of its image for the image's class.
        shares: region -> [N] share of the map in the region.
        areas: region -> [N] share of the image.
        gains: region -> [N] by how much more hiding the region lowers the class's probability than patches do.
        edges: [N,H,W] bool, the strongest fifth of the image's edges.
    """

    method: str
    network: str
    control: str
    classes: tuple[str, ...]
    labels: Tensor
    correct: Tensor
    maps: Tensor
    shares: Mapping[str, Tensor]
    areas: Mapping[str, Tensor]
    gains: Mapping[str, Tensor]
    edges: Tensor

    @property
    def magnitudes(self) -> Tensor:
        """Return the maps' magnitudes [N,H,W] float64, each with a sum of 1; NaN for a map of zeros."""
        return magnitude_shares(self.maps)

    def take(self, index: Tensor) -> MapCase:
        """Return the case of some of its images."""
        columns = {name: {key: values[index] for key, values in getattr(self, name).items()} for name in _BY_REGION}
        tensors = {name: getattr(self, name)[index] for name in ("labels", "correct", "maps", "edges")}
        return replace(self, **columns, **tensors)


_BY_REGION = ("shares", "areas", "gains")


@dataclass(frozen=True)
class NumberCase:
    """Numbers of the entries of a run of layers.

    Attributes:
        explainer: of the run.
        network: model, seed and checkpoint in words.
        entries: rows of the run's summary, in its order.
    """

    explainer: str
    network: str
    entries: Sequence[Mapping[str, Any]]


def read_cases(answers: Sequence[Path]) -> tuple[list[MapCase], list[NumberCase]]:
    """Read the run folders of a study.

    Runs of heat maps that are scored by ``region_shares`` are cases of maps; the effects of hiding regions are taken
    from whichever run of the same network measured them. Each method with its network also gives a control, in which
    every image has the mean map of all classes.
    """
    maps, numbers, effects = [], [], {}
    load = faces_loader()
    for answer in answers:
        config = read_config(answer)[1]
        if not has_heat_maps(config):
            numbers.append(NumberCase(explainer_of(config), _network(config), _all_entries(answer)))
            continue
        if "region_shares" not in (config.get("evidence") or {}):
            continue
        case, faces = _read_case(answer, load)
        if case.gains:
            effects[case.network] = case.gains
        if case.method != _ONLY_EFFECTS:
            maps.append((case, faces))
    cases = [replace(case, gains=effects.get(case.network, {})) for case, _ in maps]
    controls = [
        with_mean_map(case, face_regions(faces.images, faces.truth).masks)
        for case, (_, faces) in zip(cases, maps, strict=True)
        if not case.control
    ]
    return [*cases, *controls], numbers


def _read_case(answer: Path, load: FacesLoader) -> tuple[MapCase, Faces]:
    """Return the case of a run, of images that are no copies of each other, and these images."""
    run = read_run_maps(answer)
    columns = {
        name: {
            region: run.scores[key].double()
            for region in FACE_REGIONS
            if (key := f"region_shares/{region}/{name}") in run.scores
        }
        for name in ("share", "area", "drop", "random")
    }
    faces = load(run.config, run.rows.tolist())
    unique = _unique(faces)
    case = MapCase(
        method=run.method,
        network=_network(run.config),
        control=_control(run.config),
        classes=run.classes,
        labels=run.labels,
        correct=run.labels == run.predictions,
        maps=run.maps,
        shares=columns["share"],
        areas=columns["area"],
        gains={name: columns["drop"][name] - random for name, random in columns["random"].items()},
        edges=strong_edges(faces.images),
    )
    return case.take(unique), faces.take(unique)


def strong_edges(images: Tensor) -> Tensor:
    """Return [N,H,W] bool, the fifth of each image's pixels with the strongest edges."""
    magnitudes = sobel_magnitude(images).flatten(1)
    count = round(magnitudes.shape[1] * _EDGE_SHARE)
    strongest = magnitudes.argsort(dim=1, descending=True, stable=True)[:, :count]
    edges = torch.zeros_like(magnitudes, dtype=torch.bool).scatter_(1, strongest, True)
    return edges.unflatten(1, images.shape[2:])


def with_mean_map(case: MapCase, regions: Tensor) -> MapCase:
    """Return the control of a case in which every image has the mean of all classes' mean maps.

    Args:
        case: the maps.
        regions: [N,R,H,W] bool, the regions of its images, R as ``FACE_REGIONS``.
    """
    of_classes = class_means(case.magnitudes, case.labels, case.labels.unique())
    maps = of_classes.nanmean(0).expand_as(case.maps).float()
    shares = region_mass(maps[:, None], regions)[0][:, 0]
    of_regions = {name: shares[:, FACE_REGIONS.index(name)] for name in case.shares}
    return replace(case, control=MEAN_MAP, maps=maps, shares=of_regions)


def _all_entries(answer: Path) -> list[dict[str, Any]]:
    """Return the entries of a run's summary.

    Raises:
        RunError: the run was of many images, of which the summary lists the first alone.
    """
    entries = read_json(answer / "summary.json")["entries"]
    with np.load(answer / "arrays.npz", allow_pickle=False) as arrays:
        count = len(arrays["layers"])
    if len(entries) < count:
        raise RunError(
            f"{answer.name}: its summary lists {len(entries)} of {count} entries; expected at most 256 faces."
        )
    return entries


def _unique(faces: Faces) -> Tensor:
    """Return the positions of the images that are no exact copy of an earlier one with the same label.

    Copies are no independent observations.
    """
    first: dict[tuple[bytes, int], int] = {}
    for number, (image, label) in enumerate(zip(faces.images.numpy(), faces.labels.tolist(), strict=True)):
        first.setdefault((image.tobytes(), label), number)
    return torch.tensor(list(first.values()))


def _network(config: Mapping[str, Any]) -> str:
    """Name the network of a run: its model, the training's seed where it is not 0, and the checkpoint."""
    seed = f" seed {config['seed']}" * (config["seed"] != 0)
    return f"{config['model']['name']}{seed} {config['checkpoint']}"


def _control(config: Mapping[str, Any]) -> str:
    name = explainer_of(config)
    if explainer_family(name) == "baselines":
        return name
    return CONTROL_CHECKPOINTS.get(str(config["checkpoint"]), "")
