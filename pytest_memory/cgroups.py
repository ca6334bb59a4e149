"""The control groups a process is in: what a container lets it have.  Floor 5: reads /proc and /sys/fs/cgroup.

Both versions, in the places where the kernel and the container runtimes put them.  What a limit means is the
business of who asks: `heap.headroom` for memory, `load.busy_poll` and `heap.analysis` for CPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


def groups_of(pid: int, controller: str, *, proc: Path = PROC, cgroups: Path = CGROUPS) -> Iterator[Path]:
    """The directories of the groups that bound what ``controller`` ("memory", "cpu") gives the process, innermost
    first; none where the system has no control groups."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        hierarchy, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "", "")
        if hierarchy == "0" and not controllers:
            root = cgroups
        elif controller in controllers.split(","):
            root = cgroups / controller
        else:
            continue
        yield from _upwards(root, path)


def _upwards(root: Path, path: str) -> Iterator[Path]:
    group = root / path.strip("/")
    # A container without a namespace of its own for control groups sees the host's path but only its own files.
    if ".." in group.parts or not group.is_dir():
        group = root
    while True:
        yield group
        if group == root:
            return
        group = group.parent


def usable_cpus() -> int:
    """How many CPUs this process may run on: fewer than the machine has in a cpuset, or under taskset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_cpu_quota(pid: int, *, proc: Path = PROC, cgroups: Path = CGROUPS) -> bool:
    """Whether the process may use only so much CPU time in each period (``docker run --cpus``, a Kubernetes limit)."""
    return any(_has_quota(group) for group in groups_of(pid, "cpu", proc=proc, cgroups=cgroups))


def _has_quota(group: Path) -> bool:
    for name in ("cpu.max", "cpu.cfs_quota_us"):  # "max 100000" and "-1" set no limit
        try:
            first = (group / name).read_text().split()[:1]
        except (OSError, ValueError):
            continue
        if first and first[0].isdigit():
            return True
    return False
