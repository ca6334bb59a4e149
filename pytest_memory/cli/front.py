"""From argv to an exit status: parse, find the command, turn our errors into messages.  Floor 7.

Exit status: 0 fine, 1 a limit is broken, 2 usage or configuration, 3 could not measure, 4 inconclusive, 130 when
interrupted before there was anything to judge.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from pytest_memory.cli.arguments import build_parser
from pytest_memory.cli.output import Output
from pytest_memory.cli.settings import Merged, merge
from pytest_memory.errors import ConfigError, PytestMemoryError

EXIT_FINE = 0
EXIT_BROKEN = 1
EXIT_USAGE = 2
EXIT_NOT_MEASURED = 3
EXIT_INCONCLUSIVE = 4
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Context:
    """What every command gets: where to print, what is set, where it runs."""

    output: Output
    merged: Merged
    directory: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.  argparse ends the process itself for --help and usage errors."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        from importlib.metadata import version

        output = Output()
        output.line(f"pytest-memory {version('pytest-memory')}")
        output.flush()
        return EXIT_FINE
    if arguments.command is None:
        output = Output()
        output.raw(parser.format_help())
        output.flush()
        return EXIT_USAGE
    return run_command(arguments)


def run_command(arguments: argparse.Namespace) -> int:
    """Run the parsed command; the only place where errors end."""
    output = Output(as_json=arguments.as_json)
    try:
        directory = Path.cwd()
        command = import_module(f"pytest_memory.cli.{arguments.module}")
        return int(command.run(arguments, Context(output, merge(arguments, directory), directory)))
    except PytestMemoryError as error:
        output.note(output_error(error))
        output.json({"error": {"slug": error.slug, "message": error.message, "hint": error.hint}})
        return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_NOT_MEASURED
    except KeyboardInterrupt:
        output.note("interrupted")
        return EXIT_INTERRUPTED
    finally:
        output.flush()


def output_error(error: PytestMemoryError) -> str:
    """An error for a terminal: what happened, then what to do."""
    return f"pytest-memory: {error}"
