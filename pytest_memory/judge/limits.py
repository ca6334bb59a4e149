"""Judging growth and pauses against limits and health thresholds.  Floor 3: pure.

A limit that cannot be judged (nothing measured, the app died, no request was served) is never passed over: it
comes out ``inconclusive`` or ``critical`` with the reason.  Whether an outcome fails the test is decided in
`pytest_memory.judge.fails`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_memory.judge.load import judge_loads
from pytest_memory.metrics import MAJOR_COLLECTION
from pytest_memory.model import Check, GcEvent, Growth, LoadStats, Outcome
from pytest_memory.units import Limit

GROWTH_METRICS: Mapping[str, str] = {
    "max_heap_growth": "heap_used",
    "max_rss_growth": "rss",
    "max_external_growth": "external",
}
# What a heap that had not settled is still good for, in movements of its last round: the next rounds would move less.
_MOVES_LEFT = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSetting:
    """One limit and who set it ("marker", "option", "ini", …)."""

    name: str
    limit: Limit
    source: str = "marker"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthThresholds:
    """Where a test without limits of its own becomes a warning; critical begins at ``critical_factor`` times that.

    Growth of a heap that a leak test has judged is at most a warning: what it may keep is that test's limit."""

    heap_growth_bytes: float = 50e6
    rss_growth_bytes: float = 100e6
    gc_count: int = 100
    critical_factor: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a measured window offers to the judge.

    ``growth`` holds settled end minus settled start by metric; ``start_moved_bytes`` and ``end_moved_bytes`` are by how
    much the heap still moved where the reading at that end had not settled.  ``gc_dropped`` counts how often
    collections may have gone unseen; ``doubts`` are metrics whose reading cannot be trusted, with the reason code
    ("rss-after-snapshot").  ``load`` are the runs sent by the test itself, ``leak_tests`` those of each leak test;
    ``heap_leak_tested`` says that one of them judged the heap; ``failed_runs`` says why runs in the background have
    failed that nobody waited for, ``unfinished_runs`` how many went on when the window ended.  ``exit_status`` is that
    of an app that died; ``inspector_lost``: it lives, but could not be asked at the start or the end;
    ``never_inspected``: at neither, nor for its version: it may be no Node at all.  ``processes_ended`` counts
    children and cluster workers whose memory is in the start but no longer in the end, ``workers_ended`` says that a
    cluster worker is one of them: a part of the app was restarted.  ``shared_machine`` says that
    other tests ran at the same time: bytes do not care, a pause that is too long may be theirs."""

    growth: Mapping[str, Growth] = field(default_factory=dict)
    start_moved_bytes: float = 0
    end_moved_bytes: float = 0
    gc_events: Sequence[GcEvent] = ()
    gc_observed: bool = False
    gc_dropped: int = 0
    load: Sequence[LoadStats] = ()
    leak_tests: Sequence[Sequence[LoadStats]] = ()
    heap_leak_tested: bool = False
    failed_runs: Sequence[str] = ()
    unfinished_runs: int = 0
    app_died: bool = False
    exit_status: int | None = None
    inspector_lost: bool = False
    never_inspected: bool = False
    processes_ended: int = 0
    workers_ended: bool = False
    app_restarted: bool = False
    doubts: Mapping[str, str] = field(default_factory=dict)
    shared_machine: bool = False


def judge_limits(measured: Measured, limits: Sequence[LimitSetting], health: HealthThresholds) -> tuple[Check, ...]:
    """Every limit, the health thresholds of what has no limit, and the conditions that make a run void."""
    checks = [*_judge_run(measured)]
    if measured.app_died:
        return tuple(checks)  # what a dead app "used" at the end means nothing
    for setting in limits:
        checks.append(_judge_limit(measured, setting))
    limited = {setting.name for setting in limits}
    checks.extend(_judge_health(measured, health, limited))
    return tuple(checks)


def _judge_run(measured: Measured) -> list[Check]:
    checks = []
    if measured.app_died:
        checks.append(
            Check(
                metric="app",
                outcome="critical",
                reason="app-died",
                unit="count",
                source="run",
                detail={"exit_status": measured.exit_status} if measured.exit_status is not None else {},
            )
        )
    if measured.never_inspected:
        checks.append(Check(metric="app", outcome="not-measured", reason="no-inspector", unit="count", source="run"))
    elif measured.inspector_lost:
        checks.append(Check(metric="app", outcome="inconclusive", reason="inspector-lost", unit="count", source="run"))
    if measured.processes_ended:
        # What a worker took with it when it ended is missing in the sum, however much the others grew.
        checks.append(
            Check(
                metric="app",
                outcome="not-measured" if measured.workers_ended else "inconclusive",
                reason="processes-ended",
                unit="count",
                source="run",
                detail={"processes": measured.processes_ended},
            )
        )
    if measured.app_restarted:
        checks.append(Check(metric="app", outcome="not-measured", reason="app-restarted", unit="count", source="run"))
    checks.extend(_judge_background(measured))
    checks.extend(judge_loads(measured.load, measured.leak_tests, app_died=measured.app_died))
    return checks


def _judge_background(measured: Measured) -> Iterator[Check]:
    """Runs in the background whose end nobody has seen: one that failed would have failed the test that waited."""
    for error in measured.failed_runs:
        yield Check(
            metric="load", outcome="critical", reason="load-failed", unit="count", source="run", detail={"error": error}
        )
    if measured.unfinished_runs:
        yield Check(metric="load", outcome="inconclusive", reason="load-unfinished", unit="count", source="run")


def _judge_limit(measured: Measured, setting: LimitSetting) -> Check:
    if setting.name in GROWTH_METRICS:
        return _judge_growth_limit(measured, setting)
    if setting.name == "max_gc_pause":
        return _judge_gc(measured, setting, _longest_pause_s(measured.gc_events), "s")
    if setting.name == "max_gc_count":
        return _judge_gc(measured, setting, float(_major_count(measured.gc_events)), "count")
    raise ValueError(f"unknown limit {setting.name!r}")


def _judge_growth_limit(measured: Measured, setting: LimitSetting) -> Check:
    metric = GROWTH_METRICS[setting.name]
    limit = setting.limit
    growth = measured.growth.get(metric)
    if growth is None:
        return _check(setting, "not-measured", _why_unread(measured), None, _unit(limit))
    value = _in_unit_of(limit, growth)
    if value is None:
        reason = "no-requests" if limit.kind == "bytes_per_unit" else "no-samples"
        return _check(setting, "critical" if reason == "no-requests" else "inconclusive", reason, None, _unit(limit))
    detail: dict[str, str | int | float | bool | None] = {
        "start": growth.start,
        "end": growth.end,
        "units": growth.units,
    }
    over = value > limit.value
    if doubt := measured.doubts.get(metric):
        return _check(setting, "inconclusive", doubt, value, _unit(limit), detail)
    if metric == "heap_used" and _settling_decides(measured, limit, growth, over):
        return _check(setting, "inconclusive", "not-settled", value, _unit(limit), detail)
    outcome: Outcome = "critical" if over else "pass"
    return _check(setting, outcome, "over-limit" if over else "within-limit", value, _unit(limit), detail)


def _settling_decides(measured: Measured, limit: Limit, growth: Growth, over: bool) -> bool:
    """Whether readings that had not settled might have given the other answer.

    What still falls is read too high: at the end that makes growth too large, at the start too small.  An app that
    works by itself never settles to the kilobyte, so only a limit within reach of the movement is in doubt."""
    moved = measured.end_moved_bytes if over else measured.start_moved_bytes
    return abs(growth.amount - _in_bytes(limit, growth)) < _MOVES_LEFT * moved


def _in_bytes(limit: Limit, growth: Growth) -> float:
    if limit.kind == "percent":
        return growth.start * limit.value / 100.0
    return limit.value * growth.units if limit.kind == "bytes_per_unit" else limit.value


def _judge_gc(measured: Measured, setting: LimitSetting, value: float, unit: str) -> Check:
    over = value > setting.limit.value
    if not measured.gc_observed or (measured.inspector_lost and not over):
        return _check(setting, "not-measured", _why_unread(measured), None, unit)
    if over and unit == "s" and measured.shared_machine:
        return _check(setting, "inconclusive", "shared-machine", value, unit)
    if not over and measured.gc_dropped:
        return _check(setting, "inconclusive", "gc-dropped", value, unit)
    return _check(setting, "critical" if over else "pass", "over-limit" if over else "within-limit", value, unit)


def _why_unread(measured: Measured) -> str:
    return "inspector-lost" if measured.inspector_lost else "no-samples"


def _judge_health(measured: Measured, health: HealthThresholds, limited: set[str]) -> list[Check]:
    checks = []
    for name, metric, threshold in (
        ("max_heap_growth", "heap_used", health.heap_growth_bytes),
        ("max_rss_growth", "rss", health.rss_growth_bytes),
    ):
        growth = measured.growth.get(metric)
        if name not in limited and growth is not None and metric not in measured.doubts:
            # RSS alone wanders with the allocator: it warns.  So does a heap that a leak test has judged: it kept
            # what that test's limit allows, and a cache that fills in it is no leak.
            may_be_critical = metric == "heap_used" and not measured.heap_leak_tested
            critical = threshold * health.critical_factor if may_be_critical else math.inf
            checks.append(_health_check(f"health:{metric}", threshold, critical, growth))
    if "max_gc_count" not in limited and measured.gc_observed:
        count = float(_major_count(measured.gc_events))
        # Frequent collections are a smell, not a leak: a warning at most, however many.
        outcome: Outcome = "warning" if count >= health.gc_count else "pass"
        if outcome == "warning" or not measured.gc_dropped:  # of a count that may be larger nothing good is said
            checks.append(_graded("health:gc_count", outcome, count, health.gc_count, "count"))
    return checks


def _health_check(metric: str, threshold: float, critical: float, growth: Growth) -> Check:
    outcome: Outcome = "pass"
    if growth.amount > critical:
        outcome = "critical"
    elif growth.amount >= threshold:
        outcome = "warning"
    detail: dict[str, str | int | float | bool | None] = {
        "start": growth.start,
        "end": growth.end,
        "units": growth.units,
    }
    return _graded(metric, outcome, growth.amount, threshold, "bytes", detail)


def _graded(
    metric: str,
    outcome: Outcome,
    value: float,
    threshold: float,
    unit: str,
    detail: dict[str, str | int | float | bool | None] | None = None,
) -> Check:
    reason = {"pass": "within-limit", "warning": "over-threshold-warning", "critical": "over-threshold-critical"}
    return Check(
        metric=metric,
        outcome=outcome,
        reason=reason[outcome],
        measured=value,
        limit=float(threshold),
        unit=unit,
        source="default",
        detail=detail or {},
    )


def _check(
    setting: LimitSetting,
    outcome: Outcome,
    reason: str,
    value: float | None,
    unit: str,
    detail: dict[str, str | int | float | bool | None] | None = None,
) -> Check:
    return Check(
        metric=setting.name,
        outcome=outcome,
        reason=reason,
        measured=value,
        limit=setting.limit.value,
        limit_text=setting.limit.text,
        unit=unit,
        source=setting.source,
        detail=detail or {},
    )


def _unit(limit: Limit) -> str:
    if limit.kind == "percent":
        return "percent"
    return f"bytes/{limit.per}" if limit.kind == "bytes_per_unit" else "bytes"


def _in_unit_of(limit: Limit, growth: Growth) -> float | None:
    if limit.kind == "percent":
        return growth.percent
    if limit.kind == "bytes_per_unit":
        return growth.per_unit
    return growth.amount


def _longest_pause_s(events: Sequence[GcEvent]) -> float:
    return max((event.duration_s for event in events), default=0.0)


def _major_count(events: Sequence[GcEvent]) -> int:
    return sum(1 for event in events if event.kind == MAJOR_COLLECTION)
