"""``pytest-memory history``: measurements over the kept runs, and the commits where their level changed.  Floor 7."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memory import metrics
from pytest_memory.cli.front import EXIT_FINE, Context
from pytest_memory.errors import ConfigError
from pytest_memory.report import changes
from pytest_memory.report.text import fit, sparkline, wrap

if TYPE_CHECKING:
    from pytest_memory.history import ChangePoint, History

_SPARK_CELLS = 24


def run(arguments: argparse.Namespace, context: Context) -> int:
    from pytest_memory.history import change_points
    from pytest_memory.history_file import load_history

    kept = arguments.directory or context.merged.settings["results"]
    if not kept:
        raise ConfigError(
            "no directory of runs is given; expected DIR, or memory_results in the settings",
            slug="config-option",
            hint="runs are kept by pytest --memory-results=DIR",
        )
    if arguments.metric and arguments.metric not in metrics.BY_NAME:
        raise ConfigError(
            f"--metric is {arguments.metric!r}; expected one of {', '.join(metrics.BY_NAME)}", slug="config-option"
        )
    loaded = load_history(Path(kept))
    chosen = [
        (history, change_points(history))
        for history in loaded.histories
        if arguments.test in history.test_id and arguments.metric in ("", history.metric)
    ]
    for problem in loaded.unreadable:
        context.output.note(f"left out: {problem}")
    context.output.json(
        [{**asdict(history), "changes": [asdict(change) for change in found]} for history, found in chosen]
    )
    _show(context, chosen)
    return EXIT_FINE


def _show(context: Context, chosen: list[tuple[History, tuple[ChangePoint, ...]]]) -> None:
    output = context.output
    for test_id, group in groupby(chosen, key=lambda one: one[0].test_id):
        output.line(fit(test_id, output.width), "bold")
        for history, found in group:
            values = [point.reading.value for point in history.points[-_SPARK_CELLS:]]
            line = f"  {changes.history_line(history)}"
            drawn = f"  {sparkline(values)}"
            output.line(line + drawn if len(line) + len(drawn) <= output.width else fit(line, output.width))
            for change in found:
                sentence = changes.change_point_sentence(change, history)
                for part in wrap(sentence, output.width - 4):
                    output.line(f"    {part}", "red" if change.worse else "green")
    if not chosen:
        output.line("no test fits")
