"""Takes heap snapshots of a running app safely.  Floor 5: inspector, files and clocks; understands no snapshot.

What it does for a snapshot that can be trusted and compared:

* looks first whether there is memory and disk for it, and refuses with figures when there is not;
* frees what the inspector's console keeps alive, which is our doing and nobody's leak;
* on Node before 22, lets V8 compute the line ends of all scripts once (Debugger on and off): without them,
  writing is quadratic in the size of a script and may never end;
* streams the chunks to a hidden file that gets its name only when it is whole;
* stays on one connection, because V8 forgets object ids when any inspector session ends.

After the last snapshot ``close`` lets V8 stop tracking ids, which slows allocation down two to four times, unless
somebody else still relies on them (`tracking`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from pytest_memory import units
from pytest_memory.cdp.client import InspectorClient, WorkerSession
from pytest_memory.errors import (
    AppError,
    CaptureError,
    ConfigError,
    InspectorClosed,
    PytestMemoryError,
    PytestMemoryWarning,
)
from pytest_memory.heap import headroom, tracking
from pytest_memory.heap.archive import KIN, SNAPSHOT_SUFFIX
from pytest_memory.node.exits import LAST_BREATH_S
from pytest_memory.store import file_stem, publish

if TYPE_CHECKING:
    from pytest_memory.heap import HeapSnapshot
    from pytest_memory.heap.tracking import Isolate
    from pytest_memory.node.choose import WorkerThread
    from pytest_memory.node.process import NodeApp

    Worker = WorkerSession | WorkerThread | str
    """How a worker thread is named: by its session, as NodeApp.processes lists it, or in words (see find_worker)."""

HeadRoomPolicy = Literal["refuse", "warn", "ignore"]
"""What to do when a snapshot may take more memory than there is."""

Progress = Callable[[str, float], None]
"""Told what is being done ("walking the heap", "writing") and the share done, 0 to 1."""

_BASE_TIMEOUT_S = 120.0
_TIMEOUT_S_PER_MB = 1.5
"""V8 takes up to 0.15 s per MB of heap on an idle machine; ten times that is a machine in trouble."""

_LAST_NODE_WITH_QUADRATIC_WRITING = 21
_DEBUGGER_TIMEOUT_S = 60.0  # line ends of all scripts: 0.15 s for 14 MB of source, waits for the event loop
_QUESTION_TIMEOUT_S = 30.0
_HEAD, _TAIL = b'{"snapshot":', b"]}"


class Camera:
    """Takes the snapshots of one app: ``Camera(app, directory).take("before")``.

    ``app`` is a NodeApp or an InspectorClient.  Files appear in ``directory`` as ``NAME.heapsnapshot`` (``-2``,
    ``-3``, … for repeated names) and open in Chrome DevTools.  ``on_low_memory`` says what happens when writing
    may take more memory than there is: "refuse" (CaptureError), "warn" (PytestMemoryWarning) or "ignore".
    ``timeout_s`` bounds one snapshot (default: 120 s and 1.5 s per MB of heap).  A context manager that closes.

    Snapshots of one app can be compared object by object as long as a camera that took one is open, the connection
    to the app stands, and no other inspector client of it (Chrome DevTools) leaves: V8 then forgets object ids.
    """

    def __init__(
        self,
        app: NodeApp | InspectorClient,
        directory: Path | str,
        *,
        on_low_memory: HeadRoomPolicy = "refuse",
        timeout_s: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        if on_low_memory not in ("refuse", "warn", "ignore"):
            raise ConfigError(
                f"on_low_memory is {on_low_memory!r}; expected refuse, warn or ignore", slug="config-option"
            )
        self._app = app
        self.directory = Path(directory)
        self.on_low_memory: HeadRoomPolicy = on_low_memory
        self.timeout_s = timeout_s
        self.progress = progress
        self._client: InspectorClient | None = None
        self._prepared: set[Isolate] = set()
        self._closed = False
        self.paths: list[Path] = []

    def prepare(self, *, worker: Worker | None = None, pid: int | None = None) -> None:
        """Do now what the first `take` of this heap would do and the heap grows by: before it is measured.

        Raises CaptureError: capture-worker, or capture-state after ``close``."""
        if self._closed:
            raise CaptureError("a closed camera was asked to prepare for snapshots", slug="capture-state")
        client = self._connect(pid)
        self._prepare(client, client if worker is None else find_worker(client, worker))

    def take(self, name: str = "snapshot", *, worker: Worker | None = None, pid: int | None = None) -> HeapSnapshot:
        """Take one snapshot and return it, to be analysed when first asked something.

        ``worker`` takes the heap of a worker thread (its name or id, one of ``worker_threads`` in ``app.processes``,
        or a session of ``client.workers()``); ``pid`` that of another process of the app (a cluster worker), or of a
        worker thread in it.

        Raises CaptureError: capture-headroom, capture-disk, capture-timeout, capture-worker for a worker there is not,
        or capture-state after ``close``.  AppError when the app dies of it.
        """
        from pytest_memory.heap import HeapSnapshot

        return HeapSnapshot.load(self.take_file(name, worker=worker, pid=pid))

    def take_file(self, name: str = "snapshot", *, worker: Worker | None = None, pid: int | None = None) -> Path:
        """`take` for whom the file is enough: nothing of the analysis is imported."""
        if self._closed:
            raise CaptureError(f"snapshot {name!r} was asked of a closed camera", slug="capture-state")
        client = self._connect(pid)
        session = client if worker is None else find_worker(client, worker)
        try:
            heap_bytes = _used_bytes(session)
            self._check_room(client, session, heap_bytes, pid)
            self._prepare(client, session)
            stem = file_stem(name.removesuffix(SNAPSHOT_SUFFIX))
            limit_s = self.timeout_s or _BASE_TIMEOUT_S + _TIMEOUT_S_PER_MB * heap_bytes / 1e6
            path = _Recording(session, self.directory, stem, heap_bytes, self.progress).run(limit_s)
        except InspectorClosed as error:
            raise self._explain_end(error, name) from error
        self.paths.append(path)
        return path

    def hand_over(self) -> list[Path]:
        """The files taken since the last time this was asked; what becomes of them is the caller's from now on."""
        paths, self.paths = self.paths, []
        return paths

    def close(self) -> None:
        """Let V8 stop tracking object ids when nobody else needs them (idempotent).  The files stay; so does the
        connection, which is the app's."""
        if self._closed:
            return
        self._closed = True
        for session in self._prepared:
            tracking.leave(session, self)

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- before the picture ---

    def _connect(self, pid: int | None) -> InspectorClient:
        if isinstance(self._app, InspectorClient):
            return self._app
        if pid is not None and pid != self._app.pid:
            return self._app.inspector_of(pid)
        client = self._app.inspector
        if self._client is not None and client is not self._client:
            warnings.warn(
                PytestMemoryWarning(
                    f"the connection to {self._app.spec.label!r} changed since the last snapshot (a restart?); "
                    "object ids start anew, so snapshots before and after it cannot be compared",
                    slug="snapshot-ids-lost",
                ),
                stacklevel=4,
            )
        self._client = client
        return client

    def _prepare(self, client: InspectorClient, session: Isolate) -> None:
        session.call("Runtime.discardConsoleEntries", timeout_s=_QUESTION_TIMEOUT_S)
        if session in self._prepared:
            return
        if _node_major(client) <= _LAST_NODE_WITH_QUADRATIC_WRITING:
            session.call("Debugger.enable", timeout_s=_DEBUGGER_TIMEOUT_S)
            session.call("Debugger.disable", timeout_s=_DEBUGGER_TIMEOUT_S)
        tracking.join(session, self)
        self._prepared.add(session)  # not before: where this failed, the next attempt needs it as much

    def _check_room(self, client: InspectorClient, session: Isolate, heap_bytes: int, pid: int | None) -> None:
        self._check_disk(heap_bytes)
        if self.on_low_memory == "ignore":
            return
        if headroom.needed_memory_bytes(heap_bytes) > self._memory_room(client, pid).available_bytes:
            # Garbage is in the figure, but not in the snapshot.
            session.call("HeapProfiler.collectGarbage", timeout_s=_QUESTION_TIMEOUT_S)
            heap_bytes = _used_bytes(session)
        needed, room = headroom.needed_memory_bytes(heap_bytes), self._memory_room(client, pid)
        if needed <= room.available_bytes:
            return
        message = (
            f"a snapshot of a heap of {units.format_size(heap_bytes)} takes about {units.format_size(needed)} of "
            f"memory while V8 writes it; {units.format_size(room.available_bytes)} are left by {room.bound_by}"
        )
        if self.on_low_memory == "warn":
            warnings.warn(PytestMemoryWarning(message, slug="capture-headroom"), stacklevel=4)
            return
        raise CaptureError(
            message,
            slug="capture-headroom",
            hint='give it more memory, snapshot earlier, or take the risk: on_low_memory="warn"',
        )

    def _check_disk(self, heap_bytes: int) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            free, expected = headroom.read_disk_room(self.directory), headroom.expected_file_bytes(heap_bytes)
        except OSError as error:
            raise _disk_error(self.directory, error) from error
        if free < expected:
            raise CaptureError(
                f"the snapshot will be about {units.format_size(expected)}; {units.format_size(free)} are free in "
                f"{self.directory}",
                slug="capture-disk",
                hint="free some space, or keep snapshots elsewhere (--memory-results, profile -o DIR)",
            )

    def _memory_room(self, client: InspectorClient, pid: int | None) -> headroom.MemoryRoom:
        local = self._local_pid(client, pid)
        if local is not None:
            return headroom.read_memory_room(local)
        # Another machine or container: libuv knows its limits (page cache counted as used, so rather less).
        available = client.evaluate(
            "(process.availableMemory || require('os').freemem)()", timeout_s=_QUESTION_TIMEOUT_S
        )
        return headroom.MemoryRoom(int(available), "the app's machine")

    def _local_pid(self, client: InspectorClient, pid: int | None) -> int | None:
        """The pid of the process if it runs on this machine, beside us."""
        if not isinstance(self._app, InspectorClient):
            return pid or self._app.pid
        import platform

        found, host = client.evaluate("[process.pid, require('os').hostname()]", timeout_s=_QUESTION_TIMEOUT_S)
        # Containers have host names of their own: a pid of another one would say nothing here.
        return int(found) if host == platform.node() and Path(f"/proc/{found}").exists() else None

    def _explain_end(self, error: InspectorClosed, name: str) -> PytestMemoryError:
        """What became of an app whose connection broke while it was being looked at."""
        if not isinstance(self._app, InspectorClient):
            self._app.wait(LAST_BREATH_S)
            try:
                self._app.check()
            except AppError as died:
                return AppError(
                    f"{died.message} while snapshot {name!r} was taken",
                    slug=died.slug,
                    hint=died.hint or "writing a snapshot takes about ten times the heap: was memory short?",
                    exit_status=died.exit_status,
                    output_tail=died.output_tail,
                )
        return error


