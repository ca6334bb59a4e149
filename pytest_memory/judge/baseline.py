"""Judging a result against its entry in the baseline.  Floor 3: pure.

A difference is a breach when it is larger than the tolerance *and* larger than chance explains; what cannot be
compared is ``inconclusive`` with the reason, never passed over.  The reason codes, for `report.view` to word:

==========================  ==========================================================================
baseline-within             no worse than the tolerance allows
baseline-breach             worse by more than the tolerance, beyond chance
baseline-uncertain          worse by more than the tolerance, but chance (or an unsettled heap) explains it
baseline-stale-low          so much better than the baseline that the baseline guards nothing any more
baseline-missing            no entry yet for the test or the metric
baseline-not-measured       the entry has the metric, this run has not
baseline-not-comparable     measured under other conditions: ``difference``, ``before``, ``after``
==========================  ==========================================================================

Detail of a compared metric: ``baseline``, ``change``, ``change_percent`` (None from zero), ``tolerance``,
``tolerance_percent``, ``tolerance_source`` ("noise", "floor", or who set it), ``chance``, ``repeats``, ``better``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_memory import metrics
from pytest_memory.baseline import (
    BaselineEntry,
    StoredMetric,
    chance_difference,
    conditions_of,
    incomparable,
    least_tolerance,
    same_units,
)
from pytest_memory.metrics import Metric, Reading
from pytest_memory.model import Check, Outcome, RunResult
from pytest_memory.units import Limit

Detail = dict[str, str | int | float | bool | None]
SOURCE = "baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSettings:
    """How strictly to compare.

    ``tolerance`` set by ``source`` (marker, option, ini …) holds for every metric it fits; None: derived from the
    noise.  ``metrics`` are the metrics the test names, with tolerances of their own or None; None: the usual ones.
    ``shared_machine`` says that other tests ran at the same time, so that times mean nothing."""

    tolerance: Limit | None = None
    source: str = "option"
    metrics: Mapping[str, Limit | None] | None = None
    shared_machine: bool = False


_USUAL = BaselineSettings()


def judge_baseline(
    result: RunResult, entry: BaselineEntry | None, settings: BaselineSettings = _USUAL
) -> tuple[Check, ...]:
    """One check a metric (metric ``baseline:NAME``), or one (metric ``baseline``) when nothing can be compared."""
    if entry is None:
        return (_whole("pass", "baseline-missing"),)
    if result.end_memory is None:
        return (_whole("inconclusive", "baseline-not-measured"),)
    if different := incomparable(entry.environment, conditions_of(result)):
        return (_whole("inconclusive", "baseline-not-comparable", _difference(*different)),)
    readings = metrics.read_metrics(result)
    checks = [
        _judge_metric(metric, entry, readings.get(metric.name), result, settings)
        for metric in metrics.METRICS
        if _is_judged(metric, settings)
    ]
    return tuple(check for check in checks if check is not None)


def _is_judged(metric: Metric, settings: BaselineSettings) -> bool:
    return metric.judged != "named" if settings.metrics is None else metric.name in settings.metrics


def _is_judged_per_unit(entry: BaselineEntry, work: int, settings: BaselineSettings) -> bool:
    name = "heap_bytes_per_unit"
    return bool(work) and name in entry.metrics and _is_judged(metrics.BY_NAME[name], settings)


def _is_binding(metric: Metric, settings: BaselineSettings) -> bool:
    """Whether a breach fails the test: what the test names, and what is always judged."""
    return metric.judged == "always" or settings.metrics is not None


def _judge_metric(
    metric: Metric, entry: BaselineEntry, reading: Reading | None, result: RunResult, settings: BaselineSettings
) -> Check | None:
    stored = entry.metrics.get(metric.name)
    binding = _is_binding(metric, settings)
    doubt: Outcome = "inconclusive" if binding else "pass"
    if stored is None or reading is None:
        if reading is not None and binding:
            return _check(metric, "pass", "baseline-missing", measured=reading.value)
        expected = stored is not None or settings.metrics is not None
        return _check(metric, doubt, "baseline-not-measured") if expected and binding else None
    work = metrics.units_of_work(result)
    if metric.name == "heap_growth_bytes" and not same_units(entry.units, work):
        if _is_judged_per_unit(entry, work, settings):
            return None  # other amounts of work: the growth per unit is what can be compared, and is
        return _check(
            metric, doubt, "baseline-not-comparable", detail=_difference("units", str(entry.units), str(work))
        )
    if metric.needs_same_cpu:
        now = result.environment.cpu
        if settings.shared_machine:
            return _check(metric, doubt, "baseline-not-comparable", detail=_difference("shared-machine", "no", "yes"))
        if entry.environment.cpu != now:
            different = _difference("cpu", entry.environment.cpu, now)
            return _check(metric, doubt, "baseline-not-comparable", detail=different)
    check = _compare(metric, stored, reading, entry.units, result, settings)
    other = _at_the_work_of(entry, metric, reading, work, result)
    if other is None:
        return check
    return _with_doubt(
        metric, check, _compare(metric, stored, other, entry.units, result, settings), entry, work, doubt
    )


def _at_the_work_of(
    entry: BaselineEntry, metric: Metric, reading: Reading, work: int, result: RunResult
) -> Reading | None:
    """What a level would be after the entry's amount of work; None where that is the same, or cannot be told.

    After more work than the entry's: less its share of this run's growth.  After less: the level at the start, which
    no work has touched, with the growth of the entry."""
    growth = metrics.level_growth(metric.name, result)
    if growth is None or not work or not entry.units or same_units(entry.units, work):
        return None
    if work > entry.units:
        return Reading(value=reading.value - max(growth, 0.0) * (1 - entry.units / work))
    grew = entry.metrics.get("heap_growth_bytes") if metric.name == "heap_bytes" else None
    return None if grew is None else Reading(value=reading.value - growth + grew.value)


def _with_doubt(metric: Metric, check: Check, other: Check, entry: BaselineEntry, work: int, doubt: Outcome) -> Check:
    """``check``, unless the answer hangs on the amount of work: ``other`` is the same level after the entry's."""
    worse = [one.reason in ("baseline-breach", "baseline-uncertain") for one in (check, other)]
    stale = [one.reason == "baseline-stale-low" for one in (check, other)]
    if worse[0] == worse[1] and (not stale[0] or stale[1]):
        return check
    outcome: Outcome = doubt if any(worse) else "pass"
    return _check(metric, outcome, "baseline-not-comparable", detail=_difference("units", str(entry.units), str(work)))


