"""Settled readings and leak tests on a real Node."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from support.apps import wait_until

from pytest_memory.classcount import count_classes
from pytest_memory.errors import ConfigError, InspectorClosed, InspectorCommandError, InspectorError
from pytest_memory.explain import explain_leak
from pytest_memory.expression import repeat_in_app
from pytest_memory.judge.counts import growing_classes
from pytest_memory.leakrun import LeakResult, count_work, run_leak_test
from pytest_memory.load import LoadGenerator
from pytest_memory.model import LeakEstimate, LoadStats
from pytest_memory.node.process import NodeApp
from pytest_memory.settle import COMMAND_TIMEOUT_S, SETTLED_BYTES, settle_app

pytestmark = pytest.mark.node

StartApp = Callable[..., NodeApp]


@pytest.fixture
def app(start_app: StartApp) -> NodeApp:
    return start_app("keeps.js", precise=True)


@pytest.fixture
def load(app: NodeApp) -> Iterator[LoadGenerator]:
    with LoadGenerator(app.url, concurrency=4) as generator:
        yield generator


# --- settling ---


def test_settled_readings_of_an_idle_app_agree(app: NodeApp) -> None:
    for _ in range(3):
        settle_app(app)
    first, second = settle_app(app), settle_app(app)
    assert first.converged
    assert first.moved_bytes == 0
    assert abs(second.heap_used_bytes - first.heap_used_bytes) < 2000
    assert second.rss_bytes > second.heap_total_bytes > second.heap_used_bytes > 1e6
    assert second.native_bytes == second.rss_bytes - second.heap_total_bytes - second.external_bytes
    assert second.code_bytes > 0
    assert second.handle_kinds["TCPServerWrap"] == 1
    assert second.fds


def test_a_heap_that_never_rests_says_by_how_much_it_still_moved(app: NodeApp) -> None:
    app.evaluate("globalThis.kept = []; setInterval(() => kept.push(new Array(10_000).fill(0)), 1); 0")
    memory = settle_app(app)
    assert not memory.converged
    assert memory.moved_bytes > SETTLED_BYTES


def test_settling_goes_on_while_each_collection_lets_go_of_more(app: NodeApp) -> None:
    """A chain of finalizers: what one frees is collected with the next round, and no sooner."""
    before = settle_app(app)
    app.evaluate("""
      globalThis.chain = Array.from({ length: 9 }, () => Array.from({ length: 5_000 }, (_, i) => ({ i })));
      globalThis.dropped = new FinalizationRegistry(() => {
        chain.pop();
        if (chain.length > 0) dropped.register({}, 0);
      });
      dropped.register({}, 0);
      0
    """)
    memory = settle_app(app, budget_s=60.0)
    assert memory.converged
    assert app.evaluate("chain.length") == 0
    assert memory.collections > 9
    assert memory.heap_used_bytes - before.heap_used_bytes < 100_000


def test_settling_waits_for_what_the_last_requests_left_running(app: NodeApp, load: LoadGenerator) -> None:
    # Twice before the first reading: an app's first requests cost it tens of kilobytes, whatever they do.
    for _ in range(2):
        load.run("/later", requests=2000)
        before = settle_app(app, timers_at_rest=0)
    load.run("/later", requests=2000)
    after = settle_app(app, timers_at_rest=0)
    assert "Timeout" not in after.handle_kinds
    assert after.heap_used_bytes - before.heap_used_bytes < 2000 * 25


def test_workers_asleep_in_atomics_wait_are_collected_and_counted(start_app: StartApp) -> None:
    app = start_app("keeps.js", precise=True, env={"WITH_WORKER": "1"})
    with LoadGenerator(app.url, concurrency=1) as load:
        load.run("/worker", requests=100)
        before = settle_app(app)
        load.run("/worker", requests=400)
        after = settle_app(app)
    assert after.worker_heap_used_bytes > before.worker_heap_used_bytes + 50_000
    assert after.worker_heap_total_bytes >= after.worker_heap_used_bytes
    assert after.duration_s < COMMAND_TIMEOUT_S


def test_an_app_that_has_just_been_killed_has_no_reading_rather_than_one_of_nothing(start_app: StartApp) -> None:
    app = start_app("keeps.js", precise=True)
    settle_app(app)
    os.kill(app.pid, signal.SIGKILL)
    assert app.wait(30) == -signal.SIGKILL
    assert not app.processes
    with pytest.raises(InspectorError, match="own process has ended"):
        settle_app(app)


@pytest.mark.parametrize("reaped", [False, True])
def test_an_app_that_ends_while_it_is_settled_has_no_reading(start_app: StartApp, reaped: bool) -> None:
    """It is killed at the last moment, between its own answers and the question to the operating system."""
    app = start_app("keeps.js", precise=True)

    class DiesAtTheEnd:
        """The app's own inspector, whose last answer is followed by the app's death."""

        processes = app.processes

        def inspector_of(self, pid: int) -> Any:
            return LastAnswer(app.inspector_of(pid))

    class LastAnswer:
        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def evaluate(self, expression: str, **options: Any) -> Any:
            answer = self._client.evaluate(expression, **options)
            os.kill(app.pid, signal.SIGKILL)
            os.waitid(os.P_PID, app.pid, os.WEXITED | os.WNOWAIT)
            if reaped:
                app.wait(30)
            return answer

    with pytest.raises(InspectorClosed, match="ended while its memory was read"):
        settle_app(DiesAtTheEnd())


def test_a_child_that_ends_while_it_is_settled_is_left_out(start_app: StartApp) -> None:
    app = start_app("family.js")
    child, daemon = (app.client.get("/").json()[name] for name in ("child", "daemon"))
    assert wait_until(lambda: set(settle_app(app).node_pids) == {app.pid, child, daemon})
    first = settle_app(app)

    class EndsTheChild:
        """The app, whose child is killed when it is first told to collect."""

        processes = app.processes

        def inspector_of(self, pid: int) -> Any:
            return KillsBeforeAsking(app.inspector_of(pid)) if pid == child else app.inspector_of(pid)

    class KillsBeforeAsking:
        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def submit(self, method: str, params: Any) -> Any:
            if not self._client.closed:
                os.kill(child, signal.SIGKILL)
            return self._client.submit(method, params)

    second = settle_app(EndsTheChild())
    assert set(second.node_pids) == set(first.node_pids) - {child}
    assert second.heap_used_bytes < first.heap_used_bytes


def test_a_leak_that_a_recycled_worker_takes_along_is_never_green(start_app: StartApp) -> None:
    app = start_app("recycled.js", precise=True, env={"LIFE": "2000"})
    with LoadGenerator(app.url, concurrency=4) as load:
        result = run_leak_test(app, lambda: load.run("/keep?bytes=500", requests=700), max_duration="15s")
    assert result.outcome in ("inconclusive", "critical")


# --- counting ---


def test_classes_are_counted_without_a_snapshot(app: NodeApp, load: LoadGenerator) -> None:
    looks = []
    for done in range(4):
        looks.append((200 * done, count_classes(app.inspector)))
        load.run("/keep", requests=200)
    assert looks[3][1]["Kept"] - looks[0][1].get("Kept", 0) == 600
    assert [delta.name for delta in growing_classes(looks)] == ["Kept"]


def test_gains_that_are_not_in_proportion_are_no_evidence() -> None:
    looks = [(0, {"A": 5, "B": 0}), (100, {"A": 105, "B": 90}), (200, {"A": 205, "B": 91}), (300, {"A": 305, "B": 300})]
    assert [delta.name for delta in growing_classes(looks)] == ["A"]
    assert growing_classes(looks[:2]) == ()
    assert growing_classes([(0, {}), (0, {"A": 50}), (0, {"A": 100})]) == ()


# --- explaining ---


def test_of_several_workers_the_one_that_grows_is_explained(start_app: StartApp) -> None:
    app = start_app("two-workers.js")
    grows = LeakEstimate(
        kind="worker-heap", outcome="critical", reason="grows", slope=100.0, low=90.0, high=110.0, limit=6.0
    )
    with LoadGenerator(app.url, concurrency=1) as load:
        load.run("/", requests=200)
        explained, notes = explain_leak(app, lambda: load.run("/", requests=500), LeakResult(estimates=(grows,)), None)
    assert notes == ()
    assert "Remembered" in [delta.name for delta in explained.class_deltas]


# --- leak tests ---


def run(app: NodeApp, operation: Callable[[], object] | str, **options: object) -> LeakResult:
    return run_leak_test(app, operation, **options)  # type: ignore[arg-type]


def test_an_app_that_dies_in_the_test_has_failed_it(app: NodeApp, load: LoadGenerator) -> None:
    result = run(app, lambda: load.run("/die", requests=100))
    assert (result.outcome, result.stopped) == ("critical", "app-died")
    assert "app-died" in [estimate.reason for estimate in result.estimates]


def test_failed_requests_are_not_measured(app: NodeApp, load: LoadGenerator) -> None:
    result = run(app, lambda: load.run("/bad", requests=50))
    assert (result.outcome, result.stopped) == ("not-measured", "errors")


def test_an_operation_without_work_is_not_measured(app: NodeApp) -> None:
    result = run(app, lambda: LoadStats(requests=0))
    assert (result.outcome, result.stopped) == ("not-measured", "no-units")


def test_a_test_cut_short_is_inconclusive_never_green(app: NodeApp, load: LoadGenerator) -> None:
    result = run(app, lambda: load.run("/drop", requests=200), max_duration="2s")
    assert (result.outcome, result.stopped) == ("inconclusive", "max-duration")
    assert result.rounds
    assert result.warmup[0].idle


def test_the_app_is_made_precise_when_it_was_not_started_so(start_app: StartApp) -> None:
    app = start_app("keeps.js")
    with LoadGenerator(app.url, concurrency=2) as load:
        run(app, lambda: load.run("/drop", requests=50), max_duration=1)
    optimised = (
        "(() => { const f = (x) => x + 1; for (let i = 0; i < 1e6; i++) f(i); return %GetOptimizationStatus(f); })"
    )
    app.evaluate("require('v8').setFlagsFromString('--allow-natives-syntax')")
    status = app.evaluate(f"require('vm').runInThisContext({optimised!r})()")
    assert not status & 0b10_0000  # kOptimized


def test_the_limit_must_be_in_the_unit_of_the_test(app: NodeApp) -> None:
    with pytest.raises(ConfigError, match="unit"):
        run(app, lambda: None, unit="job", limit="100B/request")


@pytest.mark.slow
def test_a_leak_is_found_and_what_leaks_is_named(app: NodeApp, load: LoadGenerator) -> None:
    steps: list[str] = []
    result = run(
        app,
        lambda: load.run("/keep", requests=500),
        on_step=lambda step, _longest_s: steps.append(step),
        on_growth=lambda: steps.append("growth"),
    )
    pauses = [at for at, step in enumerate(steps) if step.startswith(("rest", "counting"))]
    assert pauses, "it is called after a rest, and counted"
    assert [at for at, step in enumerate(steps) if step == "growth"] == [at + 1 for at in pauses]
    assert result.outcome == "critical"
    assert [estimate.kind for estimate in result.estimates if estimate.outcome == "critical"] == ["heap"]
    assert "Kept" in [delta.name for delta in result.class_deltas]


@pytest.mark.slow
def test_a_healthy_app_passes_with_room(app: NodeApp, load: LoadGenerator) -> None:
    result = run(app, lambda: load.run("/drop", requests=500))
    assert result.outcome == "pass"
    assert next(estimate.high for estimate in result.estimates if estimate.kind == "heap") < 6


def test_what_an_operation_returns_is_counted() -> None:
    stats = LoadStats(requests=10, errors=1)
    assert count_work(stats) == (10, 1)
    assert count_work([stats, stats]) == (20, 2)
    assert count_work(LoadStats(requests=10, errors=1, warmup_requests=5)) == (15, 1)
    assert count_work(None) is None
    assert count_work([stats, "x"]) is None


@pytest.mark.parametrize(("status", "errors"), [(200, 0), (304, 0), (404, 1), (500, 1)])
def test_a_response_is_a_unit_and_an_error_from_400_on(status: int, errors: int) -> None:
    response = httpx.Response(status)
    assert count_work(response) == (1, errors)
    assert count_work([response, response]) == (2, 2 * errors)


@pytest.mark.parametrize(("status", "counted"), [(200, (1, 0)), (503, (1, 1)), (3, None), ("done", None)])
def test_a_response_may_say_its_status_as_urllib_does(status: object, counted: tuple[int, int] | None) -> None:
    assert count_work(SimpleNamespace(status=status)) == counted


def test_an_operation_that_is_answered_with_errors_is_never_green(app: NodeApp) -> None:
    result = run_leak_test(app, lambda: app.client.get("/bad"))
    assert (result.outcome, result.stopped) == ("not-measured", "errors")


# --- work done inside the app ---


def test_an_expression_is_repeated_in_the_app(app: NodeApp) -> None:
    app.evaluate("globalThis.done = 0")
    work = repeat_in_app(app, "globalThis.done += 1;")
    assert sum(work().requests for _ in range(3)) == app.evaluate("globalThis.done") >= 3


def test_an_expression_may_await_and_require(app: NodeApp) -> None:
    work = repeat_in_app(app, "await require('node:timers/promises').setTimeout(100).then(() => globalThis.waits = 1)")
    assert 1 <= work().requests <= 3
    assert app.evaluate("globalThis.waits") == 1


@pytest.mark.parametrize("text", ["", " ; ", "for (;;) {}", "1 +", "}"])
def test_what_is_no_expression_is_refused(app: NodeApp, text: str) -> None:
    with pytest.raises(ConfigError, match="expression") as raised:
        repeat_in_app(app, text)
    assert raised.value.slug == "config-expression"


def test_what_an_expression_throws_is_the_callers_to_see(app: NodeApp) -> None:
    with pytest.raises(InspectorCommandError, match="no such order"):
        run(app, "(() => { throw new Error('no such order'); })()")


@pytest.mark.slow
def test_a_leaking_expression_is_found_and_a_healthy_one_passes(start_app: StartApp, app: NodeApp) -> None:
    # A job of a tenth of a millisecond or more: without work in it, the heap would hold millions of objects soon.
    job = "require('node:crypto').pbkdf2Sync('secret', 'salt', 300, 32, 'sha256')"
    leaking = run(app, f"(globalThis.kept ??= []).push({{ key: {job} }})", unit="job", limit="10B/job")
    heap = next(estimate for estimate in leaking.estimates if estimate.kind == "heap")
    assert (heap.outcome, heap.unit) == ("critical", "job")
    assert heap.units > 1000
    healthy = run(start_app("keeps.js", precise=True), f"{job}.length", unit="job")
    assert healthy.outcome == "pass"
