"""Clients that leak: hanging up, half-open, reading slowly, coming and going.  And open loops, on a real Node."""

from __future__ import annotations

import pytest
from support.apps import wait_until
from support.load_target import LoadTarget

from pytest_memory.errors import ConfigError, LoadError
from pytest_memory.load import LoadGenerator, Target

pytestmark = pytest.mark.node


def all_closed(target: LoadTarget) -> bool:
    return wait_until(lambda: target.counts()["open"] == 0)


@pytest.mark.parametrize("after", ["30ms", "20KB", "response"])
def test_hanging_up_in_the_middle_of_a_response(load: LoadGenerator, target: LoadTarget, after: str) -> None:
    path = "/never" if after == "30ms" else "/big"

    result = load.run(path, requests=30, abort_after=after)

    assert (result.requests, result.aborted, result.errors) == (30, 30, 0)
    assert result.status == {}
    assert all_closed(target)
    assert target.counts()["requests"] == 30


def test_hanging_up_in_the_middle_of_a_request(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.run("/echo", content=b"x" * 200_000, requests=10, abort_after="request")

    assert (result.requests, result.aborted, result.errors) == (10, 10, 0)
    assert all_closed(target)
    assert target.counts()["bodies"] == 0


def test_a_share_of_the_requests_is_hung_up_on(load: LoadGenerator) -> None:
    result = load.run("/slow?ms=100", requests=40, abort_after="20ms", abort_share=0.25)

    assert result.aborted == 10
    assert result.status == {"200": 30}


def test_hanging_up_after_the_timeout_is_refused(load: LoadGenerator) -> None:
    with pytest.raises(ConfigError, match=r"abort_after is 6 s and timeout 5 s"):
        load.run("/health", requests=4, abort_after="6s")
    assert load.sse("/sse", hold="50ms", requests=4, abort_after="5s").ok


def test_a_response_that_is_quicker_is_no_abort(load: LoadGenerator) -> None:
    result = load.run("/health", requests=50, abort_after="5s")

    assert (result.aborted, result.status) == (0, {"200": 50})


def test_half_open_connections_are_held_and_dropped(load: LoadGenerator, target: LoadTarget) -> None:
    running = load.start(lambda: load.half_open("/health", connections=6, hold="700ms"))

    assert wait_until(lambda: target.counts()["open"] == 6)
    result = running.wait(10)
    assert (result.requests, result.aborted) == (6, 6)
    assert all_closed(target)
    assert target.counts()["requests"] == 0


def test_slow_readers(load: LoadGenerator) -> None:
    result = load.run("/big", requests=2, concurrency=2, slow_read="2MB/s")

    assert result.ok
    assert result.latency.min_s >= 0.25


def test_bursts(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.burst("/slow?ms=50", size=60, times=2)

    assert result.ok
    assert result.requests == 120
    assert target.counts()["connections"] == 120


def test_event_streams_are_left_after_some_events(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.sse("/sse", events=3, requests=12)

    assert result.ok, result
    assert result.status == {"200": 12}
    assert result.latency.min_s >= 0.01
    assert all_closed(target)


def test_event_streams_are_left_after_a_time(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.sse("/sse", hold="60ms", requests=8)

    assert result.ok, result
    assert 0.055 <= result.latency.min_s < 1
    assert all_closed(target)


@pytest.mark.parametrize("how", ["gzip", "deflate"])
def test_events_of_a_compressed_stream_count(load: LoadGenerator, target: LoadTarget, how: str) -> None:
    result = load.sse(f"/sse-packed?how={how}", events=3, requests=8)

    assert result.ok, result
    assert result.status == {"200": 8}
    assert result.max_s < 2
    assert all_closed(target)


def test_a_stream_compressed_in_a_way_of_its_own_is_an_error_that_says_so(load: LoadGenerator) -> None:
    result = load.sse("/sse-packed?how=br", events=3, requests=4)

    assert result.errors_by_kind == {"content-encoding": 4}
    assert "'br'" in (result.first_error or "")
    assert load.sse("/sse-packed?how=br", hold="2s", requests=4).ok


def test_a_stream_that_ends_too_early_is_an_error(load: LoadGenerator) -> None:
    result = load.sse("/sse-short", events=2, requests=4)

    assert result.errors_by_kind == {"stream": 4}


def test_a_stream_that_is_not_found_is_an_error(load: LoadGenerator) -> None:
    assert load.sse("/missing", requests=4).errors_by_kind == {"http-404": 4}


# --- open loops ---------------------------------------------------------------------------------------------------


def test_a_rate_is_kept(load: LoadGenerator) -> None:
    result = load.run("/health", rate=300, duration="1s")

    assert result.requests + result.dropped == 300
    assert result.stats.rate_per_s == 300


def test_a_rate_may_be_split_over_processes(load: LoadGenerator) -> None:
    result = load.run("/health", rate=200, duration="1s", workers=2)

    assert result.requests + result.dropped == 200


def test_a_rate_may_be_counted(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.run("/health", rate=1000, requests=150)

    assert result.requests == 150
    assert target.counts()["requests"] == 150
    assert result.duration_s >= 0.145


@pytest.mark.parametrize("event_loop", ["uvloop", "asyncio"])
def test_a_client_that_is_free_just_before_the_next_arrival_takes_it(
    target: LoadTarget, monkeypatch: pytest.MonkeyPatch, event_loop: str
) -> None:
    """One client and answers that take about as long as the time between arrivals: none may be waited for in vain."""
    monkeypatch.setenv("PYTEST_MEMORY_LOOP", event_loop)
    with LoadGenerator(target.url) as load:
        result = load.run("/slow?ms=4", rate=200, duration="2s", concurrency=1, timeout="1s")

    assert result.requests + result.dropped == 400
    assert result.stats.latency.max_s < 2
    assert result.requests > 20


def test_a_rate_ramps_up(load: LoadGenerator) -> None:
    result = load.run("/health", rate=200, duration="1s", ramp_up="1s")

    assert result.requests + result.dropped == 100


def test_no_coordinated_omission(load: LoadGenerator) -> None:
    """An app that answers nothing for 100 ms of each second delays one arrival in ten by up to 100 ms.

    A closed loop of one client waits along with it and sees one slow answer a second."""
    closed = load.run("/bursts", duration="2s", concurrency=1, think_time="5ms")
    open_loop = load.run("/bursts", duration="2s", concurrency=1, rate=200)

    slow_share = 1 - 0.95
    assert open_loop.percentile_s(100 * (1 - slow_share)) > 0.03
    assert open_loop.p99_s > 0.08
    assert closed.percentile_s(97) < open_loop.percentile_s(97)


def test_arrivals_nobody_is_free_for_are_dropped_and_counted(load: LoadGenerator) -> None:
    result = load.run("/slow?ms=200", rate=100, duration="1s", concurrency=2, timeout="300ms")

    assert result.dropped > 50
    assert result.requests + result.dropped == 100
    assert "arrivals dropped" in str(result)


# --- scenarios ----------------------------------------------------------------------------------------------------


def test_a_scenario_is_the_users_own_code(load: LoadGenerator, target: LoadTarget) -> None:
    numbers: list[int] = []

    async def visit(client: object, n: int) -> None:
        numbers.append(n)
        answer = await client.post("/login", json={"user": n})  # type: ignore[attr-defined]
        token = answer.json()["session"]["token"]
        found = await client.get("/me", headers={"authorization": f"Bearer {token}"})  # type: ignore[attr-defined]
        assert found.status_code == 200

    result = load.scenario(visit, iterations=12, concurrency=3)

    assert result.ok, result
    assert result.requests == 24
    assert result.status == {"200": 24}
    assert len(set(numbers)) == 12
    assert result.target("visit").requests == 24
    assert all_closed(target)


def test_a_scenario_that_raises_is_an_error(load: LoadGenerator) -> None:
    async def visit(client: object) -> None:
        await client.get("/health")  # type: ignore[attr-defined]
        raise RuntimeError("not what was expected")

    result = load.scenario(visit, iterations=4)

    assert result.errors_by_kind == {"scenario": 4}
    assert result.first_error == "scenario: RuntimeError: not what was expected"


def test_a_status_that_a_scenario_raises_for_is_one_error(load: LoadGenerator) -> None:
    async def visit(client: object) -> None:
        (await client.get("/error")).raise_for_status()  # type: ignore[attr-defined]

    result = load.scenario(visit, iterations=4)

    assert (result.requests, result.errors_by_kind) == (4, {"http-500": 4})


def test_a_redirect_that_a_scenario_raises_for_is_an_error(load: LoadGenerator) -> None:
    async def visit(client: object) -> None:
        (await client.get("/elsewhere")).raise_for_status()  # type: ignore[attr-defined]

    assert load.scenario(visit, iterations=4).errors_by_kind == {"scenario": 4}


@pytest.mark.parametrize("path", ["http://192.5.6.30/", "/far-away"])
def test_a_scenario_does_not_lead_to_a_public_host(load: LoadGenerator, path: str) -> None:
    async def visit(client: object) -> None:
        await client.get(path, follow_redirects=True, timeout=0.2)  # type: ignore[attr-defined]

    with pytest.raises(ConfigError, match=r"config-public-target.*192\.5\.6\.30"):
        load.scenario(visit, iterations=1)


def test_a_scenario_that_fails_the_test_fails_the_test(load: LoadGenerator) -> None:
    async def visit(client: object) -> None:
        pytest.fail("no good")

    with pytest.raises(pytest.fail.Exception, match="no good"):
        load.scenario(visit, iterations=4)


def test_a_scenario_that_does_not_end_is_cut_off(load: LoadGenerator) -> None:
    import asyncio

    async def visit(client: object) -> None:
        await asyncio.sleep(3600)

    result = load.scenario(visit, duration="100ms", timeout="200ms", concurrency=2)

    assert result.errors_by_kind == {"timeout": 2}


def test_thinking_after_the_last_visit_is_no_part_of_the_run(load: LoadGenerator) -> None:
    async def visit(client: object) -> None:
        await client.get("/health")  # type: ignore[attr-defined]

    counted = load.scenario(visit, iterations=4, concurrency=4, think_time="60s")
    timed = load.scenario(visit, duration="300ms", concurrency=2, think_time="60s", timeout="200ms")

    assert (counted.requests, counted.errors) == (4, 0)
    assert (timed.requests, timed.errors) == (2, 0)
    assert counted.duration_s < 10


def test_a_scenario_on_a_dead_app_stops() -> None:
    async def visit(client: object) -> None:
        await client.get("/")  # type: ignore[attr-defined]

    with LoadGenerator("http://127.0.0.1:9") as load:
        result = load.scenario(visit, duration="60s", concurrency=2, think_time="10ms")

    assert result.stopped_early == "app-died"


def test_a_scenario_of_few_users_on_a_dead_app_stops() -> None:
    """One failed visit in each report."""

    async def visit(client: object) -> None:
        await client.get("/")  # type: ignore[attr-defined]

    with LoadGenerator("http://127.0.0.1:9") as load:
        result = load.scenario(visit, duration="60s", concurrency=1, think_time="250ms", interval="200ms")

    assert result.stopped_early == "app-died"
    assert result.duration_s < 10


def test_a_scenario_on_an_app_that_hangs_stops(load: LoadGenerator) -> None:
    async def visit(client: object) -> None:
        await client.get("/never")  # type: ignore[attr-defined]

    result = load.scenario(visit, iterations=200, concurrency=2, timeout="200ms", interval="100ms")

    assert result.stopped_early == "stalled"
    assert result.errors_by_kind == {"timeout": result.requests}
    assert result.requests < 30


# --- WebSockets ---------------------------------------------------------------------------------------------------


def test_websocket_churn(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.websocket("/ws", send=['{"hello":"{n}"}'], receive=2, farewell=["bye"], requests=20)

    assert result.ok, result
    assert result.status == {"101": 20}
    counts = target.counts()
    assert (counts["sockets"], counts["messages"]) == (20, 40)
    assert all_closed(target)


def test_websockets_may_be_dropped_and_held(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.websocket("/ws", hold="50ms", clean=False, requests=6, concurrency=3)

    assert result.ok
    assert result.duration_s >= 0.1
    assert all_closed(target)


def test_a_websocket_that_is_refused_is_an_error(load: LoadGenerator) -> None:
    assert load.websocket("/not-a-socket", requests=4).errors_by_kind == {"http-404": 4}


def test_a_websocket_that_says_nothing_times_out(load: LoadGenerator) -> None:
    result = load.websocket("/ws?quiet=1", receive=1, requests=2, timeout="200ms")

    assert result.errors_by_kind == {"timeout": 2}


def test_websockets_to_nobody_are_a_clear_message(load: LoadGenerator) -> None:
    with pytest.raises(LoadError, match="cannot be loaded"):
        load.websocket("ws://127.0.0.1:9/", requests=4)


def test_websockets_have_no_rate(load: LoadGenerator) -> None:
    with pytest.raises(ConfigError, match="rate is not for WebSockets"):
        load.websocket("/ws", rate=5)


def test_a_target_is_what_is_sent(load: LoadGenerator) -> None:
    assert load.run(Target(url="/health", name="health"), requests=3).target("health").requests == 3
