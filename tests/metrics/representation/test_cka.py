"""CKA against its formula, its invariances and sums over all quadruples of faces, read word by word."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from fervis.metrics.representation.cka import FEATURES_PER_CHUNK, cka, gram, linear_cka, unbiased_hsic


def features(seed: int, faces: int = 12, count: int = 5) -> torch.Tensor:
    return torch.randn(faces, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turned(x: torch.Tensor, seed: int) -> torch.Tensor:
    q, _ = torch.linalg.qr(features(seed, x.shape[1], x.shape[1]))
    return 3.7 * x @ q + 11


def test_the_plain_estimate_is_the_papers_formula():
    x, y = features(0), features(1, count=7)
    xc, yc = x - x.mean(0), y - y.mean(0)
    norm = torch.linalg.matrix_norm
    expected = norm(yc.T @ xc) ** 2 / (norm(xc.T @ xc) * norm(yc.T @ yc))
    assert linear_cka(x, y) == pytest.approx(float(expected), abs=1e-13)


def test_features_are_alike_to_themselves_turned_scaled_and_shifted():
    x, y = features(2), features(3)
    assert linear_cka(x, turned(x, 9)) == pytest.approx(1, abs=1e-12)
    assert linear_cka(turned(x, 8), y) == pytest.approx(linear_cka(x, y), abs=1e-12)
    assert float(cka([gram(x)], [gram(turned(x, 9))])) == pytest.approx(1, abs=1e-12)
    assert float(cka([gram(turned(x, 8))], [gram(y)])) == pytest.approx(float(cka([gram(x)], [gram(y)])), abs=1e-12)


def test_a_gram_matrix_is_that_of_centred_features_in_float64():
    maps = torch.randn(6, 3, 60, 50, generator=torch.Generator().manual_seed(4))
    assert maps[0].numel() > FEATURES_PER_CHUNK
    x = maps.flatten(1).double()
    x = x - x.mean(0)
    torch.testing.assert_close(gram(maps), x @ x.T, rtol=1e-12, atol=1e-9)


def test_unbiased_hsic_is_the_formula_of_song():
    n = 9
    k, l = gram(features(5, n)), gram(features(6, n))  # noqa: E741
    k0, l0 = k.clone().fill_diagonal_(0), l.clone().fill_diagonal_(0)
    one = torch.ones(n, dtype=torch.float64)
    expected = (k0 @ l0).trace() + (one @ k0 @ one) * (one @ l0 @ one) / ((n - 1) * (n - 2))
    expected = (expected - 2 / (n - 2) * (one @ k0 @ l0 @ one)) / (n * (n - 3))
    assert float(unbiased_hsic(k, l)) == pytest.approx(float(expected), rel=1e-11)


def test_a_resample_is_the_mean_over_quadruples_of_distinct_faces_by_their_weights():
    n = 7
    k, l = gram(features(7, n)), gram(features(8, n) + features(7, n))  # noqa: E741
    weights = torch.tensor(
        [[1.0] * n, [2, 0, 1, 3, 0, 1, 0], [0, 1, 1, 1, 2, 1, 1], [4, 0, 0, 3, 0, 0, 0]], dtype=torch.float64
    )
    expected = torch.zeros(4, dtype=torch.float64)
    for i, j, q, r in itertools.permutations(range(n), 4):
        of_the_four = weights[:, i] * weights[:, j] * weights[:, q] * weights[:, r]
        expected += of_the_four * k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q])
    expected /= n * (n - 1) * (n - 2) * (n - 3)
    torch.testing.assert_close(unbiased_hsic(k, l, weights), expected, rtol=1e-10, atol=0)
    assert expected[3] == 0, "two faces make no quadruple"


def test_batches_are_summed_before_they_are_divided():
    pairs = [(gram(features(seed, 8)), gram(features(seed, 8) + features(seed + 50, 8))) for seed in range(3)]
    between, own, other = (
        sum(float(unbiased_hsic(*(pair[i] for i in which))) for pair in pairs) for which in ((0, 1), (0, 0), (1, 1))
    )
    firsts, seconds = zip(*pairs, strict=True)
    assert float(cka(firsts, seconds)) == pytest.approx(between / math.sqrt(own * other), rel=1e-12)
    assert float(cka(firsts[:1] * 3, seconds[:1] * 3)) == pytest.approx(float(cka(firsts[:1], seconds[:1])), rel=1e-12)


def test_resamples_of_batches_take_their_own_faces_weights():
    x, y = features(20, 16), features(20, 16) + features(21, 16)
    parts = [(gram(x[:8]), gram(y[:8])), (gram(x[8:]), gram(y[8:]))]
    firsts, seconds = zip(*parts, strict=True)
    weights = torch.cat([torch.ones(1, 16), torch.eye(2).repeat_interleave(8, 1)]).double()
    found = cka(firsts, seconds, weights)
    expected = [float(cka(firsts, seconds)), *(float(cka(firsts[k : k + 1], seconds[k : k + 1])) for k in (0, 1))]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_a_batch_of_three_faces_is_left_out_with_its_weights():
    x, y = features(22, 13), features(23, 13)
    weights = torch.randint(1, 4, (5, 13), generator=torch.Generator().manual_seed(0)).double()
    whole = cka([gram(x[:3]), gram(x[3:])], [gram(y[:3]), gram(y[3:])], weights)
    torch.testing.assert_close(whole, cka([gram(x[3:])], [gram(y[3:])], weights[:, 3:]))


def test_independent_features_have_nothing_in_common_though_they_outnumber_the_faces():
    pairs = [(features(seed, 10, 200), features(seed + 1000, 10, 200)) for seed in range(200)]
    plain = sum(linear_cka(x, y) for x, y in pairs) / 200
    assert plain > 0.85, "the plain estimate finds likeness in noise"
    values = torch.tensor([float(unbiased_hsic(gram(x), gram(y))) for x, y in pairs])
    assert abs(float(values.mean())) < 3 * float(values.std()) / math.sqrt(200)
    firsts, seconds = ([gram(pair[k]) for pair in pairs] for k in (0, 1))
    assert float(cka(firsts, seconds)) < 0.05


def test_a_layer_that_says_the_same_of_all_faces_has_no_cka():
    constant, varied = torch.full((8, 6), 0.1), features(30, 8)
    assert (gram(constant) == 0).all()
    assert math.isnan(float(cka([gram(constant)], [gram(varied)])))
    assert math.isnan(float(cka([gram(constant)], [gram(constant)])))
    assert math.isnan(linear_cka(constant, varied))
