"""What the command can do: answer a question, or one of ``COMMANDS``. Mistakes end in one sentence."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from fervis.engines.progress_bar import quietly
from fervis.errors import RunFailed, WrongQuestion
from fervis.help_page import command_help, help_page, versions
from fervis.hints import explain_mistake
from fervis.question import Question, ask_hydra, sweep_name, swept, to_question
from fervis.registry import KINDS, options, presets, summary
from fervis.stopping import farewell, stoppable, typed_command
from fervis.terminal import listen, said

QUIET = ("-q", "--quiet")
HELP = ("-h", "--help")
ASKING = ("layers", "audit", "train")
"""Commands that take a question's settings."""
log = logging.getLogger("fervis")


def run(arguments: Sequence[str]) -> int:
    """Do what the command line says; return the exit code: 0, 2 for a wrong question, 1 for a failed run."""
    flagged = bool({*QUIET} & {*arguments})
    quiet = flagged or "quiet=true" in arguments
    listen(quiet)
    with stoppable(), quietly(quiet):
        return attempt([argument for argument in arguments if argument not in QUIET], arguments, flagged)


def attempt(asked: Sequence[str], typed: Sequence[str], quiet: bool) -> int:
    """Do what the command line says, and turn what goes wrong into a sentence and an exit code.

    Args:
        asked: the command line but for ``-q``.
        typed: the command line as it was typed.
        quiet: whether ``-q`` was.
    """
    word = asked[0] if asked else ""
    try:
        if {*HELP} & {*asked}:
            print(command_help(word, COMMANDS[word]) if word in COMMANDS else help_page(asked, COMMANDS))
        elif "--version" in asked:
            print(versions())
        elif word in COMMANDS:
            COMMANDS[word](with_quiet(asked[1:], quiet and word in ASKING))
        else:
            from fervis.asking import ask_command_line

            sys.argv[1:] = with_quiet(asked, quiet)
            ask_command_line()
    except KeyboardInterrupt as stopped:
        return complain(farewell(stopped, typed_command(typed)), getattr(stopped, "code", 130))
    except WrongQuestion as error:
        return complain(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        told = asked[1:] if word in COMMANDS else asked
        return complain(explain_mistake(told, error, COMMANDS), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has left, as `| head` does
        return 0
    except RunFailed as error:
        return complain(str(error), 1)
    except Exception as error:
        return complain(f"The run failed: {type(error).__name__}: {error} (FERVIS_TRACEBACK=1 shows where).", 1)
    return 0


def complain(sentence: str, code: int) -> int:
    """Say what is wrong on standard error, with the traceback where it was asked for."""
    if os.environ.get("FERVIS_TRACEBACK") == "1":
        traceback.print_exc()
    print(said(sentence, logging.ERROR), file=sys.stderr)
    return code


def with_quiet(arguments: Sequence[str], quiet: bool) -> list[str]:
    """The arguments with ``quiet=true`` among the overrides, which must stand together, where it is asked for."""
    place = next((place for place, argument in enumerate(arguments) if "=" in argument and argument[0] != "-"), None)
    place = len(arguments) if place is None else place
    return [*arguments[:place], *(["quiet=true"] if quiet else []), *arguments[place:]]


def list_everything(arguments: list[str]) -> None:
    """Print everything there is to choose, a line each.

    ``list`` prints all kinds, ``list explainer model`` those kinds. What is printed is chosen as ``explainer=lime``.
    """
    wanted = arguments or [*KINDS, "experiment"]
    for kind in wanted:
        found = presets() if kind == "experiment" else options(kind)
        width = max((len(name) for name in found), default=0)
        print(f"{kind}=")
        for name, path in found.items():
            print(f"  {name:<{width}}  {summary(path)}")


def merge_shards(arguments: list[str]) -> None:
    """Join the shards of a question into its answer, and print its folder.

    ``shard=1/4``, ``shard=2/4``, ... split the faces of a question over jobs; each prints the question's run folder.
    ``merge outputs/runs/<name>`` makes the answer of them, the same to the byte as that of one job. Further folders,
    brought back from other machines, give the first what it lacks. ``merge key=value ...`` finds the folder by the
    question.
    """
    from fervis.merging import merge

    print(merge(arguments))


def clean_outputs(arguments: list[str]) -> None:
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
    from fervis.cleaning import clean

    print(clean(arguments))


def complete(arguments: list[str]) -> None:
    """Print what makes a shell complete ``fervis`` by TAB.

    In bash: ``eval "$(fervis completion bash)"``; in zsh, after ``compinit``: ``eval "$(fervis completion zsh)"``; in
    fish: ``fervis completion fish | source``. In the shell's start file it is there in every new shell.
    """
    from fervis.completing import completion

    completion(arguments)


def show_layers(overrides: list[str]) -> None:
    """Print a network's layers: names for ``layer=``, paths, shapes, parameters.

    ``layers`` prints those of the network that is taken where nothing is said, ``layers model=resnet18`` those of
    another, ``layers dataset=fer2013 dataset.path=fer2013.csv`` those of the network for that data.
    """
    from fervis.asked import prepare
    from fervis.layers import list_layers, table

    question = to_question(ask_hydra(overrides))
    asked = prepare(question)
    faces = asked.dataset.load(question.cache)
    print(table(list_layers(asked.network(faces), faces.images[:1].float() / 255)))


def audit_dataset(overrides: list[str]) -> None:
    """Print what is in a data set: sizes, classes, duplicates, conflicts, leaks.

    ``audit dataset=fer2013 dataset.path=fer2013.csv`` looks at your own FER2013.
    """
    from fervis.engines.audit import audit, audit_text
    from fervis.registry import build

    question = to_question(ask_hydra(overrides))
    faces = build("dataset", question.dataset).load(question.cache)
    print(audit_text(audit(faces)))


def rebuild_report(folders: list[str]) -> None:
    """Write the page of a run or a sweep anew, from what lies in its folder.

    ``report outputs/runs/vgg8-saliency-1f0c2a9b`` writes that run's ``report.html``, ``report outputs/sweeps/<name>``
    the ``index.html`` of a sweep and the page of each of its jobs. Prints where they are.

    Raises:
        WrongQuestion: no folder is named, or one holds no answer.
    """
    from fervis.report import write_report
    from fervis.sweep_page import write_sweep

    if not folders:
        raise WrongQuestion("report: expected a run folder or a sweep's folder, such as outputs/runs/<name>.")
    for folder in map(Path, folders):
        if (folder / "summary.json").is_file():
            print(write_report(folder))
        elif any(folder.glob("*/summary.json")) or any(folder.glob("*/failure.json")):
            for answered in sorted(folder.glob("*/summary.json")):
                write_report(answered.parent)
            print(write_sweep(folder))
        else:
            raise WrongQuestion(f"report {folder}: it holds no answer (summary.json) and no answers of a sweep.")


def train_network(arguments: list[str]) -> None:
    """Train a network, unless it is trained, and tell what it is worth.

    ``train dataset=fer2013 dataset.path=fer2013.csv trainer=standard`` trains one, and a training that was interrupted
    goes on from its last whole epoch. ``train -m seed=0,1,2`` trains one for each value.

    The trainings of a sweep that differ in the seed alone are told of together: mean, standard deviation and ensemble.
    The last line printed is the folder of the training, or of the last summary.
    """
    from fervis.asked import prepare
    from fervis.assessment import told, told_runs
    from fervis.trainings import gather, train

    overrides = [argument for argument in arguments if argument not in ("-m", "--multirun")]
    if len(overrides) == len(arguments):
        question = question_to_train(overrides)
        training = train(question, facts_for(question, overrides))
        if training.report:
            print(told(training.report))
            print(training.folder.resolve())
        return
    questions = [(question_to_train(job), job) for job in swept(overrides)]
    for question, _ in questions:
        prepare(question)  # so that no mistake is found after hours
    seeds_apart: dict[tuple[str, ...], list[Any]] = {}
    for number, (question, job) in enumerate(questions, start=1):
        log.info("training %d of %d: %s", number, len(questions), " ".join(job))
        try:
            training = train(question, facts_for(question, job), group=sweep_name(overrides))
        except KeyboardInterrupt as stopped:
            stopped.add_note(f"{number - 1} of {len(questions)} trainings")
            raise
        key = tuple(override for override in job if not override.startswith("seed="))
        seeds_apart.setdefault(key, []).append(training)
    for key, trainings in seeds_apart.items():
        if trainings[0].report:
            found, folder = gather(trainings, facts_for(trainings[0].question, ["-m", *overrides]))
            print("\n".join([*([" ".join(key)] if len(seeds_apart) > 1 else []), told_runs(found)]))
            print(folder.resolve())


def question_to_train(overrides: Sequence[str]) -> Question:
    """The question with a network that is trained, whatever weights there are."""
    question = to_question(ask_hydra(overrides))
    question.model |= {"checkpoint": None, **({"weights": None} if "weights" in question.model else {})}
    return question


def facts_for(question: Question, overrides: Sequence[str]) -> dict[str, Any]:
    """What a network's card is told of its training. Paths of data are left out: they are the reader's own."""
    shown = [override for override in overrides if not override.startswith(("outputs=", "quiet="))]
    shown = ["dataset.path=<path>" if override.startswith("dataset.path=") else override for override in shown]
    return {
        "model": question.model["name"],
        "architecture": summary(options("model")[question.model["name"]]),
        "dataset": question.dataset["name"],
        "command": " ".join(["python -m fervis train", *shown]),
        "seed": question.seed,
        "trainer": question.trainer,
    }


COMMANDS: dict[str, Callable[[list[str]], Any]] = {
    "list": list_everything,
    "layers": show_layers,
    "audit": audit_dataset,
    "train": train_network,
    "report": rebuild_report,
    "merge": merge_shards,
    "clean": clean_outputs,
    "completion": complete,
}
