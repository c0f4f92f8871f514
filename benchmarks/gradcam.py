"""Grad-CAM at every layer for every class: fervis in one call, captum in a call per layer and class.

Eight layers and seven classes of vgg8, 64 faces of 48x48. captum's LayerGradCam explains one layer and class per call;
the bare passes that the maps need are one forward pass and seven backward passes down to the first layer. The three
take turns in one process, in processor seconds, so that other work on the machine matters less; the median ratio of the
rounds is printed, and the largest difference of the maps.

    python benchmarks/gradcam.py [--faces 64] [--rounds 5] [--weights fer2013]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import LayerGradCam
from measure import compare
from torch import Tensor, nn

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.models.batch import Batch
from fervis.models.hooks import frozen

CLASSES = 7


def by_captum(network: nn.Module, faces: Tensor, paths: list[str]) -> list[Tensor]:
    """Return the maps [N,7,h,w] of each layer, from a call per layer and class."""
    maps = []
    for path in paths:
        method = LayerGradCam(network, network.get_submodule(path))
        calls = [method.attribute(faces, target=target, relu_attributions=True) for target in range(CLASSES)]
        maps.append(torch.cat(calls, 1).detach())
    return maps


def bare_passes(network: nn.Module, faces: Tensor, first: nn.Module, classes: int = CLASSES) -> None:
    """Run one forward pass, and a backward pass per class down to the output of the first layer."""
    outputs: list[Tensor] = []

    def begin(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[0]

    with frozen(network):
        handle = first.register_forward_hook(begin)
        logits = network(faces)
        handle.remove()
        for target in range(classes):
            torch.autograd.grad(logits[:, target].sum(), outputs, retain_graph=target < classes - 1)


def main() -> None:
    """Print the seconds and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--weights", default="fer2013")
    arguments = parser.parse_args()
    network = fervis.load_model("vgg8", weights=arguments.weights).eval()
    faces = torch.rand(arguments.faces, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    layers = resolve_layers(network, "all", faces[:1])
    targets = class_targets(torch.arange(CLASSES).expand(len(faces), -1))
    explainer, batch = build_plugin("explainer", "gradcam"), Batch(network, faces, layers, targets)
    paths = [layer.path for layer in layers]
    works: dict[str, Callable[[], Any]] = {
        "fervis": lambda: list(explainer.explain(batch).maps.values()),
        "captum": lambda: by_captum(network, faces, paths),
        "bare passes": lambda: bare_passes(network, faces, network.get_submodule(paths[0])),
    }
    title = f"vgg8 {arguments.weights}, {len(layers)} layers, {CLASSES} classes, {len(faces)} faces of 48x48, "
    title += f"{torch.get_num_threads()} threads, {arguments.rounds} rounds"
    compare(title, works, arguments.rounds)
    pairs = zip(works["fervis"](), works["captum"](), strict=True)
    difference = max(float((own - other).abs().max() / other.max()) for own, other in pairs)
    print(f"largest difference of a map, as part of its layer's largest value: {difference:.1e}")


if __name__ == "__main__":
    main()
