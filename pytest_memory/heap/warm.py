"""Compiles the kernels ahead of need, in a process of its own.  Floor 5: starts a process.

The first analysis on a machine has to compile for some seconds; done while an app is being loaded it costs nobody
time.  A process and not a thread: compiling holds the GIL and would disturb the load and the sampling.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

PATIENCE_S = 10.0
"""Left alone, the process beside needs less than this.  Where it does not, others use the machine: what it has not
compiled by then is compiled here, at the priority of what waits for it."""

_HELPER_TIMEOUT_S = 60.0
_HERE = ("canary", "bytescan", "columns", "ephemerons", "tallies")
_BESIDE = ("kernels", "spreading")
_COMMAND = """
import os
os.setpgrp()  # what it starts ends with it
os.nice(10)
from pytest_memory.heap import warm
warm.compile_kernels()
import pytest_memory.heap.kernels_ready
"""
_SECOND_HALF = "import " + ", ".join(f"pytest_memory.heap.{name}" for name in _BESIDE)
_started: subprocess.Popen[bytes] | None = None
_lock = threading.Lock()


def warm_kernels() -> bool:
    """Start compiling, once per process; returns at once, True when this call did.  Failure costs only time.

    `stop_warming` ends it; at the end of this process it is ended at the latest."""
    global _started
    with _lock:
        if _started is not None or _are_loaded():
            return False
        with contextlib.suppress(OSError):
            _started = _start(_COMMAND)
            atexit.register(stop_warming)
        return _started is not None


def compile_kernels() -> None:
    """Load what an analysis needs, compiled by whoever is quickest.  Returns when importing it takes no time.

    Waits for `warm_kernels`, if that has been called; else compiles half of the kernels here and the other half in
    a process beside (threads would not do: compiling holds a lock).  On a warm machine it only loads the cache.
    """
    if _are_loaded() or _has_warmed():
        return
    helper = None
    try:
        if _looks_cold():  # the compiler takes a second to load: both processes load it at the same time
            helper = _help()
        from pytest_memory.heap import jit

        for name in _HERE:
            import_module(f"pytest_memory.heap.{name}")  # compiles
            if jit.compiled and helper is None:
                helper = _help()
        if helper is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                helper.wait(_HELPER_TIMEOUT_S)
    finally:  # Ctrl-C, too, and a test's timeout
        if helper is not None:
            helper.kill()  # nothing happens to one that has ended
            helper.wait()


def _help() -> subprocess.Popen[bytes] | None:
    with contextlib.suppress(OSError):
        return _start(_SECOND_HALF)
    return None


def _looks_cold() -> bool:
    """Whether the cache is known, without loading the compiler, to lack what the process beside is to compile.

    numba keeps an index (.nbi) for each kernel, in NUMBA_CACHE_DIR or beside the module.  Elsewhere, or where an index
    is there and out of date, the first kernel tells."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    directory = Path(chosen) if chosen else Path(__file__).parent
    index = f"{_BESIDE[-1]}.*.py{sys.version_info.major}{sys.version_info.minor}.nbi"
    folder = f"{Path(__file__).parent.name}_*" if chosen else "__pycache__"
    is_kept = os.access(directory, os.W_OK) or (bool(chosen) and not directory.exists())
    return is_kept and not any(directory.glob(f"{folder}/{index}"))


def _are_loaded() -> bool:
    return all(f"pytest_memory.heap.{name}" in sys.modules for name in (*_HERE, *_BESIDE))


def _has_warmed() -> bool:
    """Whether the process started by `warm_kernels` comes to its end in time and well; ended if not in time."""
    process = _started
    if process is None:
        return False
    try:
        return process.wait(PATIENCE_S) == 0
    except subprocess.TimeoutExpired:
        stop_warming()  # what it has compiled is in the cache
        return False


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
        _signal(process, signal.SIGTERM)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.wait(timeout_s)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To the process and the one it may have beside it: it leads a group of its own, but for its first moment."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    process.send_signal(number)
