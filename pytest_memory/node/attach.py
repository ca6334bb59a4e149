"""Attaching to a Node process that somebody else started: by inspector address, pid, or the URL it serves.

What it is: finding the inspector of a foreign process, asking for one by SIGUSR1 where there is none, and giving it
back as it was.
What it is not: a way to end that process; ``stop`` only detaches.  Floor 5.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import signal
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import psutil

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.cdp.transport import fetch_inspector_urls, parse_ws_url
from pytest_memory.errors import AppError, InspectorError, PytestMemoryWarning
from pytest_memory.node.choose import Announcement
from pytest_memory.node.discover import (
    addresses_of,
    describe,
    is_cluster_worker,
    is_node_process,
    is_own_address,
    listening_ports,
    port_owner,
)
from pytest_memory.node.output import AppOutput
from pytest_memory.node.spec import AppSpec, AttachTarget
from pytest_memory.node.tree import ProcessTree, is_alive

DEFAULT_INSPECTOR_PORT: Final = 9229
_FETCH_TIMEOUT_S = 2.0
_SIGNAL_TIMEOUT_S = 3.0  # the inspector opens within milliseconds, from a thread that a busy loop does not hold up
_POLL_S = 0.02
_SIGNAL_INTERVAL_S = 0.5
_START_TOLERANCE_S = 2.0  # the kernel and node round, and start node's clock a moment apart; clocks are stepped
# When it started, in seconds since 1970: by the clock as it is now, and as it was then.  A clock that was stepped since
# shifts the one, a machine that slept (which the uptime leaves out) the other.
_WHO = "[process.pid, Date.now() / 1e3 - process.uptime(), (globalThis.performance?.timeOrigin ?? 0) / 1e3]"
_QUIET_FLAG = re.compile(r"--inspect-(?:port|publish-uid)")  # open nothing by themselves
_INSPECT_PORT_FLAG = re.compile(r"--inspect-port=(?:.*:)?(\d+)")

# Node answers to nothing while it closes its inspector, so it does that after we have gone.
_CLOSE_INSPECTOR = "((i) => { setTimeout(() => i.close(), 50) })(require('inspector'))"
_MOVE_INSPECTOR = "((i) => { setTimeout(() => { i.close(); i.open(0, '127.0.0.1') }, 50) })(require('inspector'))"
_PRECISE = """((v8, major) => {
  for (const flag of ['--no-opt', '--no-sparkplug', '--no-flush-bytecode'].concat(major >= 20 ? ['--no-maglev'] : []))
    v8.setFlagsFromString(flag);
})(require('v8'), Number(process.versions.node.split('.')[0]))"""


class Attachment:
    """A running app we look into.  ``stop`` leaves it running, with its inspector closed if we had opened it."""

    output: AppOutput
    exit_status = None

    def __init__(self, spec: AppSpec) -> None:
        """Find the process and its inspector, and check that they belong together.

        Raises AppError[app-not-found], InspectorError.
        """
        target = spec.attach_target
        if target is None:
            raise ValueError("nothing to attach to")
        self.spec = spec
        self.output = AppOutput()
        self._opened: dict[int, str] = {}
        self._found: dict[int, str | InspectorError] = {}
        try:
            self._attach(spec, target)
        except BaseException:
            self.stop()  # a foreign app is left as it was, its inspector closed
            raise

    def _attach(self, spec: AppSpec, target: AttachTarget) -> None:
        pid, ws_url = self._locate(target)
        with InspectorClient.connect(ws_url) as client:
            told_pid, *started_s = client.evaluate(_WHO)
            if pid is not None and told_pid != pid:
                raise InspectorError(
                    f"the inspector at hand belongs to pid {told_pid}, not to {pid}", slug="inspector-refused"
                )
            if spec.precise:
                client.evaluate(_PRECISE)
        self._app = _local_process(told_pid, spec.label)
        if pid is None and not _is_same(self._app, parse_ws_url(ws_url)[1], started_s):
            raise _elsewhere(spec.label, told_pid, f"pid {told_pid} of this machine is not known to be it")
        self._found[told_pid] = ws_url
        self._tree = ProcessTree(told_pid, None)
        for process in self.processes():
            if is_cluster_worker(process):
                self._look(process)
        self.url = spec.url or (target.value.rstrip("/") if target.kind == "url" else self._guess_url(ws_url))

    def _locate(self, target: AttachTarget) -> tuple[int | None, str]:
        """The pid, where it is known, and the ws:// URL of the target's inspector."""
        if target.kind == "ws":
            warn_unless_loopback(parse_ws_url(target.value)[0])
            return None, target.value
        host, port = target.host_port if target.kind != "pid" else ("", 0)
        if target.kind == "address":
            warn_unless_loopback(host)
            urls = fetch_inspector_urls(host, port, timeout_s=_FETCH_TIMEOUT_S)
            if not urls:
                raise InspectorError(f"{host}:{port} lists no inspector", slug="inspector-refused")
            return None, urls[0]
        process = _process_of_url(target.value, host, port) if target.kind == "url" else _process_of_pid(target.value)
        return process.pid, self._find_or_open(process)

    def _find_or_open(self, process: psutil.Process) -> str:
        url, opened = find_or_open_inspector(process, relayed=self._is_signalled(process))
        if opened:
            self._opened[process.pid] = url
        return url

    def _is_signalled(self, process: psutil.Process) -> bool:
        try:
            return process.ppid() in self._opened
        except psutil.Error:
            return False

    def _look(self, process: psutil.Process) -> None:
        """Find a process's inspector, or the reason why it has none, and remember either.

        Asked by SIGUSR1 are the app and its cluster workers alone: a child may use the signal for itself.
        """
        if self._is_signalled(process):
            self._claim_relayed(process.ppid())
        if process.pid in self._found:
            return
        try:
            if process == self._app or is_cluster_worker(process):
                self._found[process.pid] = self._find_or_open(process)
            else:
                self._found[process.pid] = find_open_inspector(process) or InspectorError(
                    f"{describe(process)} has no inspector open", slug="inspector-refused"
                )
        except InspectorError as error:
            self._found[process.pid] = error

    def _claim_relayed(self, primary: int) -> None:
        """Move the one worker off the default port that got it when its primary passed SIGUSR1 on to all."""
        for worker in psutil.Process(primary).children():
            if worker.pid not in self._found and DEFAULT_INSPECTOR_PORT in listening_ports(worker):
                self._found[worker.pid] = self._find_or_open(worker)

    def _guess_url(self, ws_url: str) -> str | None:
        ports = listening_ports(self._app) - {parse_ws_url(ws_url)[1]}
        return f"http://127.0.0.1:{ports.pop()}" if len(ports) == 1 else None

    @property
    def pid(self) -> int:
        """The process attached to."""
        return self._app.pid

    @property
    def alive(self) -> bool:
        return is_alive(self._app)

    @property
    def announced(self) -> dict[int, Announcement]:
        """Nobody announces: the preload is for apps we start."""
        return {}

    def processes(self) -> list[psutil.Process]:
        """The app and its descendants, parents first."""
        return self._tree.alive()

    @property
    def inspectors(self) -> dict[int, str]:
        """The ws:// URLs found so far, by pid."""
        return {pid: found for pid, found in self._found.items() if isinstance(found, str)}

    def find_inspector(self, pid: int) -> str:
        """The ws:// URL of a process of the app; InspectorError[inspector-refused] with the reason when none."""
        if pid not in self._found:
            self._look(_process_of_pid(str(pid)))
        found = self._found[pid]
        if isinstance(found, InspectorError):
            raise InspectorError(found.message, slug=found.slug, hint=found.hint)
        return found

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the app to end; its status is its parent's to know, so always None.

        Looked at, not waited for: this process may be the parent, and a status is handed out once."""
        deadline = time.monotonic() + timeout_s
        while is_alive(self._app) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return None

    def stop(self) -> None:
        """Detach: close the inspectors we had opened (idempotent)."""
        for pid, url in list(self._opened.items()):
            try:
                with InspectorClient.connect(url) as client:
                    client.evaluate(_CLOSE_INSPECTOR)
            except InspectorError:
                pass  # the process has ended, or closed it by itself
            self._opened.pop(pid, None)


def find_open_inspector(process: psutil.Process) -> str | None:
    """The ws:// URL of an inspector the process has open where one may be expected, without disturbing anybody."""
    return _probe_ports(_likely_inspector_ports(process, listening_ports(process)))


