"""The collections of a running app as V8's own trace tells them, through one inspector session.  Floor 5.

What it is: the asking (begin, flush, end) and the keeping of what arrives; what the events mean is `cdp.trace`.
What it is not: the only way to hear of collections.  Where a session refuses to trace, or somebody else traces through
it, the probe in the app observes them, which costs the app more: Node hands each collection to an observer by two turns
of the event loop and some JavaScript (74 to 116 microseconds), while V8 notes it by itself in about eight.

Node sends what it has noted when the trace is ended, or when a buffer of 65,000 events is full, not before; so it is
ended and begun anew every few seconds.  Both are carried out between two of the app's own instructions, about a
millisecond of work together.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.cdp.trace import CATEGORY, Pause, PauseReader
from pytest_memory.errors import InspectorError, InspectorTimeout

_START: Final = "NodeTracing.start"
_STOP: Final = "NodeTracing.stop"
_CONFIG: Final[dict[str, Any]] = {"traceConfig": {"includedCategories": [CATEGORY]}}
_MANY_EVENTS: Final = 10_000
"""A message of so many is followed by a flush at the next occasion: what is not sent yet is the app's memory, 250 bytes
an event."""

_BARRIER: Final = "Runtime.getHeapUsage"
"""Runs no JavaScript.  What a trace held is sent behind the answer to its end; behind the answer to a command that was
sent after that answer, all of it is here."""


class GcTrace:
    """One process's trace, not begun yet; any thread may ask.

    ``lost`` when Node refused to begin it again: collections are missing from there on."""

    def __init__(self, inspector: InspectorClient) -> None:
        self.lost = False
        self._inspector = inspector
        self._changing = threading.Lock()  # whether it runs is what was asked last
        self._untold = False
        self._arrived: deque[object] = deque()
        self._taking = threading.Lock()  # messages are read in their order
        self._reader = PauseReader()
        self._has_many = False
        self._ending: list[Future[None]] = []
        self._runs = False
        self._unsubscribe = inspector.on("NodeTracing.dataCollected", self._keep)

    @classmethod
    def open(cls, inspector: InspectorClient, *, timeout_s: float) -> GcTrace | None:
        """None where the session cannot trace, or does so already for another.

        Begins and ends once: what that costs the app's memory (a thread and some buffers, which stay) it costs here and
        not later, when it is measured."""
        if not inspector.tracing.acquire(blocking=False):
            return None
        try:
            inspector.call(_START, _CONFIG, timeout_s=timeout_s)
            inspector.call(_STOP, timeout_s=timeout_s)
            return cls(inspector)
        except InspectorTimeout:
            with contextlib.suppress(InspectorError):
                inspector.submit(_STOP)  # a late beginning is not left running
        except InspectorError:
            pass  # refused: what may be traced through this session is somebody else's
        inspector.tracing.release()
        return None

    def begin(self) -> None:
        """Without waiting for the answer: commands of one connection are carried out in their order.

        Of a process that has ended, or is about to, there is nothing more to tell."""
        with self._changing:
            if self._runs or self._inspector.closed or self._inspector.exiting:
                return
            self._runs = True
            begun = self._submit(_START, _CONFIG)
        begun.add_done_callback(self._note_refusal)

    def end(self) -> None:
        """From here on nothing is noted; `wait` for what has been."""
        told: Future[None] = Future()
        with self._changing:
            if not self._runs:
                return
            self._runs = False
            self._ending = [*(one for one in self._ending if not one.done()), told]
            ended = self._submit(_STOP)
        ended.add_done_callback(lambda answered: self._send_barrier(answered, told))

    def flush(self, *, only_much: bool = False) -> None:
        """Ask for what has been noted so far, which arrives after a while; ``only_much``: if the last time it was."""
        with self._changing:
            if not self._runs or (only_much and not self._has_many):
                return
            with self._inspector.together():  # what the app collected between them would be in neither trace
                self._submit(_STOP)
                begun = self._submit(_START, _CONFIG)
        begun.add_done_callback(self._note_refusal)

    def wait(self, timeout_s: float) -> bool:
        """Whether nothing that was noted before an `end` is on its way any more, waiting for it at most so long."""
        deadline = time.monotonic() + timeout_s
        for told in tuple(self._ending):
            with contextlib.suppress(FutureTimeout):
                told.result(max(0.0, deadline - time.monotonic()))
        return not self.is_ending

    @property
    def is_ending(self) -> bool:
        """Whether what was noted before an `end` may still be on its way."""
        return not all(told.done() for told in tuple(self._ending))

    def take_untold(self) -> bool:
        """Whether, since the last time, an `end` was not answered: what was noted before it is lost."""
        with self._changing:
            untold, self._untold = self._untold, False
        return untold

    def take(self) -> list[Pause]:
        """The pauses that have arrived since the last time."""
        pauses: list[Pause] = []
        with self._taking, contextlib.suppress(IndexError):
            while True:
                pauses.extend(self._reader.read(self._arrived.popleft()))
        return pauses

    @property
    def runs(self) -> bool:
        """Whether collections are noted now."""
        return self._runs

    def close(self) -> None:
        """End it for good; the session may be traced by another."""
        self.end()
        self._unsubscribe()
        self._inspector.tracing.release()

    def _keep(self, params: dict[str, Any]) -> None:
        events = params.get("value")
        self._has_many = isinstance(events, list) and len(events) >= _MANY_EVENTS
        self._arrived.append(events)

    def _note_refusal(self, answered: Future[dict[str, Any]]) -> None:
        if _has_failed(answered) and not self._inspector.closed:
            self.lost = True

    def _send_barrier(self, ended: Future[dict[str, Any]], told: Future[None]) -> None:
        if _has_failed(ended):
            self._note_told(ended, told)
        else:
            self._submit(_BARRIER).add_done_callback(lambda answered: self._note_told(answered, told))

    def _note_told(self, answered: Future[dict[str, Any]], told: Future[None]) -> None:
        if _has_failed(answered):
            self._untold = True
        told.set_result(None)

    def _submit(self, method: str, params: dict[str, Any] | None = None) -> Future[dict[str, Any]]:
        """Never raises: a connection that has ended is told by the future."""
        try:
            return self._inspector.submit(method, params)
        except InspectorError as error:
            failed: Future[dict[str, Any]] = Future()
            failed.set_exception(error)
            return failed


def _has_failed(answered: Future[dict[str, Any]]) -> bool:
    return answered.cancelled() or answered.exception() is not None
