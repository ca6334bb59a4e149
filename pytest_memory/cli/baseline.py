"""``pytest-memory baseline``: settled memory step by step: idle, warmed up, each operation, idle again.  Floor 7."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memory import store
from pytest_memory.cli.comparison import comparisons_document, show_comparisons
from pytest_memory.cli.front import EXIT_BROKEN, EXIT_FINE, EXIT_INCONCLUSIVE, Context
from pytest_memory.cli.live import ProgressLine
from pytest_memory.cli.measured import (
    check_outputs,
    finish,
    make_document,
    show_results,
    show_table,
    status_of,
    write_outputs,
)
from pytest_memory.cli.target import Send, make_generator, open_app, operations
from pytest_memory.errors import ConfigError

if TYPE_CHECKING:
    from pytest_memory.cli.output import Output
    from pytest_memory.load.generator import LoadGenerator
    from pytest_memory.model import ResultDocument, RunResult, SettledMemory
    from pytest_memory.node.process import NodeApp

# The first requests compile code and fill caches: half a step's worth of each operation goes before the measuring.
_WARM_UP_SHARE = 0.5
_LEAST_WARM_UP = 50
_IDLE_S = 2.0  # for connections to close and short timers to run before "idle again"


def run(arguments: argparse.Namespace, context: Context) -> int:
    settings = context.merged.settings
    check_outputs(context, arguments.output)
    if arguments.requests < 1:
        raise ConfigError(f"-n is {arguments.requests}; expected at least 1", slug="config-load")
    # Read first: a wrong file should not cost a measurement.
    previous = store.read_document(Path(arguments.compare)) if arguments.compare else None
    with open_app(arguments, settings) as app, make_generator(arguments, settings, app.url) as generator:
        result = measure(app, generator, operations(arguments, generator), arguments.requests, context)
    if previous is None:
        return finish(context, [result], arguments.output)
    return _finish_compared(arguments, previous, result, context)


def measure(
    app: NodeApp,
    generator: LoadGenerator,
    steps: Sequence[tuple[str, Send]],
    requests: int,
    context: Context,
) -> RunResult:
    """The named steps of one app, each ended by a settled reading; judged over everything after the warm-up."""
    settings = context.merged.settings
    from pytest_memory import runner
    from pytest_memory.monitor import MemoryMonitor

    readings: list[tuple[str, SettledMemory | None]] = []
    options = {"concurrency": settings["load_concurrency"]}
    with ProgressLine(context.output, "baseline") as progress:
        monitor = MemoryMonitor(app, interval=settings["interval"])
        monitor.watch_load(generator)
        progress.watch(monitor.progress)
        progress.say("idle")
        monitor.start()
        readings.append(("idle", monitor.start_memory))
        progress.say("warming up")
        with monitor.phase("warm-up"):
            for _, send in steps:
                send(requests=max(_LEAST_WARM_UP, int(requests * _WARM_UP_SHARE)), **options)
        readings.append(("after warm-up", monitor.rebase()))
        for name, send in steps:
            progress.say(name)
            with monitor.phase(name):
                send(requests=requests, **options)
            readings.append((name, monitor.settle()))
        progress.say("idle again")
        with monitor.phase("idle again"):
            time.sleep(_IDLE_S)
        monitor.stop()
        readings.append(("idle again", monitor.end_memory))
    result = runner.judge_monitor(monitor, "baseline", settings, tool="baseline")
    known = tuple((name, memory) for name, memory in readings if memory is not None)
    return replace(result, steps=known)


def max_status(one: int, other: int) -> int:
    """The worse of two exit statuses: a broken limit, then no measurement, then doubt."""
    order = (EXIT_BROKEN, 3, EXIT_INCONCLUSIVE, EXIT_FINE)
    return min(one, other, key=order.index)


def _finish_compared(
    arguments: argparse.Namespace, previous: ResultDocument, result: RunResult, context: Context
) -> int:
    """Print this run and beside it the earlier one, then write: a run that is not fine does not replace that one.

    If it did, the same command run again would find nothing worse than before."""
    from pytest_memory.compare import compare_documents

    compared = compare_documents(previous, make_document([result]))
    show_results(context, [result], comparison=comparisons_document(compared))
    _show_steps(context.output, previous, result)
    context.output.line()
    compared_status = show_comparisons(context, compared, tables=False, as_json=False)
    status = max_status(status_of(context, [result]), compared_status)
    replaces = Path(arguments.output).resolve() == Path(arguments.compare).resolve()
    kept = replaces and status != EXIT_FINE
    write_outputs(context, [result], None if kept else arguments.output)
    if kept:
        context.output.note(f"{arguments.output} still holds the earlier run; -o writes this one to another file")
    return status


def _show_steps(output: Output, previous: ResultDocument, result: RunResult) -> None:
    from pytest_memory.report.changes import steps_comparison_table

    earlier = next((one for one in previous.results if one.steps), None)
    if earlier is not None and not output.as_json:
        show_table(output, steps_comparison_table(_heap_steps(earlier), _heap_steps(result)), expendable=(1,))


def _heap_steps(result: RunResult) -> list[tuple[str, float]]:
    return [(name, float(memory.heap_used_bytes + memory.worker_heap_used_bytes)) for name, memory in result.steps]
