"""Recorded runs of real apps, one for each trap: the same readings always give the same, right answer."""

from __future__ import annotations

import pytest
from support.series import RecordedSeries, load_series, series_names

from pytest_memory.judge import worst
from pytest_memory.judge.leak import LeakPlan, judge_leak
from pytest_memory.leaktest import History, Stop, next_step
from pytest_memory.model import LeakEstimate


def judged(recorded: RecordedSeries, count: int | None = None) -> dict[str, LeakEstimate]:
    estimates = judge_leak(recorded.rounds[:count], LeakPlan(), before=recorded.before)
    return {estimate.kind: estimate for estimate in estimates}


# What was not asked, or answered with errors (the traps "zero requests" and "errors are fast"), is refused before there
# is a series: tests/unit/test_leaktest.py.
SERIES = [name for name in series_names() if load_series(name).truth != "died"]


@pytest.mark.parametrize("name", [name for name in series_names() if name not in SERIES])
def test_a_run_whose_app_was_killed_fails_however_flat_it_was(name: str) -> None:
    recorded = load_series(name)
    history = History(
        warmup=() if recorded.before is None else (recorded.before,),
        rounds=recorded.rounds,
        elapsed_s=recorded.elapsed_s,
        died=True,
    )
    step = next_step(LeakPlan(), history)
    assert isinstance(step, Stop)
    assert worst([estimate.outcome for estimate in step.estimates]) == "critical"
    assert "critical" not in {estimate.outcome for estimate in judged(recorded).values()}, "flat until then"


@pytest.mark.parametrize("name", SERIES)
def test_the_verdict_of_a_recorded_run(name: str) -> None:
    recorded = load_series(name)
    outcome = worst([estimate.outcome for estimate in judged(recorded).values()])
    assert outcome == {"leak": "critical", "ok": "pass"}[recorded.truth], recorded.trap


@pytest.mark.parametrize("name", SERIES)
def test_no_shorter_look_at_a_run_says_the_opposite(name: str) -> None:
    recorded = load_series(name)
    wrong = {"leak": "pass", "ok": "critical"}[recorded.truth]
    for count in range(2, len(recorded.rounds)):
        history = History(
            warmup=() if recorded.before is None else (recorded.before,),
            rounds=recorded.rounds[:count],
            elapsed_s=recorded.rounds[count - 1].end_s,
        )
        step = next_step(LeakPlan(max_duration_s=1000.0), history)
        if isinstance(step, Stop):
            assert worst([estimate.outcome for estimate in step.estimates]) != wrong, f"{recorded.trap}: {count} rounds"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("native", "native"),
        ("worker-heap", "worker-heap"),
        ("descriptors", "fds"),
        ("buffers", "external"),
        ("one-in-fifty", "heap"),
    ],
)
def test_the_leak_is_named_by_the_memory_it_leaks(name: str, kind: str) -> None:
    assert judged(load_series(name))[kind].outcome == "critical"


def test_one_request_in_fifty_leaking_700_bytes_is_14_bytes_a_request() -> None:
    found = judged(load_series("one-in-fifty"))["heap"]
    assert found.low > 6
    assert 10 < found.slope < 18


def test_a_plain_server_is_known_to_keep_less_than_20_bytes_a_request() -> None:
    assert judged(load_series("plain-http"))["heap"].high < 20


def test_leaked_bytes_per_request_are_what_the_app_leaks() -> None:
    assert judged(load_series("buffers"))["external"].slope == pytest.approx(6553.6, rel=0.01)
    assert judged(load_series("native"))["native"].slope == pytest.approx(8208, rel=0.01)
    assert judged(load_series("descriptors"))["fds"].slope == pytest.approx(1.0, rel=0.01)
