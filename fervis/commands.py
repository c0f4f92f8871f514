"""What the command can do: answer a question, or list, layers, audit, train, report. Mistakes end in one sentence."""

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

from fervis.errors import RunFailed, WrongQuestion
from fervis.hints import explain_mistake
from fervis.question import Question, ask_hydra, sweep_name, swept, to_question
from fervis.registry import KINDS, options, presets, summary

log = logging.getLogger("fervis")


def run(arguments: Sequence[str]) -> int:
    """Do what the command line says; return the exit code: 0, 2 for a wrong question, 1 for a failed run."""
    word = arguments[0] if arguments else ""
    listen()
    try:
        if word in COMMANDS:
            COMMANDS[word](list(arguments[1:]))
        else:
            from fervis.asking import ask_command_line

            ask_command_line()
    except KeyboardInterrupt:
        return complain("Interrupted; nothing half-written is left, and the same command goes on.", 130)
    except WrongQuestion as error:
        return complain(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        told = arguments[1:] if word in COMMANDS else arguments
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
    print(f"fervis: {sentence}", file=sys.stderr)
    return code


def listen() -> None:
    """Send fervis's own messages to standard error, plain."""
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("fervis: %(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def list_everything(arguments: list[str]) -> None:
    """Print every plug-in and preset, one line each."""
    wanted = arguments or [*KINDS, "experiment"]
    for kind in wanted:
        found = presets() if kind == "experiment" else options(kind)
        width = max((len(name) for name in found), default=0)
        print(f"{kind}=")
        for name, path in found.items():
            print(f"  {name:<{width}}  {summary(path)}")


def show_layers(overrides: list[str]) -> None:
    """Print the layers of the question's network: names, paths, shapes, parameter counts."""
    from fervis.answer import prepare
    from fervis.layers import list_layers, table

    question = to_question(ask_hydra(overrides))
    asked = prepare(question)
    faces = asked.dataset.load(question.cache)
    print(table(list_layers(asked.network(faces), faces.images[:1].float() / 255)))


def audit_dataset(overrides: list[str]) -> None:
    """Print what is in the question's data set: sizes, classes, duplicates, conflicts, leaks."""
    from fervis.engines.audit import audit, audit_text
    from fervis.registry import build

    question = to_question(ask_hydra(overrides))
    faces = build("dataset", question.dataset).load(question.cache)
    print(audit_text(audit(faces)))


def rebuild_report(folders: list[str]) -> None:
    """Write the pages of run folders and sweeps anew, from what lies in them; print where they are.

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
    """Train the question's network, or with ``-m`` those of a sweep, unless they are trained; tell what they are worth.

    The trainings of a sweep that differ in the seed alone are told of together: mean, standard deviation and ensemble.
    The last line printed is the folder of the training, or of the last summary.
    """
    from fervis.answer import prepare
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
        training = train(question, facts_for(question, job), group=sweep_name(overrides))
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
    shown = [override for override in overrides if not override.startswith("outputs=")]
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
}
