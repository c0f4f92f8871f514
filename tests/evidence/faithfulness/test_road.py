"""ROAD against the linear systems of Rong et al. 2022, written down and solved pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.scored_networks import linear_batch, logits, scores
from torch import Tensor

from fervis.models.imputation import linear_imputation

WEIGHTS = {(y, x): 1 / 6 if 0 in (y, x) else 1 / 12 for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)}


def imputed_by_hand(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Solve the system of the paper's section 4.2 for one image [C,H,W], as a dense matrix over removed pixels."""
    height, width = removed.shape
    numbers = {tuple(position): number for number, position in enumerate(np.argwhere(removed).tolist())}
    matrix, right = np.zeros((len(numbers), len(numbers))), np.zeros((len(numbers), len(image)))
    for (y, x), row in numbers.items():
        for (down, across), weight in WEIGHTS.items():
            other = (y + down, x + across)
            if not (0 <= other[0] < height and 0 <= other[1] < width):
                continue
            matrix[row, row] += weight
            if other in numbers:
                matrix[row, numbers[other]] -= weight
            else:
                right[row] += weight * image[:, other[0], other[1]]
    result = image.copy()
    result[:, removed] = np.linalg.solve(matrix, right).T
    return result


def some_removed(height: int, width: int) -> Tensor:
    """Scattered pixels, a large hole at the border, and all but one corner."""
    removed = torch.zeros(3, height, width, dtype=torch.bool)
    removed[0] = torch.rand(height, width, generator=torch.Generator().manual_seed(1)) < 0.5
    removed[1, : height - 2, 1:] = True
    removed[2] = True
    removed[2, -1, -1] = False
    return removed


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
def test_imputed_pixels_solve_the_papers_system(dtype: torch.dtype, tolerance: float):
    image = torch.rand(3, 11, 14, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    removed = some_removed(11, 14)
    found = linear_imputation(image.to(dtype), removed)
    assert found.dtype == dtype
    for one, gone in zip(found, removed, strict=True):
        np.testing.assert_allclose(one.numpy(), imputed_by_hand(image.numpy(), gone.numpy()), rtol=0, atol=tolerance)
        assert torch.equal(one[:, ~gone], image.to(dtype)[:, ~gone])


def test_an_image_of_which_nothing_is_left_is_its_mean_and_a_plain_one_stays_as_it_is():
    image = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    everything = torch.ones(1, 6, 6, dtype=torch.bool)
    torch.testing.assert_close(linear_imputation(image, everything), image.mean().expand(1, 1, 6, 6))
    plain = torch.full((1, 6, 6), 0.25)
    torch.testing.assert_close(linear_imputation(plain, some_removed(6, 6)), plain.expand(3, 1, 6, 6))
    assert torch.equal(linear_imputation(image, ~everything)[0], image)


def test_the_score_is_half_the_difference_of_the_least_and_the_most_relevant_removed():
    batch, maps = linear_batch(channels=2)
    found = scores("road", batch, maps, steps=3, noise=0.05, output="logit")
    noise = 0.05 * torch.randn(2, 8, 8, generator=batch.generator("evidence/road")).numpy()
    classes = batch.targets.classes
    assert classes is not None
    for n, t in np.ndindex(2, 2):
        order = maps[n, t].flatten().argsort(descending=True).numpy()
        means = {}
        for name, indices in {"morf": order, "lerf": order[::-1]}.items():
            values = []
            for count in (16, 32, 48):
                removed = np.zeros(64, dtype=bool)
                removed[indices[:count]] = True
                removed = removed.reshape(8, 8)
                image = imputed_by_hand(batch.images[n].double().numpy(), removed) + noise * removed
                values.append(float(logits(batch, torch.from_numpy(image).float()[None])[0, classes[n, t]]))
            means[name] = np.mean(values)
            assert found[name][n, t].item() == pytest.approx(means[name], abs=1e-4)
        assert found[""][n, t].item() == pytest.approx((means["lerf"] - means["morf"]) / 2, abs=1e-4)


def test_the_opposite_map_has_the_opposite_score():
    batch, maps = linear_batch()
    one, other = (scores("road", batch, sign * maps, output="logit") for sign in (1, -1))
    torch.testing.assert_close(one[""], -other[""])
    torch.testing.assert_close(one["morf"], other["lerf"])
