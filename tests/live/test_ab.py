"""A/B with real git, real pytest runs and a real Node app: the difference is found and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pytest_memory import ab
from pytest_memory.errors import ConfigError, MonitorError, PytestMemoryError, StoreError

pytestmark = pytest.mark.node

SERVER = """
const http = require('node:http');
const kept = Array.from({{ length: {objects} }}, (_, id) => ({{ id, name: `object ${{id}}`, at: id / 3 }}));
const server = http.createServer((request, response) => response.end(String(kept.length)));
server.listen(Number(process.env.PORT), '127.0.0.1');
"""
TEST = """
def test_it(node_app, memory_monitor):
    for _ in range(20):
        node_app.client.get("/")
"""
QUIET = ("-q", "-o", "addopts=")


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``main`` holds the base; the working tree keeps 60 % more objects, not committed."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    root = tmp_path / "repository"
    app = root / "service"
    app.mkdir(parents=True)
    git(root, "init")
    (app / "pytest.ini").write_text("[pytest]\nmemory_app = server.js\n")
    (app / "server.js").write_text(SERVER.format(objects=30_000))
    (app / "test_memory.py").write_text(TEST)
    git(root, "add", ".")
    git(root, "commit", "-m", "base")
    (app / "server.js").write_text(SERVER.format(objects=48_000))
    return root


def assert_nothing_left(repository: Path) -> None:
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert os.listdir(repository.parent / "scratch") == []


def test_growth_in_the_working_tree_is_found(repository: Path) -> None:
    order: list[str] = []
    report = ab.run_ab(
        "main",
        QUIET,
        directory=repository / "service",
        rounds=2,
        on_run=lambda side, number, of: order.append(f"{side} {number}/{of}"),
    )
    assert order == ["base 1/4", "head 2/4", "head 3/4", "base 4/4"]
    (compared,) = report.worse
    assert compared.test_id == "test_memory.py::test_it"
    heap = next(change for change in compared.changes if change.metric == "heap_bytes")
    assert heap.change == "worse"
    assert 0.8e6 < heap.difference < 4e6
    assert report.base_commit == git(repository, "rev-parse", "main").strip()
    assert_nothing_left(repository)


def test_the_same_code_is_no_difference(repository: Path) -> None:
    git(repository, "checkout", "--", ".")
    report = ab.run_ab("HEAD", QUIET, directory=repository / "service", rounds=2)
    assert report.worse == ()
    assert {change.change for change in report.comparisons[0].changes if change.unit == "bytes"} == {"same"}
    assert_nothing_left(repository)


def no_tests(repository: Path) -> None:
    ab.run_ab("main", [*QUIET, "-k", "nothing"], directory=repository / "service", rounds=1)


def usage_error(repository: Path) -> None:
    ab.run_ab("main", [*QUIET, "--no-such-option"], directory=repository / "service", rounds=1)


def unknown_ref(repository: Path) -> None:
    ab.run_ab("nowhere", QUIET, directory=repository / "service")


def not_there_yet(repository: Path) -> None:
    (repository / "added").mkdir()
    ab.run_ab("main", QUIET, directory=repository / "added")


def too_slow(repository: Path) -> None:
    ab.run_ab("main", QUIET, directory=repository / "service", rounds=1, timeout_s=0.2)


def other_dependencies(repository: Path) -> None:
    (repository / "service" / "node_modules").mkdir()
    (repository / "service" / "package-lock.json").write_text("{}")
    ab.run_ab("main", QUIET, directory=repository / "service", rounds=1)


def preparing_fails(repository: Path) -> None:
    command = [sys.executable, "-c", "print('cannot resolve'); raise SystemExit(3)"]
    ab.run_ab("main", QUIET, directory=repository / "service", rounds=1, prepare=command)


def no_rounds(repository: Path) -> None:
    ab.run_ab("main", QUIET, directory=repository / "service", rounds=0)


@pytest.mark.parametrize(
    ("go_wrong", "error", "words"),
    [
        (no_tests, MonitorError, "collected no tests on the base side"),
        (usage_error, MonitorError, "ended with status 4 on the base side"),
        (unknown_ref, StoreError, "'nowhere' is unknown"),
        (not_there_yet, StoreError, "does not exist at 'main'"),
        (too_slow, MonitorError, "did not end within 0.2 s"),
        (other_dependencies, ConfigError, "package-lock.json differs"),
        (preparing_fails, MonitorError, "ended with status 3 in the base's checkout"),
        (no_rounds, ConfigError, "rounds is 0"),
    ],
)
def test_what_goes_wrong_is_said_and_cleaned_up(
    repository: Path, go_wrong: Callable[[Path], None], error: type[PytestMemoryError], words: str
) -> None:
    with pytest.raises(error) as refused:
        go_wrong(repository)
    assert words in refused.value.message
    assert_nothing_left(repository)


def test_installed_dependencies_are_shared_and_survive(repository: Path) -> None:
    module = repository / "service" / "node_modules" / "kept"
    module.mkdir(parents=True)
    (module / "index.js").write_text("module.exports = 1;\n")
    (repository / "service" / "server.js").write_text("require('kept');" + SERVER.format(objects=30_000))
    (repository / ".gitignore").write_text("node_modules\n")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "needs a module")
    report = ab.run_ab("HEAD", QUIET, directory=repository / "service", rounds=1)
    assert report.comparisons[0].presence == "both"
    assert (module / "index.js").is_file()
    assert_nothing_left(repository)


def start_ab(repository: Path) -> subprocess.Popen[str]:
    """run_ab in a process of its own, returned when its first pytest run has begun."""
    script = (
        "import tempfile; from pytest_memory import ab\n"
        f"tempfile.tempdir = {str(repository.parent / 'scratch')!r}\n"
        f"ab.run_ab('main', {[*QUIET]!r}, directory={str(repository / 'service')!r}, rounds=50,"
        " on_run=lambda side, number, of: print(number, flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    return process


def test_sigterm_cleans_up(repository: Path) -> None:
    process = start_ab(repository)
    deadline = time.monotonic() + 120
    while not (children := psutil.Process(process.pid).children(recursive=True)) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    with process:
        assert process.wait(120) == 128 + signal.SIGTERM
    assert_nothing_left(repository)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


def test_what_a_killed_run_left_is_removed_by_the_next(repository: Path) -> None:
    process = start_ab(repository)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    with process:
        process.wait(120)
    for child in children:
        if child.is_running():
            child.kill()
    psutil.wait_procs(children, timeout=60)
    assert len(git(repository, "worktree", "list").splitlines()) == 2
    ab.run_ab("main", QUIET, directory=repository / "service", rounds=1)
    assert_nothing_left(repository)
