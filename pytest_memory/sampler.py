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
import uuid
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
_MAX_PAUSE_S = 5.0
"""What an app that works on has not answered by then it answers while it is settled, which waits for the same turn."""

_REINSTALL_S = 10.0  # how often what did not take the probe is asked again: each time may cost the finder seconds
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
    before took too long, ``gc_dropped`` collections that are in no event.  Both as they were when the app was last
    left in peace are ``gc_events_before_pause`` and ``gc_dropped_before_pause``.  Times are seconds since
    ``start()``."""

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
        self._token = uuid.uuid4().hex
        self._quiet = threading.Event()
        self._depth = 0
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
        self.gc_events_before_pause = 0
        self.gc_dropped_before_pause = 0
        self.callback_error: BaseException | None = None

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started_at

    @property
    def gc_observed(self) -> bool:
        """True when every Node process that can be asked reports its collections, and there is one."""
        watches = tuple(self._watches.values())
        return any(watch.probed for watch in watches) and not any(watch.is_deaf for watch in watches)

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
        if self._thread is not threading.current_thread():  # stopped by a callback
            self._thread.join(timeout=2 * MAX_ANSWER_S + self._interval_s + 5.0)
        self._thread = None
        if self._finder is not None:
            self._finder.join(timeout=MAX_ANSWER_S)
            if not self._finder.is_alive() and self.now_s - self._found_at >= _REFRESH_S:
                self._find_processes()
        self._ask_all(_Watch.await_turn, MAX_ANSWER_S)  # what never yielded has not told of its collections yet
        self._tick(self.now_s)
        with self._pausing:
            for watch in self._watches.values():
                watch.remove_probe(self)

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Leave the app's heap alone (only the operating system is asked): for settled readings.

        Collections inside are our own and in no event.  Which events came before is known at the end, by the order of
        commands on the connection.  Two clocks could not tell: the app's is known to half a round trip, and under load
        that is more than there is between its collections and ours.  May be nested."""
        with self._pausing:
            self._depth += 1
            outermost = self._depth == 1
            self._quiet.set()
        try:
            if outermost:
                with self._reading:
                    pass  # a reading under way: its garbage must not fall into the settling
                self._ask_all(_Watch.pause_probe, _MAX_PAUSE_S)
            yield
        finally:
            self._end_quiet()

    def _end_quiet(self) -> None:
        with self._pausing:
            watches = tuple(self._watches.values())
            for watch in watches:
                watch.take_open_answers(self, 0.0)
            self.gc_events_before_pause = len(self.gc_events)
            self.gc_dropped_before_pause = self.gc_dropped
            self._depth -= 1
            if self._depth == 0:
                for watch in watches:
                    watch.resume_probe()
                self._quiet.clear()

    def _ask_all(self, ask: Callable[[_Watch], None], timeout_s: float) -> None:
        """Ask all at once, then wait for all: one that works on does not delay the others."""
        watches = tuple(self._watches.values())
        for watch in watches:
            ask(watch)
        deadline = self._clock() + timeout_s
        for watch in watches:
            watch.take_open_answers(self, max(0.0, deadline - self._clock()))

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
        try:
            pids = find_measured(self._app)
        except (AppError, InspectorError):
            return  # it is ending or being restarted: the next look finds it, or somebody says that it died
        self._forget_others(pids)
        for pid in pids:
            inspector = find_inspector(self._app, pid)
            if is_over():
                return  # a process answered when nobody sampled any more: nothing is put into it
            if inspector is not None and self._watches[pid].wants_probe(inspector):
                self._begin_watching(_Watch(pid, inspector, self._token), is_over)

    def _forget_others(self, pids: Sequence[int]) -> None:
        known = self._watches
        for pid, watch in known.items():
            if pid not in pids and watch.has_open_answers:
                self.gc_dropped += 1  # it ended with a question unanswered: what it would have told is not known
        self._watches = {pid: known.get(pid) or _Watch(pid, None, self._token) for pid in pids}

    def _begin_watching(self, watch: _Watch, is_over: Callable[[], bool] = lambda: False) -> None:
        """Its probe begins paused, and stays so while a settled reading is taken."""
        with self._pausing:
            if is_over():
                watch.remove_probe(self)
                return
            self._watches = {**self._watches, watch.pid: watch}
            if self._depth == 0:
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

    def __init__(self, pid: int, inspector: InspectorClient | None, token: str) -> None:
        self.pid = pid
        self.inspector = inspector
        self.probed = False
        self._token = token
        self._offset_s: float | None = None
        self._best_round_trip_s = float("inf")
        self._asked_at = 0.0
        self._arrived_at = 0.0
        self._open: list[Future[dict[str, Any]]] = []  # questions, and pauses, not answered yet
        self._timed: Future[dict[str, Any]] | None = None
        self._pauses = 0
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
        except psutil.Error:
            self._process = None
        self._install()

    def _install(self) -> None:
        self._installed_at = time.monotonic()
        if self.inspector is None or self.inspector.closed:
            return
        try:
            installed = self.inspector.evaluate(f"{probe_source()}('{self._token}')", timeout_s=_INSTALL_TIMEOUT_S)
        except InspectorError:
            installed = False  # a blocked or dying app: samples then hold what the system knows
        self.probed = bool(installed)

    def wants_probe(self, inspector: InspectorClient) -> bool:
        """Whether this process is to be asked for the first time, through a new connection, or once more."""
        if inspector is not self.inspector:
            return True
        return not self.probed and time.monotonic() - self._installed_at >= _REINSTALL_S

    @property
    def is_deaf(self) -> bool:
        """A Node process that did not take the probe."""
        return self.inspector is not None and not self.probed

    @property
    def has_open_answers(self) -> bool:
        return bool(self._open)

    def resume_probe(self) -> None:
        """Without waiting for the answer: commands of one connection are carried out in their order."""
        self._submit(f"resume('{self._token}', {self._pauses})")

    def pause_probe(self) -> None:
        """Ask for the last reading before the pause; `take_open_answers` has it."""
        self._pauses += 1
        self._leave_open(self._submit(f"pause('{self._token}', {self._pauses})", await_promise=True))

    def await_turn(self) -> None:
        self._leave_open(self._submit("turned()", await_promise=True))

    def remove_probe(self, sampler: Sampler) -> None:
        self._leave_open(self._submit(f"remove('{self._token}')"))
        self.take_open_answers(sampler, MAX_ANSWER_S)

    def _leave_open(self, asked: Future[dict[str, Any]] | None) -> None:
        if asked is not None:
            self._open.append(asked)

    def take_open_answers(self, sampler: Sampler, timeout_s: float) -> None:
        """Keep the collections in answers that have not been looked at, waiting for them at most so long."""
        deadline = time.monotonic() + timeout_s
        for future in tuple(self._open):
            self.collect(_Draft(), future, max(0.0, deadline - time.monotonic()), sampler)

    def _submit(self, call: str, *, await_promise: bool = False) -> Future[dict[str, Any]] | None:
        """Send a command to the probe; no waiting.  None when there is nobody to ask."""
        inspector = self.inspector
        if not self.probed or inspector is None or inspector.closed:
            return None
        command = {
            "expression": f"{PROBE}?.{call}",
            "awaitPromise": await_promise,
            "returnByValue": True,
            "silent": True,
        }
        try:
            return inspector.submit("Runtime.evaluate", command)
        except InspectorError:
            return None  # it has ended since it was looked at

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
        """Send the question; no waiting.  While one is unanswered no other is asked."""
        inspector = self.inspector
        if not self.probed or inspector is None or inspector.closed:
            return None
        if self._open:
            return self._open[0]  # asked while the loop was blocked; its answer holds the collections since then
        if full:
            # An attached inspector keeps every logged object alive: let go before looking.  At short intervals not
            # each time, for it costs the app as much as the look itself.
            with contextlib.suppress(InspectorError):
                inspector.submit("Runtime.discardConsoleEntries")
        self._asked_at = time.monotonic()
        asked = self._submit(f"read('{self._token}', {'true' if full else 'false'})")
        if asked is not None:
            self._timed = asked
            asked.add_done_callback(self._note_arrival)
        return asked

    def _note_arrival(self, _answered: Future[dict[str, Any]]) -> None:
        self._arrived_at = time.monotonic()

    def collect(self, draft: _Draft, future: Future[dict[str, Any]], timeout_s: float, sampler: Sampler) -> None:
        """Wait for the answer and fill the draft; too late means the event loop is blocked."""
        try:
            answer = future.result(timeout_s)
        except FutureTimeout:
            draft.blocked = True
            if future not in self._open:
                self._open.append(future)
            return
        except InspectorError:
            answer = {"exceptionDetails": None}
        if future in self._open:
            self._open.remove(future)
        reading = answer.get("result", {}).get("value")
        if isinstance(reading, list) and len(reading) >= _READING_FIELDS:
            self._fill(draft, reading, sampler, timed=future is self._timed)
        elif "value" not in answer.get("result", {}) and "exceptionDetails" not in answer:
            self.probed = False  # a restarted isolate: the probe is no more

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

    def _fill(self, draft: _Draft, reading: list[float], sampler: Sampler, *, timed: bool) -> None:
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
        offset_s = self._match_clocks(now_ms) if timed or self._offset_s is None else self._offset_s
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
