"""What the operating system says of processes and ports: the facts ``node.choose`` chooses by.

What it is: psutil, asked gently: processes vanish while they are looked at, and some belong to others.
What it is not: the choice of the app (``node.choose``), starting, ending or attaching.  Floor 5.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import threading
from collections.abc import Iterable, Sequence
from typing import Final

import psutil

from pytest_memory.node.choose import Announcement, ProcessFacts, parse_announcements

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LOOPBACK_OF: Final[dict[Address, Address]] = {
    ipaddress.IPv4Address(0): ipaddress.ip_address("127.0.0.1"),  # what 0.0.0.0 reaches, as dev servers print it
    ipaddress.IPv6Address(0): ipaddress.ip_address("::1"),
}
_NODE_NAME: Final = re.compile(r"node(js)?(-?\d+)?")  # Fedora's /usr/bin/node is node-22


class AnnouncementFile:
    """What the Node processes of an app write of themselves, read as it grows: many an app starts thousands of them,
    and is looked at every second.  Any thread may read."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._offset = 0
        self._found: dict[int, Announcement] = {}

    def read(self) -> dict[int, Announcement]:
        """The announcements so far, by pid: the same object as before when there is no new one; not to be changed."""
        with self._lock:
            try:
                with open(self._path, "rb") as file:
                    file.seek(self._offset)
                    data = file.read()
            except FileNotFoundError:
                return self._found
            whole = data[: data.rfind(b"\n") + 1]
            if found := parse_announcements(whole):
                self._found = self._found | found
            self._offset += len(whole)
            return self._found


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


def port_owner(port: int, addresses: Sequence[Address] = ()) -> psutil.Process | None:
    """Some process of this machine that listens on the port, as far as we may see; None when nobody does.

    Given ``addresses``, who is reached at the first of them that somebody listens at."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    listening = [
        (_parse_address(c.laddr.ip), c.pid)
        for c in connections
        if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port
    ]
    if addresses:
        reached = (_reached_at(address, listening) for address in addresses)
        listening = next(filter(None, reached), [])
    for _, pid in listening:
        try:
            if pid:  # another user's process has none for us
                return psutil.Process(pid)
        except psutil.Error:
            continue
    return None


def _reached_at(address: Address, listening: Iterable[tuple[Address, int | None]]) -> list[tuple[Address, int | None]]:
    """Those of the listening that a connection to the address gets to: the kernel prefers the exact one."""
    wildcards = [ipaddress.ip_address("0.0.0.0"), ipaddress.ip_address("::")]
    for bound in (address, *wildcards[address.version == 6 :]):
        if found := [one for one in listening if one[0] == bound]:
            return found
    return []


def addresses_of(host: str) -> list[Address]:
    """What a host name stands for, in the order in which clients try it; empty when nobody knows it."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    addresses = (_parse_address(str(sockaddr[0])) for *_, sockaddr in found)
    return list(dict.fromkeys(_LOOPBACK_OF.get(address, address) for address in addresses))


def is_own_address(address: Address) -> bool:
    """Whether a connection to the address stays on this machine."""
    if address.is_loopback:
        return True
    own = (a for addresses in psutil.net_if_addrs().values() for a in addresses)
    return any(_parse_address(a.address) == address for a in own if a.family in (socket.AF_INET, socket.AF_INET6))


def _parse_address(text: str) -> Address:
    """Without a zone; an IPv4 address that is written as an IPv6 one is an IPv4 address."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def describe(process: psutil.Process) -> str:
    """``pid 4711 (node server.js)`` for messages."""
    try:
        return f"pid {process.pid} ({' '.join(process.cmdline())[:80] or process.name()})"
    except psutil.Error:
        return f"pid {process.pid}"
