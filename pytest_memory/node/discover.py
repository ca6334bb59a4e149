"""What the operating system says of processes and ports: the facts ``node.choose`` chooses by.

What it is: psutil, asked gently: processes vanish while they are looked at, and some belong to others.
What it is not: the choice of the app (``node.choose``), starting, ending or attaching.  Floor 5.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Final

import psutil

from pytest_memory.node.choose import Announcement, ProcessFacts, parse_announcements

_NODE_NAME: Final = re.compile(r"node(js)?(-?\d+)?")  # Fedora's /usr/bin/node is node-22


def read_announcements(path: str) -> dict[int, Announcement]:
    """What the Node processes of an app have written of themselves so far, by pid."""
    try:
        with open(path, "rb") as file:
            return parse_announcements(file.read())
    except FileNotFoundError:
        return {}


def gather_facts(processes: Iterable[psutil.Process]) -> list[ProcessFacts]:
    """The facts of each process, in order; those that vanish under the look are left out."""
    found = []
    for process in processes:
        try:
            with process.oneshot():
                facts = ProcessFacts(
                    pid=process.pid,
                    ppid=process.ppid(),
                    argv=tuple(process.cmdline()),
                    runs_node=is_node_process(process),
                    cluster_worker=is_cluster_worker(process),
                )
        except psutil.Error:
            continue
        found.append(facts)
    return found


def is_node_process(process: psutil.Process) -> bool:
    """Whether the process runs a node binary, whatever it calls itself."""
    try:
        return _NODE_NAME.fullmatch(os.path.basename(process.exe())) is not None
    except (psutil.Error, OSError):
        return False


def is_cluster_worker(process: psutil.Process) -> bool:
    """Whether node forked it as a cluster worker.

    Node deletes the variable from process.env before any script runs; the kernel's copy still has it.
    """
    try:
        return is_node_process(process) and "NODE_UNIQUE_ID" in process.environ()
    except (psutil.Error, OSError):
        return False


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
