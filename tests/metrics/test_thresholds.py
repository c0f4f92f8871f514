"""Otsu's threshold against scikit-image on whole numbers, and against its definition."""

from __future__ import annotations

import numpy as np
import torch
from skimage.filters import threshold_otsu

from fervis.metrics.thresholds import otsu_thresholds


def test_it_is_that_of_scikit_image_where_a_histogram_loses_nothing():
    values = torch.randint(0, 256, (6, 200), generator=torch.Generator().manual_seed(0))
    values[3:] = (values[3:] // 3 + 150 * (values[3:] > 180)).clamp(max=255)
    expected = [int(threshold_otsu(row)) for row in values.numpy().astype(np.uint8)]
    assert otsu_thresholds(values.float()).tolist() == expected


def test_no_other_split_has_a_larger_variance_between_its_groups():
    row = torch.randn(50, generator=torch.Generator().manual_seed(1)).double().numpy()

    def between(threshold: float) -> float:
        low, high = row[row <= threshold], row[row > threshold]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(high) else 0.0

    best = float(otsu_thresholds(torch.from_numpy(row)[None])[0])
    assert best == max(row, key=between)


def test_equal_values_have_none_above_the_threshold():
    assert otsu_thresholds(torch.tensor([[2.0, 2, 2], [0, 0, 0], [1, 1, 5]])).tolist() == [2, 0, 1]
