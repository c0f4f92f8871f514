from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch

from fervis.core.faces import FER2013_CLASSES, SPLITS, Faces
from fervis.datasets.audit import audit_dataset
from fervis.datasets.fer2013_formats.ferplus import VOTE_NAMES
from fervis.metrics.classifier.evaluation import evaluate_predictions
from fervis.metrics.classifier.seeds import mean_of_runs
from fervis.metrics.classifier.subsets import SUBSETS
from fervis.reporting import rendering
from fervis.reporting.model_card.card import ModelCardInfo, model_card
from fervis.reporting.model_card.tables import DASH, interval_text, markdown_table

SECTIONS = [  # Mitchell et al. 2019, with the uses that are forbidden set apart and training data before the analyses
    "Model details",
    "Intended use",
    "Out-of-scope and forbidden use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]


def some_faces(votes=True):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (300, 1, 4, 4), generator=generator, dtype=torch.uint8)
    images[250:260] = images[:10]
    table = torch.zeros(300, 10, dtype=torch.uint8)
    table[torch.arange(300), torch.randint(10, (300,), generator=generator)] = 10
    return Faces(
        images=images,
        labels=torch.randint(7, (300,), generator=generator),
        rows=torch.arange(300),
        splits=(torch.arange(300) // 100).to(torch.uint8),
        classes=FER2013_CLASSES,
        votes=table if votes else None,
        vote_names=VOTE_NAMES if votes else (),
    )


def report_of(faces, seed=0):
    generator = torch.Generator().manual_seed(seed)
    answers = {
        split: {kind: torch.randn(100, 7, generator=generator).softmax(1) for kind in ("none", "flip")}
        for split in ("val", "test")
    }
    return evaluate_predictions(answers, faces, FER2013_CLASSES, seed=seed, resamples=50).report


FACES = some_faces()
REPORT = report_of(FACES)
FACTS = ModelCardInfo("vgg8", "fer2013", "python -m fervis train model=vgg8 -m seed=0,1", (0, 1))


def test_sections_are_those_of_model_cards():
    card = model_card(REPORT, FACTS)
    assert card.startswith("# Model card: vgg8\n")
    assert re.findall(r"^## (.*)$", card, re.M) == SECTIONS
    assert "    python -m fervis train model=vgg8 -m seed=0,1\n" in card
    assert "Art. 5(1)(f)" in card
    assert "not emotions felt" in card


def test_every_result_is_there_with_its_interval():
    card = model_card(REPORT, FACTS)
    for split, name in (("val", "PublicTest"), ("test", "PrivateTest")):
        for kind in ("none", "flip"):
            for subset in SUBSETS:
                score = REPORT["results"][split][kind][subset]
                accuracy, ece = (
                    interval_text(score["accuracy"], percent=True),
                    interval_text(score["ece"], percent=False),
                )
                row = f"| {name} | {kind} | {subset} | {score['n']} | {accuracy} | "
                (line,) = [line for line in card.splitlines() if line.startswith(row)]
                assert ece in line
    score = REPORT["results"]["test"]["none"]["full"]
    for split, name in (("val", "PublicTest"), ("test", "PrivateTest")):
        table_of_classes = card.split(f"### By class: {name}, views `none`, subset `full`\n")[1].split("###")[0]
        of_fear = REPORT["results"][split]["none"]["full"]["per_class"]["fear"]
        assert f"| fear | {of_fear['recall']['n']} | " in table_of_classes
        assert interval_text(of_fear["f1"], percent=True) in table_of_classes
    assert interval_text(score["confusion"]["shares"][1][4], percent=True) in card
    assert "10 of 100 images of PrivateTest (10.0 %) stand in train" in card


def test_no_number_comes_from_nowhere():
    """Every digit of a card vanishes with the standing sentences, the inputs' words and the formatted inputs."""
    report = copy.deepcopy(REPORT)
    replaced(report["results"])
    for counts in report["data"].values():
        counts.update(n=777, surplus_copies=777, copies_of_train=777, ferplus=777, ferplus_label_agreement=0.5)
    facts = ModelCardInfo("net", "fer2013", "train", (777,), parameters=777, trainer={"epochs": 777}, audit=None)
    report["interval"] = {"level": 0.5, "resamples": 777, "seed": 777, "units": "images"}
    card = model_card(report, facts)
    template = Path(rendering.__file__).with_name("templates") / "model_card.md.j2"
    standing = re.split(r"\n|\{\{.*?\}\}|\{%.*?%\}", template.read_text(encoding="utf-8"))
    texts = [text for text in standing if re.search(r"\d", text)]
    for text in [*texts, *SUBSETS.values(), *FER2013_CLASSES, "(100.0 %)", "macro-F1", "SHA-256", "F1", "50 %"]:
        card = card.replace(text, "")
    assert set(re.findall(r"\d+(?:[.,]\d+)*", card)) == {"777", "50.0", "0.500"}


def replaced(part):
    """Every number in a report by 0.5, every count by 777, in place."""
    for key in part if isinstance(part, dict) else range(len(part)):
        if isinstance(part[key], dict | list):
            replaced(part[key])
        else:
            part[key] = 777 if key == "n" else 0.5


def test_what_was_not_recorded_is_called_so():
    card = model_card(REPORT, FACTS)
    for line in (
        "Architecture",
        "Parameters",
        "Weights, SHA-256",
        "Data beside it",
        "Selection",
        "Licence of the weights",
    ):
        assert f"- {line}: not recorded\n" in card
    info = ModelCardInfo("v", "fer2013", "c", (0,), parameters=1234567, extra_data="none", selection="best of 9 on val")
    card = model_card(REPORT, info)
    for line in ("Parameters: 1,234,567", "Data beside it: none", "Selection: best of 9 on val"):
        assert f"- {line}\n" in card


def test_the_audit_is_stated():
    facts = ModelCardInfo("v", "fer2013", "c", (0,), audit=audit_dataset(FACES))
    card = model_card(REPORT, facts)
    assert "- Images: Training 100, PublicTest 100, PrivateTest 100\n" in card
    assert "- Surplus exact copies: 10\n" in card
    assert "- Class counts: not those of the original\n" in card


@pytest.mark.parametrize(
    ("dataset", "words"),
    [*((name, "\n\nFaces drawn by a program") for name in ("synthetic", "faces")), ("mine", "`mine` is not described")],
)
def test_other_data_sets_are_not_taken_for_fer2013(dataset, words):
    card = model_card(
        report_of(some_faces(votes=False)), ModelCardInfo("v", dataset, "c", (0,), audit=audit_dataset(FACES))
    )
    assert words in card
    assert "FER2013" not in card
    assert "PrivateTest" not in card
    assert "FER+" not in card.replace("Label noise was not measured", "")
    assert "Label noise was not measured" in card


def test_runs_and_ensemble_have_their_own_tables():
    reports = [report_of(FACES, seed) for seed in (0, 1)]
    card = model_card(reports[0], FACTS, runs=mean_of_runs(reports), ensemble=reports[1])
    runs = mean_of_runs(reports)["results"]["test"]["none"]["full"]["accuracy"]
    assert "### Mean ± standard deviation over 2 seeds\n" in card
    assert f"| {100 * runs['mean']:.1f} ± {100 * runs['sd']:.1f} |" in card
    ensemble = card.split("### Ensemble of the runs")[1]
    assert interval_text(reports[1]["results"]["test"]["none"]["full"]["accuracy"], percent=True) in ensemble


def test_tables_are_markdown():
    assert markdown_table(["a|b", "c"], [[1, "x"]]) == "| a\\|b | c |\n| --- | --- |\n| 1 | x |"
    assert interval_text({"value": None, "low": None, "high": None, "n": 0}, percent=True) == DASH
    assert interval_text({"value": 0.7312, "low": 0.7164, "high": 0.74511, "n": 9}, percent=True) == "73.1 [71.6, 74.5]"
    assert (
        interval_text({"value": 0.7312, "low": 0.7164, "high": 0.7451, "n": 9}, percent=False) == "0.731 [0.716, 0.745]"
    )
    card = model_card(REPORT, FACTS)
    for block in re.findall(r"(?:^\|.*\n)+", card, re.M):
        assert len({line.count("|") for line in block.splitlines()}) == 1
    assert SPLITS == ("train", "val", "test")
