"""Perturbation methods beside their peers and beside the bare passes: LIME, occlusion, RISE, ablation, Shapley values.

vgg8, faces of 48x48. The peers are the lime package (ten images per pass, its default), captum (at its default of one
perturbation per pass for occlusion and ablation, a hundred for KernelSHAP, where the default of one is far slower), and
the official loop of RISE, written here as it is there. The bare passes are as many images as the method needs, 25 at a
time, through the network with BatchNorm folded and channels last. All take turns in one process, in processor
seconds; printed are medians, and the median of the ratios of each round with their range.

    python benchmarks/perturbation_family.py [--only lime rise] [--faces 8] [--lime-faces 64] [--rounds 3]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from captum.attr import FeatureAblation, KernelShap, Occlusion
from lime import lime_image
from measure import compare
from torch import Tensor, nn
from torch.nn import functional as F

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.explainers.perturbation.lime_reference import no_progress_bar
from fervis.explainers.perturbation.rise import rise_masks
from fervis.explainers.perturbation.superpixels import face_areas, face_parts, superpixels
from fervis.models.batch import Batch
from fervis.models.fast_inference import fast_forward
from fervis.models.hooks import frozen
from fervis.system.device import computes_bf16

CLASSES = 7
AT_ONCE = 25
SAMPLES = 1000
Work = Callable[[], Any]


def random_faces(count: int) -> Tensor:
    """Return smooth noise, in which SLIC finds as many superpixels as in faces."""
    noise = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, (48, 48), mode="bicubic").clamp(0, 1)


def by_fervis(network: nn.Module, faces: Tensor, name: str, classes: int, **knobs: Any) -> Work:
    """Return the work of one explainer on all faces, for the first classes."""
    layers = resolve_layers(network, "input", faces[:1])
    targets = class_targets(torch.arange(classes).expand(len(faces), -1))
    explainer: Any = build_plugin("explainer", name, **knobs)
    return lambda: explainer.explain(Batch(network, faces, layers, targets))


def bare(network: nn.Module, images: int) -> Work:
    """Return the work of so many images through the fused network, in fp32."""

    def run() -> None:
        chunks = [torch.rand(min(AT_ONCE, images - start), 1, 48, 48) for start in range(0, images, AT_ONCE)]
        with frozen(network), torch.no_grad(), fast_forward(network, chunks[0][:1]):
            for chunk in chunks:
                network(chunk)

    return run


def by_lime(network: nn.Module, faces: Tensor) -> Work:
    """Return the package's work, called as its documentation shows."""

    def probabilities(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(images).float()[..., :1].permute(0, 3, 1, 2)).softmax(1).numpy()

    def run() -> None:
        for face in faces:
            segments = superpixels(face, "slic", segments=40, compactness=10.0).numpy()
            explainer: Any = lime_image.LimeImageExplainer(random_state=0)
            with no_progress_bar():
                explainer.explain_instance(
                    face[0].double().numpy(),
                    probabilities,
                    top_labels=CLASSES,
                    num_samples=SAMPLES,
                    segmentation_fn=lambda _, segments=segments: segments,
                    random_seed=0,
                )

    return run


def by_official_rise(network: nn.Module, faces: Tensor) -> Work:
    """Return the work of the official loop: an image at a time, a hundred masks per pass, one product at the end."""
    masks = rise_masks(SAMPLES, 48, 48, 7, 0.5, torch.Generator().manual_seed(0))[:, None]

    def run() -> None:
        for face in faces:
            stack = torch.mul(masks, face[None] - 0.5) + 0.5
            with torch.no_grad():
                parts = [network(stack[start : start + 100]).softmax(1) for start in range(0, SAMPLES, 100)]
            scores = torch.cat(parts)
            torch.matmul(scores.T, masks.view(SAMPLES, -1)).view(CLASSES, 48, 48) / SAMPLES / 0.5

    return run


def by_captum(method: Any, network: nn.Module, faces: Tensor, **options: Any) -> Work:
    """Return the work of a method of captum on all faces at once, for class 0."""

    def run() -> None:
        with torch.no_grad():
            method(network).attribute(faces, target=0, baselines=0.5, **options)

    return run


