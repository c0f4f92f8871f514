"""Asking: one question or a sweep of them through Hydra, a study's parts, and the same from Python."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fervis.atomic import ABOUT, write_text
from fervis.engines.progress_bar import quietly
from fervis.errors import RunFailed, WrongQuestion
from fervis.hints import explain_mistake
from fervis.launching import end_with, heard, speaking_as
from fervis.locks import alone
from fervis.question import (
    Question,
    ask_hydra,
    command_line,
    question_id,
    register,
    run_folder,
    settled,
    sweep_name,
    swept,
    to_question,
)
from fervis.registry import CONF
from fervis.sweeping import announce, kept_of
from fervis.terminal import GOOD

if TYPE_CHECKING:
    from fervis.contracts import RunCard

FAILURE = "failure.json"
EACH = "layer=each"
log = logging.getLogger("fervis")


def ask_command_line() -> None:
    """Answer the question, or the sweep of questions, of ``sys.argv`` through Hydra.

    Raises:
        WrongQuestion: the question, or every failed job of the sweep, was wrong.
        RunFailed: a job of the sweep failed.
    """
    register()
    # Hydra would print its own messages and exit; with this it hands errors to `run`.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    typed = list(sys.argv[1:])
    sys.argv[1:] = each_layer(arranged(typed))
    sweep = sweep_folder(sys.argv[1:])
    failed: list[BaseException] = []
    launching = os.getpid()

    def job(config: DictConfig) -> str | None:
        if os.getpid() == launching:
            return answer_job(config, failed)
        end_with(launching)
        with speaking_as(HydraConfig.get().job.num + 1, quiet=config.quiet):
            return answer_job(config, failed)

    try:
        with heard(sweep):
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except KeyboardInterrupt as stopped:
        if sweep.is_dir():
            stopped.add_note(kept_of(sweep, command_line(typed)))
        raise
    except (HydraException, OmegaConfBaseException):
        raise
    except Exception as error:
        if not sweep.is_dir():
            raise
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}" if str(error) else type(error).__name__
        kept = kept_of(sweep, command_line(typed))
        raise RunFailed(f"The launcher ended before the sweep did ({why}); kept: {kept}.") from error
    if failed:
        raise failed[0]
    if sweep.is_dir():
        finish_sweep(sweep, command_line(typed))


def arranged(arguments: Sequence[str]) -> list[str]:
    """The command line as Hydra reads it: flags first, since overrides must stand together, and the sweep named."""
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    multirun = [argument for argument in arguments if argument in ("-m", "--multirun")]
    rest = [argument for argument in arguments if argument not in multirun]
    if not any(override.startswith("hydra.sweep.dir=") for override in overrides):
        # An override, unlike a resolver, reaches the jobs of every launcher as the sweep began with it.
        place = rest.index(overrides[0]) if overrides else len(rest)
        rest.insert(place, f"hydra.sweep.dir=${{outputs}}/sweeps/{sweep_name(overrides)}")
    return [*multirun, *rest]


def each_layer(arguments: Sequence[str]) -> list[str]:
    """``layer=each`` of a sweep, written out as the names of the network's layers, a job a layer.

    Raises:
        WrongQuestion: the sweep is over networks or data sets too, whose layers may differ.
    """
    if EACH not in arguments:
        return list(arguments)
    if not {"-m", "--multirun"} & set(arguments):
        raise WrongQuestion(
            "layer=each: it means a job a layer, a sweep; ask with -m, or with layer=all for one answer."
        )
    from fervis.asked import prepare
    from fervis.layers import expand

    others = [argument for argument in arguments if "=" in argument and argument != EACH and argument[0] != "-"]
    jobs = [[one for one in job if not one.startswith("hydra.")] for job in swept(others)]
    networks = {tuple(one for one in job if one.lstrip("+~").startswith(("model", "dataset"))) for job in jobs}
    if len(networks) > 1:
        raise WrongQuestion("layer=each: the layers of several networks may differ; expected one model= and dataset=.")
    question = to_question(ask_hydra(jobs[0]))
    asked = prepare(question)
    faces = asked.dataset.load(question.cache)
    names = expand(asked.network(faces), "all", faces.images[:1].float() / 255)
    return [f"layer={','.join(names)}" if argument == EACH else argument for argument in arguments]


def sweep_folder(arguments: Sequence[str]) -> Path:
    """The folder of the sweep that this command line starts, if it starts one."""
    told = dict(argument.split("=", 1) for argument in arguments if "=" in argument and argument[0] != "-")
    outputs = told.get("outputs", "outputs")
    return Path(told["hydra.sweep.dir"].replace("${outputs}", outputs))


def finish_sweep(folder: Path, command: str) -> None:
    """Write the sweep's page, print where it is, and fail where a job has failed.

    Raises:
        WrongQuestion: every job that failed was asked wrongly.
        RunFailed: a job failed.
    """
    from fervis.sweep_page import write_sweep

    join_shards(folder)
    page = write_sweep(folder, command)
    failures = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(f"*/{FAILURE}"))]
    jobs = len({path.parent for name in (FAILURE, "summary.json") for path in folder.glob(f"*/{name}")})
    log.info("%d of %d answered: %s", jobs - len(failures), jobs, page, extra=None if failures else GOOD)
    if failures:
        first = failures[0]["error"]
        words = f"{len(failures)} of {jobs} jobs failed, the first with: {first}"
        raise WrongQuestion(words) if all(one["code"] == 2 for one in failures) else RunFailed(words)


def join_shards(sweep: Path) -> None:
    """Answer the questions that a sweep has split over its jobs (``-m shard=1/4,2/4,3/4,4/4``)."""
    from fervis.merging import merge

    for about in sorted(sweep.glob(f"*/{ABOUT}")):
        folder = about.parent.parent
        try:
            merge([str(folder)])
        except Exception as error:
            asked = shlex.split(json.loads(about.read_text(encoding="utf-8"))["asked"]["command"])[3:]
            tell_failure(folder, asked, error)
        else:
            (folder / FAILURE).unlink(missing_ok=True)


def answer_job(config: DictConfig, failed: list[BaseException]) -> str | None:
    """One job of Hydra's: answer, print the run folder, and leave no empty folder behind a mistake.

    The error of a single run goes to ``failed``, since Hydra would print words of its own around it; that of a sweep's
    job is kept in the job's folder as ``failure.json``, and the sweep goes on.
    """
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    sweep = Path(hydra_config.sweep.dir).name if hydra_config.mode == RunMode.MULTIRUN else None
    overrides = list(hydra_config.overrides.task)
    if sweep:
        announce(hydra_config.job.num + 1, folder.parent, overrides)
    try:
        config = settled(config, overrides, hydra_config.runtime.choices["trainer"])
        # At once, for a launcher may end its processes without asking.
        print(answer_config(config, folder, overrides, sweep), flush=True)
    except Exception as error:
        if sweep:
            tell_failure(folder, overrides, error)
            return None
        _remove_if_empty(folder)
        failed.append(error)
        return None
    except BaseException:
        _remove_if_empty(folder)
        raise
    (folder / FAILURE).unlink(missing_ok=True)
    return str(folder)


def tell_failure(folder: Path, overrides: Sequence[str], error: Exception) -> None:
    """Keep a job's error in its folder, and say it."""
    wrong = isinstance(error, WrongQuestion | HydraException | OmegaConfBaseException)
    known = wrong or isinstance(error, RunFailed)
    sentence = str(error) if known else f"{type(error).__name__}: {error}"
    log.error("%s: %s", folder.name, sentence)
    told = {
        "error": sentence,
        "code": 2 if wrong else 1,
        "overrides": list(overrides),
        "command": command_line(overrides),
    }
    write_text(folder / FAILURE, json.dumps(told, indent=1) + "\n")


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def answer_config(config: DictConfig, folder: Path, overrides: Sequence[str], sweep: str | None = None) -> Path:
    """Answer a composed question into a folder."""
    question = to_question(config)
    with quietly(question.quiet):
        return _answer(question, config, folder, overrides, sweep)


