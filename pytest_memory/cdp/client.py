"""One live connection to a Node inspector: the websocket driver of ``cdp.protocol``.

What it is: a websocket, a reader thread and deadlines around the sans-I/O protocol object.  Any thread may issue
commands; answers and events are read by one background thread, so that the end of the app is noticed at once.
What it is not: a sampler or a snapshot writer; those are built on ``submit`` and ``on``.  Floor 5.

Three rules about measuring a process through its inspector, all kept here:

* ``Runtime.enable`` and ``Debugger.enable`` are never sent by this module: the first keeps a second copy of all
  logged objects alive, the second adds 400 KB and turns "out of memory" into a pause for ever.
* A Node process that wants to exit waits until its inspector clients have gone.  We ask to be told
  (``NodeRuntime.notifyWhenWaitingForDisconnect``), let ``on_exit`` take a last sample, and let go: the process
  then ends with its true exit status.
* Nothing waits without a deadline.  A websocket closing handshake is a wait, so ``close`` just drops the socket,
  which Node takes as a disconnect within milliseconds.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final

from pytest_memory.cdp.protocol import (
    MAIN_SESSION,
    Abandoned,
    Command,
    ErrorReply,
    Event,
    InspectorProtocol,
    JsonObject,
    Received,
    Reply,
    WorkerAttached,
)
from pytest_memory.cdp.transport import TextTransport, address_of
from pytest_memory.errors import (
    InspectorClosed,
    InspectorCommandError,
    InspectorError,
    InspectorProtocolError,
    InspectorTimeout,
)

DEFAULT_TIMEOUT_S: Final = 10.0
"""For commands that answer in milliseconds unless native code blocks the loop."""

FAREWELL_TIMEOUT_S: Final = 5.0
"""How long ``on_exit`` may keep an app from exiting: a last sample takes milliseconds."""

_THREAD_END_TIMEOUT_S = 5.0

EventCallback = Callable[[JsonObject], None]


class _Session:
    """What the connection and its worker sessions have in common: commands to one V8 isolate."""

    def __init__(self, connection: _Connection, session_id: str) -> None:
        self._connection = connection
        self._session_id = session_id

    def submit(self, method: str, params: Mapping[str, Any] | None = None) -> Future[JsonObject]:
        """Send a command and return at once; the future's result is the answer's ``result`` object.

        The future fails with InspectorCommandError (Node refused) or InspectorClosed (the app, worker or
        connection went away).  ``future.cancel()`` stops waiting: a late answer is dropped.  Done-callbacks run on
        the reader thread and must not issue blocking commands.
        """
        return self._connection.submit(method, params, self._session_id)

    def call(
        self, method: str, params: Mapping[str, Any] | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> JsonObject:
        """Send a command and wait at most ``timeout_s`` seconds for its result object.

        Raises InspectorTimeout, InspectorCommandError or InspectorClosed.  Runtime.evaluate and getHeapUsage
        interrupt running JavaScript; HeapProfiler.collectGarbage and takeHeapSnapshot wait for a turn of the
        event loop, so give them longer.
        """
        return self._connection.call(method, params, self._session_id, timeout_s)

    def evaluate(self, expression: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, await_promise: bool = False) -> Any:
        """Evaluate JavaScript in the app and return its value as Python data (undefined and null are None).

        ``require`` is at hand in CommonJS and ESM apps alike, but only while the expression itself runs: capture
        what a later callback needs.  ``process.exit()`` inside an expression can hang the app (Node waits for
        us, we for the answer): use ``setTimeout(() => process.exit())``.
        An exception in the app, or a value that JSON cannot carry, is an InspectorCommandError.
        """
        params = {
            "expression": expression,
            "includeCommandLineAPI": True,
            "returnByValue": True,
            "awaitPromise": await_promise,
            "silent": True,
        }
        return _parse_evaluated(self.call("Runtime.evaluate", params, timeout_s=timeout_s))

    def on(self, event: str, callback: EventCallback) -> Callable[[], None]:
        """Call ``callback(params)`` for each event of this name in this session; return the unsubscriber.

        Callbacks run on the reader thread, in the order of the wire, and each event is dropped after its
        callbacks have seen it: a snapshot of a gigabyte streams through in chunks.  A callback must not issue
        blocking commands (RuntimeError) and should be quick; its exception goes to ``threading.excepthook``.
        """
        return self._connection.subscribe(self._session_id, event, callback)


class WorkerSession(_Session):
    """A worker thread of the app: its own V8 isolate and heap, reached through the main connection."""

    def __init__(self, connection: _Connection, worker: WorkerAttached) -> None:
        super().__init__(connection, worker.session_id)
        self.worker_id = worker.worker_id
        self.title = worker.title
        self.url = worker.url

    @property
    def closed(self) -> bool:
        """True once the worker has ended or the connection is closed."""
        return not self._connection.has_worker(self._session_id)

    def __repr__(self) -> str:
        return f"<WorkerSession {self.title!r} {self.url}>"


class InspectorClient(_Session):
    """A connection to the inspector of one Node process; a context manager that closes it."""

    def __init__(self, connection: _Connection) -> None:
        super().__init__(connection, MAIN_SESSION)
        self.tracing = threading.Lock()
        """Held by whoever uses NodeTracing: a session has one trace."""
        self._workers_lock = threading.Lock()
        self._workers: dict[str, WorkerSession] | None = None

    @classmethod
    def connect(cls, ws_url: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> InspectorClient:
        """Connect to ``ws://host:port/uuid`` (what ``inspector.url()`` says in the app).

        Raises InspectorError[inspector-unreachable] when nothing answers at that address,
        [inspector-refused] when what answers is not this inspector (a wrong uuid, a plain web server), and
        InspectorClosed when the process ends meanwhile.
        """
        connection = _Connection(ws_url, TextTransport.open(ws_url, timeout_s=timeout_s))
        client = cls(connection)
        connection.start()
        try:
            client._ask_for_word_of_the_end(timeout_s)
        except BaseException:
            client.close()
            raise
        return client

    def _ask_for_word_of_the_end(self, timeout_s: float) -> None:
        """A process that had begun to exit between our connecting and our asking will not tell us, but waits for us
        (Node 20 and older): commands to its heap are never answered.  What it lacks already is a context."""
        try:
            self.call("NodeRuntime.notifyWhenWaitingForDisconnect", {"enabled": True}, timeout_s=timeout_s)
        except InspectorCommandError:
            return  # not Node, or too old to know: then only the exit status may have to wait for our close
        try:
            self.call("Runtime.evaluate", {"expression": "0", "silent": True}, timeout_s=timeout_s)
        except InspectorCommandError as error:
            raise InspectorClosed(f"the process at {address_of(self.url)} was ending: {error.message}") from None

    @property
    def url(self) -> str:
        """The address this client is connected to; it holds the inspector's secret, so not for reports."""
        return self._connection.url

    @property
    def closed(self) -> bool:
        """True once the connection has ended, whichever side ended it."""
        return self._connection.closed

    @property
    def exiting(self) -> bool:
        """True once the app has announced that it ends and only waits for its inspector clients to go."""
        return self._connection.exiting

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Commands submitted inside by this thread reach Node at once, and nobody else's between them: the app does
        nothing of its own there.  Other threads' commands wait meanwhile."""
        with self._connection.together():
            yield

    def on_exit(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback()`` when the app is about to exit and waits for us; then the connection is closed.

        Returns the unsubscriber.

        It runs on a thread of its own, may issue commands (``evaluate`` still answers after process.exit and an
        uncaught exception, not after a natural end), and has FAREWELL_TIMEOUT_S before the socket is dropped.
        """
        return self._connection.add_farewell(callback)

    def workers(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[WorkerSession]:
        """The worker_threads alive now, workers of workers included, each a session of its own.

        The first call subscribes to the app's workers (NodeWorker.enable); later ones only look.
        """
        if not self._workers_lock.acquire(timeout=timeout_s):
            raise InspectorTimeout(f"{address_of(self.url)} has not told its worker threads within {timeout_s:g} s")
        try:
            if self._workers is None:
                self.call("NodeWorker.enable", {"waitForDebuggerOnStart": False}, timeout_s=timeout_s)
                self._workers = {}
            attached = {worker.session_id: worker for worker in self._connection.attached_workers()}
            kept = {id_: session for id_, session in self._workers.items() if id_ in attached}
            for id_, worker in attached.items():
                if id_ not in kept:
                    kept[id_] = WorkerSession(self._connection, worker)
            self._workers = kept
            return list(kept.values())
        finally:
            self._workers_lock.release()

    def close(self) -> None:
        """Drop the connection (idempotent).  Pending commands fail with InspectorClosed; Node lets the app exit."""
        self._connection.close("the connection was closed by this side")
        self._connection.join(_THREAD_END_TIMEOUT_S)

    def __enter__(self) -> InspectorClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<InspectorClient {address_of(self.url)}{' closed' if self.closed else ''}>"


class _Connection:
    """Socket, reader thread and the protocol object behind one lock, shared by all sessions."""

    def __init__(self, url: str, transport: TextTransport) -> None:
        self.url = url
        self.exiting = False
        self._farewells: tuple[Callable[[], None], ...] = ()
        self._transport = transport
        self._lock = threading.Lock()  # of everything below; never held while a callback or the socket runs
        self._send_lock = threading.RLock()  # keeps frames whole, in the order of their ids, and together
        self._protocol = InspectorProtocol()
        self._futures: dict[int, Future[JsonObject]] = {}
        self._callbacks: dict[tuple[str, str], tuple[EventCallback, ...]] = {}
        self._reader = threading.Thread(target=self._read, name=f"inspector {address_of(url)}", daemon=True)

    def start(self) -> None:
        self._reader.start()

    def join(self, timeout_s: float) -> None:
        if threading.current_thread() is not self._reader:
            self._reader.join(timeout_s)

    @property
    def closed(self) -> bool:
        return self._protocol.closed

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        with self._send_lock, self._transport.together():
            yield

    def add_farewell(self, callback: Callable[[], None]) -> Callable[[], None]:
        with self._lock:
            self._farewells = (*self._farewells, callback)

        def unsubscribe() -> None:
            with self._lock:
                rest = list(self._farewells)
                if callback in rest:
                    rest.remove(callback)
                self._farewells = tuple(rest)

        return unsubscribe

    def attached_workers(self) -> tuple[WorkerAttached, ...]:
        with self._lock:
            return self._protocol.workers

    def has_worker(self, session_id: str) -> bool:
        return any(worker.session_id == session_id for worker in self.attached_workers())

    def subscribe(self, session_id: str, event: str, callback: EventCallback) -> Callable[[], None]:
        key = (session_id, event)
        with self._lock:
            self._callbacks[key] = (*self._callbacks.get(key, ()), callback)

        def unsubscribe() -> None:
            with self._lock:
                rest = list(self._callbacks.get(key, ()))
                if callback in rest:
                    rest.remove(callback)
                self._callbacks[key] = tuple(rest)

        return unsubscribe

    def submit(self, method: str, params: Mapping[str, Any] | None, session_id: str) -> Future[JsonObject]:
        return self._submit(method, params, session_id)[1]

    def _submit(
        self, method: str, params: Mapping[str, Any] | None, session_id: str
    ) -> tuple[Command, Future[JsonObject]]:
        future: Future[JsonObject] = Future()
        broken = None
        with self._send_lock:
            with self._lock:
                command = self._protocol.send(method, params, session_id)
                self._futures[command.id] = future
            try:
                self._transport.send_text(command.text)
            except InspectorClosed as error:
                broken = error
        if broken is not None:
            # Part of a frame may be out: the stream cannot be used any more.  Whoever waits for an answer is told by
            # this and may want to send: so not with the lock held, but for what is sent together.
            self.close(f"sending {method} failed: {broken.message}")
        return command, future

    def call(self, method: str, params: Mapping[str, Any] | None, session_id: str, timeout_s: float) -> JsonObject:
        if threading.current_thread() is self._reader:
            raise RuntimeError(f"{method} from an event callback would wait for itself; use submit()")
        command, future = self._submit(method, params, session_id)
        try:
            return future.result(timeout_s)
        except FutureTimeout:
            raise InspectorTimeout(
                f"{method} was not answered within {timeout_s:g} s by {address_of(self.url)}",
                hint="native code may be blocking the app's event loop (execSync, crypto, a stopped process)",
            ) from None
        finally:
            self._forget(command.id)

    def _forget(self, command_id: int) -> None:
        with self._lock:
            self._futures.pop(command_id, None)
            self._protocol.forget(command_id)

    def close(self, reason: str) -> None:
        """End the connection from any thread; the reader thread notices and finishes."""
        self._fail_pending(reason)  # first: the reader would find only that the socket is gone
        self._transport.abort()

    def _fail_pending(self, reason: str) -> None:
        with self._lock:
            lost = [future for id_ in self._protocol.close(reason) if (future := self._futures.pop(id_, None))]
        for future in lost:
            _fail(future, InspectorClosed(f"no answer from {address_of(self.url)}: {reason}"))

    def _read(self) -> None:
        reason = "the app went away or closed its inspector"
        try:
            while (text := self._transport.receive_text()) is not None:
                with self._lock:
                    received = self._protocol.receive(text)
                for item in received:
                    self._dispatch(item)
        except (InspectorClosed, InspectorProtocolError) as error:
            reason = f"{reason} ({error.message})"
        finally:
            self._fail_pending(reason)
            self._transport.release()

    def _dispatch(self, item: Received) -> None:
        if isinstance(item, Event):
            if item.method == "NodeRuntime.waitingForDisconnect" and item.session_id == MAIN_SESSION:
                self._say_farewell()
            with self._lock:
                callbacks = self._callbacks.get((item.session_id, item.method), ())
            for callback in callbacks:
                _run_guarded(callback, item.params)
        elif isinstance(item, Abandoned):
            for id_ in item.command_ids:
                self._settle(id_, InspectorClosed(f"no answer: worker session {item.session_id!r} has ended"))
        elif isinstance(item, Reply):
            self._settle(item.id, item.result)
        elif isinstance(item, ErrorReply):
            message = f"{item.method} was refused by Node: {item.message}"
            self._settle(item.id, InspectorCommandError(message, code=item.code))

    def _settle(self, command_id: int, outcome: JsonObject | InspectorError) -> None:
        with self._lock:
            future = self._futures.pop(command_id, None)
        if future is None:
            return
        if isinstance(outcome, InspectorError):
            _fail(future, outcome)
        elif future.set_running_or_notify_cancel():
            future.set_result(outcome)

    def _say_farewell(self) -> None:
        self.exiting = True
        if not self._farewells:
            self.close("the app has ended")
            return
        threading.Thread(target=self._run_farewells, name="inspector farewell", daemon=True).start()

    def _run_farewells(self) -> None:
        release = threading.Timer(FAREWELL_TIMEOUT_S, self.close, ["the app has ended"])
        release.daemon = True
        release.start()
        try:
            for callback in self._farewells:
                _run_guarded(callback)
        finally:
            release.cancel()
            self.close("the app has ended")


def _run_guarded(callback: Callable[..., None], *args: object) -> None:
    """Run a callback; a bug in it must neither stop the reading nor stay unseen."""
    try:
        callback(*args)
    except InspectorError:
        pass  # the connection went away under it, which everybody else is told as well
    except Exception as error:  # noqa: BLE001 - the thread's top level
        thread = threading.current_thread()
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))


def _fail(future: Future[JsonObject], error: InspectorError) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _parse_evaluated(answer: JsonObject) -> Any:
    """The Python value of a Runtime.evaluate answer; raises InspectorCommandError for a JavaScript exception."""
    details = answer.get("exceptionDetails")
    if isinstance(details, dict):
        thrown = details.get("exception")
        thrown = thrown if isinstance(thrown, dict) else {}
        said = thrown.get("description", thrown.get("value", details.get("text", "unknown exception")))
        raise InspectorCommandError(f"the app threw while evaluating: {said}")
    remote = answer.get("result")
    remote = remote if isinstance(remote, dict) else {}
    odd = remote.get("unserializableValue")
    if isinstance(odd, str):
        return _parse_unserializable(odd)
    return remote.get("value")


def _parse_unserializable(text: str) -> int | float:
    """NaN, Infinity, -Infinity, -0 and BigInts (``12n``), which JSON has no notation for."""
    if text.endswith("n"):
        return int(text[:-1])
    return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(text, -0.0)
