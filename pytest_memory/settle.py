"""Settled readings: collect garbage until the floor stops moving, then read every kind of memory.  Floor 5.

Growth is judged by nothing else.  The procedure, for all isolates of the app at once (main threads of all its
Node processes, worker threads), round by round: drop what an open inspector keeps of `console` calls, let the
event loop turn twice so that finalizers run, collect, look.  It has settled when two rounds in a row moved the heap
by less than a kilobyte.  Where it still falls after a few rounds the app is finishing something (a queue, timers
of the last requests): then the rounds are spaced out, up to a deadline.  The last act before the reading is a
collection, because every turn of JavaScript after it makes garbage again.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import psutil

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.errors import InspectorClosed, InspectorCommandError, InspectorError, InspectorTimeout
from pytest_memory.model import SettledMemory

SETTLED_BYTES: Final = 1000
"""Two rounds in a row that move an isolate by no more than this end the settling."""

_STABLE_ROUNDS = 2
_QUICK_ROUNDS = 6
"""A chain of finalizers needs a round a link; what has not settled by then waits for time, not for rounds."""

_PAUSES_S = (0.02, 0.05, 0.1, 0.2)
COMMAND_TIMEOUT_S: Final = 30.0
"""Collections wait for a turn of the event loop and take 2 ms a megabyte."""

_TURN = {"expression": "new Promise((done) => setImmediate(() => setImmediate(done)))", "awaitPromise": True}
# Worker threads of a pool sleep in Atomics.wait between two tasks: their event loop does not turn, and
# HeapProfiler.collectGarbage waits for it for ever.  An evaluate interrupts the sleep, so there V8's own gc()
# collects; it is fetched once for each worker and kept.
_WORKER_GC = {
    "expression": """(() => {
  const key = Symbol.for('pytest-memory.gc');
  if (!globalThis[key]) {
    const v8 = require('v8');
    v8.setFlagsFromString('--expose-gc');
    Object.defineProperty(globalThis, key, { value: require('vm').runInNewContext('gc'), configurable: true });
    v8.setFlagsFromString('--no-expose-gc');
  }
  globalThis[key]();
})()""",
    "includeCommandLineAPI": True,
}
_COLLECT: Final[Mapping[bool, tuple[str, Mapping[str, Any]]]] = {
    False: ("HeapProfiler.collectGarbage", {}),
    True: ("Runtime.evaluate", _WORKER_GC),
}
# One expression, one round trip; it allocates after the heap has been read, so what it allocates is not seen.
_READ = """(() => {
  const usage = process.memoryUsage();
  const code = require('v8').getHeapSpaceStatistics()
    .reduce((sum, space) => sum + (space.space_name.startsWith('code') ? space.space_used_size : 0), 0);
  const kinds = {};
  for (const kind of process.getActiveResourcesInfo?.() ?? []) kinds[kind] = (kinds[kind] ?? 0) + 1;
  return [usage.heapTotal, usage.external, usage.arrayBuffers, code, process.getActiveResourcesInfo ? kinds : null];
})()"""
_TIMERS = "(process.getActiveResourcesInfo?.() ?? []).filter((kind) => kind === 'Timeout').length"
_THREAD = re.compile(r"\[?worker (\d+)", re.IGNORECASE)  # "[worker 3] resize"; "Worker 3" in older Node
_WRAPPER_ROLES = frozenset({"wrapper"})


class _Record(Protocol):
    @property
    def pid(self) -> int: ...
    @property
    def role(self) -> str: ...
    @property
    def inspector_url(self) -> str | None: ...


class SettledApp(Protocol):
    """What settling needs of an app: its processes and a connection to each that is Node."""

    @property
    def processes(self) -> Sequence[_Record]: ...
    def inspector_of(self, pid: int) -> InspectorClient: ...


class _Session(Protocol):
    """One isolate: `InspectorClient` or `WorkerSession`."""

    @property
    def closed(self) -> bool: ...
    def submit(self, method: str, params: Mapping[str, Any] | None = None) -> Future[dict[str, Any]]: ...
    def call(self, method: str, params: Mapping[str, Any] | None = None, *, timeout_s: float = ...) -> Any: ...
    def evaluate(self, expression: str, *, timeout_s: float = ..., await_promise: bool = ...) -> Any: ...


@dataclass(slots=True)
class _Isolate:
    session: _Session
    pid: int
    is_worker: bool
    is_app: bool
    """The main thread of the app itself: without it there is no reading.  All others may end at any time."""
    thread: str = ""
    """Node's number of a worker thread, which no other of its process ever has; "" where it is not known."""
    used_bytes: int = 0
    moved_bytes: int | None = None


