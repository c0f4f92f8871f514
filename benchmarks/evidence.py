"""Compare measures of evidence with Quantus on the same steps, and with the bare passes that they need.

    env OMP_NUM_THREADS=1 python benchmarks/evidence.py [--rounds 3] [--maps 64]

needs Quantus 0.6 (``pip install quantus``). The network is the shipped vgg8 on 48x48 faces; the maps are random, since
what they mark costs nothing. Quantus has no insertion: it is given as PixelFlipping that starts from the blurred images
and puts the pixels of the faces into them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import quantus
import torch
from measure import BARE, FERVIS, HEAD, Row, line_of, measure
from torch import Tensor, nn

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.models.batch import Batch
from fervis.models.fast_inference import fast_forward
from fervis.models.hiding import blurred_twice

STEPS = 24


def by_fervis(name: str, batch: Batch, maps: Tensor, **knobs: Any) -> Callable[[], Tensor]:
    """Return the work of a measure of fervis."""
    built, again = build_plugin("evidence", name, **knobs), None
    return lambda: built.measure(batch, maps, again)[""]  # pyright: ignore[reportArgumentType]


def by_quantus(model: nn.Module, images: Tensor, maps: Tensor, classes: Tensor, shown: Tensor | None = None) -> Any:
    """Return the work of Quantus's PixelFlipping, with as many steps, in one batch.

    Args:
        model: network.
        images: [N,C,H,W] what is started from.
        maps: [N,H,W].
        classes: [N].
        shown: [N,C,H,W] what is put in place of pixels; None for zeros.
    """
    knobs: dict[str, Any] = {"perturb_baseline": "black"}
    if shown is not None:
        flat = shown.flatten(1).numpy()

        def show(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
            changed = arr.copy()
            np.put_along_axis(changed, indices, np.take_along_axis(flat, indices, 1), 1)
            return changed

        knobs = {"perturb_func": show}
    flipping = quantus.PixelFlipping(
        features_in_step=images[0].numel() // STEPS, normalise=False, disable_warnings=True, **knobs
    )
    arrays = {"x_batch": images.numpy(), "y_batch": classes.numpy(), "a_batch": maps[:, None].numpy()}
    return lambda: flipping(model=model, **arrays, softmax=True, batch_size=len(images), device="cpu")


def bare_passes(model: nn.Module, images: Tensor, count: int, size: int = STEPS + 1) -> Callable[[], None]:
    """Return the work of as many fused passes of as many images as the measure needs."""
    several = images[torch.arange(size) % len(images)]

    def passes() -> None:
        with torch.no_grad(), fast_forward(model, images[:1]):
            for _ in range(count):
                model(several.clone())

    return passes


def rows(model: nn.Module, images: Tensor, maps: Tensor) -> Iterator[tuple[Row, float]]:
    """Yield deletion and insertion of the maps, each with the largest difference from Quantus."""
    with torch.no_grad():
        classes = model(images).argmax(1)
    batch = Batch(model, images, resolve_layers(model, "input", images[:1]), class_targets(classes))
    bare, blurred = bare_passes(model, images, len(images)), blurred_twice(images, 11)
    for name, start, shown in (("deletion", images, None), ("insertion", blurred, images)):
        row = Row(
            f"{name}, {STEPS} steps, {len(images)} maps",
            "Quantus",
            20,
            {
                FERVIS: by_fervis(name, batch, maps[:, None], steps=STEPS),
                "Quantus": by_quantus(model, start, maps, classes, shown),
                BARE: bare,
            },
            1.15,
        )
        yield row, difference(row, model, start, classes)


def road_row(model: nn.Module, images: Tensor, maps: Tensor) -> Row:
    """Return ROAD at 10 to 90 %: of fervis both orders, of Quantus the most relevant first alone."""
    with torch.no_grad():
        classes = model(images).argmax(1)
    batch = Batch(model, images, resolve_layers(model, "input", images[:1]), class_targets(classes))
    road = quantus.ROAD(percentages=list(range(10, 100, 10)), noise=0.01, disable_warnings=True)
    arrays = {"x_batch": images.numpy(), "y_batch": classes.numpy(), "a_batch": maps[:, None].numpy()}
    return Row(
        f"ROAD, 9 shares, {len(images)} maps; Quantus half of it",
        "Quantus",
        20,
        {
            FERVIS: by_fervis("road", batch, maps[:, None]),
            "Quantus": lambda: road(model=model, **arrays, softmax=True, batch_size=len(images), device="cpu"),
            BARE: bare_passes(model, images, len(images), 18),
        },
    )


def difference(row: Row, model: nn.Module, start: Tensor, classes: Tensor) -> float:
    """Return the largest difference of the areas; the curves of Quantus lack the value for what is started from.

    The black of Quantus is the least value there is, which is near 0 and not 0.
    """
    with torch.no_grad():
        first = model(start).softmax(1).gather(1, classes[:, None]).double()
    curves = torch.cat([first, torch.tensor(np.array(row.works["Quantus"]()), dtype=torch.float64)], 1)
    return float((row.works[FERVIS]()[:, 0] - torch.trapezoid(curves, dx=1 / STEPS)).abs().max())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--maps", type=int, default=64)
    arguments = parser.parse_args()
    model = fervis.load_model("vgg8", weights="fer2013").eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(arguments.maps, 1, 48, 48, generator=generator)
    maps = torch.rand(arguments.maps, 48, 48, generator=generator)
    print(f"vgg8 fer2013, 48x48, {torch.get_num_threads()} threads, {arguments.rounds} rounds\n{HEAD}")
    for row, apart in rows(model, images, maps):
        print(f"{line_of(measure(row, arguments.rounds))} areas differ by {apart:.1g} at most", flush=True)
    print(line_of(measure(road_row(model, images[:16], maps[:16]), arguments.rounds)), flush=True)


if __name__ == "__main__":
    main()
