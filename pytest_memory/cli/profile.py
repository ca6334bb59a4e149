"""``pytest-memory profile``: snapshots of a live app, interactively, or ``-c BEFORE AFTER`` of files.  Floor 7."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memory import store
from pytest_memory.cli import artifacts
from pytest_memory.cli.front import EXIT_FINE, Context
from pytest_memory.cli.measured import make_document
from pytest_memory.cli.snapshots import open_snapshots, show_comparison
from pytest_memory.cli.target import open_app
from pytest_memory.model import Artifact, RunResult
from pytest_memory.units import format_size

if TYPE_CHECKING:
    from pytest_memory.heap.allocations import AllocationProfile
    from pytest_memory.interactive import Shell
    from pytest_memory.model import AppInfo

RESULTS_FILE = "profile.json"
_MAX_CLASSES = 50


def run(arguments: argparse.Namespace, context: Context) -> int:
    if arguments.compare:
        with open_snapshots(context.output, *arguments.compare) as (before, after):
            comparison = after.compare(before)
            context.output.json(comparison.to_dict())
            if not context.output.as_json:
                show_comparison(context.output, comparison, top=20)
        return EXIT_FINE
    return _profile(arguments, context)


def _profile(arguments: argparse.Namespace, context: Context) -> int:
    from pytest_memory.heap import stop_warming, warm_kernels
    from pytest_memory.heap.archive import check_compression, compress_snapshots
    from pytest_memory.heap.profiler import MemoryProfiler
    from pytest_memory.interactive import Shell
    from pytest_memory.monitor import describe_app

    compression = context.merged.settings["snapshot_compression"]
    check_compression(compression)
    directory = Path(arguments.output)
    warm_kernels()  # while the app starts and the person thinks
    try:
        with open_app(arguments, context.merged.settings) as app:
            profiler = MemoryProfiler(app, directory=directory).start_profiling()
            shell = Shell(profiler, context.output)
            shell.run()
            files = list(profiler.camera.paths)
            allocations = None
            if app.alive:
                allocations = profiler.stop_profiling()
                files.append(directory / "allocations.heapprofile")
            record = _record(shell, allocations, describe_app(app))
    finally:
        stop_warming()
    files = compress_snapshots([file for file in files if file.exists()], compression)  # one may have been deleted
    record = replace(record, artifacts=tuple(_artifact(file) for file in files))
    document = artifacts.for_file_in(directory, make_document([record]))
    store.write_document(directory / RESULTS_FILE, document)
    _show(files, context)
    return EXIT_FINE


def _record(shell: Shell, allocations: AllocationProfile | None, app: AppInfo) -> RunResult:
    """The session for reports: what allocates, and what the person at the shell looked at last."""
    from pytest_memory.heap.profiler import site_findings

    comparison, snapshot = shell.comparison, shell.analysed
    return RunResult(
        test_id="profile",
        tool="profile",
        started_at=shell.started_at,
        app=app,
        class_deltas=comparison.class_deltas()[:_MAX_CLASSES] if comparison else (),
        heap_tree=snapshot.tree() if snapshot else (),
        findings=(
            *(comparison.findings() if comparison else ()),
            *(site_findings(allocations) if allocations else ()),
        ),
    )


def _artifact(file: Path) -> Artifact:
    kind = file.name.removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
    return Artifact(kind=kind, path=str(file), name=file.name, size_bytes=file.stat().st_size)


def _show(files: list[Path], context: Context) -> None:
    context.output.json({"files": [{"path": str(file), "size_bytes": file.stat().st_size} for file in files]})
    for file in files:
        context.output.line(f"{file}  {format_size(file.stat().st_size)}")
