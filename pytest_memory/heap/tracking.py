"""Who uses V8's heap profiler of an isolate, so that only the last one switches it off.  Floor 5: inspector.

One inspector session serves everybody who measures an app: the cameras of a test and of a leak's explanation, and
profilers.  HeapProfiler.disable forgets the ids of objects and stops the sampling of allocations, for all of them.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from pytest_memory.errors import InspectorError

if TYPE_CHECKING:
    from pytest_memory.cdp.client import InspectorClient, WorkerSession

    Isolate = InspectorClient | WorkerSession

_ANSWER_TIMEOUT_S = 60.0  # behind whatever the event loop is doing; asking for a profile walks all samples


class _Users:
    """Of one session.  Held weakly: who was forgotten without an end keeps nothing switched on."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # also while Node answers: who comes meanwhile must find it on or off
        self.all: WeakSet[object] = WeakSet()
        self.sampling: WeakSet[object] = WeakSet()


_lock = threading.Lock()
_users_of: WeakKeyDictionary[Isolate, _Users] = WeakKeyDictionary()


def join(session: Isolate, user: object) -> None:
    """From now on ``user`` relies on what V8 tracks in this session (idempotent)."""
    users = _users(session)
    with users.lock:
        users.all.add(user)


def leave(session: Isolate, user: object) -> None:
    """``user`` relies on it no longer (idempotent): the last one lets V8 stop tracking."""
    users = _users(session)
    with users.lock:
        if user not in users.all:
            return
        users.all.discard(user)
        users.sampling.discard(user)
        if users.all or session.closed:
            return
        with contextlib.suppress(InspectorError):  # an app that has ended tracks nothing
            session.call("HeapProfiler.disable", timeout_s=_ANSWER_TIMEOUT_S)


def start_sampling(session: Isolate, user: object, interval_bytes: int) -> bool:
    """Let V8 sample allocations, at the mean distance of whoever came first; whether that is this ``user``.

    Raises InspectorError."""
    users = _users(session)
    with users.lock:
        is_first = not users.sampling
        if is_first:
            params = {"samplingInterval": interval_bytes}
            session.call("HeapProfiler.startSampling", params, timeout_s=_ANSWER_TIMEOUT_S)
        users.sampling.add(user)
        users.all.add(user)
    return is_first


def read_samples(session: Isolate) -> dict[str, Any]:
    """The SamplingHeapProfile of this moment.  Raises InspectorError."""
    profile: dict[str, Any] = session.call("HeapProfiler.getSamplingProfile", timeout_s=_ANSWER_TIMEOUT_S)["profile"]
    return profile


def stop_sampling(session: Isolate, user: object) -> dict[str, Any]:
    """The profile at the end of the ``user``'s sampling; V8's goes on while others need it.  Raises InspectorError."""
    users = _users(session)
    with users.lock:
        users.sampling.discard(user)
        if users.sampling:
            return read_samples(session)
        profile: dict[str, Any] = session.call("HeapProfiler.stopSampling", timeout_s=_ANSWER_TIMEOUT_S)["profile"]
        return profile


def _users(session: Isolate) -> _Users:
    with _lock:
        return _users_of.setdefault(session, _Users())
