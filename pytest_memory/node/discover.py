"""Which process is the app: among wrappers, forked children, cluster workers and whoever else runs beside it.

What it is: reading what the processes announced of themselves, who listens where, and the roles that follow.
What it is not: starting or ending processes (``node.process``, ``node.tree``), attaching (``node.attach``).
Floor 5.

The rule: the app is the process that owns the listening socket of its port; of several owners the one the others
descend from (a cluster's primary).  Where nobody listens, it is the first Node process that is not a wrapper.
Titles and command names are no help: npm and Next.js overwrite theirs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import psutil

Role = Literal["app", "wrapper", "child", "cluster-worker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What the preload of one Node process wrote: ``url`` of its inspector, or why it has none (``refused``)."""

    pid: int
    ppid: int
    argv: tuple[str, ...]
    node_version: str
    wrapper: bool
    url: str | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class WorkerThread:
    """A worker_thread of a process: the inspector's id, its title ("[worker 1] name") and its script."""

    worker_id: str
    title: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process of the app's tree.

    ``node_version`` ("v20.1.0") and ``inspector_url`` are None for programs that are not Node, that were started
    with an emptied environment, or whose inspector was refused.  ``inspector_url`` holds a secret: not for reports.
    """

    pid: int
    ppid: int
    role: Role
    argv: tuple[str, ...]
    node_version: str | None
    inspector_url: str | None
    worker_threads: tuple[WorkerThread, ...] = ()


def read_announcements(path: str) -> dict[int, Announcement]:
    """The announcements in the file, by pid, the newest of each; an unfinished last line is left for later."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return {}
    found: dict[int, Announcement] = {}
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        announcement = parse_announcement(line)
        if announcement is not None:
            found[announcement.pid] = announcement
    return found


def parse_announcement(line: bytes) -> Announcement | None:
    """One line of the file; None for what is not an announcement (the app can write there, too)."""
    try:
        note: Any = json.loads(line)
        return Announcement(
            pid=int(note["pid"]),
            ppid=int(note["ppid"]),
            argv=tuple(str(word) for word in (note["argv"][0], *note["execArgv"], *note["argv"][1:])),
            node_version=str(note["version"]),
            wrapper=bool(note["wrapper"]),
            url=note["url"] if isinstance(note["url"], str) else None,
            refused=note["refused"] if isinstance(note["refused"], str) else None,
        )
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return None


def listening_ports(process: psutil.Process) -> set[int]:
    """TCP ports this process has listening sockets for; empty when it is gone or not ours to look into."""
    try:
        connections = process.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return set()
    return {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN and c.laddr}


def port_owner(port: int) -> psutil.Process | None:
    """Some process of this machine that listens on the port, as far as we may see; None when nobody does."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    for c in connections:
        if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port and c.pid:
            try:
                return psutil.Process(c.pid)
            except psutil.Error:
                continue
    return None


def describe(process: psutil.Process) -> str:
    """``pid 4711 (node server.js)`` for messages."""
    try:
        return f"pid {process.pid} ({' '.join(process.cmdline())[:80] or process.name()})"
    except psutil.Error:
        return f"pid {process.pid}"


def find_app(
    processes: Sequence[psutil.Process], announced: Mapping[int, Announcement], owners: Iterable[int]
) -> psutil.Process | None:
    """The app among ``processes`` (parents first), given the pids that own its listening socket.

    Without owners: the first announced process that is no wrapper, else the first that runs a node binary
    (its environment was emptied, so it could not announce itself), else None.
    """
    owning = set(owners)
    for process in processes:
        if process.pid in owning:
            return process
    for process in processes:
        if process.pid in announced and not announced[process.pid].wrapper:
            return process
    for process in processes:
        if process.pid not in announced and is_node_process(process):
            return process
    return None


def is_node_process(process: psutil.Process) -> bool:
    """Whether the process runs a node binary, whatever it calls itself."""
    try:
        return os.path.basename(process.exe()) in ("node", "nodejs")
    except (psutil.Error, OSError):
        return False


def build_records(
    processes: Sequence[psutil.Process], announced: Mapping[int, Announcement], app_pid: int | None
) -> tuple[ProcessRecord, ...]:
    """A record of each process (parents first); those that vanish under the look are left out."""
    parents: dict[int, int] = {}
    for process in processes:
        try:
            parents[process.pid] = process.ppid()
        except psutil.Error:
            continue
    above_app = set(_ancestors(app_pid, parents))
    records = []
    for process in processes:
        if process.pid in parents:
            role = _role(process, announced.get(process.pid), app_pid, above_app)
            records.append(_record(process, parents[process.pid], role, announced.get(process.pid)))
    return tuple(records)


def _record(process: psutil.Process, ppid: int, role: Role, announcement: Announcement | None) -> ProcessRecord:
    try:
        argv = announcement.argv if announcement else tuple(process.cmdline())
    except psutil.Error:
        argv = ()
    return ProcessRecord(
        pid=process.pid,
        ppid=ppid,
        role=role,
        argv=argv,
        node_version=announcement.node_version if announcement else None,
        inspector_url=announcement.url if announcement else None,
    )


def _role(process: psutil.Process, announcement: Announcement | None, app_pid: int | None, above_app: set[int]) -> Role:
    if process.pid == app_pid:
        return "app"
    if process.pid in above_app or (announcement is not None and announcement.wrapper):
        return "wrapper"
    return "cluster-worker" if _is_cluster_worker(process) else "child"


def _is_cluster_worker(process: psutil.Process) -> bool:
    """Node deletes the variable from process.env before any script runs; the kernel's copy still has it."""
    try:
        return is_node_process(process) and "NODE_UNIQUE_ID" in process.environ()
    except (psutil.Error, OSError):
        return False


def _ancestors(pid: int | None, parents: Mapping[int, int]) -> Iterable[int]:
    while pid is not None and pid in parents:
        pid = parents[pid]
        yield pid
