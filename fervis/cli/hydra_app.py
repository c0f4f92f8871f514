"""Run one config or a sweep through Hydra."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fervis.cli.arguments import hydra_arguments
from fervis.core.registry import CONF_FOLDER, config_sources
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
from fervis.runs.config_code import refuse_code
from fervis.runs.multirun.job_value import job_value
from fervis.runs.multirun.jobs import completed_summary, log_job
from fervis.runs.multirun.launchers import exit_with_parent, prefix_logs, relay_logs
from fervis.runs.overrides import check_overrides, parse_override, prepare_overrides
from fervis.system.console import SUCCESS, log
from fervis.system.files import CHUNKS_METADATA, write_text

FAILURE_FILE = "failure.json"
EACH_LAYER = "layer=each"
MULTIRUN = "--multirun"


def run_hydra(typed: Sequence[str]) -> None:
    """Answer a question, or a sweep of questions, through Hydra.

    Args:
        typed: the command line, but for the flags that ``split_sources`` takes.

    Raises:
        ConfigError: the question, or every failed job of the sweep, was wrong.
        RunError: a job of the sweep failed.
    """
    register_configs()
    # Hydra would print its own messages and exit; with this it raises errors.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    flags, overrides = hydra_arguments(typed)
    multirun = MULTIRUN in flags
    overrides = prepare_overrides(overrides)
    check_overrides([override for override in overrides if override != EACH_LAYER], multirun=multirun)
    refuse_code(overrides)
    overrides = each_layer(overrides, multirun=multirun)
    if multirun:
        check_not_empty(overrides)
    overrides = name_sweep(overrides)
    sys.argv[1:] = [*flags, *overrides]
    sweep = sweep_folder(overrides)
    failed: list[BaseException] = []
    launching = os.getpid()
    sources = replace(config_sources)

    def job(config: DictConfig) -> str | float | None:
        if os.getpid() == launching:
            return run_job(config, failed)
        vars(config_sources).update(vars(sources))
        exit_with_parent(launching)
        with prefix_logs(HydraConfig.get().job.num + 1, quiet=config.quiet):
            return run_job(config, failed)

    try:
        with relay_logs(sweep), _shared_passes(overrides) if multirun else nullcontext():
            hydra.main(version_base="1.3", config_path=str(CONF_FOLDER), config_name=config_sources.name)(job)()
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


def _shared_passes(overrides: Sequence[str]) -> AbstractContextManager[None]:
    """Return the context in which jobs that run in this process share their passes."""
    from fervis.runs.multirun.shared import sharing_passes  # imports torch

    return sharing_passes(lambda: expand_sweep(overrides))


def name_sweep(overrides: Sequence[str]) -> list[str]:
    """Return the overrides with the folder of the sweep among them.

    An override, unlike a resolver, reaches the jobs of every launcher as the sweep began with it.
    """
    if any(override.startswith("hydra.sweep.dir=") for override in overrides):
        return list(overrides)
    return [f"hydra.sweep.dir=${{outputs}}/sweeps/{sweep_name(overrides)}", *overrides]


def each_layer(overrides: Sequence[str], *, multirun: bool) -> list[str]:
    """Return the overrides with ``layer=each`` of a sweep replaced by the names of the network's layers.

    Raises:
        ConfigError: it is no sweep, or one over networks or data sets too, whose layers may differ.
    """
    if EACH_LAYER not in overrides:
        return list(overrides)
    if not multirun:
        raise ConfigError("layer=each: it means a job a layer, a sweep; ask with -m, or with layer=all for one answer.")
    from fervis.core.layers import expand_layers
    from fervis.runs.setup import build_run

    others = [override for override in overrides if override != EACH_LAYER]
    jobs = [[override for override in job if not override.startswith("hydra.")] for job in expand_sweep(others)]
    networks = {tuple(one for one in job if one.lstrip("+~").startswith(("model", "dataset"))) for job in jobs}
    if len(networks) > 1:
        raise ConfigError("layer=each: the layers of several networks may differ; expected one model= and dataset=.")
    config = to_run_config(compose_config(jobs[0]))
    setup = build_run(config)
    faces = setup.dataset.load(config.cache)
    names = expand_layers(setup.network(faces), "all", faces.images[:1].float() / 255)
    return [f"layer={','.join(names)}" if override == EACH_LAYER else override for override in overrides]


def check_not_empty(overrides: Sequence[str]) -> None:
    """Check that a sweep has a job.

    Raises:
        ConfigError: it has none, as with an empty range.
    """
    swept = [override for override in overrides if (parsed := parse_override(override)) and parsed.is_range_sweep()]
    if swept and not expand_sweep(overrides):
        raise ConfigError(f"{swept[0]}: it has no values, so that the sweep has no job.")


def sweep_folder(overrides: Sequence[str]) -> Path:
    """Return the folder of the sweep that this command line starts, if it starts one."""
    values = dict(override.split("=", 1) for override in overrides if "=" in override)
    outputs = str(parsed.value()) if (parsed := parse_override(f"outputs={values.get('outputs', 'outputs')}")) else ""
    return Path(values["hydra.sweep.dir"].replace("${outputs}", outputs))


def finish_sweep(folder: Path, command: str) -> None:
    """Write the sweep's page, print where it is, and fail where a job has failed.

    Raises:
        ConfigError: every job that failed had a wrong config.
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
            words = shlex.split(json.loads(about.read_text(encoding="utf-8"))["run"]["command"])
            write_failure(folder, [word for word in words if "=" in word and word[0] != "-"], error)
        else:
            (folder / FAILURE_FILE).unlink(missing_ok=True)


def run_job(config: DictConfig, failed: list[BaseException]) -> str | float | None:
    """One job of Hydra's: answer, print the run folder, and leave no empty folder behind a mistake.

    A sweeper gets the folder, or the number that ``value=`` names: NaN where the job failed.

    The error of a single run goes to ``failed``, since Hydra would print its own text around it; that of a sweep's
    job is written into the job's folder as ``failure.json``, and the sweep goes on.
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
        returned = str(folder) if config.value is None else job_value(folder, config.value)
        if config.value is not None:
            log.info("%s = %.6g", config.value, returned)
    except Exception as error:
        if sweep:
            write_failure(folder, overrides, error)
            return None if config.value is None else math.nan
        _remove_if_empty(folder)
        failed.append(error)
        return None
    except BaseException:
        _remove_if_empty(folder)
        raise
    (folder / FAILURE_FILE).unlink(missing_ok=True)
    return returned


def write_failure(folder: Path, overrides: Sequence[str], error: Exception) -> None:
    """Write a job's error into its folder, and log it."""
    wrong = isinstance(error, ConfigError | HydraException | OmegaConfBaseException)
    known = wrong or isinstance(error, RunError)
    sentence = str(error) if known else f"{type(error).__name__}: {error}"
    log.error("%s: %s", folder.name, sentence)
    failure = {
        "error": sentence,
        "code": 2 if wrong else 1,
        "overrides": list(overrides),
        "command": command_line(overrides),
    }
    write_text(folder / FAILURE_FILE, json.dumps(failure, indent=1) + "\n")


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
