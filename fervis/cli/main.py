"""Entry point of the command line: dispatch a command, print errors as one sentence."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from fervis.cli.commands import COMMANDS
from fervis.cli.help import command_help, help_page, version_line
from fervis.errors import ConfigError, RunError
from fervis.runs.config_errors import explain_config_error
from fervis.system.console import configure_logging, format_line
from fervis.system.progress import quiet_progress
from fervis.system.signals import handle_signals, interruption_message, typed_command

QUIET = ("-q", "--quiet")
HELP = ("-h", "--help")
COMMANDS_WITH_SETTINGS = ("layers", "audit", "train")
"""Commands that take a run's settings."""


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; return the exit code: 0, 2 for a wrong question, 1 for a failed run."""
    flagged = bool({*QUIET} & {*arguments})
    quiet = flagged or "quiet=true" in arguments
    configure_logging(quiet)
    with handle_signals(), quiet_progress(quiet):
        return run_command([argument for argument in arguments if argument not in QUIET], arguments, flagged)


def run_command(asked: Sequence[str], typed: Sequence[str], quiet: bool) -> int:
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
            print(version_line())
        elif word in COMMANDS:
            COMMANDS[word](with_quiet(asked[1:], quiet and word in COMMANDS_WITH_SETTINGS))
        else:
            from fervis.cli.hydra_app import run_hydra

            sys.argv[1:] = with_quiet(asked, quiet)
            run_hydra()
    except KeyboardInterrupt as stopped:
        return print_error(interruption_message(stopped, typed_command(typed)), getattr(stopped, "code", 130))
    except ConfigError as error:
        return print_error(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        told = asked[1:] if word in COMMANDS else asked
        return print_error(explain_config_error(told, error, COMMANDS), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has left, as `| head` does
        return 0
    except RunError as error:
        return print_error(str(error), 1)
    except Exception as error:
        return print_error(f"The run failed: {type(error).__name__}: {error} (FERVIS_TRACEBACK=1 shows where).", 1)
    return 0


def print_error(sentence: str, code: int) -> int:
    """Say what is wrong on standard error, with the traceback where it was asked for."""
    if os.environ.get("FERVIS_TRACEBACK") == "1":
        traceback.print_exc()
    print(format_line(sentence, logging.ERROR), file=sys.stderr)
    return code


def with_quiet(arguments: Sequence[str], quiet: bool) -> list[str]:
    """The arguments with ``quiet=true`` among the overrides, which must stand together, where it is asked for."""
    place = next((place for place, argument in enumerate(arguments) if "=" in argument and argument[0] != "-"), None)
    place = len(arguments) if place is None else place
    return [*arguments[:place], *(["quiet=true"] if quiet else []), *arguments[place:]]
