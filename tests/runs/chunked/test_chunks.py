"""Questions of many faces: explained block by block, by whomever, they are answered as at once."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import fervis
from fervis.cli.main import main
from fervis.core.results import FeatureMaps, FilterImages, HeatMaps
from fervis.errors import ConfigError, RunError
from fervis.runs import inputs, run
from fervis.runs.chunked import chunks
from fervis.runs.chunked.chunks import combine_numbers
from fervis.runs.chunked.columns import Column
from fervis.runs.chunked.merge import merge_runs
from fervis.runs.chunked.serialization import pack_result, unpack_result
from fervis.runs.config import Shard, parse_shard

FACES = 14
SMALL = ["model.weights=fer2013", "dataset.per_class_train=1", "dataset.per_class_val=1", "dataset.per_class_test=2"]
SMALL += ["split=test", "faces=all", "quiet=true", "visualizer.dpi=40"]
QUESTIONS = {
    "one map a face": ["explainer=saliency", "layer=conv7"],
    "every class, two layers, two checkpoints": ["layer=[input,conv3]", "target=all", "checkpoint=[best,1]"],
    "entries of different sizes": ["explainer=feature_maps", "explainer.filters=3", "layer=[conv1,conv8]"],
    "numbers of each map": ["explainer=lime", "explainer.samples=20", "explainer.repeats=1"],
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


def ask(outputs: Path, *overrides: str) -> Path:
    return fervis.ask([f"outputs={outputs}", *SMALL, *overrides])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three faces a block, and more than ten are many."""
    monkeypatch.setattr(chunks, "CHUNK_SIZE", 3)
    for module in (chunks, run, inputs):
        monkeypatch.setattr(module, "UNCHUNKED_LIMIT", 10)
    monkeypatch.setattr(chunks, "DISPLAYED", 4)


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_by_blocks_and_at_once_say_the_same(
    outputs: Path, question: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    whole = ask(outputs, *question)
    one, told = arrays_of(whole), json.loads((whole / "summary.json").read_text())
    shutil.move(whole, tmp_path / "whole")
    request.getfixturevalue("small_blocks")
    parts = ask(outputs, *question)
    two = arrays_of(parts)
    assert one.keys() == two.keys()
    for name, values in one.items():
        assert two[name].dtype == values.dtype, name
        if values.dtype.kind == "f":
            # Blocks are of other sizes than passes here, which moves the last digits.
            np.testing.assert_allclose(two[name], values, rtol=2e-4, atol=1e-6, err_msg=name)
        else:
            assert (two[name] == values).all(), name
    summary = json.loads((parts / "summary.json").read_text())
    contrasted = ("cka", "dead", "black", "ssim", "spearman")  # of the faces that are shown
    for name, value in told["numbers"].items():
        if not any(word in name for word in contrasted):
            assert summary["numbers"][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    rows = {entry["row"] for entry in summary["entries"]}
    assert len(rows) == 4
    assert f"4 of the {FACES} faces" in json.loads((parts / "manifest.json").read_text())["warnings"][0]
    with (parts / "entries.csv").open(encoding="utf-8") as file:
        table = sorted(csv.DictReader(file), key=lambda row: int(row["entry"]))
    assert [int(row["row"]) for row in table] == one["rows"].tolist()
    assert [row["layer"] for row in table] == one["layers"].tolist()
    assert [row["target"] for row in table] == one["targets"].tolist()
    assert not (parts / "blocks").exists()


def test_shards_in_any_order_make_the_answer_of_one_job(small_blocks: None, outputs: Path, tmp_path: Path) -> None:
    question = ["explainer=saliency", "layer=conv5", "checkpoint=[best,1]"]
    whole = ask(outputs, *question)
    expected = {
        name: (whole / name).read_bytes() for name in ("arrays.npz", "summary.json", "entries.csv", "config.yaml")
    }
    figures = {path.name: path.read_bytes() for path in (whole / "figures").iterdir()}
    shutil.move(whole, tmp_path / "whole")
    for saved in (outputs / "cache").glob("maps-*/"):  # else each shard takes its maps from there
        shutil.rmtree(saved)
    for number in (3, 1):
        folder = ask(outputs, *question, f"shard={number}/3")
        assert not (folder / "summary.json").exists()
    with pytest.raises(RunError, match=r"2 of 5 chunks of faces are missing; run the remaining shards"):
        merge_runs([str(folder)])
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(outputs / "cache", elsewhere / "cache")
    other = ask(elsewhere, *question, "shard=2/3")
    (other / "blocks" / ".000001.1.partial.safetensors").write_bytes(b"half")
    (folder / "blocks" / ".000004.1.partial.safetensors").write_bytes(b"half")
    with pytest.raises(RunError, match="2 of 5"):
        merge_runs([str(folder)])
    assert merge_runs([str(folder), str(other), "quiet=true"]) == folder
    assert {name: (folder / name).read_bytes() for name in expected} == expected
    assert {path.name: path.read_bytes() for path in (folder / "figures").iterdir()} == figures
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "shard" not in manifest["command"]
    assert merge_runs([str(folder)]) == folder


def test_a_sweep_over_shards_ends_with_the_answer(
    small_blocks: None, outputs: Path, tmp_path: Path, monkeypatch
) -> None:
    question = [f"outputs={outputs}", *SMALL, "layer=conv4"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["fervis", "-m", *question, "shard=1/2,2/2"])
    assert main(["-m", *question, "shard=1/2,2/2"]) == 0
    (merged,) = outputs.glob("sweeps/shard-*/*/summary.json")
    alone = fervis.ask(question)
    assert (merged.parent / "arrays.npz").read_bytes() == (alone / "arrays.npz").read_bytes()


def test_what_is_explained_is_not_explained_again(small_blocks: None, outputs: Path, monkeypatch) -> None:
    explain_faces, seen = run.explain_faces, []

    def stopping(setup, inputs, some):
        if len(seen) == 3:
            raise RuntimeError("the power is gone")
        seen.append(some.rows.tolist())
        return explain_faces(setup, inputs, some)

    question = ["explainer=saliency", "layer=conv6"]
    monkeypatch.setattr(run, "explain_faces", stopping)
    with pytest.raises(RuntimeError):
        ask(outputs, *question)
    (folder,) = outputs.glob("runs/vgg8-saliency-conv6-*")
    assert {path.name for path in folder.iterdir()} == {".fervis", "blocks"}
    again: list[list[int]] = []
    monkeypatch.setattr(
        run, "explain_faces", lambda a, b, some: again.append(some.rows.tolist()) or explain_faces(a, b, some)
    )
    assert ask(outputs, *question) == folder
    one_face, *explained = seen  # the first is asked how large its map is
    assert len(one_face) == 1
    assert sorted(row for rows in [*explained, *again] for row in rows) == arrays_of(folder)["rows"].tolist()


def test_blocks_of_other_weights_are_thrown_away(small_blocks: None, outputs: Path) -> None:
    question = ["explainer=saliency", "layer=relu5"]
    folder = ask(outputs, *question, "shard=1/2")
    about = folder / "blocks" / "about.json"
    told = json.loads(about.read_text())
    assert told["key"]["hashes"]["weights"]
    told["key"]["hashes"]["weights"] = "others"
    about.write_text(json.dumps(told))
    ask(outputs, *question, "shard=2/2")
    assert sorted(path.stem for path in (folder / "blocks").glob("*.safetensors")) == ["000001", "000003"]


def test_shards_of_another_question_are_not_mixed_in(small_blocks: None, outputs: Path) -> None:
    one, two = (ask(outputs, f"layer={layer}", "shard=1/2") for layer in ("relu1", "relu2"))
    with pytest.raises(ConfigError, match=r"differ from those of .* in run"):
        merge_runs([str(one), str(two)])
    with pytest.raises(ConfigError, match=r"it holds no shards of a run; they are made with shard=1/4"):
        merge_runs([str(outputs)])


@pytest.mark.parametrize("spec", ["0/4", "5/4", "1", "a/b", "1/4/2", 3])
def test_a_shard_that_cannot_be_is_refused(spec: object) -> None:
    with pytest.raises(ConfigError, match=rf"shard={spec}: expected <number>/<shards> such as 1/4"):
        parse_shard(spec)
    assert parse_shard("2/4") == Shard(2, 4)


@pytest.mark.parametrize("question", [["explainer=confusion"], ["experiment=study"]])
def test_what_has_no_faces_of_its_own_is_not_split(outputs: Path, question: list[str]) -> None:
    with pytest.raises(
        ConfigError, match=r"shard=1/2: (explainer=confusion explains the network as a whole|a study is)"
    ):
        ask(outputs, *question, "shard=1/2")


def test_blocks_are_small_where_results_are_large(tmp_path: Path) -> None:
    faces = range(1000)
    for size, expected in ((1, 64), (2**21, 64), (2**22, 32), (2**30, 1)):
        found = chunks.open_chunks(
            tmp_path / str(size), faces, 1, HeatMaps, lambda size=size: size, key={"of": size}, run_metadata={}
        )
        assert found.size == expected


def test_a_column_is_what_numpy_would_write() -> None:
    values = np.arange(24, dtype=np.float32).reshape(6, 2, 2)
    column = Column(io.BytesIO(), 6, np.empty((0, 2, 2), np.float32))
    for entries in ([4, 5, 0], [2, 1, 3]):
        column.put(entries, values[entries])
    expected, found = io.BytesIO(), io.BytesIO()
    np.savez_compressed(expected, values=values)
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive:
        column.write(archive, "values")
    assert found.getvalue() == expected.getvalue()


def test_numbers_of_blocks_are_weighted_by_their_faces() -> None:
    one = {"explained": 3, "explained/accuracy": 1.0, "score": 2.0}
    two = {"explained": 1, "explained/accuracy": 0.0, "score": float("nan")}
    assert combine_numbers([one, two]) == {"explained": 4, "explained/accuracy": 0.75, "score": 2.0}


@pytest.mark.parametrize(
    "result",
    [
        HeatMaps(torch.rand(2, 4, 4), "unit", True, torch.rand(2, 4, 4), "other", "any", {"r2": torch.rand(2)}),
        HeatMaps(torch.rand(1, 4, 4), "unit"),
        FilterImages(*[torch.rand(2)] * 6, numbers={"sd": torch.rand(2)}, unit="logit"),
        FeatureMaps((torch.rand(2, 3, 3), torch.rand(1, 2, 2)), ((0, 4), (7,)), (torch.rand(2), torch.rand(1)), {}),
    ],
)
def test_a_result_is_unpacked_as_it_was_packed(result) -> None:
    tensors, told = pack_result(result)
    found = unpack_result(tensors, json.loads(json.dumps(told)), type(result))
    for name, value in vars(result).items():
        other = getattr(found, name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other)
        elif isinstance(value, dict):
            assert value.keys() == other.keys()
            assert all(torch.equal(value[key], other[key]) for key in value)
        elif isinstance(value, tuple) and isinstance(value[0], torch.Tensor):
            assert all(map(torch.equal, value, other))
        else:
            assert value == other
