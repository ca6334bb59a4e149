"""Reports become one result; results are held against limits, print and compare."""

from __future__ import annotations

import pytest

from pytest_memory.errors import LoadError
from pytest_memory.load.histogram import cell_of
from pytest_memory.load.messages import Done, Interval, TargetCounts
from pytest_memory.load.plan import parse_options
from pytest_memory.load.result import MAX_POINTS, Collector, LoadResult, broken_limits
from pytest_memory.model import LoadStats


def interval(
    t_s: float, latencies_ms: list[float], *, errors: int = 0, measured: bool = True, active: int = 1
) -> Interval:
    cells: dict[int, int] = {}
    for latency in latencies_ms:
        cell = cell_of(int(latency * 1e6))
        cells[cell] = cells.get(cell, 0) + 1
    counts = TargetCounts(requests=len(latencies_ms), errors=errors, cells=cells)
    return Interval(
        t_s=t_s,
        measured=measured,
        active=active,
        targets=[counts],
        bytes_received=10,
        status={200: len(latencies_ms) - errors, 500: errors},
        errors_by_kind={"http-500": errors} if errors else {},
        first_error="http-500" if errors else None,
    )


def done(duration_s: float, *, stopped: str | None = None, polled_s: float = 0.0) -> Done:
    return Done(id=1, duration_s=duration_s, cpu_s=0.5, polled_s=polled_s, next_number=0, stopped_early=stopped)


def collect(*messages: tuple[int, Interval], dones: tuple[Done, ...] = (done(2.0),), **options: object) -> LoadResult:
    collector = Collector(["GET /a"], parse_options(options))
    for process, message in messages:
        collector.add(process, message)
    for one in dones:
        collector.finish(one)
    return collector.result("what it was")


def test_intervals_add_up() -> None:
    result = collect(
        (0, interval(1.0, [1, 2, 3])), (0, interval(2.0, [4, 100], errors=1)), duration="2s", interval="1s"
    )
    assert (result.requests, result.errors, result.rps) == (5, 1, 2.5)
    assert result.status == {"200": 4, "500": 1}
    assert result.errors_by_kind == {"http-500": 1}
    assert result.p50_s == pytest.approx(0.003, rel=1e-3)
    assert result.max_s == pytest.approx(0.1, rel=1e-3)
    for name in ("p50_s", "p75_s", "p90_s", "p95_s", "p99_s", "p999_s"):
        assert getattr(result, name) == getattr(result.latency, name)
    assert [(point.t_s, point.requests, point.errors) for point in result.stats.series] == [(1.0, 3, 0), (2.0, 2, 1)]
    assert result.stats.series[1].p99_s == pytest.approx(0.1, rel=1e-3)
    assert result.stats.bytes_received == 20
    assert result.stats.description == "what it was"
    assert not result.ok


def test_processes_share_an_interval() -> None:
    result = collect(
        (0, interval(1.01, [1], active=3)),
        (1, interval(1.02, [2], active=4)),
        (0, interval(2.0, [1], active=2)),
        dones=(done(2.0), done(2.5)),
        duration="2s",
        interval="1s",
    )
    assert [(point.requests, point.active) for point in result.stats.series] == [(2, 7), (1, 2)]
    assert result.duration_s == 2.5
    assert result.stats.client_cpu_s == 1.0
    assert result.stats.client_busy == 0.2


def test_a_process_that_polls_is_not_busy() -> None:
    result = collect((0, interval(1.0, [1])), dones=(done(2.0, polled_s=0.4),))
    assert result.stats.client_cpu_s == 0.5
    assert result.stats.client_busy == pytest.approx(0.05)


def test_a_warm_up_counts_in_nothing_else() -> None:
    result = collect((0, interval(0.0, [1, 1], measured=False)), (0, interval(1.0, [5])), requests=1)
    assert (result.requests, result.stats.warmup_requests) == (1, 2)
    assert result.status == {"200": 1, "500": 0} or result.status == {"200": 1}
    assert result.stats.bytes_received == 10


def test_a_long_run_is_thinned() -> None:
    messages = [(0, interval(float(t), [1, 2])) for t in range(1, 3 * MAX_POINTS + 1)]
    result = collect(*messages, requests=6 * MAX_POINTS, interval="1s")
    assert MAX_POINTS / 2 <= len(result.stats.series) <= MAX_POINTS
    assert sum(point.requests for point in result.stats.series) == result.requests == 6 * MAX_POINTS
    assert result.stats.series[-1].t_s == pytest.approx(3 * MAX_POINTS, abs=8)


def test_progress() -> None:
    collector = Collector(["a"], parse_options({"requests": 10}))
    first = collector.add(0, interval(1.0, [1, 2], errors=1))
    assert (first.requests, first.errors, first.share, first.rps) == (2, 1, 0.2, 2.0)
    assert str(first) == " 20%  2 requests, 2/s, p99 2.00 ms, 1 errors"
    warming = collector.add(0, interval(0.5, [1], measured=False))
    assert warming.warming_up
    assert "warming up" in str(warming)


