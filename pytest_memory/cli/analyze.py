"""``pytest-memory analyze``: baseline → stress → snapshots → comparison → report, into one directory.  Floor 7.

Snapshots come last: writing one swells the process for good, so every verdict is in by then.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memory import store
from pytest_memory.cli import artifacts, baseline, stress
from pytest_memory.cli.front import Context
from pytest_memory.cli.live import ProgressLine
from pytest_memory.cli.measured import check_writable, make_document, show_results, status_of
from pytest_memory.cli.target import Send, make_generator, open_app, operations, workload
from pytest_memory.errors import AppError, CaptureError, ConfigError, PytestMemoryError
from pytest_memory.model import Note
from pytest_memory.node.exits import LAST_BREATH_S

if TYPE_CHECKING:
    from pytest_memory.model import RunResult
    from pytest_memory.node.process import NodeApp

RESULTS_FILE = "results.json"
REPORT_FILE = "report.html"
SNAPSHOTS = "snapshots"
_SNAPSHOT_FILES = ("load-before.heapsnapshot", "load-after.heapsnapshot")


def run(arguments: argparse.Namespace, context: Context) -> int:
    if arguments.requests < 1:
        raise ConfigError(f"-n is {arguments.requests}; expected at least 1", slug="config-load")
    directory = Path(arguments.output)
    prepare_directory(directory)
    measured = _measure(arguments, context, directory)
    document = make_document(measured)
    store.write_document(directory / RESULTS_FILE, artifacts.for_file_in(directory, document))
    from pytest_memory.report import html

    html.write_report(document, directory / REPORT_FILE, title="Memory analysis")
    show_results(context, measured)
    _show_files(context, directory)
    return status_of(context, measured)


def prepare_directory(directory: Path) -> None:
    """Make the directory and see that it can be written: before anything is measured, not after a minute of it.

    A new or empty one is ours and kept out of git; one that holds anything, such as ".", is somebody's, and nothing
    but the results is put there.  Raises StoreError."""
    check_writable(directory / RESULTS_FILE)
    if _is_empty(directory):
        store.write_atomic(directory / ".gitignore", b"*\n")


def _is_empty(directory: Path) -> bool:
    try:
        return not any(directory.iterdir())
    except OSError:
        return False  # it can be written and not be read: nobody knows what it holds


def _measure(arguments: argparse.Namespace, context: Context, directory: Path) -> list[RunResult]:
    settings = context.merged.settings
    from pytest_memory.heap import stop_warming, warm_kernels

    warm_kernels()
    try:
        with open_app(arguments, settings) as app, make_generator(arguments, settings, app.url) as generator:
            steps = baseline.measure(app, generator, operations(arguments, generator), arguments.requests, context)
            send = workload(arguments, generator)
            stopped = threading.Event()
            stressed = stress.measure(app, generator, send, context, name="analyze", stopped=stopped)
            if app.alive and not stopped.is_set():
                stressed = _explain(app, send, stressed, directory, arguments.requests, context)
    finally:
        stop_warming()
    return [replace(steps, tool="analyze"), stressed]  # in reports another thing than a run of `baseline`


def _explain(
    app: NodeApp, send: Send, stressed: RunResult, directory: Path, requests: int, context: Context
) -> RunResult:
    """The result with what snapshots say about it.  Without them it stands as it was measured, with the reason; an app
    that died of them is that result's verdict."""
    files = [directory / SNAPSHOTS / name for name in _SNAPSHOT_FILES]
    try:
        for file in files:
            file.unlink(missing_ok=True)  # of an earlier analysis
        return _compare(app, send, stressed, directory, requests, context)
    except (PytestMemoryError, OSError, MemoryError) as error:
        context.output.note(f"not explained: {error}")
        return _unexplained(app, stressed, files, error)


def _unexplained(app: NodeApp, stressed: RunResult, files: Sequence[Path], error: Exception) -> RunResult:
    from pytest_memory import runner
    from pytest_memory.heap.archive import snapshot_artifact

    reason = error.message if isinstance(error, PytestMemoryError) else str(error) or type(error).__name__
    result = replace(
        stressed,
        notes=(*stressed.notes, Note(slug="not-explained", detail={"reason": reason})),
        artifacts=(*stressed.artifacts, *(snapshot_artifact(file) for file in files if file.is_file())),
    )
    try:
        if not isinstance(error, CaptureError):
            app.wait(LAST_BREATH_S)  # the connections of a process that dies are gone before it is
        app.check()
    except AppError as died:
        # What it was doing is known to the error that came first.
        return runner.add_death(result, error if isinstance(error, AppError) else died)
    return result


def _compare(
    app: NodeApp, send: Send, stressed: RunResult, directory: Path, requests: int, context: Context
) -> RunResult:
    """Snapshots around some more load, compared: which classes grew, what pattern it is, who holds them."""
    from pytest_memory.heap.profiler import MemoryProfiler

    concurrency = context.merged.settings["load_concurrency"]
    with ProgressLine(context.output, "snapshots") as progress:
        profiler = MemoryProfiler(app, directory=directory / SNAPSHOTS, progress=progress.say_share)
        with profiler:
            profile = profiler.profile_during_operation(
                lambda: send(requests=requests, concurrency=concurrency), "load"
            )
        progress.say("comparing", label="analysis")
        assert profile.snapshots is not None
        before, after = profile.snapshots
        comparison = after.compare(before)
        record = profile.record()
        return replace(
            stressed,
            class_deltas=(*stressed.class_deltas, *comparison.class_deltas()[:50]),
            heap_tree=after.tree(),
            findings=(*stressed.findings, *comparison.findings(units=requests)),
            artifacts=(*stressed.artifacts, *record.artifacts),
        )


def _show_files(context: Context, directory: Path) -> None:
    for name in (RESULTS_FILE, REPORT_FILE, SNAPSHOTS):
        if (directory / name).exists():
            context.output.note(f"written: {directory / name}")
