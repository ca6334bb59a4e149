"""MemoryMonitor: one measured window over one app.  Floor 6: joins the sampler, settled readings and load results.

What the fixture ``memory_monitor`` hands out, usable without pytest.  It measures and records; deciding is
`judge`'s, running and judging a whole measurement is `runner`'s.
"""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memory import units
from pytest_memory.errors import AppError, ConfigError, InspectorError, MonitorError, PytestMemoryWarning
from pytest_memory.growth import window_growth
from pytest_memory.model import (
    AppInfo,
    GcEvent,
    Growth,
    LoadStats,
    Note,
    Phase,
    ProcessInfo,
    RunResult,
    Sample,
    SettledMemory,
)
from pytest_memory.node.exits import LAST_BREATH_S
from pytest_memory.progress import Progress, Stages
from pytest_memory.report.series import latest_heap
from pytest_memory.sampler import Sampler
from pytest_memory.settle import settle_app

if TYPE_CHECKING:
    from pytest_memory.leakrun import LeakResult
    from pytest_memory.load.generator import LoadGenerator, LoadRun
    from pytest_memory.load.result import LoadResult
    from pytest_memory.node.process import NodeApp

_DESCRIBE = "[process.version, process.versions.v8, require('v8').getHeapStatistics().heap_size_limit]"
_OUTPUT_TAIL_LINES = 20
_MAX_CURVES = 10
_LATE_S = 0.02  # a sample this far behind its schedule is late; a few are the machine's, many make a note
_LATE_SHARE = 0.1
_RECENT_SAMPLES = 300  # among them one from before a settled reading, at the shortest interval too


