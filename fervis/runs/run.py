"""One run from config to folder: load, explain, draw, write, track."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from fervis import __version__
from fervis.core.protocols import RunInfo
from fervis.core.registry import build_plugin
from fervis.core.results import Explanation
from fervis.metrics.layer_means import interval_numbers, layer_means
from fervis.metrics.representation.checkpoint_comparison import CheckpointComparison
from fervis.runs.artifacts import (
    RunMetadata,
    atomic_run_folder,
    claimed_folder,
    installed_versions,
    is_complete,
    reuse_run,
    run_arrays,
    write_run,
)
from fervis.runs.checkpoint_comparison import compare_run_checkpoints, draw_checkpoint_comparisons
from fervis.runs.chunked.chunks import UNCHUNKED_LIMIT, Chunks, open_chunks
from fervis.runs.config import RunConfig, parse_shard
from fervis.runs.evidence import check_measures, evidence_metrics, score_maps, with_scores
from fervis.runs.explain import explain_faces
from fervis.runs.inputs import RunInputs, load_inputs
from fervis.runs.map_sentences import baseline_warnings, map_sentences
from fervis.runs.saved_maps import explanation_key, keep_chunks, load_maps, save_maps, saved_chunks
from fervis.runs.setup import RunSetup, build_run
from fervis.runs.track import track_existing_run, track_run
from fervis.system.console import SUCCESS, log
from fervis.system.files import CHUNKS_FOLDER, CHUNKS_METADATA
from fervis.system.locks import exclusive
from fervis.system.threads import thread_limit, training_cores

Results = tuple[Explanation, list[dict[str, float]]]


def run(config: RunConfig, folder: Path, info: RunInfo, command: str) -> Path:
    """Run a config into its folder, unless the folder holds its whole result.

    Args:
        config: the typed config.
        folder: the run folder; complete when it holds ``summary.json``.
        info: name, key and settings of the run, for the tracker.
        command: the command that repeats the run.

    Returns:
        ``folder``.
    """
    shard = parse_shard(config.shard)
    lock = folder / f"shard {shard.number} of {shard.of}" if shard else folder
    if not config.rerun and is_complete(folder, info.key, config.cache):  # no lock is needed to read
        return _existing(config, info)
    with exclusive(Path(config.outputs), lock, "answers this question"), claimed_folder(folder):
        if not config.rerun and is_complete(folder, info.key, config.cache, warn=False):
            return _existing(config, info)
        if not config.rerun and not shard and reuse_run(Path(config.outputs), info, command):
            track_existing_run(config, info)
        else:
            setup = build_run(config)
            with thread_limit(setup.threads):
                run_fresh(setup, folder, info, command)
    return folder


def _existing(config: RunConfig, info: RunInfo) -> Path:
    log.info("answered before (rerun=true asks again)", extra=SUCCESS)
    track_existing_run(config, info)
    return info.folder


def run_fresh(setup: RunSetup, folder: Path, info: RunInfo, command: str) -> None:
    """Run a config into its folder and track the run, replacing an earlier one; of a shard, only save its chunks."""
    config = setup.config
    record = RunMetadata(command, info, config.seed, setup.device, setup.precision, setup.threads)
    if setup.shard:  # a shard is not tracked, and no tracker is started for what it may train
        run_shard(replace(setup, tracker=build_plugin("tracker", "none")), record, folder)
        return
    setup.tracker.start(info)
    ok = False
    try:
        inputs = load_inputs(setup, record, config.cache)
        check_measures(setup, inputs.faces.truth is not None)
        key = explanation_key(setup, record, inputs)
        chunks = explain_in_chunks(setup, record, folder, inputs, key)
        with record.stage("explain"):
            results = _explained(setup, inputs, chunks, key)
        with record.stage("evidence"):
            results = _scored(setup, record, inputs, results, chunks)
        means, over = layer_means(_parts_with_means(results[0], chunks))
        explanation = replace(results[0], means=means, means_over=over)
        comparisons = _compare_checkpoints(setup, record, inputs, explanation)
        numbers = _numbers(record, inputs, (explanation, results[1]), chunks, comparisons)
        with atomic_run_folder(folder) as staging:
            with record.stage("draw"):
                figures = setup.visualizer.draw(explanation, staging / "figures")
                figures += draw_checkpoint_comparisons(comparisons, explanation, staging / "figures")
            write_run(staging, record, explanation, numbers, figures, setup.files(), config.cache, chunks)
        if chunks:
            keep_chunks(chunks, folder, config.cache, key)
        track_run(setup.tracker, info)
        ok = True
    finally:
        setup.tracker.finish(ok=ok)


def run_shard(setup: RunSetup, record: RunMetadata, folder: Path) -> None:
    """Explain the chunks of the config's shard, and log what is missing."""
    inputs = load_inputs(setup, record, setup.config.cache)
    chunks = explain_in_chunks(setup, record, folder, inputs, explanation_key(setup, record, inputs))
    assert chunks is not None
    missing = len(chunks.missing())
    if missing:
        log.info("shard %s is there; %d of %d chunks are left to the other shards", setup.shard, missing, len(chunks))
    else:
        trust = " --trust" if setup.config.code_source else ""  # it names Python code, which a folder may not choose
        log.info("every shard is there: python -m fervis merge %s%s", folder, trust)


