"""Images per second of fervis's trainer and of the usual loop, on the same network, faces and machine, in one run.

The usual loop is what most FER repositories do: PIL images, torchvision transforms, a DataLoader with workers, fp32.

    python benchmarks/training.py [--width 32] [--faces 4000]
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from fervis.core.faces import Faces
from fervis.core.network import Network
from fervis.core.protocols import TrainingContext
from fervis.core.registry import build_plugin
from fervis.models.architectures.timm import import_timm
from fervis.system.device import choose_precision
from fervis.trainers.trained import initial_network

CHANGES = {"rotation": 10.0, "scale": 0.1, "shift": 0.05}


class Pictures(TorchDataset[tuple[Tensor, int]]):
    """PIL images one by one, through torchvision's transforms."""

    def __init__(self, faces: Faces) -> None:
        from torchvision import transforms

        self.images, self.labels = faces.images[:, 0].numpy(), faces.labels.tolist()
        self.change = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomAffine(
                    10, (0.05, 0.05), (0.9, 1.1), interpolation=transforms.InterpolationMode.BILINEAR
                ),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.change(Image.fromarray(self.images[index])), self.labels[index]


def usual(network: Network, faces: Faces) -> float:
    """Return the images per second of an epoch of the usual loop, after a first batch."""
    loader = DataLoader(Pictures(faces), batch_size=128, shuffle=True, num_workers=2, drop_last=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    network.train()
    seen, started = 0, 0.0
    for number, (pixels, labels) in enumerate(loader):
        if number == 1:
            started = time.perf_counter()
        loss = F.cross_entropy(network(pixels), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += len(labels) if number else 0
    return seen / (time.perf_counter() - started)


def ours(network: Network, faces: Faces, precision: str) -> float:
    """Return the images per second of the second epoch of fervis's trainer."""
    trainer = build_plugin("trainer", "supervised", epochs=2, **CHANGES)
    context = TrainingContext(0, "cpu", precision, lambda *_: None, quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(network, faces, faces.take(torch.arange(128)), Path(folder), context)
        rows = list(csv.DictReader((Path(folder) / "metrics.csv").read_text().splitlines()))
    return float(rows[-1]["images_per_second"])


def main() -> None:
    """Print both speeds and their ratio, several times, since machines are noisy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--faces", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    import_timm()  # and torchvision with it, whose compiled part may be missing
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (arguments.faces, 1, 48, 48), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 7, (arguments.faces,), generator=generator)
    faces = Faces(
        images, labels, torch.arange(arguments.faces), torch.zeros(arguments.faces, dtype=torch.uint8), tuple("abcdefg")
    )

    def network() -> Network:
        model = build_plugin("model", "vgg8", width=arguments.width)
        return initial_network(model, 0, channels=1, size=48, classes=faces.classes)

    precision = choose_precision("auto", "cpu")
    machine = f"{torch.get_num_threads()} threads, fervis in {precision}"
    print(f"vgg8, width {arguments.width}, {arguments.faces} faces of 48x48, {machine}")
    for _ in range(arguments.rounds):
        theirs, fast = usual(network(), faces), ours(network(), faces, precision)
        print(f"usual loop {theirs:7.0f} images/s   fervis {fast:7.0f} images/s   ratio {fast / theirs:.2f}")


if __name__ == "__main__":
    main()
