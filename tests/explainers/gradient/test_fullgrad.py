"""FullGrad against the paper's formula written out layer by layer, and its sum against the logit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fervis
from fervis.core.registry import build_plugin


class Plain(nn.Module):
    """Two convolutions, BatchNorm, a functional and an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv1, self.norm1 = nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
            self.conv2, self.head = nn.Conv2d(5, 4, 3, stride=2), nn.Linear(4, 3)
            for values in self.norm1.parameters():
                nn.init.normal_(values)
            self.norm1.running_mean.normal_()  # pyright: ignore[reportOptionalMemberAccess]
            self.norm1.running_var.uniform_(0.5, 2)  # pyright: ignore[reportOptionalMemberAccess]

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return self.head(self.conv2(x).relu_().mean((2, 3)))


def images(channels: int = 2, size: int = 12) -> Tensor:
    return torch.randn(3, channels, size, size, generator=torch.Generator().manual_seed(1))


def unit(values: Tensor) -> Tensor:
    """The authors' rescaling, image by image."""
    values = torch.stack([one - one.min() for one in values.abs()])
    return torch.stack([one / (one.max() + 1e-6) for one in values])


@pytest.mark.parametrize("rescale", [False, True])
def test_the_map_is_the_papers_sum_over_layers(rescale: bool):
    model = Plain().eval()
    found = fervis.explain(model, images(), "fullgrad", target=1, rescale=rescale)
    norm: Any = model.norm1
    pixels = images().requires_grad_()
    normed = norm(model.conv1(pixels))
    second = model.conv2(normed.relu())
    logit = model.head(second.relu().mean((2, 3)))[:, 1].sum()
    at_pixels, at_norm, at_conv = torch.autograd.grad(logit, [pixels, normed, second])
    implicit = norm.bias - norm.weight * norm.running_mean / (norm.running_var + norm.eps).sqrt()
    magnitude = unit if rescale else torch.abs
    parts = [
        magnitude(pixels * at_pixels),
        magnitude(implicit[:, None, None] * at_norm),
        magnitude(model.conv2.bias[:, None, None] * at_conv),
    ]
    resized = [F.interpolate(part.sum(1, keepdim=True), (12, 12), mode="bilinear")[:, 0].detach() for part in parts]
    expected = torch.stack(resized).sum(0)
    torch.testing.assert_close(found.maps, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))
    assert not found.signed
    assert found.scores["completeness_gap"].max() < 1e-5


NETWORKS = {
    "vgg8": {"width": 4},
    "resnet18": {"width": 4},
    "mini_xception": {"width": 2},
    "mobilenetv3_small_050": {},
    "convnext_atto": {},
    "vit_tiny_patch16_224": {},
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_all_parts_add_up_to_the_logit(name: str):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        own = name in ("vgg8", "resnet18", "mini_xception")
        knobs = NETWORKS[name] if own else {"architecture": name}
        size = 24 if own else 32
        model = build_plugin("model", name if own else "timm", **knobs).build(channels=3, size=size, classes=("a", "b"))
        for path, values in model.eval().state_dict().items():
            if path.endswith("running_mean"):
                values.normal_(0, 0.1)
            elif path.endswith("running_var"):
                values.uniform_(0.5, 2)
            elif path.endswith(("bias", "gamma")):
                values.normal_(0, 0.2)
    faces = images(3, size)
    found = fervis.explain(model, faces, "fullgrad", target="all")
    with torch.no_grad():
        logits = model(faces)
    assert found.scores["completeness_gap"].max() < 1e-5 * max(1, float(logits.abs().max()))
    inputs = fervis.explain(model, faces, "input_x_gradient", target="all").maps.sum((1, 2))
    assert (inputs - logits.flatten()).abs().max() > 0.01 * float(logits.abs().max()), "biases matter"


def test_a_filter_adds_up_too():
    found = fervis.explain(Plain().eval(), images(), "fullgrad", target="conv2/3")
    assert found.scores["completeness_gap"].max() < 1e-5
