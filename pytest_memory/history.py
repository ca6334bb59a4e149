"""A metric of a test over many runs, and the commit where its level changed.  Floor 3: values in, values out.

A series of memory readings is a few long levels with noise on them.  The change of level is found as in a binary
segmentation: the split that leaves the least absolute deviation from the medians of both sides is kept if the
medians differ by more than chance and more than the metric's floor, and both sides are searched again.  A single
run off the level is an outlier, not a level, unless it is the newest: then it is reported as ``confirmed`` False.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_memory import metrics, noise
from pytest_memory.baseline import Conditions, conditions_of, incomparable
from pytest_memory.metrics import Metric, Reading
from pytest_memory.model import ResultDocument, RunResult
from pytest_memory.noise import Noise

_CONFIRMING_RUNS = 2  # as many runs on the new level make it one
_ROBUST_SD = 1.4826  # median absolute deviation of normal noise to its standard deviation


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
    """Every change of level, oldest first."""
    metric = metrics.BY_NAME[history.metric]
    values = [point.reading.value for point in history.points]
    splits: list[int] = []
    pending = [(0, len(values))]
    while pending:
        start, end = pending.pop()
        split = _best_split(metric, history.points, values, start, end)
        if split is not None:
            splits.append(split)
            pending.extend([(start, split), (split, end)])
    bounds = [0, *sorted(splits), len(values)]
    return tuple(
        _change_point(metric, history.points, values, start, split, end)
        for start, split, end in zip(bounds, bounds[1:], bounds[2:])
    )


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


def _best_split(metric: Metric, points: Sequence[Point], values: Sequence[float], start: int, end: int) -> int | None:
    """Where values[start:end] falls into two levels, or None when it is one."""
    newest = end == len(values)
    last = end - (1 if newest else _CONFIRMING_RUNS)
    first = start + (1 if start == 0 else _CONFIRMING_RUNS)
    candidates = [
        split for split in range(first, last + 1) if _is_change(metric, points, values[start:split], values[split:end])
    ]
    return min(
        candidates, key=lambda split: _deviation(values[start:split]) + _deviation(values[split:end]), default=None
    )


def _is_change(metric: Metric, points: Sequence[Point], before: Sequence[float], after: Sequence[float]) -> bool:
    difference = abs(statistics.median(after) - statistics.median(before))
    work = points[0].work
    return difference > max(
        metric.least_tolerance(statistics.median(before), work), _chance(metric, before, after, work)
    )


def _chance(metric: Metric, before: Sequence[float], after: Sequence[float], work: int) -> float:
    return noise.half_width(
        _robust_noise(metric, before, work), len(before), _robust_noise(metric, after, work), len(after)
    )


def _robust_noise(metric: Metric, values: Sequence[float], work: int) -> Noise:
    """Noise around a level, one outlier more or less: pooled like `noise.pool`, but from the median deviation."""
    centre = statistics.median(values)
    prior = metric.expected_noise(centre, work)
    seen = len(values) - 1
    if seen < _CONFIRMING_RUNS:
        return prior
    sd = _ROBUST_SD * statistics.median(abs(value - centre) for value in values)
    freedom = prior.freedom + seen
    return Noise(((prior.freedom * prior.sd**2 + seen * sd**2) / freedom) ** 0.5, freedom)


def _deviation(values: Sequence[float]) -> float:
    centre = statistics.median(values)
    return sum(abs(value - centre) for value in values)


def _change_point(
    metric: Metric, points: Sequence[Point], values: Sequence[float], start: int, split: int, end: int
) -> ChangePoint:
    before, after = values[start:split], values[split:end]
    was, now = statistics.median(before), statistics.median(after)
    differs = incomparable(points[split - 1].conditions, points[split].conditions) or ("", "", "")
    return ChangePoint(
        index=split,
        commit=points[split].commit,
        previous_commit=points[split - 1].commit,
        created_at=points[split].created_at,
        before=was,
        after=now,
        chance=_chance(metric, before, after, points[0].work),
        worse=(now > was) is metric.higher_is_worse,
        confirmed=len(after) >= _CONFIRMING_RUNS,
        differs=differs[0],
        differs_before=differs[1],
        differs_after=differs[2],
    )
