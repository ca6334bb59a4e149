"""Every flag of every measuring command, on a real app; the last test says which one is not run anywhere."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.apps import node_under_test
from support.command import APPS, RunningApp, run_app, run_command
from support.flags_run import words_run

from pytest_memory import store
from pytest_memory.cli.arguments import build_parser
from pytest_memory.cli.completion import read_parser

pytestmark = pytest.mark.node

APP = APPS / "remembers.js"
GENEROUS = ("--max-heap-growth", "500MB", "--max-rss-growth", "900MB", "--max-external-growth", "500MB")
GENEROUS_GC = ("--max-gc-pause", "20s", "--max-gc-count", "10000")
SHORT = {
    "monitor": ("-d", "400", "-i", "100"),
    "load": ("-d", "400", "-r", "0", "-c", "2"),
    "baseline": ("-n", "20"),
    "stress": ("-d", "400", "-r", "0", "-c", "2", "-i", "100"),
    "analyze": ("-d", "400", "-r", "0", "-c", "2", "-i", "100", "-n", "20"),
    "profile": (),
}
ANSWERED = (0, 4)  # so short a leak test has no answer; it must not fail
WORK = "gc\n"  # what profile reads


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the app in ``app`` and settings in ``settings.json``."""
    (tmp_path / "app").mkdir()
    shutil.copy(APP, tmp_path / "app" / "server.js")
    (tmp_path / "settings.json").write_text('{"monitor": {"thresholds": {"gcFrequency": 5000}}}')
    return tmp_path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with run_app(APPS / "allocates.js") as app:
        yield app


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def seen_by(place: Path) -> dict[str, object]:
    return dict(json.loads((place / "app" / "seen.json").read_text()))


def started(port: int) -> tuple[str, ...]:
    """The flags that say how an app is started."""
    node = node_under_test()
    how = ("--cwd", "app", "--port", str(port), "--ready", "/health", "--node", node)
    return ("--app", "server.js", *how, "--config", "settings.json")


def assert_started_so(place: Path, port: int) -> None:
    found = seen_by(place)
    node = node_under_test()
    assert (found["cwd"], found["port"]) == (str(place / "app"), port)
    assert Path(str(found["node"])).samefile(node)
    assert "GET /health - " in found["seen"]  # type: ignore[operator]


# --- how the app is started, what is asked of it, what is written -------------------------------------------------


