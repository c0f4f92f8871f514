"""Masked scores against literal loops over pixels and images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fervis.core.registry import build_plugin
from fervis.core.targets import Targets, class_targets
from fervis.errors import ConfigError
from fervis.models.masking import (
    fill_masked,
    masked_passes,
    masked_scores,
    masks_from_segments,
    masks_per_pass,
    target_columns,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def hidden(image: torch.Tensor, mask: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    """A literal masking: pixel by pixel."""
    made = image.clone()
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            if mask[y, x] == 0:
                made[:, y, x] = fill[:, y, x]
    return made


def test_masked_images_are_those_of_a_loop_over_pixels_to_the_bit():
    image, fill, segments = noise(3, 6, 5), noise(3, 6, 5, seed=1), (noise(6, 5, seed=2) * 4).long()
    samples = (noise(7, 4, seed=3) > 0.5).float()
    masks = torch.cat(list(masks_from_segments(samples, segments, chunk=3)))
    expected = torch.stack([hidden(image, sample[segments], fill) for sample in samples])
    assert torch.equal(masks, torch.stack([sample[segments] for sample in samples]))
    assert torch.equal(fill_masked(image, masks, fill), expected)


def test_a_mask_between_mixes():
    image, fill = noise(1, 2, 2), torch.tensor(0.5)
    torch.testing.assert_close(fill_masked(image, torch.full((1, 2, 2), 0.25), fill)[0], 0.25 * image + 0.375)


@pytest.mark.parametrize(
    ("targets", "output"),
    [
        (class_targets([1]), "probability"),
        (class_targets([1]), "logit"),
        (Targets(layer="conv1", filters=(2,)), "probability"),
    ],
)
def test_scores_are_those_of_one_image_at_a_time(residual: nn.Module, targets: Targets, output: str):
    image, fill, masks = noise(1, 8, 8), noise(1, 8, 8, seed=1), (noise(11, 8, 8, seed=2) > 0.5).float()
    before = image.clone()
    found = masked_scores(residual.train(), image, masks.split(4), fill, targets, output=output)
    assert residual.training
    assert torch.equal(image, before)
    expected = []
    with torch.no_grad():
        for mask in masks:
            one = hidden(image, mask, fill)[None]
            if targets.classes is None:
                expected.append(residual.get_submodule("conv1")(one)[0, 2].mean()[None])
            else:
                logits = residual(one)[0]
                expected.append(logits.softmax(0) if output == "probability" else logits)
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-6)
    assert found.std(0).min() > 1e-4


class Viewed(nn.Module):
    """A network that can only take the usual layout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * 64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).view(len(x), -1))


def test_a_network_that_reshapes_by_view_is_served_in_the_usual_layout():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Viewed()
    image, masks = noise(1, 8, 8), (noise(5, 8, 8, seed=2) > 0.5).float()
    with torch.no_grad():
        expected = model(image * masks[:, None])
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        with pytest.raises(RuntimeError, match="view"):
            model(image[None])
    model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    found = masked_scores(model, image, [masks], torch.tensor(0.0), class_targets([0]), output="logit")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("output", ["probability", "logit"])
def test_prepared_passes_are_those_of_the_network_and_shared_by_images(output: str):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_plugin("model", "vgg8", width=4).build(channels=1, size=16, classes=("a", "b", "c"))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean, module.running_var = (
                torch.rand(len(module.weight)),
                0.5 + torch.rand(len(module.weight)),
            )
    images, masks, targets = noise(3, 1, 16, 16), (noise(60, 16, 16, seed=2) > 0.5).float(), class_targets([0, 1, 2])
    with masked_passes(model, images, targets, output=output) as scores:
        found = [scores(image, masks.split(7), torch.tensor(0.25)) for image in images]
        assert "forward" in vars(model.get_submodule("body.norm1")), "folded"
    assert not any("forward" in vars(module) for module in model.modules())
    for image, values in zip(images, found, strict=True):
        with torch.no_grad():
            logits = model.eval()(torch.where(masks[:, None] > 0, image, 0.25))
        expected = logits.softmax(1) if output == "probability" else logits
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=2e-6)
        alone = masked_scores(model, image, masks, torch.tensor(0.25), targets, output=output)
        torch.testing.assert_close(values, alone, rtol=1e-6, atol=1e-6)


def test_the_difference_of_bf16_is_that_of_the_first_masks():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_plugin("model", "vgg8", width=4).build(channels=1, size=16, classes=("a", "b", "c"))
    image, masks, fill = noise(1, 16, 16), (noise(20, 16, 16, seed=2) > 0.5).float(), torch.tensor(0.0)
    with masked_passes(model, image[None], class_targets([0]), precision="bf16") as scores:
        difference = scores.difference(image, masks, fill)
        fast = scores(image, masks[:8], fill)
    with masked_passes(model, image[None], class_targets([0])) as scores:
        exact = scores(image, masks[:8], fill)
    torch.testing.assert_close(difference, (exact - fast).abs().amax(0))
    assert (difference > 0).all()


def test_large_images_run_fewer_at_once():
    assert [masks_per_pass(48, 48), masks_per_pass(64, 96), masks_per_pass(224, 224)] == [25, 9, 8]


def test_bf16_is_near_fp32():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_plugin("model", "vgg8", width=4).build(channels=1, size=16, classes=("a", "b", "c"))
    image, masks = noise(1, 16, 16), (noise(20, 16, 16, seed=2) > 0.5).float()
    given = (model, image, [masks], torch.tensor(0.0), class_targets([0]))
    exact, fast = masked_scores(*given), masked_scores(*given, precision="bf16")
    assert 0 < (exact - fast).abs().max() < 0.01
    assert fast.dtype == torch.float32


def test_the_columns_are_the_images_classes_and_a_class_that_is_not_there_is_refused():
    values = torch.zeros(5, 3)
    assert [target_columns(class_targets([2, 0]), image, values) for image in (0, 1)] == [[2], [0]]
    assert target_columns(class_targets(torch.tensor([[2, 0], [1, 1]])), 0, values) == [2, 0]
    assert target_columns(Targets(layer="conv1", filters=(5, 3)), 1, values[:, :2]) == [0, 1]
    with pytest.raises(ConfigError, match="target=3: the network has 3 classes"):
        target_columns(class_targets([0, 3]), 1, values)


def test_a_network_without_logits_is_refused():
    with pytest.raises(ConfigError, match=r"expected \[N,K\] logits"):
        masked_scores(nn.Identity(), noise(1, 4, 4), [torch.ones(2, 4, 4)], torch.tensor(0.0), class_targets([0]))
