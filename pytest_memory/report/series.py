"""Time series made small enough to look at, without losing a peak.  Floor 4: numbers in, numbers out; no words.

A chart is a thousand pixels wide, a run ten thousand samples long.  `thin` keeps the lowest and the highest value
of every bucket, so that a spike of one sample is still drawn; ``None`` (not measured) stays a gap.
"""

from __future__ import annotations

import bisect
import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from pytest_memory.model import GcEvent, Latency, LoadPoint, LoadStats, Sample

DEFAULT_POINTS = 400  # two values (lowest, highest) for each 2-3 pixels of a wide chart
STALE_S = 5.0
"""A process without a sample for so long is no part of what an app has now."""

_WORKERS_EVERY_S = 1.0  # the sampler asks worker threads no more often
_ANSWERS_STAND = 2.5
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Values over time: ``times`` in seconds, ``values`` in the unit of the source, ``None`` where unmeasured."""

    times: tuple[float, ...] = ()
    values: tuple[float | None, ...] = ()

    def __bool__(self) -> bool:
        return any(value is not None for value in self.values)


def thin(times: Sequence[float], values: Sequence[float | None], points: int = DEFAULT_POINTS) -> Series:
    """At most about ``points`` of the given points, among them the first, the last and every bucket's extremes.

    Each bucket gives its lowest and highest value in the order they were measured, and a gap if most of it is one."""
    if len(values) <= points:
        return Series(times=tuple(times), values=tuple(values))
    keep: list[int] = [0]
    buckets = max(1, (points - 2) // 2)
    for bucket in range(buckets):
        start = 1 + bucket * (len(values) - 2) // buckets
        stop = 1 + (bucket + 1) * (len(values) - 2) // buckets
        keep.extend(_extremes(values, start, stop))
    keep.append(len(values) - 1)
    return Series(times=tuple(times[index] for index in keep), values=tuple(values[index] for index in keep))


def _extremes(values: Sequence[float | None], start: int, stop: int) -> list[int]:
    window = values[start:stop]
    known = [value for value in window if value is not None]
    if not known:
        return [start]
    chosen = {start + window.index(min(known)), start + window.index(max(known))}
    if 2 * len(known) < len(window):
        chosen.add(start + window.index(None))
    return sorted(chosen)


def process_totals(samples: Sequence[Sample], field: str) -> Series:
    """One field summed over the processes of the app: one value a sampling tick.

    A tick is a stretch of samples in which no process comes twice.  If one of its processes did not answer, the
    sum is unknown (``None``): a partial sum would draw a drop that never happened."""
    return _totals(samples, operator.attrgetter(field))


def heap_totals(samples: Sequence[Sample]) -> Series:
    """The heap in use, worker threads included, summed over the processes of the app: what heap limits are about."""
    return _totals(samples, HeapReader()) if has_worker_heaps(samples) else process_totals(samples, "heap_used_bytes")


def has_worker_heaps(samples: Iterable[Sample]) -> bool:
    """Whether worker threads have a part in `heap_totals`."""
    return any(sample.worker_heap_used_bytes for sample in samples)


def latest_heap(samples: Sequence[Sample]) -> float | None:
    """The heap in use now, as far as the latest of these samples know it; of processes that answer no more, nothing."""
    if not samples:
        return None
    read = HeapReader()
    latest: dict[int, float] = {}
    for sample in samples[bisect.bisect_left(samples, samples[-1].t_s - STALE_S, key=lambda sample: sample.t_s) :]:
        heap = read(sample)
        if heap is not None:
            latest[sample.pid] = heap
    return sum(latest.values()) if latest else None


class HeapReader:
    """Reads the heap in use from the samples of an app, one after the other, with that of its worker threads.

    Those are asked less often than the main thread, and a busy one does not answer each time: their last answer stands
    until two more should have come.  After that they are taken to have ended."""

    def __init__(self) -> None:
        self._sampled_s: dict[int, float] = {}
        self._answers: dict[int, tuple[float, int]] = {}

    def __call__(self, sample: Sample) -> int | None:
        workers = sample.worker_heap_used_bytes
        spacing_s = max(_WORKERS_EVERY_S, sample.t_s - self._sampled_s.get(sample.pid, sample.t_s))
        self._sampled_s[sample.pid] = sample.t_s
        if workers is not None:
            self._answers[sample.pid] = (sample.t_s, workers)
        elif sample.pid in self._answers:
            answered_s, answer = self._answers[sample.pid]
            workers = answer if sample.t_s - answered_s <= _ANSWERS_STAND * spacing_s else 0
        return None if sample.heap_used_bytes is None else sample.heap_used_bytes + (workers or 0)


def _totals(samples: Sequence[Sample], read: Callable[[Sample], float | None]) -> Series:
    if len({sample.pid for sample in samples}) <= 1:
        return Series(times=tuple(sample.t_s for sample in samples), values=tuple(map(read, samples)))
    times: list[float] = []
    values: list[float | None] = []
    for tick in _ticks(samples):
        parts = [read(sample) for sample in tick]
        known = [part for part in parts if part is not None]
        times.append(tick[0].t_s)
        values.append(sum(known) if len(known) == len(parts) else None)
    return Series(times=tuple(times), values=tuple(values))


def _ticks(samples: Sequence[Sample]) -> Iterable[list[Sample]]:
    tick: list[Sample] = []
    seen: set[int] = set()
    for sample in sorted(samples, key=lambda sample: sample.t_s):
        if sample.pid in seen:
            yield tick
            tick, seen = [], set()
        tick.append(sample)
        seen.add(sample.pid)
    if tick:
        yield tick


def highest(items: Sequence[_Item], key: Callable[[_Item], float], count: int) -> list[_Item]:
    """Of many items in time order, at most ``count``: the one with the highest ``key`` of every bucket."""
    if len(items) <= count:
        return list(items)
    return [max(bucket, key=key) for bucket in _buckets(items, count)]


def _buckets(items: Sequence[_Item], count: int) -> Iterable[Sequence[_Item]]:
    edges = [bucket * len(items) // count for bucket in range(count + 1)]
    return (items[start:stop] for start, stop in itertools.pairwise(edges))


def longest_pauses(events: Sequence[GcEvent], count: int = DEFAULT_POINTS) -> list[GcEvent]:
    """GC events for a chart: the longest pause of every bucket."""
    return highest(events, lambda event: event.duration_s, count)


def slowest_points(points: Sequence[LoadPoint], count: int = DEFAULT_POINTS // 2) -> list[LoadPoint]:
    """Load intervals for a chart: the slowest of every bucket, with the most errors an interval of it had.

    They need not be the same: a server that refuses answers fast."""
    if len(points) <= count:
        return list(points)
    return [
        replace(max(bucket, key=lambda point: point.p99_s), errors=max(point.errors for point in bucket))
        for bucket in _buckets(points, count)
    ]


def joined_load(loads: Sequence[LoadStats]) -> list[LoadPoint]:
    """The intervals of load runs, one run after the other; a run too short to have any is one interval itself."""
    joined: list[LoadPoint] = []
    offset_s = 0.0
    for load in loads:
        joined.extend(replace(point, t_s=offset_s + point.t_s) for point in load.series or _whole_run(load))
        offset_s += load.duration_s
    return joined


def _whole_run(load: LoadStats) -> tuple[LoadPoint, ...]:
    if not load.latency.count:
        return ()
    latency = load.latency
    return (LoadPoint(t_s=0.0, requests=load.requests, errors=load.errors, p50_s=latency.p50_s, p99_s=latency.p99_s),)


def merged_loads(loads: Sequence[LoadStats]) -> list[tuple[LoadStats, int]]:
    """Runs of the same load as one, with how many there were: a leak test repeats its load hundreds of times.

    Counts and durations add up; percentiles cannot be added, so each is that of the slowest run."""
    groups: dict[str, list[LoadStats]] = {}
    for load in loads:
        groups.setdefault(load.description, []).append(load)
    return [(group[0] if len(group) == 1 else _merged(group), len(group)) for group in groups.values()]


def _merged(group: Sequence[LoadStats]) -> LoadStats:
    return LoadStats(
        requests=sum(load.requests for load in group),
        errors=sum(load.errors for load in group),
        aborted=sum(load.aborted for load in group),
        dropped=sum(load.dropped for load in group),
        retried=sum(load.retried for load in group),
        duration_s=sum(load.duration_s for load in group),
        bytes_sent=sum(load.bytes_sent for load in group),
        bytes_received=sum(load.bytes_received for load in group),
        status=_added([load.status for load in group]),
        errors_by_kind=_added([load.errors_by_kind for load in group]),
        first_error=next((load.first_error for load in group if load.first_error), None),
        latency=_slowest([load.latency for load in group]),
        concurrency=max(load.concurrency for load in group),
        stopped_early=next((load.stopped_early for load in group if load.stopped_early), None),
        description=group[0].description,
    )


def _added(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in counts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def _slowest(latencies: Sequence[Latency]) -> Latency:
    worst = {spec.name: max(getattr(latency, spec.name) for latency in latencies) for spec in fields(Latency)}
    return Latency(**{**worst, "count": sum(latency.count for latency in latencies)})


def bucket_peaks(values: Sequence[float | None], count: int) -> list[float | None]:
    """``count`` values for a sparkline: the highest known value of each bucket, ``None`` where nothing is known."""
    if not values or count < 1:
        return []
    count = min(count, len(values))
    peaks: list[float | None] = []
    for bucket in range(count):
        window = values[bucket * len(values) // count : (bucket + 1) * len(values) // count]
        peaks.append(max((value for value in window if value is not None), default=None))
    return peaks
