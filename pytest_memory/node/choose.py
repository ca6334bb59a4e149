"""Which process is the app: among wrappers, forked children, cluster workers and whoever else runs beside it.

What it is: the choice, as a function of facts: what each process announced of itself, who descends from whom, who
owns the listening socket.
What it is not: the gathering of those facts (``node.discover``).  Floor 2: no I/O.

The rule: the app is the process that owns the listening socket of its port; of several owners the one the others
descend from (a cluster's primary).  Where nobody listens there, it is one that listens on another port, else the first
Node process that is not a wrapper.
Titles and command names are no help: npm and Next.js overwrite theirs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["app", "wrapper", "child", "cluster-worker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What the preload of one Node process wrote: ``url`` of its inspector, or why it has none (``refused``).

    ``wrapper`` is true for npm and its kin, which start the app and are not measured.
    """

    pid: int
    ppid: int
    argv: tuple[str, ...]
    node_version: str
    wrapper: bool
    url: str | None
    refused: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """What the operating system says of a process; ``runs_node``: its binary is node, whatever it calls itself."""

    pid: int
    ppid: int
    argv: tuple[str, ...]
    runs_node: bool
    cluster_worker: bool


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


def parse_announcements(data: bytes) -> dict[int, Announcement]:
    """The announcements in a file's bytes, by pid, the newest of each; an unfinished last line is left for later."""
    found: dict[int, Announcement] = {}
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        announcement = _parse_announcement(line)
        if announcement is not None:
            found[announcement.pid] = announcement
    return found


def _parse_announcement(line: bytes) -> Announcement | None:
    """None for what is not an announcement: the app can write to the file, too."""
    try:
        note: Any = json.loads(line)
        executable, *arguments = (str(word) for word in note["argv"])
        return Announcement(
            pid=int(note["pid"]),
            ppid=int(note["ppid"]),
            argv=(executable, *(str(word) for word in note["execArgv"]), *arguments),
            node_version=str(note["version"]),
            wrapper=bool(note["wrapper"]),
            url=note["url"] if isinstance(note["url"], str) else None,
            refused=note["refused"] if isinstance(note["refused"], str) else None,
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def choose_app(
    processes: Sequence[ProcessFacts], announced: Mapping[int, Announcement], owners: Collection[int]
) -> int | None:
    """The pid of the app among ``processes`` (parents before children), given who owns its listening socket.

    Without an owner: the first announced process that is no wrapper, else the first that runs node (it was started
    with an emptied environment, so it could not announce itself), else None.
    """
    for process in processes:
        if process.pid in owners:
            return process.pid
    for process in processes:
        announcement = announced.get(process.pid)
        if announcement is not None and not announcement.wrapper:
            return process.pid
    for process in processes:
        if process.runs_node and process.pid not in announced:
            return process.pid
    return None


def assign_roles(
    processes: Sequence[ProcessFacts],
    announced: Mapping[int, Announcement],
    app_pid: int | None,
    inspectors: Mapping[int, str],
) -> tuple[ProcessRecord, ...]:
    """A record of each process, in the given order; ``inspectors`` are the ws:// URLs known by pid.

    Wrappers are the ancestors of the app and those that announced themselves as such; what is neither the app nor
    a wrapper nor a cluster worker is a child, also where it is the app's sibling (``concurrently``).
    """
    wrappers = set(_ancestors(app_pid, {process.pid: process.ppid for process in processes}))
    wrappers.update(pid for pid, announcement in announced.items() if announcement.wrapper)
    records = []
    for process in processes:
        announcement = announced.get(process.pid)
        record = ProcessRecord(
            pid=process.pid,
            ppid=process.ppid,
            role=_role(process, app_pid, wrappers),
            argv=announcement.argv if announcement else process.argv,
            node_version=announcement.node_version if announcement else None,
            inspector_url=inspectors.get(process.pid),
        )
        records.append(record)
    return tuple(records)


def _role(process: ProcessFacts, app_pid: int | None, wrappers: Collection[int]) -> Role:
    if process.pid == app_pid:
        return "app"
    if process.pid in wrappers:
        return "wrapper"
    return "cluster-worker" if process.cluster_worker else "child"


def _ancestors(pid: int | None, parents: Mapping[int, int]) -> Iterator[int]:
    seen: set[int] = set()
    while pid is not None and pid in parents and pid not in seen:
        seen.add(pid)
        pid = parents[pid]
        yield pid