def _compare(
    metric: Metric,
    stored: StoredMetric,
    reading: Reading,
    work: int,
    result: RunResult,
    settings: BaselineSettings,
) -> Check:
    chance = chance_difference(metric, stored, reading, work)
    floor = least_tolerance(metric, stored, reading, work)
    tolerance, limit_text, source = _tolerance(metric, stored, chance, floor, settings)
    change = reading.value - stored.value
    worse = change if metric.higher_is_worse else -change
    outcome, reason = _decide(worse, tolerance, chance, _is_binding(metric, settings), _settled(metric, result))
    detail: Detail = {
        "baseline": stored.value,
        "change": change,
        "change_percent": 100 * change / abs(stored.value) if stored.value else None,
        "tolerance": tolerance,
        "tolerance_percent": 100 * tolerance / abs(stored.value) if stored.value else None,
        "tolerance_source": source,
        "chance": chance,
        "repeats": len(stored.repeats),
        "better": worse < 0,
    }
    return _check(
        metric,
        outcome,
        reason,
        measured=reading.value,
        limit=stored.value + (tolerance if metric.higher_is_worse else -tolerance),
        limit_text=limit_text,
        low=reading.value - chance,
        high=reading.value + chance,
        source=SOURCE if source in ("noise", "floor") else source,
        detail=detail,
        unit=_unit(metric, result),
    )


def _decide(worse: float, tolerance: float, chance: float, binding: bool, settled: bool) -> tuple[Outcome, str]:
    if worse > tolerance:
        if worse > chance and settled:
            return ("critical" if binding else "warning"), "baseline-breach"
        return ("inconclusive" if binding else "pass"), "baseline-uncertain"
    if -worse > max(tolerance, chance):
        return ("warning" if binding else "pass"), "baseline-stale-low"
    return "pass", "baseline-within"


def _settled(metric: Metric, result: RunResult) -> bool:
    # A heap that still fell when the settling budget ended is an upper bound: too high proves nothing.
    end = result.end_memory
    return end is None or end.converged or metric.unit not in ("bytes", "bytes/unit")


def _tolerance(
    metric: Metric, stored: StoredMetric, chance: float, floor: float, settings: BaselineSettings
) -> tuple[float, str, str]:
    """How much worse is allowed: amount in the metric's unit, the user's own words, and who decided."""
    own = (settings.metrics or {}).get(metric.name)
    for limit, source in ((own, "marker"), (settings.tolerance, settings.source)):
        if limit is None:
            continue
        if limit.kind == "percent":
            amount = abs(stored.value) * limit.value / 100
            # Ten percent of a growth of next to nothing is nothing: such metrics keep their floor.
            return (max(amount, floor) if metric.is_change else amount), limit.text, source
        if metric.unit == ("bytes" if limit.kind == "bytes" else "bytes/unit"):
            return limit.value, limit.text, source
    return (chance, "", "noise") if chance > floor else (floor, "", "floor")


def _unit(metric: Metric, result: RunResult) -> str:
    return f"bytes/{result.unit}" if metric.unit == "bytes/unit" else metric.unit


def _difference(name: str, before: str, after: str) -> Detail:
    return {"difference": name, "before": before, "after": after}


def _whole(outcome: Outcome, reason: str, detail: Detail | None = None) -> Check:
    return Check(metric="baseline", outcome=outcome, reason=reason, unit="count", source=SOURCE, detail=detail or {})


def _check(
    metric: Metric,
    outcome: Outcome,
    reason: str,
    *,
    measured: float | None = None,
    limit: float | None = None,
    limit_text: str = "",
    low: float | None = None,
    high: float | None = None,
    source: str = SOURCE,
    detail: Detail | None = None,
    unit: str | None = None,
) -> Check:
    return Check(
        metric=f"baseline:{metric.name}",
        outcome=outcome,
        reason=reason,
        measured=measured,
        limit=limit,
        limit_text=limit_text,
        unit=unit or metric.unit,
        low=low,
        high=high,
        source=source,
        detail=detail or {},
    )