def test_monitor_flags(place: Path) -> None:
    port = free_port()
    done = run_command(
        "monitor", *started(port), *GENEROUS, *GENEROUS_GC, "--fail-on", "warning", "--report", "m.html",
        "-o", "m.json", "-l", "m.log", *SHORT["monitor"], cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert_started_so(place, port)
    (result,) = store.read_document(place / "m.json").results
    limits = {check.metric for check in result.verdict.checks if check.source == "option"}
    assert limits == {"max_heap_growth", "max_rss_growth", "max_external_growth", "max_gc_pause", "max_gc_count"}
    assert (place / "m.html").is_file()
    reported = run_command("report", "-i", "m.json", "-o", "again.html", "--json", cwd=place)
    assert reported.returncode == 0, reported.stderr
    assert json.loads(reported.stdout)["results"] == 1
    page = (place / "again.html").read_text()
    assert "monitor: server.js" in page
    assert 'data-figure="timeline"' in page


def test_fail_on_makes_a_warning_a_broken_limit(tmp_path: Path) -> None:
    app = tmp_path / "grows.js"
    app.write_text(
        "const kept = []; setInterval(() => kept.push(Buffer.alloc(2e6, 1)), 20);"
        "require('http').createServer((q, r) => r.end()).listen(process.env.PORT);"
    )
    (tmp_path / "memory-config.json").write_text('{"monitor": {"thresholds": {"rssGrowth": 1000000}}}')
    usual = run_command("monitor", "--app", app, "-d", "800", cwd=tmp_path)
    assert (usual.returncode, usual.stdout.startswith("memory warning")) == (0, True), usual.stdout
    strict = run_command("monitor", "--app", app, "-d", "800", "--fail-on", "warning", cwd=tmp_path)
    assert strict.returncode == 1, strict.stdout


REQUESTS = ("-p", "POST /orders", "-H", "X-Tenant: acme", "--data", '{"a": 1}', "--allow-public")


@pytest.mark.parametrize("command", ["load", "baseline", "stress", "analyze"])
def test_what_is_asked_for(command: str, place: Path) -> None:
    port = free_port()
    more = {
        "load": ("--rate", "100", "--max-error-rate", "0.5", "--report", "r.html"),
        "baseline": (*GENEROUS, *GENEROUS_GC, "--fail-on", "critical", "--report", "r.html"),
        "stress": (
            *GENEROUS, *GENEROUS_GC, "--no-leaks", "1MB/request", "--fail-on", "critical", "--report", "r.html",
        ),
        "analyze": (*GENEROUS, *GENEROUS_GC, "--no-leaks", "1MB/request", "--fail-on", "critical"),
    }[command]  # fmt: skip
    output = "out" if command == "analyze" else "r.json"
    done = run_command(
        command, *started(port), *REQUESTS, *more, *SHORT[command], "-o", output, "--json", cwd=place
    )  # fmt: skip
    assert done.returncode in ANSWERED, done.stdout + done.stderr
    assert isinstance(json.loads(done.stdout), dict)
    assert_started_so(place, port)
    assert 'POST /orders acme {"a":1}' in str(seen_by(place)["seen"]).replace('"a": 1', '"a":1')
    document = store.read_document(place / ("out/results.json" if command == "analyze" else "r.json"))
    assert sum(load.requests for result in document.results for load in result.load) > 0
    assert (place / ("out/report.html" if command == "analyze" else "r.html")).is_file()


@pytest.mark.parametrize("command", ["load", "baseline", "stress", "analyze"])
def test_a_trpc_procedure(command: str, place: Path) -> None:
    done = run_command(
        command, "--app", "server.js", "--cwd", "app", "--trpc", "order.add", "--trpc-type", "mutation",
        "--trpc-prefix", "/api/trpc", "--input", '{"page": 1}', *SHORT[command],
        "-o", "out" if command == "analyze" else "r.json", cwd=place,
    )  # fmt: skip
    assert done.returncode in ANSWERED, done.stdout + done.stderr
    assert any(
        one.startswith("POST /api/trpc/order.add") and '"page"' in one
        for one in seen_by(place)["seen"]  # type: ignore[attr-defined]
    )


@pytest.mark.parametrize("command", ["monitor", "load", "baseline", "stress", "analyze"])
def test_the_config_file_that_is_named_holds(command: str, place: Path) -> None:
    (place / "settings.json").write_text(
        '{"monitor": {"interval": 125, "duration": 400}, "loadTest": {"concurrency": 3, "duration": 400, "rampUp": 0}}'
    )
    more = {
        "monitor": (),
        "load": ("-p", "/"),
        "baseline": ("-p", "/", "-n", "20"),
        "stress": ("-p", "/"),
        "analyze": ("-p", "/", "-n", "20"),
    }[command]
    done = run_command(
        command, *started(free_port()), *more, "-o", "out" if command == "analyze" else "r.json", cwd=place
    )
    assert done.returncode in ANSWERED, done.stdout + done.stderr
    found = store.read_document(place / ("out/results.json" if command == "analyze" else "r.json")).results
    if command != "load":
        assert {result.interval_s for result in found} == {0.125}
    if command != "monitor":
        assert {load.concurrency for result in found for load in result.load} == {3}


def test_profile_reads_the_config_file_that_is_named(place: Path) -> None:
    (place / "settings.json").write_text('{"monitr": {}}')
    done = run_command("profile", *started(free_port()), cwd=place, stdin=WORK)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "settings.json" in done.stderr


def test_profile_flags(place: Path) -> None:
    port = free_port()
    done = run_command("profile", *started(port), "-o", "kept", "--compress", "gzip", cwd=place, stdin="snapshot a\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_started_so(place, port)
    assert (place / "kept" / "a.heapsnapshot.gz").is_file()


def test_a_compression_that_cannot_be_written_is_said_before_profiling(place: Path) -> None:
    done = run_command("profile", *started(free_port()), "--compress", "zstd", cwd=place, stdin="snapshot a\n")
    if done.returncode == 0:
        assert (place / "memory-profiles" / "a.heapsnapshot.zst").is_file()
    else:
        assert (done.returncode, done.stdout) == (2, "")
        assert "zstd" in done.stderr
        assert not (place / "memory-profiles").exists()


# --- an app that runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["pid", "url", "inspector"])
@pytest.mark.parametrize("command", ["load", "baseline", "stress", "analyze", "profile"])
def test_attached(command: str, how: str, running: RunningApp, tmp_path: Path) -> None:
    flags = {
        "pid": ("--pid", str(running.pid)),
        "url": ("-u", running.url),
        "inspector": ("--inspector", running.inspector),
    }[how]
    path = () if command == "profile" else ("-p", "/drop?n=1")
    done = run_command(command, *flags, *path, *SHORT[command], cwd=tmp_path, stdin=WORK)
    assert done.returncode in ANSWERED, done.stdout + done.stderr
    assert running.serves()


# --- nothing is left out ------------------------------------------------------------------------------------------

RUN = words_run(Path(__file__).parent.glob("test_*.py"))
OFFERED = read_parser(build_parser())


@pytest.mark.parametrize("command", OFFERED)
def test_every_flag_is_run_somewhere(command: str) -> None:
    missing = [
        flag.names
        for flag in OFFERED[command][1]
        if flag.names and "--help" not in flag.names and not (set(flag.names) & RUN[command])
    ]
    assert missing == []
