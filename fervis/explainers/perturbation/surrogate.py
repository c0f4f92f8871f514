"""Linear surrogate of the network near an image: weighted ridge regression in closed form, for all labels at once.

scikit-learn's ``Ridge`` with sample weights gives the same coefficients, but not the weighted R² of each label, and
solves an undetermined system without a word; the tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from fervis.errors import ConfigError


@dataclass(frozen=True)
class Surrogate:
    """A fitted linear model of K labels on d features; float64, on the CPU.

    Attributes:
        coefficients: [d,K], the change of the label's value when the feature goes from 0 to 1.
        intercepts: [K], the value where every feature is 0.
        r2: [K], weighted coefficient of determination on the samples it was fitted to; 1 for a label that never
            changes.
    """

    coefficients: Tensor
    intercepts: Tensor
    r2: Tensor


def bernoulli_samples(samples: int, features: int, generator: Generator) -> Tensor:
    """Draw [S,d] float32 zeros and ones of equal probability; the first row is all ones, as in the lime package."""
    draws = torch.randint(0, 2, (samples, features), generator=generator).float()
    draws[0] = 1
    return draws


def kernel_weights(samples: Tensor, kernel_width: float) -> Tensor:
    """Return [S] float64 weights of [S,d] samples by their distance to the whole image, as in the lime package.

    The distance is the cosine distance to the row of ones, 1 - sqrt(k / d) for k features shown and 1 for none, and
    the weight is sqrt(exp(-distance² / kernel_width²)).
    """
    shown = samples.double().mean(1)
    return torch.exp(-((1 - shown.sqrt()) ** 2) / kernel_width**2).sqrt()


def fit_ridge(samples: Tensor, values: Tensor, weights: Tensor, alpha: float) -> Surrogate:
    """Minimise sum_i w_i (y_i - b - x_i c)² + alpha |c|² for every label by one Cholesky factorisation.

    With weighted means subtracted, c = (X'WX + alpha I)^-1 X'Wy: the intercept is not shrunk, as in scikit-learn's
    ``Ridge(alpha).fit(X, y, sample_weight=w)``.

    Args:
        samples: [S,d] features X.
        values: [S,K] labels' values y.
        weights: [S] w, at least 0, not all 0.
        alpha: weight of the penalty, at least 0.

    Raises:
        ConfigError: the samples do not determine the coefficients.
    """
    x, y, w = samples.double().cpu(), values.double().cpu(), weights.double().cpu()
    normalized = w / w.sum()
    x_mean, y_mean = normalized @ x, normalized @ y
    # A label that never changes is set to exactly 0, or its rounding error would be fitted like a signal.
    x, y = x - x_mean, torch.where((y == y[0]).all(0), 0, y - y_mean)
    weighted = x.T * w
    gram = weighted @ x + alpha * torch.eye(x.shape[1], dtype=x.dtype)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if failed:
        raise ConfigError(
            f"explainer.alpha={alpha:g}: {len(x)} samples do not determine the weights of {x.shape[1]} superpixels; "
            "expected more explainer.samples or a larger alpha."
        )
    coefficients = torch.cholesky_solve(weighted @ y, factor)
    residual, variation = w @ (y - x @ coefficients) ** 2, w @ y**2
    r2 = torch.where(variation > 0, 1 - residual / variation, 1.0)
    return Surrogate(coefficients, y_mean - x_mean @ coefficients, r2)


def keep_top(coefficients: Tensor, count: int) -> Tensor:
    """Return [d] coefficients of which all but the ``count`` largest in absolute value are 0; 0 keeps all."""
    if not 0 < count < len(coefficients):
        return coefficients
    strongest = torch.zeros_like(coefficients)
    index = coefficients.abs().sort(descending=True, stable=True).indices[:count]
    strongest[index] = coefficients[index]
    return strongest
