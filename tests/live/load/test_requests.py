"""Requests as they are counted, on a real Node: exactly, whatever the server does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.apps import wait_until
from support.load_target import LoadTarget

from pytest_memory.errors import ConfigError, LoadError
from pytest_memory.load import LoadGenerator, LoadProgress, Target
from pytest_memory.load.result import LoadLimitError

pytestmark = pytest.mark.node


@pytest.fixture
def make_generator(target: LoadTarget) -> Iterator[Callable[..., LoadGenerator]]:
    made: list[LoadGenerator] = []

    def make(**options: Any) -> LoadGenerator:
        made.append(LoadGenerator(target.url, **options))
        return made[-1]

    yield make
    for generator in made:
        generator.close()


@pytest.mark.parametrize(("requests", "concurrency"), [(1, 1), (1, 10), (7, 3), (2500, 10), (500, 100)])
def test_requests_are_counted_exactly(load: LoadGenerator, target: LoadTarget, requests: int, concurrency: int) -> None:
    result = load.run("/health", requests=requests, concurrency=concurrency)

    assert result.requests == requests
    assert result.status == {"200": requests}
    assert result.ok
    assert result.latency.count == requests
    counts = target.counts()
    assert counts["requests"] == requests
    assert counts["open"] == 0
    assert counts["connections"] <= concurrency


def test_warm_up_is_extra(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.run("/health", requests=100, warmup=40)

    assert (result.requests, result.stats.warmup_requests) == (100, 40)
    assert target.counts()["requests"] == 140


def test_warm_up_may_be_a_time(load: LoadGenerator) -> None:
    result = load.run("/health", requests=10, warmup="100ms")

    assert result.requests == 10
    assert result.stats.warmup_requests > 10


def test_a_short_warm_up_leaves_the_processes_their_number(
    make_generator: Callable[..., LoadGenerator], target: LoadTarget
) -> None:
    target.get("/reset")
    load = make_generator(workers=2)

    result = load.run("/health", warmup=1, requests=40)

    assert len(load.worker_pids) == 2
    assert (result.requests, result.stats.warmup_requests, target.counts()["requests"]) == (40, 1, 41)


def test_duration_ends_the_run_and_awaits_what_is_under_way(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.run("/slow?ms=150", duration="400ms", concurrency=3)

    assert result.ok
    assert result.requests == target.counts()["requests"] == result.status["200"]
    assert 0.4 <= result.duration_s < 2
    assert target.counts()["aborted"] == 0


def test_several_processes_share_the_work_exactly(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.run("/item/{n}", requests=501, concurrency=5, workers=2)

    assert result.requests == 501
    counts = target.counts()
    assert (counts["requests"], counts["distinct"]) == (501, 501)
    assert len(load.worker_pids) >= 2


def test_numbers_are_never_used_twice(load: LoadGenerator, target: LoadTarget) -> None:
    for _ in range(3):
        load.run("/item/{n}", requests=50)

    assert target.counts()["distinct"] == 150


def test_phases_follow_each_other(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.run(
        "/health",
        phases=[
            {"requests": 20, "concurrency": 2},
            {"requests": 30, "concurrency": 5},
            {"requests": 5, "concurrency": 1},
        ],
    )

    assert result.requests == 55
    assert target.counts()["connections"] <= 5


def test_ramp_up_brings_clients_in_one_by_one(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.run("/slow?ms=20", duration="800ms", ramp_up="800ms", concurrency=8, interval="100ms")

    assert result.ok
    active = [point.active for point in result.stats.series]
    assert active[0] <= 3
    assert max(active) >= 6


def test_think_time_spaces_requests(load: LoadGenerator) -> None:
    result = load.run("/health", requests=10, concurrency=1, think_time="30ms")

    assert result.duration_s >= 9 * 0.029
    assert result.p50_s < 0.03


def test_kept_connections_serve_the_next_run(load: LoadGenerator, target: LoadTarget) -> None:
    for _ in range(3):
        load.run("/health", requests=40, keep_connections=True)
    assert target.counts()["connections"] == 4

    load.run("/health", requests=40)
    counts = target.counts()
    assert (counts["connections"], counts["open"]) == (4, 0)


def test_a_connection_per_request(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.run("/health", requests=60, keep_alive=False)

    assert result.ok
    counts = target.counts()
    assert (counts["requests"], counts["connections"], counts["open"]) == (60, 60, 0)


def test_progress_is_reported(load: LoadGenerator) -> None:
    seen: list[LoadProgress] = []

    load.run("/health", duration="600ms", interval="100ms", progress=seen.append)

    assert len(seen) >= 4
    assert [one.requests for one in seen] == sorted(one.requests for one in seen)
    assert seen[-1].share == pytest.approx(1.0, abs=0.35)
    assert "requests" in str(seen[-1])
    assert [one.ended for one in seen] == [False] * (len(seen) - 1) + [True]


def test_progress_ends_when_a_run_breaks_its_limit(load: LoadGenerator) -> None:
    seen: list[LoadProgress] = []

    with pytest.raises(LoadLimitError):
        load.run("/health", requests=50, max_p50="1us", progress=seen.append)

    assert seen[-1].ended


# --- what is sent -------------------------------------------------------------------------------------------------


def last(target: LoadTarget) -> dict[str, Any]:
    found: dict[str, Any] = target.get("/counts")["last"]
    return found


@pytest.mark.parametrize(
    ("request_parts", "method", "content_type", "body"),
    [
        ({"json": {"a": [1, "é"]}}, "POST", "application/json", '{"a":[1,"é"]}'),
        ({"data": {"a": "1 2", "b": "é"}}, "POST", "application/x-www-form-urlencoded", "a=1+2&b=%C3%A9"),
        ({"content": b"raw", "method": "PUT"}, "PUT", None, "raw"),
        ({"method": "DELETE"}, "DELETE", None, ""),
        ({"params": {"q": "a b"}}, "GET", None, ""),
    ],
)
def test_requests_are_what_httpx_makes_of_them(
    load: LoadGenerator,
    target: LoadTarget,
    request_parts: dict[str, Any],
    method: str,
    content_type: str | None,
    body: str,
) -> None:
    load.run("/echo", requests=1, **request_parts)

    sent = last(target)
    assert sent["method"] == method
    assert sent["headers"].get("content-type") == content_type
    assert sent["body"] == body
    if "params" in request_parts:
        assert sent["url"] == "/echo?q=a+b"


def test_headers_cookies_and_credentials(target: LoadTarget) -> None:
    with LoadGenerator(target.url, headers={"x-all": "1"}, cookies={"a": "1"}, auth=("user", "secret")) as load:
        load.run("/echo", requests=1, headers={"x-one": "2"}, cookies={"b": "2"})

    headers = last(target)["headers"]
    assert (headers["x-all"], headers["x-one"]) == ("1", "2")
    assert headers["cookie"] == "a=1; b=2"
    assert headers["authorization"] == "Basic dXNlcjpzZWNyZXQ="
    assert headers["user-agent"] == "pytest-memory"


def test_multipart(load: LoadGenerator, target: LoadTarget) -> None:
    load.run("/echo", requests=2, files={"file": ("a.txt", b"content", "text/plain")}, data={"field": "value"})

    sent = last(target)
    assert sent["headers"]["content-type"].startswith("multipart/form-data; boundary=")
    assert 'filename="a.txt"' in sent["body"]
    assert "content" in sent["body"]


def test_a_whole_httpx_request(load: LoadGenerator, target: LoadTarget) -> None:
    load.run(httpx.Request("PATCH", f"{target.url}/echo?x={{n}}", json={"a": "{n}"}), requests=1)

    assert last(target)["method"] == "PATCH"
    assert last(target)["body"] == '{"a":"{n}"}'


def test_unique_values_everywhere(target: LoadTarget, make_generator: Callable[..., LoadGenerator]) -> None:
    make_generator().run(
        "/echo?n={n}",
        requests=3,
        concurrency=1,
        json={"text": "user {n}", "number": "{n:json}", "id": "{uuid}", "literal": "{other}"},
        headers={"x-request": "r-{n}"},
        cookies={"c": "{n}"},
    )

    sent = last(target)
    assert sent["url"] == "/echo?n=2"
    assert sent["headers"]["x-request"] == "r-2"
    assert sent["headers"]["cookie"] == "c=2"
    body = json.loads(sent["body"])
    assert (body["text"], body["number"], body["literal"]) == ("user 2", 2, "{other}")
    assert len(body["id"]) == 36
    assert int(sent["headers"]["content-length"]) == len(sent["body"])


def test_a_mix_keeps_its_shares(load: LoadGenerator) -> None:
    result = load.mix({"/health": 3, "POST /echo": 1}, requests=400)

    assert result.target("GET /health").requests == 300
    assert result.target("POST /echo").requests == 100
    assert "GET /health" in str(result)


def test_a_mix_keeps_its_shares_in_every_process(load: LoadGenerator) -> None:
    """As many processes as targets: none of them has only the slow one."""
    result = load.mix(["/health", "/slow?ms=30"], duration="1s", concurrency=4, workers=2)

    fast, slow = (result.target(name).requests for name in ("GET /health", "GET /slow"))
    assert abs(fast - slow) <= 4


LOGIN = Target(url="POST /login", json={"user": "u{n}"}, save={"token": "$.session.token", "id": "json:$.id"})
ME = Target(url="/me?id={id}", headers={"authorization": "Bearer {token}"}, expect=200)


def test_a_sequence_uses_what_earlier_steps_gave(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.sequence(LOGIN, ME, iterations=25)

    assert result.ok, result
    assert result.requests == 50
    assert result.target("GET /me").requests == 25


def test_a_sequence_counts_requests_exactly(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.sequence(LOGIN, ME, requests=31)

    assert result.ok
    assert target.counts()["requests"] == 31


def test_a_sequence_without_cookies_is_not_logged_in(load: LoadGenerator) -> None:
    result = load.sequence(LOGIN, ME, iterations=4, keep_cookies=False)

    assert result.errors_by_kind == {"http-401": 4}


def test_sequences_arrive_at_a_rate(load: LoadGenerator) -> None:
    result = load.sequence(LOGIN, ME, iterations=20, rate=200)

    assert (result.requests, result.errors) == (40, 0)


def test_a_value_that_is_not_there_is_an_error_and_the_sequence_starts_again(load: LoadGenerator) -> None:
    wrong = Target(url="/health", save={"token": "$.nothing"})

    result = load.sequence(wrong, "/item/{token}", requests=12)

    assert result.errors_by_kind == {"save": 12}
    assert "{token}" in (result.first_error or "")


def test_saved_values_come_from_headers_text_and_compressed_bodies(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.sequence(
        Target(url="/gzip", save={"zipped": "$.token", "length": "header:content-length", "word": r"regex:tok(\w+)"}),
        "/echo?a={zipped}&b={length}&c={word}",
        iterations=1,
    )

    assert result.ok, result
    assert last(target)["url"].startswith("/echo?a=zipped&b=")
    assert last(target)["url"].endswith("&c=en")


def test_a_recording_is_replayed(load: LoadGenerator, target: LoadTarget, tmp_path: Path) -> None:
    entries = [
        {
            "request": {
                "method": "GET",
                "url": "https://shop.example/health",
                "headers": [{"name": ":path", "value": "/"}],
            }
        },
        {"request": {"method": "GET", "url": "https://tracker.example/x"}},
        {
            "request": {
                "method": "POST",
                "url": "https://shop.example/echo?a={n}",
                "headers": [{"name": "Content-Type", "value": "text/x"}, {"name": "Content-Length", "value": "999"}],
                "cookies": [{"name": "c", "value": "1"}],
                "postData": {"text": "body {n}"},
            }
        },
    ]
    recording = tmp_path / "session.har"
    recording.write_text(json.dumps({"log": {"entries": entries}}), encoding="utf-8")

    result = load.har(recording, iterations=5)

    assert result.ok
    assert result.requests == 10
    sent = last(target)
    assert (sent["method"], sent["url"]) == ("POST", "/echo?a=%7Bn%7D")
    assert sent["headers"]["content-type"] == "text/x"
    assert sent["headers"]["cookie"] == "c=1"


def test_redirects_are_counted_and_followed_when_asked(load: LoadGenerator) -> None:
    assert load.run("/redirect", requests=5).status == {"302": 5}

    followed = load.run("/redirect", requests=5, follow_redirects=True)
    assert followed.requests == 5
    assert followed.status == {"200": 5, "302": 5}


# --- what comes back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/chunked", "GET", "200"),
        ("/trailers", "GET", "200"),
        ("/empty", "GET", "204"),
        ("/unchanged", "GET", "304"),
        ("/continue", "GET", "200"),
        ("/big", "GET", "200"),
        ("/big", "HEAD", "200"),
        ("/chunked", "HEAD", "200"),
        ("/close", "GET", "200"),
        ("/until-close", "GET", "200"),
    ],
)
def test_all_forms_of_a_response_are_read_to_their_end(
    load: LoadGenerator, path: str, method: str, status: str
) -> None:
    result = load.run(path, method=method, requests=40)

    assert result.status == {status: 40}, result
    assert result.ok


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/error", "http-500"),
        ("/missing", "http-404"),
        ("/cut-body", "truncated"),
        ("/malformed", "malformed"),
        ("/extra-bytes", "malformed"),
        ("/huge-head", "head-too-large"),
    ],
)
def test_bad_responses_are_counted_errors(load: LoadGenerator, path: str, kind: str) -> None:
    result = load.run(path, requests=12)

    assert (result.requests, result.errors) == (12, 12)
    assert result.errors_by_kind == {kind: 12}
    assert result.first_error is not None


def test_a_redirect_loop_ends(load: LoadGenerator) -> None:
    result = load.run("/loop", requests=3, follow_redirects=5)

    assert result.errors_by_kind == {"redirect-loop": 3}


def test_a_redirect_to_another_host_is_not_followed(load: LoadGenerator) -> None:
    result = load.run("/elsewhere", requests=3, follow_redirects=True)

    assert result.errors_by_kind == {"redirect": 3}
    assert "192.0.2.1" in (result.first_error or "")


def test_a_request_nobody_answers_times_out(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.run("/never", requests=4, timeout="200ms")

    assert result.errors_by_kind == {"timeout": 4}
    assert result.latency.min_s >= 0.19
    assert target.counts()["open"] == 0


def test_an_app_that_answers_nothing_stops_the_run(load: LoadGenerator) -> None:
    result = load.run("/never", requests=100_000, timeout="100ms")

    assert result.stopped_early == "stalled"
    assert result.duration_s < 3


def test_connections_the_server_closed_meanwhile_are_no_errors(load: LoadGenerator) -> None:
    result = load.run("/cut-idle", requests=30, concurrency=2, think_time="20ms")

    assert result.ok, result


def test_a_connection_closed_at_the_wrong_moment_is_retried_once(load: LoadGenerator) -> None:
    result = load.run("/flaky", requests=100, concurrency=1)

    assert result.ok, result
    assert result.stats.retried == 11  # the retried ones are requests to the app, too


def test_what_may_not_be_sent_twice_is_not_retried(load: LoadGenerator) -> None:
    result = load.run("POST /flaky", requests=100, concurrency=1)

    assert result.errors == 10
    assert result.errors_by_kind.keys() <= {"closed", "reset"}
    assert result.stats.retried == 0


def test_a_server_that_always_hangs_up_is_an_error(load: LoadGenerator) -> None:
    result = load.run("/cut-now", requests=20)

    assert result.errors == 20


def test_too_many_errors_stop_the_run_and_fail_it(load: LoadGenerator) -> None:
    with pytest.raises(LoadError) as caught:
        load.run("/half-errors", requests=1_000_000, max_error_rate=0.1)

    assert caught.value.slug == "load-limit"
    result = load.results[-1]
    assert result.stopped_early == "max-error-rate"
    assert result.requests < 1_000_000
    assert "max_error_rate allows 10.00%" in str(caught.value)


def test_too_many_errors_stop_all_processes(load: LoadGenerator) -> None:
    with pytest.raises(LoadError, match="max_error_rate allows"):
        load.run("/half-errors", duration="60s", max_error_rate=0.1, workers=2, interval="100ms")

    assert load.results[-1].stopped_early == "max-error-rate"
    assert load.results[-1].duration_s < 30


def test_errors_of_one_process_are_not_taken_for_those_of_all(make_generator: Callable[..., LoadGenerator]) -> None:
    """The second process has the odd numbers."""
    load = make_generator(workers=2, interval="100ms")

    result = load.run("/odd-fails/{n}", requests=240, max_error_rate=0.9)

    assert result.stopped_early is None
    assert (result.requests, result.errors) == (240, 120)


def test_errors_of_a_warm_up_count_in_no_process(make_generator: Callable[..., LoadGenerator]) -> None:
    load = make_generator(workers=2, interval="50ms")
    reports: list[LoadProgress] = []
    warming = load.start("/odd-fails/1", warmup="60s", requests=4, max_error_rate=0, progress=reports.append)

    assert wait_until(lambda: len(reports) > 4 and reports[-1].requests > 100)

    assert warming.running
    with pytest.raises(LoadError, match=" of 0 requests failed"):
        warming.stop()
    assert load.results[-1].stopped_early == "stopped"


def test_a_slow_answer_breaks_its_limit(load: LoadGenerator) -> None:
    with pytest.raises(LoadError, match=r"p99 is .*; max_p99 allows 20ms"):
        load.run("/slow?ms=60", requests=8, max_p99="20ms")


def test_limits_that_are_kept_say_nothing(load: LoadGenerator) -> None:
    assert load.run("/health", requests=50, max_p99="30s", max_error_rate=0, min_rps=0.001).ok


# --- what cannot be loaded ----------------------------------------------------------------------------------------


def test_an_app_that_dies_stops_the_run(node: str) -> None:
    app = LoadTarget(node)
    try:
        with LoadGenerator(app.url) as load:
            loaded = threading.Event()
            running = load.start(
                "/health", requests=100_000_000, interval="50ms", progress=lambda seen: seen.requests and loaded.set()
            )
            assert loaded.wait(10)
            app.process.kill()
            result = running.wait(10)
    finally:
        app.stop()

    assert result.stopped_early == "app-died"
    assert result.requests > 0
    assert 0 < result.errors <= 20
    assert result.errors_by_kind["connect"] <= 10


def test_a_refused_connection_is_a_clear_message(load: LoadGenerator) -> None:
    with pytest.raises(LoadError) as caught:
        load.run("http://127.0.0.1:9/", requests=5)

    assert caught.value.slug == "load-target"
    assert "127.0.0.1 port 9" in str(caught.value)
    assert "hint: is the app started" in str(caught.value)


def test_an_unknown_host_is_a_clear_message(load: LoadGenerator) -> None:
    with pytest.raises(LoadError, match=r"load-target.*no-such-host\.invalid"):
        load.run("http://no-such-host.invalid/", requests=5)


def test_a_public_host_needs_to_be_allowed(load: LoadGenerator) -> None:
    with pytest.raises(ConfigError, match=r"config-public-target.*192\.5\.6\.30"):
        load.run("http://192.5.6.30/", requests=5)


def test_targets_of_one_run_share_an_origin(load: LoadGenerator) -> None:
    with pytest.raises(ConfigError, match="expected a single one"):
        load.mix(["/health", "http://127.0.0.1:9/"], requests=5)


def test_a_run_can_be_stopped(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.start("/health", requests=100_000_000).stop()

    assert result.stopped_early == "stopped"
    assert target.counts()["requests"] == result.requests


def test_results_print_and_compare(load: LoadGenerator) -> None:
    first = load.run("/health", requests=20)
    second = load.run("/error", requests=40)

    assert "20 requests" in str(first)
    assert "http-500: 40" in str(second)
    table = second.compare(first).splitlines()
    assert table[1].split() == ["requests", "20", "40", "+100.0%"]
    assert json.loads(first.to_json())["requests"] == 20
    assert load.results[-2:] == [first, second]


def test_the_plain_event_loop_serves_as_well(
    make_generator: Callable[..., LoadGenerator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_MEMORY_LOOP", "asyncio")
    load = make_generator()

    assert load.run("/health", requests=300).ok
    assert load.run("/health", requests=50, rate=500).ok
    assert load.run("/cut-idle", requests=30, concurrency=2, think_time="20ms").ok
    assert load.run("/big", requests=10).ok
