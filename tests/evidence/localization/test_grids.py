"""Grids of images: shares in closed form, and a network of which outside its cell nothing can matter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fervis import explain
from fervis.core.layers import resolve_layers
from fervis.core.network import Network
from fervis.core.registry import build_plugin
from fervis.core.targets import Targets, class_targets
from fervis.errors import ConfigError
from fervis.evidence.localization.disconnected_grid import DisconnectedGrid
from fervis.evidence.localization.grid_pointing_game import GridPointingGame
from fervis.evidence.localization.grids import disconnected_network, grid_network, grids_of
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch
from tests.support.measures import gradient_of

CLASSES = tuple("abcde")
# Methods whose map at the pixels is a product with a gradient, or the relevance of what the output is computed from.
LOCAL = ["saliency", "smoothgrad", "input_x_gradient", "integrated_gradients", "guided_backprop", "deep_lift", "lrp"]


class ChannelMeans(nn.Module):
    """Five logits: 12 times the mean of one channel each, blurred by 3 x 3, so that it reaches over a cell's edge."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 5, 3, padding=1, bias=False)
        self.average, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.conv.weight.data = 12 / 9 * torch.eye(5)[:, :, None, None].expand(-1, -1, 3, 3).clone()

    def forward(self, images: Tensor) -> Tensor:
        return self.flatten(self.average(self.conv(images)))


def plain(classes: list[int], brightness: float = 1.0) -> Tensor:
    """Return images [N,5,8,8] of which the channel of the class is bright, and the others are dark."""
    return brightness * torch.eye(5)[classes][:, :, None, None].expand(-1, -1, 8, 8).clone()


def batch_of(classes: list[int], targets: list[list[int]]) -> Batch:
    images = plain(classes)
    model = ChannelMeans().eval()
    layers = resolve_layers(model, "input", images[:1])
    return Batch(model, images, layers, class_targets(torch.tensor(targets)), CLASSES, references=plain([0, 1, 2, 3]))


def trained(name: str, **knobs: Any) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_plugin("model", name, **knobs).build(channels=1, size=32, classes=CLASSES).eval()


def test_a_grid_has_the_image_and_three_of_the_next_classes():
    grids, sure = grids_of(batch_of([2, 0, 4], [[2], [0], [1]]), 0.9, "m")
    cells = [cell for row in grids.chunk(2, 2) for cell in row.chunk(2, 3)]
    shown = torch.stack([cell.mean((2, 3)).argmax(1) for cell in cells], 1)
    assert shown.tolist() == [[2, 3, 0, 1], [0, 1, 2, 3], [4, 0, 1, 2]]
    assert sure.tolist() == [[True], [True], [False]]
    alone = grids_of(batch_of([0], [[0]]), 0.9, "m")[0]
    assert torch.equal(grids[1:2], alone)


def test_the_share_is_that_of_the_positive_part_in_the_first_cell():
    def again(images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None) -> Tensor:
        assert images is not None
        maps = torch.full((len(images), 2, 16, 16), -1.0)
        maps[:, 0, 7, 7], maps[:, 0, 7, 8], maps[:, 0, 8, 7] = 3.0, 1.5, 0.5
        return maps

    batch = batch_of([1, 2], [[1, 0], [1, 2]])
    for measure in (GridPointingGame(), DisconnectedGrid()):
        found = measure.measure(batch, torch.zeros(2, 2, 8, 8), again)[""]
        expected = torch.tensor([[0.6, torch.nan], [torch.nan, 0.0]], dtype=torch.float64)
        torch.testing.assert_close(found, expected, equal_nan=True, rtol=0, atol=1e-12)


def test_the_gradient_of_a_mean_has_a_quarter_in_each_cell_and_all_in_the_disconnected_one():
    batch = batch_of([0, 3], [[0], [3]])
    maps = torch.zeros(2, 1, 8, 8)
    assert GridPointingGame().measure(batch, maps, gradient_of(batch))[""].tolist() == [[0.25], [0.25]]
    assert DisconnectedGrid().measure(batch, maps, gradient_of(batch))[""].tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize(("name", "knobs"), [("vgg8", {"width": 2}), ("resnet18", {"width": 2}), ("mini_xception", {})])
def test_the_disconnected_network_is_the_network_of_its_cell(name: str, knobs: dict[str, Any]):
    model, grids = trained(name, **knobs), torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    network = disconnected_network(model, grids, "m")
    torch.testing.assert_close(network(grids), model(grids[..., :32, :32]))
    source = grids.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(source).square().sum(), source)
    outside = torch.ones(64, 64, dtype=torch.bool)
    outside[:32, :32] = False
    assert gradient[..., ~outside].any()
    assert not gradient[..., outside].any()
    whole = grid_network(model, "m")
    assert whole(grids).shape == (2, 5)
    (gradient,) = torch.autograd.grad(whole(source).square().sum(), source)
    assert gradient[..., outside].any()


@pytest.mark.parametrize("explainer", LOCAL)
def test_methods_that_follow_the_output_mark_nothing_outside(explainer: str):
    grids = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    network = disconnected_network(trained("vgg8", width=2), grids, "m")
    maps = explain(network, grids, explainer, layer="input" if explainer in LOCAL[:2] else None, target=1).maps
    assert maps[:, :32, :32].any()
    assert not maps[:, 32:].any()
    assert not maps[:, :, 32:].any()


def test_layers_keep_their_names_and_have_maps_of_the_whole_grid():
    grids = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    model = trained("vgg8", width=2)
    network = disconnected_network(model, grids, "m")
    alone, whole = {}, {}
    for owner, kept in ((model, alone), (network, whole)):
        module = owner.get_submodule("body.conv7")
        module.register_forward_hook(lambda _, __, output, kept=kept: kept.update(conv7=output))
    for owner, seen in ((model, grids[..., :32, :32]), (network, grids)):
        owner(seen)
    assert whole["conv7"].shape == (1, 16, 8, 8)
    torch.testing.assert_close(whole["conv7"][..., :4, :4], alone["conv7"])


def test_images_of_reference_fill_a_grid(tmp_path: Path):
    batch = batch_of([0], [[0]])
    grids, _ = grids_of(batch, 0.9, "m")
    larger = batch.with_images(grids).reference_images(torch.tensor([2]))
    assert torch.equal(larger, plain([2]).repeat(1, 1, 2, 2))


def test_what_cannot_be_scored_is_refused():
    batch = batch_of([0], [[0]])
    again: ExplainAgain = gradient_of(batch)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(5 * 64, 5))
    for measure, name in ((GridPointingGame(), "grid_pointing_game"), (DisconnectedGrid(), "disconnected_grid")):
        filters = replace(batch, targets=Targets(layer="conv", filters=(1,), name="conv"))
        with pytest.raises(ConfigError, match=f"evidence={name}: it scores maps of classes"):
            measure.measure(filters, torch.zeros(1, 1, 8, 8), again)
        with pytest.raises(ConfigError, match=r"needs one that averages its last maps"):
            grid_network(flat, name)
        few = replace(batch, references=plain([0, 1, 2]))
        with pytest.raises(ConfigError, match=f"evidence={name}: the network is sure of images of 3 classes"):
            measure.measure(few, torch.zeros(1, 1, 8, 8), again)

    class Doubled(ChannelMeans):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(nn.functional.avg_pool2d(images, 3, stride=1, padding=1))

    with pytest.raises(ConfigError, match=r"operations beyond its modules"):
        disconnected_network(Doubled(), grids_of(batch, 0.9, "m")[0], "m")
