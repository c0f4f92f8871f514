"""Gradient-weighted rollout, against the authors' loop on matrices and gradients that timm's own softmax gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.transformers import transformer
from torch import Tensor, nn

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.models.batch import Batch

IMAGES = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def authors_loop(model: nn.Module, image: Tensor, target: int, first: int = 1) -> Tensor:
    """R [T,T] of one image, as in ``Transformer-MM-Explainability`` for self-attention."""
    model.eval()
    matrices: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        matrices.append(output)

    handles = []
    for path, module in model.named_modules():
        if path.endswith(".attn"):
            module.fused_attn = False  # pyright: ignore[reportAttributeAccessIssue]
        if path.endswith(".attn_drop"):
            handles.append(module.register_forward_hook(keep))
    model(image[None])[0, target].backward()
    for handle in handles:
        handle.remove()
    relevance = torch.eye(matrices[0].shape[-1])
    for matrix in matrices[first - 1 :]:
        assert matrix.grad is not None
        weighted = (matrix.grad[0] * matrix[0].detach()).clamp(min=0)
        mean = sum(weighted[head] for head in range(len(weighted))) / len(weighted)
        relevance = relevance + mean @ relevance
    return relevance


def own_grid(model: nn.Module, targets: list[list[int]], **knobs: Any) -> Tensor:
    batch = Batch(model, IMAGES, resolve_layers(model, "input", IMAGES[:1]), class_targets(torch.tensor(targets)))
    return build_plugin("explainer", "attention_gradient", **knobs).patch_maps(batch).flatten(2)


@pytest.mark.parametrize(("reg_tokens", "first"), [(0, 1), (0, 2), (2, 1)])
def test_the_map_is_the_class_tokens_row_of_the_authors_relevance(reg_tokens: int, first: int):
    model = transformer(reg_tokens=reg_tokens)
    targets = [[0, 2], [1, 1], [2, 0]]
    maps = own_grid(model, targets, first=first)
    for image, classes in enumerate(targets):
        for number, target in enumerate(classes):
            expected = authors_loop(model, IMAGES[image], target, first)[0, -16:]
            torch.testing.assert_close(maps[image, number], expected, rtol=1e-5, atol=1e-6 * float(expected.max()))


def test_without_a_class_token_the_rows_of_the_patches_are_averaged():
    model = transformer(class_token=False, global_pool="avg")
    maps = own_grid(model, [[1], [1], [1]])
    for image in range(3):
        expected = (authors_loop(model, IMAGES[image], 1) - torch.eye(16)).mean(0)
        # The test's own diagonal, 1/16 more, has lost digits.
        torch.testing.assert_close(maps[image, 0], expected, rtol=1e-5, atol=1e-7)


def test_a_network_that_ignores_its_input_is_explained_by_zero():
    model = transformer()
    with torch.no_grad():
        for parameter in model.get_submodule("body.head").parameters():
            parameter.zero_()
    assert not fervis.explain(model, IMAGES, "attention_gradient", target=0).maps.any()


def test_gradcam_at_a_block_is_the_papers_sum_over_its_tokens():
    model = transformer(reg_tokens=1).eval()
    block = model.get_submodule("body.blocks.1")
    result = fervis.explain(model, IMAGES, "gradcam", "block2", [0, 1, 2])
    for image, target in enumerate([0, 1, 2]):
        kept: list[Tensor] = []
        handle = block.register_forward_hook(lambda _m, _i, output, kept=kept: kept.append(output))
        logits = model(IMAGES[image][None])
        handle.remove()
        (gradient,) = torch.autograd.grad(logits[0, target], kept)
        values, expected = kept[0][0].detach(), torch.zeros(4, 4)
        for channel in range(24):
            weight = float(gradient[0, 2:, channel].mean())  # over the patches: class token and register come before
            for row in range(4):
                for column in range(4):
                    expected[row, column] += weight * float(values[2 + 4 * row + column, channel])
        expected = expected.clamp(min=0)
        resized = torch.nn.functional.interpolate(expected[None, None], (16, 16), mode="bilinear")[0, 0]
        torch.testing.assert_close(result.maps[image], resized, rtol=1e-4, atol=1e-6)
