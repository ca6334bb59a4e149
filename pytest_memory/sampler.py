"""The sampling loop: (clock, processes, inspectors) → samples and GC events.  Floor 5: a thread, nothing decided.

Each tick reads what the operating system knows of every process first, so that an app whose event loop is blocked
is sampled all the same, then asks the app itself through its inspector with a short deadline.  An answer that
does not come in time leaves a sample marked ``blocked``.  New processes are found in a second thread.  The probe
inside the app is `node/probe.js`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import psutil

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.errors import AppError, InspectorError
from pytest_memory.model import GcEvent, GcKind, Sample
from pytest_memory.node.choose import ProcessRecord

PROBE = "globalThis[Symbol.for('pytest-memory.probe')]"
FULL_SAMPLE_EVERY_S = 1.0
"""USS, PSS, handles and descriptors cost a millisecond a process: looked at no more often than this."""

MAX_ANSWER_S = 1.0
"""A reading that takes longer counts as a blocked event loop."""

_GC_KINDS: dict[int, GcKind] = {
    1: "scavenge",
    2: "minor-mark-compact",
    4: "mark-compact",
    8: "incremental",
    16: "weak-callbacks",
}
_INSTALL_TIMEOUT_S = 5.0
_REFRESH_S = 1.0  # how often new processes of the app are looked for
_MAX_TURN_S = 30.0
"""An app that works on at the end of a window is waited for as long as the settled reading would wait."""

_TURNS = "new Promise((done) => setImmediate(() => setImmediate(done)))"
"""Node hands collections to observers by an immediate: after two turns of its loop all that happened are in."""
_READING_FIELDS = 8  # numbers before the GC events in a reading of the probe


class SampledApp(Protocol):
    """What the sampler needs of an app (NodeApp has it): which processes there are, and their inspectors."""

    @property
    def processes(self) -> Sequence[ProcessRecord]: ...

    def inspector_of(self, pid: int) -> InspectorClient: ...


def find_measured(app: SampledApp) -> list[int]:
    """The pids of the processes whose memory is the app's: all but wrappers such as npm."""
    return [record.pid for record in app.processes if record.role != "wrapper"]


def find_inspector(app: SampledApp, pid: int) -> InspectorClient | None:
    """None for what is no Node process, or refuses to be inspected: the system still knows its RSS."""
    try:
        return app.inspector_of(pid)
    except (InspectorError, AppError):
        return None


@cache
def probe_source() -> str:
    return (Path(__file__).parent / "node" / "probe.js").read_text(encoding="utf-8")


