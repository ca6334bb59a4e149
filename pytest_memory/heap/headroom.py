"""Whether there is room for a heap snapshot: memory for V8 to write it, disk to keep it.  Floor 5: reads /proc.

While V8 writes a snapshot it holds the whole graph in native memory, about ten times the heap, and the process
hardly gives it back.  In a container that is how a healthy app gets killed by the act of looking at it.  This
module finds out how much there is; what follows from too little is the camera's decision.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pytest_memory.cgroups import CGROUPS, PROC, groups_of

SNAPSHOT_MEMORY_FACTOR = 10.0
"""Peak of native memory while writing, in heaps: 9 to 10 on Node 20 and 24 (57 MB heap: +528 and +473 MB)."""

SNAPSHOT_FILE_FACTOR = 2.0
"""Size of the file in heaps: 1.75 for ordinary objects, more for many small ones."""

SNAPSHOT_FILE_FLOOR_BYTES = 8_000_000  # code and built-ins weigh this much however small the heap is

# Version 1 writes "no limit" as the largest multiple of the page size; nobody's memory is near it.
_UNLIMITED = 1 << 60


@dataclass(frozen=True, slots=True)
class MemoryRoom:
    """How much memory a process can still take, and what sets that bound (for messages)."""

    available_bytes: int
    bound_by: str


def needed_memory_bytes(heap_used_bytes: int) -> int:
    """Native memory V8 takes to write a snapshot of a heap of this size."""
    return int(heap_used_bytes * SNAPSHOT_MEMORY_FACTOR)


def expected_file_bytes(heap_used_bytes: int) -> int:
    """About how large the snapshot's file will be."""
    return max(int(heap_used_bytes * SNAPSHOT_FILE_FACTOR), SNAPSHOT_FILE_FLOOR_BYTES)


def read_disk_room(directory: Path) -> int:
    """Bytes free in the file system of ``directory``."""
    return shutil.disk_usage(directory).free


def read_memory_room(pid: int, *, proc: Path = PROC, cgroups: Path = CGROUPS) -> MemoryRoom:
    """The tightest of the machine's available memory and the limits of the control groups ``pid`` is in.

    Page cache that can be dropped counts as available, as it does in MemAvailable.  Swap does not count: an app
    that swaps is not measured but stalled."""
    rooms = [MemoryRoom(_machine_available(proc), "the machine")]
    for group in groups_of(pid, "memory", proc=proc, cgroups=cgroups):
        room = _read_group(group)
        if room is not None:
            rooms.append(room)
    return min(rooms, key=lambda room: room.available_bytes)


def _machine_available(proc: Path) -> int:
    try:
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass  # no Linux, or a kernel before 3.14
    import psutil

    return int(psutil.virtual_memory().available)


def _read_group(group: Path) -> MemoryRoom | None:
    """What one group leaves, or None when it sets no limit."""
    for limit_name, usage_name, cache_key in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, usage = _read_number(group / limit_name), _read_number(group / usage_name)
        if limit is None or usage is None or limit >= _UNLIMITED:
            continue
        droppable = _read_stat(group / "memory.stat", cache_key)
        return MemoryRoom(max(0, limit - usage + droppable), f"the container's limit of {limit / 1e6:,.0f} MB")
    return None


def _read_number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None  # "max", or a group without the memory controller


def _read_stat(file: Path, key: str) -> int:
    try:
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    except (OSError, ValueError):
        pass
    return 0
