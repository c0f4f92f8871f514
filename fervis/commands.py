"""What the command can do: answer a question, or list, layers, audit, train. Mistakes end in one sentence."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fervis.errors import RunFailed, WrongQuestion
from fervis.hints import explain_mistake
from fervis.question import (
    Question,
    ask_hydra,
    command_line,
    question_id,
    register,
    run_folder,
    settled,
    sweep_name,
    to_question,
)
from fervis.registry import CONF, KINDS, options, presets, summary

log = logging.getLogger("fervis")


def run(arguments: Sequence[str]) -> int:
    """Do what the command line says; return the exit code: 0, 2 for a wrong question, 1 for a failed run."""
    word = arguments[0] if arguments else ""
    listen()
    try:
        if word in COMMANDS:
            COMMANDS[word](list(arguments[1:]))
        else:
            ask_command_line()
    except KeyboardInterrupt:
        return complain("Interrupted; nothing half-written is left, and the same command goes on.", 130)
    except WrongQuestion as error:
        return complain(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        return complain(explain_mistake(arguments, error, COMMANDS), 2)
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


def ask_command_line() -> None:
    """Answer the question, or the sweep of questions, of ``sys.argv`` through Hydra."""
    register()
    # Hydra would print its own messages and exit; with this it hands errors to `run`.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv[1:] = arranged(sys.argv[1:])
    failed: list[BaseException] = []

    def job(config: DictConfig) -> str | None:
        return answer_job(config, failed)

    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    if failed:
        raise failed[0]


def arranged(arguments: Sequence[str]) -> list[str]:
    """The command line as Hydra reads it: flags first, since overrides must stand together, and the sweep named."""
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    multirun = [argument for argument in arguments if argument in ("-m", "--multirun")]
    rest = [argument for argument in arguments if argument not in multirun]
    if not any(override.startswith("hydra.sweep.dir=") for override in overrides):
        # An override, unlike a resolver, reaches the jobs of every launcher as the sweep began with it.
        place = rest.index(overrides[0]) if overrides else len(rest)
        rest.insert(place, f"hydra.sweep.dir=${{outputs}}/sweeps/{sweep_name(overrides)}")
    return [*multirun, *rest]


def answer_job(config: DictConfig, failed: list[BaseException]) -> str | None:
    """One job of Hydra's: answer, print the run folder, and leave no empty folder behind a mistake.

    The error of a single run goes to ``failed``, since Hydra would print words of its own around it; a sweep's job
    raises it, so that Hydra goes on with the others and knows that this one failed.
    """
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    sweep = Path(hydra_config.sweep.dir).name if hydra_config.mode == RunMode.MULTIRUN else None
    overrides = list(hydra_config.overrides.task)
    try:
        config = settled(config, overrides, hydra_config.runtime.choices["trainer"])
        print(answer_config(config, folder, overrides, sweep))
    except BaseException as error:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        if sweep:
            raise
        failed.append(error)
        return None
    return str(folder)


def answer_config(config: DictConfig, folder: Path, overrides: Sequence[str], sweep: str | None = None) -> Path:
    """Answer a composed question into a folder."""
    from fervis.answer import answer
    from fervis.contracts import RunCard

    question = to_question(config)
    card = RunCard(
        name=folder.name,
        id=question_id(config),
        folder=folder,
        config=vars(question),
        group=sweep,
        tags=(str(question.explainer["name"]), str(question.model["name"]), str(question.dataset["name"])),
    )
    return answer(question, folder, card, command_line(overrides))


def ask(overrides: Sequence[str] = ()) -> Path:
    """Answer a question given by overrides, from Python; return the run folder.

    Example:
        ``fervis.ask(["explainer=saliency", "layer=conv7"])``

    Raises:
        WrongQuestion: with the sentence the command would print.
    """
    try:
        config = ask_hydra(overrides)
        folder = run_folder(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise WrongQuestion(explain_mistake(overrides, error)) from error
    return answer_config(config, folder, overrides)


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


def train_network(overrides: list[str]) -> None:
    """Train the question's network, unless it is trained already, tell what it is worth, and print its folder."""
    from fervis.answer import prepare, trained_network
    from fervis.assessment import assess_training, told
    from fervis.engines.weights import load_weights
    from fervis.training import checkpoint_file

    question = question_to_train(overrides)
    asked = prepare(question)
    faces = asked.dataset.load(question.cache)
    folder, history = trained_network(asked, faces)
    network = asked.network(faces)
    load_weights(network, checkpoint_file("best", folder, history))
    print(told(assess_training(network.to(asked.device), faces, folder, history, facts_for(question, overrides))))
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
}
