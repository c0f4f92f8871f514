"""Learning rates and averages against torch's own and against literal loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fervis.trainers.optimizers import learning_rate, optimizer_for, update_ema


@pytest.mark.parametrize(("steps", "warmup"), [(4, 0.3), (10, 0.3), (100, 0.3), (57, 0.1)])
def test_one_cycle_is_torchs(steps: int, warmup: float):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.7, total_steps=steps, pct_start=warmup, cycle_momentum=False
    )
    for step in range(steps):
        ours = learning_rate(step, steps, peak=0.7, schedule="one_cycle", warmup=warmup)
        assert ours == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < steps - 1:
            theirs.step()


def test_cosine_rises_in_a_line_and_falls_on_a_cosine():
    rates = [learning_rate(step, 100, peak=2.0, schedule="cosine", warmup=0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert rates[10:] == pytest.approx([1 + math.cos(math.pi * step / 90) for step in range(90)])
    flat = [learning_rate(step, 100, peak=2.0, schedule="constant", warmup=0.1) for step in range(100)]
    assert flat[:10] == rates[:10]
    assert set(flat[10:]) == {2.0}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_weights_decay(name: str):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    optimizer = optimizer_for(network, name, lr=0.1, momentum=0.9, weight_decay=0.5)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(network[0].weight), id(network[3].weight)}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))


def test_the_average_follows_every_number_of_the_network():
    network, average = (nn.BatchNorm2d(3) for _ in range(2))
    literal = {name: value.clone() for name, value in average.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 40):
        with torch.no_grad():
            for value in network.state_dict().values():
                if value.is_floating_point():
                    value.copy_(torch.rand(3, generator=generator))
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                literal[name] = decay * literal[name] + (1 - decay) * value
        update_ema(average, network, 0.5, step)
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value, literal[name], rtol=0, atol=1e-6)
