"""The process tree with real processes that are no Node: threads that look together, pids that come back."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest

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