def explain_in_chunks(setup: RunSetup, record: RunMetadata, folder: Path, inputs: RunInputs, key: str) -> Chunks | None:
    """Explain the faces chunk by chunk, where there are many or some chunks exist already; None for a few.

    Of a shard, its own chunks are explained; else all that are missing.
    """
    config, info = setup.config, record.card
    started = (folder / CHUNKS_METADATA).is_file()
    many = len(inputs.selected) > UNCHUNKED_LIMIT
    if setup.explainer.scope == "network" or not (setup.shard or started or many):
        return None
    groups = len(inputs.layers) * len(inputs.checkpoints)
    kind = setup.explainer.result
    saved = None if config.rerun else saved_chunks(config.cache, key, inputs.selected, groups, kind)
    if saved and not setup.shard:
        log.info("the maps are there already; drawing and writing them")
        return saved

    def probe() -> int:
        explanation, _, _ = explain_faces(setup, inputs, inputs.selected.take(torch.tensor([0])))
        return sum(values.nbytes for values in run_arrays(explanation).values())

    identity = {
        "run": info.key,
        "hashes": record.hashes,
        "versions": {"fervis": __version__, **installed_versions()},
    }
    run_metadata = {
        "command": record.command,
        "name": info.name,
        "id": info.id,
        "tags": info.tags,
        "config": info.config,
    }
    run_metadata |= {"key": info.key, "cores": training_cores()}
    with record.stage("explain"):
        with exclusive(Path(config.outputs), folder / CHUNKS_FOLDER, "opens the chunks of this run"):
            chunks = open_chunks(folder, inputs.selected, groups, kind, probe, key=identity, run_metadata=run_metadata)
        if saved:
            chunks.copy_from(saved, setup.shard)
        overwrite = config.rerun and setup.shard is not None
        chunks.explain(
            lambda faces: explain_faces(setup, inputs, faces), setup.shard, quiet=config.quiet, overwrite=overwrite
        )
    return chunks


def _explained(setup: RunSetup, inputs: RunInputs, chunks: Chunks | None, key: str) -> Results:
    """Return the explanation of all selected faces, or of those displayed where they were explained in chunks."""
    if chunks:
        return chunks.displayed(), chunks.numbers()
    config = setup.config
    if not config.rerun and (saved := load_maps(setup, inputs, key)):
        log.info("the maps are there already; drawing and writing them")
        return saved
    explanation, positions, metrics = explain_faces(setup, inputs, inputs.selected)
    save_maps(config.cache, key, explanation, positions, metrics)
    return explanation, metrics


def _scored(
    setup: RunSetup, record: RunMetadata, inputs: RunInputs, results: Results, chunks: Chunks | None
) -> Results:
    """Add the scores of evidence to results: to each entry, also in words, and as numbers of the run."""
    explanation, metrics = results
    if not setup.evidence:
        return results
    if chunks:
        for number in range(len(chunks)):
            chunks.evidence[number] = score_maps(setup, inputs, chunks.load(number)[0])
        explanation = chunks.displayed()
    else:
        explanation = with_scores(explanation, score_maps(setup, inputs, explanation))
    whole = explanation

    def scored() -> Iterator[Explanation]:
        yield from (chunks.load(number)[0] for number in range(len(chunks))) if chunks else [whole]

    seed = setup.config.seed
    record.warnings += baseline_warnings(setup.evidence, scored(), seed)
    explanation = replace(explanation, sentences=map_sentences(setup.evidence, explanation))
    first, *others = metrics
    return explanation, [first | evidence_metrics(scored(), seed), *others]


def _parts_with_means(explanation: Explanation, chunks: Chunks | None) -> Iterator[Explanation]:
    """Yield the explanations that the means by layer are over: all chunks of a chunked run, displayed or not."""
    if chunks and hasattr(explanation.result, "layer_numbers"):
        yield from (part for part, _ in chunks.each())
    else:
        yield explanation


def _compare_checkpoints(
    setup: RunSetup, record: RunMetadata, inputs: RunInputs, explanation: Explanation
) -> list[CheckpointComparison]:
    config = setup.config
    networks = [loaded.batch.model for loaded in inputs.checkpoints]
    names = [layer.name for layer in inputs.layers]
    with record.stage("contrast"):
        pool = inputs.faces.split(config.split)
        comparisons = compare_run_checkpoints(explanation, networks, pool, names, config.seed, setup.device)
    if len(networks) > 1 and not comparisons:
        record.warnings.append(f"split={config.split} has too few faces to contrast the checkpoints' layers on.")
    return comparisons


def _numbers(
    record: RunMetadata,
    inputs: RunInputs,
    results: Results,
    chunks: Chunks | None,
    comparisons: list[CheckpointComparison],
) -> dict[str, float]:
    """Return the numbers of the run, by checkpoint if there are several; warn if not all faces are displayed."""
    explanation, metrics = results
    count, displayed = len(inputs.selected), len(set(explanation.faces.rows.tolist()))
    if chunks and displayed < count:
        record.warnings.append(
            f"Figures and table show {displayed:,} of the {count:,} faces; arrays.npz has all of them."
        )
    numbers: dict[str, float] = {}
    for loaded, of_checkpoint in zip(inputs.checkpoints, metrics, strict=True):
        prefix = f"{loaded.checkpoint.name}/" if len(inputs.checkpoints) > 1 else ""
        numbers |= {f"{prefix}{name}": value for name, value in {**loaded.metrics, **of_checkpoint}.items()}
    numbers |= {name: value for name, value in interval_numbers(explanation.means).items() if name not in numbers}
    return numbers | {name: value for pair in comparisons for name, value in pair.numbers().items()}
