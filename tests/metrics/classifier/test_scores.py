from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
)

from fervis.metrics.classifier.scores import (
    BINS,
    bootstrap_metrics,
    confusion_counts,
    measure_metrics,
    metrics_of,
    per_image_terms,
    reliability,
)

CLASSES = 7


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def answers(count=400, seed=0, classes=CLASSES):
    """Probabilities of a network that is often right, and labels that hold every class."""
    generator = seeded(seed)
    labels = torch.cat([torch.arange(classes), torch.randint(classes, (count - classes,), generator=generator)])
    logits = torch.randn(count, classes, generator=generator) * 1.5
    logits[torch.arange(count), labels] += 1.5
    return logits.softmax(1), labels


def literal_ece(probabilities, labels):
    """Guo et al. 2017, equation 3, read word by word: bin m holds the confidences in ((m-1)/M, m/M]."""
    total = 0.0
    confidence, prediction = probabilities.double().max(1)
    for m in range(1, BINS + 1):
        inside = [i for i, c in enumerate(confidence.tolist()) if (m - 1) / BINS < c <= m / BINS]
        if inside:
            accuracy = sum(int(prediction[i] == labels[i]) for i in inside) / len(inside)
            mean = sum(float(confidence[i]) for i in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - mean)
    return total


def test_metrics_are_those_of_scikit_learn():
    probabilities, labels = answers()
    y, p, found = labels.numpy(), probabilities.argmax(1).numpy(), measure_metrics(probabilities, labels)
    double = probabilities.double()
    normalised = (double / double.sum(1, keepdim=True)).numpy()
    assert float(found["accuracy"]) == pytest.approx(accuracy_score(y, p), abs=1e-12)
    assert float(found["macro_f1"]) == pytest.approx(f1_score(y, p, average="macro"), abs=1e-12)
    assert float(found["nll"]) == pytest.approx(log_loss(y, normalised, labels=range(CLASSES)), abs=1e-6)
    for name, of_scikit in {"recall": recall_score, "precision": precision_score, "f1": f1_score}.items():
        np.testing.assert_allclose(found[name].numpy(), of_scikit(y, p, average=None), atol=1e-12, err_msg=name)
    assert (confusion_counts(probabilities, labels).numpy() == confusion_matrix(y, p)).all()
    np.testing.assert_allclose(found["confusion"].numpy(), confusion_matrix(y, p, normalize="true"), atol=1e-12)


@pytest.mark.parametrize("missing", [None, 2])
def test_point_values_are_to_the_bit_those_that_the_bootstrap_resamples(missing: int | None):
    probabilities, labels = answers()
    if missing is not None:  # a class that neither occurs nor is predicted has no metrics
        probabilities, labels = probabilities[labels != missing], labels[labels != missing]
        probabilities[:, missing] = 0
    vectorised = metrics_of(per_image_terms(probabilities, labels).sum(0), CLASSES)
    for name, value in measure_metrics(probabilities, labels).items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, vectorised[name], rtol=0, atol=1e-16, equal_nan=True, msg=name)


def test_reliability_holds_the_points_of_scikit_learn_s_calibration_curve():
    probabilities, labels = answers()
    confidence, prediction = probabilities.double().max(1)
    accuracy, mean = calibration_curve((prediction == labels).numpy(), confidence.numpy(), n_bins=BINS)
    filled = [row for row in reliability(probabilities, labels) if row["n"]]
    assert [row["accuracy"] for row in filled] == pytest.approx(accuracy.tolist(), abs=1e-12)
    assert [row["confidence"] for row in filled] == pytest.approx(mean.tolist(), abs=1e-12)


def test_brier_of_two_classes_is_twice_that_of_scikit_learn():
    probabilities, labels = answers(classes=2)
    expected = 2 * brier_score_loss(labels.numpy(), probabilities[:, 1].double().numpy())
    assert float(measure_metrics(probabilities, labels)["brier"]) == pytest.approx(expected, abs=1e-6)


def test_calibration_error_is_the_paper_s():
    probabilities, labels = answers()
    assert float(measure_metrics(probabilities, labels)["ece"]) == pytest.approx(
        literal_ece(probabilities, labels), abs=1e-12
    )


def test_calibration_error_in_closed_form():
    # All at confidence 0.8, six of ten right: the one bin is off by 0.2.
    probabilities = torch.tensor([[0.8, 0.2]], dtype=torch.float64).repeat(10, 1)
    labels = torch.tensor([0] * 6 + [1] * 4)
    assert float(measure_metrics(probabilities, labels)["ece"]) == pytest.approx(0.2)
    # A confidence of exactly 12/15 belongs to the twelfth bin, 1 to the last.
    rows = reliability(probabilities, labels)
    assert [index for index, row in enumerate(rows) if row["n"]] == [11]
    assert rows[11] == {"above": 11 / 15, "to": 12 / 15, "n": 10, "confidence": pytest.approx(0.8), "accuracy": 0.6}
    assert reliability(torch.eye(2), torch.tensor([0, 1]))[-1]["n"] == 2
    assert rows[0]["accuracy"] is None


def test_reliability_adds_up_to_the_calibration_error():
    probabilities, labels = answers()
    rows = [
        [float(row[key] or 0) for key in ("n", "accuracy", "confidence")] for row in reliability(probabilities, labels)
    ]
    gap = sum(count * abs(accuracy - confidence) for count, accuracy, confidence in rows) / len(labels)
    assert sum(row[0] for row in rows) == len(labels)
    assert gap == pytest.approx(float(measure_metrics(probabilities, labels)["ece"]), abs=1e-12)


