"""Compiles the kernels ahead of need, in a process of its own.  Floor 5: starts a process.

The first analysis on a machine has to compile for some seconds; done while an app is being loaded it costs nobody
time.  A process and not a thread: compiling holds the GIL and would disturb the load and the sampling.

The process forks, so that two compile and the compiler is loaded once.  What a class table needs comes first, and is
all that is waited for; the rest is compiled meanwhile, or by whoever asks for it sooner.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

PATIENCE_S = 10.0
"""Left alone, the process beside needs less than this.  Where it does not, others use the machine: what it has not
compiled by then is compiled here, at the priority of what waits for it."""

NEEDED = ("kernels", "bytescan", "tallies", "columns", "ephemerons")
"""The modules of heap that a class table imports: what takes longest to compile first, so that two processes that take
one after the other end together."""

_NICENESS = 5
"""A load that is flat out on two CPUs leaves each of two processes a quarter of one: enough to be ready after ten
seconds.  At 10 it was not, and the load lost hardly less by it.  A load of a fixed rate does not notice either."""

_HELPER_TIMEOUT_S = 60.0
_READY = b"!"
_COMMAND = f"""
import os
os.setpgrp()  # what it starts ends with it
os.nice({_NICENESS})
from pytest_memory.heap import warm
warm.compile_ahead()
import pytest_memory.heap.kernels_ready
"""
_BESIDE = "from pytest_memory.heap import warm; warm.compile_beside()"
_started: subprocess.Popen[bytes] | None = None
_is_ready = False
_lock = threading.Lock()
_waiting = threading.RLock()


def warm_kernels() -> bool:
    """Start compiling, once per process; returns at once, True when this call did.  Failure costs only time.

    `stop_warming` ends it; at the end of this process it is ended at the latest."""
    global _started, _is_ready
    with _lock:
        if _started is not None or _are_loaded():
            return False
        with contextlib.suppress(OSError):
            # numpy's threads are of no use there, and a process that forks should have none.
            _started = _start(_COMMAND, stdout=subprocess.PIPE, OPENBLAS_NUM_THREADS="1")
            _is_ready = False
            atexit.register(stop_warming)
        return _started is not None


def compile_kernels() -> None:
    """Compile what a class table needs, by whoever is quickest.  Returns when importing it takes no time.

    Waits for `warm_kernels`, if that has been called; else compiles here and in a process beside (threads would not do:
    compiling holds a lock).  On a warm machine it only loads the cache.
    """
    if _are_loaded() or _has_warmed():
        return
    with contextlib.suppress(OSError), _work() as work:  # without descriptors to spare: alone, then
        _share(work)
    _load()


def compile_ahead() -> None:
    """What `warm_kernels` starts does: `compile_kernels`, sharing the work with a fork, and says so when it is done."""
    if sys.platform == "linux":  # elsewhere what the system's libraries do in a fork is their secret
        with _work() as work:
            _share_with_fork(work)
        _load()
    else:
        compile_kernels()
    os.write(sys.stdout.fileno(), _READY)


def compile_beside() -> None:
    """What `compile_kernels` starts does: take from the same work, which is in its standard input."""
    for name in _take(sys.stdin.fileno()):
        import_module(name)


# --- sharing the work ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _work() -> Iterator[int]:
    """A pipe with one byte for each module to compile: whoever reads it compiles that module, and nobody else does."""
    work, end = os.pipe()
    try:
        os.write(end, bytes(range(len(NEEDED))))
        os.close(end)
        yield work
    finally:
        os.close(work)


def _take(work: int) -> Iterator[str]:
    while number := os.read(work, 1):
        yield f"pytest_memory.heap.{NEEDED[number[0]]}"


def _load() -> None:
    """What another process has compiled comes from the cache; what it has not is compiled now."""
    for name in NEEDED:
        import_module(f"pytest_memory.heap.{name}")


def _share(work: int) -> None:
    """With a process that is started for it, from the first sign on that the cache is cold.

    The sooner the better: the compiler takes a second to load, and both load it at the same time."""
    helper = _help(work) if _looks_cold() else None
    try:
        compiled = _load_compiler()
        for name in _take(work):
            if helper is None and compiled:
                helper = _help(work)
            import_module(name)  # compiles
        if helper is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                helper.wait(_HELPER_TIMEOUT_S)
    finally:  # Ctrl-C, too, and a test's timeout
        if helper is not None:
            helper.kill()  # nothing happens to one that has ended
            helper.wait()


def _share_with_fork(work: int) -> None:
    """The compiler is loaded once, before the process becomes two; nothing in it has threads that a fork could harm."""
    compiled = _load_compiler()
    child = os.fork() if compiled or _looks_cold() else -1
    if child == 0:
        _compile_as_child(work)
    try:
        for name in _take(work):
            import_module(name)
    finally:
        if child > 0:
            os.waitpid(child, 0)


def _load_compiler() -> list[str]:
    """With the first kernel.  Answers the names of what had to be compiled, a list that grows."""
    import_module("pytest_memory.heap.canary")
    from pytest_memory.heap import jit

    return jit.compiled


def _compile_as_child(work: int) -> None:
    """Ends the process, whatever happens, and without what the parent does at its end."""
    try:
        os.close(sys.stdout.fileno())  # who waits for the parent shall hear of its end
        for name in _take(work):
            import_module(name)
    finally:
        os._exit(0)


def _help(work: int) -> subprocess.Popen[bytes] | None:
    with contextlib.suppress(OSError):
        return _start(_BESIDE, stdin=work)
    return None


def _looks_cold() -> bool:
    """Whether the cache is known, without loading the compiler, to lack what is compiled last of all that is needed.

    numba keeps an index (.nbi) for each kernel, in NUMBA_CACHE_DIR or beside the module.  Elsewhere, or where an index
    is there and out of date, the first kernel tells."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    directory = Path(chosen) if chosen else Path(__file__).parent
    index = f"{NEEDED[-1]}.*.py{sys.version_info.major}{sys.version_info.minor}.nbi"
    folder = f"{Path(__file__).parent.name}_*" if chosen else "__pycache__"
    is_kept = os.access(directory, os.W_OK) or (bool(chosen) and not directory.exists())
    return is_kept and not any(directory.glob(f"{folder}/{index}"))


def _are_loaded() -> bool:
    return all(f"pytest_memory.heap.{name}" in sys.modules for name in NEEDED)


# --- the process started by warm_kernels --------------------------------------------------------------------------


def _has_warmed() -> bool:
    """Whether the process started by `warm_kernels` says in time that what is needed is there; ended if it does not."""
    global _is_ready
    with _waiting:
        process = _started
        if process is None or process.stdout is None:
            return False
        if not _is_ready:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                if not selector.select(PATIENCE_S):
                    stop_warming()  # what it has compiled is in the cache
                    return False
            _is_ready = process.stdout.read(1) == _READY  # nothing where it has ended without
        return _is_ready


def _start(
    command: str, *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL, **environment: str
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", command],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env={**os.environ, **environment},
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
    if process.stdout is not None:
        with _waiting:  # who waits for a word has heard the end of it
            process.stdout.close()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To the process and the one it may have beside it: it leads a group of its own, but for its first moment."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    process.send_signal(number)
