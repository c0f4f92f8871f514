"""The attention matrices that are recorded are those that the network uses, whatever kernel it uses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.transformers import transformer
from torch import nn
from torch.nn import functional as F

import fervis
from fervis.errors import ConfigError
from fervis.explainers.attention.matrices import record_attention

IMAGES = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def set_fused(model: nn.Module, fused: bool) -> None:
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("fused", [True, False])
def test_outputs_agree_and_the_matrices_are_those_of_timms_own_softmax(fused: bool):
    model = transformer().eval()
    with torch.no_grad():
        set_fused(model, True)
        expected = model(IMAGES)
        set_fused(model, fused)
        with record_attention(model) as recorded:
            logits = model(IMAGES)
        set_fused(model, False)
        kept: dict[str, torch.Tensor] = {}
        for path, module in model.named_modules():
            if path.endswith("attn_drop"):  # a dropout that is handed the matrix
                module.register_forward_hook(lambda _m, _i, output, path=path: kept.update({path: output}))
        model(IMAGES)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    assert [f"{path}.attn_drop" for path in recorded] == list(kept)
    for (matrix,), true in zip(recorded.values(), kept.values(), strict=True):
        assert matrix.shape == (2, 3, 17, 17)
        torch.testing.assert_close(matrix, true, rtol=1e-5, atol=1e-7)


class MaskedAttention(nn.Module):
    """Every option of the fused kernel; its name and its linear layer make it an attention."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.value, self.options = nn.Linear(4, 4), options

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = x[:, None].expand(-1, 2, -1, -1)
        keys = x[:, None] if self.options.get("enable_gqa") else heads
        return F.scaled_dot_product_attention(heads, keys, self.value(keys), **self.options).mean(1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril(2)},
        {"attn_mask": torch.linspace(-1, 1, 25).view(5, 5)},
        {"enable_gqa": True},
    ],
    ids=str,
)
def test_every_option_of_the_fused_kernel_is_followed(options: dict[str, Any]):
    attention = MaskedAttention(**options)
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(2))
    model = nn.Sequential(attention)
    with record_attention(model) as recorded:
        output = model(x)
    torch.testing.assert_close(output, model(x), rtol=1e-5, atol=1e-6)
    ((matrix,),) = recorded.values()
    torch.testing.assert_close(matrix.sum(-1), torch.ones(3, 2, 5))


@pytest.mark.parametrize("name", ["attention_rollout", "attention_gradient"])
@pytest.mark.parametrize(
    ("architecture", "arguments", "size", "words"),
    [
        ("resnet10t", {}, 32, "no attention over tokens.*gradcam"),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1), "embed_dim": 24, "num_heads": (1, 2)}, 56, "gradcam"),
        ("vit_tiny_patch16_224", {"global_pool": "max", "patch_size": 4, "depth": 1}, 16, "pools its tokens by max"),
    ],
)
def test_networks_without_such_an_attention_are_refused(
    name: str, architecture: str, arguments: dict[str, Any], size: int, words: str
):
    model = transformer(architecture, size=size, **arguments)
    with pytest.raises(ConfigError, match=f"explainer={name}: .*({words})"):
        fervis.explain(model, torch.rand(1, 1, size, size), name, target=0)


class PooledNetwork(nn.Module):
    """A network of one attention, whose keys are pooled, or which attends twice."""

    def __init__(self, pool: int, times: int) -> None:
        super().__init__()
        self.patches, self.attn, self.head = nn.Conv2d(1, 4, 4, stride=4), PooledAttention(pool, times), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.attn(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class PooledAttention(nn.Module):
    def __init__(self, pool: int, times: int) -> None:
        super().__init__()
        self.value, self.pool, self.times = nn.Linear(4, 4), pool, times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.times):
            keys = F.avg_pool1d(x.transpose(1, 2), self.pool).transpose(1, 2)[:, None]
            x = F.scaled_dot_product_attention(x[:, None], keys, self.value(keys))[:, 0]
        return x


@pytest.mark.parametrize(("pool", "times"), [(2, 1), (1, 2)])
def test_pooled_keys_and_two_matrices_are_refused(pool: int, times: int):
    assert fervis.explain(PooledNetwork(1, 1), IMAGES, "attention_rollout", target=0).maps.any()
    with pytest.raises(ConfigError, match="attn has no single attention matrix from all 16 tokens to all"):
        fervis.explain(PooledNetwork(pool, times), IMAGES, "attention_rollout", target=0)


def test_a_first_attention_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"explainer\.first=4: expected a number up to the network's 3 attentions"):
        fervis.explain(transformer(), IMAGES, "attention_rollout", target=0, first=4)
