"""The load process: it dies with its parent, stays as small as it began, and is heard when it breaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from support.apps import is_gone, wait_until
from support.asyncio_app import black_hole
from support.load_target import LoadTarget

from pytest_memory.errors import LoadError
from pytest_memory.load import LoadGenerator, pool
from pytest_memory.load.messages import Job, Socket, Stop

pytestmark = pytest.mark.node

PARENT = """
import sys
from pytest_memory.load import LoadGenerator
load = LoadGenerator(sys.argv[1])
load.run("/health", requests=10)
print(load.worker_pids[0], flush=True)
load.run("/health", duration="60s")
"""


@pytest.fixture
def parent(target: LoadTarget) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", PARENT, target.url], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_the_load_process_dies_with_a_killed_parent(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    worker_pid = int(parent.stdout.readline())
    assert not is_gone(worker_pid)

    parent.kill()

    assert wait_until(lambda: is_gone(worker_pid))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_a_load_process_too_busy_to_read_dies_too(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    # Stopped and continued: what it missed meanwhile must not be lost.
    worker.suspend()
    parent.kill()
    worker.resume()

    assert wait_until(lambda: is_gone(worker.pid))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_the_end_of_a_thread_is_not_the_end_of_the_parent(load: LoadGenerator) -> None:
    with LoadGenerator(load.base_url) as fresh:
        thread = threading.Thread(target=lambda: fresh.run("/health", requests=5))
        thread.start()
        thread.join()
        [pid] = fresh.worker_pids

        assert fresh.run("/health", requests=5).ok
        assert fresh.worker_pids == [pid]


def test_closing_leaves_no_process(target: LoadTarget) -> None:
    load = LoadGenerator(target.url, workers=2)
    load.run("/health", requests=10)
    pids = load.worker_pids
    assert len(pids) == 2

    load.close()

    assert all(is_gone(pid) for pid in pids)
    assert load.run("/health", requests=10).ok  # and it can be used again
    load.close()


def test_a_load_process_that_is_killed_is_reported(target: LoadTarget) -> None:
    with LoadGenerator(target.url) as load:
        loaded = threading.Event()
        running = load.start("/health", duration="60s", interval="50ms", progress=lambda seen: loaded.set())
        assert loaded.wait(10)
        os.kill(load.worker_pids[0], signal.SIGKILL)

        with pytest.raises(LoadError, match=r"ended in the middle of a run; exit status -9"):
            running.wait(10)
        assert load.worker_pids == []
        assert load.run("/health", requests=5).ok


def test_a_load_process_that_died_between_runs_is_replaced(target: LoadTarget) -> None:
    with LoadGenerator(target.url) as load:
        load.run("/health", requests=5)
        os.kill(load.worker_pids[0], signal.SIGKILL)
        assert wait_until(lambda: is_gone(load.worker_pids[0]))

        assert load.run("/health", requests=5).ok


def test_ctrl_c_ends_the_run_and_the_process(target: LoadTarget) -> None:
    def interrupt(seen: object) -> None:
        raise KeyboardInterrupt

    with LoadGenerator(target.url) as load:
        with pytest.raises(KeyboardInterrupt):
            load.run("/health", duration="60s", interval="50ms", progress=interrupt)
        assert load.worker_pids == []
        assert wait_until(lambda: target.counts()["open"] == 0)


def test_a_run_is_over_when_its_exception_comes_though_somebody_keeps_that(target: LoadTarget) -> None:
    def fail(seen: object) -> None:
        raise ValueError("no good")

    with LoadGenerator(target.url) as load:
        with pytest.raises(ValueError, match="no good") as kept:
            load.run("/health", duration="60s", interval="50ms", progress=fail)
        assert load.worker_pids == []
        assert wait_until(lambda: target.counts()["open"] == 0)
        target.get("/reset")

        result = load.run("/health", requests=30)

    assert (result.requests, target.counts()["requests"]) == (30, 30)
    assert kept.value.args == ("no good",)


@pytest.mark.parametrize("when", ["a process is started", "the first job is sent"])
def test_a_run_can_be_stopped_before_it_has_quite_begun(
    target: LoadTarget, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """As by another thread, whose turn comes at the worst of times."""
    said: list[str] = []

    def stop_once(now: str) -> None:
        if now == when and not said:
            said.append(now)
            load.stop()

    class Process(pool.WorkerProcess):
        def __init__(self, messages: Any) -> None:
            super().__init__(messages)
            stop_once("a process is started")

        def send(self, message: Job | Socket | Stop) -> None:
            if isinstance(message, Job):
                stop_once("the first job is sent")
            super().send(message)

    monkeypatch.setattr(pool, "WorkerProcess", Process)
    with LoadGenerator(target.url, workers=2, concurrency=2) as load:
        result = load.run("/health", duration="20s", rate=20)

        assert said == [when]
        assert result.stopped_early == "stopped"
        assert result.duration_s < 10
        # It is said of this run only.
        assert load.run("/health", requests=10).ok


def test_two_runs_at_once_need_two_generators(load: LoadGenerator) -> None:
    running = load.start("/slow?ms=300", requests=1, concurrency=1)
    try:
        assert wait_until(lambda: load._driver._lock.locked())
        with pytest.raises(LoadError, match="one at a time"):
            load.run("/health", requests=1)
    finally:
        assert running.wait(10).ok


def test_memory_stays_flat(target: LoadTarget) -> None:
    """Counters, not lists: twenty thousand requests more must not make the process larger."""
    with LoadGenerator(target.url, concurrency=20) as load:
        load.run("/item/{n}", requests=10_000)
        process = psutil.Process(load.worker_pids[0])
        before = process.memory_info().rss
        load.run("/item/{n}", requests=20_000)
        load.run("/health", requests=2_000, keep_alive=False)
        load.run("/big", requests=300, abort_after="10KB")

        assert process.memory_info().rss - before < 3_000_000


def test_importing_the_package_is_light() -> None:
    heavy = ("httpx", "httptools", "msgspec", "asyncio", "websocket")
    script = f"import sys, pytest_memory.load; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(sys.platform != "linux", reason="a full queue refuses connections elsewhere")
def test_a_host_that_swallows_connections_is_no_dead_load_process(
    load: LoadGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    load.run("/health", requests=1)
    monkeypatch.setattr(pool, "SILENCE_S", 1.0)
    with black_hole() as (host, port), pytest.raises(LoadError, match=r"no connection to 127\.0\.0\.1"):
        load.run(f"http://{host}:{port}/", requests=1, timeout="1500ms", interval="100ms")


def test_the_load_process_does_not_import_what_it_does_not_need(load: LoadGenerator) -> None:
    load.run("/health", requests=1)
    maps = psutil.Process(load.worker_pids[0]).memory_maps()
    assert not [one.path for one in maps if "numpy" in one.path or "httpx" in one.path]