def find_or_open_inspector(process: psutil.Process, *, relayed: bool = False) -> tuple[str, bool]:
    """The ws:// URL of a local process's inspector, and whether it was opened by us (SIGUSR1).

    ``relayed``: its cluster primary was signalled and has passed that on, so one open at the default port is ours.
    Raises InspectorError[inspector-refused] when the process cannot or will not open one.
    """
    before = listening_ports(process)
    if url := find_open_inspector(process):
        return (_move_inspector(process, url, before), True) if relayed else (url, False)
    if url := _open_by_signal(process, before):
        return url, True
    # An inspector on an unusual port ignores the signal.  Last, because this asks the app's own port as well.
    if url := _probe_ports(before):
        return url, False
    raise _no_inspector(process)


def _likely_inspector_ports(process: psutil.Process, ports: set[int]) -> set[int]:
    """Those of its listening ports that may be its inspector's: all of them where a flag asked for one."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return set()
    if any(word.startswith("--inspect") and not _QUIET_FLAG.match(word) for word in words):
        return ports
    # Cluster workers are told the port to use should their primary's inspector be open.
    return ports & {*_told_ports(words), *range(DEFAULT_INSPECTOR_PORT, DEFAULT_INSPECTOR_PORT + 10)}


def _told_ports(words: Iterable[str]) -> list[int]:
    return [int(match[1]) for word in words if (match := _INSPECT_PORT_FLAG.fullmatch(word))]


def _signal_port(process: psutil.Process) -> int:
    """The port SIGUSR1 opens: the one a flag names (the last counts; 0 is any), else node's default."""
    try:
        return (_told_ports(process.cmdline()) or [DEFAULT_INSPECTOR_PORT])[-1]
    except psutil.Error:
        return DEFAULT_INSPECTOR_PORT