class _Recording:
    """One snapshot on its way to a file.  Chunks come on the inspector's reader thread and are written there."""

    def __init__(
        self, session: Isolate, directory: Path, stem: str, heap_bytes: int, progress: Progress | None
    ) -> None:
        self._session = session
        self._stem = stem
        self._name = stem + SNAPSHOT_SUFFIX
        # Nobody else's: not another thread's or process's, nor what a killed one with the same pid left behind.
        self._part = directory / f".{self._name}.{secrets.token_hex(8)}.part"
        self._expected_bytes = headroom.expected_file_bytes(heap_bytes)
        self._progress = progress
        self._file: BinaryIO | None = None
        self._written = 0
        self._problem: BaseException | None = None
        self._over = threading.Event()

    def run(self, timeout_s: float) -> Path:
        """Record until V8 is done, then give the file its name and return that.  Leaves no other file behind,
        whatever happens."""
        leave = [
            self._session.on("HeapProfiler.addHeapSnapshotChunk", self._take_chunk),
            self._session.on("HeapProfiler.reportHeapSnapshotProgress", self._take_progress),
        ]
        try:
            with self._part.open("xb") as self._file:
                self._wait_for_end(timeout_s)
                self._file.flush()
                os.fsync(self._file.fileno())
            self._check_whole()
            return publish(self._part, self._stem, SNAPSHOT_SUFFIX, kin=KIN)
        except OSError as error:
            raise _disk_error(self._part.with_name(self._name), error) from error
        finally:
            for unsubscribe in leave:
                unsubscribe()
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)

    def _wait_for_end(self, timeout_s: float) -> None:
        answer: Future[dict[str, Any]] = self._session.submit(
            "HeapProfiler.takeHeapSnapshot", {"reportProgress": self._progress is not None}
        )
        answer.add_done_callback(lambda _: self._over.set())
        # Chunks and the answer come in order: when the answer is here, every chunk has been written.
        finished = self._over.wait(timeout_s)
        if self._problem is not None:
            answer.cancel()
            raise self._problem
        if not finished:
            answer.cancel()
            raise CaptureError(
                f"{self._name} was not finished within {timeout_s:g} s; {units.format_size(self._written)} of "
                f"about {units.format_size(self._expected_bytes)} had come",
                slug="capture-timeout",
                hint="is the app's event loop blocked, or the machine swapping? timeout_s sets the limit",
            )
        answer.result(0)

    def _take_chunk(self, params: dict[str, Any]) -> None:
        if self._problem is not None or self._file is None:
            return
        try:
            # V8 cuts strings between the halves of a surrogate pair.
            data = str(params["chunk"]).encode("utf-8", "surrogatepass")
            self._file.write(data)
        except (OSError, ValueError) as error:
            self._fail(error)
            return
        self._written += len(data)
        if self._progress is not None:
            self._report("writing", min(0.99, self._written / self._expected_bytes))

    def _take_progress(self, params: dict[str, Any]) -> None:
        total = int(params.get("total", 0))
        if self._written == 0 and total > 0:
            self._report("walking the heap", min(1.0, int(params.get("done", 0)) / total))

    def _report(self, what: str, share: float) -> None:
        try:
            if self._progress is not None:
                self._progress(what, share)
        except Exception as error:  # noqa: BLE001 - the caller's code on our thread: handed to the caller
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._problem = error
        self._over.set()

    def _check_whole(self) -> None:
        with self._part.open("rb") as file:
            head = file.read(len(_HEAD))
            file.seek(max(0, self._written - 8))
            tail = file.read().rstrip()
        if head != _HEAD or not tail.endswith(_TAIL):
            raise CaptureError(
                f"{self._name} came incomplete: {self._written:,} bytes ending in {tail[-8:]!r}; expected "
                f"{_TAIL.decode()!r}",
                slug="capture-state",
                hint="was another snapshot of this app being taken at the same time?",
            )


