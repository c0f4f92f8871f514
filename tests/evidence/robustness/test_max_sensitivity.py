"""Maximum sensitivity against captum's on the same draws, and a method whose change is known."""

from __future__ import annotations

import pytest
import torch
from captum.metrics import sensitivity_max
from support.measures import batch_for, gradient_of
from torch import Tensor, nn

from fervis.core.registry import build_plugin


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 2))


def test_it_is_that_of_captum_on_the_same_noise(network: nn.Module):
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    batch = batch_for(torch.zeros(3, 2, 8, 8), model=network, images=images)
    again = gradient_of(batch)
    maps = again()
    scores = build_plugin("evidence", "max_sensitivity", radius=0.3, samples=5).measure(batch, maps, again)[""]
    draws = torch.rand(5, 1, 8, 8, generator=batch.generator("evidence/max_sensitivity"))
    for target in range(2):

        def explain(inputs: tuple[Tensor] | Tensor, target: int = target) -> tuple[Tensor]:
            pixels = inputs if isinstance(inputs, Tensor) else inputs[0]
            source = pixels.detach().clone().requires_grad_()
            with torch.enable_grad():
                return (torch.autograd.grad(network(source)[:, target].sum(), source)[0].abs(),)

        def noisy(pixels: tuple[Tensor] | Tensor, radius: float) -> Tensor:
            pixels = pixels if isinstance(pixels, Tensor) else pixels[0]
            return pixels + radius * (2 * draws.repeat(3, 1, 1, 1) - 1)  # captum repeats each image in a row

        expected = sensitivity_max(explain, images, noisy, perturb_radius=0.3, n_perturb_samples=5)
        torch.testing.assert_close(scores[:, target], expected, rtol=1e-6, atol=1e-6)
        assert float(expected.min()) > 0.01


def test_a_map_that_is_the_image_changes_by_the_noise_and_few_images_share_a_pass():
    images = torch.full((2, 1, 4, 4), 0.5)
    maps = images.expand(-1, 1, -1, -1).clone()
    maps[1] = 0  # no norm to divide by
    sizes = []

    def again(images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None) -> Tensor:
        assert images is not None
        sizes.append(len(images))
        return images

    batch = batch_for(maps, images=images)
    scores = build_plugin("evidence", "max_sensitivity", radius=0.1, samples=40).measure(batch, maps, again)[""]
    noise = 0.1 * (2 * torch.rand(40, 16, generator=batch.generator("evidence/max_sensitivity")) - 1)
    expected = torch.stack([noise.norm(dim=1).max() / 2, (noise + 0.5).norm(dim=1).max()])
    torch.testing.assert_close(scores[:, 0], expected)
    assert sizes == [64, 16]
