from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fervis.core.faces import FER2013_CLASSES, SPLITS, Faces
from fervis.core.network import Network
from fervis.datasets.fer2013 import Fer2013
from fervis.datasets.fer2013_formats.ferplus import VOTE_NAMES
from fervis.errors import ConfigError
from fervis.metrics.classifier.evaluation import PER_CLASS, SINGLE, evaluate, evaluate_predictions
from fervis.metrics.classifier.scores import bootstrap_metrics
from fervis.metrics.classifier.seeds import ensemble, mean_of_runs
from fervis.metrics.classifier.subsets import SUBSETS, evaluation_split, labelled_faces, rater_consensus
from fervis.models.predict import predict_views

FER2013 = os.environ.get("FERVIS_FER2013")


def faces_of(*held, classes=FER2013_CLASSES, votes=None):
    """Faces of 4 x 4 pixels from (picture, label, split): the same number is the same picture."""
    generators = [torch.Generator().manual_seed(picture) for picture, _, _ in held]
    return Faces(
        images=torch.stack([torch.randint(0, 256, (1, 4, 4), generator=g, dtype=torch.uint8) for g in generators]),
        labels=torch.tensor([label for _, label, _ in held]),
        rows=torch.arange(len(held)) + 100,
        splits=torch.tensor([SPLITS.index(split) for _, _, split in held], dtype=torch.uint8),
        classes=classes,
        votes=None if votes is None else torch.tensor(votes, dtype=torch.uint8),
        vote_names=() if votes is None else VOTE_NAMES,
    )


def many(seed=0, count=60):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(7, (3 * count,), generator=generator).tolist()
    return faces_of(*((1000 + i, label, SPLITS[i % 3]) for i, label in enumerate(labels)))


def network(classes=FER2013_CLASSES):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(nn.Flatten(), nn.Linear(16, len(classes)))
    return Network(body, classes=classes, channels=1, size=4, mean=(0.5,), std=(0.1,))


def votes(**given):
    return [given.get(name, 0) for name in VOTE_NAMES]


def test_subsets_counted_by_hand():
    faces = faces_of(
        (1, 0, "train"),
        (2, -1, "train"),  # unlabelled, and yet seen
        (3, 3, "val"),
        (1, 0, "test"),  # copy of training
        (2, 1, "test"),  # copy of training
        (3, 3, "test"),  # copy of val, not of training
        (4, 3, "test"),
        (4, 5, "test"),  # copy within test
        (5, -1, "test"),  # no label
        (6, 6, "test"),
        votes=[
            votes(neutral=10),
            votes(neutral=10),
            votes(happiness=6, NF=4),
            votes(anger=6, unknown=4),  # agrees with the label
            votes(fear=5, disgust=5),  # no consensus
            votes(contempt=8, disgust=2),  # consensus on what the network does not know
            votes(happiness=5, surprise=4),  # 5 of 9: none
            votes(happiness=7, surprise=3),  # another class than the label
            votes(happiness=10),
            votes(unknown=9, NF=1),  # consensus on no emotion
        ],
    )
    part = evaluation_split(faces, "test", FER2013_CLASSES)
    assert part.faces.rows.tolist() == [103, 104, 105, 106, 107, 109]
    assert part.counts == {
        "n": 6,
        "surplus_copies": 1,
        "copies_of_train": 2,
        "ferplus": 3,
        "ferplus_label_agreement": 0.5,
    }
    chosen = {name: part.faces.rows[mask].tolist() for name, (mask, _) in part.subsets.items()}
    assert chosen == {
        "full": [103, 104, 105, 106, 107, 109],
        "without_copies": [105, 106, 107, 109],
        "ferplus": [103, 105, 107],
        "ferplus_majority": [103, 107],
    }
    truths = {name: truth[mask].tolist() for name, (mask, truth) in part.subsets.items()}
    assert truths == {
        "full": [0, 1, 3, 3, 5, 6],
        "without_copies": [3, 3, 5, 6],
        "ferplus": [0, 3, 5],
        "ferplus_majority": [0, 3],
    }
    groups = part.groups.tolist()
    assert groups[3] == groups[4]
    assert len(set(groups)) == 5


