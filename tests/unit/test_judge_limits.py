"""Limits and health thresholds at their edges: a table of what was measured, what was allowed, what it comes to."""

from __future__ import annotations

import pytest

from pytest_memory import judge
from pytest_memory.judge.limits import HealthThresholds, LimitSetting, Measured, judge_limits
from pytest_memory.model import Check, GcEvent, Growth, LoadStats, Outcome
from pytest_memory.units import Limit, parse_limit

NO_HEALTH = HealthThresholds(heap_growth_bytes=1e15, rss_growth_bytes=1e15, gc_count=10**9)


def heap(amount: float, *, start: float = 10e6, units: int = 0) -> dict[str, Growth]:
    return {"heap_used": Growth(metric="heap_used", start=start, end=start + amount, units=units)}


def limit(name: str, text: str) -> LimitSetting:
    return LimitSetting(name=name, limit=parse_limit(text))


def only(checks: tuple[Check, ...], metric: str) -> Check:
    (check,) = [check for check in checks if check.metric == metric]
    return check


@pytest.mark.parametrize(
    ("text", "amount", "units", "outcome", "reason"),
    [
        ("50MB", 50e6 - 1, 0, "pass", "within-limit"),
        ("50MB", 50e6, 0, "pass", "within-limit"),
        ("50MB", 50e6 + 1, 0, "critical", "over-limit"),
        ("50MB", -20e6, 0, "pass", "within-limit"),
        ("10%", 1e6, 0, "pass", "within-limit"),
        ("10%", 1e6 + 1, 0, "critical", "over-limit"),
        ("200B/request", 200_000, 1000, "pass", "within-limit"),
        ("200B/request", 200_001, 1000, "critical", "over-limit"),
        ("200B/request", 0, 0, "critical", "no-requests"),
    ],
)
def test_growth_limits_at_the_edge(text: str, amount: float, units: int, outcome: Outcome, reason: str) -> None:
    checks = judge_limits(Measured(growth=heap(amount, units=units)), [limit("max_heap_growth", text)], NO_HEALTH)
    check = only(checks, "max_heap_growth")
    assert (check.outcome, check.reason) == (outcome, reason)
    assert check.limit_text == text


def test_a_percentage_of_nothing_is_inconclusive() -> None:
    checks = judge_limits(Measured(growth=heap(5, start=0)), [limit("max_heap_growth", "10%")], NO_HEALTH)
    assert only(checks, "max_heap_growth").outcome == "inconclusive"


@pytest.mark.parametrize(("lost", "reason"), [(False, "no-samples"), (True, "inspector-lost")])
def test_a_limit_without_a_reading_is_not_measured(lost: bool, reason: str) -> None:
    measured = Measured(inspector_lost=lost, gc_observed=lost)
    settings = [
        limit("max_rss_growth", "1MB"),
        LimitSetting(name="max_gc_count", limit=Limit(kind="bytes", value=5.0, text="5")),
    ]
    checks = judge_limits(measured, settings, NO_HEALTH)
    for name in ("max_rss_growth", "max_gc_count"):
        assert (only(checks, name).outcome, only(checks, name).reason) == ("not-measured", reason)


def test_a_doubtful_reading_is_inconclusive_and_says_why() -> None:
    measured = Measured(growth=heap(99e6), doubts={"heap_used": "rss-after-snapshot"})
    check = only(judge_limits(measured, [limit("max_heap_growth", "1MB")], NO_HEALTH), "max_heap_growth")
    assert (check.outcome, check.reason) == ("inconclusive", "rss-after-snapshot")


@pytest.mark.parametrize(
    ("text", "amount", "start_moved", "end_moved", "expected"),
    [
        ("1MB", 1.2e6, 0, 100e3, ("inconclusive", "not-settled")),  # what still fell made it too large
        ("1MB", 1.4e6, 0, 100e3, ("critical", "over-limit")),  # by more than what was still to fall
        ("1MB", 1.2e6, 100e3, 0, ("critical", "over-limit")),  # read too small, if anything
        ("1MB", 0.8e6, 100e3, 0, ("inconclusive", "not-settled")),
        ("1MB", 0.6e6, 100e3, 0, ("pass", "within-limit")),
        ("1MB", 0.8e6, 0, 100e3, ("pass", "within-limit")),  # read too large, and within the limit in spite of it
        ("10%", 1.2e6, 0, 100e3, ("inconclusive", "not-settled")),
        ("1KB/request", 1.2e6, 0, 100e3, ("inconclusive", "not-settled")),
        ("1KB/request", 1.4e6, 0, 100e3, ("critical", "over-limit")),
    ],
)
def test_a_heap_that_had_not_settled_is_doubted_where_that_decides(
    text: str, amount: float, start_moved: float, end_moved: float, expected: tuple[Outcome, str]
) -> None:
    measured = Measured(growth=heap(amount, units=1000), start_moved_bytes=start_moved, end_moved_bytes=end_moved)
    check = only(judge_limits(measured, [limit("max_heap_growth", text)], NO_HEALTH), "max_heap_growth")
    assert (check.outcome, check.reason) == expected