class Sampler:
    """Samples an app at a fixed interval from a thread of its own until stopped.

    ``samples`` and ``gc_events`` grow in time order; ``missed`` counts ticks that were skipped because the one
    before took too long.  Times are seconds since ``start()``."""

    def __init__(
        self,
        app: SampledApp,
        *,
        interval_s: float = 1.0,
        on_sample: Callable[[Sample], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._interval_s = interval_s
        self.on_sample = on_sample
        self._clock = clock
        self._watches: dict[int, _Watch] = {}
        self._stop = threading.Event()
        self._quiet = threading.Event()
        self._reading = threading.Lock()
        self._pausing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._finder: threading.Thread | None = None
        self._started_at = 0.0
        self._found_at = float("-inf")
        self._full_at = float("-inf")
        self.samples: list[Sample] = []
        self.gc_events: list[GcEvent] = []
        self.missed = 0
        self.gc_dropped = 0
        self.callback_error: BaseException | None = None

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started_at

    @property
    def gc_observed(self) -> bool:
        """True when at least one isolate reports its collections."""
        return any(watch.probed for watch in self._watches.values())

    def start(self) -> None:
        """Install the probes, take the first sample, and go on in the background."""
        self._started_at = self._clock()
        self._find_processes()
        self._tick(0.0)
        self._thread = threading.Thread(target=self._run, name="memory sampler", daemon=True)
        self._finder = threading.Thread(target=self._keep_finding, name="memory sampler's finder", daemon=True)
        self._thread.start()
        self._finder.start()

    def stop(self) -> None:
        """Take a last sample and end the thread (idempotent).  The probes are removed from the app."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join(timeout=2 * MAX_ANSWER_S + self._interval_s + 5.0)
        self._thread = None
        if self._finder is not None:
            self._finder.join(timeout=MAX_ANSWER_S)
            if not self._finder.is_alive() and self.now_s - self._found_at >= _REFRESH_S:
                self._find_processes()
        self._let_loops_turn(MAX_ANSWER_S)
        self._tick(self.now_s)
        for watch in self._watches.values():
            watch.remove_probe(self)

    @contextlib.contextmanager
    def quiet(self) -> Iterator[int]:
        """Leave the app's heap alone (only the operating system is asked): for settled readings.

        Collections inside are our own and in no event.  Yields how many of ``gc_events`` came before; the order of
        commands on the connection says so, for two clocks could not: what our clock says of the app's is wrong by
        half a round trip, and under load that is more than there is between its collections and ours."""
        with self._pausing:
            self._quiet.set()
        with self._reading:
            pass  # a reading under way: its garbage must not fall into the settling
        self._let_loops_turn(_MAX_TURN_S)
        self._pause_probes()
        try:
            yield len(self.gc_events)
        finally:
            with self._pausing:
                for watch in self._watches.values():
                    watch.resume_probe()
                self._quiet.clear()

    def _let_loops_turn(self, timeout_s: float) -> None:
        """Collections of work that never yielded reach the probes before anything else is asked of the apps."""
        turning = [watch.let_loop_turn() for watch in tuple(self._watches.values())]
        deadline = self._clock() + timeout_s
        for future in turning:
            if future is not None:
                with contextlib.suppress(FutureTimeout, InspectorError):  # a blocked loop: it has had its chance
                    future.result(max(0.0, deadline - self._clock()))

    def _pause_probes(self) -> None:
        watches = tuple(self._watches.values())
        for watch in watches:
            watch.take_late_answer(self)
        asked = [(watch, watch.pause_probe()) for watch in watches]
        deadline = self._clock() + MAX_ANSWER_S
        for watch, future in asked:
            if future is not None:
                watch.collect(_Draft(), future, max(0.0, deadline - self._clock()), self)

    def _run(self) -> None:
        tick = 1
        while True:
            wait_s = tick * self._interval_s - self.now_s
            if wait_s < -self._interval_s:
                behind = int(-wait_s / self._interval_s)
                self.missed += behind
                tick += behind
                continue
            if self._stop.wait(max(0.0, wait_s)):
                return
            self._tick(tick * self._interval_s)
            tick += 1

    def _tick(self, scheduled_s: float) -> None:
        t_s = self.now_s
        full = t_s - self._full_at >= FULL_SAMPLE_EVERY_S or self._interval_s >= FULL_SAMPLE_EVERY_S
        if full:
            self._full_at = t_s
        watches = tuple(self._watches.values())
        drafts = [(watch, draft) for watch in watches if (draft := watch.read_system(full)) is not None]
        with self._reading:
            if not self._quiet.is_set():
                self._ask(drafts, full)
        for watch, draft in drafts:
            self._keep(watch, draft, t_s, max(0.0, t_s - scheduled_s))

    def _ask(self, drafts: list[tuple[_Watch, _Draft]], full: bool) -> None:
        """Ask all isolates at once, then collect: one slow process does not delay the others."""
        deadline = self._clock() + min(MAX_ANSWER_S, max(0.05, self._interval_s * 0.8))
        asked = [(watch, draft, watch.request(full)) for watch, draft in drafts]
        for watch, draft, future in asked:
            if future is not None:
                watch.collect(draft, future, max(0.0, deadline - self._clock()), self)
            if full and not draft.blocked:
                watch.read_workers(draft, max(0.05, deadline - self._clock()))

    def _keep_finding(self) -> None:
        """In a thread of its own: a process that does not answer must not hold up the samples of the others."""
        while not self._stop.wait(_REFRESH_S):
            self._find_processes(is_over=self._stop.is_set)

    def _find_processes(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Watch what belongs to the app now: at once by what the system knows, then through inspectors."""
        self._found_at = self.now_s
        pids = find_measured(self._app)
        known = self._watches
        self._watches = {pid: known.get(pid) or _Watch(pid, None) for pid in pids}
        for pid in pids:
            inspector = find_inspector(self._app, pid)
            if is_over():
                return  # a process answered when nobody sampled any more: nothing is put into it
            if inspector is not None and inspector is not self._watches[pid].inspector:
                self._begin_watching(_Watch(pid, inspector))

    def _begin_watching(self, watch: _Watch) -> None:
        """Its probe begins paused, and stays so while a settled reading is taken."""
        with self._pausing:
            self._watches = {**self._watches, watch.pid: watch}
            if not self._quiet.is_set():
                watch.resume_probe()

    def _keep(self, watch: _Watch, draft: _Draft, t_s: float, late_s: float) -> None:
        sample = Sample(t_s=t_s, pid=watch.pid, late_s=late_s, blocked=draft.blocked, **draft.values)
        self.samples.append(sample)
        if self.on_sample is not None:
            try:
                self.on_sample(sample)
            except Exception as error:  # noqa: BLE001 - the user's code: reported by the monitor, never lost samples
                self.callback_error = error
                self.on_sample = None

    def add_gc_event(self, pid: int, kind_number: float, at_s: float, duration_s: float) -> None:
        """Keep one collection of the app's own: while we collect, the probes are paused."""
        kind = _GC_KINDS.get(int(kind_number))
        if kind is not None:
            event = GcEvent(t_s=at_s - self._started_at, pid=pid, kind=kind, duration_s=duration_s)
            self.gc_events.append(event)


@dataclass(slots=True)
class _Draft:
    """A sample in the making."""

    values: dict[str, Any] = field(default_factory=dict)
    blocked: bool = False


class _Watch:
    """One process under observation: its psutil handle, its probe, the offset between its clock and ours."""

    def __init__(self, pid: int, inspector: InspectorClient | None) -> None:
        self.pid = pid
        self.inspector = inspector
        self.probed = False
        self._offset_s: float | None = None
        self._best_round_trip_s = float("inf")
        self._asked_at = 0.0
        self._arrived_at = 0.0
        self._late: Future[dict[str, Any]] | None = None
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
        except psutil.Error:
            self._process = None
        self._install()

    def _install(self) -> None:
        if self.inspector is None or self.inspector.closed:
            return
        try:
            self.probed = bool(self.inspector.evaluate(probe_source(), timeout_s=_INSTALL_TIMEOUT_S))
        except InspectorError:
            self.probed = False  # a blocked or dying app: samples then hold what the system knows

    def resume_probe(self) -> None:
        """Without waiting for the answer: commands of one connection are carried out in their order."""
        if self.probed and self.inspector is not None and not self.inspector.closed:
            with contextlib.suppress(InspectorError):  # it may end at any moment
                self.inspector.submit("Runtime.evaluate", {"expression": f"{PROBE}?.resume()", "silent": True})

    def pause_probe(self) -> Future[dict[str, Any]] | None:
        """Ask for the last reading before the pause."""
        return self._ask_probe("pause()")

    def _ask_probe(self, call: str) -> Future[dict[str, Any]] | None:
        """Send a question; no waiting.  None when there is nobody to ask."""
        inspector = self.inspector
        if not self.probed or inspector is None or inspector.closed:
            return None
        try:
            self._asked_at = time.monotonic()
            asked = inspector.submit(
                "Runtime.evaluate", {"expression": f"{PROBE}?.{call}", "returnByValue": True, "silent": True}
            )
        except InspectorError:
            return None  # it has ended since it was looked at
        asked.add_done_callback(self._note_arrival)
        return asked

    def let_loop_turn(self) -> Future[dict[str, Any]] | None:
        if not self.probed or self.inspector is None or self.inspector.closed:
            return None
        with contextlib.suppress(InspectorError):
            return self.inspector.submit(
                "Runtime.evaluate", {"expression": _TURNS, "awaitPromise": True, "returnByValue": True, "silent": True}
            )
        return None

    def remove_probe(self, sampler: Sampler) -> None:
        future = self._ask_probe("remove()")
        if future is not None:
            self.collect(_Draft(), future, MAX_ANSWER_S, sampler)

    def read_system(self, full: bool) -> _Draft | None:
        """What the operating system knows, or None when the process is gone."""
        if self._process is None:
            return None
        draft = _Draft()
        try:
            with self._process.oneshot():
                draft.values["rss_bytes"] = self._process.memory_info().rss
                cpu = self._process.cpu_times()
                draft.values["cpu_s"] = cpu.user + cpu.system
                if full:
                    draft.values["fds"] = self._process.num_fds()
            if full:
                self._read_shared(draft)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return None
        except psutil.AccessDenied:
            pass  # another user's process: what could be read is kept
        if draft.values.get("rss_bytes") == 0:
            return None  # a zombie: the kernel has taken its memory back already
        return draft

    def _read_shared(self, draft: _Draft) -> None:
        """USS and PSS, where the system has them."""
        try:
            info = self._process.memory_full_info()  # type: ignore[union-attr]
        except (psutil.AccessDenied, NotImplementedError):
            return
        draft.values["uss_bytes"] = info.uss
        draft.values["pss_bytes"] = getattr(info, "pss", None)

    def request(self, full: bool) -> Future[dict[str, Any]] | None:
        """Send the question; no waiting.  A question still unanswered is not asked again."""
        inspector = self.inspector
        if not self.probed or inspector is None or inspector.closed:
            return None
        if self._late is not None:
            return self._late  # asked while the loop was blocked; its answer holds the collections since then
        if full:
            # An attached inspector keeps every logged object alive: let go before looking.  At short intervals not
            # each time, for it costs the app as much as the look itself.
            with contextlib.suppress(InspectorError):
                inspector.submit("Runtime.discardConsoleEntries")
        return self._ask_probe(f"read({'true' if full else 'false'})")

    def take_late_answer(self, sampler: Sampler) -> None:
        """Before another question: what was asked while the loop was blocked has been answered once it has turned."""
        if self._late is not None:
            self.collect(_Draft(), self._late, 0.0, sampler)

    def _note_arrival(self, _answered: Future[dict[str, Any]]) -> None:
        self._arrived_at = time.monotonic()

    def collect(self, draft: _Draft, future: Future[dict[str, Any]], timeout_s: float, sampler: Sampler) -> None:
        """Wait for the answer and fill the draft; too late means the event loop is blocked."""
        self._late = None
        try:
            answer = future.result(timeout_s)
        except FutureTimeout:
            draft.blocked = True
            self._late = future
            return
        except InspectorError:
            return
        reading = answer.get("result", {}).get("value")
        if not isinstance(reading, list) or len(reading) < _READING_FIELDS:
            self.probed = False  # a restarted isolate: the next refresh sees a new process
            return
        self._fill(draft, reading, sampler)

    def read_workers(self, draft: _Draft, timeout_s: float) -> None:
        """The sum of the heaps of the process's worker threads, where it has any."""
        if not self.probed or self.inspector is None or self.inspector.closed:
            return
        deadline = time.monotonic() + timeout_s
        try:
            asked = [worker.submit("Runtime.getHeapUsage") for worker in self.inspector.workers(timeout_s=timeout_s)]
            answers = [future.result(max(0.0, deadline - time.monotonic())) for future in asked]
        except (FutureTimeout, InspectorError):
            return  # a busy or ending worker: the next full sample asks again
        if answers:
            draft.values["worker_heap_used_bytes"] = sum(int(answer["usedSize"]) for answer in answers)

    def _fill(self, draft: _Draft, reading: list[float], sampler: Sampler) -> None:
        now_ms, used, total, external, buffers, delay_ms, handles, dropped = reading[:_READING_FIELDS]
        draft.values.update(
            heap_used_bytes=int(used),
            heap_total_bytes=int(total),
            external_bytes=int(external),
            array_buffers_bytes=int(buffers),
            loop_delay_s=delay_ms / 1000 if delay_ms >= 0 else None,
            handles=int(handles) if handles >= 0 else None,
        )
        sampler.gc_dropped += int(dropped)
        offset_s = self._match_clocks(now_ms)
        events = reading[_READING_FIELDS:]
        for at in range(0, len(events) - 2, 3):
            start_ms, duration_ms, kind = events[at : at + 3]
            sampler.add_gc_event(self.pid, kind, offset_s + start_ms / 1000, duration_ms / 1000)

    def _match_clocks(self, now_ms: float) -> float:
        """The app's clock origin on our clock, from the fastest round trip seen so far.

        A late answer is looked at long after it has arrived.  Counted from then, the app's collections would be moved
        into our own settling and be taken for ours."""
        arrived = self._arrived_at
        if arrived < self._asked_at:
            arrived = time.monotonic()  # whoever waits is woken before the arrival is noted
        round_trip_s = arrived - self._asked_at
        if self._offset_s is None or round_trip_s < self._best_round_trip_s:
            self._best_round_trip_s = round_trip_s
            self._offset_s = (self._asked_at + arrived) / 2 - now_ms / 1000
        return self._offset_s
