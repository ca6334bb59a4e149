"""``pytest-memory stress``: load in rounds, memory settled after each, and a verdict.  Floor 7.

The rounds end as soon as it is clear whether the app leaks; ``-d`` is the longest they may take.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
from typing import TYPE_CHECKING

from pytest_memory import units
from pytest_memory.cli.front import Context
from pytest_memory.cli.live import LiveTable, showing
from pytest_memory.cli.measured import check_outputs, ending_early, finish
from pytest_memory.cli.target import Send, make_generator, open_app, workload

if TYPE_CHECKING:
    from pytest_memory.load.generator import LoadGenerator
    from pytest_memory.model import RunResult
    from pytest_memory.monitor import MemoryMonitor
    from pytest_memory.node.process import NodeApp
    from pytest_memory.spec import Settings

# One call of a leak test's operation, which it repeats to fill a round: enough to keep every connection busy.
_REQUESTS_PER_CONNECTION = 5
_LEAST_REQUESTS = 50


def run(arguments: argparse.Namespace, context: Context) -> int:
    settings = context.merged.settings
    check_outputs(context, arguments.output)
    with open_app(arguments, settings) as app, make_generator(arguments, settings, app.url) as generator:
        send = workload(arguments, generator)
        result = measure(app, generator, send, context, explain=settings["explain"])
    return finish(context, [result], arguments.output)


def measure(
    app: NodeApp,
    generator: LoadGenerator,
    send: Send,
    context: Context,
    *,
    name: str = "stress",
    stopped: threading.Event | None = None,
    explain: bool = False,
) -> RunResult:
    """Ramp up, then the rounds of a leak test under the monitor; judged.

    ``explain`` takes two snapshots after a leak was found.  Ctrl-C sets ``stopped`` and judges what there is."""
    settings = context.merged.settings
    from pytest_memory import runner
    from pytest_memory.monitor import MemoryMonitor

    longest_s = settings["load_ramp_up"] + settings["load_duration"]
    table = LiveTable(f"{name} {app.spec.label}", longest_s)
    monitor = MemoryMonitor(
        app,
        interval=settings["interval"],
        on_sample=table.take,
        no_leaks=settings["no_leaks"],
        explain=explain,
    )
    monitor.watch_load(generator)
    table.watch(monitor.progress)
    work = _Work(send, generator, table, monitor, stopped or threading.Event())
    with ending_early(work.stop), showing(context.output, table):
        monitor.start()
        if settings["load_ramp_up"]:
            with monitor.phase("ramp-up"):
                work.ramp_up(settings)
        monitor.rebase()
        with contextlib.suppress(_Stopped):
            # The compilers of an app that is not ours stay as they are: they could not be switched on again.
            monitor.leak_test(
                lambda: work.portion(settings),
                max_duration=settings["load_duration"],
                precise=app.spec.attach is None,
            )
        monitor.stop()
    return runner.judge_monitor(monitor, name, settings, tool=name, leak_test_expected=True)


class _Stopped(Exception):
    """Raised in the middle of a leak test when somebody pressed Ctrl-C."""


class _Work:
    """The load of a stress run: its ramp, its portions, its end."""

    def __init__(
        self,
        send: Send,
        generator: LoadGenerator,
        table: LiveTable,
        monitor: MemoryMonitor,
        stopped: threading.Event,
    ) -> None:
        self._send = send
        self._generator = generator
        self._table = table
        self._monitor = monitor
        self.stopped = stopped

    def stop(self) -> None:
        self.stopped.set()
        self._generator.stop()

    def ramp_up(self, settings: Settings) -> None:
        seconds = settings["load_ramp_up"]
        self._send(concurrency=settings["load_concurrency"], duration=seconds, ramp_up=seconds)

    def portion(self, settings: Settings) -> object:
        if self.stopped.is_set():
            raise _Stopped
        concurrency = settings["load_concurrency"]
        requests = max(_LEAST_REQUESTS, _REQUESTS_PER_CONNECTION * concurrency)
        result = self._send(concurrency=concurrency, requests=requests)
        self._table.take_gc_events(self._monitor.gc_events)
        sent = sum(one.requests for one in self._generator.results)
        self._table.status = f"{units.format_count(sent)} requests"
        return result
