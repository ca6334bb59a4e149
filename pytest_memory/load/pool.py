"""The load processes as the test process sees them: started, given jobs, listened to, ended.  Floor 5.

Processes are started when first needed and kept for the next run: a leak test makes dozens of short runs, and
connections may have to outlive one.  Every wait has a deadline: a load process reports about once a second, and
one that is silent for `SILENCE_S` is taken for dead.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest_memory
from pytest_memory.errors import LoadError
from pytest_memory.load.messages import (
    Done,
    FromWorker,
    Interval,
    Job,
    Socket,
    Stop,
    decode_from_worker,
    encode,
    frame_length,
)

# Beyond the interval of reports: time to start Python on a loaded machine.
SILENCE_S = 30.0
# How long a process may take to end after its standard input did.
END_S = 2.0
_STDERR_LINES = 30


class WorkerProcess:
    """One load process."""

    def __init__(self, messages: queue.SimpleQueue[tuple[WorkerProcess, FromWorker | None]]) -> None:
        self._messages = messages
        self._stderr: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest_memory.load.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=worker_environment(),
        )
        self._threads = [threading.Thread(target=listen, daemon=True) for listen in (self._listen, self._listen_stderr)]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: Job | Socket | Stop) -> None:
        """Give it a message; LoadError when it is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(encode(message))
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise self.died(f"cannot be written to ({error})") from error

    def died(self, what: str) -> LoadError:
        """The error that says how this process ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        self._threads[1].join(0.5)
        status = self._process.poll()
        tail = "\n".join(f"    {line}" for line in self._stderr)
        return LoadError(
            f"the load process {self.pid} {what}; exit status {status}" + (f"\n  last output:\n{tail}" if tail else ""),
            slug="load-worker-died",
        )

    def close(self) -> None:
        """End it: politely, then not."""
        process = self._process
        with contextlib.suppress(OSError, ValueError):
            process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join(END_S)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def _listen(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        try:
            while len(prefix := pipe.read(4)) == 4:
                payload = pipe.read(frame_length(prefix))
                self._messages.put((self, decode_from_worker(payload)))
        except (OSError, ValueError, LoadError):
            pass  # reported as the death it is
        self._messages.put((self, None))

    def _listen_stderr(self) -> None:
        pipe = self._process.stderr
        assert pipe is not None
        with contextlib.suppress(OSError, ValueError):
            for line in pipe:
                self._stderr.append(line.decode("utf-8", "replace").rstrip())
                del self._stderr[:-_STDERR_LINES]


def worker_environment() -> dict[str, str]:
    """Ours, with this package importable wherever it was imported from, and the working directory not."""
    root = str(Path(pytest_memory.__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": f"{path}{os.pathsep}{root}" if path else root,
        "PYTHONUNBUFFERED": "1",
    }


class WorkerPool:
    """The load processes of one generator.  Use from one thread at a time, but for `stop`."""

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[tuple[WorkerProcess, FromWorker | None]] = queue.SimpleQueue()
        self._workers: list[WorkerProcess] = []
        self._busy: list[WorkerProcess] = []
        self._stop_reason: str | None = None  # of the run that is under way, from when it was to stop

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    def run(self, jobs: Sequence[Job | Socket]) -> Generator[tuple[int, Interval | Done], None, None]:
        """Run one job per process; yields (process, message) until each has sent its Done.

        Raises LoadError when a process dies or falls silent; all processes are ended then, and when it is closed
        before its end."""
        self._stop_reason = None
        self._bury_dead()
        while len(self._workers) < len(jobs):
            self._workers.append(WorkerProcess(self._messages))
        self._busy = self._workers[: len(jobs)]
        position = {worker: index for index, worker in enumerate(self._busy)}
        # Nothing is reported before there is a connection, and each address may take a timeout to give none.
        silence_s = SILENCE_S + max(job.interval_s + job.timeout_s * len(job.addresses) for job in jobs)
        finished = False
        try:
            for worker, job in zip(self._busy, jobs):
                worker.send(job)
            # It may have been said while processes were started, or before they had the jobs that it was about.
            self._pass_stop_on()
            pending = set(self._busy)
            while pending:
                worker, message = self._next(silence_s, pending)
                if worker not in position:
                    continue
                yield position[worker], message
                if isinstance(message, Done):
                    pending.discard(worker)
                    if message.stopped_early:
                        self.stop(message.stopped_early)
            finished = True
        finally:
            self._busy = []
            if not finished:
                # Whoever still works on this run must not report into the next.
                self.close()

    def _bury_dead(self) -> None:
        """Forget processes that ended while nobody needed them."""
        dead = [worker for worker in self._workers if not worker.alive]
        self._workers = [worker for worker in self._workers if worker.alive]
        for worker in dead:
            worker.close()

    def _next(self, silence_s: float, pending: set[WorkerProcess]) -> tuple[WorkerProcess, Interval | Done]:
        deadline = time.monotonic() + silence_s
        while True:
            try:
                worker, message = self._messages.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise next(iter(pending)).died(f"has said nothing for {silence_s:g} s") from None
            if message is not None:
                return worker, message
            if worker in pending:
                raise worker.died("ended in the middle of a run")

    def stop(self, reason: str = "stopped") -> None:
        """Ask all processes that work to stop early.  May be called from any thread."""
        self._stop_reason = self._stop_reason or reason
        self._pass_stop_on()

    def _pass_stop_on(self) -> None:
        if (reason := self._stop_reason) is None:
            return
        for worker in list(self._busy):
            with contextlib.suppress(LoadError):
                worker.send(Stop(reason=reason))

    def close(self) -> None:
        """End all processes."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.close()
        self._messages = queue.SimpleQueue()
