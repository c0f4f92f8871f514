"""Images that show a concept, and random ones: from the action units of drawn faces, or from a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from fervis.core.faces import Faces
from fervis.datasets.images.class_folders import read_pictures, read_tree
from fervis.datasets.paths import existing_path
from fervis.errors import ConfigError, unknown_name
from fervis.models.batch import Batch

ACTION_UNIT_CONCEPTS = "action_units"
RANDOM_FOLDER = "random"
FEWEST_IMAGES_OF_A_SET = 2
RANDOM_IMAGES_OF_A_SET = 10  # sets of random images are made smaller for more of them, down to so many


@dataclass(frozen=True)
class ConceptSets:
    """Sets of images, each from its own partition, so that no image is in two of them.

    Attributes:
        concepts: name -> [P,n,C,H,W] float32 in [0, 1], sets of images that show the concept.
        random: [P+2R,m,C,H,W] float32, sets of random images: one per partition, and pairs for R random directions.
    """

    concepts: dict[str, Tensor]
    random: Tensor


def concept_sets(
    spec: Any, batch: Batch, partitions: int, directions: int, images: int, intensity: float, generator: Generator
) -> ConceptSets:
    """Draw the sets of images that ``explainer.concepts=`` means.

    Args:
        spec: ``action_units`` for all that enough training faces show, a list of them, or a folder.
        batch: the run.
        partitions: number P of sets per concept.
        directions: number R of random directions, fewer where there are too few random images.
        images: most images per set; where a concept has fewer, its sets are smaller.
        intensity: least intensity of an action unit.
        generator: of the draws.

    Raises:
        ConfigError: there are no such concepts, or a concept has too few images.
    """
    if isinstance(spec, str) and spec != ACTION_UNIT_CONCEPTS:
        pools = _folder_pools(spec, batch)
        listed = list(pools)
    else:
        pools, listed = _action_unit_pools(spec, batch, intensity)
    fewest = partitions * FEWEST_IMAGES_OF_A_SET
    for name in [*listed, RANDOM_FOLDER]:
        need = 3 * fewest if name == RANDOM_FOLDER else fewest
        if len(pools[name]) < need:
            raise ConfigError(
                f"explainer.concepts={spec}: {name} has {len(pools[name])} images, expected at least {need}, since "
                f"each of explainer.partitions={partitions} has images of its own."
            )
    sets = {name: _parts(pool, partitions, images, generator) for name, pool in pools.items() if name != RANDOM_FOLDER}
    concepts = {name: parts for name, parts in sets.items() if parts.shape[1] >= FEWEST_IMAGES_OF_A_SET}
    if not concepts:
        raise ConfigError(f"explainer.concepts={spec}: no action unit is shown by {fewest} or more training faces.")
    pool = pools[RANDOM_FOLDER]
    # Rather more directions than larger sets; the least is what the partitions need.
    enough = max(RANDOM_IMAGES_OF_A_SET, len(pool) // (partitions + 2 * directions))
    size = min(images, enough, len(pool) // (3 * partitions))
    count = min(directions, (len(pool) // size - partitions) // 2)
    return ConceptSets(concepts, _parts(pool, partitions + 2 * count, size, generator))


def _parts(pool: Tensor, count: int, most: int, generator: Generator) -> Tensor:
    """Return [count,n,C,H,W] float32, disjoint sets of at most ``most`` images of a pool of bytes or floats."""
    size = min(most, len(pool) // count)
    chosen = pool[torch.randperm(len(pool), generator=generator)[: count * size]]
    chosen = chosen if chosen.is_floating_point() else chosen.float() / 255
    return chosen.unflatten(0, (count, size)) if size else chosen.new_zeros(count, 0, *pool.shape[1:])


def _action_unit_pools(spec: Any, batch: Batch, intensity: float) -> tuple[dict[str, Tensor], list[str]]:
    """Return the training faces that show each action unit, all of them as random ones, and the names listed."""
    faces = batch.data.split("train") if batch.data is not None else None
    if faces is None or faces.truth is None:
        raise ConfigError(
            f"explainer.concepts={spec}: the data has no action units of its faces; expected "
            f"dataset=synthetic, or a folder with a folder of images per concept and one named {RANDOM_FOLDER}."
        )
    known = faces.truth.action_unit_names
    listed: list[str] = [] if spec == ACTION_UNIT_CONCEPTS else list(map(str, spec))
    for name in listed:
        if name not in known:
            raise unknown_name("explainer.concepts", name, known)
    pools = {name: _showing(faces, name, intensity) for name in listed or known}
    return pools | {RANDOM_FOLDER: faces.images}, listed


def _showing(faces: Faces, unit: str, intensity: float) -> Tensor:
    """Return the images of the faces that show an action unit."""
    assert faces.truth is not None
    strength = faces.truth.action_units[:, faces.truth.action_unit_names.index(unit)]
    return faces.images[strength >= intensity]


def _folder_pools(spec: str, batch: Batch) -> dict[str, Tensor]:
    """Return the images of each folder below a folder, as the network's images are."""
    channels, height, width = batch.images.shape[1:]
    if height != width:
        raise ConfigError(f"explainer.concepts={spec}: expected square images to explain, not {height} x {width}.")
    root = existing_path(spec, "explainer.concepts")
    tree = read_tree(root, "explainer.concepts")
    if RANDOM_FOLDER not in tree.classes or len(tree.classes) < 2:
        raise ConfigError(
            f"explainer.concepts={spec}: its folders are {', '.join(tree.classes)}; expected one per concept and one "
            f"of random images, named {RANDOM_FOLDER}."
        )
    pictures, _ = read_pictures(root, tree.names, height, channels)
    return {name: torch.from_numpy(pictures[tree.labels == number]) for number, name in enumerate(tree.classes)}


def concept_files(spec: Any) -> list[Path]:
    """Return the folder that ``explainer.concepts=`` names, if it names one."""
    return [Path(spec)] if isinstance(spec, str) and spec != ACTION_UNIT_CONCEPTS else []


class ConceptSpec:
    """Constraint of ``concepts=``: ``action_units``, a list of action units, or a folder."""

    def allows(self, value: Any) -> bool:
        """Return whether the value has one of the forms."""
        if isinstance(value, str):
            return bool(value.strip())
        listed = isinstance(value, Sequence) and all(isinstance(name, str) for name in value)
        return listed and 0 < len(value) == len(set(value))

    def __str__(self) -> str:
        return "action_units, a list such as [AU12,AU4], or a folder that holds a folder of images per concept"
