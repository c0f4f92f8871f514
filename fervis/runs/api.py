"""Run configs from Python: one run, one study, one list of overrides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fervis.errors import ConfigError
from fervis.models.pretrained import pretrained_refusal
from fervis.runs.config import RunConfig, command_line, compose_config, run_folder, run_id, run_key, to_run_config
from fervis.runs.config.schema import trains
from fervis.runs.config_errors import explain_config_error
from fervis.runs.overrides import as_list, prepare_overrides
from fervis.system.console import SUCCESS, log
from fervis.system.hashing import digest
from fervis.system.locks import exclusive
from fervis.system.progress import quiet_progress

if TYPE_CHECKING:
    from fervis.core.protocols import RunInfo
    from fervis.runs.artifacts import RunMetadata
    from fervis.runs.study.overrides import PartRun


def run_config(config: DictConfig, folder: Path, overrides: Sequence[str], sweep: str | None = None) -> Path:
    """Run a composed config into a folder."""
    typed = to_run_config(config)
    with quiet_progress(typed.quiet):
        return _run(typed, folder, overrides, sweep)


def _run(config: RunConfig, folder: Path, overrides: Sequence[str], sweep: str | None) -> Path:
    from fervis.core.protocols import RunInfo
    from fervis.runs.run import run

    key = run_key(config)
    card = RunInfo(
        name=folder.name,
        id=run_id(key),
        key=key,
        folder=folder,
        config=config.plain(),
        group=sweep,
        tags=(str(config.explainer["name"]), str(config.model["name"]), str(config.dataset["name"])),
    )
    if trains(config) and (refusal := pretrained_refusal(card.tags[1], card.tags[2], overrides)):
        log.info("%s", refusal)
    if config.parts:
        return run_study(config, folder, card, overrides)
    return run(config, folder, card, command_line(overrides))


def run_study(config: RunConfig, folder: Path, card: RunInfo, overrides: Sequence[str]) -> Path:
    """Answer every part of a study, those that are answered already apart, and gather their figures."""
    from fervis.runs.artifacts import RunMetadata, is_complete
    from fervis.runs.multirun.shared import sharing_passes
    from fervis.runs.study.drawings import study_drawings
    from fervis.runs.study.overrides import plan_parts
    from fervis.runs.study.parts import collect_figures, study_parts
    from fervis.system.threads import choose_threads

    parts = study_parts(config.parts)
    drawings = study_drawings([stated for stated in config.parts if "draw" in stated], config.seed)
    if config.shard is not None:
        raise ConfigError(f"shard={config.shard}: a study is several questions; split one of them.")
    planned = plan_parts(parts, overrides)
    # A preset's parts have plug-ins and files of their own, which the study's own settings do not name.
    card = replace(card, key=digest([card.key, [run_key(to_run_config(part.config)) for part in planned]]))
    if not config.rerun and is_complete(folder, card.key, config.cache):
        log.info("answered before (rerun=true asks again)", extra=SUCCESS)
        return folder
    threads = choose_threads(config.threads)
    record = RunMetadata(command_line(overrides), card, config.seed, config.device, config.precision, threads)
    with sharing_passes(lambda: [part.overrides for part in planned]):
        answers = [_answer_part(config, number, planned, record) for number in range(len(planned))]
    with exclusive(Path(config.outputs), folder, "gathers this study"):
        return collect_figures(parts, answers, folder, record, drawings)


def _answer_part(config: RunConfig, number: int, planned: Sequence[PartRun], record: RunMetadata) -> Path:
    """Answer one part of a study; ``number`` counts from 0."""
    part = planned[number]
    log.info("part %d of %d: %s", number + 1, len(planned), part.part.title)
    of_part = compose_config([*part.overrides, f"rerun={config.rerun}"])
    try:
        with record.stage(part.part.title):
            return run_config(of_part, run_folder(of_part), part.overrides, record.card.folder.name)
    except KeyboardInterrupt as stopped:
        stopped.add_note(f"{number} of {len(planned)} parts of the study")
        raise


def ask(overrides: str | Sequence[str] = ()) -> Path:
    """Answer a question given by overrides, a list or a text as on the command line; return the run folder.

    Example:
        ``fervis.ask(["explainer=saliency", "layer=conv7"])`` or ``fervis.ask("explainer=saliency layer=conv7")``

    Raises:
        ConfigError: with the sentence the command would print.
    """
    overrides = prepare_overrides(as_list(overrides))
    try:
        config = compose_config(overrides)
        folder = run_folder(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain_config_error(overrides, error)) from error
    return run_config(config, folder, overrides)
