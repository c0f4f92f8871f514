"""Confused faces of a network whose margins, region effects and flips are known in closed form, and a literal loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.convolutions import SmallNet, noise, seeded
from torch import Tensor, nn

import fervis
from fervis.core.faces import Faces, Truth
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.results import RegionContrasts
from fervis.errors import ConfigError
from fervis.metrics.bootstrap import interval_ends, resampled_counts
from fervis.models.batch import Batch
from fervis.models.hiding import patch_order

CLASSES = ("fear", "sad", "surprise")
REGIONS = ("background", "mouth", "eyes", "cheeks")


class RegionSums(nn.Module):
    """Logits are weighted sums over regions: surprise by the mouth, fear by the eyes, sad by a pixel of the cheeks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)  # the layer at which contrast maps are taken
        self.weights = nn.Parameter(torch.zeros(3, 8, 8))
        with torch.no_grad():
            self.conv.weight.fill_(1.0)
            self.weights[0, 2, 2:6] = 1.0  # fear: the eyes
            self.weights[2, 5, 2:6] = 1.0  # surprise: the mouth
            self.weights[1, 3, 3] = 1.0  # sad

    def forward(self, images: Tensor) -> Tensor:
        return (self.conv(images) * self.weights).sum((2, 3))


def regions_of(count: int) -> Truth:
    labels = torch.zeros(count, 8, 8, dtype=torch.uint8)
    labels[:, 1:7, 1:7] = 3
    labels[:, 2, 2:6] = 2
    labels[:, 5, 2:6] = 1
    return Truth(labels > 0, labels, REGIONS, torch.zeros(count, 1), ("AU1",))


def faces_of(eyes: list[float], mouth: list[float], labels: list[int]) -> Faces:
    """Faces with these bytes in the eyes and the mouth and 51 elsewhere; the corner tells them apart."""
    images = torch.full((len(eyes), 1, 8, 8), 51, dtype=torch.uint8)
    images[:, 0, 2, 2:6] = torch.tensor(eyes).to(torch.uint8)[:, None]
    images[:, 0, 5, 2:6] = torch.tensor(mouth).to(torch.uint8)[:, None]
    images[:, 0, 0, 0] = torch.arange(len(eyes)).to(torch.uint8)
    rows = torch.arange(len(eyes)) + 100
    splits = torch.full((len(eyes),), 2, dtype=torch.uint8)
    return Faces(images, torch.tensor(labels), rows, splits, CLASSES, truth=regions_of(len(eyes)))


def batch_of(faces: Faces, model: nn.Module | None = None, target: Any = "fear", seed: int = 3) -> Batch:
    network = model or RegionSums()
    first = faces.images[:1].float() / 255
    layers = resolve_layers(network, "last_conv", first)
    known = {"pool": faces.images, "rows": faces.rows, "labels": faces.labels, "data": faces}
    return Batch(network, first, layers, classes=CLASSES, seed=seed, target=target, **known)


def confused(batch: Batch, **knobs: Any) -> Any:
    return build_plugin("explainer", "confused", **{"resamples": 200, "patches": 3, **knobs}).explain(batch)


@pytest.fixture
def faces() -> Faces:
    """Three fear faces with a brighter mouth, two right fear faces, two right surprise faces."""
    return faces_of([100, 120, 140, 200, 220, 60, 80], [110, 200, 160, 90, 100, 180, 190], [0, 0, 0, 0, 0, 2, 2])


def entry_of(result: RegionContrasts, group: str, region: str) -> int:
    pairs = list(zip(result.groups, result.regions, strict=True))
    return pairs.index((group, region))


def test_margins_effects_and_flips_in_closed_form(faces: Faces):
    output = confused(batch_of(faces, target="fear"), against="surprise")
    result = output.result
    assert output.targets == ("fear against surprise",) * 12
    assert list(dict.fromkeys(result.groups)) == [
        *("fear taken for surprise", "fear taken for fear", "surprise taken for surprise")
    ]
    pixels = faces.images[:3, 0].double() / 255
    means, eyes, mouth = pixels.mean((1, 2)), pixels[:, 2, 2], pixels[:, 5, 2]
    margins = 4 * (eyes - mouth)
    for region, effects in {
        "eyes": 4 * (eyes - means),  # hidden, they add four times the mean
        "mouth": -4 * (mouth - means),
        "cheeks": torch.zeros(3).double(),
        "background": torch.zeros(3).double(),
    }.items():
        entry = entry_of(result, "fear taken for surprise", region)
        assert result.rows[entry].tolist() == [100, 101, 102]
        torch.testing.assert_close(result.margins[entry].double(), margins, atol=1e-5, rtol=0)
        torch.testing.assert_close(result.effects[entry].double(), effects, atol=1e-5, rtol=0)
        assert float(result.values["effect"][entry]) == pytest.approx(float(effects.mean()), abs=1e-5)
        turned = (margins - effects) > 0  # the margin without the region is for fear
        assert result.flipped[entry].tolist() == (torch.arange(3)[turned] + 100).tolist()
        assert float(result.values["flips"][entry]) == pytest.approx(float(turned.double().mean()))
    assert float(result.values["area"][entry_of(result, "fear taken for surprise", "mouth")]) == pytest.approx(4 / 64)
    # Faces predicted right flip to the other class of the pair when the region that speaks for theirs is hidden.
    right = entry_of(result, "fear taken for fear", "eyes")
    means = faces.images[3:5, 0].double().mean((1, 2))
    assert result.flipped[right].tolist() == [103 + n for n in range(2) if means[n] < [90, 100][n]]
    assert result.flipped[entry_of(result, "surprise taken for surprise", "eyes")].tolist() == []