def _open_by_signal(process: psutil.Process, before: set[int]) -> str | None:
    """Have node open its inspector, and move it off the one port that SIGUSR1 can open, for the next process."""
    began = time.monotonic()
    signalled = -math.inf
    while (now := time.monotonic()) < began + _SIGNAL_TIMEOUT_S:
        if now > signalled + _SIGNAL_INTERVAL_S:  # again, for the port may have been another process's till now
            _send_sigusr1(process)
            signalled = now
        if not is_alive(process):
            raise AppError(f"{describe(process)} ended when asked for its inspector", slug="app-died")
        if url := _probe_ports(listening_ports(process) - before):
            return _move_inspector(process, url, before)
        time.sleep(_POLL_S)
    return None


def _move_inspector(process: psutil.Process, url: str, before: set[int]) -> str:
    """The URL of the inspector on a random port; the old one when it does not come up there."""
    with InspectorClient.connect(url) as client:
        client.evaluate(_MOVE_INSPECTOR)
    old = before | {parse_ws_url(url)[1]}
    deadline = time.monotonic() + _SIGNAL_TIMEOUT_S
    while time.monotonic() < deadline:
        if moved := _probe_ports(listening_ports(process) - old):
            return moved
        time.sleep(_POLL_S)
    return url


def _no_inspector(process: psutil.Process) -> InspectorError:
    port = _signal_port(process)
    holder = port_owner(port)
    if holder is not None and holder.pid != process.pid:
        hint = f"port {port}, which SIGUSR1 opens, is taken by {describe(holder)}"
    else:
        hint = "a SIGUSR1 handler of the app, or --permission, keeps node from opening one: start it with --inspect"
    return InspectorError(
        f"{describe(process)} opened no inspector within {_SIGNAL_TIMEOUT_S:g} s after SIGUSR1",
        slug="inspector-refused",
        hint=hint,
    )


