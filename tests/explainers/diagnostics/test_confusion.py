from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import fervis
from fervis.core.faces import Faces
from fervis.core.network import Network
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError
from fervis.metrics.classifier.evaluation import evaluate
from fervis.models.batch import Batch
from fervis.models.predict import predict_views

CLASSES = ("a", "b", "c")
FER2013 = os.environ.get("FERVIS_FER2013")


class Told(nn.Module):
    """Says what is written in the first pixels: one logit a class."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :3] * 5


class Wrong(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images


def batch_of(labels: list[int], answers: list[int], model: nn.Module | None = None) -> Batch:
    pool = torch.zeros(len(labels), 1, 4, 4)
    pool[torch.arange(len(labels)), 0, 0, torch.tensor(answers)] = 1
    pool[:, 0, 3, 3] = torch.arange(len(labels)) / len(labels)  # no two faces are the same
    rows = torch.arange(len(labels)) + 100
    return Batch(model or Told(), pool[:1], (), classes=CLASSES, pool=pool, rows=rows, labels=torch.tensor(labels))


def drawn_faces(count: int = 60) -> tuple[Network, Faces]:
    """A small untrained network and random faces, some of them copies of others."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_plugin("model", "vgg8", width=4).build(channels=1, size=16, classes=CLASSES)
    images = torch.randint(0, 256, (count, 1, 16, 16), generator=generator, dtype=torch.uint8)
    images[40:50] = images[:10]
    labels = torch.randint(0, 3, (count,), generator=generator)
    return network, Faces(images, labels, torch.arange(count), torch.full((count,), 2, dtype=torch.uint8), CLASSES)


def batch_of_faces(network: nn.Module, faces: Faces, seed: int) -> Batch:
    return Batch(
        network,
        faces.images[:1].float() / 255,
        (),
        classes=CLASSES,
        seed=seed,
        pool=faces.images,
        rows=faces.rows,
        labels=faces.labels,
    )


