"""Linear surrogate of the network near an image: weighted ridge regression in closed form, for all labels at once.

scikit-learn's ``Ridge`` with sample weights gives the same coefficients, but not the weighted R² of each label, and
solves an undetermined system without a word; the tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from fervis.errors import ConfigError
from fervis.metrics.similarity import spearman


@dataclass(frozen=True)
class Surrogate:
    """A fitted linear model of K labels on d features; float64, on the CPU.

    Attributes:
        coefficients: [d,K], the change of the label's value when the feature goes from 0 to 1.
        intercepts: [K], the value where every feature is 0.
        r2: [K], weighted coefficient of determination on the samples it was fitted to; 1 for a label that never
            changes.
        errors: [d,K], standard errors of the coefficients: how far they would differ from those of other samples.
    """

    coefficients: Tensor
    intercepts: Tensor
    r2: Tensor
    errors: Tensor


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
    residuals = y - x @ coefficients
    variation = w @ y**2
    r2 = torch.where(variation > 0, 1 - w @ residuals**2 / variation, 1.0)
    errors = _standard_errors(x, residuals, w, factor)
    return Surrogate(coefficients, y_mean - x_mean @ coefficients, r2, errors)


def _standard_errors(x: Tensor, residuals: Tensor, w: Tensor, factor: Tensor) -> Tensor:
    """Return [d,K] the sandwich standard errors of the coefficients, from the samples that they were fitted to.

    Sample i moves the coefficients by (X'WX + alpha I)^-1 x_i w_i r_i; the sum of squares over the samples estimates
    their variance, without an assumption on how the linear model errs (White 1980, Econometrica 48(4)). Residuals are
    divided by 1 - h_i, h_i the leverage, which makes it the jackknife (HC3: MacKinnon and White 1985):
    otherwise the errors of d coefficients from few samples are too small.

    Args:
        x: [S,d] features less their weighted means.
        residuals: [S,K].
        w: [S].
        factor: [d,d], the lower Cholesky factor of X'WX + alpha I.
    """
    solved = torch.cholesky_solve(x.T, factor).T
    leverage = w * ((x * solved).sum(1) + 1 / w.sum())
    moves = (w / (1 - leverage).clamp(min=1e-6))[:, None] * residuals
    # The mean move is alpha times the coefficients, the pull of the penalty and not chance.
    return ((solved**2).T @ moves**2 - (solved.T @ moves) ** 2 / len(x)).clamp(min=0).sqrt()


def split_half_stability(samples: Tensor, values: Tensor, weights: Tensor, alpha: float, splits: Tensor) -> Tensor:
    """Return [K] the rank correlation to expect between coefficients of these samples and of as many others.

    The samples are cut into halves, each half gets a fit, and the rank correlation r of the two, by the formula of
    Spearman and Brown 2r / (1 + r), is that of two whole sets (Spearman 1910, Brown 1910, Br. J. Psychol. 3); the mean
    over the splits. It is 0 where a half does not determine the coefficients, and at least -1.

    Args:
        samples: [S,d] features.
        values: [S,K] labels' values.
        weights: [S], at least 0.
        alpha: weight of the penalty of all samples; each half has half of it.
        splits: [R,S] permutations, whose first and second halves are taken.
    """
    middle = len(samples) // 2
    correlations = []
    for order in splits:
        halves = (order[:middle], order[middle:])
        try:
            one, two = (fit_ridge(samples[half], values[half], weights[half], alpha / 2) for half in halves)
        except ConfigError:
            return torch.zeros(values.shape[1])
        r = rank_correlation(one.coefficients, two.coefficients)
        correlations.append((2 * r / (1 + r).clamp(min=1e-12)).clamp(min=-1))
    return torch.stack(correlations).mean(0).float()


def rank_correlation(one: Tensor, two: Tensor) -> Tensor:
    """Return [K] Spearman's correlation of two sets of coefficients [d,K], label by label; 0 where one has no order."""
    return spearman(one.T.contiguous(), two.T.contiguous()).nan_to_num(0)


def keep_top(coefficients: Tensor, count: int) -> Tensor:
    """Return [d,K] coefficients of which all but the ``count`` largest of each label in absolute value are 0.

    A count of 0 returns all.
    """
    if not 0 < count < len(coefficients):
        return coefficients
    index = coefficients.abs().sort(dim=0, descending=True, stable=True).indices[:count]
    return torch.zeros_like(coefficients).scatter(0, index, coefficients.gather(0, index))
