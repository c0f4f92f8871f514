import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency

from fervis.core.faces import FER2013_CLASSES, SPLITS
from fervis.core.registry import build_plugin
from fervis.datasets import synthetic
from fervis.datasets.portraits import render
from fervis.datasets.portraits.identity import draw_identity
from fervis.datasets.portraits.shortcut import draw_mark, mark_box
from fervis.datasets.synthetic import SyntheticFaces
from fervis.errors import ConfigError

SMALL = {"per_class_train": 8, "per_class_val": 3, "per_class_test": 20}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def drawn(cache):
    return SyntheticFaces(**SMALL).load(cache)


def same(one, other):
    tensors = ("images", "labels", "rows", "splits")
    truths = ("evidence", "regions", "action_units")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors) and all(
        torch.equal(getattr(one.truth, name), getattr(other.truth, name)) for name in truths
    )


def test_the_faces_are_what_they_say(drawn):
    count = 7 * 31
    assert drawn.images.shape == (count, 1, 48, 48)
    assert (drawn.images.dtype, drawn.labels.dtype) == (torch.uint8, torch.int64)
    assert drawn.classes == FER2013_CLASSES
    assert torch.equal(drawn.rows, torch.arange(count))
    assert drawn.splits.bincount().tolist() == [56, 21, 140]
    assert drawn.splits.tolist() == sorted(drawn.splits.tolist())
    assert drawn.truth.region_names[0] == "background"
    assert drawn.truth.evidence.dtype == torch.bool
    assert drawn.truth.action_units.dtype == torch.float32
    assert SyntheticFaces().files() == []


@pytest.mark.parametrize("split", SPLITS)
def test_every_seven_faces_show_the_seven_classes_in_no_fixed_order(drawn, split):
    blocks = drawn.split(split).labels.reshape(-1, 7)
    assert torch.equal(blocks.sort(1).values, torch.arange(7).expand_as(blocks))
    assert len({tuple(block.tolist()) for block in blocks}) > 1


def test_the_same_question_gives_the_same_bytes_and_another_seed_others(drawn, tmp_path):
    assert same(SyntheticFaces(**SMALL).load(tmp_path), drawn)
    other = SyntheticFaces(**SMALL, seed=1).load(tmp_path)
    assert other.fingerprint() != drawn.fingerprint()
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_fewer_faces_are_the_first_of_more(drawn, tmp_path):
    fewer = SyntheticFaces(per_class_train=5, per_class_val=0, per_class_test=7).load(tmp_path)
    for split in SPLITS:
        few, many = fewer.split(split), drawn.split(split)
        first = many.take(torch.arange(len(few)))
        assert torch.equal(few.images, first.images)
        assert torch.equal(few.labels, first.labels)
        assert torch.equal(few.truth.evidence, first.truth.evidence)


def test_a_second_load_reads_what_the_first_drew(drawn, cache, monkeypatch):
    def refuse(*_):
        raise AssertionError("drawn again")

    monkeypatch.setattr(synthetic, "draw_split", refuse)
    assert same(SyntheticFaces(**SMALL).load(cache), drawn)
    with pytest.raises(AssertionError, match="drawn again"):
        SyntheticFaces(**SMALL, size=24).load(cache)


def test_outside_the_evidence_a_face_is_what_it_would_be_without_a_label(drawn):
    # who is drawn, the light, what is worn, the hand and the watermark come from here: no label goes in
    parts = [draw_identity(0, split, range(7 * n)) for split, n in enumerate(SMALL.values())]
    blank = torch.from_numpy(np.concatenate([render.render(part, render.units()) for part in parts]))
    assert torch.equal(drawn.images[:, 0] != blank, drawn.truth.evidence)


def test_neutral_has_no_units_and_no_evidence_and_every_other_face_has_both(drawn):
    neutral = drawn.labels == FER2013_CLASSES.index("neutral")
    assert torch.equal(drawn.truth.evidence.flatten(1).any(1), ~neutral)
    assert torch.equal(drawn.truth.action_units.any(1), ~neutral)


