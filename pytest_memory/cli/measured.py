"""What every measuring command ends with: print the result, write its files, say it in the exit status.  Floor 7.

Words come from `report.view`; nothing is decided here.
"""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pytest_memory import judge, results, store
from pytest_memory.cli.front import (
    EXIT_BROKEN,
    EXIT_FINE,
    EXIT_INCONCLUSIVE,
    EXIT_NOT_MEASURED,
    Context,
)
from pytest_memory.errors import StoreError
from pytest_memory.model import LoadStats
from pytest_memory.report import advice, tables, view
from pytest_memory.report.text import cell_width, fit

if TYPE_CHECKING:
    from pytest_memory.cli.output import Output
    from pytest_memory.model import Outcome, ResultDocument, RunResult
    from pytest_memory.report.tables import Table

_STYLES: dict[Outcome, str] = {
    "pass": "green",
    "warning": "yellow",
    "inconclusive": "yellow",
    "critical": "red bold",
    "not-measured": "red",
}

# Of the growth table: per unit, percent, start, end.  What a thing is and how much it grew stays.
_EXPENDABLE_GROWTH = (5, 4, 1, 2)


def exit_status(outcome: Outcome, fail_on: str) -> int:
    """The exit status of a verdict.  Doubt has a status of its own whatever ``fail_on`` says."""
    if outcome == "inconclusive":
        return EXIT_INCONCLUSIVE
    if outcome == "not-measured":
        return EXIT_NOT_MEASURED
    return EXIT_BROKEN if judge.fails(outcome, fail_on) else EXIT_FINE


def make_document(measured: Sequence[RunResult]) -> ResultDocument:
    """Results of one command as a document, with the environment they were measured in."""
    from pytest_memory import environment

    found = next((result.environment for result in measured if result.environment.node_version), None)
    return results.make_document(measured, found or environment.describe(), store.now_text())


def check_outputs(context: Context, *paths: str | None) -> None:
    """Raise StoreError when a file that will be written at the end cannot be: before a minute is spent on it."""
    for name in (*paths, context.merged.settings["report"]):
        if name:
            check_writable(Path(name))


def check_writable(path: Path) -> None:
    """Raise StoreError when a file of this name cannot be written; makes its directory."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        refused = "it is a directory" if path.is_dir() else ""
    except OSError as error:
        refused = error.strerror or str(error)
    if refused:
        raise StoreError(f"{path} could not be written: {refused}", slug="store-write", hint="nothing was measured")


def write_outputs(context: Context, measured: Sequence[RunResult], output: str | None) -> None:
    """Write ``-o FILE`` and ``--report FILE``, as far as they were asked for."""
    if not output and not context.merged.settings["report"]:
        return
    document = make_document(measured)
    if output:
        store.write_document(Path(output), document)
        context.output.note(f"results written to {output}")
    if context.merged.settings["report"]:
        from pytest_memory.report import html

        html.write_report(document, context.merged.settings["report"])
        context.output.note(f"report written to {context.merged.settings['report']}")


def show_results(context: Context, measured: Sequence[RunResult], **more: object) -> None:
    """Print results: as text for people, or as one document under --json.

    ``more`` are further keys of that document, which readers of results pass over."""
    if context.output.as_json:
        document = results.encode_document(make_document(measured))
        if more:
            own = msgspec.json.decode(document)
            # A file cut short is known by its first keys, and those of results are never replaced.
            document = msgspec.json.encode({**own, **more, **own}) + b"\n"
        context.output.raw(document.decode())
        return
    for number, result in enumerate(measured):
        if number:
            context.output.line()
        show_result(context, result)


def show_result(context: Context, result: RunResult) -> None:
    """One result as text: verdict, steps, growth, load, and whatever explains it."""
    output = context.output
    healthy = result.verdict.outcome == "pass"
    verdict, _, rest = view.failure_text(result).partition("\n\n")
    for sentence in [view.verdict_line(result)] if healthy else verdict.split("\n"):
        output.wrapped(sentence, _STYLES.get(result.verdict.outcome, ""))
    show_table(output, tables.steps_table(result))
    show_table(output, tables.growth_table(result), expendable=_EXPENDABLE_GROWTH)
    if result.load:
        output.line()
        output.wrapped(view.load_sentence(total_load(result.load)))
    if healthy:
        for note in result.notes:
            output.wrapped(f"note: {advice.note_sentence(note)}", "dim")
    elif rest:
        output.line()
        output.lines(fit(line, output.width) for line in rest.split("\n"))


def total_load(loads: Sequence[LoadStats]) -> LoadStats:
    """One load run as it is; several as their sum, without percentiles, which do not add up."""
    if len(loads) == 1:
        return loads[0]
    return LoadStats(
        requests=sum(load.requests for load in loads),
        errors=sum(load.errors for load in loads),
        dropped=sum(load.dropped for load in loads),
        duration_s=sum(load.duration_s for load in loads),
        concurrency=max(load.concurrency for load in loads),
        stopped_early=next((load.stopped_early for load in loads if load.stopped_early), None),
    )


def show_table(output: Output, table: Table, *, expendable: Sequence[int] = (), title: bool = True) -> None:
    """A table after an empty line; on a narrow terminal without its ``expendable`` columns, first ones first."""
    if not table:
        return
    output.line()
    dropped: list[int] = []
    lines = view.table_lines(table, title=title)
    while max(map(cell_width, lines)) > output.width and len(dropped) < len(expendable):
        dropped.append(expendable[len(dropped)])
        lines = view.table_lines(_without(table, dropped), title=title)
    output.lines(fit(line, output.width) for line in lines)


def _without(table: Table, dropped: Sequence[int]) -> Table:
    kept = [column for column in range(len(table.columns)) if column not in dropped]
    return replace(
        table,
        columns=tuple(table.columns[column] for column in kept),
        rows=tuple(tuple(row[column] for column in kept) for row in table.rows),
        numeric=frozenset(position for position, column in enumerate(kept) if column in table.numeric),
    )


def finish(context: Context, measured: Sequence[RunResult], output: str | None) -> int:
    """Print and write results; the exit status is that of the worst."""
    show_results(context, measured)
    write_outputs(context, measured, output)
    return status_of(context, measured)


def status_of(context: Context, measured: Sequence[RunResult]) -> int:
    """The exit status of the worst result."""
    worst = judge.worst([result.verdict.outcome for result in measured])
    return exit_status(worst, context.merged.settings["fail_on"])


@contextlib.contextmanager
def ending_early(stop: Callable[[], None]) -> Iterator[threading.Event]:
    """Within, the first Ctrl-C or SIGTERM calls ``stop`` and sets the event; the second interrupts for good.

    What was measured until then is judged and written, as a person who presses Ctrl-C expects."""
    interrupted = threading.Event()

    def leave(_number: int, _frame: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        stop()

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
