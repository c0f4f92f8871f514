"""Masked scores against literal loops over pixels and images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fervis.core.registry import build_plugin
from fervis.core.targets import Targets, class_targets
from fervis.errors import ConfigError
from fervis.models.masking import (
    channels_last,
    fill_masked,
    masked_scores,
    masks_from_segments,
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
        with pytest.raises(RuntimeError, match="view"):
            model(channels_last(image[None]))
    found = masked_scores(model, image, [masks], torch.tensor(0.0), class_targets([0]), output="logit")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_holds_the_same_values_and_stays_through_the_first_operations(channels: int):
    images = noise(4, channels, 8, 8)
    laid_out = channels_last(images)
    assert torch.equal(laid_out, images)
    convolved = nn.Conv2d(channels, 4, 3)((laid_out - 0.5) / 2)
    assert convolved.is_contiguous(memory_format=torch.channels_last)


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