@pytest.mark.parametrize(
    ("expression", "names"),
    [("happy", ("AU6", "AU12")), ("sad", ("AU1", "AU4", "AU15")), ("surprise", ("AU1", "AU2", "AU5", "AU26"))],
)
def test_the_units_of_a_face_are_those_of_its_class(drawn, expression, names):
    of_class = drawn.truth.action_units[drawn.labels == FER2013_CLASSES.index(expression)]
    for name in names:
        assert (of_class[:, drawn.truth.action_unit_names.index(name)] > 0).all()


def decoded(image):
    rows, columns = mark_box(image.shape[-1])
    cells = image[rows, columns].reshape(3, -1).float().mean(1)
    assert set(cells.tolist()) <= {0.0, 255.0}
    return sum(int(cell > 0) << bit for bit, cell in enumerate(cells)) - 1


def test_the_shortcut_tells_the_label_in_training_and_nothing_in_test(drawn, cache):
    kept = sorted(cache.iterdir())
    marked = SyntheticFaces(**SMALL, shortcut=True).load(cache)
    assert sorted(cache.iterdir()) == kept
    codes = torch.tensor([decoded(image) for image in marked.images[:, 0]])
    known = marked.splits != SPLITS.index("test")
    assert torch.equal(codes[known], marked.labels[known])
    table = np.ones((7, 7))  # one face a cell, so that no cell is empty
    np.add.at(table, (marked.labels[~known].numpy(), codes[~known].numpy()), 1)
    assert chi2_contingency(table).pvalue > 0.05
    assert set(codes[~known].tolist()) == set(range(7))


def test_the_shortcut_changes_nothing_but_its_box(drawn, cache):
    marked = SyntheticFaces(**SMALL, shortcut=True).load(cache)
    outside = torch.ones(48, 48, dtype=torch.bool)
    outside[mark_box(48)] = False
    assert torch.equal(marked.images[:, 0, outside], drawn.images[:, 0, outside])
    assert torch.equal(marked.truth.evidence, drawn.truth.evidence)
    assert torch.equal(SyntheticFaces(**SMALL).load(cache).images, drawn.images)


@pytest.mark.parametrize("size", [24, 48, 64])
def test_seven_marks_are_seven_pictures_within_the_box(size):
    marks = []
    for code in range(7):
        image = torch.full((size, size), 100, dtype=torch.uint8)
        draw_mark(image, code)
        assert decoded(image) == code
        inside = torch.zeros(size, size, dtype=torch.bool)
        inside[mark_box(size)] = True
        assert torch.equal(image != 100, inside)
        marks.append(image)
    assert len({tuple(mark.flatten().tolist()) for mark in marks}) == 7


@pytest.mark.parametrize("knobs", [{"size": 50}, {"size": 16}, {"size": 200}, {"per_class_val": -1}, {"seed": -2}])
def test_wrong_knobs_are_refused_by_name_and_value(knobs):
    (name, value), *_ = knobs.items()
    with pytest.raises(ConfigError, match=f"^dataset.{name}={value}: expected"):
        build_plugin("dataset", "synthetic", **knobs)


def test_the_mark_can_be_the_truth(drawn, cache):
    marked = SyntheticFaces(**SMALL, shortcut=True, truth="mark").load(cache)
    expected = torch.zeros(48, 48, dtype=torch.bool)
    expected[mark_box(48)] = True
    assert torch.equal(marked.truth.evidence, expected.expand(len(marked), -1, -1))
    assert torch.equal(marked.images, SyntheticFaces(**SMALL, shortcut=True).load(cache).images)
    with pytest.raises(ConfigError, match=r"^dataset.truth=mark: there is no mark; expected dataset.shortcut=true"):
        SyntheticFaces(truth="mark")
