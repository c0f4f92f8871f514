"""Every method that gives maps, on four architectures of timm: a finite map, or one sentence that says why not."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from contract.test_explainers import HEAT_MAPS, class_of
from contract.test_explainers import KNOBS as CONTRACT_KNOBS
from torch import nn

import fervis
from fervis.core.registry import build_plugin

KNOBS = {**CONTRACT_KNOBS, "extremal_perturbation": {"steps": 4}}  # these networks are slow
TRANSFORMER = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "mobilenetv3_small_100": {},
    "convnext_atto": {},
    "vit_tiny_patch16_224": TRANSFORMER,
}
CONVOLUTIONS = {"resnet18", "mobilenetv3_small_100", "convnext_atto"}
VIT = "vit_tiny_patch16_224"
# A transformer's only convolution is its patch embedding, so that these methods must be given a block.
AT_A_LAYER = [name for name in HEAT_MAPS if class_of(name).default_layer in ("last_conv", "last_map")]
REFUSED: dict[str, set[str]] = {
    **dict.fromkeys(("attention_rollout", "attention_gradient"), CONVOLUTIONS),
    **{name: {VIT} for name in AT_A_LAYER},
    "lrp": {VIT, "convnext_atto"},  # LayerNorm has no rule
}


@cache
def network(architecture: str) -> nn.Module:
    settings = {"architecture": architecture, "arguments": ARCHITECTURES[architecture]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_plugin("model", "timm", **settings).build(channels=1, size=32, classes=("a", "b", "c")).eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", HEAT_MAPS)
def test_it_explains_or_refuses(name: str, architecture: str):
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    if architecture in REFUSED.get(name, set()):
        with pytest.raises(fervis.ConfigError, match=r"(?i)\b(expected|ask for|use)\b"):
            fervis.explain(network(architecture), images, name, target=[0, 2], **KNOBS.get(name, {}))
        return
    result = fervis.explain(network(architecture), images, name, target=[0, 2], **KNOBS.get(name, {}))
    assert result.maps.shape == (2, 32, 32)
    assert result.maps.isfinite().all()


@pytest.mark.parametrize("name", AT_A_LAYER)
def test_it_explains_a_block_of_a_transformer(name: str):
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    result = fervis.explain(network(VIT), images, name, "block1", [0, 2], **KNOBS.get(name, {}))
    assert result.maps.shape == (2, 32, 32)
    assert result.maps.isfinite().all()
    assert result.maps.any()
