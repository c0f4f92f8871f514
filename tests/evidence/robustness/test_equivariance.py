"""Equivariance against methods that follow the image, or do not, exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from support.measures import batch_for
from torch import Tensor, nn

from fervis.core.registry import build_plugin
from fervis.errors import ConfigError
from fervis.evidence.protocol import ExplainAgain

IMAGES = torch.rand(3, 1, 9, 10, generator=torch.Generator().manual_seed(0))
STAYS = torch.rand(1, 1, 9, 10, generator=torch.Generator().manual_seed(1))


def method(explain: object) -> ExplainAgain:
    def again(images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None) -> Tensor:
        assert images is not None
        return explain(images)  # pyright: ignore[reportCallIssue]

    return again


def test_a_map_that_is_the_image_follows_it():
    maps = IMAGES.clone()
    scores = build_plugin("evidence", "equivariance", shift=3).measure(
        batch_for(maps, images=IMAGES), maps, method(torch.clone)
    )
    for part in ("", "flip", "shift"):
        torch.testing.assert_close(scores[part], torch.ones(3, 1, dtype=torch.float64))


def test_a_map_that_stays_is_compared_with_itself_flipped_and_shifted():
    maps = STAYS.expand(3, -1, -1, -1)
    scores = build_plugin("evidence", "equivariance", shift=2).measure(
        batch_for(maps, images=IMAGES), maps, method(lambda images: STAYS.expand(len(images), -1, -1, -1))
    )
    one = STAYS[0, 0].numpy()
    flip = spearmanr(one.ravel(), one[:, ::-1].ravel()).statistic
    shift = spearmanr(one[2:, 2:].ravel(), one[:-2, :-2].ravel()).statistic
    np.testing.assert_allclose(scores["flip"][:, 0].numpy(), flip, atol=1e-12)
    np.testing.assert_allclose(scores["shift"][:, 0].numpy(), shift, atol=1e-12)
    np.testing.assert_allclose(scores[""][:, 0].numpy(), (flip + shift) / 2, atol=1e-12)


def test_the_image_moves_down_and_right_with_its_border_continued():
    given = []
    maps = IMAGES.clone()
    build_plugin("evidence", "equivariance", shift=1).measure(
        batch_for(maps, images=IMAGES), maps, method(lambda images: given.append(images) or images)
    )
    flipped, shifted = given[0].unflatten(0, (3, 2)).unbind(1)
    np.testing.assert_array_equal(flipped.numpy(), IMAGES.numpy()[..., ::-1])
    expected = np.pad(IMAGES.numpy(), ((0, 0), (0, 0), (1, 0), (1, 0)), mode="edge")[..., :-1, :-1]
    np.testing.assert_array_equal(shifted.numpy(), expected)


def test_a_shift_that_leaves_too_little_is_refused():
    maps = IMAGES.clone()
    with pytest.raises(
        ConfigError, match=r"evidence\.equivariance\.shift=5: expected at most half of the images' 9 pixels"
    ):
        build_plugin("evidence", "equivariance", shift=5).measure(
            batch_for(maps, images=IMAGES), maps, method(torch.clone)
        )