def comparisons(network: nn.Module, count: int, lime_faces: int) -> dict[str, dict[str, Work]]:
    """Return the works of each comparison: fervis, fervis in bf16 where the processor has it, the peer, bare passes."""
    faces, few = random_faces(count), random_faces(lime_faces)

    def both(name: str, faces: Tensor, classes: int, **knobs: Any) -> dict[str, Work]:
        exact: dict[str, Work] = {"fervis": by_fervis(network, faces, name, classes, **knobs)}
        if not computes_bf16(faces.device):
            return exact
        return exact | {"fervis, bf16": by_fervis(network, faces, name, classes, precision="bf16", **knobs)}

    parts, areas = face_parts(48, 48)[None, None], face_areas(48, 48)[None, None]
    shap = {"samples": SAMPLES, "superpixels": "parts", "fill": 0.5, "output": "logit"}
    one, several = ({"lime package": by_lime(network, some)} for some in (faces[:1], few))
    return {
        "lime, 1 face, 7 labels": both("lime", faces[:1], CLASSES) | one | {"bare": bare(network, SAMPLES)},
        f"lime, {lime_faces} faces, 7 labels": both("lime", few, CLASSES)
        | several
        | {"bare": bare(network, SAMPLES * lime_faces)},
        f"occlusion 8x8 step 4, {count} faces": both("occlusion", faces, 1)
        | {"captum": by_captum(Occlusion, network, faces, sliding_window_shapes=(1, 8, 8), strides=(1, 4, 4))}
        | {"bare": bare(network, 122 * count)},
        f"rise, {SAMPLES} masks, 7 labels, {count} faces": both("rise", faces, CLASSES, samples=SAMPLES)
        | {"official loop": by_official_rise(network, faces)}
        | {"bare": bare(network, SAMPLES * count)},
        f"feature_ablation, 33 parts, {count} faces": both("feature_ablation", faces, 1, fill=0.5)
        | {"captum": by_captum(FeatureAblation, network, faces, feature_mask=parts)}
        | {"bare": bare(network, 34 * count)},
        f"kernel_shap, 33 parts, {SAMPLES} samples, 1 face": both("kernel_shap", faces[:1], 1, **shap)
        | {
            "captum": by_captum(
                KernelShap, network, faces[:1], feature_mask=parts, n_samples=SAMPLES, perturbations_per_eval=100
            )
        }
        | {"bare": bare(network, SAMPLES)},
        "part_shapley, exact, 10 parts, 1 face": both("part_shapley", faces[:1], 1, fill=0.5)
        | {
            "captum KernelShap": by_captum(
                KernelShap, network, faces[:1], feature_mask=areas, n_samples=1024, perturbations_per_eval=100
            )
        }
        | {"bare": bare(network, 1024)},
    }


def shapley_error(network: nn.Module, face: Tensor) -> float:
    """Return the error of captum's KernelShap at 1,024 samples, as part of the largest exact value."""
    exact = by_fervis(network, face, "part_shapley", 1, fill=0.5)().maps["input"][0, 0]
    areas = face_areas(48, 48)[None, None]
    with torch.no_grad():
        found = KernelShap(network).attribute(
            face, target=0, baselines=0.5, feature_mask=areas, n_samples=1024, perturbations_per_eval=100
        )
    return float((found[0, 0] - exact).abs().max() / exact.abs().max())


def main() -> None:
    """Print the seconds and the ratios of each comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of the comparisons to run")
    parser.add_argument("--faces", type=int, default=8)
    parser.add_argument("--lime-faces", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", default="fer2013")
    arguments = parser.parse_args()
    network = fervis.load_model("vgg8", weights=arguments.weights).eval()
    print(f"vgg8 {arguments.weights}, 48x48, {torch.get_num_threads()} threads, {arguments.rounds} rounds")
    for name, works in comparisons(network, arguments.faces, arguments.lime_faces).items():
        if not arguments.only or name.startswith(tuple(arguments.only)):
            compare(name, works, arguments.rounds)
            if name.startswith("part_shapley"):
                error = shapley_error(network, random_faces(1))
                print(f"  captum's KernelShap is off by {error:.1%} of the largest value; part_shapley is exact")


if __name__ == "__main__":
    main()
