"""LRP at the pixels for one class of each face: fervis beside zennit, and beside the bare passes.

Faces of 48x48 through vgg8, under the composites that both have. zennit merges BatchNorm by its canonizer; a bare pass
is one forward and one backward pass down to the pixels. The three take turns in one process, in processor seconds, so
that other work on the machine matters less; the median ratio of the rounds is printed, and the largest difference of
the maps. Without zennit installed, fervis is measured beside the bare passes alone.

The maps are compared in double precision with a network whose BatchNorm is folded by hand: zennit's canonizer leaves
the BatchNorm's ``eps`` in place, which changes what the network computes.

    python benchmarks/relevance_family.py [--faces 64] [--rounds 5] [--weights fer2013]
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from measure import compare
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.network import Network
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.models.batch import Batch

COMPOSITES = {
    "epsilon_plus": "EpsilonPlus",
    "epsilon_plus_flat": "EpsilonPlusFlat",
    "epsilon_alpha2_beta1": "EpsilonAlpha2Beta1",
    "epsilon_alpha2_beta1_flat": "EpsilonAlpha2Beta1Flat",
    "epsilon_gamma_box": "EpsilonGammaBox",
}


def by_fervis(network: Network, faces: Tensor, classes: Tensor, composite: str) -> Tensor:
    """Return the maps [N,H,W] of a class of each face."""
    batch = Batch(network, faces, resolve_layers(network, "input", faces[:1]), class_targets(classes))
    return build_plugin("explainer", "lrp", composite=composite).explain(batch).maps["input"][:, 0]


def by_zennit(network: Network, body: nn.Module, faces: Tensor, classes: Tensor, composite: str) -> Tensor:
    """Return zennit's maps [N,H,W] of a class of each face; a BatchNorm in the body is merged."""
    from zennit import composites
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm

    settings: dict[str, Any] = {"canonizers": [SequentialMergeBatchNorm()]}
    if composite == "epsilon_gamma_box":
        ends = [network.normalized(torch.full_like(faces[:1], bound)) for bound in (0.0, 1.0)]
        settings |= {"low": ends[0], "high": ends[1]}
    rules = getattr(composites, COMPOSITES[composite])(**settings)
    pixels = network.normalized(faces)
    with Gradient(model=body, composite=rules) as attribution:
        logits = network(faces).detach()
        chosen = torch.zeros_like(logits).scatter(1, classes[:, None], logits.gather(1, classes[:, None]))
        _, relevance = attribution(pixels, chosen)
    return relevance.sum(1).detach()


def bare_passes(network: nn.Module, faces: Tensor, classes: Tensor) -> Tensor:
    """Run one forward and one backward pass."""
    pixels = faces.clone().requires_grad_()
    return torch.autograd.grad(network(pixels).gather(1, classes[:, None]).sum(), pixels)[0]


def folded(network: Network) -> nn.Module:
    """Return the body of vgg8 in double precision with its BatchNorms folded by hand."""
    body = copy.deepcopy(network.body).double()
    for number in range(1, 9):
        conv, norm = body.get_submodule(f"conv{number}"), body.get_submodule(f"norm{number}")
        body.set_submodule(f"conv{number}", fuse_conv_bn_eval(conv, norm))
        body.set_submodule(f"norm{number}", nn.Identity())
    return body.requires_grad_(False)


def main() -> None:
    """Print the seconds and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--weights", default="fer2013")
    arguments = parser.parse_args()
    network = fervis.load_model("vgg8", weights=arguments.weights).eval().requires_grad_(False)
    faces = torch.rand(arguments.faces, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    classes = network(faces).argmax(1)
    peer = importlib.util.find_spec("zennit") is not None
    double, body, few = copy.deepcopy(network).double(), folded(network), faces[:8].double()
    print(f"vgg8 {arguments.weights}, {arguments.faces} faces of 48x48, {torch.get_num_threads()} threads")
    for composite in COMPOSITES:
        works: dict[str, Callable[[], Tensor]] = {
            "fervis": lambda composite=composite: by_fervis(network, faces, classes, composite),
            "bare passes": lambda: bare_passes(network, faces, classes),
        }
        if peer:
            works["zennit"] = lambda composite=composite: by_zennit(network, network.body, faces, classes, composite)
        compare(composite, works, arguments.rounds)
        if peer:
            own = by_fervis(double, few, classes[:8], composite)
            other = by_zennit(double, body, few, classes[:8], composite)
            print(f"  largest difference: {float((own - other).abs().max() / other.abs().max()):.1e}")


if __name__ == "__main__":
    main()
