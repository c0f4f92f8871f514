import pytest
import torch
from support.miniatures import load_audited, paint, write

from fervis.errors import ConfigError

LINES = "0001.jpg 1+2+25\n0002.jpg null\n0003.jpg L12+R12+25 \n0004.jpg 4+R2\n"


def load(path, cache, **knobs):
    return load_audited("raf_au", path, cache, **knobs)


@pytest.mark.parametrize("folder", ["aligned", "original"])
def test_action_units_are_truth_in_the_order_of_their_numbers(folder, tmp_path):
    root = tmp_path / "set"
    write(root / "RAFAU_label.txt", LINES)
    for n in range(1, 5):
        paint(root / folder / (f"{n:04}_aligned.jpg" if folder == "aligned" else f"{n:04}.jpg"), n)
    faces = load(root, tmp_path / "cache")
    assert faces.images[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    assert faces.labels.tolist() == [-1] * 4
    truth = faces.truth
    assert truth is not None
    assert (truth.evidence, truth.regions, truth.region_names) == (None, None, ())
    assert truth.action_unit_names == ("AU1", "AU2", "AU4", "AU12", "AU25")
    expected = [[1, 1, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 1, 1, 0, 0]]
    assert truth.action_units.tolist() == expected
    third = faces.take(torch.tensor([2])).truth
    assert third is not None
    assert third.action_units.tolist() == [expected[2]]
    both = faces.take(torch.tensor([0])).joined([faces.take(torch.tensor([3]))]).truth
    assert both is not None
    assert both.action_units.tolist() == [expected[0], expected[3]]


def test_a_broken_picture_takes_its_units_with_it(tmp_path):
    write(tmp_path / "RAFAU_label.txt", LINES)
    for n in (1, 3, 4):
        paint(tmp_path / "aligned" / f"{n:04}_aligned.jpg", n)
    faces = load(tmp_path, tmp_path.parent / "cache")
    assert faces.skipped == 1
    assert faces.truth is not None
    assert faces.truth.action_units[1].tolist() == [0, 0, 0, 1, 1]


def test_what_is_no_unit_is_refused(tmp_path):
    write(tmp_path / "RAFAU_label.txt", "0001.jpg 1+smile\n")
    with pytest.raises(ConfigError, match=r"no layout of RAF-AU is here"):
        load(tmp_path, tmp_path / "cache")
    (tmp_path / "aligned").mkdir()
    with pytest.raises(ConfigError, match=r'label\.txt, line 1: expected action units .* not "1\+smile"'):
        load(tmp_path, tmp_path / "cache")
