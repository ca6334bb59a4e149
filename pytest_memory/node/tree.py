"""The processes an app consists of: finding every one of them, and ending them all.

What it is: the process tree by three marks that together survive forks, daemons and reparenting: descent from the
process we started, its session, and the environment variable it was started with.
What it is not: who of them is *the app* (``node.discover``).  Floor 5.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

import psutil

_POLL_S: Final = 0.02
_KILL_TIMEOUT_S: Final = 5.0  # SIGKILL acts at once, except on a process in uninterruptible I/O


class ProcessTree:
    """Every process that belongs to one start of an app.

    ``marker`` is (variable, value) of the environment; None for an app that was not started by us.  Processes once
    seen are remembered (psutil compares the creation time, so a reused pid is never taken for one of them).  Any
    thread may ask: a sampler looks for new processes while the test does.
    """

    def __init__(self, root_pid: int, marker: tuple[str, str] | None) -> None:
        self._root_pid = root_pid
        self._marker = marker
        self._known: dict[int, psutil.Process] = {}
        self._lock = threading.RLock()  # held for reads of /proc, never for a wait
        self.outstayed = False
        """Whether the process that was asked to end outlived the time it was given."""
        self.remember([root_pid])
        self.root = self._known.get(root_pid)
        """The process we started, as it was when it had not been waited for; None when it was gone already."""

    def remember(self, pids: Iterable[int]) -> None:
        """Take pids that belong to the app now: the started process, children just seen; vanished ones are ignored."""
        with self._lock:
            for pid in pids:
                if pid not in self._known or not self._known[pid].is_running():
                    try:
                        self._known[pid] = psutil.Process(pid)
                    except psutil.Error:
                        pass

    def adopt(self, pids: Iterable[int]) -> None:
        """Take pids that said at some time that they belong to the app; they may be a stranger's by now.

        The end of an announced process is not announced, and its pid may be given to anybody, whom we must neither
        measure nor end: who lives under it has to bear the mark himself."""
        with self._lock:
            for pid in pids:
                if pid in self._known and self._known[pid].is_running():
                    continue
                try:
                    process = psutil.Process(pid)
                except psutil.Error:
                    continue
                if self._belongs(process):
                    self._known[pid] = process

    def alive(self) -> list[psutil.Process]:
        """Known processes and their descendants that live (zombies do not), parents before children."""
        with self._lock:
            self._forget_dead()
            find_children = _children_finder()
            waiting = list(self._known)
            while waiting:
                for pid in find_children(waiting.pop()):
                    if pid not in self._known:
                        self.remember([pid])
                        waiting.append(pid)
            self._forget_dead()
            return sorted(self._known.values(), key=lambda process: (_created(process), process.pid))

    def _forget_dead(self) -> None:
        self._known = {pid: process for pid, process in self._known.items() if is_alive(process)}

    def all_alive(self) -> list[psutil.Process]:
        """Like ``alive``, and whoever escaped to another parent: looks at the environment of every process."""
        own = os.getpid()
        with self._lock:
            for process in psutil.process_iter():
                if process.pid != own and process.pid not in self._known and self._belongs(process):
                    self._known[process.pid] = process
            return self.alive()

    def _belongs(self, process: psutil.Process) -> bool:
        if self._marker is None:
            return False
        try:
            if os.getsid(process.pid) == self._root_pid and self._is_own_session():
                return True
            variable, value = self._marker
            return process.environ().get(variable) == value
        except (psutil.Error, OSError):
            return False  # gone, or somebody else's

    def _is_own_session(self) -> bool:
        """Whether the session of the root's number is the root's: reused, the number leads a stranger's."""
        if self.root is None or self.root.is_running():
            return True
        return not psutil.pid_exists(self._root_pid)

    def terminate(self, first: psutil.Process | None, *, timeout_s: float, settle_s: float) -> list[psutil.Process]:
        """End everything: politely the app ``first``, then the rest, then by force.  Returns who is still alive.

        ``first`` alone gets SIGTERM at first: wrappers such as npm hand on the exit status of what they run, and an
        app that hears SIGTERM from us and again from npm takes the second for impatience.  Wrappers have
        ``settle_s`` to follow their app.
        """
        self.outstayed = False
        if first is not None and _send(first, signal.SIGTERM):
            self._wait(lambda: not is_alive(first), timeout_s)
            self.outstayed = is_alive(first)
        self._wait(lambda: not self.alive(), settle_s)
        survivors = self.all_alive()
        if survivors:
            for process in survivors:
                _send(process, signal.SIGTERM)
            self._wait(lambda: not self.alive(), settle_s)
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        while (survivors := self.all_alive()) and time.monotonic() < deadline:
            for process in survivors:
                _send(process, signal.SIGKILL)
            self._wait(lambda: not self.alive(), 0.25)
        return survivors

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs: neither gone, nor a zombie, nor another one under its old pid."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _children_finder() -> Callable[[int], list[int]]:
    """A function from a pid to the pids of its children.

    Linux lists them beside each thread, at a cost that does not grow with the machine (the sampler asks once a
    second); elsewhere one pass over all processes serves the whole look.
    """
    if os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return _read_children
    table: defaultdict[int, list[int]] = defaultdict(list)
    for process in psutil.process_iter():
        try:
            table[process.ppid()].append(process.pid)
        except psutil.Error:
            continue
    return lambda pid: table[pid]


def _read_children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
        except OSError:
            continue  # the thread has ended
    return found


def _created(process: psutil.Process) -> float:
    try:
        return process.create_time()
    except psutil.Error:
        return 0.0


def _send(process: psutil.Process, number: signal.Signals) -> bool:
    try:
        process.send_signal(number)
    except (psutil.Error, OSError):
        return False
    return True
