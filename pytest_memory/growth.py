"""From the settled readings at both ends of a window to its growth.  Floor 1: values in, values out, no decisions.

Worker threads come and go.  One that ended took its heap along, and must not hide what the others have grown by; one
that replaces it has a heap of its own, which is no growth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_memory.model import Growth, SettledMemory

_METRICS: Mapping[str, Callable[[SettledMemory], float]] = {
    "external": lambda memory: memory.external_bytes,
    "array_buffers": lambda memory: memory.array_buffers_bytes,
    "rss": lambda memory: memory.rss_bytes,
    "native": lambda memory: memory.native_bytes,
}


def window_growth(start: SettledMemory, end: SettledMemory, units: int) -> dict[str, Growth]:
    """Growth by metric: heap_used (worker threads included), external, array_buffers, rss, native."""
    readings = {"heap_used": _heaps(start, end)}
    readings.update({metric: (read(start), read(end)) for metric, read in _METRICS.items()})
    return {
        metric: Growth(metric=metric, start=before, end=after, units=units)
        for metric, (before, after) in readings.items()
    }


def _heaps(start: SettledMemory, end: SettledMemory) -> tuple[float, float]:
    """The heaps at the start and at the end, without what threads that ended and were not replaced took along."""
    if not (_knows_threads(start) and _knows_threads(end)):
        if end.worker_heap_used_bytes < start.worker_heap_used_bytes:
            return start.heap_used_bytes, end.heap_used_bytes  # a thread may have ended: nobody knows which
        before, after = start.worker_heap_used_bytes, end.worker_heap_used_bytes
    else:
        was, now = start.worker_heaps, end.worker_heaps
        ended = sum(size for thread, size in was.items() if thread not in now)
        new = sum(size for thread, size in now.items() if thread not in was)
        lived = [thread for thread in was if thread in now]
        before = sum(was[thread] for thread in lived) + min(ended, new)
        after = sum(now[thread] for thread in lived) + new
    return start.heap_used_bytes + before, end.heap_used_bytes + after


def _knows_threads(memory: SettledMemory) -> bool:
    return sum(memory.worker_heaps.values()) == memory.worker_heap_used_bytes
