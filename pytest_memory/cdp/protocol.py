"""The inspector's conversation without a socket: text in, records out; commands in, text out.

What it is: the bookkeeping of one inspector connection: command ids, commands not yet answered, events, error
replies, sessions of worker threads (which Node wraps in messages of the main session), the close in flight.
What it is not: a client.  No sockets, threads, clocks or deadlines; the driver in ``cdp.client`` adds those.
Floor 2: imports only errors.

The rules of the conversation, as Node speaks it:

* A command is ``{"id", "method", "params"}``; its answer carries the same id, in any order.
* An event has a ``method`` and no id.
* A command for a worker thread is text inside ``NodeWorker.sendMessageToWorker``; what the worker says comes as
  text inside ``NodeWorker.receivedMessageFromWorker``.  Node acknowledges the wrapper even when the session does
  not exist, so the wrapper's own reply matters only when it is an error.
* Worker sessions are flat: the main session lists workers of workers too, and a worker has no NodeWorker domain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pytest_memory.errors import InspectorClosed, InspectorProtocolError

JsonObject = dict[str, Any]

MAIN_SESSION: Final = ""
"""The session of the process's main thread; a worker's session has the id Node gave it."""

_SHOWN_CHARS = 120  # of a broken message, in an error: enough to recognise it, too little to flood a terminal

_SEND_TO_WORKER = "NodeWorker.sendMessageToWorker"
_FROM_WORKER = "NodeWorker.receivedMessageFromWorker"
_ATTACHED = "NodeWorker.attachedToWorker"
_DETACHED = "NodeWorker.detachedFromWorker"


@dataclass(frozen=True, slots=True)
class Command:
    """A command on its way: hand ``text`` to the transport, recognise the answer by ``id``."""

    id: int
    method: str
    session_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The app answered command ``id``."""

    id: int
    result: JsonObject


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """The app refused command ``id``; ``code`` is JSON-RPC's (-32601 unknown method, -32000 failed, …)."""

    id: int
    method: str
    message: str
    code: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """The app said something unasked, in the session ``session_id`` (MAIN_SESSION or a worker's)."""

    method: str
    params: JsonObject
    session_id: str


