"""One table of many runs: which folders, which columns, which formats."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fervis.errors import ConfigError
from fervis.reporting.number_table import table_command


def answered(folder: Path, numbers: dict[str, Any], **settings: Any) -> Path:
    folder.mkdir(parents=True)
    config = {"explainer": {"name": "lime", "samples": 100}, "layer": None, "seed": 0, "quiet": False, **settings}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "summary.json").write_text(json.dumps({"numbers": numbers}))
    return folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, str]]:
    table_command([str(argument) for argument in arguments])
    return list(csv.DictReader(capsys.readouterr().out.splitlines()))


def test_a_row_has_what_differs_and_every_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    one = answered(tmp_path / "a", {"deletion": 0.1 + 0.2, "bad": None}, seed=0, quiet=True, layer=["conv1", "conv2"])
    two = answered(tmp_path / "b", {"insertion": 2, "seed": 5}, seed=3, layer="conv1")
    assert printed(capsys, one, two) == [
        {
            **{"folder": str(one), "layer": "conv1,conv2", "seed": "0"},
            **{"deletion": "0.30000000000000004", "insertion": "", "numbers/seed": ""},
        },
        {
            **{"folder": str(two), "layer": "conv1", "seed": "3"},
            **{"deletion": "", "insertion": "2", "numbers/seed": "5"},
        },
    ]


def test_runs_are_those_of_an_outputs_folder_each_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    single = answered(tmp_path / "runs" / "one", {"x": 1})
    sweep = tmp_path / "sweeps" / "s"
    jobs = [answered(sweep / str(number), {"x": number}, seed=number) for number in range(3)]
    (sweep / "failed").mkdir()
    (sweep / "failed" / "failure.json").write_text("{}")
    assert [row["folder"] for row in printed(capsys, tmp_path)] == [str(path) for path in (single, *jobs)]
    assert [row["x"] for row in printed(capsys, sweep, jobs[1])] == ["0", "1", "2"]


def test_a_damaged_summary_is_an_empty_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    answered(tmp_path / "a", {"x": 1})
    (answered(tmp_path / "b", {"x": 2}) / "summary.json").write_text("{")
    assert [row["x"] for row in printed(capsys, tmp_path)] == ["1", ""]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected run folders"),
        (["nowhere"], "table nowhere: it holds no answer"),
        (["--to"], "table --to: expected a file after it"),
        (["x", "--to", "a.xlsx"], "ends in .csv or .parquet"),
    ],
)
def test_mistakes_are_answered_by_a_sentence(arguments: list[str], words: str):
    with pytest.raises(ConfigError, match=words):
        table_command(arguments)


def test_a_file_holds_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = answered(tmp_path / "a", {"x": 1.5})
    table_command([str(run)])
    text = capsys.readouterr().out
    table_command([str(run), "--to", str(tmp_path / "new" / "t.csv")])
    assert (tmp_path / "new" / "t.csv").read_text(encoding="utf-8") == text
    assert capsys.readouterr().out == f"{tmp_path / 'new' / 't.csv'}\n"


def test_parquet_has_a_type_per_column(tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    answered(tmp_path / "a", {"x": 1}, layer="conv1", faces=3)
    answered(tmp_path / "b", {"y": 0.5}, layer=7, faces=5)
    table_command([str(tmp_path), "--to", str(tmp_path / "t.parquet")])
    table = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert {name: table[name] for name in table if name != "folder"} == {
        "layer": ["conv1", "7"],
        "faces": [3.0, 5.0],
        "x": [1.0, None],
        "y": [None, 0.5],
    }


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_without_pyarrow_parquet_is_refused(tmp_path: Path):
    answered(tmp_path / "a", {"x": 1})
    with pytest.raises(ConfigError, match="pyarrow is not installed"):
        table_command([str(tmp_path), "--to", str(tmp_path / "t.parquet")])
    assert not (tmp_path / "t.parquet").exists()
