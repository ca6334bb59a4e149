"""The sampling loop: (clock, processes, inspectors) → samples and GC events.  Floor 5: a thread, nothing decided.

Each tick reads what the operating system knows of every process first, so that an app whose event loop is blocked
is sampled all the same, then asks the app itself through its inspector with a short deadline.  An answer that
does not come in time leaves a sample marked ``blocked``.  At intervals under a second an app that was started notes
its sizes where they are read without asking; it is asked once a second, and whenever no note came.  New processes are
found in a second thread.  One process under observation is a `watch.Watch`.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.errors import AppError, InspectorError
from pytest_memory.model import GcEvent, GcKind, Sample
from pytest_memory.node.choose import ProcessRecord
from pytest_memory.watch import MAX_ANSWER_S, Draft, Watch

FULL_SAMPLE_EVERY_S = 1.0
"""USS, PSS, handles and descriptors cost a millisecond a process: looked at no more often than this."""

_FLUSH_EVERY = 5
"""Full intervals between two questions for collections, where samples are closer: the app is asked enough."""

_JUST_NOW_S = 0.1
_REFRESH_S = 1.0  # how often new processes of the app are looked for
_MAX_PAUSE_S = 5.0
"""What an app that works on has not answered by then it answers while it is settled, which waits for the same turn."""


class SampledApp(Protocol):
    """What the sampler needs of an app (NodeApp has it): which processes there are, and their inspectors."""

    @property
    def processes(self) -> Sequence[ProcessRecord]: ...

    @property
    def announced_pids(self) -> frozenset[int]: ...

    @property
    def printed_bytes(self) -> int | None: ...

    def inspector_of(self, pid: int) -> InspectorClient: ...


def find_measured(app: SampledApp) -> list[ProcessRecord]:
    """The processes whose memory is the app's: all but wrappers such as npm."""
    return [record for record in app.processes if record.role != "wrapper"]


def find_inspector(app: SampledApp, pid: int) -> InspectorClient | None:
    """None for what is no Node process, or refuses to be inspected: the system still knows its RSS."""
    try:
        return app.inspector_of(pid)
    except (InspectorError, AppError):
        return None


def _is_node(record: ProcessRecord) -> bool:
    """Whether it is known to be Node, that of an app we only attached to included."""
    return record.node_version is not None or record.inspector_url is not None or record.role == "cluster-worker"