def test_every_vote_meets_its_class_in_any_order_of_classes():
    table = torch.eye(10, dtype=torch.uint8) * 6
    agreed, number = rater_consensus(table, VOTE_NAMES, FER2013_CLASSES)
    assert agreed.tolist() == [True] * 8 + [False] * 2
    names = [FER2013_CLASSES[i] if i >= 0 else None for i in number.tolist()]
    assert names == ["neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", None, None, None]
    backwards = FER2013_CLASSES[::-1]
    _, number = rater_consensus(table, VOTE_NAMES, backwards)
    assert [backwards[i] if i >= 0 else None for i in number.tolist()] == names
    assert not rater_consensus(table - (table > 0).to(torch.uint8), VOTE_NAMES, FER2013_CLASSES)[0].any()


def test_labels_are_numbered_as_the_network_does():
    faces = faces_of((1, 0, "test"), (2, 2, "test"), classes=("a", "b", "c"))
    answers = {"test": {"none": torch.tensor([[0.1, 0.2, 0.7], [0.8, 0.1, 0.1]])}}
    found = evaluate_predictions(answers, faces, ("c", "b", "a"), seed=0, resamples=20)
    assert found.report["results"]["test"]["none"]["full"]["accuracy"]["value"] == 1
    assert found.report["results"]["test"]["none"]["full"]["per_class"]["a"]["recall"]["n"] == 1
    with pytest.raises(ConfigError, match=r"^model: the network has no class a; it has b, c\.$"):
        evaluate_predictions(answers, faces, ("b", "c"), seed=0)
    # A class of the data set that no labelled face has is no obstacle.
    assert evaluate_predictions(
        {"test": {"none": answers["test"]["none"][:, 1:]}}, faces, ("a", "c"), seed=0, resamples=20
    )


def test_evaluate_asks_each_split_with_each_kind_of_views():
    faces, net = many(), network()
    found = evaluate(net, faces, views=("none", "tencrop"), seed=3, crop=3, resamples=40)
    assert list(found.report["results"]) == ["val", "test"]
    for split in ("val", "test"):
        part = faces.split(split)
        assert found.rows[split].tolist() == part.rows.tolist()
        for kind in ("none", "tencrop"):
            expected = predict_views(net, part.images, kind, crop=3)
            assert torch.equal(found.probabilities[split][kind], expected)
            score = found.report["results"][split][kind]["full"]
            assert score["accuracy"]["value"] == pytest.approx(
                (expected.argmax(1) == part.labels).double().mean().item()
            )
            assert (score["n"], score["left_out"]) == (60, 0)
    assert (
        found.report == evaluate_predictions(found.probabilities, faces, FER2013_CLASSES, seed=3, resamples=40).report
    )
    assert found.report == json.loads(json.dumps(found.report))


def test_a_report_holds_the_intervals_of_the_bootstrap():
    faces, net = many(), network()
    report = evaluate(net, faces, seed=3, splits=("test",), resamples=40).report
    score = report["results"]["test"]["none"]["full"]
    part = evaluation_split(faces, "test", FER2013_CLASSES)
    labels = part.faces.labels
    generator = torch.Generator().manual_seed(3)
    answers = predict_views(net, part.faces.images, "none")
    ends = bootstrap_metrics(answers, labels, resamples=40, generator=generator, groups=part.groups)
    for name in SINGLE:
        assert (score[name]["low"], score[name]["high"]) == (float(ends[name][0]), float(ends[name][1]))
        assert score[name]["n"] == 60
    for index, label in enumerate(FER2013_CLASSES):
        for name in PER_CLASS:
            metric = score["per_class"][label][name]
            assert metric["low"] == (None if ends[name][0][index].isnan() else float(ends[name][0][index]))
        assert score["per_class"][label]["recall"]["n"] == int((labels == index).sum())
        assert score["per_class"][label]["precision"]["n"] == int((answers.argmax(1) == index).sum())
    share = score["confusion"]["shares"][3][2]
    assert share["low"] == float(ends["confusion"][0][3, 2])
    assert share["value"] == score["confusion"]["counts"][3][2] / share["n"]
    assert sum(map(sum, score["confusion"]["counts"])) == 60
    assert report["interval"] == {"level": 0.95, "resamples": 40, "seed": 3, "units": "groups of identical images"}
    assert report["subsets"] == {name: SUBSETS[name] for name in ("full", "without_copies")}


