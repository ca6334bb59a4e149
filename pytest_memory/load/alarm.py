"""Wakes an event loop at a moment finer than its own timers know.  Floor 5: a Linux timerfd, else loop timers.

Event loops round timers to a millisecond; at 2,000 arrivals per second that lateness would be reported as the
app's latency.  A timerfd wakes the loop like a socket does, at the nanosecond it was set to.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from time import perf_counter_ns

_CLOCK_MONOTONIC = 1  # what perf_counter_ns reads on Linux
_TFD_NONBLOCK = 0o4000
_TFD_CLOEXEC = 0o2000000
_TFD_TIMER_ABSTIME = 1


class _TimeSpec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _TimerSpec(ctypes.Structure):
    _fields_ = [("interval", _TimeSpec), ("value", _TimeSpec)]


class Alarm:
    """Calls ``callback`` once for each `set_at`, until `close`.  Setting it anew displaces what was set."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None
        self._spec = _TimerSpec()
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self._fd = _open_timer(self._libc)
        if self._fd >= 0:
            loop.add_reader(self._fd, self._on_timer)

    def set_at(self, due_ns: int) -> None:
        """Ring at this moment of `time.perf_counter_ns`; at once when it has passed."""
        if self._fd >= 0 and self._libc is not None:
            value = self._spec.value
            value.seconds, value.nanoseconds = divmod(due_ns, 10**9)
            self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0.0, (due_ns - perf_counter_ns()) * 1e-9), self._callback)

    def _on_timer(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._callback()

    def close(self) -> None:
        """Ring no more."""
        if self._handle is not None:
            self._handle.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


def _open_timer(libc: ctypes.CDLL | None) -> int:
    """A descriptor that becomes readable when the time has come; -1 where the system has none."""
    if libc is None or not hasattr(libc, "timerfd_create"):
        return -1
    return int(libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC))