def stats(**fields: object) -> LoadStats:
    return collect((0, interval(1.0, [10, 20, 30, 40], **fields))).stats  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "broken"),
    [
        ({"max_p50": "20.1ms"}, None),
        ({"max_p50": "19ms"}, "p50 is 20.0 ms; max_p50 allows 19ms"),
        ({"max_p99": "39ms"}, "p99 is 40.0 ms; max_p99 allows 39ms"),
        ({"max_p999": "1s", "max_latency": "1s"}, None),
        ({"max_latency": "39ms"}, "latency is 40.0 ms; max_latency allows 39ms"),
        ({"min_rps": 2}, None),
        ({"min_rps": 3}, "2 requests/s; min_rps asks for 3"),
        ({"max_error_rate": 0}, None),
    ],
)
def test_limits(limits: dict[str, object], broken: str | None) -> None:
    found = broken_limits(stats(), parse_options(limits).limits)
    assert found == ([] if broken is None else [broken])


def test_an_error_rate_at_its_limit_is_kept() -> None:
    assert broken_limits(stats(errors=1), parse_options({"max_error_rate": 0.25}).limits) == []
    [broken] = broken_limits(stats(errors=1), parse_options({"max_error_rate": 0.24}).limits)
    assert broken == "25.00% of 4 requests failed (first: http-500); max_error_rate allows 24.00%"


def test_a_run_that_was_stopped_by_its_error_rate_has_broken_it_whatever_ended_well_after() -> None:
    limits = parse_options({"max_error_rate": 0.3}).limits
    stopped = collect((0, interval(1.0, [10, 20, 30, 40], errors=1)), dones=(done(2.0, stopped="max-error-rate"),))
    [broken] = broken_limits(stopped.stats, limits)
    assert broken == (
        "too many requests failed (first: http-500), so the run was stopped; with those then under way it is 25.00% "
        "of 4; max_error_rate allows 30.00% at any time"
    )
    by_hand = collect((0, interval(1.0, [10] * 4, errors=1)), dones=(done(2.0, stopped="stopped"),))
    assert broken_limits(by_hand.stats, limits) == []


def test_the_error_rate_that_stopped_one_process_is_not_hidden_by_what_ended_another() -> None:
    dones = (done(2.0, stopped="app-died"), done(2.0, stopped="max-error-rate"))
    result = collect((0, interval(1.0, [10] * 4, errors=1)), dones=dones, workers=2)
    assert result.stopped_early == "max-error-rate"


def test_nothing_measured_breaks_every_limit() -> None:
    nothing = LoadStats(requests=0)
    limits = parse_options({"max_p99": "1s", "max_error_rate": 0.5, "min_rps": 1}).limits
    assert len(broken_limits(nothing, limits)) == 3


def test_a_broken_limit_carries_the_result() -> None:
    result = LoadResult(stats())
    with pytest.raises(LoadError) as caught:
        result.check(parse_options({"max_p50": "1ms", "min_rps": 100}).limits)
    assert caught.value.slug == "load-limit"
    assert caught.value.result is result  # type: ignore[attr-defined]
    assert "; " in caught.value.message


def test_results_say_what_they_are() -> None:
    text = str(collect((0, interval(1.0, [10] * 99 + [50], errors=1)), dones=(done(1.0, stopped="app-died"),)))
    assert text.splitlines() == [
        "100 requests in 1.00 s, 100/s, 10 connections",
        "latency  p50 10.0 ms  p75 10.0 ms  p90 10.0 ms  p95 10.0 ms  p99 10.0 ms  p99.9 50.0 ms  max 50.0 ms",
        "10 B received, 0 B sent",
        "status  200 OK: 99, 500 Internal Server Error: 1",
        "1 errors (1.00%)  http-500: 1; first: http-500",
        "stopped early: app-died",
    ]


def test_a_run_that_dropped_arrivals_is_not_all_that_was_asked_for() -> None:
    assert LoadResult(LoadStats(requests=10)).ok
    result = LoadResult(LoadStats(requests=10, dropped=1))
    assert not result.ok
    assert "1 arrivals dropped" in repr(result)


def test_results_compare() -> None:
    slow = LoadResult(stats(errors=2))
    rows = slow.compare(LoadResult(stats())).splitlines()
    assert rows[0].split() == ["earlier", "now", "change"]
    assert rows[3].split() == ["errors", "0.00%", "50.00%", "new"]
    assert rows[4].split() == ["p50", "20.0", "ms", "20.0", "ms", "+0.0%"]


def test_results_are_values() -> None:
    assert LoadResult(stats()) == LoadResult(stats())
    assert LoadResult(stats()) != LoadResult(stats(errors=1))
    assert repr(LoadResult(stats())) == "<LoadResult 4 requests, 0 errors, 2/s, p99 40.0 ms>"
    assert LoadResult(stats()).to_dict()["latency"]["count"] == 4


def test_a_target_is_found_by_name() -> None:
    result = LoadResult(stats())
    assert result.target("GET /a").requests == 4
    with pytest.raises(KeyError, match="no target 'x'; there are 'GET /a'"):
        result.target("x")


def test_any_percentile() -> None:
    result = collect((0, interval(1.0, [float(n) for n in range(1, 101)])))
    assert result.percentile_s(97) == pytest.approx(0.097, rel=1e-3)
