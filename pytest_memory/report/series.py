"""Time series made small enough to look at, without losing a peak.  Floor 3: numbers in, numbers out; no words.

A chart is a thousand pixels wide, a run ten thousand samples long.  `thin` keeps the lowest and the highest value
of every bucket, so that a spike of one sample is still drawn; ``None`` (not measured) stays a gap.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pytest_memory.model import GcEvent, LoadPoint, Sample

DEFAULT_POINTS = 400  # two values (lowest, highest) for each 2-3 pixels of a wide chart
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
    if len({sample.pid for sample in samples}) <= 1:
        return Series(
            times=tuple(sample.t_s for sample in samples), values=tuple(getattr(sample, field) for sample in samples)
        )
    times: list[float] = []
    values: list[float | None] = []
    for tick in _ticks(samples):
        parts = [getattr(sample, field) for sample in tick]
        times.append(tick[0].t_s)
        values.append(None if None in parts else sum(parts))
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
    edges = [bucket * len(items) // count for bucket in range(count + 1)]
    return [max(items[start:stop], key=key) for start, stop in itertools.pairwise(edges)]


def longest_pauses(events: Sequence[GcEvent], count: int = DEFAULT_POINTS) -> list[GcEvent]:
    """GC events for a chart: the longest pause of every bucket."""
    return highest(events, lambda event: event.duration_s, count)


def slowest_points(points: Sequence[LoadPoint], count: int = DEFAULT_POINTS // 2) -> list[LoadPoint]:
    """Load intervals for a chart: the slowest of every bucket."""
    return highest(points, lambda point: point.p99_s, count)


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
