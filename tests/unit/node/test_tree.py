"""The process tree with real processes that are no Node: threads that look together, pids that come back."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest

from pytest_memory.node import guardian
from pytest_memory.node import tree as tree_module
from pytest_memory.node.tree import ProcessTree

Sleep = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def sleep() -> Iterator[Sleep]:
    """Start a process that does nothing; ended afterwards."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**options: bool) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "300"], **options))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for popen in started:
        popen.kill()
        popen.wait()


def test_a_process_found_by_one_thread_does_not_break_the_look_of_another(
    sleep: Sleep, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, found = sleep(), sleep()
    tree = ProcessTree(root.pid, None)
    others: list[threading.Thread] = []
    is_alive = tree_module.is_alive

    def look(process: psutil.Process) -> bool:
        if not others:
            others.append(threading.Thread(target=tree.remember, args=([found.pid],)))
            others[0].start()
            others[0].join(0.2)  # it has come between, or waits for its turn
        return is_alive(process)

    monkeypatch.setattr(tree_module, "is_alive", look)
    tree.alive()
    others[0].join()
    assert {process.pid for process in tree.alive()} == {root.pid, found.pid}


def test_the_session_of_a_stranger_under_the_roots_old_pid_is_not_the_apps(
    sleep: Sleep, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, stranger = sleep(start_new_session=True), sleep(start_new_session=True)
    tree = ProcessTree(root.pid, ("PYTEST_MEMORY_TEST_MARK", "nobody has it"))
    root.kill()
    root.wait()
    monkeypatch.setattr(tree, "_root_pid", stranger.pid)  # as if the kernel had given it away again
    tree.adopt([stranger.pid])
    assert tree.all_alive() == []


def test_the_session_of_a_root_that_ended_is_still_the_apps() -> None:
    shell = ["sh", "-c", "sleep 300 & echo $!"]
    with subprocess.Popen(shell, start_new_session=True, stdout=subprocess.PIPE, text=True) as root:
        tree = ProcessTree(root.pid, ("PYTEST_MEMORY_TEST_MARK", "nobody has it"))
        assert root.stdout is not None
        left = int(root.stdout.readline())
        root.wait()
        try:
            assert [process.pid for process in tree.all_alive()] == [left]
            assert tree.terminate(None, timeout_s=5, settle_s=0.1) == []
        finally:
            tree.terminate(None, timeout_s=0, settle_s=0)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc on this machine")
def test_the_guardian_knows_the_apps_session_by_when_its_leader_started(sleep: Sleep) -> None:
    leader = sleep(start_new_session=True)
    started = guardian.started_at(leader.pid)
    assert started.isdigit()
    own = {leader.pid: started}
    assert guardian._parse_sessions([f"{leader.pid}:{started}", "junk"]) == own
    assert leader.pid in guardian._find(own, b"no such mark")
    assert leader.pid in guardian._find({leader.pid: ""}, b"no such mark")
    assert guardian._find({leader.pid: "1"}, b"no such mark") == set()
    leader.kill()
    leader.wait()
    assert guardian._is_own(leader.pid, started)
