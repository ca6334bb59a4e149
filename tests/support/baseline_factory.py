"""Results and entries for tests of baselines: one call, any level, no app."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_memory.model import (
    AppInfo,
    Check,
    Environment,
    GcEvent,
    Growth,
    Latency,
    LeakEstimate,
    LoadStats,
    ResultDocument,
    RunResult,
    Sample,
    SettledMemory,
    Verdict,
)

MB = 1_000_000
TEST_ID = "tests/test_api.py::test_orders"
ENVIRONMENT = Environment(
    node_version="v20.19.1", v8_version="11.3", os="Linux 6.1.0", arch="x86_64", cpu="AMD EPYC 7763", commit="c0ffee00"
)


def settled(heap: float, *, rss: float = 90 * MB, external: float = 2 * MB, converged: bool = True) -> SettledMemory:
    return SettledMemory(
        t_s=1.0,
        heap_used_bytes=round(heap),
        heap_total_bytes=round(heap * 1.2),
        external_bytes=round(external),
        array_buffers_bytes=0,
        rss_bytes=round(rss),
        converged=converged,
    )


def load(
    requests: int = 2000, *, description: str = "GET /orders", concurrency: int = 10, slow: float = 1
) -> LoadStats:
    latency = Latency(count=requests, mean_s=0.004 * slow, p50_s=0.004 * slow, p99_s=0.02 * slow, max_s=0.05 * slow)
    return LoadStats(
        requests=requests,
        duration_s=requests * 0.0005 * slow,
        latency=latency,
        concurrency=concurrency,
        description=description,
    )


def slope(value: float, half: float = 4.0, outcome: Any = "pass") -> LeakEstimate:
    return LeakEstimate(
        kind="heap",
        outcome=outcome,
        reason="flat",
        slope=value,
        low=value - half,
        high=value + half,
        limit=1000,
        rounds=8,
        units=2000,
    )


def result(
    test_id: str = TEST_ID,
    *,
    heap: float = 20 * MB,
    growth: float = 0.1 * MB,
    rss: float = 90 * MB,
    external: float = 2 * MB,
    loads: Sequence[LoadStats] | None = None,
    leaks: Sequence[LeakEstimate] = (),
    checks: Sequence[Check] = (),
    outcome: Any = "pass",
    precise: bool = False,
    environment: Environment = ENVIRONMENT,
    converged: bool = True,
    collections: int = 4,
    pause_s: float = 0.004,
    **more: Any,
) -> RunResult:
    """A measured test whose every metric is known."""
    loads = (load(),) if loads is None else tuple(loads)
    requests = sum(one.requests for one in loads)
    start, end = settled(heap - growth), settled(heap, rss=rss, external=external, converged=converged)
    events = [GcEvent(t_s=i, pid=1, kind="mark-compact", duration_s=pause_s) for i in range(collections)]
    return RunResult(
        test_id=test_id,
        verdict=Verdict(outcome=outcome, checks=tuple(checks), leaks=tuple(leaks)),
        app=AppInfo(command="node server.js", node_version=environment.node_version, precise=precise),
        environment=environment,
        samples=(Sample(t_s=0, pid=1, rss_bytes=round(rss)), Sample(t_s=1, pid=1, rss_bytes=round(rss * 1.1))),
        gc_events=tuple(events),
        start_memory=start,
        end_memory=end,
        growth=(Growth(metric="heap_used", start=start.heap_used_bytes, end=end.heap_used_bytes, units=requests),),
        load=loads,
        test_outcome="passed",
        **more,
    )


def elsewhere(**changes: Any) -> Environment:
    """ENVIRONMENT with some of it changed."""
    return replace(ENVIRONMENT, **changes)


def document(*results: RunResult, created_at: str = "2026-01-01T00:00:00Z", commit: str = "c0ffee00") -> ResultDocument:
    environment = replace(ENVIRONMENT, commit=commit)
    return ResultDocument(
        version=1,
        created_at=created_at,
        environment=environment,
        results=tuple(replace(one, environment=replace(one.environment, commit=commit)) for one in results),
    )
