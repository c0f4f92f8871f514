"""The command line's words: flags, folders of the user's own, paths, and mistakes that end in one sentence."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf.errors import OmegaConfBaseException

import fervis as package
from fervis.cli.arguments import hydra_arguments, split_sources
from fervis.cli.command_table import COMMANDS
from fervis.cli.main import main
from fervis.core import registry
from fervis.core.registry import config_sources, names, option_files
from fervis.errors import ConfigError
from fervis.runs import config_errors
from fervis.runs.config import compose_config
from fervis.runs.overrides import prepare_overrides, quote_path


@pytest.fixture(autouse=True)
def own_sources() -> Iterator[None]:
    """Take back what a command line says of config folders."""
    before = vars(config_sources).copy()
    yield
    vars(config_sources).update(before)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        GlobalHydra.instance().clear()
        monkeypatch.setattr("sys.argv", ["fervis", *arguments])
        out, error = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(error):
            code = main(arguments)
        return code, out.getvalue(), error.getvalue()

    return command


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with an option, a preset and a primary config of the user's own."""
    for name, text in {
        "dataset/mine.yaml": "# mine\ndefaults: [faces]\nper_class_test: 5\n",
        "experiment/nice.yaml": "# @package _global_\n# a nice one\nseed: 7\n",
        "mine_top.yaml": "defaults: [config, _self_]\nseed: 9\n",
    }.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "own"


SENTENCES = [
    (["list", "nope"], "list nope: there is no such kind."),
    (["list", "explaner"], "Did you mean explainer?"),
    (["explainer=saliency,lime"], "explainer=saliency,lime: several values make a sweep, a run for each; ask with -m"),
    (["layer=conv1,conv2"], "ask with -m"),
    (["-m", "layer=glob(conv*)"], "expected a list, or layer=each for every layer."),
    (["-m", "explainer=glob(zzz*)"], "explainer=glob(zzz*): there is no such explainer."),
    (["-m", "seed=range(0,0)"], "seed=range(0,0): it has no values"),
    (["faces=[10,", "20]"], "faces=[10, 20]: the shell splits this at its blanks; ask with 'faces=[10,20]'."),
    (["--nope"], "--nope: there is no such flag."),
    (["--multrun", "layer=conv1"], "Did you mean --multirun?"),
    (["--cfg"], "--cfg: expected job or hydra or all after it."),
    (["--cfg", "jbo"], "--cfg=jbo: expected job, hydra, all. Did you mean job?"),
    (["--config-dir", "nowhere", "experiment=x"], "--config-dir nowhere: there is no such folder."),
    (["--config-dir"], "--config-dir: expected <folder> after it."),
    (["~tracker"], "~tracker: every question has tracker=; choose one, such as tracker=none."),
    (["~model"], "~model: every question has model="),
    (["~seed"], "~seed: every question has seed=; leave it away for its default."),
    (["+sead=1"], "+sead=1: there is no such key. Did you mean seed?"),
    (["model=null"], "model=null: there is no such model."),
    (["model=3"], "model=3: there is no such model."),
    (["explainer.name=[a]"], "explainer.name=[a]: expected the name of one explainer."),
    (["parts=[1]"], "parts=[1]: expected a list of parts, each with title, ask and figures, or title, draw and dpi."),
    (["--experimental-rerun", "x.pickle"], "--experimental-rerun: it runs what a pickle holds"),
    (["+hydra.callbacks.x._target_=os.getcwd"], "it names Python code to run, which fervis does not do."),
    (["hydra.launcher._target_=os.getcwd"], "it names Python code to run"),
]


@pytest.mark.parametrize(("arguments", "sentence"), SENTENCES)
def test_a_mistake_is_one_sentence(run: Callable[..., tuple[int, str, str]], arguments: list[str], sentence: str):
    code, out, error = run(*arguments)
    assert (code, out) == (2, "")
    assert len(error.splitlines()) == 1
    assert sentence in error


def test_flags_may_stand_anywhere_and_their_values_are_no_overrides():
    assert hydra_arguments(["layer=conv1", "-m", "seed=1", "-c", "job", "--resolve"]) == (
        ["--multirun", "--cfg=job", "--resolve"],
        ["layer=conv1", "seed=1"],
    )
    assert hydra_arguments(["--info", "layer=conv1"]) == (["--info"], ["layer=conv1"])
    assert hydra_arguments(["--info", "defaults"]) == (["--info=defaults"], [])


@pytest.mark.parametrize("flag", ["--config-dir", "-cd", "--config-path", "-cp"])
def test_a_folder_of_ones_own_is_listed_and_composed(run: Callable[..., tuple[int, str, str]], own: Path, flag: str):
    for arguments in (["list", flag, str(own)], [flag, str(own), "list"], [f"{flag}={own}", "list", "dataset"]):
        code, out, error = run(*arguments)
        assert (code, error) == (0, "")
        assert "  mine  " in out
    assert "a nice one" in run("list", "experiment", flag, str(own))[1]
    code, out, error = run("dataset=mine", "experiment=nice", flag, str(own), "--cfg", "job")
    assert (code, error) == (0, "")
    assert "per_class_test: 5\n" in out
    assert "\nseed: 7\n" in out
    assert "seed=abc: expected a whole number" in run(flag, str(own), "dataset=mine", "seed=abc")[2]
    assert "Did you mean nice?" in run(flag, str(own), "experiment=nic")[2]
    assert run("list", "dataset")[1].count("mine") == 0, "another command line has no such folder"


