"""Asking: one question or a sweep of them through Hydra, a study's parts, and the same from Python."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fervis.core.registry import CONF_FOLDER
from fervis.errors import ConfigError, RunError
from fervis.runs.api import run_config
from fervis.runs.config import (
    command_line,
    compose_config,
    expand_sweep,
    register_configs,
    resolve_weights,
    sweep_name,
    to_run_config,
)
from fervis.runs.launchers import exit_with_parent, prefix_logs, relay_logs
from fervis.runs.sweep import completed_summary, log_job
from fervis.system.console import SUCCESS, log
from fervis.system.files import CHUNKS_METADATA, write_text

FAILURE_FILE = "failure.json"
EACH_LAYER = "layer=each"


def run_hydra() -> None:
    """Answer the question, or the sweep of questions, of ``sys.argv`` through Hydra.

    Raises:
        ConfigError: the question, or every failed job of the sweep, was wrong.
        RunError: a job of the sweep failed.
    """
    register_configs()
    # Hydra would print its own messages and exit; with this it hands errors to `run`.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    typed = list(sys.argv[1:])
    sys.argv[1:] = each_layer(normalize_argv(typed))
    sweep = sweep_folder(sys.argv[1:])
    failed: list[BaseException] = []
    launching = os.getpid()

    def job(config: DictConfig) -> str | None:
        if os.getpid() == launching:
            return run_job(config, failed)
        exit_with_parent(launching)
        with prefix_logs(HydraConfig.get().job.num + 1, quiet=config.quiet):
            return run_job(config, failed)

    try:
        with relay_logs(sweep):
            hydra.main(version_base="1.3", config_path=str(CONF_FOLDER), config_name="config")(job)()
    except KeyboardInterrupt as stopped:
        if sweep.is_dir():
            stopped.add_note(completed_summary(sweep, command_line(typed)))
        raise
    except (HydraException, OmegaConfBaseException):
        raise
    except Exception as error:
        if not sweep.is_dir():
            raise
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}" if str(error) else type(error).__name__
        kept = completed_summary(sweep, command_line(typed))
        raise RunError(f"The launcher ended before the sweep did ({why}); kept: {kept}.") from error
    if failed:
        raise failed[0]
    if sweep.is_dir():
        finish_sweep(sweep, command_line(typed))


def normalize_argv(arguments: Sequence[str]) -> list[str]:
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
        ConfigError: the sweep is over networks or data sets too, whose layers may differ.
    """
    if EACH_LAYER not in arguments:
        return list(arguments)
    if not {"-m", "--multirun"} & set(arguments):
        raise ConfigError("layer=each: it means a job a layer, a sweep; ask with -m, or with layer=all for one answer.")
    from fervis.core.layers import expand_layers
    from fervis.runs.setup import build_run

    others = [argument for argument in arguments if "=" in argument and argument != EACH_LAYER and argument[0] != "-"]
    jobs = [[one for one in job if not one.startswith("hydra.")] for job in expand_sweep(others)]
    networks = {tuple(one for one in job if one.lstrip("+~").startswith(("model", "dataset"))) for job in jobs}
    if len(networks) > 1:
        raise ConfigError("layer=each: the layers of several networks may differ; expected one model= and dataset=.")
    question = to_run_config(compose_config(jobs[0]))
    asked = build_run(question)
    faces = asked.dataset.load(question.cache)
    names = expand_layers(asked.network(faces), "all", faces.images[:1].float() / 255)
    return [f"layer={','.join(names)}" if argument == EACH_LAYER else argument for argument in arguments]


def sweep_folder(arguments: Sequence[str]) -> Path:
    """The folder of the sweep that this command line starts, if it starts one."""
    told = dict(argument.split("=", 1) for argument in arguments if "=" in argument and argument[0] != "-")
    outputs = told.get("outputs", "outputs")
    return Path(told["hydra.sweep.dir"].replace("${outputs}", outputs))


def finish_sweep(folder: Path, command: str) -> None:
    """Write the sweep's page, print where it is, and fail where a job has failed.

    Raises:
        ConfigError: every job that failed was asked wrongly.
        RunError: a job failed.
    """
    from fervis.reporting.sweep.page import write_sweep

    join_shards(folder)
    page = write_sweep(folder, command)
    failures = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(f"*/{FAILURE_FILE}"))]
    jobs = len({path.parent for name in (FAILURE_FILE, "summary.json") for path in folder.glob(f"*/{name}")})
    log.info("%d of %d answered: %s", jobs - len(failures), jobs, page, extra=None if failures else SUCCESS)
    if failures:
        first = failures[0]["error"]
        words = f"{len(failures)} of {jobs} jobs failed, the first with: {first}"
        raise ConfigError(words) if all(one["code"] == 2 for one in failures) else RunError(words)


def join_shards(sweep: Path) -> None:
    """Answer the questions that a sweep has split over its jobs (``-m shard=1/4,2/4,3/4,4/4``)."""
    from fervis.runs.chunked.merge import TRUST, merge_runs

    for about in sorted(sweep.glob(f"*/{CHUNKS_METADATA}")):
        folder = about.parent.parent
        try:
            merge_runs([str(folder), TRUST])  # this command made it
        except Exception as error:
            asked = shlex.split(json.loads(about.read_text(encoding="utf-8"))["asked"]["command"])[3:]
            write_failure(folder, asked, error)
        else:
            (folder / FAILURE_FILE).unlink(missing_ok=True)


def run_job(config: DictConfig, failed: list[BaseException]) -> str | None:
    """One job of Hydra's: answer, print the run folder, and leave no empty folder behind a mistake.

    The error of a single run goes to ``failed``, since Hydra would print words of its own around it; that of a sweep's
    job is kept in the job's folder as ``failure.json``, and the sweep goes on.
    """
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    sweep = Path(hydra_config.sweep.dir).name if hydra_config.mode == RunMode.MULTIRUN else None
    overrides = list(hydra_config.overrides.task)
    if sweep:
        log_job(hydra_config.job.num + 1, folder.parent, overrides)
    try:
        config = resolve_weights(config, overrides, hydra_config.runtime.choices["trainer"])
        # At once, for a launcher may end its processes without asking.
        print(run_config(config, folder, overrides, sweep), flush=True)
    except Exception as error:
        if sweep:
            write_failure(folder, overrides, error)
            return None
        _remove_if_empty(folder)
        failed.append(error)
        return None
    except BaseException:
        _remove_if_empty(folder)
        raise
    (folder / FAILURE_FILE).unlink(missing_ok=True)
    return str(folder)


def write_failure(folder: Path, overrides: Sequence[str], error: Exception) -> None:
    """Keep a job's error in its folder, and say it."""
    wrong = isinstance(error, ConfigError | HydraException | OmegaConfBaseException)
    known = wrong or isinstance(error, RunError)
    sentence = str(error) if known else f"{type(error).__name__}: {error}"
    log.error("%s: %s", folder.name, sentence)
    told = {
        "error": sentence,
        "code": 2 if wrong else 1,
        "overrides": list(overrides),
        "command": command_line(overrides),
    }
    write_text(folder / FAILURE_FILE, json.dumps(told, indent=1) + "\n")


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
