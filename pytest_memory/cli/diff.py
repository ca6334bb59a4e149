"""``pytest-memory diff BEFORE AFTER``: two heap snapshots of one process, class by class.  Floor 7."""

from __future__ import annotations

import argparse

from pytest_memory.cli.front import EXIT_FINE, Context
from pytest_memory.cli.snapshots import check_top, open_snapshots, show_comparison


def run(arguments: argparse.Namespace, context: Context) -> int:
    check_top(arguments.top)
    names = [arguments.before, arguments.after]
    if arguments.baseline:
        names.insert(0, arguments.baseline)
    with open_snapshots(context.output, *names) as snapshots:
        after = snapshots[-1]
        # With an even earlier one: what was allocated between it and BEFORE, and is still there AFTER.
        comparison = (
            after.compare(snapshots[0], middle=snapshots[1]) if arguments.baseline else after.compare(snapshots[0])
        )
        context.output.json(comparison.to_dict(limit=arguments.top))
        if not context.output.as_json:
            show_comparison(context.output, comparison, top=arguments.top)
    return EXIT_FINE