def _send_sigusr1(process: psutil.Process) -> None:
    if not is_node_process(process):
        raise InspectorError(f"{describe(process)} does not run node", slug="inspector-refused")
    if not _catches_sigusr1(process.pid):
        # Node ignores it under --disable-sigusr1; a node that has not installed its handler yet would die of it.
        raise InspectorError(
            f"{describe(process)} does not listen to SIGUSR1",
            slug="inspector-refused",
            hint="it was started with --disable-sigusr1, or a moment ago; start it with --inspect",
        )
    try:
        process.send_signal(signal.SIGUSR1)
    except psutil.Error as error:
        raise InspectorError(f"{describe(process)} cannot be signalled: {error}", slug="inspector-refused") from error


def _catches_sigusr1(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True  # no /proc: nothing known against it
    match = re.search(r"^SigCgt:\s*([0-9a-f]+)", status, re.MULTILINE)
    return match is None or bool(int(match[1], 16) >> (signal.SIGUSR1 - 1) & 1)


def _probe_ports(ports: Iterable[int]) -> str | None:
    for port in ports:
        for host in ("127.0.0.1", "::1"):
            try:
                urls = fetch_inspector_urls(host, port, timeout_s=_FETCH_TIMEOUT_S)
            except InspectorError:
                continue
            if urls:
                return urls[0]
    return None


def _process_of_pid(text: str) -> psutil.Process:
    try:
        return psutil.Process(int(text))
    except (psutil.Error, OverflowError) as error:
        raise AppError(f"there is no process {text} to attach to", slug="app-not-found") from error


def _process_of_url(url: str, host: str, port: int) -> psutil.Process:
    addresses = addresses_of(host)
    own = [address for address in addresses if is_own_address(address)]
    if not own:
        resolved = ", ".join(map(str, addresses))
        named = host if resolved in ("", host) else f"{host} ({resolved})"
        found = "is no address of this machine" if addresses else "has no address that is known here"
        raise AppError(
            f"the app at {url!r} cannot be measured from here: {named} {found}",
            slug="app-not-found",
            hint="run the tests where the app runs; if it runs here behind a proxy, attach by its pid or by "
            "--memory-inspector=HOST:PORT, which needs its inspector open there",
        )
    process = port_owner(port, own)
    if process is None:
        raise AppError(
            f"no process of this machine, as far as visible to user {os.getuid()}, listens on the port of {url!r}",
            slug="app-not-found",
            hint="give its inspector's HOST:PORT or its pid instead",
        )
    return process


def _local_process(pid: int, label: str) -> psutil.Process:
    try:
        return psutil.Process(pid)
    except psutil.Error as error:
        raise _elsewhere(label, pid, "this machine has no such process") from error


def _elsewhere(label: str, pid: int, why: str) -> AppError:
    return AppError(
        f"{label!r} is pid {pid} where it runs, and {why}",
        slug="app-not-found",
        hint="run the tests where the app runs (in its container): its RSS and its processes can only be read there",
    )


def _is_same(process: psutil.Process, inspector_port: int, started_s: Iterable[float]) -> bool:
    """Whether a process of this machine is the app that an inspector named by its pid.

    A container counts its own pids, and pid 1 is there on every machine.  It is the app if it listens at the
    inspector's port, or runs node and started within _START_TOLERANCE_S of when the app says that it did.  (A shell
    that becomes node by exec is older than node; such an app is known by its port.)"""
    if inspector_port in listening_ports(process):
        return True
    try:
        created_s = process.create_time()
    except psutil.Error:
        return False
    return is_node_process(process) and any(abs(created_s - one) <= _START_TOLERANCE_S for one in started_s)


def warn_unless_loopback(host: str) -> None:
    """Warn of an inspector whose address other machines can reach."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        warnings.warn(
            PytestMemoryWarning(
                f"the inspector at {host} is reachable beyond this machine: whoever reaches it can run code in the app",
                slug="inspector-not-loopback",
            ),
            stacklevel=2,
        )
