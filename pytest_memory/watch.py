"""One process under observation: what the system knows of it, what its probe answers, what its trace tells.  Floor 5.

What it is: the questions to one process and the records made of its answers.  What it is not: the loop that asks them
in time, which is `sampler`; nor what runs inside the app, which is `node/probe.js`.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import psutil

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.errors import InspectorError
from pytest_memory.gc_trace import GcTrace
from pytest_memory.model import GcKind
from pytest_memory.node.notes import Notes

PROBE = "globalThis[Symbol.for('pytest-memory.probe')]"

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
_FAREWELL_S = 0.5  # how long an app that ends is kept for its last collections: they take milliseconds
_REINSTALL_S = 10.0  # how often what did not take the probe is asked again: each time may cost the finder seconds
_READING_FIELDS = 8  # numbers before the GC events in a reading of the probe


@cache
def probe_source() -> str:
    return (Path(__file__).parent / "node" / "probe.js").read_text(encoding="utf-8")


class Listener(Protocol):
    """Who is told of collections: the sampler."""

    gc_dropped: int

    def add_gc_event(self, pid: int, kind: GcKind, at_s: float, duration_s: float) -> None: ...


@dataclass(slots=True)
class Draft:
    """A sample in the making."""

    values: dict[str, Any] = field(default_factory=dict)
    blocked: bool = False
    noted_at_ms: float = float("-inf")  # on the app's clock, where its sizes are those of a note

    @property
    def noted(self) -> bool:
        return math.isfinite(self.noted_at_ms)


class Watch:
    """One process under observation: its psutil handle, its probe, the offset between its clock and ours.

    ``inspector`` is None for what is no Node process, and with ``refuses`` for one that cannot be asked.
    ``notes_every_s``: how often it is to note its sizes unasked; None for never."""

    def __init__(
        self,
        pid: int,
        inspector: InspectorClient | None,
        token: str,
        *,
        refuses: bool = False,
        notes_every_s: float | None = None,
    ) -> None:
        self.pid = pid
        self.inspector = inspector
        self.refuses = refuses
        self.probed = False
        self._token = token
        self._offset_s: float | None = None
        self._best_round_trip_s = float("inf")
        self._asked_at = 0.0
        self._arrived_at = 0.0
        self._open: list[Future[dict[str, Any]]] = []  # questions, and pauses, not answered yet
        self._timed: Future[dict[str, Any]] | None = None
        self._pauses = 0
        self._trace: GcTrace | None = None
        self._was_lost = False
        self._last: Future[dict[str, Any]] | None = None  # the answer of a probe that was removed
        self._leaving = threading.Lock()
        self._forget_farewell: Callable[[], None] = lambda: None
        self._origin_ms = 0.0  # of performance.now, on the clock of process.hrtime
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
        except psutil.Error:
            self._process = None
        self._notes: Notes | None = None
        self._may_have_logged = False
        self._install(notes_every_s)

    def _install(self, notes_every_s: float | None) -> None:
        self._installed_at = time.monotonic()
        if self.inspector is None or self.inspector.closed:
            return
        self._notes = notes = Notes.open(notes_every_s)
        arguments = json.dumps([self._token, *((str(notes.path), notes.every_ms) if notes is not None else ())])
        self._asked_at = time.monotonic()
        joined: object = None
        try:
            joined = self.inspector.evaluate(f"{probe_source()}(...{arguments})", timeout_s=_INSTALL_TIMEOUT_S)
        except InspectorError:
            pass  # a blocked or dying app: samples then hold what the system knows
        if not isinstance(joined, list) or len(joined) != 3:
            self._close_notes()
            return  # not our probe
        self.probed = True
        self._arrived_at = time.monotonic()
        self._origin_ms, now_ms, will_note = joined
        self._match_clocks(now_ms)
        if notes is not None and will_note:
            notes.hide()
        else:
            self._close_notes()  # on another machine, or without permission: it is asked each time
        self._trace = GcTrace.open(self.inspector, timeout_s=_INSTALL_TIMEOUT_S)
        self._forget_farewell = self.inspector.on_exit(self._take_leave)

    def _close_notes(self) -> None:
        notes, self._notes = self._notes, None
        if notes is not None:
            notes.close()

    def read_note(self, draft: Draft, listener: Listener) -> None:
        """Fill the draft with what the app has noted, where that is of now.

        What it has answered too late is of no use any more, but for its delay: that, and one that has been noted, are
        not told again."""
        notes = self._notes
        if notes is None or self._offset_s is None:
            return
        late = Draft()
        for future in tuple(self._open):
            if future.done():
                self.collect(late, future, 0.0, listener)
        _add_delay(draft, late.values.get("loop_delay_s"))
        note = notes.take()
        if note is None:
            return
        _add_delay(draft, note.loop_delay_s)
        if not notes.is_fresh(note, (time.monotonic() - self._offset_s) * 1000):
            return
        draft.noted_at_ms = note.at_ms
        draft.values.update(
            heap_used_bytes=note.heap_used_bytes,
            heap_total_bytes=note.heap_total_bytes,
            external_bytes=note.external_bytes,
            array_buffers_bytes=note.array_buffers_bytes,
        )

    def wants_probe(self, inspector: InspectorClient) -> bool:
        """Whether this process is to be asked for the first time, through a new connection, or once more."""
        if inspector is not self.inspector:
            return True
        return not self.probed and time.monotonic() - self._installed_at >= _REINSTALL_S

    @property
    def is_deaf(self) -> bool:
        """A Node process that cannot be asked, did not take the probe, or would not be traced any more."""
        trace = self._trace
        is_lost = self._was_lost or (trace is not None and trace.lost)
        return self.refuses or (self.inspector is not None and (is_lost or not self.probed))

    @property
    def traces(self) -> bool:
        """Whether its collections are traced by V8, and not observed by the probe."""
        return self._trace is not None

    @property
    def has_open_answers(self) -> bool:
        trace = self._trace
        return bool(self._open) or (trace is not None and trace.is_ending)

    def resume_probe(self) -> None:
        """Without waiting for the answer: commands of one connection are carried out in their order."""
        if self._notes is not None:
            self._notes.take()  # of before the pause
        observes = "false" if self.traces else "true"
        self._submit(f"resume('{self._token}', {self._pauses}, {observes})")
        trace = self._trace
        if trace is not None:
            trace.begin()

    def pause_probe(self) -> None:
        """Ask for the last reading before the pause; `take_open_answers` has it."""
        self._pauses += 1
        self._leave_open(self._submit(f"pause('{self._token}', {self._pauses})", await_promise=True))

    def flush_trace(self, *, only_much: bool = False) -> None:
        """`take_pauses` has what was noted until now a moment later."""
        trace = self._trace
        if trace is not None:
            trace.flush(only_much=only_much)

    @property
    def has_ended(self) -> bool:
        return self.read_system(full=False) is None

    def end_trace(self) -> None:
        """`take_pauses` has what was noted until then."""
        trace = self._trace
        if trace is not None:
            trace.end()

    def await_turn(self) -> None:
        self._leave_open(self._submit("turned()", await_promise=True))

    def remove_probe(self, listener: Listener) -> None:
        self._ask_to_leave()
        self.take_open_answers(listener, MAX_ANSWER_S)
        self.end_trace()
        self.let_go(listener, MAX_ANSWER_S)

    def _ask_to_leave(self) -> None:
        asked = self._submit(f"remove('{self._token}')")
        if asked is not None:
            self._last = asked
            self._leave_open(asked)

    def _take_leave(self) -> None:
        """The process is about to end and waits for us: what its trace, or its probe, holds would end with it."""
        trace = self._trace
        if trace is not None:
            trace.end()
            trace.wait(_FAREWELL_S)
            return
        self._ask_to_leave()
        if self._last is not None:
            with contextlib.suppress(FutureTimeout, InspectorError):
                self._last.result(_FAREWELL_S)

    def let_go(self, listener: Listener, timeout_s: float = 0.0) -> None:
        """Keep what is known of a process that has ended or is left alone; what is not known is told as such."""
        if not self._tell_last(listener, timeout_s):
            listener.gc_dropped += 1
        self._forget_farewell()
        self._close_trace()
        self._close_notes()

    def _tell_last(self, listener: Listener, timeout_s: float) -> bool:
        """Whether all its collections are known, from when it was first asked."""
        trace = self._trace
        is_told = True
        if trace is not None:
            is_told = self.take_pauses(listener, timeout_s) and not trace.runs
        elif self.inspector is not None:
            self.take_open_answers(listener, timeout_s)
            is_told = _is_reading(self._last)
        return is_told and not self.is_deaf

    def _close_trace(self) -> None:
        with self._leaving:
            trace, self._trace = self._trace, None
        if trace is not None:
            self._was_lost = self._was_lost or trace.lost
            trace.close()

    def _leave_open(self, asked: Future[dict[str, Any]] | None) -> None:
        if asked is not None:
            self._open.append(asked)

    def take_open_answers(self, listener: Listener, timeout_s: float) -> None:
        """Keep the collections in answers that have not been looked at, waiting for them at most so long."""
        deadline = time.monotonic() + timeout_s
        for future in tuple(self._open):
            self.collect(Draft(), future, max(0.0, deadline - time.monotonic()), listener)

    def take_pauses(self, listener: Listener, timeout_s: float) -> bool:
        """Keep the collections that the trace has told, waiting at most so long for what it told at its end.

        Whether that was everything it has been asked for."""
        trace = self._trace
        if trace is None:
            return True
        is_told = trace.wait(timeout_s)
        if trace.take_untold():
            listener.gc_dropped += 1
        if self._offset_s is None:
            return False  # they are kept until it is known when they were
        for pause in trace.take():
            at_s = self._offset_s + (pause.start_us / 1000 - self._origin_ms) / 1000
            listener.add_gc_event(self.pid, pause.kind, at_s, pause.duration_us / 1e6)
        return is_told

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

    def read_system(self, full: bool) -> Draft | None:
        """What the operating system knows, or None when the process is gone."""
        if self._process is None:
            return None
        draft = Draft()
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

    def _read_shared(self, draft: Draft) -> None:
        """USS and PSS, where the system has them."""
        try:
            info = self._process.memory_full_info()  # type: ignore[union-attr]
        except (psutil.AccessDenied, NotImplementedError):
            return
        draft.values["uss_bytes"] = info.uss
        draft.values["pss_bytes"] = getattr(info, "pss", None)

    def request(self, full: bool, *, logged: bool = True, flush: bool = False) -> Future[dict[str, Any]] | None:
        """Send the question; no waiting.  While one is unanswered no other is asked.

        ``logged``: whether it may have logged something since the last time; ``flush``: whether its trace is to tell
        what it holds, or only if that is much."""
        inspector = self.inspector
        if not self.probed or inspector is None or inspector.closed:
            return None
        self._may_have_logged = self._may_have_logged or logged
        if self._open:
            return self._open[0]  # asked while the loop was blocked; its answer holds the collections since then
        if self._may_have_logged:
            self._may_have_logged = False
            # An attached inspector keeps every logged object alive: let go before looking.  Not where there is nothing
            # to let go, for it costs the app as much as the look itself.
            with contextlib.suppress(InspectorError):
                inspector.submit("Runtime.discardConsoleEntries")
        self._asked_at = time.monotonic()
        asked = self._submit(f"read('{self._token}', {'true' if full else 'false'})")
        if full or flush:
            self.flush_trace(only_much=not flush)
        if asked is not None:
            self._open.append(asked)
            self._timed = asked
            asked.add_done_callback(self._note_arrival)
        return asked

    def _note_arrival(self, _answered: Future[dict[str, Any]]) -> None:
        self._arrived_at = time.monotonic()

    def collect(self, draft: Draft, future: Future[dict[str, Any]], timeout_s: float, listener: Listener) -> None:
        """Wait for the answer and fill the draft; too late means the event loop is blocked."""
        try:
            answer = future.result(timeout_s)
        except FutureTimeout:
            draft.blocked = not draft.noted
            return
        except InspectorError:
            answer = {"exceptionDetails": None}
        try:
            self._open.remove(future)
        except ValueError:
            return  # another thread was faster
        reading = answer.get("result", {}).get("value")
        if isinstance(reading, list) and len(reading) >= _READING_FIELDS:
            self._fill(draft, reading, listener, timed=future is self._timed)
        elif "value" not in answer.get("result", {}) and "exceptionDetails" not in answer:
            self.probed = False  # a restarted isolate: the probe is no more
            self._close_trace()

    def read_workers(self, draft: Draft, timeout_s: float) -> None:
        """The sum of the heaps of the process's worker threads, where it has any."""
        if not self.probed or self.inspector is None or self.inspector.closed:
            return
        deadline = time.monotonic() + timeout_s
        try:
            workers = self.inspector.workers(timeout_s=timeout_s)
            for worker in workers:
                worker.submit("Runtime.discardConsoleEntries")
            asked = [worker.submit("Runtime.getHeapUsage") for worker in workers]
            answers = [future.result(max(0.0, deadline - time.monotonic())) for future in asked]
        except (FutureTimeout, InspectorError):
            return  # a busy or ending worker: the next full sample asks again
        if answers:
            draft.values["worker_heap_used_bytes"] = sum(int(answer["usedSize"]) for answer in answers)

    def _fill(self, draft: Draft, reading: list[float], listener: Listener, *, timed: bool) -> None:
        now_ms, used, total, external, buffers, delay_ms, handles, dropped = reading[:_READING_FIELDS]
        if now_ms >= draft.noted_at_ms:
            draft.values.update(
                heap_used_bytes=int(used),
                heap_total_bytes=int(total),
                external_bytes=int(external),
                array_buffers_bytes=int(buffers),
            )
        _add_delay(draft, delay_ms / 1000 if delay_ms >= 0 else None)
        if handles >= 0:
            draft.values["handles"] = int(handles)
        listener.gc_dropped += int(dropped)
        offset_s = self._match_clocks(now_ms) if timed or self._offset_s is None else self._offset_s
        events = reading[_READING_FIELDS:]
        for at in range(0, len(events) - 2, 3):
            start_ms, duration_ms, kind = events[at : at + 3]
            known = _GC_KINDS.get(int(kind))
            if known is not None:
                listener.add_gc_event(self.pid, known, offset_s + start_ms / 1000, duration_ms / 1000)

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


def _add_delay(draft: Draft, delay_s: float | None) -> None:
    """The longest of all that were told."""
    known = [told for told in (draft.values.get("loop_delay_s"), delay_s) if told is not None]
    draft.values["loop_delay_s"] = max(known, default=None)


def _is_reading(asked: Future[dict[str, Any]] | None) -> bool:
    """Whether it was answered by numbers: not at all where the process has ended meanwhile."""
    if asked is None or not asked.done() or asked.cancelled() or asked.exception() is not None:
        return False
    return isinstance(asked.result().get("result", {}).get("value"), list)
