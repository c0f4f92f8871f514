"""Choice of the defaults of gradient ascent: sixteen filters of conv7, maximized with one setting after another.

For each setting: the value reached relative to that of the defaults (median over filters); the number of filters for
which it is at least that of the strongest face; and how natural the images are: their mean frequency in cycles per
pixel, their total variation (mean difference of neighbouring pixels, down and across) and their contrast, compared with
those of the strongest faces. The network is the one that fervis ships.

    python benchmarks/ascent_defaults.py fer2013.csv [--split test] [--sheets <folder>]

``--sheets`` saves the images of each setting as a PNG, one tile per filter.
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
    """Yield the defaults, then settings that differ from them."""
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
    """Return mean frequency, total variation and contrast as cells of a table."""
    variation = ascent.penalties(images, ascent.AscentConfig(total_variation=1.0)).mean()
    return f"{ascent.mean_frequency(images).mean():.3f} | {variation:.3f} | {ascent.image_strength(images).mean():.2f}"


def images_of(network: Network, batch: Batch, baselines: Baselines, knobs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the images [16,1,48,48] of a setting and the values reached [16]."""
    layer = find_layer(network, "conv7", batch.images)
    result = maximize_all(
        build_plugin("explainer", "filters", **knobs),
        batch,
        lambda members, dtype: filter_values(network, layer, members, "mean", dtype),
        FILTERS,
        baselines,
        use="filters/conv7",
        unit="",
    )
    return result.images, result.reached


def save_sheet(images: Tensor, path: Path) -> None:
    """Save two rows of eight images, each pixel drawn as two by two."""
    tiles = torch.nn.functional.pad(images[:, 0], (1, 1, 1, 1), value=1).unflatten(0, (2, 8))
    sheet = (255 * tiles.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)).round().byte().numpy()
    Image.fromarray(sheet).resize((2 * sheet.shape[1], 2 * sheet.shape[0]), Image.Resampling.NEAREST).save(path)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--split", default="test")
    parser.add_argument("--sheets", type=Path)
    arguments = parser.parse_args()
    network = fervis.load_model("vgg8", weights="fer2013")
    with tempfile.TemporaryDirectory() as cache:
        faces = build_plugin("dataset", "fer2013", path=arguments.path).load(Path(cache)).split(arguments.split)
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
    baselines = every.take(FILTERS)
    strongest = faces.images[(faces.rows[None] == baselines.rows[:, None]).int().argmax(1)].float() / 255
    print(
        "| setting | reached, of the defaults' | at or beyond the strongest face | frequency | variation | contrast |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    usual = None
    for knobs in settings():
        images, reached = images_of(network, batch, baselines, knobs)
        usual = reached if usual is None else usual
        if usual is reached:
            part = (baselines.strongest / usual).median()
            print(f"| the strongest faces of {arguments.split} themselves | {part:.2f} | | {measures(strongest)} |")
        name = ", ".join(f"{key}={value}" for key, value in knobs.items()) or "the defaults"
        beyond = int((reached >= baselines.strongest).sum())
        print(f"| {name} | {(reached / usual).median():.2f} | {beyond} | {measures(images)} |", flush=True)
        if arguments.sheets:
            arguments.sheets.mkdir(parents=True, exist_ok=True)
            save_sheet(images, arguments.sheets / f"{name.replace(', ', '_')}.png")


if __name__ == "__main__":
    main()