def test_a_third_class_is_no_flip(faces: Faces):
    model = RegionSums()
    with torch.no_grad():
        model.weights[1, 3, 3] = 2.5  # sad wins where both eyes and mouth are weak
    result = confused(batch_of(faces, model), against="surprise").result
    pixels = faces.images[:, 0].double() / 255
    third = flips = 0
    rows = result.rows[0] - 100
    for number in rows.tolist():
        mean = pixels[number].mean()
        logits = {"fear": 4 * pixels[number, 2, 2], "sad": 2.5 * pixels[number, 3, 3], "surprise": 4 * mean}
        first = max(logits, key=lambda name: float(logits[name]))
        third, flips = third + (first == "sad"), flips + (first == "fear")
    entry = entry_of(result, "fear taken for surprise", "mouth")
    assert float(result.values["elsewhere"][entry]) == pytest.approx(third / len(rows))
    assert float(result.values["flips"][entry]) == pytest.approx(flips / len(rows))


def test_patches_flips_and_intervals_against_a_literal_loop():
    torch.manual_seed(0)
    model, count = seeded(SmallNet).eval(), 24
    images = (noise(count, 1, 10, 10).clamp(0, 1) * 255).round().to(torch.uint8)
    labels = torch.zeros(count, 10, 10, dtype=torch.uint8)
    labels[:, 2:8, 2:8] = 3
    labels[:, 3, 3:6] = 2
    labels[:12, 6, 3:7] = 1  # the others have no mouth
    truth = Truth(labels > 0, labels, REGIONS, torch.zeros(count, 1), ("AU1",))
    splits, rows = torch.full((count,), 2, dtype=torch.uint8), torch.arange(count)
    with torch.no_grad():
        guesses = model(images.float() / 255).argmax(1)
    other = int(guesses.mode().values)
    target = (other + 1) % 4
    names = ("a", "b", "c", "d")
    faces = Faces(images, torch.full((count,), target), rows, splits, names, truth=truth)
    known = {"pool": images, "rows": rows, "labels": faces.labels, "data": faces}
    pixels = images.float() / 255
    layers = resolve_layers(model, "relu2", pixels[:1])
    batch = Batch(model, pixels[:1], layers, classes=names, seed=8, target=names[target], **known)
    method = build_plugin("explainer", "confused", against=names[other], patches=3, resamples=100, fill="blur", blur=3)
    result = method.explain(batch).result
    chosen = (guesses == other).nonzero().flatten().tolist()
    draws = torch.rand(3, generator=batch.generator("explainer/confused/patches"))
    order = patch_order(truth.regions > 0, draws)
    blur = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    weights = torch.cat(list(resampled_counts(len(chosen), 100, batch.generator("explainer/confused/bootstrap"))))

    def scored(number: int, hidden: Tensor) -> Tensor:
        image = pixels[number]
        with torch.no_grad():
            return model(torch.where(hidden, blur(blur(image)), image)[None])[0].double()

    for region in (1, 2, 3):
        entry = entry_of(result, f"{names[target]} taken for {names[other]}", REGIONS[region])
        beyond, flips, random_shares = [], [], []
        for number in chosen:
            mask = truth.regions[number] == region
            if not mask.any():
                beyond.append(np.nan)
                flips.append(np.nan)
                random_shares.append(np.nan)
                continue
            whole, without = scored(number, torch.zeros_like(mask)), scored(number, mask)
            patched = [scored(number, order[number, draw] < int(mask.sum())) for draw in range(3)]
            effect, *of_patches = (float((whole - one)[target] - (whole - one)[other]) for one in (without, *patched))
            beyond.append(effect - float(np.mean(of_patches)))
            flips.append(float(without.argmax() == target))
            random_shares.append(float(np.mean([float(one.argmax() == target) for one in patched])))
        assert float(result.values["beyond"][entry]) == pytest.approx(float(np.nanmean(beyond)), abs=2e-5)
        assert float(result.values["flips"][entry]) == pytest.approx(float(np.nanmean(flips)))
        assert float(result.values["flips/random"][entry]) == pytest.approx(float(np.nanmean(random_shares)))
        values = torch.tensor(beyond).double()
        present = values.isfinite()
        means = (weights[:, present] @ values[present]) / weights[:, present].sum(1)
        ends = interval_ends(means)
        found = [float(result.values[f"beyond/{end}"][entry]) for end in ("low", "high")]
        assert found == pytest.approx(list(ends), abs=2e-5)
        excess = torch.tensor(np.array(flips) - np.array(random_shares)).double()
        assert float(result.values["flips/beyond"][entry]) == pytest.approx(float(excess.nanmean()), abs=1e-6)
        low, high = interval_ends(means, 1 - 0.05 / 3)  # three regions of these faces are on the face
        assert bool(result.clear[entry]) == (low > 2e-5 or high < -2e-5)
    background = entry_of(result, f"{names[target]} taken for {names[other]}", "background")
    assert result.values["beyond"][background].isnan()
    assert not result.clear[background]


