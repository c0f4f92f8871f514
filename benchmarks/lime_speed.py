"""LIME for one face and seven labels: fervis, the lime package and captum on the same network and superpixels.

fervis gets the package's samples, and the largest difference of the coefficients is printed. captum explains one label
per call and is left out if it is not installed. Times are processor seconds, the least of several rounds, so that other
load on the machine matters less. The file is not called lime.py, which would shadow the package.

    python benchmarks/lime_speed.py [--samples 1000] [--rounds 3] [--weights fer2013]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from lime import lime_image
from torch import Tensor, nn
from torch.nn import functional as F

import fervis
from fervis.core.targets import class_targets
from fervis.explainers.perturbation.lime import explain_with_lime
from fervis.explainers.perturbation.lime_reference import no_progress_bar
from fervis.explainers.perturbation.superpixels import superpixels

SEED = 0


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor seconds of the work, and its result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def by_lime(network: nn.Module, face: Tensor, segments: Tensor, samples: int, batch: int) -> Tensor:
    """Return [d,K] coefficients of the package, called as its documentation shows."""

    def probabilities(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(images).float()[..., :1].permute(0, 3, 1, 2)).softmax(1).numpy()

    explainer: Any = lime_image.LimeImageExplainer(feature_selection="none", random_state=SEED)
    with no_progress_bar():
        explanation = explainer.explain_instance(
            face[0].double().numpy(),
            probabilities,
            top_labels=7,
            num_samples=samples,
            batch_size=batch,
            segmentation_fn=lambda _: segments.numpy(),
            random_seed=0,
        )
    return torch.tensor([[weight for _, weight in sorted(explanation.local_exp[label])] for label in range(7)]).T


def by_captum(network: nn.Module, face: Tensor, segments: Tensor, samples: int) -> None:
    """Explain all seven labels, one call each, with a hundred marguments faces per pass."""
    from captum.attr import Lime

    method = Lime(lambda pixels: network(pixels).softmax(1))
    for label in range(7):
        method.attribute(
            face[None], target=label, feature_mask=segments[None, None], n_samples=samples, perturbations_per_eval=100
        )


def main() -> None:
    """Print the seconds of each method and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", default="fer2013")
    arguments = parser.parse_args()
    network = fervis.load_model("vgg8", weights=arguments.weights).eval()
    noise = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(SEED))
    face = F.interpolate(noise, (48, 48), mode="bicubic")[0].clamp(0, 1)
    segments = superpixels(face, "slic", segments=40, compactness=10.0)
    count = int(segments.max()) + 1
    drawn = np.random.RandomState(SEED).randint(0, 2, arguments.samples * count).reshape(arguments.samples, count)
    drawn[0] = 1
    draws, batches = torch.from_numpy(drawn).float(), torch.rand(arguments.samples, 1, 48, 48).split(100)

    def bare() -> None:
        with torch.no_grad():
            for batch in batches:
                network(batch)

    works: dict[str, Callable[[], Any]] = {
        "bare passes": bare,
        "fervis": lambda: explain_with_lime(network, face, class_targets([0]), segments, draws).coefficients,
        "fervis, bf16": lambda: explain_with_lime(network, face, class_targets([0]), segments, draws, precision="bf16"),
        "lime, batches of 10": lambda: by_lime(network, face, segments, arguments.samples, 10),
        "lime, batches of 100": lambda: by_lime(network, face, segments, arguments.samples, 100),
    }
    if find_spec("captum") is None:
        print("captum is not installed and is left out")
    else:
        works["captum, one call per label"] = lambda: by_captum(network, face, segments, arguments.samples)
    threads = torch.get_num_threads()
    print(
        f"vgg8 {arguments.weights}, one 48x48 face, {count} superpixels, {arguments.samples} samples, 7 labels, "
        f"{threads} threads"
    )
    best: dict[str, float] = {}
    results: dict[str, Any] = {}
    bare()
    for _ in range(arguments.rounds):
        for name, work in works.items():
            seconds, results[name] = timed(work)
            best[name] = min(seconds, best.get(name, seconds))
    for name, seconds in best.items():
        ratios = f"{seconds / best['fervis']:6.2f} x fervis   {seconds / best['bare passes']:6.2f} x bare"
        print(f"{name:24s} {seconds:7.3f} s   {ratios}")
    difference = (results["fervis"] - results["lime, batches of 10"]).abs().max()
    print(f"largest difference between fervis and lime: {difference:.1e}")


if __name__ == "__main__":
    main()
