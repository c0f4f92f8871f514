"""One question from config to answer: find the faces, find or train the network, explain, draw, record."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

import torch

from fervis.core.protocols import RunInfo
from fervis.core.results import Explanation
from fervis.errors import ConfigError
from fervis.metrics.representation.checkpoint_comparison import CheckpointComparison
from fervis.runs.artifacts import RunMetadata, atomic_run_folder, installed_versions, is_complete, run_arrays, write_run
from fervis.runs.checkpoint_comparison import compare_run_checkpoints, draw_checkpoint_comparisons
from fervis.runs.chunked.chunks import UNCHUNKED_LIMIT, Chunks, open_chunks, parse_shard
from fervis.runs.config import RunConfig
from fervis.runs.explain import explain_faces
from fervis.runs.inputs import RunInputs, load_inputs
from fervis.runs.setup import RunSetup, build_run, explains_images
from fervis.runs.track import track_existing_run, track_run
from fervis.system.console import SUCCESS, log
from fervis.system.files import CHUNKS_FOLDER, CHUNKS_METADATA
from fervis.system.locks import exclusive
from fervis.system.threads import thread_limit


def run(question: RunConfig, folder: Path, card: RunInfo, command: str) -> Path:
    """Answer a question into its run folder, or find that the answer is there.

    Args:
        question: what is asked.
        folder: where the answer is kept; whole when ``summary.json`` stands in it.
        card: what the tracker is told of the run.
        command: the command that asks the same again.

    Returns:
        ``folder``.
    """
    shard = parse_shard(question.shard)
    place = folder / f"shard {shard.number} of {shard.of}" if shard else folder
    with exclusive(Path(question.outputs), place, "answers this question"):
        if not question.rerun and is_complete(folder, question.cache):
            log.info("answered before (rerun=true asks again)", extra=SUCCESS)
            track_existing_run(question, card)
        else:
            asked = build_run(question)
            with thread_limit(asked.threads):
                run_fresh(asked, folder, card, command)
    return folder


def run_fresh(asked: RunSetup, folder: Path, card: RunInfo, command: str) -> None:
    """Answer a question into its run folder, whatever is there, and tell the tracker; of a shard, keep its blocks."""
    question, cache = asked.question, asked.question.cache
    record = RunMetadata(command, card, question.seed, asked.device, asked.precision, asked.threads)
    if asked.shard:
        run_shard(asked, record, folder)
        return
    asked.tracker.start(card)
    whole = False
    try:
        looked = load_inputs(asked, record, cache)
        blocks = chunks_of(asked, record, folder, looked)
        explanation, numbers, contrasts = collect_results(asked, record, looked, blocks)
        with atomic_run_folder(folder) as staging:
            with record.stage("draw"):
                figures = asked.visualizer.draw(explanation, staging / "figures")
                figures += draw_checkpoint_comparisons(contrasts, explanation, staging / "figures")
            write_run(staging, record, explanation, numbers, figures, asked.files(), cache, blocks)
        if blocks:
            shutil.rmtree(blocks.folder)
        track_run(asked.tracker, card, explanation.faces)
        whole = True
    finally:
        asked.tracker.finish(ok=whole)


def run_shard(asked: RunSetup, record: RunMetadata, folder: Path) -> None:
    """Explain the blocks of the question's shard, and say what is left to do.

    Raises:
        ConfigError: the question is not one of faces.
    """
    if not explains_images(asked):
        raise ConfigError(
            f"shard={asked.shard}: explainer={asked.question.explainer['name']} looks at the network as a whole; a "
            "shard is a part of the faces that are explained."
        )
    blocks = chunks_of(asked, record, folder, load_inputs(asked, record, asked.question.cache))
    assert blocks is not None
    left = len(blocks.missing())
    if left:
        log.info("shard %s is there; %d of %d blocks are left to the other shards", asked.shard, left, len(blocks))
    else:
        log.info("every shard is there: python -m fervis merge %s", folder)


def chunks_of(asked: RunSetup, record: RunMetadata, folder: Path, looked: RunInputs) -> Chunks | None:
    """The faces explained by blocks, where there are many or some blocks are there already; None for a few.

    Of a shard, its own blocks are explained; else all that are missing.
    """
    begun = (folder / CHUNKS_METADATA).is_file()
    if not explains_images(asked) or not (asked.shard or begun or len(looked.chosen) > UNCHUNKED_LIMIT):
        return None
    question = asked.question

    def probe() -> int:
        explanation, _, _ = explain_faces(asked, looked, looked.chosen.take(torch.tensor([0])))
        return sum(values.nbytes for values in run_arrays(explanation).values())

    key = {
        "question": record.card.id,
        "hashes": record.hashes,
        "versions": {"fervis": version("fervis"), **installed_versions()},
    }
    card = record.card
    told = {"command": record.command, "name": card.name, "id": card.id, "tags": card.tags, "config": card.config}
    groups = len(looked.layers) * len(looked.ready)
    with record.stage("explain"):
        with exclusive(Path(question.outputs), folder / CHUNKS_FOLDER, "opens the blocks of this question"):
            blocks = open_chunks(folder, looked.chosen, groups, probe, key=key, asked=told)
        anew = question.rerun and asked.shard is not None
        blocks.explain(lambda some: explain_faces(asked, looked, some), asked.shard, quiet=question.quiet, anew=anew)
    return blocks


def collect_results(
    asked: RunSetup, record: RunMetadata, looked: RunInputs, blocks: Chunks | None
) -> tuple[Explanation, dict[str, float], list[CheckpointComparison]]:
    """What is shown and said: of all chosen faces, or of some where they were explained by blocks."""
    with record.stage("explain"):
        if blocks:
            explanation, found = blocks.shown(), blocks.numbers()
        else:
            explanation, _, found = explain_faces(asked, looked, looked.chosen)
    many = len(looked.chosen)
    shown = len(set(explanation.faces.rows.tolist()))
    if blocks and shown < many:
        record.warnings.append(f"Figures and table show {shown:,} of the {many:,} faces; arrays.npz has all of them.")
    numbers: dict[str, float] = {}
    for ready, own in zip(looked.ready, found, strict=True):
        prefix = f"{ready.checkpoint.name}/" if len(looked.ready) > 1 else ""
        numbers |= {f"{prefix}{name}": value for name, value in {**ready.numbers, **own}.items()}
    with record.stage("contrast"):
        pool = looked.faces.split(asked.question.split)
        networks = [ready.network for ready in looked.ready]
        contrasts = compare_run_checkpoints(
            explanation, networks, pool, looked.layers, asked.question.seed, asked.device
        )
    if len(networks) > 1 and not contrasts:
        split = asked.question.split
        record.warnings.append(f"split={split} has too few faces to contrast the checkpoints' layers on.")
    return explanation, numbers | {name: value for one in contrasts for name, value in one.numbers().items()}, contrasts
