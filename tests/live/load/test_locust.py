"""The same plan, or a user's locustfile, driven by a real Locust master and two worker processes."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from support.apps import is_gone, wait_until
from support.asyncio_app import nobody
from support.load_target import APPS, LoadTarget

from pytest_memory.errors import ConfigError, LoadError
from pytest_memory.load import LoadGenerator, Target

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed (pip install locust)"),
]


def locust_processes() -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if "locust" in " ".join(process.cmdline())]


def test_a_plan_is_sent_exactly(load: LoadGenerator, target: LoadTarget) -> None:
    first = load.locust("/item/{n}", requests=301, concurrency=6)

    assert first.ok, first
    assert first.requests == 301
    assert first.status == {"200": 301}
    assert first.latency.count == 301
    assert first.target("GET /item/{n}").requests == 301
    counts = target.counts()
    assert (counts["requests"], counts["distinct"]) == (301, 301)
    assert locust_processes() == []
    # The numbers go on where the run before left off.
    load.run("/item/{n}", requests=100)
    assert target.counts()["distinct"] == 401


def test_an_address_that_refuses_is_passed_over(
    load: LoadGenerator, target: LoadTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nobody() as silent:
        monkeypatch.setattr(load._driver, "_resolve", lambda origin: [silent, ("127.0.0.1", target.port)])
        result = load.locust("/health", requests=20, concurrency=2)

    assert result.ok, result
    assert target.counts()["requests"] == 20


@pytest.mark.slow
def test_a_sequence_of_a_plan_for_a_time(load: LoadGenerator, target: LoadTarget) -> None:
    login = Target(url="POST /login", json={"user": "u{n}"}, save={"token": "$.session.token"})
    me = Target(url="/me", headers={"authorization": "Bearer {token}"}, expect=200)

    result = load.locust([login, me], duration="2s", concurrency=4, think_time="10ms", interval="500ms")

    assert result.ok, result
    assert result.duration_s >= 2
    assert target.counts()["requests"] == result.requests
    # The clock starts with the first user, not with Locust's spawning: there are answers from the beginning on.
    assert len(result.stats.series) >= 3
    assert result.stats.series[0].requests > 0
    assert result.target("GET /me").errors == 0


def test_errors_of_one_worker_are_not_taken_for_those_of_all(target: LoadTarget) -> None:
    """The second worker has the odd numbers, all of which fail."""
    with LoadGenerator(target.url, concurrency=12, interval="200ms") as load:
        result = load.locust("/odd-fails/{n}", requests=1200, max_error_rate=0.9)

    assert result.stopped_early is None
    assert (result.requests, result.errors) == (1200, 600)


def test_one_user_has_one_worker(load: LoadGenerator, target: LoadTarget) -> None:
    """A worker without a user would keep its share of the requests for ever."""
    result = load.locust("/health", requests=20, concurrency=1)

    assert result.requests == target.counts()["requests"] == 20


def test_a_locustfile_of_the_user(load: LoadGenerator, target: LoadTarget) -> None:
    result = load.locust(APPS / "locustfile_shop.py", duration="2s", concurrency=4)

    assert result.requests == target.counts()["requests"]
    assert result.target("GET /error").errors == result.errors == result.errors_by_kind["http-500"]
    assert result.target("GET /health").errors == 0
    assert 0.1 < result.error_rate < 0.5


@pytest.mark.slow
def test_a_dead_app_stops_the_run(load: LoadGenerator) -> None:
    result = load.locust("http://127.0.0.1:9/", duration="60s", concurrency=2, interval="200ms")

    assert result.stopped_early == "app-died"
    assert result.errors_by_kind.keys() == {"connect"}


@pytest.mark.slow
def test_a_master_that_dies_is_reported_and_nothing_is_left(load: LoadGenerator) -> None:
    pids: list[int] = []

    def kill(_: object) -> None:
        if pids:  # a report that was on its way already
            return
        pids.extend(process.pid for process in locust_processes())
        [master] = [process for process in locust_processes() if "--master" in process.cmdline()]
        os.kill(master.pid, signal.SIGKILL)

    with pytest.raises(LoadError, match="ended in the middle of a run"):
        load.locust("/health", duration="60s", concurrency=2, interval="200ms", progress=kill)
    assert len(pids) >= 3
    assert wait_until(lambda: all(is_gone(pid) for pid in pids))


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("/x", {"rate": 5}, "rate cannot be had from Locust"),
        ("/x", {"warmup": 5}, "warmup or phases cannot be had"),
        (Target(url="/sse", events=2), {}, "events or hold cannot be had"),
        ("missing.py", {}, "expected a file"),
        (APPS / "locustfile_shop.py", {"requests": 5}, "requests with a locustfile"),
        ("/x", {"local_workers": 0}, "needs workers"),
        ("/x", {"remote_workers": 3, "concurrency": 2}, "a user or more for each worker"),
    ],
)
def test_what_locust_cannot_do(
    generator: LoadGenerator, what: str | Target | Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        generator.locust(what, **options)  # type: ignore[arg-type]
