"""``pytest-memory monitor``: watch an app until the time is over, it ends, or somebody presses Ctrl-C.  Floor 7."""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import IO

from pytest_memory.cli.front import Context
from pytest_memory.cli.live import LiveTable, showing
from pytest_memory.cli.measured import check_outputs, ending_early, finish
from pytest_memory.cli.target import open_app
from pytest_memory.errors import StoreError
from pytest_memory.model import Sample

_POLL_S = 0.1


def run(arguments: argparse.Namespace, context: Context) -> int:
    settings = context.merged.settings
    check_outputs(context, arguments.output)
    from pytest_memory import runner
    from pytest_memory.monitor import MemoryMonitor

    with open_log(arguments.log) as log, open_app(arguments, settings) as app:
        table = LiveTable(f"monitor {app.spec.label}", settings["duration"])

        def take(sample: Sample) -> None:
            table.take(sample)
            if log is not None:
                log.write(log_line(sample))

        monitor = MemoryMonitor(app, interval=settings["interval"], on_sample=take)
        table.watch(monitor.progress)
        over = threading.Event()
        with ending_early(over.set), showing(context.output, table):
            monitor.start()
            deadline = time.monotonic() + settings["duration"]
            while app.alive and (left_s := deadline - time.monotonic()) > 0 and not over.wait(min(_POLL_S, left_s)):
                table.take_gc_events(monitor.gc_events)
            monitor.stop()
        result = runner.judge_monitor(monitor, "monitor", settings, tool="monitor")
    if app.spec.command is not None:
        context.output.note("note: nobody sent requests to the app; pytest-memory stress loads it while it watches")
    return finish(context, [result], arguments.output)


def log_line(sample: Sample) -> str:
    """A sample as a line: seconds, pid, and name=value for what was measured, in bytes."""
    fields = (
        ("heapUsed", sample.heap_used_bytes),
        ("heapTotal", sample.heap_total_bytes),
        ("external", sample.external_bytes),
        ("arrayBuffers", sample.array_buffers_bytes),
        ("rss", sample.rss_bytes),
    )
    values = " ".join(f"{name}={value}" for name, value in fields if value is not None)
    return f"{sample.t_s:10.3f} pid={sample.pid} {values}{' blocked' if sample.blocked else ''}\n"


@contextlib.contextmanager
def open_log(path: str | None) -> Iterator[IO[str] | None]:
    """The log file, written line by line, or None.  Raises StoreError before anything is measured."""
    if path is None:
        yield None
        return
    try:
        file = open(path, "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed below
    except OSError as error:
        raise StoreError(f"{path} could not be written: {error.strerror}", slug="store-write") from error
    with file:
        from pytest_memory.store import now_text

        file.write(f"# pytest-memory monitor, {now_text()}; seconds since start, sizes in bytes\n")
        yield file
