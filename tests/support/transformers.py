"""Small vision transformers of timm, with random weights."""

from __future__ import annotations

from typing import Any

import torch

from fervis.core.network import Network
from fervis.core.registry import build_plugin

SMALL_VIT: dict[str, Any] = {"patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 3}


def transformer(
    architecture: str = "", size: int = 16, channels: int = 1, classes: int = 3, **arguments: Any
) -> Network:
    """A network of timm; without a name a small vision transformer with a class token, of 16 patches.

    Its weights are drawn wider than timm draws them: at first an attention is nearly uniform, and nothing can be told
    apart.
    """
    chosen = arguments if architecture else SMALL_VIT | arguments
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_plugin(
            "model", "timm", architecture=architecture or "vit_tiny_patch16_224", arguments=chosen, size=size
        )
        network = model.build(channels=channels, size=size, classes=tuple(map(str, range(classes))))
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.endswith(("qkv.weight", "head.weight", "head_dist.weight")):
                    parameter.mul_(8)
    return network
