"""What was sent, judged in its parts: a table of runs and what they come to."""

from __future__ import annotations

import pytest

from pytest_memory import judge
from pytest_memory.judge.limits import HealthThresholds, Measured, judge_limits
from pytest_memory.judge.load import judge_load, judge_loads
from pytest_memory.model import Check, Latency, LoadStats, Outcome, TargetStats
from pytest_memory.report import words

GOOD = LoadStats(requests=50_000, description="GET /good at http://127.0.0.1:1, 10 connections")


def run(requests: int, errors: int, stopped: str | None = None) -> LoadStats:
    return LoadStats(
        requests=requests,
        errors=errors,
        first_error="http-500: oops" if errors else None,
        stopped_early=stopped,
        description="GET /bad at http://127.0.0.1:1, 10 connections",
    )


def mix(**targets: tuple[int, int]) -> LoadStats:
    parts = [TargetStats(name=name, requests=n, errors=bad, latency=Latency()) for name, (n, bad) in targets.items()]
    return LoadStats(
        requests=sum(part.requests for part in parts), errors=sum(part.errors for part in parts), targets=tuple(parts)
    )


def critical(checks: list[Check]) -> list[str]:
    return [check.reason for check in checks if check.outcome == "critical"]


@pytest.mark.parametrize(
    ("requests", "errors", "reasons"),
    [
        (400, 400, ["too-many-errors"]),
        (400, 5, ["too-many-errors"]),
        (500, 5, []),  # one in a hundred is allowed
        (50, 4, []),  # as chance has it
        (3, 3, ["too-many-errors"]),  # nothing of it succeeded
        (1, 1, []),
    ],
)
def test_a_run_that_failed_does_not_hide_behind_one_that_went_well(
    requests: int, errors: int, reasons: list[str]
) -> None:
    assert critical(judge_loads([GOOD, run(requests, errors)])) == reasons


@pytest.mark.parametrize(
    ("rare", "reasons"), [((400, 400), ["too-many-errors"]), ((30, 1), []), ((30, 5), ["too-many-errors"])]
)
def test_a_target_that_failed_does_not_hide_behind_the_others(rare: tuple[int, int], reasons: list[str]) -> None:
    assert critical(judge_loads([mix(often=(50_000, 0), rare=rare)])) == reasons


def test_the_worst_part_is_named() -> None:
    (check,) = judge_loads([GOOD, run(400, 40), run(400, 400), mix(rare=(600, 9))])
    assert words.reason_phrase(check.reason, check.detail) == (
        "400 of 400 requests of GET /bad failed (first: http-500: oops)"
    )


def test_the_rounds_of_a_leak_test_are_one_load() -> None:
    """It calls its operation as often as it likes: a burst of errors in one of a thousand portions is no other load."""
    rounds = [*[run(50, 0)] * 100, run(50, 30)]
    assert judge_loads([], [rounds]) == []
    assert critical(judge_loads(rounds)) == ["too-many-errors"]
    assert critical(judge_loads([GOOD], [[run(50, 1)] * 100])) == ["too-many-errors"]
    portions = [mix(often=(50, 0), rare=(1, 1))] * 4
    assert critical(judge_loads([GOOD], [[*portions, *[mix(often=(50, 0))] * 40]])) == ["too-many-errors"]


@pytest.mark.parametrize(
    ("stopped", "reasons"),
    [
        ("stalled", ["load-stalled"]),
        ("app-died", ["load-app-died"]),
        ("stopped", []),
        (None, []),
    ],
)
def test_a_run_that_ended_because_nothing_answered_is_critical(stopped: str | None, reasons: list[str]) -> None:
    ended = run(5_030, 30, stopped)
    assert critical(judge_loads([ended, ended])) == reasons
    assert critical(judge_loads([], [[ended]])) == reasons
    assert critical(list(judge_load([ended]))) == reasons


def test_a_run_that_its_limit_stopped_fails_where_nothing_raises() -> None:
    ended = run(5_030, 30, "max-error-rate")
    assert judge_loads([ended]) == []
    [check] = judge_load([ended])
    assert (check.outcome, check.reason) == ("critical", "load-stopped-by-errors")
    assert critical(list(judge_load([run(100, 30, "max-error-rate")]))) == ["too-many-errors"]


def test_that_the_app_died_is_said_once() -> None:
    dead = judge_limits(Measured(app_died=True, load=[run(5_030, 30, "app-died")]), [], HealthThresholds())
    assert [(check.metric, check.reason) for check in dead] == [("app", "app-died")]


@pytest.mark.parametrize(
    ("requests", "errors", "allowed", "outcome"),
    [(0, 0, 0.01, "critical"), (100, 1, 0.01, "pass"), (100, 2, 0.01, "critical"), (100, 20, 0.25, "pass")],
)
def test_load_by_itself(requests: int, errors: int, allowed: float, outcome: Outcome) -> None:
    assert judge.combine(judge_load([run(requests, errors)], allowed)).outcome == outcome


@pytest.mark.parametrize(
    ("measured", "outcome", "phrase"),
    [
        (Measured(unfinished_runs=1), "inconclusive", "a load run in the background was still under way"),
        (Measured(failed_runs=["no answer"]), "critical", "a load run in the background failed: no answer"),
    ],
)
def test_a_run_in_the_background_that_nobody_saw_end(measured: Measured, outcome: Outcome, phrase: str) -> None:
    (check,) = judge_limits(measured, [], HealthThresholds())
    assert check.outcome == outcome
    assert words.reason_phrase(check.reason, check.detail).startswith(phrase)
    assert words.reason_hint(check.reason)


def at_a_rate(requests: int, dropped: int) -> LoadStats:
    return LoadStats(requests=requests, dropped=dropped, description="GET /slow at http://127.0.0.1:1, 1 connection")


@pytest.mark.parametrize(
    ("runs", "reasons"),
    [
        ([at_a_rate(400, 100)], ["load-dropped"]),
        ([GOOD, at_a_rate(400, 100)], ["load-dropped"]),
        ([at_a_rate(98, 2)] * 10, ["load-dropped"]),  # together they are no chance
        ([at_a_rate(990, 10)], []),
        ([at_a_rate(10, 4)], []),
        ([at_a_rate(0, 100)], ["no-requests"]),
    ],
)
def test_load_that_was_less_than_asked_for_is_no_answer(runs: list[LoadStats], reasons: list[str]) -> None:
    checks = judge_loads(runs)
    assert [check.reason for check in checks] == reasons
    assert {check.outcome for check in checks} <= {"inconclusive" if reasons == ["load-dropped"] else "critical"}


def test_dropped_arrivals_are_counted_and_named() -> None:
    (check,) = judge_loads([GOOD, at_a_rate(400, 100)])
    assert words.reason_phrase(check.reason, check.detail) == (
        "100 of 500 arrivals of GET /slow found no free connection and were dropped: the app got less load than the "
        "rate asks for"
    )
    assert [one.reason for one in judge_loads([], [[at_a_rate(40, 10)] * 3])] == ["load-dropped"]


def test_every_end_is_worded() -> None:
    loads = [run(99, 0, "stalled"), run(99, 0, "app-died"), at_a_rate(400, 100)]
    measured = Measured(load=loads, failed_runs=["x"], unfinished_runs=1)
    reasons = {check.reason for check in judge_limits(measured, [], HealthThresholds())}
    assert len(reasons) == 5
    assert reasons <= words.REASONS.keys()