def test_other_memory_is_not_doubted_for_the_heap() -> None:
    growth = {"external": Growth(metric="external", start=0, end=1.2e6)}
    measured = Measured(growth=growth, end_moved_bytes=100e3)
    check = only(judge_limits(measured, [limit("max_external_growth", "1MB")], NO_HEALTH), "max_external_growth")
    assert check.outcome == "critical"


def gc(kind: str, duration_s: float) -> GcEvent:
    return GcEvent(t_s=1.0, pid=1, kind=kind, duration_s=duration_s)  # type: ignore[arg-type]


@pytest.mark.parametrize(("pause_s", "outcome"), [(0.05, "pass"), (0.050001, "critical")])
def test_gc_pause_at_the_edge(pause_s: float, outcome: Outcome) -> None:
    measured = Measured(gc_observed=True, gc_events=[gc("mark-compact", pause_s)])
    setting = LimitSetting(name="max_gc_pause", limit=Limit(kind="bytes", value=0.05, text="50ms"))
    assert only(judge_limits(measured, [setting], NO_HEALTH), "max_gc_pause").outcome == outcome


@pytest.mark.parametrize(
    ("pause_s", "expected"), [(0.04, ("pass", "within-limit")), (0.06, ("inconclusive", "shared-machine"))]
)
def test_a_long_pause_on_a_shared_machine_is_doubtful(pause_s: float, expected: tuple[Outcome, str]) -> None:
    measured = Measured(gc_observed=True, gc_events=[gc("mark-compact", pause_s)], shared_machine=True)
    setting = LimitSetting(name="max_gc_pause", limit=Limit(kind="bytes", value=0.05, text="50ms"))
    check = only(judge_limits(measured, [setting], NO_HEALTH), "max_gc_pause")
    assert (check.outcome, check.reason) == expected


def test_bytes_and_counts_on_a_shared_machine_are_judged_as_always() -> None:
    events = [gc("mark-compact", 0.01)] * 4
    measured = Measured(growth=heap(99e6), gc_observed=True, gc_events=events, shared_machine=True)
    count = LimitSetting(name="max_gc_count", limit=Limit(kind="bytes", value=3, text="3"))
    checks = judge_limits(measured, [limit("max_heap_growth", "1MB"), count], NO_HEALTH)
    assert only(checks, "max_heap_growth").outcome == only(checks, "max_gc_count").outcome == "critical"


@pytest.mark.parametrize(("count", "outcome"), [(3, "pass"), (4, "critical")])
def test_gc_count_counts_major_collections_only(count: int, outcome: Outcome) -> None:
    events = [gc("mark-compact", 0.01)] * count + [gc("scavenge", 0.001)] * 500
    setting = LimitSetting(name="max_gc_count", limit=Limit(kind="bytes", value=3, text="3"))
    measured = Measured(gc_observed=True, gc_events=events)
    assert only(judge_limits(measured, [setting], NO_HEALTH), "max_gc_count").outcome == outcome


def test_gc_limits_without_gc_events_seen_are_not_measured() -> None:
    setting = LimitSetting(name="max_gc_count", limit=Limit(kind="bytes", value=3, text="3"))
    assert only(judge_limits(Measured(), [setting], NO_HEALTH), "max_gc_count").outcome == "not-measured"


@pytest.mark.parametrize(
    ("amount", "outcome"),
    [(50e6 - 1, "pass"), (50e6, "warning"), (100e6, "warning"), (100e6 + 1, "critical")],
)
def test_health_of_the_heap(amount: float, outcome: Outcome) -> None:
    checks = judge_limits(Measured(growth=heap(amount)), [], HealthThresholds())
    assert only(checks, "health:heap_used").outcome == outcome


@pytest.mark.parametrize(("amount", "outcome"), [(50e6 - 1, "pass"), (50e6, "warning"), (160e6, "warning")])
def test_health_of_a_heap_that_a_leak_test_judged_is_a_warning_at_most(amount: float, outcome: Outcome) -> None:
    checks = judge_limits(Measured(growth=heap(amount), heap_leak_tested=True), [], HealthThresholds())
    assert only(checks, "health:heap_used").outcome == outcome


def test_a_limit_of_the_users_own_binds_beside_a_leak_test() -> None:
    measured = Measured(growth=heap(160e6), heap_leak_tested=True)
    checks = judge_limits(measured, [limit("max_heap_growth", "100MB")], HealthThresholds())
    assert only(checks, "max_heap_growth").outcome == "critical"


def test_rss_growth_is_at_most_a_warning_by_itself() -> None:
    growth = {"rss": Growth(metric="rss", start=1e6, end=900e6)}
    assert only(judge_limits(Measured(growth=growth), [], HealthThresholds()), "health:rss").outcome == "warning"