def test_contrast_maps_are_gradient_times_activation_of_the_margin(faces: Faces):
    result = confused(batch_of(faces), against="surprise", examples=2).result
    entry = entry_of(result, "fear taken for surprise", "mouth")
    assert result.example_rows[entry].tolist() == [101, 102]  # the brightest mouths
    model, image = RegionSums(), faces.images[1].float() / 255
    assert torch.equal(result.images[entry, 0], faces.images[1])
    assert torch.equal(result.masks[entry, 0], regions_of(1).regions[0] == 1)
    mean_gradient = (model.weights[0] - model.weights[2]).mean().detach()
    torch.testing.assert_close(result.maps[entry, 0], mean_gradient * image[0], atol=1e-6, rtol=0)


def test_auto_is_the_largest_cell_and_copies_count_once(faces: Faces):
    copied = faces.joined([faces.take(torch.tensor([5, 5, 5, 5]))])
    wrong = copied.labels.clone()
    wrong[5:] = 1  # sad faces taken for surprise: copies of one another but for one
    batch = batch_of(
        Faces(copied.images, wrong, copied.rows, copied.splits, CLASSES, truth=copied.truth), target="auto"
    )
    output = confused(batch)
    assert output.result.groups[0] == "fear taken for surprise"  # three, the sad ones are two
    assert output.numbers["confused"] == 3
    assert output.numbers["labelled"] == 5
    assert output.numbers["share"] == pytest.approx(3 / 5)
    sad = confused(batch_of(Faces(copied.images, wrong, copied.rows, copied.splits, CLASSES), target="sad"))
    assert sad.result.groups[0] == "sad taken for surprise"
    assert sad.result.rows[0].tolist() == [105, 106]


def test_more_faces_than_asked_for_are_drawn(faces: Faces):
    output = confused(batch_of(faces), against="surprise", faces=2)
    assert len(output.result.rows[0]) == 2
    assert output.numbers["confused"] == 3
    assert "3 of the 5 fear faces of split=test" in output.result.sentences[0]
    assert "2 of them, drawn at random, are measured" in output.result.sentences[0]


def test_labels_of_data_with_another_order_of_classes(faces: Faces):
    order = ("surprise", "fear", "sad")
    numbers = torch.tensor([order.index(CLASSES[label]) for label in faces.labels.tolist()])
    other = Faces(faces.images, numbers, faces.rows, faces.splits, order, truth=faces.truth)
    result = confused(batch_of(other), against="surprise").result
    assert result.rows[0].tolist() == [100, 101, 102]


@pytest.mark.parametrize(
    ("target", "against", "message"),
    [
        (
            "fera",
            "surprise",
            r"target=fera: there is no such target\. Did you mean fear\? Known: fear, sad, surprise, auto",
        ),
        ("fear", "surprize", r"against=surprize: the network has no such class\. Did you mean surprise\?"),
        ("fear", "fear", r"against=fear: it is the target itself; expected another class\."),
        ("label", "auto", r"target=label: there is no such target\."),
        (
            *("surprise", "fear"),
            r"target=surprise against=fear: the network takes none of the 2 surprise faces of split=test for fear; it "
            r"takes them for: surprise 2\.",
        ),
        ("sad", "auto", r"target=sad: no face of split=test has this label\."),
        ("auto", "fear", r"split=test: the network does not take a face of another class for fear"),
        ("surprise", "auto", r"takes none of the 2 surprise faces of split=test for another class"),
    ],
)
def test_a_cell_that_is_not_there_is_refused(faces: Faces, target: str, against: str, message: str):
    with pytest.raises(ConfigError, match=message):
        confused(batch_of(faces, target=target), against=against)


def test_from_python_labels_are_the_target():
    torch.manual_seed(0)
    model, images = seeded(SmallNet), noise(12, 1, 10, 10)
    with torch.no_grad():
        guesses = model(images).argmax(1)
    result = fervis.explain(model, images, "confused", "relu2", (guesses + 1) % 4, resamples=20)
    largest = int(guesses.bincount().argmax())
    assert result.groups[0] == f"{(largest + 1) % 4} taken for {largest}"
    assert len(result.rows[0]) == int((guesses == largest).sum())
