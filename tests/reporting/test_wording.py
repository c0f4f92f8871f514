"""Questions in words, against sentences written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from fervis.reporting.wording import describe_run, flatten_config, format_setting, join_names

BASE: dict[str, Any] = {
    "dataset.name": "faces",
    "model.name": "resnet18",
    "trainer.epochs": 8,
    "explainer.name": "saliency",
    "seed": 0,
}
START, END = "What saliency says about resnet18 trained for 8 epochs, ", " the test split of faces; seed 0."


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, START + "for the label of each face, on one face of each class of" + END),
        ({"faces": "per_class:3"}, START + "for the label of each face, on 3 faces of each class of" + END),
        ({"faces.per_class": 1}, START + "for the label of each face, on one face of each class of" + END),
        ({"faces": [0, 299, 5]}, START + "for the label of each face, on the faces 0, 299 and 5 of" + END),
        ({"faces": 7}, START + "for the label of each face, on face 7 of" + END),
        ({"faces": "all", "target": "all"}, START + "for every class, on all faces of" + END),
        ({"target": "fear"}, START + "for the class fear, on one face of each class of" + END),
        ({"target": "conv7/4"}, START + "for filter 4 of conv7, on one face of each class of" + END),
        (
            {"target": ("predicted", "fear")},
            START + "for the class predicted for each face or the class fear, on one face of each class of" + END,
        ),
    ],
)
def test_faces_and_targets(settings: dict[str, Any], sentence: str) -> None:
    assert describe_run(BASE | settings) == sentence


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"layer": "input"}, "at the pixels says about resnet18 trained for 8 epochs,"),
        ({"layer": ["conv1", "conv7"]}, "at conv1 and conv7 says about resnet18 trained for 8 epochs,"),
        ({"layer": ("conv1", "conv7")}, "at conv1 or conv7 says about resnet18 trained for 8 epochs,"),
        ({"trainer.epochs": 1}, "says about resnet18 trained for 1 epoch,"),
        ({"model.weights": "fer2013"}, "says about resnet18 with the weights that fervis ships for fer2013,"),
        ({"model.checkpoint": "/home/me/net.safetensors"}, "says about resnet18 with the weights of net.safetensors,"),
        ({"checkpoint": [1, "best"]}, "says about resnet18 trained for 8 epochs (checkpoints 1 and best),"),
        ({"checkpoint": 3}, "says about resnet18 trained for 8 epochs (checkpoint 3),"),
        ({"model.name": ("resnet18", "vgg8")}, "says about resnet18 or vgg8 trained for 8 epochs,"),
    ],
)
def test_networks_and_layers(settings: dict[str, Any], words: str) -> None:
    assert describe_run(BASE | settings).startswith(f"What saliency {words} for the label")


def test_results_without_faces_and_studies() -> None:
    sentence = "What confusion says about resnet18 trained for 8 epochs, on all splits of faces; seed 0 or 1."
    settings = BASE | {"explainer.name": "confusion", "split": "all", "seed": ("0", "1")}
    assert describe_run(settings, of_faces=False) == sentence
    contrast = settings | {
        "explainer.name": "confused",
        "explainer.against": "surprise",
        "target": "fear",
        "split": "val",
    }
    sentence = (
        "What confused says about resnet18 trained for 8 epochs, for the class fear against surprise, on the val split"
    )
    assert describe_run(contrast, of_faces=False) == f"{sentence} of faces; seed 0 or 1."
    assert " for the class fear, on" in describe_run(contrast | {"explainer.against": "auto"}, of_faces=False)
    assert describe_run(BASE | {"parts": [1, 2]}) == "2 questions about resnet18 trained for 8 epochs on faces."


@pytest.mark.parametrize("missing", ["explainer.name", "model.name", "dataset.name"])
def test_half_a_config_is_not_described(missing: str) -> None:
    assert describe_run({key: value for key, value in BASE.items() if key != missing}) == ""


def test_words_of_values() -> None:
    assert flatten_config({"a": {"b": {"c": 1}, "d": {}}, "e": [{"f": 1}]}) == {"a.b.c": 1, "a.d": {}, "e": [{"f": 1}]}
    assert [format_setting(value) for value in (None, {}, True, [1, None], 0.001)] == [
        "none",
        "none",
        "true",
        "1, none",
        "0.001",
    ]
    assert [join_names(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert join_names(["a", "b", "c", "d"], word="or", most=3) == "a, b, … or d (4 in all)"


def test_faces_found_in_photos_have_neither_labels_nor_splits() -> None:
    settings = {
        "explainer.name": "gradcam",
        "model.name": "vgg8",
        "dataset.name": "photos",
        "dataset.path": "holiday/me.png",
        "layer": "conv7",
        "model.checkpoint": "net.safetensors",
    }
    expected = "for the class predicted for each face, on the faces found in me.png; seed 0."
    assert describe_run(settings, of_faces=True).endswith(expected)
