"""Locust's master and workers as one load process: for load from more than one machine.  Floor 5: processes.

The master and, unless they are elsewhere, its workers are started here.  They report through `load.locust_bridge`
in the messages of our own load processes, so that the result is the same `LoadResult`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import msgspec

from pytest_memory.errors import ConfigError, LoadError
from pytest_memory.load.locust_path import BRIDGE, PLAN
from pytest_memory.load.messages import Done, FromWorker, Interval, Job, decode_from_worker, frame_length
from pytest_memory.load.pool import worker_environment

# Locust, gevent and a locustfile are imported before a worker says that it is there.
CONNECT_S = 60
STOP_TIMEOUT_S = 10
# Between two reports; when users are stopped, that takes up to Locust's stop timeout.
SILENCE_S = 30.0
END_S = 5.0
_OUTPUT_LINES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """How the master and its workers are laid out.  ``remote_workers`` are started by the user, on other hosts.

    Of ``concurrency`` users every worker gets at least one: a worker without would never send its share."""

    concurrency: int
    local_workers: int = 2
    remote_workers: int = 0
    bind_host: str = "127.0.0.1"
    bind_port: int = 0
    locustfile: Path | None = None
    host: str = ""

    def __post_init__(self) -> None:
        for name in ("local_workers", "remote_workers"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1000:
                raise ConfigError(f"{name} is {value!r}; expected a whole number up to 1000", slug="config-load")
        if self.local_workers + self.remote_workers < 1:
            raise ConfigError(
                "a Locust run needs workers; expected local_workers or remote_workers", slug="config-load"
            )
        if self.remote_workers > self.concurrency:
            raise ConfigError(
                f"remote_workers is {self.remote_workers} and concurrency {self.concurrency}; expected a user or more "
                "for each worker",
                slug="config-load",
            )

    @property
    def workers_here(self) -> int:
        """How many workers are started here: no more than there are users for."""
        return min(self.local_workers, self.concurrency - self.remote_workers)


@dataclass
class LocustRun:
    """One run.  `messages` yields what the master reports; everything started is ended when it is through."""

    cluster: Cluster
    job: Job
    users: int
    spawn_rate: float
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _output: list[str] = field(default_factory=list)
    _finished: bool = False

    def messages(self) -> Generator[Interval | Done, None, None]:
        """Run it.  LoadError when Locust ends early or falls silent."""
        require_locust()
        with tempfile.TemporaryDirectory(prefix="pytest-memory-locust-") as directory:
            read_fd, write_fd = os.pipe()
            try:
                self._start(Path(directory), write_fd)
                os.close(write_fd)
                write_fd = -1
                with os.fdopen(read_fd, "rb") as reports:
                    read_fd = -1
                    yield from self._listen(reports)
            finally:
                for fd in (read_fd, write_fd):
                    if fd >= 0:
                        os.close(fd)
                self._end()

    def stop(self) -> None:
        """End it at once."""
        for process in self._processes:
            with contextlib.suppress(OSError):
                process.terminate()

    def _start(self, directory: Path, report_fd: int) -> None:
        cluster = self.cluster
        port = cluster.bind_port or _free_port(cluster.bind_host)
        files = f"{cluster.locustfile},{BRIDGE}" if cluster.locustfile else str(PLAN)
        locust = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            files,
            "--loglevel",
            "WARNING",
            "--stop-timeout",
            str(STOP_TIMEOUT_S),
        ]
        master = [*locust, "--master", "--headless", "--only-summary", "--host", cluster.host]
        master += ["--master-bind-host", cluster.bind_host, "--master-bind-port", str(port)]
        master += ["--expect-workers", str(cluster.workers_here + cluster.remote_workers)]
        master += ["--expect-workers-max-wait", str(CONNECT_S)]
        master += ["--users", str(self.users), "--spawn-rate", f"{self.spawn_rate:g}"]
        job_file = directory / "job"
        job_file.write_bytes(msgspec.msgpack.encode(self.job))
        # The names of the variables are the bridge's; importing it would import Locust here.
        variables = {"PYTEST_MEMORY_LOCUST_JOB": str(job_file), "PYTEST_MEMORY_LOCUST_REPORT": str(report_fd)}
        self._spawn(master, variables, [report_fd])
        connect_to = "127.0.0.1" if cluster.bind_host in ("0.0.0.0", "*", "") else cluster.bind_host
        worker = [*locust, "--worker", "--master-host", connect_to, "--master-port", str(port)]
        for _ in range(cluster.workers_here):
            self._spawn(worker, {}, [])

    def _spawn(self, command: Sequence[str], variables: dict[str, str], fds: Sequence[int]) -> None:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**worker_environment(), **variables, "PYTEST_MEMORY_LOCUST_CHILD": "1"},
            pass_fds=fds,
        )
        self._processes.append(process)
        threading.Thread(target=self._keep_output, args=(process,), daemon=True).start()

    def _keep_output(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in process.stdout:
                self._output.append(line.decode("utf-8", "replace").rstrip())
                del self._output[:-_OUTPUT_LINES]

    def _listen(self, reports: object) -> Iterator[Interval | Done]:
        messages: queue.SimpleQueue[FromWorker | None] = queue.SimpleQueue()
        threading.Thread(target=_read_frames, args=(reports, messages), daemon=True).start()
        patience_s = CONNECT_S + SILENCE_S
        while True:
            try:
                message = messages.get(timeout=patience_s)
            except queue.Empty:
                raise self._failed(f"has said nothing for {patience_s:g} s") from None
            if message is None:
                raise self._failed("ended in the middle of a run")
            patience_s = SILENCE_S + self.job.interval_s
            self._finished = isinstance(message, Done)
            yield message
            if self._finished:
                return

    def _failed(self, what: str) -> LoadError:
        time.sleep(0.2)  # for the last words
        tail = "\n".join(f"    {line}" for line in self._output)
        status = self._processes[0].poll() if self._processes else None
        return LoadError(
            f"Locust's master {what}; exit status {status}" + (f"\n  last output:\n{tail}" if tail else ""),
            slug="load-worker-died",
        )

    def _end(self) -> None:
        # Locust ends by itself after its last report; after anything else nobody waits for it.
        deadline = time.monotonic() + (END_S if self._finished else 0)
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _read_frames(reports: object, messages: queue.SimpleQueue[FromWorker | None]) -> None:
    read = reports.read  # type: ignore[attr-defined]
    try:
        while len(prefix := read(4)) == 4:
            messages.put(decode_from_worker(read(frame_length(prefix))))
    except (OSError, ValueError, LoadError):
        pass  # told as the end it is
    messages.put(None)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def require_locust() -> None:
    """ConfigError when the extra is not installed."""
    if find_spec("locust") is None:
        raise ConfigError(
            "Locust is not installed; expected it for load from several machines",
            slug="config-load",
            hint="pip install 'pytest-memory[locust]'",
        )