def test_what_is_undefined_is_nan_and_left_out_of_the_mean():
    # Class 2 neither occurs nor is predicted; class 1 occurs and is never predicted.
    probabilities = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.7, 0.3, 0.0]])
    found = measure_metrics(probabilities, torch.tensor([0, 0, 1]))
    assert found["recall"][:2].tolist() == [1.0, 0.0]
    assert [math.isnan(x) for x in found["recall"]] == [False, False, True]
    assert [math.isnan(x) for x in found["precision"]] == [False, True, True]
    assert [math.isnan(x) for x in found["f1"]] == [False, False, True]
    assert float(found["macro_f1"]) == pytest.approx((0.8 + 0.0) / 2)  # as scikit-learn, over the classes there are
    assert found["confusion"][2].isnan().all()
    low, high = bootstrap_metrics(probabilities, torch.tensor([0, 0, 1]), resamples=50, generator=seeded(0))["recall"]
    assert low[2].isnan()
    assert high[2].isnan()
    assert low[0] == high[0] == 1  # resamples without class 0 have no recall of it and are left out


def test_a_probability_of_zero_for_the_label_has_a_finite_price():
    found = measure_metrics(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert float(found["nll"]) == pytest.approx(-math.log(1e-12))
    assert float(found["brier"]) == 2


def test_bootstrap_is_the_loop_it_stands_for():
    probabilities, labels = answers(60)
    resamples = 300
    ends = bootstrap_metrics(probabilities, labels, resamples=resamples, level=0.9, generator=seeded(3))
    generator = seeded(3)
    draws = torch.cat([torch.randint(60, (part, 60), generator=generator) for part in (256, 44)])
    loop = [measure_metrics(probabilities[index], labels[index]) for index in draws]
    estimate = literal_ece(probabilities, labels)
    for name, (low, high) in ends.items():
        values = np.stack([one[name].numpy() for one in loop])
        below, above = np.nanquantile(values, [0.05, 0.95], axis=0)
        if name == "ece":
            below, above = max(0, 2 * estimate - above), max(0, 2 * estimate - below)
        np.testing.assert_allclose(low.numpy(), below, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(high.numpy(), above, atol=1e-12, err_msg=name)


def test_copies_drawn_together_count_once():
    probabilities, labels = answers(80)
    once = bootstrap_metrics(probabilities, labels, resamples=200, generator=seeded(1))
    twice = bootstrap_metrics(
        probabilities.repeat_interleave(2, 0),
        labels.repeat_interleave(2),
        resamples=200,
        generator=seeded(1),
        groups=torch.arange(80).repeat_interleave(2) * 10 + 7,
    )
    for name, (low, high) in once.items():
        torch.testing.assert_close(twice[name][0], low, equal_nan=True)
        torch.testing.assert_close(twice[name][1], high, equal_nan=True)
    ignored = bootstrap_metrics(
        probabilities.repeat_interleave(2, 0), labels.repeat_interleave(2), resamples=200, generator=seeded(1)
    )
    width, too_narrow = (float(ends["accuracy"][1] - ends["accuracy"][0]) for ends in (twice, ignored))
    assert too_narrow < 0.85 * width


def test_the_same_seed_gives_the_same_ends():
    probabilities, labels = answers()
    one, again, other = (
        bootstrap_metrics(probabilities, labels, resamples=300, generator=seeded(s)) for s in (5, 5, 6)
    )
    assert all(torch.equal(one[name][0].nan_to_num(), again[name][0].nan_to_num()) for name in one)
    assert not torch.equal(one["nll"][0], other["nll"][0])


def test_intervals_cover_the_truth_as_often_as_they_say():
    # Two classes as frequent as each other, either right with probability 0.7: accuracy, recall and F1 are all 0.7.
    generator, sets, covered = seeded(0), 200, {"accuracy": 0, "recall": 0, "f1": 0}
    for _ in range(sets):
        labels = torch.randint(2, (300,), generator=generator)
        right = torch.rand(300, generator=generator) < 0.7
        probabilities = torch.where((labels == 0) == right, 0.8, 0.2)[:, None] * torch.tensor([1.0, -1.0])
        probabilities[:, 1] += 1
        ends = bootstrap_metrics(probabilities, labels, resamples=300, generator=generator)
        for name in covered:
            low, high = (end if end.ndim == 0 else end[0] for end in ends[name])
            covered[name] += bool(low <= 0.7 <= high)
    assert all(0.9 <= count / sets <= 0.99 for count in covered.values()), covered


@pytest.mark.parametrize("gap", [0.03, 0.1])
def test_the_interval_of_the_calibration_error_is_not_lifted_by_noise(gap):
    # Right with probability confidence - gap everywhere, so that the true error of every bin is the gap. Plain
    # percentiles lie wholly above a gap of 0.03 in most sets of this size, since noise lifts them.
    generator, sets, covered, lifted = seeded(1), 100, 0, 0
    for _ in range(sets):
        confidence = 0.55 + 0.45 * torch.rand(500, generator=generator, dtype=torch.float64)
        labels = (torch.rand(500, generator=generator, dtype=torch.float64) >= confidence - gap).long()
        probabilities = torch.stack([confidence, 1 - confidence], 1)
        low, high = bootstrap_metrics(probabilities, labels, resamples=200, generator=generator)["ece"]
        covered += bool(low <= gap <= high)
        lifted += bool(low > gap)
    assert covered >= 0.75 * sets, covered
    assert lifted <= 0.1 * sets, lifted
