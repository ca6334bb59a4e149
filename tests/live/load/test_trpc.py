"""tRPC calls against real @trpc/server 10 and 11."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from support.apps import wait_until
from support.load_target import APPS, LoadTarget

from pytest_memory.load import LoadGenerator

pytestmark = [pytest.mark.node, pytest.mark.npm]

PACKAGES = {10: "@trpc/server@10", 11: "@trpc/server@11"}
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pytest-memory" / "tests"


@pytest.fixture(scope="module", params=sorted(PACKAGES))
def major(request: pytest.FixtureRequest) -> int:
    chosen: int = request.param
    return chosen


@pytest.fixture(scope="module")
def script(major: int) -> Path:
    """The app, beside an installation of this major of tRPC that outlives the test run."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not on PATH")
    directory = CACHE / f"trpc-{major}"
    if not (directory / "installed").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        packages = [PACKAGES[major], "superjson@2", "ws@8", "typescript@5"]
        command = [npm, "install", "--prefix", str(directory), "--no-audit", "--no-fund", *packages]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"npm could not install {PACKAGES[major]}: {done.stderr[-300:]}")
        (directory / "installed").touch()
    return Path(shutil.copy(APPS / "trpc_app.mjs", directory))


@pytest.fixture(scope="module")
def start(node: str, script: Path) -> Iterator[Callable[..., tuple[LoadTarget, LoadGenerator]]]:
    """Start the app once for each environment; one generator for each."""
    started: dict[str, tuple[LoadTarget, LoadGenerator]] = {}

    def start(variable: str = "") -> tuple[LoadTarget, LoadGenerator]:
        if variable not in started:
            app = LoadTarget(node, str(script), env={variable: "1"} if variable else {})
            started[variable] = (app, LoadGenerator(app.url, concurrency=4))
        return started[variable]

    yield start
    for app, load in started.values():
        load.close()
        app.stop()


Start = Callable[..., tuple[LoadTarget, LoadGenerator]]


def test_queries(start: Start, major: int) -> None:
    app, load = start()
    before = app.get("/counts")["calls"]

    result = load.trpc("post.list", {"page": 3, "text": "ä & b"}, requests=120)

    assert result.ok, result
    counts = app.get("/counts")
    assert counts["version"].startswith(f"{major}.")
    assert counts["calls"] - before == 120
    assert counts["inputs"]["list"] == {"page": 3, "text": "ä & b"}
    assert result.target("query post.list").requests == 120


def test_queries_without_input(start: Start) -> None:
    app, load = start()

    assert load.trpc("post.list", requests=10).ok
    assert app.get("/counts")["inputs"]["list"] is None


def test_mutations_with_unique_values(start: Start) -> None:
    app, load = start()

    result = load.trpc("post.add", {"title": "post {n}"}, type="mutation", requests=25, concurrency=1)

    assert result.ok, result
    assert app.get("/counts")["inputs"]["add"]["title"].startswith("post ")
    assert "{" not in app.get("/counts")["inputs"]["add"]["title"]


@pytest.mark.parametrize("kind", ["query", "mutation"])
def test_batches(start: Start, kind: str) -> None:
    app, load = start()
    before = app.get("/counts")["calls"]
    procedure = "post.list" if kind == "query" else "post.add"

    result = load.trpc(procedure, {"page": 1}, type=kind, batch=5, requests=20)

    assert result.ok, result
    assert app.get("/counts")["calls"] - before == 100


def test_a_batch_of_different_procedures_with_one_error(start: Start) -> None:
    _, load = start()

    result = load.trpc(["post.list", "fail"], [{"page": 1}, None], requests=8)

    # 207: several statuses in one response
    assert result.status == {"207": 8}
    assert result.errors_by_kind == {"trpc": 8}
    assert result.first_error == "trpc: no such post"


def test_errors_by_status(start: Start) -> None:
    _, load = start()

    assert load.trpc("fail", requests=8).errors_by_kind == {"http-400": 8}
    assert load.trpc("no.such.procedure", requests=8).errors_by_kind == {"http-404": 8}


@pytest.mark.parametrize("batch", [1, 3])
def test_an_error_inside_200_is_an_error(start: Start, batch: int) -> None:
    _, load = start("ALWAYS_200")

    result = load.trpc("fail", batch=batch, requests=8)

    assert result.status == {"200": 8}
    assert result.errors_by_kind == {"trpc": 8}


def test_superjson(start: Start) -> None:
    app, load = start("SUPERJSON")
    rich = {
        "when": datetime(2024, 5, 6, 7, 8, 9, 123000, tzinfo=timezone.utc),
        "tags": {"a"},
        "big": 2**60,
        "plain": [1, "x", None],
        "by_id": {1: "one"},
        "nan": float("nan"),
        "a.b": datetime(2020, 1, 1, tzinfo=timezone.utc),
    }

    result = load.trpc("post.kinds", rich, superjson=True, requests=10)

    assert result.ok, result
    assert app.get("/counts")["inputs"]["kinds"] == {
        "when": "Date",
        "tags": "Set",
        "big": "BigInt",
        "plain": "Array",
        "by_id": "Map",
        "nan": "Number",
        "a.b": "Date",
    }
    assert load.trpc("post.add", {"when": rich["when"]}, type="mutation", superjson=True, batch=2, requests=4).ok
    assert load.trpc("fail", superjson=True, batch=2, requests=4).errors == 4


def test_subscriptions_over_server_sent_events_are_left(start: Start, major: int) -> None:
    if major < 11:
        pytest.skip("tRPC 10 has no server-sent events")
    app, load = start()
    before = app.get("/counts")["subscriptions"]

    result = load.trpc("ticks", type="subscription", events=3, requests=12)

    assert result.ok, result
    assert app.get("/counts")["subscriptions"] - before == 12
    assert wait_until(lambda: app.get("/counts")["listeners"] == 0)


@pytest.mark.parametrize("variable", ["", "SUPERJSON"])
def test_a_subscription_that_fails_is_an_error(start: Start, major: int, variable: str) -> None:
    if major < 11:
        pytest.skip("tRPC 10 has no server-sent events")
    _, load = start(variable)

    result = load.trpc("breaks", type="subscription", events=2, requests=4)

    assert result.errors_by_kind == {"trpc": 4}
    assert result.first_error == "trpc: no more ticks"
    assert load.trpc("breaks", type="subscription", events=1, requests=4).ok


def test_a_subscription_that_ends_too_early_is_an_error(start: Start, major: int) -> None:
    if major < 11:
        pytest.skip("tRPC 10 has no server-sent events")
    _, load = start()

    assert load.trpc("yieldsOne", type="subscription", events=1, requests=4).ok
    assert load.trpc("yieldsOne", type="subscription", events=2, requests=4).errors_by_kind == {"stream": 4}


def test_subscriptions_over_websockets_are_left(start: Start) -> None:
    app, load = start()
    before = app.get("/counts")["subscriptions"]

    result = load.trpc("ticks", type="subscription", transport="websocket", events=3, requests=12)

    assert result.ok, result
    assert app.get("/counts")["subscriptions"] - before == 12
    assert wait_until(lambda: app.get("/counts")["listeners"] == 0)


def test_a_subscription_to_nothing_is_an_error(start: Start) -> None:
    _, load = start()

    result = load.trpc("nothing", type="subscription", transport="websocket", requests=4)

    assert result.errors_by_kind == {"trpc": 4}
