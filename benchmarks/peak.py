"""How fast can this processor train vgg8 at best? Its bf16 peak, what the convolutions need of it, what a step reaches.

A step's convolutions are 3 x 2 x 117 million floating point operations a face (forward, and backward to inputs and to
weights); at the peak of a large matrix product they allow so many faces a second and no more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from fervis.core.registry import build_plugin


def seconds(work: Callable[[], object], rounds: int) -> float:
    work()
    work()
    started = time.perf_counter()
    for _ in range(rounds):
        work()
    return (time.perf_counter() - started) / rounds


def operations(network: nn.Module, faces: torch.Tensor) -> int:
    """Floating point operations of the convolutions in one step; the first has no gradient to its input."""
    found: list[int] = []

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        passes = 2 if not found else 3
        found.append(2 * passes * output.numel() * module.weight[0].numel())

    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, nn.Conv2d)]
    network(faces)
    for hook in hooks:
        hook.remove()
    return sum(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10)
    told = parser.parse_args()
    network = (
        build_plugin("model", "vgg8", width=told.width).build(channels=1, size=48, classes=tuple("abcdefg")).train()
    )
    network.to(memory_format=torch.channels_last)
    faces, labels = torch.rand(128, 1, 48, 48), torch.arange(128) % 7
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(faces)
        optimizer.zero_grad()
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    matrix = torch.randn(2048, 2048).bfloat16()
    peak = 2 * 2048**3 / seconds(lambda: matrix @ matrix, told.rounds)
    bound = 128 * peak / operations(network, faces)
    reached = 128 / seconds(step, told.rounds)
    print(f"bf16 matrix product: {peak / 1e9:.0f} GFLOP/s")
    print(f"convolutions at that peak: {bound:.0f} faces a second")
    print(f"a bare bf16 step (no augmentation): {reached:.0f} faces a second, {reached / bound:.2f} of that")


if __name__ == "__main__":
    main()