def _answer(question: Question, config: DictConfig, folder: Path, overrides: Sequence[str], sweep: str | None) -> Path:
    from fervis.answer import answer
    from fervis.contracts import RunCard

    card = RunCard(
        name=folder.name,
        id=question_id(config),
        folder=folder,
        config=vars(question),
        group=sweep,
        tags=(str(question.explainer["name"]), str(question.model["name"]), str(question.dataset["name"])),
    )
    if question.parts:
        return answer_study(question, folder, card, overrides)
    return answer(question, folder, card, command_line(overrides))


def answer_study(question: Question, folder: Path, card: RunCard, overrides: Sequence[str]) -> Path:
    """Answer every part of a study, those that are answered already apart, and gather their figures."""
    from fervis.record import Record, is_answered
    from fervis.study import gather, parts_of
    from fervis.threads import choose_threads

    parts = parts_of(question.parts)
    if question.shard is not None:
        raise WrongQuestion(f"shard={question.shard}: a study is several questions; split one of them.")
    if not question.rerun and is_answered(folder, question.cache):
        log.info("answered before (rerun=true asks again)", extra=GOOD)
        return folder
    configs = [ask_hydra([*part.overrides(overrides), f"rerun={question.rerun}"]) for part in parts]
    threads = choose_threads(question.threads)
    record = Record(command_line(overrides), card, question.seed, question.device, question.precision, threads)
    answers = []
    for number, (part, config) in enumerate(zip(parts, configs, strict=True), 1):
        log.info("part %d of %d: %s", number, len(parts), part.title)
        try:
            with record.stage(part.title):
                answers.append(answer_config(config, run_folder(config), part.overrides(overrides), folder.name))
        except KeyboardInterrupt as stopped:
            stopped.add_note(f"{len(answers)} of {len(parts)} parts of the study")
            raise
    with alone(Path(question.outputs), folder, "gathers this study"):
        return gather(parts, answers, folder, record)


def ask(overrides: Sequence[str] = ()) -> Path:
    """Answer a question given by overrides, from Python; return the run folder.

    Example:
        ``fervis.ask(["explainer=saliency", "layer=conv7"])``

    Raises:
        WrongQuestion: with the sentence the command would print.
    """
    try:
        config = ask_hydra(overrides)
        folder = run_folder(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise WrongQuestion(explain_mistake(overrides, error)) from error
    return answer_config(config, folder, overrides)