class MemoryMonitor:
    """Watches an app's memory from ``start()`` to ``stop()``.

    ``interval`` and ``duration`` are seconds (or text: "250ms"); ``output_file`` receives the result document at
    the end; ``on_sample`` is called with every Sample as it is taken, on the sampling thread.  ``no_leaks`` is the
    limit of leak tests; with ``explain`` two snapshots after a leak was found tell what grows, and are kept in
    ``snapshot_directory`` if there is one (``snapshot_compression``: "none", "gzip", "zstd").

    ::

        with NodeApp.start(spec) as app, MemoryMonitor(app, interval=0.5) as monitor:
            ...
        print(monitor.growth["heap_used"].amount)
    """

    def __init__(
        self,
        app: NodeApp | None = None,
        *,
        interval: float | str = 1.0,
        duration: float | str | None = None,
        output_file: str | Path | None = None,
        on_sample: Callable[[Sample], None] | None = None,
        no_leaks: units.Limit | None = None,
        explain: bool = False,
        snapshot_directory: Path | None = None,
        snapshot_compression: str = "none",
    ) -> None:
        self._app = app
        self.interval_s = units.parse_duration(interval, plain_unit="s", what="interval")
        if self.interval_s < 0.01:
            raise ConfigError(
                f"interval is {interval!r}; expected at least 10 ms",
                slug="config-unit",
                hint="sampling faster than every 10 ms measures the sampler",
            )
        self.duration_s = None if duration is None else units.parse_duration(duration, plain_unit="s", what="duration")
        self.output_file = None if output_file is None else Path(output_file)
        self._on_sample = on_sample
        self._no_leaks = no_leaks
        self._explains = explain
        self._snapshot_directory = snapshot_directory
        self._snapshot_compression = snapshot_compression
        self._sampler: Sampler | None = None
        self._stages = Stages(time.monotonic)
        self._stopped = False
        self._ended = threading.Event()
        self._window_pid = 0
        self._first_gc_event = 0  # of the window
        self._first_gc_dropped = 0
        self._window_workers: frozenset[int] = frozenset()
        self._phases: list[Phase] = []
        self._load_results: Sequence[LoadResult] = ()
        self._window_first_load = 0
        self._leak_loads: list[range] = []
        self._background_runs: Sequence[LoadRun] = ()
        self._past_runs: Sequence[LoadRun] = ()
        self.failed_runs: tuple[str, ...] = ()
        self.unfinished_runs = 0
        self._doubts: dict[str, str] = {}
        self._notes: list[Note] = []
        self._app_info = AppInfo()
        self.leak_results: list[LeakResult] = []
        self.leak_options: dict[str, Any] = {}
        self.start_memory: SettledMemory | None = None
        self.end_memory: SettledMemory | None = None
        self.app_error: AppError | None = None
        self.started_at = ""
        self.elapsed_s = 0.0

    # --- life cycle ---

    @property
    def app(self) -> NodeApp:
        """The app under observation."""
        if self._app is None:
            raise ConfigError(
                "the monitor has no app; expected one at MemoryMonitor(app) or start(app)", slug="config-app"
            )
        return self._app

    @property
    def running(self) -> bool:
        return self._sampler is not None and not self._stopped

    def start(self, app: NodeApp | None = None) -> MemoryMonitor:
        """Start sampling and take the settled reading growth is counted from."""
        if self._sampler is not None:
            raise MonitorError("the monitor was started twice", slug="monitor-state", hint="make a new MemoryMonitor")
        if app is not None:
            self._app = app
        from pytest_memory.store import now_text

        self.started_at = now_text()
        self._app_info = describe_app(self.app)
        self._sampler = Sampler(self.app, interval_s=self.interval_s, on_sample=self._on_sample)
        self._sampler.start()
        self._stages.begin()
        self.rebase()
        return self

    def stop(self) -> MemoryMonitor:
        """Take the settled reading at the end, stop sampling (idempotent), write ``output_file``."""
        if self._sampler is None:
            raise MonitorError("the monitor was stopped before it was started", slug="monitor-state")
        if self._stopped:
            return self
        self._stopped = True
        self._ended.set()
        self._look_at_background_runs()
        try:
            self.end_memory = self._settle_or_none()
        finally:
            self._stages.end()
            self._sampler.stop()
            self.elapsed_s = self._sampler.now_s
        self._note_doubts()
        if self.output_file is not None:
            self._write_output(self.output_file)
        return self

    def abandon(self) -> None:
        """Stop sampling at once, without a reading at the end: the test was interrupted."""
        self._stages.end()
        if self.running and self._sampler is not None:
            self._stopped = True
            self._ended.set()
            self._sampler.stop()

    def run(self) -> MemoryMonitor:
        """Start, watch for ``duration`` seconds (or until the app ends), stop."""
        if self.duration_s is None:
            raise ConfigError("run() needs a duration; the monitor has none", slug="config-option")
        self.start()
        deadline = time.monotonic() + self.duration_s
        try:
            while time.monotonic() < deadline and self.app.alive:
                self._ended.wait(min(0.1, max(0.0, deadline - time.monotonic())))
        finally:
            self.stop()
        return self

    def __enter__(self) -> MemoryMonitor:
        return self.start() if self._sampler is None else self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # --- what was measured ---

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every sample so far, in time order; ``t_s`` counts from ``start()``."""
        return () if self._sampler is None else tuple(self._sampler.samples)

    @property
    def gc_events(self) -> tuple[GcEvent, ...]:
        """Every garbage collection of the app since the start; those we force are not among them.

        While the monitor runs, the last two seconds may be missing (six at intervals under a second): V8 is asked now
        and then."""
        return () if self._sampler is None else tuple(self._sampler.gc_events)

    @property
    def window_gc_events(self) -> tuple[GcEvent, ...]:
        """Those of the measured window: what happened before ``rebase()`` is nothing to its limits."""
        return self.gc_events[self._first_gc_event :]

    def on_sample(self, callback: Callable[[Sample], None] | None) -> None:
        """Call ``callback(sample)`` for every sample from now on, on the sampling thread; None: no more.

        One that raises is not called again, and the result says so."""
        self._on_sample = callback
        if self._sampler is not None:
            self._sampler.on_sample = callback

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The named phases that have ended."""
        return tuple(self._phases)

    @property
    def loads(self) -> tuple[LoadStats, ...]:
        """The load runs of the measured window."""
        return tuple(result.stats for result in self._load_results[self._window_first_load :])

    @property
    def own_loads(self) -> tuple[LoadStats, ...]:
        """The load runs of the measured window that no leak test sent."""
        sent = {index for indexes in self._leak_loads for index in indexes}
        first = self._window_first_load
        return tuple(load for index, load in enumerate(self.loads, start=first) if index not in sent)

    @property
    def leak_loads(self) -> tuple[tuple[LoadStats, ...], ...]:
        """The load runs of each leak test of the measured window: one load, cut into rounds."""
        first = self._window_first_load
        return tuple(
            tuple(self._load_results[index].stats for index in indexes if index >= first)
            for indexes in self._leak_loads
        )

    @property
    def units(self) -> int:
        """Requests served in the measured window, those that warmed a load run up included: their memory is, too."""
        return sum(load.sent for load in self.loads)

    @property
    def growth(self) -> dict[str, Growth]:
        """Settled growth of the window by metric: heap_used, external, array_buffers, rss, native.

        While the monitor runs, this settles the app and looks now; afterwards it is the final figure.  Empty when
        there is no reading at both ends."""
        end = self._settle_or_none() if self.running else self.end_memory
        if self.start_memory is None or end is None:
            return {}
        return window_growth(self.start_memory, end, self.units)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Name a stretch of the measurement; it appears in charts and results."""
        sampler = self._active()
        began = sampler.now_s
        try:
            with self._stages.within(name):
                yield
        finally:
            self._phases.append(Phase(name=name, start_s=began, end_s=sampler.now_s))

    def progress(self) -> Progress | None:
        """Where the measurement is, for a live line; None outside of it.  Any thread may ask; the app is not asked."""
        where = self._stages.now()
        if where is None or self._sampler is None:
            return None
        return replace(where, heap_used_bytes=latest_heap(self._sampler.samples[-_RECENT_SAMPLES:]))

    def settle(self) -> SettledMemory:
        """Force collections until the floor stops moving, and read every kind of memory.

        Raises AppError when the app has died, InspectorError when it cannot be asked."""
        sampler = self._active()
        self.app.check()
        with self.phase("settle"), sampler.quiet():
            memory = settle_app(self.app)
        return replace(memory, t_s=sampler.now_s)

    def hands_off(self) -> AbstractContextManager[object]:
        """While a snapshot is taken, or the like: the app is not asked, and collections inside are not the app's."""
        return self._sampler.quiet() if self.running and self._sampler is not None else contextlib.nullcontext()

    def rebase(self) -> SettledMemory | None:
        """Begin the measured window here: growth counts from the settled reading taken now.

        ``start()`` does this by itself; call it again after a warm-up."""
        sampler = self._active()
        sampler.look_again()  # what there is by now is watched from the beginning of the window
        self._window_pid = self.app.pid
        self._window_first_load = len(self._load_results)
        self._forget_background_runs()
        self.start_memory = self._settle_or_none()
        self._first_gc_event = sampler.gc_events_before_pause
        self._first_gc_dropped = sampler.gc_dropped_before_pause
        self._window_workers = self._find_workers()
        return self.start_memory

    def _find_workers(self) -> frozenset[int]:
        """The cluster workers there are now: the app may have replaced those it began with before the window."""
        with contextlib.suppress(AppError, InspectorError):
            return frozenset(record.pid for record in self.app.processes if record.role == "cluster-worker")
        return frozenset()

    def watch_load(self, generator: LoadGenerator) -> None:
        """Count what ``generator`` sends from now on as the work of this window; ``load_generator`` does so itself."""
        self._load_results = generator.results
        self._window_first_load = len(generator.results)
        self._background_runs = generator.background_runs
        self._forget_background_runs()

    def _forget_background_runs(self) -> None:
        """What has ended before the window is nothing to it; what goes on is."""
        self._past_runs = [run for run in self._background_runs if not run.running]

    def _look_at_background_runs(self) -> None:
        """Note what nobody has waited for: it may be in no result, and would be missed by nobody."""
        runs = [run for run in self._background_runs if run not in self._past_runs]
        self.unfinished_runs = sum(run.running for run in runs)
        errors = [run.unseen_error for run in runs]
        self.failed_runs = tuple(getattr(error, "message", "") or repr(error) for error in errors if error is not None)

    def doubt(self, metric: str, reason: str) -> None:
        """Say that a metric's growth cannot be judged (a snapshot in the window swells RSS, …)."""
        self._doubts.setdefault(metric, reason)

    def note(self, slug: str, **detail: str | int | float | bool | None) -> None:
        """Record something worth knowing in the result."""
        self._notes.append(Note(slug=slug, detail=detail))

    @property
    def doubts(self) -> dict[str, str]:
        return dict(self._doubts)

    @property
    def missed_samples(self) -> int:
        """Samples that were skipped because the one before took too long."""
        return self._sampler.missed if self._sampler is not None else 0

    @property
    def gc_observed(self) -> bool:
        return self._sampler is not None and self._sampler.gc_observed

    @property
    def gc_dropped(self) -> int:
        """How often collections of the window may have been in no event: see `Sampler`."""
        return self._sampler.gc_dropped - self._first_gc_dropped if self._sampler is not None else 0

    @property
    def app_died(self) -> bool:
        return self.app_error is not None

    @property
    def inspector_lost(self) -> bool:
        """The app lives, but could not be asked at the start or at the end of the window: its growth is not known."""
        unread = self.start_memory is None or self.end_memory is None
        return self._stopped and unread and not self.app_died

    @property
    def never_inspected(self) -> bool:
        """Nothing of the app was ever read: no settled reading, not even its version."""
        return self.inspector_lost and self.start_memory is self.end_memory and not self._app_info.node_version

    @property
    def processes_ended(self) -> int:
        """Node processes that were in the settled reading at the start and are not in the one at the end."""
        return len(self._ended_pids)

    @property
    def workers_ended(self) -> bool:
        """Whether a cluster worker was among them: a part of the app itself was restarted."""
        return not self._window_workers.isdisjoint(self._ended_pids)

    @property
    def _ended_pids(self) -> set[int]:
        if self.start_memory is None or self.end_memory is None:
            return set()
        return set(self.start_memory.node_pids) - set(self.end_memory.node_pids)

    @property
    def app_restarted(self) -> bool:
        return bool(self._window_pid) and self.app.pid != self._window_pid

    @property
    def app_info(self) -> AppInfo:
        """The app as it was measured, with its end when it has died."""
        return self._app_info if self.app_error is None else end_of(self._app_info, self.app_error)

    # --- leak tests ---

    def leak_test(self, operation: Callable[[], Any] | str, **options: Any) -> LeakResult:
        """Run ``operation`` in rounds until it is clear whether memory grows with the work.

        ``operation`` is one portion of work: a call that returns a load result (its requests are the units), any
        other call (one unit each), or a JavaScript expression that is evaluated in the app (one unit each).  Options
        are those of ``@pytest.mark.no_leaks`` (``unit="job"`` names the unit) and win over them.  See `leaktest`."""
        from pytest_memory.expression import repeat_in_app
        from pytest_memory.leakrun import run_leak_test

        sampler = self._active()
        if isinstance(operation, str):
            operation = repeat_in_app(self.app, operation)
        options = {"limit": self._no_leaks, "unit": "request", **self.leak_options, **options}
        began = sampler.now_s
        with self._sending_for_leak_test(), self._stages.within("leak test"):
            result = run_leak_test(
                self.app,
                operation,
                counter=self._count_load,
                quiet=sampler.quiet,
                clock=lambda: sampler.now_s,
                on_step=self._stages.tell,
                on_growth=self._prepare_explaining,
                **options,
            )
            self._phases.append(Phase(name="leak test", start_s=began, end_s=sampler.now_s))
            result = self._explain(operation, result)
        self.leak_results.append(result)
        return result

    @contextlib.contextmanager
    def _sending_for_leak_test(self) -> Iterator[None]:
        first = len(self._load_results)
        try:
            yield
        finally:
            self._leak_loads.append(range(first, len(self._load_results)))

    def _prepare_explaining(self) -> None:
        if self._explains:
            from pytest_memory.heap import warm_kernels

            warm_kernels()  # a cold machine compiles while the work pauses

    def _explain(self, operation: Callable[[], Any], result: LeakResult) -> LeakResult:
        """After a leak was found: which class grows, and who holds it."""
        from pytest_memory import explain

        if not self._explains or not explain.explains(result.estimates):
            return result
        with self.phase("explain"):
            explained, notes = explain.explain_leak(
                self.app, operation, result, self._snapshot_directory, compression=self._snapshot_compression
            )
        # Writing a snapshot takes many times the heap, and the process does not give it back soon.
        self.doubt("rss", "rss-after-snapshot")
        self._notes.extend(notes)
        return explained

    # --- the record ---

    def record(self, test_id: str, **more: Any) -> RunResult:
        """Everything measured as one RunResult, not yet judged."""
        leak = self.leak_results[-1] if self.leak_results else None
        return RunResult(
            test_id=test_id,
            started_at=self.started_at,
            duration_s=round(self.elapsed_s, 3),
            interval_s=self.interval_s,
            unit=leak.unit if leak else "request",
            app=self.app_info,
            samples=self.samples,
            gc_events=self.gc_events,
            phases=self.phases,
            start_memory=self.start_memory,
            end_memory=self.end_memory,
            growth=tuple(self.growth.values()) if self._stopped else (),
            rounds=leak.rounds if leak else (),
            load=self._recorded_loads(),
            notes=tuple(self._notes),
            **more,
        )

    def _recorded_loads(self) -> tuple[LoadStats, ...]:
        """All load runs; the many short ones of a leak test without their curves, which nobody would look at."""
        loads = tuple(result.stats for result in self._load_results)
        return loads if len(loads) <= _MAX_CURVES else tuple(replace(load, series=()) for load in loads)

    def _count_load(self) -> tuple[int, int]:
        loads = [result.stats for result in self._load_results]
        return sum(load.sent for load in loads), sum(load.errors for load in loads)

    def _active(self) -> Sampler:
        if self._sampler is None or self._stopped:
            raise MonitorError("the monitor is not running", slug="monitor-state", hint="call start() first")
        return self._sampler

    def _settle_or_none(self) -> SettledMemory | None:
        """A settled reading, or None when the app cannot give one any more; then ``app_error`` says why."""
        sampler = self._sampler
        assert sampler is not None
        try:
            self.app.check()
            began = sampler.now_s
            with self._stages.within("settle"), sampler.quiet():
                memory = settle_app(self.app)
            self._phases.append(Phase(name="settle", start_s=began, end_s=sampler.now_s))
        except AppError as error:
            self.app_error = error
            return None
        except InspectorError as error:
            # The inspector is gone: has the app gone with it?
            self.app.wait(LAST_BREATH_S)
            try:
                self.app.check()
            except AppError as died:
                self.app_error = died
                return None
            self.note("inspector-lost", message=error.message)
            return None
        if not memory.converged:
            self.note("not-settled", t_s=round(sampler.now_s, 3))
        return replace(memory, t_s=sampler.now_s)

    def _note_doubts(self) -> None:
        sampler = self._sampler
        assert sampler is not None
        if sampler.callback_error is not None:
            message = f"on_sample raised {sampler.callback_error!r}; it was not called again"
            warnings.warn(PytestMemoryWarning(message, slug="callback-failed"), stacklevel=3)
            self.note("callback-failed", error=repr(sampler.callback_error))
        taken = len(sampler.samples)
        late = sum(1 for sample in sampler.samples if sample.late_s > _LATE_S) + self.missed_samples
        if taken >= 10 and late > _LATE_SHARE * (taken + self.missed_samples):
            self.note("late-samples", late=late, samples=taken + self.missed_samples)
        if self.gc_dropped:
            self.note("gc-dropped", times=self.gc_dropped)
        blocked = [sample for sample in sampler.samples if sample.blocked]
        if blocked:
            self.note("blocked-loop", samples=len(blocked), first_s=round(blocked[0].t_s, 3))

    def _write_output(self, path: Path) -> None:
        from pytest_memory import environment, results, store

        result = self.record("monitor", tool="monitor")
        found = environment.describe(node_version=result.app.node_version, v8_version=result.app.v8_version)
        store.write_document(path, results.make_document([result], found, store.now_text()))


def describe_app(app: NodeApp) -> AppInfo:
    """What there is to say of an app that runs; versions are empty when its inspector does not answer."""
    node_version, v8_version, heap_limit = "", "", None
    try:
        node_version, v8_version, heap_limit = app.evaluate(_DESCRIBE)
    except InspectorError:
        pass  # no inspector: only the operating system is asked, which samples and notes will show
    try:
        url = app.url
    except ConfigError:
        url = ""
    return AppInfo(
        command=app.spec.label,
        pid=app.pid,
        url=url,
        node_version=node_version,
        v8_version=v8_version,
        precise=app.spec.precise,
        heap_limit_bytes=heap_limit,
        processes=tuple(
            ProcessInfo(pid=record.pid, ppid=record.ppid, role=record.role, command=" ".join(record.argv))
            for record in app.processes
        ),
    )


def end_of(app: AppInfo, error: AppError) -> AppInfo:
    """The app with the end that ``error`` tells: exit status and last output."""
    lines = error.output_tail.splitlines()[-_OUTPUT_TAIL_LINES:]
    return replace(app, exit_status=error.exit_status, output_tail="\n".join(lines))
