"""Comparing the results of two sets of runs, test by test and metric by metric.  Floor 3: values in, values out.

What `pytest-memory compare A.json B.json` and `pytest-memory ab` show.  With one run on each side the noise is
what is known of the metric in general; with several it is measured.  A difference that chance explains is called
that, however large it looks.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_memory import metrics, noise
from pytest_memory.baseline import conditions_of, incomparable, same_units
from pytest_memory.metrics import Metric, MetricUnit, Reading
from pytest_memory.model import ResultDocument, RunResult
from pytest_memory.noise import Noise

Presence = Literal["both", "only-before", "only-after"]
Change = Literal["worse", "better", "same", "uncertain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricChange:
    """One metric of one test, before and after; ``before`` and ``after`` are medians of the runs of each side.

    ``low``..``high`` is where the true difference lies (99.9 % each way).  ``change``: "worse" and "better" are
    beyond both chance and ``tolerance``; "same" is neither; "uncertain" is beyond the tolerance, but chance may
    explain it."""

    metric: str
    unit: MetricUnit
    change: Change
    before: float
    after: float
    low: float
    high: float
    tolerance: float
    before_count: int = 1
    after_count: int = 1

    @property
    def difference(self) -> float:
        return self.after - self.before

    @property
    def percent(self) -> float | None:
        return 100.0 * self.difference / abs(self.before) if self.before else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedTest:
    """One test: where it was found, why it cannot be compared (``differs``, with both values) or what changed."""

    test_id: str
    presence: Presence = "both"
    outcome_before: str = ""
    outcome_after: str = ""
    unit: str = "request"
    differs: str = ""
    differs_before: str = ""
    differs_after: str = ""
    changes: tuple[MetricChange, ...] = ()

    @property
    def worse(self) -> tuple[MetricChange, ...]:
        """What got worse for sure, among the metrics a test is judged by."""
        return tuple(
            change
            for change in self.changes
            if change.change == "worse" and metrics.BY_NAME[change.metric].judged == "always"
        )


def compare_documents(before: ResultDocument, after: ResultDocument) -> tuple[ComparedTest, ...]:
    """Two result files, one comparison a test, sorted by id."""
    return compare_runs([before], [after])


def compare_runs(before: Sequence[ResultDocument], after: Sequence[ResultDocument]) -> tuple[ComparedTest, ...]:
    """Several runs of each side, one comparison a test, sorted by id."""
    grouped_before, grouped_after = _by_test(before), _by_test(after)
    return tuple(
        _compare_test(test_id, grouped_before.get(test_id, []), grouped_after.get(test_id, []))
        for test_id in sorted({*grouped_before, *grouped_after})
    )


def _by_test(documents: Iterable[ResultDocument]) -> dict[str, list[RunResult]]:
    grouped: dict[str, list[RunResult]] = {}
    for document in documents:
        for result in document.results:
            grouped.setdefault(result.test_id, []).append(result)
    return grouped


def _compare_test(test_id: str, before: list[RunResult], after: list[RunResult]) -> ComparedTest:
    if not before or not after:
        presence: Presence = "only-after" if after else "only-before"
        return ComparedTest(
            test_id=test_id, presence=presence, outcome_before=_outcomes(before), outcome_after=_outcomes(after)
        )
    differs = incomparable(conditions_of(before[-1]), conditions_of(after[-1])) or ("", "", "")
    changes = () if differs[0] else tuple(_compare_metrics(before, after))
    return ComparedTest(
        test_id=test_id,
        outcome_before=_outcomes(before),
        outcome_after=_outcomes(after),
        unit=after[-1].unit,
        differs=differs[0],
        differs_before=differs[1],
        differs_after=differs[2],
        changes=changes,
    )


def _outcomes(runs: Iterable[RunResult]) -> str:
    return ", ".join(dict.fromkeys(result.verdict.outcome for result in runs))


def _compare_metrics(before: list[RunResult], after: list[RunResult]) -> Iterable[MetricChange]:
    readings_before = [metrics.read_metrics(result) for result in before]
    readings_after = [metrics.read_metrics(result) for result in after]
    work_before, work_after = metrics.units_of_work(before[-1]), metrics.units_of_work(after[-1])
    for metric in metrics.METRICS:
        if metric.name == "heap_growth_bytes" and not same_units(work_before, work_after):
            continue  # other amounts of work: the growth per unit is what can be compared
        if metric.needs_same_cpu and before[-1].environment.cpu != after[-1].environment.cpu:
            continue
        was = [readings[metric.name] for readings in readings_before if metric.name in readings]
        now = [readings[metric.name] for readings in readings_after if metric.name in readings]
        if was and now:
            yield compare_metric(metric, was, now, work=work_before)


def compare_metric(
    metric: Metric, before: Sequence[Reading], after: Sequence[Reading], *, work: int = 0
) -> MetricChange:
    """Two non-empty sets of readings of one metric; ``work`` is units done, for metrics that are rates."""
    was = statistics.median(reading.value for reading in before)
    now = statistics.median(reading.value for reading in after)
    has_interval = all(reading.has_interval for reading in (*before, *after))
    tolerance = metric.least_tolerance(was, work, has_interval=has_interval)
    chance = noise.half_width(_noise(metric, before, work), len(before), _noise(metric, after, work), len(after))
    difference = now - was
    worse = difference if metric.higher_is_worse else -difference
    change: Change = "same"
    if abs(worse) > tolerance:
        change = "uncertain" if abs(worse) <= chance else "worse" if worse > 0 else "better"
    return MetricChange(
        metric=metric.name,
        unit=metric.unit,
        change=change,
        before=was,
        after=now,
        low=difference - chance,
        high=difference + chance,
        tolerance=tolerance,
        before_count=len(before),
        after_count=len(after),
    )


def _noise(metric: Metric, readings: Sequence[Reading], work: int) -> Noise:
    values = [reading.value for reading in readings]
    prior = metric.expected_noise(statistics.median(values), work)
    own = [sd for sd in (reading.own_noise() for reading in readings) if sd is not None]
    if own:
        prior = Noise(statistics.median(own), prior.freedom)
    return noise.pool(values, prior)
