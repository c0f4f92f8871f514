"""The commands that print or write something, as ``command_table`` lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fervis.core.registry import KINDS, option_files, option_summary, preset_files
from fervis.errors import ConfigError, nearest_name
from fervis.runs.config import compose_config, expand_sweep, sweep_name, to_run_config
from fervis.system.console import log, printable


def print_options(kinds: list[str]) -> None:
    """Print the options of some kinds, or of all.

    Raises:
        ConfigError: there is no such kind.
    """
    known = [*KINDS, "experiment"]
    for kind in kinds:
        if kind not in known:
            raise ConfigError(
                f"list {kind}: there is no such kind.{nearest_name(kind, known)} Known: {', '.join(known)}."
            )
    for kind in kinds or known:
        files = preset_files() if kind == "experiment" else option_files(kind)
        width = max((len(name) for name in files), default=0)
        print(f"{kind}=")
        for name, path in files.items():
            print(f"  {name:<{width}}  {printable(option_summary(path))}")


def merge_command(arguments: list[str]) -> None:
    """Join the shards of a question and print its run folder."""
    from fervis.runs.chunked.merge import merge_runs

    print(merge_runs(arguments))


def clean_command(arguments: list[str]) -> None:
    """Remove what is named from the outputs folder and print what was done."""
    from fervis.cli.clean import clean_outputs

    for line in clean_outputs(arguments):
        print(line, flush=True)


def print_layers(overrides: list[str]) -> None:
    """Print the layers of a question's network."""
    from fervis.core.layers import layer_table, list_layers
    from fervis.runs.setup import build_run

    config = to_run_config(compose_config(overrides))
    setup = build_run(config)
    faces = setup.dataset.load(config.cache)
    print(layer_table(list_layers(setup.network(faces), faces.images[:1].float() / 255)))


def print_audit(overrides: list[str]) -> None:
    """Print what is in a question's data set."""
    from fervis.core.registry import build_plugin
    from fervis.datasets.audit import audit_dataset, audit_text

    config = to_run_config(compose_config(overrides))
    faces = build_plugin("dataset", config.dataset).load(config.cache)
    print(printable(audit_text(audit_dataset(faces), str(config.dataset["name"]))))


def report_command(folders: list[str]) -> None:
    """Write the pages of runs and sweeps again and print their paths.

    Raises:
        ConfigError: no folder is named, or one holds no answer.
    """
    from fervis.reporting.run_page import write_report
    from fervis.reporting.sweep.page import write_sweep

    if not folders:
        raise ConfigError("report: expected a run folder or a sweep's folder, such as outputs/runs/<name>.")
    for folder in map(Path, folders):
        if (folder / "summary.json").is_file():
            print(write_report(folder))
        elif any(folder.glob("*/summary.json")) or any(folder.glob("*/failure.json")):
            for answered in sorted(folder.glob("*/summary.json")):
                write_report(answered.parent)
            print(write_sweep(folder))
        else:
            raise ConfigError(f"report {folder}: it holds no answer (summary.json) and no answers of a sweep.")


def train_command(arguments: list[str]) -> None:
    """Train the network of a question, or one for each job of a sweep, and print its accuracy and folder."""
    from fervis.runs.evaluate import accuracy_table, seeds_table
    from fervis.runs.setup import build_run
    from fervis.runs.train import model_card_info, summarize_seeds, train_networks, training_config

    overrides = [argument for argument in arguments if argument not in ("-m", "--multirun")]
    if len(overrides) == len(arguments):
        question = training_config(overrides)
        training = train_networks(question, model_card_info(question, overrides))
        if training.report:
            print(accuracy_table(training.report))
            print(training.folder.resolve())
        return
    questions = [(training_config(job), job) for job in expand_sweep(overrides)]
    for question, _ in questions:
        build_run(question)  # so that no mistake shows up after hours
    seeds_apart: dict[tuple[str, ...], list[Any]] = {}
    for number, (question, job) in enumerate(questions, start=1):
        log.info("training %d of %d: %s", number, len(questions), " ".join(job))
        try:
            training = train_networks(question, model_card_info(question, job), group=sweep_name(overrides))
        except KeyboardInterrupt as stopped:
            stopped.add_note(f"{number - 1} of {len(questions)} trainings")
            raise
        key = tuple(override for override in job if not override.startswith("seed="))
        seeds_apart.setdefault(key, []).append(training)
    for key, trainings in seeds_apart.items():
        if trainings[0].report:
            found, folder = summarize_seeds(trainings, model_card_info(trainings[0].config, ["-m", *overrides]))
            print("\n".join([*([" ".join(key)] if len(seeds_apart) > 1 else []), seeds_table(found)]))
            print(folder.resolve())
