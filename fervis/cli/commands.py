"""What the command can do: answer a question, or one of ``COMMANDS``. Mistakes end in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fervis.core.registry import KINDS, option_files, option_summary, preset_files
from fervis.errors import ConfigError
from fervis.runs.config import compose_config, expand_sweep, sweep_name, to_run_config
from fervis.system.console import log


def print_options(arguments: list[str]) -> None:
    """Print everything there is to choose, a line each.

    ``list`` prints all kinds, ``list explainer model`` those kinds. What is printed is chosen as ``explainer=lime``.
    """
    wanted = arguments or [*KINDS, "experiment"]
    for kind in wanted:
        found = preset_files() if kind == "experiment" else option_files(kind)
        width = max((len(name) for name in found), default=0)
        print(f"{kind}=")
        for name, path in found.items():
            print(f"  {name:<{width}}  {option_summary(path)}")


def merge_command(arguments: list[str]) -> None:
    """Join the shards of a question into its answer, and print its folder.

    ``shard=1/4``, ``shard=2/4``, ... split the faces of a question over jobs; each prints the question's run folder.
    ``merge outputs/runs/<name>`` makes the answer of them, the same to the byte as that of one job. Further folders,
    brought back from other machines, give the first what it lacks. ``merge key=value ...`` finds the folder by the
    question.
    """
    from fervis.runs.chunked.merge import merge_runs

    print(merge_runs(arguments))


def clean_command(arguments: list[str]) -> None:
    """Say what lies in the outputs folder, and remove what killed runs left, or more.

    ``clean`` removes what killed runs left half-written, which nobody misses. On request, and after asking, it removes
    more; any of these words can stand together:

      clean cache         parsed data, which is parsed again when it is needed
      clean runs          answers
      clean sweeps        sweeps with their jobs
      clean failed        jobs of sweeps that failed
      clean epochs        weights of epochs that no answer was made from, but for first, best and last
      clean checkpoints   trained networks
      clean trainings     summaries of trainings that differ in the seed
      clean all           everything

    ``--yes`` answers the question, and must where no terminal is; ``--dry-run`` removes nothing and lists what would be
    removed; ``outputs=<folder>`` names another folder. What a living process works on stays; links are not followed.
    """
    from fervis.cli.clean import clean_outputs

    print(clean_outputs(arguments))


def completion_command(arguments: list[str]) -> None:
    """Print what makes a shell complete ``fervis`` by TAB.

    In bash: ``eval "$(fervis completion bash)"``; in zsh, after ``compinit``: ``eval "$(fervis completion zsh)"``; in
    fish: ``fervis completion fish | source``. In the shell's start file it is there in every new shell.
    """
    from fervis.cli.completion import completion

    completion(arguments)


def print_layers(overrides: list[str]) -> None:
    """Print a network's layers: names for ``layer=``, paths, shapes, parameters.

    ``layers`` prints those of the network that is taken where nothing is said, ``layers model=resnet18`` those of
    another, ``layers dataset=fer2013 dataset.path=fer2013.csv`` those of the network for that data.
    """
    from fervis.core.layers import layer_table, list_layers
    from fervis.runs.setup import build_run

    question = to_run_config(compose_config(overrides))
    asked = build_run(question)
    faces = asked.dataset.load(question.cache)
    print(layer_table(list_layers(asked.network(faces), faces.images[:1].float() / 255)))


def print_audit(overrides: list[str]) -> None:
    """Print what is in a data set: sizes, classes, duplicates, conflicts, leaks.

    ``audit dataset=fer2013 dataset.path=fer2013.csv`` looks at your own FER2013.
    """
    from fervis.core.registry import build_plugin
    from fervis.datasets.audit import audit_dataset, audit_text

    question = to_run_config(compose_config(overrides))
    faces = build_plugin("dataset", question.dataset).load(question.cache)
    print(audit_text(audit_dataset(faces), str(question.dataset["name"])))


def report_command(folders: list[str]) -> None:
    """Write the page of a run or a sweep anew, from what lies in its folder.

    ``report outputs/runs/vgg8-saliency-1f0c2a9b`` writes that run's ``report.html``, ``report outputs/sweeps/<name>``
    the ``index.html`` of a sweep and the page of each of its jobs. Prints where they are.

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
    """Train a network, unless it is trained, and tell what it is worth.

    ``train dataset=fer2013 dataset.path=fer2013.csv trainer=standard`` trains one, and a training that was interrupted
    goes on from its last whole epoch. ``train -m seed=0,1,2`` trains one for each value.

    The trainings of a sweep that differ in the seed alone are told of together: mean, standard deviation and ensemble.
    The last line printed is the folder of the training, or of the last summary.
    """
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
        build_run(question)  # so that no mistake is found after hours
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


COMMANDS: dict[str, Callable[[list[str]], Any]] = {
    "list": print_options,
    "layers": print_layers,
    "audit": print_audit,
    "train": train_command,
    "report": report_command,
    "merge": merge_command,
    "clean": clean_command,
    "completion": completion_command,
}