@dataclass(slots=True)
class _Totals:
    heap_used: int = 0
    heap_total: int = 0
    worker_used: int = 0
    worker_heaps: dict[str, int] = field(default_factory=dict)
    worker_total: int = 0
    external: int = 0
    array_buffers: int = 0
    code: int = 0
    unread_pids: set[int] = field(default_factory=set)
    handle_kinds: dict[str, int] = field(default_factory=dict)
    handles_known: bool = True


def settle_app(
    app: SettledApp,
    *,
    budget_s: float = 3.0,
    timers_at_rest: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> SettledMemory:
    """Collect until the heaps stop falling, at most about ``budget_s`` seconds, and read the app's memory.

    ``timers_at_rest`` is how many active timers the app has when it has nothing to do: with more of them, the
    last requests have left something that will run soon, and it is waited for.

    ``converged`` is False when they still moved then.  ``t_s`` is left at 0 for the caller's clock to fill in.
    Raises InspectorError when the app's own process cannot be asked or has ended; children that end are left out.
    """
    began = clock()
    records = [record for record in app.processes if record.role not in _WRAPPER_ROLES]
    app_pid = _find_app(records)
    isolates = _find_isolates(app, records)
    # Workers first: commands to them travel through, and leave garbage in, the isolate of the main thread.
    workers = [isolate for isolate in isolates if isolate.is_worker]
    mains = [isolate for isolate in isolates if not isolate.is_worker]
    deadline = began + budget_s
    worker_rounds, workers_still = _collect_until_still(workers, deadline, clock, sleep)
    rounds, mains_still = _collect_until_still(mains, deadline, clock, sleep)
    if timers_at_rest is not None and _wait_for_timers(mains, timers_at_rest, deadline, clock, sleep):
        more, mains_still = _collect_until_still(mains, deadline, clock, sleep)
        rounds += more
    read_pids = {isolate.pid for isolate in mains}
    totals = _read_isolates([*mains, *workers])
    rss, fds = _read_processes([record.pid for record in records], app_pid)
    converged = mains_still and workers_still
    moved = sum(abs(isolate.moved_bytes or 0) for isolate in (*mains, *workers))
    native = rss - totals.heap_total - totals.worker_total - totals.external
    return SettledMemory(
        t_s=0.0,
        heap_used_bytes=totals.heap_used,
        heap_total_bytes=totals.heap_total,
        external_bytes=totals.external,
        array_buffers_bytes=totals.array_buffers,
        rss_bytes=rss,
        worker_heap_used_bytes=totals.worker_used,
        worker_heap_total_bytes=totals.worker_total,
        native_bytes=native,
        code_bytes=totals.code,
        handles=sum(totals.handle_kinds.values()) if totals.handles_known else None,
        fds=fds,
        handle_kinds=totals.handle_kinds,
        node_pids=tuple(sorted(read_pids - totals.unread_pids)),
        collections=rounds + worker_rounds,
        duration_s=clock() - began,
        converged=converged,
        moved_bytes=0 if converged else moved,
        worker_heaps=totals.worker_heaps,
    )


def settle_worker(worker: _Session) -> int:
    """Bytes a worker thread's heap holds after two collections; its event loop need not turn for that.

    Raises InspectorError when it has ended."""
    for _ in range(2):
        worker.call("Runtime.evaluate", _WORKER_GC, timeout_s=COMMAND_TIMEOUT_S)
    return int(worker.call("Runtime.getHeapUsage", timeout_s=COMMAND_TIMEOUT_S)["usedSize"])


def _find_app(records: Sequence[_Record]) -> int:
    """The pid of the app's own process.  Without it there is nothing to read, and nothing is not zero bytes: an app
    killed a moment ago has left the list of processes, and must not look like one that gave all its memory back."""
    for record in records:
        if record.role == "app":
            return record.pid
    raise InspectorClosed("the app's own process has ended: there is no memory to read")


def _find_isolates(app: SettledApp, records: Sequence[_Record]) -> list[_Isolate]:
    isolates: list[_Isolate] = []
    for record in records:
        try:
            if record.role != "app" and record.inspector_url is None:
                continue  # not Node: the operating system knows its RSS
            client = app.inspector_of(record.pid)
            workers = client.workers()
        except InspectorError:
            if record.role == "app":
                raise
            continue  # it ended since it was listed, or refuses: its RSS is all there is
        isolates.append(_Isolate(client, record.pid, is_worker=False, is_app=record.role == "app"))
        isolates.extend(
            _Isolate(worker, record.pid, is_worker=True, is_app=False, thread=_thread_of(worker.title))
            for worker in workers
        )
    return isolates


def _thread_of(title: str) -> str:
    # The inspector's own id counts workers by connection: after another connection it may be another worker's.
    found = _THREAD.match(title)
    return found[1] if found else ""


# --- collecting -----------------------------------------------------------------------------------------------


def _collect_until_still(
    isolates: list[_Isolate], deadline: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> tuple[int, bool]:
    """Rounds of collections, and whether the heaps were still at the end."""
    still, rounds, rising = 0, 0, 0
    lowest = math.inf
    while isolates:
        _collect(isolates)
        rounds += 1
        moved = [isolate.moved_bytes for isolate in isolates]
        still = still + 1 if all(m is not None and abs(m) <= SETTLED_BYTES for m in moved) else 0
        if still >= _STABLE_ROUNDS:
            return rounds, True
        total = sum(isolate.used_bytes for isolate in isolates)
        rising = 0 if total < lowest - SETTLED_BYTES else rising + 1
        lowest = min(lowest, total)
        if rounds >= _QUICK_ROUNDS:
            # What no longer falls is not about to settle: the app keeps working by itself (timers, polling).
            if clock() >= deadline or rising >= _QUICK_ROUNDS:
                return rounds, False
            sleep(_PAUSES_S[min(rounds - _QUICK_ROUNDS, len(_PAUSES_S) - 1)])
    return rounds, True


def _collect(isolates: list[_Isolate]) -> None:
    """One round in all isolates at once: they collect in parallel, each on its own thread.

    Within an isolate, each command waits for the answer before it: two small answers in a row cost 40 ms (Node's
    socket waits for our acknowledgement of the first)."""
    _everywhere(isolates, lambda _: ("Runtime.discardConsoleEntries", {}))
    _everywhere([one for one in isolates if not one.is_worker], lambda _: ("Runtime.evaluate", _TURN))
    _everywhere(isolates, lambda isolate: _COLLECT[isolate.is_worker])
    for isolate, answer in _everywhere(isolates, lambda _: ("Runtime.getHeapUsage", {})):
        used = int(answer["usedSize"])
        isolate.moved_bytes = used - isolate.used_bytes if isolate.used_bytes else None
        isolate.used_bytes = used
    isolates[:] = [isolate for isolate in isolates if isolate.is_app or not isolate.session.closed]


def _everywhere(
    isolates: Sequence[_Isolate], command: Callable[[_Isolate], tuple[str, Mapping[str, Any]]]
) -> list[tuple[_Isolate, dict[str, Any]]]:
    """Send a command to every isolate, then wait for the answers; workers and children that ended have none."""
    sent = [(isolate, _submit(isolate, *command(isolate))) for isolate in isolates]
    answers = [(isolate, _answer(isolate, future)) for isolate, future in sent if future is not None]
    return [(isolate, answer) for isolate, answer in answers if answer is not None]


def _submit(isolate: _Isolate, method: str, params: Mapping[str, Any]) -> Future[dict[str, Any]] | None:
    """Send a command; None when the isolate is a worker or a child that has ended meanwhile."""
    try:
        return isolate.session.submit(method, params)
    except InspectorClosed:
        if isolate.is_app:
            raise
        return None


def _answer(isolate: _Isolate, future: Future[dict[str, Any]]) -> dict[str, Any] | None:
    """Wait for a command's answer; None when the isolate is a worker or a child that has ended meanwhile."""
    try:
        return future.result(timeout=COMMAND_TIMEOUT_S)
    except FutureTimeout:
        future.cancel()
        who = "the app" if isolate.is_app else f"process {isolate.pid} of the app"
        raise InspectorTimeout(
            f"{who} did not answer within {COMMAND_TIMEOUT_S:.0f} s while its memory was being settled; "
            "expected its event loop to turn",
            hint="a synchronous call (execSync, a large JSON or regular expression) blocks it",
        ) from None
    except (InspectorClosed, InspectorCommandError):
        # What is about to end refuses first; and an isolate that is busy ending has nothing to settle.
        if isolate.is_app:
            raise
        return None


def _wait_for_timers(
    mains: Sequence[_Isolate], at_rest: int, deadline: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> bool:
    """Wait until no more timers are active than at rest; False when there was nothing to wait for."""
    waited = False
    while _count_timers(mains) > at_rest and clock() < deadline:
        sleep(_PAUSES_S[-1])
        waited = True
    return waited


def _count_timers(mains: Sequence[_Isolate]) -> int:
    count = 0
    for isolate in mains:
        try:
            count += int(isolate.session.evaluate(_TIMERS, timeout_s=COMMAND_TIMEOUT_S))
        except InspectorError:
            if isolate.is_app:
                raise
    return count


# --- reading --------------------------------------------------------------------------------------------------


def _read_isolates(isolates: Sequence[_Isolate]) -> _Totals:
    totals = _Totals()
    for isolate in isolates:
        try:
            heap_total, external, array_buffers, code, kinds = isolate.session.evaluate(
                _READ, timeout_s=COMMAND_TIMEOUT_S
            )
        except InspectorError:
            if isolate.is_app:
                raise
            if not isolate.is_worker:
                totals.unread_pids.add(isolate.pid)
            continue
        if isolate.is_worker:
            totals.worker_used += isolate.used_bytes
            if isolate.thread:
                totals.worker_heaps[f"{isolate.pid}:{isolate.thread}"] = isolate.used_bytes
            totals.worker_total += int(heap_total)
        else:
            totals.heap_used += isolate.used_bytes
            totals.heap_total += int(heap_total)
            totals.code += int(code)
        totals.external += int(external)
        totals.array_buffers += int(array_buffers)
        totals.handles_known = totals.handles_known and kinds is not None
        for kind, count in (kinds or {}).items():
            totals.handle_kinds[kind] = totals.handle_kinds.get(kind, 0) + int(count)
    return totals


def _has_ended(pid: int) -> bool:
    """Of a zombie the descriptors are refused, not missing, to anybody but root."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


def _read_processes(pids: Sequence[int], app_pid: int) -> tuple[int, int | None]:
    """Resident memory of the processes together, and their open descriptors (None where there is no such count).

    Of a child that belongs to another user, such as a browser's sandbox, descriptors are never to be had: those of
    the others count.  Raises InspectorClosed when the app itself has ended since it was asked."""
    rss, fds = 0, 0
    fds_known = True
    for pid in pids:
        try:
            process = psutil.Process(pid)
            resident = process.memory_info().rss
            if pid == app_pid and resident == 0:  # a zombie: the kernel has taken its memory back already
                raise psutil.ZombieProcess(pid)
            rss += resident
            fds += process.num_fds()
        except psutil.NoSuchProcess:  # and ZombieProcess
            if pid == app_pid:
                raise InspectorClosed(f"the app (pid {pid}) ended while its memory was read") from None
            continue  # a child that ended since it was listed
        except psutil.AccessDenied:
            fds_known = fds_known and (pid != app_pid or _has_ended(pid))
        except AttributeError:
            fds_known = False
    return rss, fds if fds_known else None
