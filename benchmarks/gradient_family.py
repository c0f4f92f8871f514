"""Gradient methods beside captum, and beside the bare passes that they need, on vgg8 and faces of 48x48.

One class per drawn face. Of each method fervis, captum and the bare passes take turns in one process, in processor
seconds, so that other work on the machine matters less; the median ratio of the rounds is printed with its range.
Integrated gradients are compared at equal completeness: 50 steps of captum, 20 of fervis; the errors of both
maps against 500 steps are printed. Guided backpropagation is compared on resnet18, since captum rules no LeakyReLU and
gives the plain gradient on vgg8.

    python benchmarks/gradient_family.py [--faces 64] [--rounds 5]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from captum.attr import DeepLift, GuidedBackprop, IntegratedGradients, NoiseTunnel, Saliency
from measure import compare
from torch import Tensor, nn

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.models.batch import Batch
from fervis.models.hooks import frozen

Work = Callable[[], Any]
WHO = ("fervis", "captum", "bare passes")


def bare_gradients(network: nn.Module, faces: Tensor, classes: Tensor, times: int) -> None:
    """Run ``times`` forward and backward passes of all faces, 64 at a time."""
    with frozen(network):
        for some, labels in zip(faces.split(64), classes.split(64), strict=True):
            for _ in range(times):
                pixels = some.clone().requires_grad_()
                torch.autograd.grad(network(pixels).gather(1, labels[:, None]).sum(), pixels)


def by_fervis(network: nn.Module, faces: Tensor, classes: Tensor, name: str, **knobs: Any) -> Work:
    """Return the call of a fervis method at the pixels."""
    explainer = build_plugin("explainer", name, **knobs)
    batch = Batch(network, faces, resolve_layers(network, "input", faces[:1]), class_targets(classes))
    return lambda: explainer.explain(batch)


def errors_of_integrals(network: nn.Module, faces: Tensor, classes: Tensor) -> None:
    """Print how far integrated gradients miss completeness and the integral."""
    exact = by_fervis(network, faces, classes, "integrated_gradients", steps=500, fit=False)().maps["input"][:, 0]
    own = by_fervis(network, faces, classes, "integrated_gradients")()
    captum, gaps = IntegratedGradients(network).attribute(faces, target=classes, return_convergence_delta=True)
    for name, maps, gap in (
        ("fervis, 20 steps", own.maps["input"][:, 0], own.scores["completeness_gap"][:, 0]),
        ("its steps without the fit", None, own.scores["quadrature_gap"][:, 0]),
        ("captum, 50 steps", captum.detach().sum(1), gaps.detach().abs()),
    ):
        text = f"  {name}: completeness gap {float(gap.median()):.1e} (median), {float(gap.max()):.1e} (largest)"
        if maps is not None:
            error = (maps - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
            text += f"; error of the map against 500 steps {100 * float(error.median()):.1f} %"
        print(text)


def works_of(network: nn.Module, faces: Tensor) -> dict[str, dict[str, Work]]:
    """Return what is compared: title -> fervis, captum and the bare passes."""
    rectified = build_plugin("model", "resnet18", width=16).build(channels=1, size=48, classes=tuple("abcdefg")).eval()
    for parameter in [*network.parameters(), *rectified.parameters()]:
        parameter.requires_grad_(False)  # captum then computes none of their gradients either
    count, classes = len(faces), network(faces).argmax(1)
    given = network, faces, classes
    few = network, faces[:8], classes[:8]
    saliency, integrated = Saliency(network), IntegratedGradients(network)
    noisy, guided, lifted = NoiseTunnel(saliency), GuidedBackprop(rectified), DeepLift(network)
    rows: dict[str, tuple[Work, Work, Work]] = {
        f"saliency, {count} faces": (
            by_fervis(*given, "saliency"),
            lambda: saliency.attribute(faces.clone().requires_grad_(), target=classes),
            lambda: bare_gradients(*given, 1),
        ),
        "SmoothGrad of 50 copies, 8 faces": (
            by_fervis(*few, "smoothgrad"),
            lambda: noisy.attribute(
                few[1].clone().requires_grad_(), nt_samples=50, stdevs=0.15, target=few[2], nt_samples_batch_size=8
            ),
            lambda: bare_gradients(*few, 50),
        ),
        "integrated gradients, 8 faces: fervis 20 steps, captum 50, bare passes 20": (
            by_fervis(*few, "integrated_gradients"),
            lambda: integrated.attribute(few[1], target=few[2], n_steps=50),
            lambda: bare_gradients(*few, 20),
        ),
        f"guided backpropagation on resnet18 of width 16, {count} faces": (
            by_fervis(rectified, faces, classes, "guided_backprop"),
            lambda: guided.attribute(faces.clone().requires_grad_(), target=classes),
            lambda: bare_gradients(rectified, faces, classes, 1),
        ),
        f"DeepLIFT, {count} faces": (
            by_fervis(*given, "deep_lift"),
            lambda: lifted.attribute(faces.clone().requires_grad_(), target=classes),
            lambda: bare_gradients(*given, 1),
        ),
    }
    return {title: dict(zip(WHO, works, strict=True)) for title, works in rows.items()}


def main() -> None:
    """Print the seconds and the ratios."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    rounds, count = vars(parser.parse_args())["rounds"], parser.parse_args().faces
    network = fervis.load_model("vgg8", weights="fer2013").eval()
    with TemporaryDirectory() as folder:
        drawn = build_plugin("dataset", "synthetic", per_class_train=count).load(Path(folder)).images
    faces = drawn[torch.randperm(len(drawn), generator=torch.Generator().manual_seed(0))[:count]].float() / 255
    print(f"vgg8 fer2013, faces of 48x48, {torch.get_num_threads()} threads, {rounds} rounds")
    for title, works in works_of(network, faces).items():
        compare(title, works, rounds)
        if title.startswith("integrated"):
            errors_of_integrals(network, faces[:8], network(faces[:8]).argmax(1))


if __name__ == "__main__":
    main()
