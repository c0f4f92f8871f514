"""Attention rollout, against the paper's formula in loops over matrices that are computed from the weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.transformers import transformer
from torch import Tensor, nn

import fervis

IMAGES = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def matrices_from_weights(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Each attention's matrices [N,heads,T,T], from its input, queries and keys, entry by entry of heads."""
    inputs: list[tuple[nn.Module, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda own, given, _: inputs.append((own, given[0])))
        for path, module in model.named_modules()
        if path.endswith(".attn")
    ]
    with torch.no_grad():
        model.eval()(images)
    for handle in handles:
        handle.remove()
    found = []
    for module, x in inputs:
        own: Any = module
        projected = x @ own.qkv.weight.T + own.qkv.bias
        width = x.shape[2] // own.num_heads
        heads = []
        for head in range(own.num_heads):
            query = projected[:, :, head * width : (head + 1) * width]
            key = projected[:, :, x.shape[2] + head * width : x.shape[2] + (head + 1) * width]
            exponentials = (query @ key.transpose(1, 2) / math.sqrt(width)).exp()
            heads.append(exponentials / exponentials.sum(-1, keepdim=True))
        found.append(torch.stack(heads, 1).detach())
    return found


def literal_rollout(matrices: list[Tensor], heads: str, discard: float, first: int) -> Tensor:
    """[N,T,T], the product of the layers' matrices, the last on the left."""
    products = []
    for image in range(len(matrices[0])):
        product = torch.eye(matrices[0].shape[-1])
        for layer in matrices[first - 1 :]:
            fused = torch.stack(list(layer[image]))
            fused = {"mean": fused.mean(0), "min": fused.min(0).values, "max": fused.max(0).values}[heads]
            values = sorted(fused.flatten().tolist())
            if count := int(discard * len(values)):
                fused = torch.where(fused <= values[count - 1], torch.zeros(()), fused)
            mixed = 0.5 * fused + 0.5 * torch.eye(len(fused))
            for row in range(len(mixed)):
                mixed[row] = mixed[row] / mixed[row].sum()
            product = mixed @ product
        products.append(product)
    return torch.stack(products)


@pytest.mark.parametrize(
    "knobs",
    [{}, {"heads": "min"}, {"heads": "max"}, {"discard": 0.6}, {"heads": "max", "discard": 0.9, "first": 2}],
    ids=str,
)
def test_the_map_is_the_class_tokens_row_of_the_product(knobs: dict[str, Any]):
    model = transformer()
    settings = {"heads": "mean", "discard": 0.0, "first": 1} | knobs
    expected = literal_rollout(matrices_from_weights(model, IMAGES), **settings)[:, 0, 1:]
    maps = own_grid(model, "attention_rollout", **knobs)
    torch.testing.assert_close(maps, expected, rtol=1e-5, atol=1e-7)


def own_grid(model: nn.Module, name: str, **knobs: Any) -> Tensor:
    """[N,16] maps of the patches."""
    from fervis.core.layers import resolve_layers
    from fervis.core.registry import build_plugin
    from fervis.core.targets import class_targets
    from fervis.models.batch import Batch

    batch = Batch(model, IMAGES, resolve_layers(model, "input", IMAGES[:1]), class_targets([0, 1]))
    return build_plugin("explainer", name, **knobs).patch_maps(batch).flatten(1)


@pytest.mark.parametrize(
    ("architecture", "arguments", "rows"),
    [
        ("", {"class_token": False, "global_pool": "avg"}, slice(0, 16)),  # no class token: the mean of all patches
        ("", {"reg_tokens": 4}, slice(0, 1)),  # a class token before four registers
        ("", {"global_pool": "avg"}, slice(1, 17)),  # a class token that the classifier does not read
        ("deit_tiny_distilled_patch16_224", {"patch_size": 4, "embed_dim": 24, "depth": 2}, slice(0, 2)),
    ],
)
def test_the_rows_are_of_the_tokens_that_the_classifier_reads(
    architecture: str, arguments: dict[str, Any], rows: slice
):
    model = transformer(architecture, **arguments)
    product = literal_rollout(matrices_from_weights(model, IMAGES), "mean", 0.0, 1)
    expected = product[:, rows].mean(1)[:, -16:]
    torch.testing.assert_close(own_grid(model, "attention_rollout"), expected, rtol=1e-5, atol=1e-7)


def test_the_shares_of_all_tokens_sum_to_one():
    model = transformer(class_token=False, global_pool="avg")  # so that every token is a patch
    torch.testing.assert_close(own_grid(model, "attention_rollout").sum(1), torch.ones(2))


def test_every_target_has_the_same_map():
    maps = fervis.explain(transformer(), IMAGES, "attention_rollout", target="all").maps.unflatten(0, (2, 3))
    assert torch.equal(maps[:, 0], maps[:, 1])
    assert torch.equal(maps[:, 0], maps[:, 2])
