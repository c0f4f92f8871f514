"""Upper bound of the training speed of vgg8 on this processor: its bf16 peak, the convolutions' share, a real step.

A step's convolutions are 3 x 2 x 117 million floating point operations per face (forward, and backward to inputs and to
weights); the peak of a large matrix product bounds the number of faces per second.
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
    """Return the mean seconds of the work, after two calls to warm up."""
    work()
    work()
    started = time.perf_counter()
    for _ in range(rounds):
        work()
    return (time.perf_counter() - started) / rounds


def operations(network: nn.Module, faces: torch.Tensor) -> int:
    """Count the floating point operations of the convolutions in a step; the first has no gradient to its input."""
    counts: list[int] = []

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        passes = 2 if not counts else 3
        counts.append(2 * passes * output.numel() * module.weight[0].numel())

    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, nn.Conv2d)]
    network(faces)
    for hook in hooks:
        hook.remove()
    return sum(counts)


def main() -> None:
    """Print the peak, the bound and the speed of a step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    model = build_plugin("model", "vgg8", width=arguments.width)
    network = model.build(channels=1, size=48, classes=tuple("abcdefg")).train()
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
    peak = 2 * 2048**3 / seconds(lambda: matrix @ matrix, arguments.rounds)
    bound = 128 * peak / operations(network, faces)
    reached = 128 / seconds(step, arguments.rounds)
    print(f"bf16 matrix product: {peak / 1e9:.0f} GFLOP/s")
    print(f"convolutions at that peak: {bound:.0f} faces per second")
    print(f"a bare bf16 step (no augmentation): {reached:.0f} faces per second, {reached / bound:.2f} of that")


if __name__ == "__main__":
    main()
