"""Entry point of the command line: dispatch a command, print errors as one sentence."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from fervis.cli.arguments import split_sources
from fervis.cli.command_table import COMMANDS
from fervis.cli.help import command_help, help_page, version_line
from fervis.errors import ConfigError, RunError
from fervis.runs.config_errors import explain_config_error
from fervis.system.console import configure_logging, format_line, log
from fervis.system.distribution import foreign_distribution_warning
from fervis.system.progress import quiet_progress
from fervis.system.signals import handle_signals, interruption_message, typed_command

QUIET = ("-q", "--quiet")
HELP = ("-h", "--help")


def main(arguments: Sequence[str]) -> int:
    """Run a command line; return the exit code: 0, 2 for a wrong question, 1 for a failed run."""
    flagged = bool({*QUIET} & {*arguments})
    quiet = flagged or "quiet=true" in arguments
    configure_logging(quiet)
    if warning := foreign_distribution_warning():
        log.warning(warning)
    with handle_signals(), quiet_progress(quiet):
        return run_command([argument for argument in arguments if argument not in QUIET], arguments, flagged)


def run_command(arguments: Sequence[str], typed: Sequence[str], quiet: bool) -> int:
    """Run a command line, and turn errors into a sentence and an exit code.

    Args:
        arguments: the command line without ``-q``.
        typed: the command line as it was typed.
        quiet: whether ``-q`` was.
    """
    word = ""
    try:
        arguments = split_sources(arguments)
        word = arguments[0] if arguments else ""
        command = COMMANDS.get(word)
        if {*HELP} & {*arguments}:
            print(command_help(word, command) if command else help_page(arguments))
        elif "--version" in arguments:
            print(version_line())
        elif command:
            command.run(with_quiet(arguments[1:], quiet and command.settings and not command.folders))
        else:
            from fervis.cli.hydra_app import run_hydra

            run_hydra(with_quiet(arguments, quiet))
    except KeyboardInterrupt as stopped:
        return print_error(interruption_message(stopped, typed_command(typed)), getattr(stopped, "code", 130))
    except ConfigError as error:
        return print_error(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        rest = arguments[1:] if word in COMMANDS else arguments
        return print_error(explain_config_error(rest, error, COMMANDS), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has left, as `| head` does
        return 0
    except RunError as error:
        return print_error(str(error), 1)
    except Exception as error:
        return print_error(f"The run failed: {type(error).__name__}: {error} (FERVIS_TRACEBACK=1 shows where).", 1)
    return 0


def print_error(sentence: str, code: int) -> int:
    """Print an error on standard error, after its traceback where ``FERVIS_TRACEBACK=1``; return the exit code."""
    if os.environ.get("FERVIS_TRACEBACK") == "1":
        traceback.print_exc()
    print(format_line(sentence, logging.ERROR), file=sys.stderr)
    return code


def with_quiet(arguments: Sequence[str], quiet: bool) -> list[str]:
    """Return the arguments with ``quiet=true`` before the first override, where that is wanted."""
    positions = [index for index, argument in enumerate(arguments) if "=" in argument and argument[0] != "-"]
    first = positions[0] if positions else len(arguments)
    return [*arguments[:first], *(["quiet=true"] if quiet else []), *arguments[first:]]
