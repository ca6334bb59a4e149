"""``pytest-memory ab --base REF``: the tests of a base commit and of the working tree, in turns.  Floor 7."""

from __future__ import annotations

import argparse
import shlex

from pytest_memory.cli.comparison import show_comparisons
from pytest_memory.cli.front import Context
from pytest_memory.units import format_duration


def run(arguments: argparse.Namespace, context: Context) -> int:
    from pytest_memory.ab import Side, run_ab

    def say(side: Side, number: int, of: int) -> None:
        context.output.note(f"run {number} of {of}: {side}")

    report = run_ab(
        arguments.base,
        arguments.pytest_arguments,
        directory=context.directory,
        rounds=arguments.rounds,
        prepare=shlex.split(arguments.prepare) if arguments.prepare else None,
        on_run=say,
    )
    seconds = sum(one.duration_s for one in report.runs)
    context.output.line(f"{report.base_commit[:10]} against the working tree, {format_duration(seconds)}")
    return show_comparisons(context, report.comparisons)
