"""Compiles the kernels ahead of need, in a process of its own.  Floor 5: starts a process.

The first analysis on a machine has to compile for some seconds; done while an app is being loaded it costs nobody
time.  A process and not a thread: compiling holds the GIL and would disturb the load and the sampling.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading

COMPILE_TIMEOUT_S = 60.0
"""Compiling takes seconds; a machine that needs longer than this is waited for by compiling here."""

_COMMAND = "import os; os.nice(10) if hasattr(os, 'nice') else None; import pytest_memory.heap.kernels_ready"
_SECOND_HALF = "import pytest_memory.heap.kernels, pytest_memory.heap.spreading"
_started: subprocess.Popen[bytes] | None = None
_lock = threading.Lock()


def warm_kernels() -> None:
    """Start compiling, once per process; returns at once.  Safe to call anywhere, failure costs only time."""
    global _started
    with _lock:
        if _started is not None:
            return
        with contextlib.suppress(OSError):
            _started = _start(_COMMAND)


def compile_kernels() -> None:
    """Load what an analysis needs, compiled by whoever is quickest.  Returns when importing it takes no time.

    Waits for `warm_kernels`, if that has been called; else compiles half of the kernels here and the other half in
    a process beside (threads would not do: compiling holds a lock).  On a warm machine it only loads the cache.
    """
    if kernels_are_warm(COMPILE_TIMEOUT_S):
        return
    from pytest_memory.heap import canary, jit  # noqa: F401 - importing compiles

    helper = None
    if jit.compiled:
        with contextlib.suppress(OSError):
            helper = _start(_SECOND_HALF)
    try:
        from pytest_memory.heap import bytescan, columns, ephemerons, tallies  # noqa: F401 - importing compiles

        if helper is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                helper.wait(COMPILE_TIMEOUT_S)
    finally:  # Ctrl-C, too, and a test's timeout
        if helper is not None:
            helper.kill()  # nothing happens to one that has ended
            helper.wait()


def _start(command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )


def stop_warming(timeout_s: float = 5.0) -> None:
    """End the process if it still runs: at the end of a session nothing stays behind."""
    global _started
    with _lock:
        process, _started = _started, None
    if process is None:
        return
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout_s)


def kernels_are_warm(timeout_s: float | None = None) -> bool:
    """Whether the process started by `warm_kernels` has come to its end in time and well."""
    process = _started
    if process is None:
        return False
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(timeout_s) == 0
    return False
