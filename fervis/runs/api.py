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
    """Answer a composed question into a folder."""
    question = to_run_config(config)
    with quiet_progress(question.quiet):
        return _run(question, folder, overrides, sweep)


def _run(question: RunConfig, folder: Path, overrides: Sequence[str], sweep: str | None) -> Path:
    from fervis.core.protocols import RunInfo
    from fervis.runs.run import run

    key = run_key(question)
    card = RunInfo(
        name=folder.name,
        id=run_id(key),
        key=key,
        folder=folder,
        config=question.plain(),
        group=sweep,
        tags=(str(question.explainer["name"]), str(question.model["name"]), str(question.dataset["name"])),
    )
    if trains(question) and (refusal := pretrained_refusal(card.tags[1], card.tags[2], overrides)):
        log.info("%s", refusal)
    if question.parts:
        return run_study(question, folder, card, overrides)
    return run(question, folder, card, command_line(overrides))


def run_study(question: RunConfig, folder: Path, card: RunInfo, overrides: Sequence[str]) -> Path:
    """Answer every part of a study, those that are answered already apart, and gather their figures."""
    from fervis.runs.artifacts import RunMetadata, is_complete
    from fervis.runs.multirun.shared import sharing_passes
    from fervis.runs.study.gallery import study_drawings
    from fervis.runs.study.overrides import plan_parts
    from fervis.runs.study.parts import collect_figures, study_parts
    from fervis.system.threads import choose_threads

    parts = study_parts(question.parts)
    drawings = study_drawings([stated for stated in question.parts if "draw" in stated])
    if question.shard is not None:
        raise ConfigError(f"shard={question.shard}: a study is several questions; split one of them.")
    planned = plan_parts(parts, overrides)
    # A preset's parts have plug-ins and files of their own, which the study's own settings do not name.
    card = replace(card, key=digest([card.key, [run_key(to_run_config(part.config)) for part in planned]]))
    if not question.rerun and is_complete(folder, card.key, question.cache):
        log.info("answered before (rerun=true asks again)", extra=SUCCESS)
        return folder
    threads = choose_threads(question.threads)
    record = RunMetadata(command_line(overrides), card, question.seed, question.device, question.precision, threads)
    with sharing_passes([part.overrides for part in planned]):
        answers = [_answer_part(question, number, planned, record) for number in range(len(planned))]
    with exclusive(Path(question.outputs), folder, "gathers this study"):
        return collect_figures(parts, answers, folder, record, drawings)


def _answer_part(question: RunConfig, number: int, planned: Sequence[PartRun], record: RunMetadata) -> Path:
    """Answer one part of a study; ``number`` counts from 0."""
    part = planned[number]
    log.info("part %d of %d: %s", number + 1, len(planned), part.part.title)
    config = compose_config([*part.overrides, f"rerun={question.rerun}"])
    try:
        with record.stage(part.part.title):
            return run_config(config, run_folder(config), part.overrides, record.card.folder.name)
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