@dataclass(frozen=True, slots=True)
class WorkerAttached:
    """A worker thread can be talked to under ``session_id``."""

    session_id: str
    worker_id: str
    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Commands that will never be answered, because the worker ``session_id`` has ended."""

    session_id: str
    command_ids: tuple[int, ...]


Received = Reply | ErrorReply | Event | WorkerAttached | Abandoned


@dataclass(frozen=True, slots=True)
class _Pending:
    method: str
    session_id: str
    wrapped_id: int | None  # of the worker command this one carries; None when it carries none


class InspectorProtocol:
    """State of one inspector connection.  Not thread-safe: the driver holds a lock around every method."""

    def __init__(self) -> None:
        self._next_id = 1
        self._pending: dict[int, _Pending] = {}
        self._workers: dict[str, WorkerAttached] = {}
        self._closed_because: str | None = None

    @property
    def closed(self) -> bool:
        """True once either side has closed; nothing can be sent any more."""
        return self._closed_because is not None

    @property
    def pending_ids(self) -> frozenset[int]:
        """Ids of commands that wait for their answer (wrappers of worker commands not counted)."""
        return frozenset(id_ for id_, command in self._pending.items() if command.wrapped_id is None)

    @property
    def workers(self) -> tuple[WorkerAttached, ...]:
        """The worker threads attached at this moment, in the order they were announced."""
        return tuple(self._workers.values())

    def send(self, method: str, params: Mapping[str, Any] | None = None, session_id: str = MAIN_SESSION) -> Command:
        """Record a command as pending and return it with the text to put on the wire.

        Raises InspectorClosed when the connection, or the worker of ``session_id``, is gone.
        """
        if self._closed_because is not None:
            raise InspectorClosed(f"{method} cannot be sent: {self._closed_because}")
        if session_id != MAIN_SESSION and session_id not in self._workers:
            raise InspectorClosed(f"{method} cannot be sent: worker session {session_id!r} has ended")
        id_, text = self._register(method, params, session_id, None)
        if session_id != MAIN_SESSION:
            wrapper = {"sessionId": session_id, "message": text}
            _, text = self._register(_SEND_TO_WORKER, wrapper, MAIN_SESSION, id_)
        return Command(id_, method, session_id, text)

    def _register(
        self, method: str, params: Mapping[str, Any] | None, session_id: str, wrapped_id: int | None
    ) -> tuple[int, str]:
        message: JsonObject = {"id": self._next_id, "method": method}
        if params:
            message["params"] = params
        text = json.dumps(message)  # first, so that params that are not JSON leave no command pending
        id_, self._next_id = self._next_id, self._next_id + 1
        self._pending[id_] = _Pending(method, session_id, wrapped_id)
        return id_, text

    def forget(self, command_id: int) -> None:
        """Stop waiting for a command (its deadline has passed): a late answer will be ignored."""
        self._pending.pop(command_id, None)

    def receive(self, text: str) -> list[Received]:
        """Take one text frame; return what it means, in order.  After a close, everything is ignored.

        Raises InspectorProtocolError when the frame is not a message of the protocol; the state is unchanged
        and the driver decides whether to go on.
        """
        if self.closed:
            return []
        return self._receive(text, MAIN_SESSION)

    def close(self, reason: str) -> tuple[int, ...]:
        """Note that the connection has ended, by whichever side; return the ids nobody will answer now."""
        if self._closed_because is None:
            self._closed_because = reason
        lost = tuple(sorted(self.pending_ids))
        self._pending.clear()
        self._workers.clear()
        return lost

    def _receive(self, text: str, session_id: str) -> list[Received]:
        message = _parse_message(text)
        if "id" in message:
            return self._receive_reply(message, session_id, text)
        if "method" in message:
            return self._receive_event(message, session_id, text)
        if "error" in message:
            # An answer to a command Node could not even read, so it has no id: one of ours was broken.
            raise InspectorProtocolError(f"the inspector could not read a command: {_shown(text)}")
        raise _broken("neither an answer nor an event", text)

    def _receive_reply(self, message: JsonObject, session_id: str, text: str) -> list[Received]:
        id_ = message["id"]
        if type(id_) is not int:
            raise _broken(f"the id is {id_!r}, expected an integer", text)
        if not 0 < id_ < self._next_id:
            raise _broken(f"the id {id_} was never sent", text)
        command = self._pending.get(id_)
        if command is None:
            return []  # late: forgotten at its deadline
        if command.session_id != session_id:
            raise _broken(f"the answer to {command.method} came from session {session_id!r}", text)
        outcome = _parse_outcome(id_, command.method, message, text)
        del self._pending[id_]
        if command.wrapped_id is None:
            return [outcome]
        return self._receive_wrapper_reply(command.wrapped_id, outcome)

    def _receive_wrapper_reply(self, wrapped_id: int, outcome: Reply | ErrorReply) -> list[Received]:
        if isinstance(outcome, Reply):
            return []  # delivered; the worker's own answer follows as an event
        wrapped = self._pending.pop(wrapped_id, None)
        if wrapped is None:
            return []
        return [ErrorReply(wrapped_id, wrapped.method, outcome.message, outcome.code)]

    def _receive_event(self, message: JsonObject, session_id: str, text: str) -> list[Received]:
        method, params = message["method"], message.get("params", {})
        if not isinstance(method, str):
            raise _broken(f"the method is {method!r}, expected a string", text)
        if not isinstance(params, dict):
            raise _broken(f"the params of {method} are not an object", text)
        if session_id == MAIN_SESSION:
            if method == _FROM_WORKER:
                worker = _text_field(params, "sessionId", method, text)
                if worker not in self._workers:
                    return []  # said before it ended, delivered after
                return self._receive(_text_field(params, "message", method, text), worker)
            if method == _ATTACHED:
                return [self._attach_worker(params, text)]
            if method == _DETACHED:
                return self._detach_worker(_text_field(params, "sessionId", method, text))
        return [Event(method, params, session_id)]

    def _attach_worker(self, params: JsonObject, text: str) -> WorkerAttached:
        info = params.get("workerInfo")
        if not isinstance(info, dict):
            raise _broken(f"{_ATTACHED} has no workerInfo", text)
        worker = WorkerAttached(
            session_id=_text_field(params, "sessionId", _ATTACHED, text),
            worker_id=str(info.get("workerId", "")),
            title=str(info.get("title", "")),
            url=str(info.get("url", "")),
        )
        self._workers[worker.session_id] = worker
        return worker

    def _detach_worker(self, session_id: str) -> list[Received]:
        self._workers.pop(session_id, None)
        lost = tuple(sorted(id_ for id_, command in self._pending.items() if command.session_id == session_id))
        for id_ in lost:
            del self._pending[id_]
        return [Abandoned(session_id, lost)]


def _parse_message(text: str) -> JsonObject:
    try:
        # Not a stricter parser: V8 sends lone surrogates (\ud800) in strings, which json accepts.
        message = json.loads(text)
    except ValueError as error:
        raise _broken(f"not JSON ({error})", text) from None
    except RecursionError:
        raise _broken("nested too deep", text) from None
    if not isinstance(message, dict):
        raise _broken(f"a JSON {type(message).__name__}, expected an object", text)
    return message


def _parse_outcome(id_: int, method: str, message: JsonObject, text: str) -> Reply | ErrorReply:
    if "error" in message:
        error = message["error"]
        if not isinstance(error, dict):
            raise _broken(f"the error of the answer to {method} is not an object", text)
        said, code, data = error.get("message"), error.get("code"), error.get("data")
        # ``data`` says which parameter was wrong ("Failed to deserialize params.x"): the message alone does not.
        spoken = f"{said} ({data})" if data else str(said)
        return ErrorReply(id_, method, spoken, code if type(code) is int else None)
    result = message.get("result", {})
    if not isinstance(result, dict):
        raise _broken(f"the result of the answer to {method} is not an object", text)
    return Reply(id_, result)


def _text_field(params: JsonObject, field: str, method: str, text: str) -> str:
    value = params.get(field)
    if not isinstance(value, str):
        raise _broken(f"{field} of {method} is {value!r}, expected a string", text)
    return value


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]!r}… ({len(text)} characters)"


def _broken(what: str, text: str) -> InspectorProtocolError:
    return InspectorProtocolError(f"the inspector sent {_shown(text)}: {what}; expected a protocol message")