def test_faces_are_counted_by_label_and_answer() -> None:
    found = build_plugin("explainer", "confusion").explain(batch_of([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]))
    result = found.result
    assert result.counts.tolist() == [[[2, 1, 0], [0, 1, 1], [0, 0, 1]]]
    assert (result.split, found.layers, found.targets, found.images) == ("test", ("network",), ("3 classes",), None)
    numbers = found.numbers
    assert numbers["accuracy"] == pytest.approx(4 / 6)
    assert numbers["recall/a"] == pytest.approx(2 / 3)
    assert numbers["precision/c"] == pytest.approx(1 / 2)
    assert numbers["f1/b"] == pytest.approx(2 * 1 / (2 + 2))
    assert numbers["macro_f1"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    assert numbers["accuracy/low"] < numbers["accuracy"] < numbers["accuracy/high"]
    assert result.summary_row(0)["per_class"]["b"]["recall"]["value"] == pytest.approx(1 / 2)
    assert result.low.shape == result.high.shape == (1, 3, 3)
    assert (result.low <= result.high).all()
    json.dumps(result.summary_row(0), allow_nan=False)


def test_the_best_and_worst_cells_are_named() -> None:
    batch = batch_of([0] * 10 + [1] * 10 + [2] * 10, [0] * 9 + [1] + [1] * 5 + [2] * 3 + [0] * 2 + [2] * 8 + [0, 0])
    words = build_plugin("explainer", "confusion").explain(batch).result.metrics[0]["words"]
    assert [word.partition(" [")[0] for word in words] == [
        "a is recalled best: 90.0 %",
        "b is recalled worst: 50.0 %",
        "b is called c in 30 %",
        "b is called a in 20 %",
        "c is called a in 20 %",
    ]
    assert all(word.count("[") == 1 for word in words)


@pytest.mark.parametrize("views", ["none", "flip", "tencrop"])
def test_every_number_is_that_of_the_networks_evaluation(views: str) -> None:
    """The same seed gives the same intervals, so a figure and the network's card cannot differ."""
    network, faces = drawn_faces()
    found = build_plugin("explainer", "confusion", views=views, resamples=50).explain(batch_of_faces(network, faces, 3))
    report = evaluate(network, faces, views=views, seed=3, splits=("test",), resamples=50).report
    scored = report["results"]["test"][views]["full"]
    told = found.result.summary_row(0)
    assert {name: told[name] for name in ("n", "accuracy", "macro_f1", "ece", "per_class")} == {
        name: scored[name] for name in ("n", "accuracy", "macro_f1", "ece", "per_class")
    }
    assert found.result.counts[0].tolist() == scored["confusion"]["counts"]
    ends = [[(cell["low"], cell["high"]) for cell in row] for row in scored["confusion"]["shares"]]
    torch.testing.assert_close(torch.stack([found.result.low[0], found.result.high[0]], -1), torch.tensor(ends))
    answers = predict_views(network, faces.images, views).argmax(1)
    assert int(found.result.counts.diagonal(dim1=1, dim2=2).sum()) == int((answers == faces.labels).sum())


def test_copies_are_drawn_together() -> None:
    """Ten copies of one face tell no more than the face: the interval of its class has two ends only, 0 and 1."""
    batch = batch_of([0] * 8 + [1] * 8, [0] * 4 + [1] * 4 + [1] * 4 + [2] * 4)
    batch.pool[:, 0, 3, 3] = 0
    result = build_plugin("explainer", "confusion").explain(batch).result
    assert (result.low[0, 0, 0], result.high[0, 0, 0]) == (0, 1)
    apart = build_plugin("explainer", "confusion").explain(batch_of(*labels_and_answers(batch))).result
    assert result.counts.equal(apart.counts)
    assert apart.low[0, 0, 0] > 0.1


def labels_and_answers(batch: Batch) -> tuple[list[int], list[int]]:
    return batch.labels.tolist(), batch.pool[:, 0, 0, :3].argmax(1).tolist()


def test_faces_without_a_label_are_left_out() -> None:
    whole = build_plugin("explainer", "confusion").explain(batch_of([0, 1, 2, 2], [0, 1, 1, 2]))
    some = build_plugin("explainer", "confusion").explain(batch_of([0, -1, 1, 2, -1, 2], [0, 2, 1, 1, 0, 2]))
    assert whole.numbers is not None
    assert some.result.counts.equal(whole.result.counts)
    assert some.result.metrics[0]["left_out"] == 2
    assert some.numbers == {**whole.numbers, "faces": 4}


@pytest.mark.parametrize(
    ("batch", "knobs", "message"),
    [
        (batch_of([-1, -1], [0, 1]), {}, "split=test: no face there has a label"),
        (batch_of([0, 3], [0, 1]), {}, "its classes are a, b, c, and a face has the label 3"),
        (batch_of([0, 1], [0, 1], Wrong()), {}, r"its output is \[2, 1, 4, 4\], expected \[N,3\] logits"),
        (batch_of([0, 1], [0, 1]), {"views": "tencrop"}, "views=tencrop: the network takes no crops"),
    ],
)
def test_what_cannot_be_counted_is_refused(batch: Batch, knobs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_plugin("explainer", "confusion", **knobs).explain(batch)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"views": "flipp"}, "explainer.views=flipp.*Did you mean flip?"),
        ({"resamples": 5}, "resamples=5: expected a whole number from 20"),
    ],
)
def test_wrong_knobs_are_refused(knobs: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_plugin("explainer", "confusion", **knobs)


@pytest.mark.skipif(FER2013 is None, reason="needs FER2013: FERVIS_FER2013")
def test_the_shipped_network_on_fer2013_is_as_good_as_its_card_says() -> None:
    """The faces come from the sheet of pictures itself, whose rows are those of fer2013.csv."""
    folder = Path(str(FER2013))
    table = np.genfromtxt(folder / "fer2013_rows.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    test = np.flatnonzero(table["usage"] == "PrivateTest")
    with Image.open(folder / "fer2013.png") as sheet:
        tiles = np.asarray(sheet).reshape(-1, 48, 190, 48).swapaxes(1, 2).reshape(-1, 48, 48)[test]
    network = fervis.load_model("vgg8", weights="fer2013")
    pool, labels = torch.from_numpy(tiles.copy())[:, None], torch.from_numpy(table["emotion"][test].astype(np.int64))
    batch = Batch(
        network,
        pool[:1].float() / 255,
        (),
        classes=network.classes,
        pool=pool,
        rows=torch.from_numpy(test),
        labels=labels,
    )
    found = build_plugin("explainer", "confusion", resamples=20).explain(batch)
    assert found.numbers is not None
    card = (Path(fervis.__file__).parent / "models" / "weights" / "vgg8-fer2013.md").read_text(encoding="utf-8")
    told = re.search(r"\| PrivateTest \| none \| full \| 3,589 \| ([0-9.]+) \[", card)
    assert told
    assert round(100 * found.numbers["accuracy"], 1) == float(told[1])
    assert found.result.counts.sum((0, 2)).tolist() == [491, 55, 528, 879, 594, 416, 626]
