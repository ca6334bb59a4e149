"""Wakes an event loop at a steady pace finer than its own timers.  Floor 5: a Linux timerfd, else loop timers.

Event loops round timers to a millisecond; at 2,000 arrivals per second that lateness would be reported as the
app's latency.  A timerfd wakes the loop like a socket does, to the microsecond.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = 0o4000
_TFD_CLOEXEC = 0o2000000


class _TimeSpec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _TimerSpec(ctypes.Structure):
    _fields_ = [("interval", _TimeSpec), ("value", _TimeSpec)]


class Ticker:
    """Calls ``callback`` every ``interval_s`` until `close`.  Ticks that were missed are not made up for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_s: float, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._interval_s = interval_s
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None
        self._fd = _open_timer(interval_s) if sys.platform == "linux" else -1
        if self._fd >= 0:
            loop.add_reader(self._fd, self._on_timer)
        else:
            self._on_timeout()

    def _on_timer(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._callback()

    def _on_timeout(self) -> None:
        self._handle = self._loop.call_later(self._interval_s, self._on_timeout)
        self._callback()

    def close(self) -> None:
        """Stop ticking."""
        if self._handle is not None:
            self._handle.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


def _open_timer(interval_s: float) -> int:
    """A descriptor that becomes readable every ``interval_s``; -1 where the system has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "timerfd_create"):
        return -1
    fd = int(libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC))
    if fd < 0:
        return -1
    seconds, nanoseconds = divmod(max(1, int(interval_s * 1e9)), 10**9)
    pace = _TimeSpec(seconds, nanoseconds)
    if libc.timerfd_settime(fd, 0, ctypes.byref(_TimerSpec(pace, pace)), None) != 0:
        os.close(fd)
        return -1
    return fd