def test_a_primary_config_of_ones_own(run: Callable[..., tuple[int, str, str]], own: Path):
    code, out, error = run("-cp", str(own), "-cn", "mine_top", "layer=conv1", "--cfg", "job")
    assert (code, error) == (0, "")
    assert "\nseed: 9\n" in out
    split_sources(["-cp", str(own), "--config-name=mine_top"])
    assert compose_config(["layer=conv1"]).seed == 9, "as the parts of a study are composed"


LOAD = "_target_: fervis.models.architectures.own.load_file"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (
            "experiment/evil.yaml",
            f"# @package _global_\nhydra:\n  callbacks:\n    x:\n      {LOAD}\n      path: evil.py\n",
        ),
        ("experiment/evil.yaml", f"# @package _global_\nhydra:\n  launcher:\n    {LOAD}\n"),
        ("experiment/evil.yaml", f"# @package _global_\nmodel:\n  x:\n    {LOAD}\n    path: evil.py\n"),
        ("hydra/launcher/evil.yaml", f"{LOAD}\npath: evil.py\n"),
        ("hydra/job_logging/evil.yaml", "version: 1\nformatters:\n  x:\n    (): os.getcwd\n"),
    ],
)
def test_a_shared_config_folder_runs_no_code(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, file: str, text: str
):
    path = tmp_path / "shared" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    code, out, error = run("--config-dir", "shared", f"{file.rpartition('/')[0]}=evil", "checkpoint=initial")
    assert (code, out) == (2, "")
    assert "Python code to run, which fervis does not do" in error or "they run Python code" in error
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("dataset.path=Müller.png", "Müller.png"),
        ("dataset.path=me(1).png", "me(1).png"),
        ("model.path=Ünï côde & space's/é.py", "Ünï côde & space's/é.py"),
        ("dataset.path=a\\'b(.png", "a\\'b(.png"),
        ("dataset.path=plain.csv", "plain.csv"),
        ("dataset.path='quoted (1).csv'", "quoted (1).csv"),
        ("model.checkpoint=é[1].pt", "é[1].pt"),
    ],
)
def test_a_path_needs_no_quotes_of_hydras(typed: str, value: str):
    key = typed.partition("=")[0]
    kind = key.partition(".")[0]
    config = compose_config([typed, "dataset=fer2013" if kind == "dataset" else "model=own"])
    assert str(config[kind][key.partition(".")[2]]) == value


def test_each_path_of_a_sweep_is_quoted_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert quote_path("dataset.path=é.png,b.png") == "dataset.path='é.png',b.png"
    (tmp_path / "é,1.png").touch()
    assert quote_path("dataset.path=é,1.png") == "dataset.path='é,1.png'"
    assert prepare_overrides(["layer=é"]) == ["layer=é"], "no path"


def test_python_takes_a_text_as_the_command_line_does(monkeypatch: pytest.MonkeyPatch):
    seen: list[list[str]] = []
    monkeypatch.setattr("fervis.runs.api.run_config", lambda _config, folder, overrides: seen.append(overrides))
    package.ask("explainer=saliency layer=conv7")
    assert seen == [["explainer=saliency", "layer=conv7"]]
    with pytest.raises(ConfigError, match="Did you mean saliency"):
        package.ask("explainer=salency layer=conv7")


def test_a_kind_without_a_default_does_not_hide_a_mistake(monkeypatch: pytest.MonkeyPatch):
    kinds = {**registry.KINDS, "evidence_of_mine": "evidence"}
    monkeypatch.setattr(config_errors, "KINDS", kinds)
    sentence = config_errors.explain_config_error(["layr=conv7"], OmegaConfBaseException("x"))
    assert sentence.startswith("layr: there is no such key. Did you mean layer?")


def test_every_command_names_a_function_and_tells_its_use():
    assert set(COMMANDS) >= {"list", "layers", "audit", "train", "report", "merge", "clean", "ship", "track"}
    for word, command in COMMANDS.items():
        assert command.summary.endswith("."), word
        module, _, function = command.function.partition(":")
        assert module.startswith("fervis.")
        assert function.isidentifier()


def test_names_with_control_characters_are_not_sent_to_the_terminal(tmp_path: Path):
    from fervis.cli.clean import clean_outputs
    from fervis.system.console import format_line

    outputs = tmp_path / "outputs"
    manifest = outputs / "runs" / "a\x1b[31m\nforged" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"fervis": "0.1.0", "hashes": {}}))
    (outputs / "b\x1b[2J\n").touch()
    lines = [*clean_outputs([f"outputs={outputs}"]), *clean_outputs(["runs", f"outputs={outputs}", "--dry-run"])]
    assert any("a?[31m?forged" in line for line in lines)
    assert any("b?[2J?" in line for line in lines)
    assert all(line.isprintable() for line in lines)
    assert format_line("photos: a\x1b[31m\nforged").isprintable()


def test_options_are_those_of_the_package_alone_again(own: Path):
    split_sources(["--config-dir", str(own)])
    assert "mine" in option_files("dataset")
    split_sources([])
    assert "mine" not in names("dataset")
