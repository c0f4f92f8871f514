"""One question from config to answer: find the faces, find or train the network, explain, draw, record."""

from __future__ import annotations

import logging
import shutil
from importlib.metadata import version
from pathlib import Path

import torch

from fervis.asked import Asked, of_faces, prepare
from fervis.atomic import ABOUT, BLOCKS
from fervis.blocks import WHOLE, Blocks, open_blocks, shard_of
from fervis.contracts import RunCard
from fervis.contrasting import contrasts_of, draw_contrasts
from fervis.engines.contrast import Contrast
from fervis.errors import WrongQuestion
from fervis.finding import explain_faces
from fervis.locks import alone
from fervis.looking import Looked, look
from fervis.question import Question
from fervis.record import Record, arrays, installed, is_answered, whole_answer, write_answer
from fervis.results import Explanation
from fervis.telling import tell_answer, tell_kept
from fervis.terminal import GOOD
from fervis.threads import computing_with

log = logging.getLogger("fervis")


def answer(question: Question, folder: Path, card: RunCard, command: str) -> Path:
    """Answer a question into its run folder, or find that the answer is there.

    Args:
        question: what is asked.
        folder: where the answer is kept; whole when ``summary.json`` stands in it.
        card: what the tracker is told of the run.
        command: the command that asks the same again.

    Returns:
        ``folder``.
    """
    shard = shard_of(question.shard)
    place = folder / f"shard {shard.number} of {shard.of}" if shard else folder
    with alone(Path(question.outputs), place, "answers this question"):
        if not question.rerun and is_answered(folder, question.cache):
            log.info("answered before (rerun=true asks again)", extra=GOOD)
            tell_kept(question, card)
        else:
            asked = prepare(question)
            with computing_with(asked.threads):
                answer_anew(asked, folder, card, command)
    return folder


def answer_anew(asked: Asked, folder: Path, card: RunCard, command: str) -> None:
    """Answer a question into its run folder, whatever is there, and tell the tracker; of a shard, keep its blocks."""
    question, cache = asked.question, asked.question.cache
    record = Record(command, card, question.seed, asked.device, asked.precision, asked.threads)
    if asked.shard:
        answer_shard(asked, record, folder)
        return
    asked.tracker.start(card)
    whole = False
    try:
        looked = look(asked, record, cache)
        blocks = blocks_of(asked, record, folder, looked)
        explanation, numbers, contrasts = explained(asked, record, looked, blocks)
        with whole_answer(folder) as staging:
            with record.stage("draw"):
                figures = asked.visualizer.draw(explanation, staging / "figures")
                figures += draw_contrasts(contrasts, explanation, staging / "figures")
            write_answer(staging, record, explanation, numbers, figures, asked.files(), cache, blocks)
        if blocks:
            shutil.rmtree(blocks.folder)
        tell_answer(asked.tracker, card, explanation.faces)
        whole = True
    finally:
        asked.tracker.finish(ok=whole)


def answer_shard(asked: Asked, record: Record, folder: Path) -> None:
    """Explain the blocks of the question's shard, and say what is left to do.

    Raises:
        WrongQuestion: the question is not one of faces.
    """
    if not of_faces(asked):
        raise WrongQuestion(
            f"shard={asked.shard}: explainer={asked.question.explainer['name']} looks at the network as a whole; a "
            "shard is a part of the faces that are explained."
        )
    blocks = blocks_of(asked, record, folder, look(asked, record, asked.question.cache))
    assert blocks is not None
    left = len(blocks.missing())
    if left:
        log.info("shard %s is there; %d of %d blocks are left to the other shards", asked.shard, left, len(blocks))
    else:
        log.info("every shard is there: python -m fervis merge %s", folder)


def blocks_of(asked: Asked, record: Record, folder: Path, looked: Looked) -> Blocks | None:
    """The faces explained by blocks, where there are many or some blocks are there already; None for a few.

    Of a shard, its own blocks are explained; else all that are missing.
    """
    begun = (folder / ABOUT).is_file()
    if not of_faces(asked) or not (asked.shard or begun or len(looked.chosen) > WHOLE):
        return None
    question = asked.question

    def probe() -> int:
        explanation, _, _ = explain_faces(asked, looked, looked.chosen.take(torch.tensor([0])))
        return sum(values.nbytes for values in arrays(explanation).values())

    key = {
        "question": record.card.id,
        "hashes": record.hashes,
        "versions": {"fervis": version("fervis"), **installed()},
    }
    card = record.card
    told = {"command": record.command, "name": card.name, "id": card.id, "tags": card.tags, "config": card.config}
    groups = len(looked.layers) * len(looked.ready)
    with record.stage("explain"):
        with alone(Path(question.outputs), folder / BLOCKS, "opens the blocks of this question"):
            blocks = open_blocks(folder, looked.chosen, groups, probe, key=key, asked=told)
        anew = question.rerun and asked.shard is not None
        blocks.explain(lambda some: explain_faces(asked, looked, some), asked.shard, quiet=question.quiet, anew=anew)
    return blocks


def explained(
    asked: Asked, record: Record, looked: Looked, blocks: Blocks | None
) -> tuple[Explanation, dict[str, float], list[Contrast]]:
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
        contrasts = contrasts_of(explanation, networks, pool, looked.layers, asked.question.seed, asked.device)
    if len(networks) > 1 and not contrasts:
        split = asked.question.split
        record.warnings.append(f"split={split} has too few faces to contrast the checkpoints' layers on.")
    return explanation, numbers | {name: value for one in contrasts for name, value in one.numbers().items()}, contrasts
