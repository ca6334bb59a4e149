"""Starting the apps in tests/apps, and looking whether something of them is left behind."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from pytest_memory.node.command import ANNOUNCE_VARIABLE, find_node

APPS = Path(__file__).parent.parent / "apps"


def node_under_test() -> str:
    """Path of the node binary to test with: the one PYTEST_MEMORY_TEST_NODE names, else the one the package finds, on
    PATH or in the 'node' extra's package.  Raises ConfigError when there is none."""
    return find_node(os.environ.get("PYTEST_MEMORY_TEST_NODE"))


def wait_until(condition: Callable[[], object], timeout_s: float = 60.0) -> bool:
    """Whether the condition became true in time: for what another process does, which nobody announces.

    The time is what a machine busy with other things may need; it is spent only where something is wrong.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def choose_adjacent_ports(count: int) -> int:
    """The first of so many free ports in a row, below those the system hands out to anybody who asks."""
    for first in random.sample(range(20000, 32000, count), 500):
        try:
            with contextlib.ExitStack() as held:
                for port in range(first, first + count):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        return first
    raise RuntimeError(f"no {count} ports in a row are free between 20000 and 32000")


def marked_processes(announce_prefix: str) -> list[psutil.Process]:
    """Processes whose environment names an announcement file below this prefix."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(ANNOUNCE_VARIABLE, "").startswith(announce_prefix):
                found.append(process)
        except psutil.Error:
            continue
    return found


def leftovers(directory: Path) -> list[str]:
    """What started apps left in their temporary directory; npm's own caches there are its own."""
    return [name for name in os.listdir(directory) if name.startswith("pytest-memory-")]


def is_gone(pid: int) -> bool:
    """Whether no process, or only a zombie, has this pid."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