@pytest.mark.parametrize(("count", "outcome"), [(99, "pass"), (100, "warning"), (9999, "warning")])
def test_health_of_gc(count: int, outcome: Outcome) -> None:
    measured = Measured(gc_observed=True, gc_events=[gc("mark-compact", 0.01)] * count)
    assert only(judge_limits(measured, [], HealthThresholds()), "health:gc_count").outcome == outcome


def test_a_limit_of_ones_own_replaces_the_health_threshold() -> None:
    checks = judge_limits(Measured(growth=heap(80e6)), [limit("max_heap_growth", "200MB")], HealthThresholds())
    assert [check.metric for check in checks] == ["max_heap_growth"]


def test_a_dead_app_is_critical_and_nothing_else_is_judged() -> None:
    checks = judge_limits(Measured(app_died=True, growth=heap(0)), [limit("max_heap_growth", "1MB")], NO_HEALTH)
    assert [(check.outcome, check.reason) for check in checks] == [("critical", "app-died")]


def test_a_dead_app_is_said_to_have_its_exit_status() -> None:
    (check,) = judge_limits(Measured(app_died=True, exit_status=-9), [], NO_HEALTH)
    assert check.detail == {"exit_status": -9}


def test_an_app_that_could_not_be_read_at_the_end_is_never_green_whatever_else_was_measured() -> None:
    measured = Measured(inspector_lost=True, gc_observed=True)
    assert judge.combine(judge_limits(measured, [], HealthThresholds())).outcome == "inconclusive"


def test_what_ended_processes_kept_is_missing_so_nothing_passes_but_a_broken_limit_stays_broken() -> None:
    limits = [limit("max_heap_growth", "1MB")]
    fine = judge_limits(Measured(processes_ended=1, growth=heap(-60e6)), limits, NO_HEALTH)
    assert judge.combine(fine).outcome == "inconclusive"
    over = judge_limits(Measured(processes_ended=1, growth=heap(2e6)), limits, NO_HEALTH)
    assert judge.combine(over).outcome == "critical"


def test_a_restarted_app_is_never_green() -> None:
    checks = judge_limits(Measured(app_restarted=True, growth=heap(0)), [limit("max_heap_growth", "1MB")], NO_HEALTH)
    assert judge.combine(checks).outcome == "not-measured"
    replaced = Measured(processes_ended=1, workers_ended=True, growth=heap(0))
    assert judge.combine(judge_limits(replaced, [], NO_HEALTH)).outcome == "not-measured"


@pytest.mark.parametrize(
    ("requests", "errors", "outcome"),
    [(0, 0, "critical"), (1000, 10, "pass"), (1000, 11, "critical")],
)
def test_no_requests_and_too_many_errors_are_never_green(requests: int, errors: int, outcome: Outcome) -> None:
    measured = Measured(growth=heap(0), load=[LoadStats(requests=requests, errors=errors)])
    assert judge.combine(judge_limits(measured, [limit("max_heap_growth", "1MB")], NO_HEALTH)).outcome == outcome


@pytest.mark.parametrize(
    ("count", "outcome", "reason"), [(3, "inconclusive", "gc-dropped"), (9, "critical", "over-limit")]
)
def test_collections_that_were_not_kept_acquit_nobody(count: int, outcome: Outcome, reason: str) -> None:
    measured = Measured(gc_observed=True, gc_dropped=1, gc_events=[gc("mark-compact", 0.01)] * count)
    check = only(judge_limits(measured, [limit("max_gc_count", "5")], NO_HEALTH), "max_gc_count")
    assert (check.outcome, check.reason) == (outcome, reason)


def test_nothing_judged_is_not_a_pass() -> None:
    assert judge.combine([]).outcome == "not-measured"
    assert judge.fails("not-measured", "critical")


@pytest.mark.parametrize(
    ("outcome", "fail_on", "failed"),
    [
        ("critical", "critical", True),
        ("warning", "critical", False),
        ("warning", "warning", True),
        ("inconclusive", "critical", False),
        ("inconclusive", "inconclusive", True),
        ("pass", "warning", False),
    ],
)
def test_what_fails(outcome: Outcome, fail_on: str, failed: bool) -> None:
    assert judge.fails(outcome, fail_on) is failed


def test_the_beginning_of_incremental_marking_is_not_counted_beside_the_collection_it_prepares() -> None:
    events = [gc(kind, 0.001) for kind in ("scavenge", "incremental", "mark-compact", "incremental", "mark-compact")]
    for text, outcome in (("2", "pass"), ("1", "critical")):
        setting = LimitSetting(name="max_gc_count", limit=Limit(kind="bytes", value=float(text), text=text))
        checks = judge_limits(Measured(gc_events=events, gc_observed=True), [setting], NO_HEALTH)
        assert only(checks, "max_gc_count").outcome == outcome