def find_worker(client: InspectorClient, worker: Worker) -> WorkerSession:
    """The worker thread with this name, title, id or script, or the one that NodeApp.processes lists so.

    Raises CaptureError[capture-worker], naming those there are, when none fits, or several: threads of a pool often
    bear one name, and any of them would be a guess."""
    if isinstance(worker, WorkerSession):
        return worker
    sessions = client.workers(timeout_s=_QUESTION_TIMEOUT_S)
    found = [session for session in sessions if worker in _names_of(session)]
    if len(found) == 1:
        return found[0]
    wanted = repr(worker if isinstance(worker, str) else worker.title)
    known = ", ".join(f"{session.title!r} (id {session.worker_id!r})" for session in sessions) or "none"
    raise CaptureError(
        f"{len(found) or 'no'} worker threads of the app are called {wanted}; there are: {known}",
        slug="capture-worker",
        hint="an id names one" if found else "threads come and go: it may not have started yet, or have ended",
    )


def _names_of(session: WorkerSession) -> tuple[object, ...]:
    from pytest_memory.node.choose import WorkerThread

    listed = WorkerThread(session.worker_id, session.title, session.url)
    # Node's titles are "[worker 1] name".
    return (listed, session.worker_id, session.title, session.title.partition("] ")[2], session.url)


def _used_bytes(session: Isolate) -> int:
    return int(session.call("Runtime.getHeapUsage", timeout_s=_QUESTION_TIMEOUT_S)["usedSize"])


def _node_major(client: InspectorClient) -> int:
    version = client.evaluate("process.versions.node", timeout_s=_QUESTION_TIMEOUT_S)
    return int(str(version).partition(".")[0])


def _disk_error(path: Path, error: OSError) -> CaptureError:
    return CaptureError(
        f"{path} could not be written: {error.strerror or error}",
        slug="capture-disk",
        hint="is the directory writable, and is there room on the disk?",
    )