class Sampler:
    """Samples an app at a fixed interval from a thread of its own until stopped.

    ``samples`` grow in time order, ``gc_events`` as they are told: one process's in order, each up to two seconds late
    (six at intervals under a second).  ``missed`` counts ticks that were skipped because the one before took too long,
    ``gc_dropped`` how often collections may have been in no event: one that found no room, or all that a process may
    have done before it was watched, while it could not be asked, or before it was killed.  Both as they were when the
    app was last left in peace are ``gc_events_before_pause`` and ``gc_dropped_before_pause``.  Times are seconds since
    ``start()``."""

    def __init__(
        self,
        app: SampledApp,
        *,
        interval_s: float = 1.0,
        full_interval_s: float = FULL_SAMPLE_EVERY_S,
        on_sample: Callable[[Sample], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._interval_s = interval_s
        self._full_interval_s = full_interval_s
        self._flush_interval_s = full_interval_s * (_FLUSH_EVERY if interval_s < full_interval_s else 1)
        self._flushed_at = 0.0
        self._notes_every_s = interval_s if interval_s < full_interval_s else None
        self.on_sample = on_sample
        self._clock = clock
        self._watches: dict[int, Watch] = {}
        self._stop = threading.Event()
        self._token = uuid.uuid4().hex
        self._quiet = threading.Event()
        self._depth = 0
        self._reading = threading.Lock()
        self._pausing = threading.Lock()
        self._finding = threading.Lock()
        self._met: set[int] = set()  # the Node processes that have been watched, or were over before the start
        self._has_begun = False
        self._thread: threading.Thread | None = None
        self._finder: threading.Thread | None = None
        self._started_at = 0.0
        self._found_at = float("-inf")
        self._full_at = float("-inf")
        self._printed_bytes: int | None = None
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
        if self._app.printed_bytes is None:
            self._notes_every_s = None  # it is to be asked each time, for it may have logged
        self._met.update(self._app.announced_pids)
        self._find_processes()
        self._has_begun = True
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
            self._forget_ended()
            self._count_unmet()
        self._ask_all(Watch.await_turn, MAX_ANSWER_S)  # what never yielded has not told of its collections yet
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
                self._ask_all(Watch.pause_probe, _MAX_PAUSE_S)
                self._ask_all(self._end_trace, MAX_ANSWER_S)
            yield
        finally:
            self._end_quiet()

    def _end_trace(self, watch: Watch) -> None:
        """Behind the pause: an app that still works on then is settled as it is, and some of its collections will be in
        no event."""
        if watch.traces and watch.has_open_answers:
            self.gc_dropped += 1
        watch.end_trace()

    def _end_quiet(self) -> None:
        self._count_unmet()
        with self._pausing:
            watches = tuple(self._watches.values())
            try:
                for watch in watches:
                    watch.take_open_answers(self, 0.0)
                    watch.take_pauses(self, MAX_ANSWER_S)
                self.gc_events_before_pause = len(self.gc_events)
                self.gc_dropped_before_pause = self.gc_dropped
            finally:
                self._depth -= 1
                if self._depth == 0:
                    for watch in watches:
                        watch.resume_probe()
                    self._quiet.clear()

    def _ask_all(self, ask: Callable[[Watch], None], timeout_s: float) -> None:
        """Ask all at once, then wait for all: one that works on does not delay the others."""
        watches = tuple(self._watches.values())
        for watch in watches:
            ask(watch)
        deadline = self._clock() + timeout_s
        for watch in watches:
            watch.take_open_answers(self, max(0.0, deadline - self._clock()))
            watch.take_pauses(self, max(0.0, deadline - self._clock()))

    def _run(self) -> None:
        tick = 1
        while True:
            wait_s = tick * self._interval_s - self.now_s
            if wait_s < -self._interval_s:
                behind = int(-wait_s / self._interval_s)
                self.missed += behind
                tick += behind
                continue
            if self._stop.wait(min(max(0.0, wait_s), self._full_interval_s)):
                return
            if wait_s > self._full_interval_s:
                self._flush_traces()
                continue
            self._tick(tick * self._interval_s)
            tick += 1

    def _flush_traces(self) -> None:
        """Between samples that are far apart: what is not flushed takes the app's memory."""
        with self._reading:
            if not self._quiet.is_set():
                for watch in tuple(self._watches.values()):
                    watch.flush_trace()
                    watch.take_pauses(self, 0.0)

    def _tick(self, scheduled_s: float) -> None:
        t_s = self.now_s
        full = t_s - self._full_at >= self._full_interval_s or self._interval_s >= self._full_interval_s
        if full:
            self._full_at = t_s
        watches = tuple(self._watches.values())
        drafts = [(watch, draft) for watch in watches if (draft := watch.read_system(full)) is not None]
        flush = t_s - self._flushed_at >= self._flush_interval_s or self._interval_s >= self._full_interval_s
        if flush:
            self._flushed_at = t_s
        with self._reading:
            if not self._quiet.is_set():
                self._ask(drafts, full, flush)
        for watch, draft in drafts:
            self._keep(watch, draft, t_s, max(0.0, t_s - scheduled_s))

    def _ask(self, drafts: list[tuple[Watch, Draft]], full: bool, flush: bool) -> None:
        """Ask all isolates at once, then collect: one slow process does not delay the others.

        Who has noted its sizes is not asked for them, unless it has logged something that is to be let go first."""
        deadline = self._clock() + min(MAX_ANSWER_S, max(0.05, self._interval_s * 0.8))
        logged = self._may_have_logged(full)
        for watch, draft in drafts:
            watch.read_note(draft, self)
        wanting = drafts if full or flush or logged else [(watch, draft) for watch, draft in drafts if not draft.noted]
        asked = [(watch, draft, watch.request(full, logged=logged, flush=flush)) for watch, draft in wanting]
        for watch, draft, future in asked:
            if future is not None:
                watch.collect(draft, future, max(0.0, deadline - self._clock()), self)
            if full and future is not None and future.done():
                watch.read_workers(draft, max(0.05, deadline - self._clock()))
        for watch, _ in drafts:
            watch.take_pauses(self, 0.0)

    def _may_have_logged(self, full: bool) -> bool:
        """Whether the app has printed since the last time.  Where nobody knows, or an app may catch its own output and
        print nothing, so it is taken to have: of the first kind always, of the second with every full sample."""
        before, self._printed_bytes = self._printed_bytes, self._app.printed_bytes
        return full or self._printed_bytes is None or self._printed_bytes != before

    def _keep_finding(self) -> None:
        """In a thread of its own: a process that does not answer must not hold up the samples of the others."""
        while not self._stop.wait(_REFRESH_S):
            self._find_processes(is_over=self._stop.is_set)

    def look_again(self) -> None:
        """Find the app's processes now, and not within the second: a window begins."""
        if self.now_s - self._found_at >= _JUST_NOW_S:
            self._find_processes()

    def _find_processes(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Watch what belongs to the app now: at once by what the system knows, then through inspectors."""
        with self._finding:
            self._found_at = self.now_s
            try:
                records = find_measured(self._app)
            except (AppError, InspectorError):
                return  # it is ending or being restarted: the next look finds it, or somebody says that it died
            self._forget_others([record.pid for record in records])
            for record in records:
                inspector = find_inspector(self._app, record.pid)
                if is_over():
                    return  # a process answered when nobody sampled any more: nothing is put into it
                watch = self._watches[record.pid]
                if inspector is None:
                    watch.refuses = watch.inspector is None and _is_node(record)
                elif watch.wants_probe(inspector):
                    asked = Watch(record.pid, inspector, self._token, notes_every_s=self._notes_every_s)
                    self._begin_watching(asked, is_over)
        self._count_unmet()

    def _forget_others(self, pids: Sequence[int]) -> None:
        known = self._watches
        self._watches = {pid: known.get(pid) or Watch(pid, None, self._token) for pid in pids}
        for pid, watch in known.items():
            if pid not in pids:
                watch.let_go(self)

    def _forget_ended(self) -> None:
        """At the end of sampling: a process that could not be asked and has ended since is no process of the app."""
        living = [pid for pid, watch in self._watches.items() if not (watch.is_deaf and watch.has_ended)]
        if len(living) < len(self._watches):
            self._forget_others(living)

    def _begin_watching(self, watch: Watch, is_over: Callable[[], bool] = lambda: False) -> None:
        """Its probe begins paused, and stays so while a settled reading is taken.

        What a process collected before that is in no event: one that began meanwhile, or was not to be asked."""
        with self._pausing:
            if is_over():
                watch.remove_probe(self)
                return
            before = self._watches.get(watch.pid)
            if before is not None and before.inspector is not None:
                before.let_go(self)
            elif self._has_begun:
                self.gc_dropped += 1
            self._met.add(watch.pid)
            self._watches = {**self._watches, watch.pid: watch}
            if self._depth == 0:
                watch.resume_probe()

    def _count_unmet(self) -> None:
        """Node processes that began and ended between two looks: what they collected is in no event."""
        unmet = self._app.announced_pids - self._met
        self._met |= unmet
        self.gc_dropped += len(unmet)

    def _keep(self, watch: Watch, draft: Draft, t_s: float, late_s: float) -> None:
        sample = Sample(t_s=t_s, pid=watch.pid, late_s=late_s, blocked=draft.blocked, **draft.values)
        self.samples.append(sample)
        if self.on_sample is not None:
            try:
                self.on_sample(sample)
            except Exception as error:  # noqa: BLE001 - the user's code: reported by the monitor, never lost samples
                self.callback_error = error
                self.on_sample = None

    def add_gc_event(self, pid: int, kind: GcKind, at_s: float, duration_s: float) -> None:
        """Keep one collection of the app's own: while we collect, nothing is observed."""
        event = GcEvent(t_s=at_s - self._started_at, pid=pid, kind=kind, duration_s=duration_s)
        self.gc_events.append(event)
