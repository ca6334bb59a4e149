"""A metric of a test over many runs, and the commit where its level changed.  Floor 3: values in, values out.

A series of memory readings is a few long levels with noise and outliers on them.  The levels are those that leave
the least absolute deviation from their medians at a fixed price for each further level (optimal partitioning, as
in Jackson et al., "An algorithm for optimal partitioning of data on an interval", 2005, with the robust cost).  A
change is reported when it is beyond chance and beyond the metric's floor.  A single run off the level is an
outlier, unless it is the newest: then it is reported with ``confirmed`` False.
"""

from __future__ import annotations

import heapq
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pytest_memory import metrics, noise
from pytest_memory.baseline import Conditions, conditions_of, incomparable
from pytest_memory.metrics import Metric, Reading
from pytest_memory.model import ResultDocument, RunResult
from pytest_memory.noise import Noise

MAX_RUNS = 200  # the newest; who looks further back than that keeps a database
_CONFIRMING_RUNS = 2  # as many runs on the new level make it one
# The median of |x[i+1] - x[i]| of normal noise, to its standard deviation: levels hardly touch it.
_SD_OF_STEPS = 1.4826 / math.sqrt(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run: when, at which commit, what was read.  ``origin`` is the file it was kept in."""

    created_at: str
    commit: str
    reading: Reading
    conditions: Conditions
    work: int = 0
    outcome: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One metric of one test, oldest run first."""

    test_id: str
    metric: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePoint:
    """A change of level: ``index`` is the first run of the new level, ``commit`` that run's.

    ``previous_commit`` is that of the last run before: the cause lies after it, up to and including ``commit``.
    ``differs`` names the condition that changed at the same place ("node", "load", …), with both values: then that
    is the likelier cause."""

    index: int
    commit: str
    previous_commit: str
    created_at: str
    before: float
    after: float
    chance: float
    worse: bool
    confirmed: bool = True
    differs: str = ""
    differs_before: str = ""
    differs_after: str = ""


def build_histories(runs: Iterable[tuple[str, ResultDocument]]) -> tuple[History, ...]:
    """One series a test and metric, from (origin, document) pairs in any order; sorted by test, then by METRICS."""
    series: dict[tuple[str, str], list[Point]] = {}
    for origin, document in sorted(runs, key=lambda run: (run[1].created_at, run[0])):
        for result in document.results:
            for name, reading in metrics.read_metrics(result).items():
                point = _point(origin, document, result, reading)
                series.setdefault((result.test_id, name), []).append(point)
    order = {name: index for index, name in enumerate(metrics.NAMES)}
    return tuple(
        History(test_id=test_id, metric=name, points=tuple(series[test_id, name]))
        for test_id, name in sorted(series, key=lambda key: (key[0], order[key[1]]))
    )


def change_points(history: History) -> tuple[ChangePoint, ...]:
    """Every change of level among the newest MAX_RUNS runs, oldest first."""
    first = max(0, len(history.points) - MAX_RUNS)
    points = history.points[first:]
    metric = metrics.BY_NAME[history.metric]
    values = [point.reading.value for point in points]
    found = _noise(metric, values, points[0].work) if points else Noise(0.0)
    bounds = [0, *_split(values, found.sd), len(values)]
    changes = _changes(metric, points, values, bounds, found)
    while changes and (weakest := min(changes, key=_strength)) and _strength(weakest) <= 1:
        bounds.remove(weakest.index)
        changes = _changes(metric, points, values, bounds, found)
    return tuple(replace(change.point, index=change.index + first) for change in changes)


def _point(origin: str, document: ResultDocument, result: RunResult, reading: Reading) -> Point:
    return Point(
        created_at=document.created_at,
        commit=result.environment.commit or document.environment.commit,
        reading=reading,
        conditions=conditions_of(result),
        work=metrics.units_of_work(result),
        outcome=result.verdict.outcome,
        origin=origin,
    )


@dataclass(frozen=True, slots=True)
class _Candidate:
    index: int
    point: ChangePoint
    least: float  # the difference from which it counts


def _strength(change: _Candidate) -> float:
    """How many times as large as it must be to count."""
    return abs(change.point.after - change.point.before) / change.least if change.least else math.inf


def _noise(metric: Metric, values: Sequence[float], work: int) -> Noise:
    """The noise of one run, from the steps between neighbours, pooled with what is known of the metric."""
    prior = metric.expected_noise(statistics.median(values), work)
    if len(values) <= _CONFIRMING_RUNS:
        return prior
    seen = len(values) - 1
    sd = _SD_OF_STEPS * statistics.median(abs(b - a) for a, b in itertools.pairwise(values))
    freedom = prior.freedom + seen
    return Noise(math.sqrt((prior.freedom * prior.sd**2 + seen * sd**2) / freedom), freedom)


def _split(values: Sequence[float], sd: float) -> list[int]:
    """The indexes at which new levels begin, by optimal partitioning with the absolute deviation as cost."""
    count = len(values)
    price = 2 * sd * math.log(count + 1)  # what fitting noise with one more level gains grows with the logarithm
    cost = [0.0] + [math.inf] * count
    begin = [0] * (count + 1)
    for start in range(count):
        level = _Level()
        for end in range(start + 1, count + 1):
            level.add(values[end - 1])
            if end - start < _CONFIRMING_RUNS and start > 0 and end < count:
                continue
            total = cost[start] + level.deviation + (price if start else 0)
            if total < cost[end]:
                cost[end], begin[end] = total, start
    splits = []
    end = count
    while end and begin[end]:
        end = begin[end]
        splits.append(end)
    return splits[::-1]


class _Level:
    """The sum of absolute deviations from the median, of values that come one by one."""

    __slots__ = ("_high", "_high_sum", "_low", "_low_sum")

    def __init__(self) -> None:
        self._low: list[float] = []  # the lower half, negated: heapq keeps the smallest in front
        self._high: list[float] = []
        self._low_sum = self._high_sum = 0.0

    def add(self, value: float) -> None:
        moved = -heapq.heappushpop(self._low, -value)
        heapq.heappush(self._high, moved)
        self._low_sum += value - moved
        self._high_sum += moved
        if len(self._high) > len(self._low):
            moved = heapq.heappop(self._high)
            heapq.heappush(self._low, -moved)
            self._low_sum += moved
            self._high_sum -= moved

    @property
    def deviation(self) -> float:
        median = -self._low[0]
        return median * (len(self._low) - len(self._high)) - self._low_sum + self._high_sum


def _changes(
    metric: Metric, points: Sequence[Point], values: Sequence[float], bounds: Sequence[int], found: Noise
) -> list[_Candidate]:
    changes = []
    for start, split, end in zip(bounds, bounds[1:], bounds[2:]):
        was, now = statistics.median(values[start:split]), statistics.median(values[split:end])
        chance = noise.half_width(found, split - start, found, end - split)
        differs = incomparable(points[split - 1].conditions, points[split].conditions) or ("", "", "")
        point = ChangePoint(
            index=split,
            commit=points[split].commit,
            previous_commit=points[split - 1].commit,
            created_at=points[split].created_at,
            before=was,
            after=now,
            chance=chance,
            worse=(now > was) is metric.higher_is_worse,
            confirmed=end - split >= _CONFIRMING_RUNS,
            differs=differs[0],
            differs_before=differs[1],
            differs_after=differs[2],
        )
        least = max(chance, metric.least_tolerance(was, points[split].work))
        changes.append(_Candidate(split, point, least))
    return changes
