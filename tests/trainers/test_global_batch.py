"""Two processes with half a batch each against torch's own layers on the whole batch, in double precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from fervis.trainers.global_batch import GlobalBatch


class Functional(nn.Module):
    """Normalisation and dropout that are no modules, normalisation without gain and shift, and a layer in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=0.3)
        self.fixed, self.plain = nn.BatchNorm2d(4), nn.BatchNorm1d(6, affine=False)
        self.linear, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.fixed.eval()
        x = self.fixed(F.leaky_relu(self.norm(self.conv(x)), 0.1)).mean((2, 3))
        x = F.batch_norm(self.linear(x), None, None, training=True) if self.training else self.linear(x)
        return self.head(F.dropout(self.plain(F.dropout(x, 0.3, self.training)), p=0.2, training=self.training))


def network() -> nn.Module:
    torch.manual_seed(0)
    return Functional().double()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 1, 12, 12, generator=generator, dtype=torch.float64) * torch.arange(1, 9).view(8, 1, 1, 1)
    return images, torch.randint(0, 3, (8,), generator=generator)


def numbers(of: nn.Module) -> dict[str, Tensor]:
    slopes = {f"grad {name}": value.grad for name, value in of.named_parameters() if value.grad is not None}
    return slopes | dict(of.named_buffers())


def half(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    wrapped = DistributedDataParallel(network())
    images, labels = (part.chunk(2)[rank] for part in batch())
    torch.manual_seed(2)
    with GlobalBatch(rank, 2):
        logits = wrapped(images)
    F.cross_entropy(logits, labels).backward()
    after = torch.rand(1)
    torch.save({"logits": logits.detach(), "after": after, **numbers(wrapped.module)}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("halves")
    torch.multiprocessing.spawn(half, (str(folder),), nprocs=2)  # pyright: ignore
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_logits_gradients_and_statistics_are_those_of_the_whole_batch(halves: list[dict[str, Tensor]], tmp_path: Path):
    with torch.random.fork_rng():
        whole, (images, labels) = network(), batch()
        torch.manual_seed(2)
        logits = whole(images)
        F.cross_entropy(logits, labels).backward()
        after = torch.rand(1)
    torch.testing.assert_close(torch.cat([one["logits"] for one in halves]), logits.detach(), rtol=1e-12, atol=1e-12)
    for one in halves:
        assert torch.equal(one["after"], after), "the generators of all processes stay in step with that of one alone"
        for name, value in numbers(whole).items():
            torch.testing.assert_close(
                one[name], value, rtol=1e-10, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}"
            )


def test_outside_training_nothing_is_shared():
    """No process group is there: a layer that asked another process would fail."""
    with torch.random.fork_rng():
        whole, (images, _) = network().eval(), batch()
        alone = whole(images)
        with GlobalBatch(1, 2):
            assert torch.equal(whole(images), alone)
            assert torch.equal(F.dropout(images, 1.0), torch.zeros_like(images))
            assert torch.equal(F.dropout(images, 0.0), images)
