"""How the defaults of gradient ascent were chosen: sixteen filters of conv7, climbed under one setting after another.

Of each setting: how much is reached, as part of what the defaults reach (median over filters); for how many filters it
is at least what the strongest face reaches; and how natural the images are: their mean frequency in cycles a pixel,
their total variation (mean difference of neighbouring pixels, down and across) and their contrast, beside those of the
strongest faces themselves. The network is the one that fervis ships.

    python benchmarks/ascent_defaults.py fer2013.csv [--split test] [--sheets <folder>]

``--sheets`` keeps the images of each setting as a PNG, a filter each, to be looked at.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import fervis
from fervis.core.layers import find_layer
from fervis.core.network import Network
from fervis.core.registry import build_plugin
from fervis.explainers.activation_maximization import ascent
from fervis.explainers.activation_maximization.baselines import Baselines, compute_baselines
from fervis.explainers.activation_maximization.maximization import maximize_all
from fervis.explainers.activation_maximization.objectives import at_position, filter_values
from fervis.models.batch import Batch
from fervis.models.hooks import outputs_at

FILTERS = [4, 6, 18, 20, 21, 22, 24, 25, 41, 42, 43, 44, 47, 53, 57, 59]
BARE = {"jitter": 0, "scale": 0.0, "rotation": 0.0, "total_variation": 0.0}


def settings() -> Iterator[dict[str, Any]]:
    """The defaults, then what differs from them."""
    yield {}
    for canvas, rates in (
        ("fourier", (0.02, 0.1, 0.2)),
        ("pixels", (0.01, 0.02, 0.05)),
        ("maco", (0.1, 0.2, 0.4, 0.8)),
    ):
        yield from ({"parameterisation": canvas, "lr": lr} for lr in rates)
    yield from ({"steps": steps} for steps in (32, 64, 256, 512))
    yield from ({"total_variation": weight} for weight in (0.0, 5.0, 10.0, 40.0, 80.0))
    yield from ({"l2": weight} for weight in (10.0, 100.0))
    yield from ({"blur": sd} for sd in (0.5, 1.0))
    yield from ({"jitter": pixels} for pixels in (0, 2, 8))
    yield from ({"scale": share} for share in (0.0, 0.2))
    yield from ({"rotation": degrees} for degrees in (0.0, 20.0))
    yield BARE
    yield {"parameterisation": "pixels", **BARE}


def measures(images: Tensor) -> str:
    """Mean frequency, total variation and contrast, as cells of a table."""
    variation = ascent.penalties(images, ascent.AscentConfig(total_variation=1.0)).mean()
    return f"{ascent.mean_frequency(images).mean():.3f} | {variation:.3f} | {ascent.image_strength(images).mean():.2f}"


def images_of(network: Network, batch: Batch, beside: Baselines, knobs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The images [16,1,48,48] of a setting and what they reached [16]."""
    layer = find_layer(network, "conv7", batch.images)
    found = maximize_all(
        build_plugin("explainer", "filters", **knobs),
        batch,
        lambda some, quick: filter_values(network, layer, some, "mean", quick),
        FILTERS,
        beside,
        use="filters/conv7",
        unit="",
    )
    return found.images, found.reached


def keep(images: Tensor, path: Path) -> None:
    """Two rows of eight, each pixel drawn as two by two."""
    tiles = torch.nn.functional.pad(images[:, 0], (1, 1, 1, 1), value=1).unflatten(0, (2, 8))
    sheet = (255 * tiles.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)).round().byte().numpy()
    Image.fromarray(sheet).resize((2 * sheet.shape[1], 2 * sheet.shape[0]), Image.Resampling.NEAREST).save(path)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--split", default="test")
    parser.add_argument("--sheets", type=Path)
    asked = parser.parse_args()
    network = fervis.load_model("vgg8", weights="fer2013")
    with tempfile.TemporaryDirectory() as cache:
        faces = build_plugin("dataset", "fer2013", path=asked.path).load(Path(cache)).split(asked.split)
    first = faces.images[:1].float() / 255
    layer = find_layer(network, "conv7", first)
    batch = Batch(
        network,
        first,
        (layer,),
        classes=network.classes,
        pool=faces.images,
        rows=faces.rows,
        labels=faces.labels,
    )
    (every,) = compute_baselines(
        batch, lambda images: [at_position(maps, "mean", "") for maps in outputs_at(network, images, [layer])]
    )
    beside = every.take(FILTERS)
    strongest = faces.images[(faces.rows[None] == beside.rows[:, None]).int().argmax(1)].float() / 255
    print(
        "| setting | reached, of the defaults' | at or beyond the strongest face | frequency | variation | contrast |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    usual = None
    for knobs in settings():
        images, reached = images_of(network, batch, beside, knobs)
        usual = reached if usual is None else usual
        if usual is reached:
            part = (beside.strongest / usual).median()
            print(f"| the strongest faces of {asked.split} themselves | {part:.2f} | | {measures(strongest)} |")
        name = ", ".join(f"{key}={value}" for key, value in knobs.items()) or "the defaults"
        beyond = int((reached >= beside.strongest).sum())
        print(f"| {name} | {(reached / usual).median():.2f} | {beyond} | {measures(images)} |", flush=True)
        if asked.sheets:
            asked.sheets.mkdir(parents=True, exist_ok=True)
            keep(images, asked.sheets / f"{name.replace(', ', '_')}.png")


if __name__ == "__main__":
    main()
