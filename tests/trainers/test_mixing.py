"""Mixing against loops over the images, counted pixels and the distributions' closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from fervis.trainers.mixing import balanced_order, class_weights, cut_boxes, cutmix, draw_beta, mixup, smooth_labels


def test_cross_entropy_against_smoothed_labels_is_torchs_own(generator: torch.Generator):
    labels, logits = torch.randint(7, (20,), generator=generator), torch.randn(20, 7, generator=generator)
    for smoothing in (0.0, 0.1, 1.0):
        targets = smooth_labels(labels, 7, smoothing)
        torch.testing.assert_close(targets.sum(1), torch.ones(20))
        torch.testing.assert_close(
            F.cross_entropy(logits, targets), F.cross_entropy(logits, labels, label_smoothing=smoothing)
        )
    assert smooth_labels(torch.tensor([2]), 4, 0.2).tolist() == [pytest.approx([0.05, 0.05, 0.85, 0.05])]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_weights_are_beta_distributed(alpha: float):
    drawn = draw_beta(5000, alpha, torch.Generator().manual_seed(0))
    assert stats.kstest(drawn.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.01
    assert stats.kstest(drawn.numpy(), stats.beta(1.2 * alpha, 1.2 * alpha).cdf).pvalue < 0.01, "the test has power"


def test_mixup_is_the_convex_sum_image_by_image(generator: torch.Generator):
    images, targets = torch.rand(9, 2, 5, 6, generator=generator), torch.rand(9, 7, generator=generator)
    mixed, soft = mixup(images, targets, 0.7, torch.Generator().manual_seed(3))
    drawn = torch.Generator().manual_seed(3)
    partner, weight = torch.randperm(9, generator=drawn), draw_beta(9, 0.7, drawn)
    assert weight.unique().numel() == 9, "every pair has its own"
    for n in range(9):
        w = float(weight[n])
        torch.testing.assert_close(mixed[n], w * images[n] + (1 - w) * images[partner[n]])
        torch.testing.assert_close(soft[n], w * targets[n] + (1 - w) * targets[partner[n]])


def test_cutmix_pastes_one_box_and_weighs_labels_by_its_pixels():
    # Image n is n everywhere and its label is n, so pixels tell where they come from.
    count = 64
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 2, 10, 14)
    targets = torch.eye(count)
    mixed, soft = cutmix(images, targets, 1.0, torch.Generator().manual_seed(0))
    partner = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    areas = set()
    for n in range(count):
        pasted = mixed[n, 0] != n
        assert torch.equal(mixed[n, 1] != n, pasted), "all channels alike"
        assert (mixed[n, 0][pasted] == partner[n]).all()
        rows, columns = pasted.any(1), pasted.any(0)
        assert torch.equal(pasted, rows[:, None] & columns), "a box"
        assert int(rows.sum()) == int(rows.nonzero().max() - rows.nonzero().min() + 1 if rows.any() else 0)
        assert int(columns.sum()) == int(columns.nonzero().max() - columns.nonzero().min() + 1 if columns.any() else 0)
        wanted = torch.zeros(count)
        for pixel in mixed[n, 0].flatten().tolist():
            wanted[int(pixel)] += 1 / 140
        torch.testing.assert_close(soft[n], wanted)
        areas.add(int(pasted.sum()))
    assert len(areas) > 20, "every pair has a box of its own"


def test_boxes_are_the_papers(generator: torch.Generator):
    weight = torch.rand(300, dtype=torch.float64, generator=generator)
    weight[:2] = torch.tensor([0.0, 1.0])
    centres = torch.rand(2, 300, generator=generator)
    for n, box in enumerate(cut_boxes(weight, centres, [48, 40]).tolist()):
        wanted = []
        for side, centre in zip((48, 40), centres[:, n].tolist(), strict=True):
            cut, middle = int(side * math.sqrt(1 - float(weight[n]))), int(centre * side)
            wanted.append((max(middle - cut // 2, 0), min(middle + cut // 2, side)))
        (top, bottom), (left, right) = wanted
        assert box == [top, left, bottom, right]


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_alpha_0_mixes_nothing_and_draws_as_much(mix, generator: torch.Generator):
    images, targets = torch.rand(8, 1, 6, 6, generator=generator), torch.rand(8, 7, generator=generator)
    states = []
    for alpha in (0.0, 0.2, 1.0):
        drawn = torch.Generator().manual_seed(9)
        mixed, soft = mix(images, targets, alpha, drawn)
        states.append(drawn.get_state())
        assert torch.equal(mixed, images) == torch.equal(soft, targets) == (alpha == 0)
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_the_same_state_gives_the_same_mixture_and_nothing_given_is_changed(mix, generator: torch.Generator):
    images, targets = torch.rand(8, 1, 6, 6, generator=generator), torch.rand(8, 7, generator=generator)
    copies, state = (images.clone(), targets.clone()), torch.get_rng_state()
    one, two, other = (mix(images, targets, 1.0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[0], other[0])
    assert torch.equal(images, copies[0])
    assert torch.equal(targets, copies[1])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_balanced_order_holds_each_class_as_often_and_its_faces_in_turn(generator: torch.Generator):
    labels = torch.tensor([0] * 70 + [3] * 7 + [5] * 24)[torch.randperm(101, generator=generator)]
    times, extra = torch.zeros(101), torch.zeros(6)
    for _ in range(300):
        order = balanced_order(labels, generator)
        assert order.shape == (101,)
        counts = torch.bincount(labels[order], minlength=6)
        assert sorted(counts.tolist()) == [0, 0, 0, 33, 34, 34]
        each = torch.bincount(order, minlength=101)
        for label in (0, 3, 5):
            of_class = each[labels == label]
            assert of_class.max() - of_class.min() <= 1
        times += each
        extra += counts == 34
    # In expectation the odd places go to each class in two of three epochs, and each face of a class comes as often.
    for label in (0, 3, 5):
        assert abs(int(extra[label]) - 200) < 4 * math.sqrt(300 * 2 / 9)
    expected = 300 * 101 / 3 / 70
    assert (times[labels == 0] - expected).abs().max() < 4.5 * math.sqrt(expected)


def test_a_balanced_order_is_shuffled_and_follows_its_generator():
    labels = torch.arange(400) % 2
    one, two, other = (balanced_order(labels, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert sorted(one.tolist()) == list(range(400)), "a balanced set is a permutation"
    assert 60 < labels[one[:200]].sum() < 140, "the classes lie mixed"
    assert len(balanced_order(labels[:0], torch.Generator())) == 0


def test_class_weights_are_inverse_to_counts_with_mean_1_over_the_samples():
    labels = torch.tensor([0] * 6 + [1] * 3 + [3])
    weights = class_weights(labels, 4)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, torch.tensor([10 / 18, 10 / 9, 0.0, 10 / 3]))
    assert weights[labels].mean().item() == pytest.approx(1)
