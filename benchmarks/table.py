"""The table of speeds: every method that has a peer, beside the peer and beside the bare passes that it needs.

    env OMP_NUM_THREADS=1 python benchmarks/table.py [--rounds 3] [--only gradcam lime]

prints it and writes ``benchmarks/speeds.json``, from which ``docs/build_reference.py`` takes its column; ``--only``
measures some rows again and leaves the others in it. The network is the shipped vgg8, the faces are 48x48, both sides
compute in fp32 on as many threads. captum and lime come with the tests; rows of pytorch-grad-cam and zennit are left
out where these are not installed (``pip install grad-cam zennit``).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import captum.attr
import gradcam
import gradient_family
import perturbation_family
import relevance_family
import torch
from measure import BARE, FERVIS, HEAD, Row, line_of, measure
from torch import Tensor, nn

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.models.batch import Batch

SPEEDS = Path(__file__).with_name("speeds.json")
FACES, FEW, LIME_FACES, CLASSES = 64, 8, 4, 7
ONE_GRADIENT = ("gradcam", "gradcam_plusplus", "hirescam", "layercam", "xgradcam", "eigencam")


def cam_rows(network: nn.Module, faces: Tensor) -> Iterator[Row]:
    """Yield the rows of class activation maps."""
    layers = resolve_layers(network, "all", faces[:1])
    explainer, paths = build_plugin("explainer", "gradcam"), [layer.path for layer in layers]
    every = Batch(network, faces, layers, class_targets(torch.arange(CLASSES).expand(len(faces), -1)))
    yield Row(
        f"Grad-CAM, 8 layers x 7 classes, {FACES} faces",
        "captum",
        8,
        {
            FERVIS: lambda: explainer.explain(every),
            "captum": lambda: gradcam.by_captum(network, faces, paths),
            BARE: lambda: gradcam.bare_passes(network, faces, network.get_submodule(paths[0])),
        },
        1.15,
        ("gradcam",),
    )
    labels = torch.zeros(len(faces), dtype=torch.int64)
    one = Batch(network, faces, layers, class_targets(labels))
    yield Row(
        f"Grad-CAM, 8 layers, one class, {FACES} faces",
        "captum",
        4,
        {
            FERVIS: lambda: explainer.explain(one),
            "captum": lambda: [_layer_gradcam(network, faces, path) for path in paths],
            BARE: lambda: gradcam.bare_passes(network, faces, network.get_submodule(paths[0]), classes=1),
        },
        1.15,
    )
    if importlib.util.find_spec("pytorch_grad_cam"):
        import cam_family

        peer = "pytorch-grad-cam"
        works = cam_family.works_of("gradient", network, faces)
        yield Row(f"seven CAMs of one gradient, conv7, {FACES} faces", peer, 6, works, 1.3, ONE_GRADIENT[1:])
        works = cam_family.works_of("score", network, faces[:FEW])
        works[BARE] = works.pop("bare fused passes")
        yield Row(f"Score-CAM, 256 channels of conv7, {FEW} faces", peer, 2, works, 1.15, ("scorecam",))
        works = cam_family.works_of("ablation", network, faces[:FEW])
        full = "the same by full passes"
        yield Row(f"Ablation-CAM, 256 channels of conv7, {FEW} faces", full, 4, works, None, ("ablationcam",))


def _layer_gradcam(network: nn.Module, faces: Tensor, path: str) -> Any:
    method = captum.attr.LayerGradCam(network, network.get_submodule(path))
    return method.attribute(faces, target=0, relu_attributions=True)


def gradient_rows(network: nn.Module, faces: Tensor) -> Iterator[Row]:
    """Yield the rows of gradients."""
    goals: dict[str, tuple[str, float, float | None]] = {
        "saliency": ("saliency", 1.0, 1.1),
        "SmoothGrad": ("smoothgrad", 1.0, 1.1),
        "integrated": ("integrated_gradients", 2.0, 1.1),
        "guided": ("guided_backprop", 1.0, 3.0),
        "DeepLIFT": ("deep_lift", 1.0, 3.0),
    }
    for title, works in gradient_family.works_of(network, faces).items():
        method, goal, bare_goal = goals[title.split(maxsplit=1)[0].rstrip(",")]
        yield Row(title, "captum", goal, works, bare_goal, (method,))


def relevance_rows(network: Any, faces: Tensor) -> Iterator[Row]:
    """Yield the rows of layer-wise relevance propagation."""
    if not importlib.util.find_spec("zennit"):
        return
    network.requires_grad_(False)
    classes = network(faces).argmax(1)
    for composite in relevance_family.COMPOSITES:
        yield Row(
            f"LRP, {composite}, {FACES} faces",
            "zennit",
            1.0,
            {
                FERVIS: _bound(relevance_family.by_fervis, network, faces, classes, composite),
                "zennit": _bound(relevance_family.by_zennit, network, network.body, faces, classes, composite),
                BARE: _bound(relevance_family.bare_passes, network, faces, classes),
            },
            3.0,
            ("lrp",) if composite == "epsilon_plus_flat" else (),
        )


def _bound(work: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: work(*arguments)


def perturbation_rows(network: nn.Module) -> Iterator[Row]:
    """Yield the rows of masked images."""
    goals: dict[str, tuple[str, float, float]] = {
        "lime": ("lime package", 1.7, 1.2),
        "occlusion": ("captum", 1.7, 1.15),
        "rise": ("official loop", 1.7, 1.15),
        "feature_ablation": ("captum", 1.0, 1.15),
        "kernel_shap": ("captum", 1.0, 1.15),
        "part_shapley": ("captum KernelShap", 1.0, 1.15),
    }
    for title, works in perturbation_family.comparisons(network, FEW, LIME_FACES).items():
        method = title.split(",")[0].split()[0]
        peer, goal, bare_goal = goals[method]
        renamed = {BARE if name == "bare" else name: work for name, work in works.items()}
        yield Row(title, peer, goal, renamed, bare_goal, (method,))


def main() -> None:
    """Measure the rows, print the table and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="words of which a row must have one")
    arguments = parser.parse_args()
    network = fervis.load_model("vgg8", weights="fer2013").eval()
    with TemporaryDirectory() as folder:
        drawn = build_plugin("dataset", "synthetic", per_class_train=FACES).load(Path(folder)).images
    order = torch.randperm(len(drawn), generator=torch.Generator().manual_seed(0))
    faces = drawn[order[:FACES]].float() / 255
    print(HEAD, flush=True)
    results = []
    for rows in (
        cam_rows(network, faces),
        gradient_rows(network, faces),
        relevance_rows(network, faces),
        perturbation_rows(network),
    ):
        for row in rows:
            if arguments.only and not any(word.lower() in row.work.lower() for word in arguments.only):
                continue
            results.append(measure(row, arguments.rounds))
            print(line_of(results[-1]), flush=True)
    measured = [{**row, "rounds": arguments.rounds} for row in results]
    if arguments.only and SPEEDS.is_file():
        again = {row["work"]: row for row in measured}
        earlier = json.loads(SPEEDS.read_text(encoding="utf-8"))["rows"]
        measured = [*(again.pop(row["work"], row) for row in earlier), *again.values()]
    about = {
        "command": "python benchmarks/table.py",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "rows": measured,
    }
    SPEEDS.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