def test_what_is_undefined_is_none_and_still_json():
    faces = faces_of((1, 0, "test"), (2, 0, "test"))
    score = evaluate(network(), faces, seed=0, splits=("test",), resamples=10).report["results"]["test"]["none"]["full"]
    assert score["per_class"]["sad"]["recall"] == {"value": None, "low": None, "high": None, "n": 0}
    json.dumps(score, allow_nan=False)


def test_splits_without_labels_are_passed_over():
    faces = faces_of((1, 0, "train"), (2, -1, "val"), (3, 4, "test"))
    assert list(evaluate(network(), faces, seed=0, resamples=10).report["results"]) == ["test"]
    with pytest.raises(ConfigError, match=r"^dataset: it has no labelled faces in val, so nothing can be"):
        evaluate(network(), faces, seed=0, splits=("val",))


def test_a_subset_of_nobody_is_not_there():
    faces = faces_of((1, 0, "train"), (1, 0, "test"))
    report = evaluate(network(), faces, seed=0, resamples=10).report
    assert list(report["results"]["test"]["none"]) == ["full"]
    assert report["data"]["test"] == {"n": 1, "surplus_copies": 0, "copies_of_train": 1}


def test_mean_of_runs_by_hand():
    faces = many()
    generator = torch.Generator().manual_seed(9)
    runs = [torch.randn(60, 7, generator=generator).softmax(1) for _ in range(3)]
    reports = [
        evaluate_predictions({"test": {"none": run}}, faces, FER2013_CLASSES, seed=0, resamples=10).report
        for run in runs
    ]
    found = mean_of_runs(reports)
    values = [float((run.argmax(1) == labelled_faces(faces, "test").labels).double().mean()) for run in runs]
    mean = sum(values) / 3
    accuracy = found["results"]["test"]["none"]["full"]["accuracy"]
    assert found["runs"] == 3
    assert accuracy["values"] == pytest.approx(values)
    assert accuracy["mean"] == pytest.approx(mean)
    assert accuracy["sd"] == pytest.approx((sum((value - mean) ** 2 for value in values) / 2) ** 0.5)
    assert mean_of_runs(reports[:1])["results"]["test"]["none"]["full"]["accuracy"]["sd"] is None
    assert json.loads(json.dumps(found)) == found


def test_runs_of_other_images_are_not_averaged():
    one, other = (evaluate(network(), many(count=count), seed=0, resamples=5).report for count in (30, 33))
    with pytest.raises(ConfigError, match=r"^runs: expected evaluations of the same"):
        mean_of_runs([one, other])
    with pytest.raises(ConfigError, match=r"^runs=\[\]: expected"):
        mean_of_runs([])


def test_a_value_that_a_run_lacks_has_no_mean():
    faces = faces_of((1, 0, "test"), (2, 1, "test"))
    right, never = torch.eye(7)[:2], torch.eye(7)[[0, 0]]
    reports = [
        evaluate_predictions({"test": {"none": p}}, faces, FER2013_CLASSES, seed=0, resamples=5).report
        for p in (right, never)
    ]
    disgust = mean_of_runs(reports)["results"]["test"]["none"]["full"]["per_class"]["disgust"]
    assert disgust["precision"] == {"mean": None, "sd": None, "values": [1.0, None]}
    assert disgust["recall"]["mean"] == 0.5


def test_an_ensemble_is_the_mean_of_probabilities():
    parts = [torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([[0.3, 0.7], [0.4, 0.6]])]
    torch.testing.assert_close(ensemble(parts), torch.tensor([[0.6, 0.4], [0.3, 0.7]]))


@pytest.mark.skipif(FER2013 is None, reason="needs FER2013: FERVIS_FER2013")
def test_the_known_leaks_and_consensus_of_fer2013(tmp_path: Path):
    script = [sys.executable, str(Path(str(FER2013)) / "export_fer2013.py"), str(tmp_path / "set"), "--layout", "npz"]
    subprocess.run(script, check=True, capture_output=True)
    faces = Fer2013(str(tmp_path / "set")).load(tmp_path / "cache")
    val, test = (evaluation_split(faces, split, FER2013_CLASSES).counts for split in ("val", "test"))
    assert (val["n"], val["copies_of_train"]) == (3589, 280)
    assert (test["n"], test["copies_of_train"], test["ferplus"]) == (3589, 288, 2729)
