"""``pytest-memory profile``: snapshots of a live app, interactively, or ``-c BEFORE AFTER`` of files.  Floor 7."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_memory.cli.front import EXIT_FINE, Context
from pytest_memory.cli.snapshots import open_snapshots, show_comparison
from pytest_memory.cli.target import open_app
from pytest_memory.units import format_size


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
    from pytest_memory.heap.profiler import MemoryProfiler
    from pytest_memory.interactive import Shell

    directory = Path(arguments.output)
    warm_kernels()  # while the app starts and the person thinks
    try:
        with open_app(arguments, context.merged.settings) as app:
            profiler = MemoryProfiler(app, directory=directory).start_profiling()
            shell = Shell(profiler, context.output)
            shell.run()
            files = list(profiler.camera.paths)
            if app.alive:
                profiler.stop_profiling()
                files.append(directory / "allocations.heapprofile")
    finally:
        stop_warming()
    _finish(files, arguments.compress, context)
    return EXIT_FINE


def _finish(files: list[Path], compress: str | None, context: Context) -> None:
    """Compress what is kept, if asked to, and say what there is."""
    if compress:
        from pytest_memory.heap.archive import compress_file

        files = [
            compress_file(file, compress) if file.suffix == ".heapsnapshot" else file  # type: ignore[arg-type]
            for file in files
        ]
    context.output.json({"files": [{"path": str(file), "size_bytes": file.stat().st_size} for file in files]})
    for file in files:
        context.output.line(f"{file}  {format_size(file.stat().st_size)}")
