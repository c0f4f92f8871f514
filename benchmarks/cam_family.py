"""The CAM family compared with pytorch-grad-cam: Score-CAM, Ablation-CAM, and seven CAMs of one gradient.

vgg8 on 48x48 faces of random pixels. Per part, the works take turns in one process, in processor seconds, so that other
work on the machine matters less; the median ratio of the rounds to fervis is printed, with its range.

- Score-CAM at conv7: every channel of every face is a masked face. The bare passes are as many faces through the fused
  network, in as large batches.
- Ablation-CAM at conv7: fervis resumes the network at the layer; the same by full passes runs it from the pixels, with
  a hook that sets a channel to 0.
- Seven CAMs of one gradient at conv7: fervis computes them from one pass, pytorch-grad-cam in a call each. The bare
  passes are one forward and one backward pass down to the layer.

pytorch-grad-cam (``pip install grad-cam``) is needed; its progress bars are turned off.

    python benchmarks/cam_family.py [--faces 8] [--gradient-faces 64] [--rounds 3] [--parts score ablation gradient]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

import pytorch_grad_cam as peer
import torch
from measure import compare
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.explainers.cam.eigencam import first_component
from fervis.explainers.cam.weighting import MAPS_OF_PASS
from fervis.models.batch import SCORED_AT_ONCE, Batch
from fervis.models.fast_inference import fast_forward
from fervis.models.hooks import frozen
from fervis.system.device import computes_bf16

Works = dict[str, Callable[[], Any]]
LAYER, TARGET = "conv7", 3
GRADIENT_PEERS = ("GradCAM", "GradCAMPlusPlus", "HiResCAM", "LayerCAM", "XGradCAM", "EigenCAM", "EigenGradCAM")


def by_peer(kind: str, network: nn.Module, faces: Tensor) -> Any:
    """Return the maps of pytorch-grad-cam, scaled to [0, 1] as it does, in batches of its own choice (16 and 32)."""
    with getattr(peer, kind)(network, [network.get_submodule(f"body.{LAYER}")]) as method:
        return method(faces, [ClassifierOutputTarget(TARGET)] * len(faces))


def bare_scores(network: nn.Module, faces: Tensor, times: int) -> None:
    """Run ``times`` images for each face through the fused network."""
    images = faces.repeat(times, 1, 1, 1)
    with frozen(network), torch.no_grad(), fast_forward(network, faces[:1]):
        for part in images.split(SCORED_AT_ONCE):
            network(part)


def full_ablation(network: nn.Module, faces: Tensor) -> Tensor:
    """Return the logits [N,c,K] without each channel of each face, by passes from the pixels."""
    layer = network.get_submodule(f"body.{LAYER}")
    channels = int(layer.weight.shape[0])  # pyright: ignore[reportAttributeAccessIssue]
    pairs = torch.cartesian_prod(torch.arange(len(faces)), torch.arange(channels))
    logits = []
    with frozen(network), torch.no_grad():
        for part in pairs.split(SCORED_AT_ONCE):

            def ablate(_module: nn.Module, _inputs: object, output: Tensor, part: Tensor = part) -> Tensor:
                output[torch.arange(len(part)), part[:, 1]] = 0
                return output

            handle = layer.register_forward_hook(ablate)
            logits.append(network(faces[part[:, 0]]))
            handle.remove()
    return torch.cat(logits).unflatten(0, (len(faces), channels))


def seven_of_one(batch: Batch) -> list[Tensor]:
    """Return the maps of seven CAMs from one shared pass."""
    maps = []
    for one in batch.gradients():
        for name, gradients in one.gradients.items():
            activations = one.activations[name]
            maps += [map_of_pass(activations, gradients).relu() for map_of_pass in MAPS_OF_PASS.values()]
            maps += [first_component(activations).relu(), first_component(activations * gradients).relu()]
    return maps


def bare_gradient(network: nn.Module, faces: Tensor) -> None:
    """Run one forward pass, and one backward pass down to the layer."""
    outputs: list[Tensor] = []

    def begin(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[0]

    with frozen(network):
        handle = network.get_submodule(f"body.{LAYER}").register_forward_hook(begin)
        logits = network(faces)
        handle.remove()
        torch.autograd.grad(logits[:, TARGET].sum(), outputs)


def batch_of(network: nn.Module, faces: Tensor) -> Batch:
    """Return the faces as a batch that explains one class at the layer."""
    return Batch(network, faces, resolve_layers(network, LAYER, faces[:1]), class_targets([TARGET] * len(faces)))


def works_of(part: str, network: nn.Module, faces: Tensor) -> Works:
    """Return what is compared in a part, fervis first."""
    batch = batch_of(network, faces)

    def own(name: str, **knobs: Any) -> Callable[[], Any]:
        explainer = build_plugin("explainer", name, **knobs)
        return lambda: explainer.explain(batch)

    channels = batch.layers[0].channels
    if part == "score":
        fast = {"fervis, bf16": own("scorecam", precision="bf16")} if computes_bf16(faces.device) else {}
        return {
            "fervis": own("scorecam"),
            **fast,
            "pytorch-grad-cam": lambda: by_peer("ScoreCAM", network, faces),
            "bare fused passes": lambda: bare_scores(network, faces, channels),
        }
    if part == "ablation":
        return {
            "fervis": own("ablationcam"),
            "the same by full passes": lambda: full_ablation(network, faces),
            "pytorch-grad-cam": lambda: by_peer("AblationCAM", network, faces),
        }
    return {
        "fervis": lambda: seven_of_one(batch),
        "pytorch-grad-cam": lambda: [by_peer(kind, network, faces) for kind in GRADIENT_PEERS],
        "bare passes": lambda: bare_gradient(network, faces),
    }


def main() -> None:
    """Print the seconds and the ratios of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=8)
    parser.add_argument("--gradient-faces", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", default="fer2013")
    parser.add_argument("--parts", nargs="+", default=["score", "ablation", "gradient"])
    arguments = parser.parse_args()
    network = fervis.load_model("vgg8", weights=arguments.weights).eval()
    print(f"vgg8 {arguments.weights}, {LAYER}, {torch.get_num_threads()} threads, {arguments.rounds} rounds")
    titles = {"score": "Score-CAM", "ablation": "Ablation-CAM", "gradient": "seven CAMs of one gradient"}
    for part in arguments.parts:
        count = arguments.gradient_faces if part == "gradient" else arguments.faces
        faces = torch.rand(count, 1, 48, 48, generator=torch.Generator().manual_seed(0))
        compare(f"{titles[part]}, {count} faces", works_of(part, network, faces), arguments.rounds)


if __name__ == "__main__":
    main()
