"""The measuring commands, each with its flags, end to end on a real app: what is printed, written and returned."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import APPS, COMMAND, RunningApp, environment, run_app, run_command

from pytest_memory import store

pytestmark = pytest.mark.node

APP = APPS / "allocates.js"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningApp]:
    """An app somebody else started, with an inspector: the commands attach to it."""
    with run_app(APP) as app:
        yield app


# --- monitor ------------------------------------------------------------------------------------------------------


def test_monitor_started_app(tmp_path: Path) -> None:
    done = run_command(
        "monitor", "--app", APP, "-i", "100", "-d", "1500", "-o", "out/m.json", "-l", "m.log", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("healthy: heap grew")
    (result,) = store.read_document(tmp_path / "out" / "m.json").results
    assert result.tool == "monitor"
    assert result.verdict.outcome == "pass"
    assert len(result.samples) >= 10
    assert result.interval_s == 0.1
    log = (tmp_path / "m.log").read_text().splitlines()
    assert len(log) == len(result.samples) + 1
    assert "heapUsed=" in log[1]


def test_monitor_broken_limit_and_json(tmp_path: Path) -> None:
    (tmp_path / "grows.js").write_text(
        "const kept = []; setInterval(() => kept.push(new Array(10000).fill(0.5)), 20);"
        "require('http').createServer().listen(process.env.PORT)"
    )
    done = run_command(
        "monitor", "--app", "grows.js", "-d", "700", "--max-heap-growth", "100KB", "--json", cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["verdict"]["outcome"] == "critical"
    assert result["verdict"]["checks"][0]["metric"] == "max_heap_growth"


@pytest.mark.parametrize("how", ["pid", "url", "inspector"])
def test_monitor_attached(how: str, running: RunningApp, tmp_path: Path) -> None:
    target = {
        "pid": ("--pid", str(running.pid)),
        "url": ("-u", running.url),
        "inspector": ("--inspector", running.inspector),
    }
    done = run_command("monitor", *target[how], "-d", "600", "-i", "200", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert running.serves()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_monitor_interrupted_writes_what_was_measured(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "monitor", "--app", str(APP), "-d", "300000", "-i", "100", "-o", "m.json", "-l", "m.log"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log, deadline = tmp_path / "m.log", time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") > 5):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "healthy" in out
    assert len(store.read_document(tmp_path / "m.json").results[0].samples) >= 5


def test_monitor_says_that_the_app_died(tmp_path: Path) -> None:
    app = tmp_path / "short.js"
    app.write_text("require('http').createServer().listen(process.env.PORT); setTimeout(() => process.exit(7), 2500);")
    done = run_command("monitor", "--app", app, "-d", "30000", "-i", "100", "-o", "m.json", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "exit status 7" in done.stdout or "status 7" in done.stdout
    assert store.read_document(tmp_path / "m.json").results[0].app.exit_status == 7


@pytest.mark.parametrize("command", ["load", "stress"])
def test_load_interrupted_says_what_was_sent(command: str, tmp_path: Path) -> None:
    app = tmp_path / "server.js"
    # The app leaves a mark at its 200th request: then the load is well under way.
    app.write_text(
        "let n = 0; require('http').createServer((q, r) => {"
        " if (++n === 200) require('fs').writeFileSync('mark', ''); r.end(); }).listen(process.env.PORT);"
    )
    process = subprocess.Popen(
        [*COMMAND, command, "--app", str(app), "--cwd", str(tmp_path), "-d", "60000", "-r", "0", "-o", "r.json"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "mark").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    # A load run is complete as far as it went; a leak test that was stopped has no answer.
    assert process.returncode == (0 if command == "load" else 3), out + err
    assert "Traceback" not in err
    (result,) = store.read_document(tmp_path / "r.json").results
    assert sum(load.requests for load in result.load) >= 100


# --- load ---------------------------------------------------------------------------------------------------------


def test_load_for_a_time(running: RunningApp, tmp_path: Path) -> None:
    done = run_command(
        "load", "-u", f"{running.url}/drop?n=1", "-c", "4", "-d", "1500", "-r", "300", "-o", "l.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "4 connections" in done.stdout
    assert "no errors" in done.stdout
    (result,) = store.read_document(tmp_path / "l.json").results
    assert result.load[0].requests > 50
    assert 1.0 < result.load[0].duration_s < 4.0


def test_load_shortens_a_ramp_of_the_file_but_refuses_one_of_the_command(running: RunningApp, tmp_path: Path) -> None:
    (tmp_path / "memory-config.json").write_text('{"loadTest": {"rampUp": 5000}}')
    target = ("-u", f"{running.url}/drop?n=1", "-c", "2", "-d", "1000")
    done = run_command("load", *target, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    refused = run_command("load", *target, "-r", "5000", cwd=tmp_path)
    assert refused.returncode == 2
    assert "longer than the duration" in refused.stderr


def test_load_exact_number_of_several_paths_as_json(tmp_path: Path) -> None:
    done = run_command(
        "load", "--app", APP, "-p", "/drop?n=1", "-p", "POST /", "--data", '{"a": 1}', "-H", "X-A: b", "-n", "300",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["requests"] == 300
    assert len(document["targets"]) == 2
    assert (document["outcome"], document["results"][0]["verdict"]["outcome"]) == ("pass", "pass")
    assert document["results"][0]["test_id"] == f"load {APP}"  # not of its port, another one each time
    (tmp_path / "load.json").write_text(done.stdout)
    reported = run_command("report", "-i", "load.json", cwd=tmp_path)
    assert reported.stdout.startswith("1 test: 1 healthy"), reported.stdout + reported.stderr


def test_load_with_errors_is_a_broken_limit(running: RunningApp, tmp_path: Path) -> None:
    done = run_command("load", "-u", f"{running.url}/missing", "-n", "50", cwd=tmp_path)
    assert done.returncode == 1
    assert "404" in done.stdout
    lenient = run_command("load", "-u", f"{running.url}/missing", "-n", "50", "--max-error-rate", "1", cwd=tmp_path)
    assert lenient.returncode == 0, lenient.stdout
    document = json.loads(
        run_command("load", "-u", f"{running.url}/missing", "-n", "50", "--json", cwd=tmp_path).stdout
    )
    assert document["outcome"] == "critical"
    assert "50 of 50 requests failed" in document["reason"]


def test_a_rate_that_was_not_kept_is_no_sure_answer(tmp_path: Path) -> None:
    target = ("--app", APPS / "load_target.js", "-p", "/slow?ms=100")
    done = run_command("load", *target, "--rate", "100", "-c", "1", "-d", "1000", "-r", "0", cwd=tmp_path)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "arrivals dropped" in done.stdout
    assert "found no free connection and were dropped" in done.stdout.replace("\n", " ")


def test_load_of_nothing_could_not_be_measured(tmp_path: Path) -> None:
    done = run_command("load", "-u", "http://127.0.0.1:9", "-d", "500", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("pytest-memory: LoadError[load-target]")
    assert "Traceback" not in done.stderr


def test_load_of_a_public_host_is_refused(tmp_path: Path) -> None:
    done = run_command("load", "-u", "http://1.1.1.1", "-n", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert "config-public-target" in done.stderr


# --- baseline -----------------------------------------------------------------------------------------------------


def test_baseline_steps_and_comparison(tmp_path: Path) -> None:
    first = run_command(
        "baseline", "--app", APP, "-p", "/drop?n=5", "-p", "/keep?n=1", "-n", "150", "-o", "a.json", cwd=tmp_path
    )
    assert first.returncode == 0, first.stderr
    names = [name for name, _ in store.read_document(tmp_path / "a.json").results[0].steps]
    assert names == ["idle", "after warm-up", "/drop?n=5", "/keep?n=1", "idle again"]
    assert "after warm-up" in first.stdout

    same = run_command(
        "baseline", "--app", APP, "-p", "/drop?n=5", "-p", "/keep?n=1", "-n", "150", "-o", "b.json", "-c", "a.json",
        cwd=tmp_path,
    )  # fmt: skip
    assert same.returncode == 0, same.stdout
    assert "steps against the earlier run" in same.stdout

    compared = run_command("compare", "a.json", "b.json", cwd=tmp_path)
    assert compared.returncode == 0
    assert "1 test compared: no difference beyond chance" in compared.stdout


def test_baseline_that_is_worse_does_not_replace_what_it_was_compared_with(tmp_path: Path) -> None:
    file = tmp_path / "memory-baseline-steps.json"  # the default of -o
    app = tmp_path / "server.js"

    def measure(sessions: int, *more: str) -> subprocess.CompletedProcess[str]:
        # The same request for the record: what the app does with it has changed.
        app.write_text(APP.read_text().replace("|| 1000", f"|| {sessions}"))
        return run_command("baseline", "--app", app, "-p", "/keep", "-n", "100", *more, cwd=tmp_path)

    assert measure(1).returncode == 0
    first = file.read_bytes()
    worse = measure(400, "-c", file.name)
    assert worse.returncode == 1, worse.stdout
    assert "worse" in worse.stdout
    assert f"{file.name} still holds the earlier run" in worse.stderr
    assert file.read_bytes() == first

    again = measure(400, "-c", str(file), "-o", "other.json", "--json")
    assert again.returncode == 1, "the same regression, found a second time"
    assert "written to other.json" in again.stderr
    document = json.loads(again.stdout)
    assert document["comparison"]["worse"] == 1
    assert document["comparison"]["tests"][0]["changes"]
    assert document["results"] == json.loads((tmp_path / "other.json").read_text())["results"]

    fine = measure(1, "-c", file.name)
    assert fine.returncode == 0, fine.stdout
    assert file.read_bytes() != first


def test_baseline_compared_with_something_else_fails_before_measuring(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    done = run_command("baseline", "--app", APP, "-c", "a.json", cwd=tmp_path)
    assert done.returncode == 3
    assert "result-corrupt" in done.stderr


# --- stress and analyze -------------------------------------------------------------------------------------------


def test_stress_healthy_app(tmp_path: Path) -> None:
    done = run_command(
        "stress", "--app", APP, "-p", "/drop?n=1", "-c", "4", "-i", "500", "-d", "40000", "-r", "300", "-o", "s.json",
        "--report", "s.html", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no leak" in done.stdout
    (result,) = store.read_document(tmp_path / "s.json").results
    assert result.tool == "stress"
    assert len(result.rounds) >= 8
    assert sum(load.requests for load in result.load) > 500
    assert (tmp_path / "s.html").read_text().lstrip().lower().startswith("<!doctype html")


def test_stress_over_a_limit(tmp_path: Path) -> None:
    done = run_command(
        "stress", "--app", APP, "-p", "/keep?n=2", "--max-heap-growth", "20KB", "-d", "1000", "-r", "300",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "limit 20KB" in done.stdout


@pytest.mark.slow
def test_stress_finds_the_leak_and_names_it(tmp_path: Path) -> None:
    done = run_command(
        "stress", "--app", APP, "-c", "2", "-p", "/keep?n=1", "--no-leaks", "100B/request", "-d", "90000", "-r", "300",
        cwd=tmp_path, timeout_s=300,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith("leak: ")
    assert "limit 100" in done.stdout
    assert "Session" in done.stdout


def test_stress_too_short_is_inconclusive_not_fine(tmp_path: Path) -> None:
    done = run_command("stress", "--app", APP, "-p", "/keep?n=5", "-d", "1000", "-r", "0", cwd=tmp_path)
    assert done.returncode in (3, 4), done.stdout


def test_analyze_everything_into_one_directory(tmp_path: Path) -> None:
    done = run_command(
        "analyze", "--app", APP, "-p", "/keep?n=2", "-n", "150", "-d", "1500", "-r", "300", "-o", "result",
        "--max-heap-growth", "20KB", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    names = {path.name for path in (tmp_path / "result").rglob("*") if path.is_file()}
    assert {"results.json", "report.html", "load-before.heapsnapshot", "load-after.heapsnapshot"} <= names
    found = {result.test_id: result for result in store.read_document(tmp_path / "result" / "results.json").results}
    assert found["baseline"].steps
    stressed = found["analyze"]
    assert stressed.verdict.outcome == "critical"
    assert any(delta.name == "Session" for delta in stressed.class_deltas)
    assert any("sessions" in finding.subject or "Session" in finding.subject for finding in stressed.findings)
    assert os.listdir(tmp_path) == ["result"]
    assert (tmp_path / "result" / ".gitignore").read_text() == "*\n"
    assert_linked(tmp_path / "result" / "report.html")

    # From another directory, after it moved, and beside the file of another app.
    moved = (tmp_path / "result").rename(tmp_path / "moved")
    monitored = run_command("monitor", "--app", APPS / "hello.js", "-d", "400", "-o", "moved/m.json", cwd=tmp_path)
    assert monitored.returncode == 0, monitored.stderr
    reported = run_command("report", "-i", ".", "-o", "again/r.html", "--json", cwd=moved)
    assert json.loads(reported.stdout) | {"size_bytes": 0} == {
        "report": "again/r.html", "results": 3, "left_out": 0, "size_bytes": 0,
    }  # fmt: skip
    assert_linked(moved / "again" / "r.html")
    page = (moved / "again" / "r.html").read_text()
    for name in (f"analyze: {APP}", f"analyze baseline: {APP}", f"monitor: {APPS / 'hello.js'}"):
        assert name in page
    assert f"Measured {max(result.started_at for result in found.values())[:11]}" in page


def test_analyze_keeps_what_it_measured_of_an_app_that_dies_at_its_snapshots(tmp_path: Path) -> None:
    first = tmp_path / "result" / "snapshots" / "load-before.heapsnapshot"
    dying = f"setInterval(() => {{ if (require('fs').existsSync({json.dumps(str(first))})) process.exit(7); }}, 20);\n"
    (tmp_path / "server.js").write_text(dying + APP.read_text())
    done = run_command(
        "analyze", "--app", "server.js", "-p", "/drop?n=1", "-n", "100", "-d", "1000", "-r", "300", "-o", "result",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "not explained: " in done.stderr
    stressed, steps = store.read_document(tmp_path / "result" / "results.json").results
    assert steps.steps
    assert steps.verdict.outcome != "critical"
    assert stressed.rounds
    assert (stressed.verdict.outcome, stressed.verdict.checks[0].reason) == ("critical", "app-died")
    assert stressed.app.exit_status == 7
    assert [artifact.name for artifact in stressed.artifacts] == ["load-before"]
    assert "app died" in done.stdout
    assert (tmp_path / "result" / "report.html").is_file()


def assert_linked(page: Path) -> None:
    """Both snapshots are links that lead to a file."""
    links = re.findall(r'href="(\.[^"]+\.heapsnapshot)"', page.read_text())
    assert sorted({Path(link).name for link in links}) == ["load-after.heapsnapshot", "load-before.heapsnapshot"]
    assert all((page.parent / link).is_file() for link in links)


def test_analyze_into_a_project_leaves_its_files_alone(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("node_modules\n")
    done = run_command(
        "analyze", "--app", APP, "-p", "/drop?n=1", "-n", "20", "-d", "400", "-r", "0", "-o", ".", cwd=tmp_path
    )
    assert done.returncode in (0, 4), done.stdout + done.stderr
    assert (tmp_path / "results.json").is_file()
    assert (tmp_path / ".gitignore").read_text() == "node_modules\n"


# --- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["monitor", "baseline", "stress", "load"])
def test_unwritable_output_is_said_before_measuring(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_command(command, "--app", APP, "-o", "file/x.json", cwd=tmp_path)
    assert done.returncode == 3
    assert "store-write" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["monitor", "profile", "stress", "analyze"])
def test_no_such_app(command: str, tmp_path: Path) -> None:
    done = run_command(command, "--app", "nope.js", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["slug"] == "config-app"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["load", "monitor", "stress"])
def test_an_app_to_start_and_an_address_are_two_apps(command: str, tmp_path: Path) -> None:
    done = run_command(command, "--app", APP, "-u", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "expected one app" in done.stderr
    assert "-p PATH" in done.stderr


def test_nobody_listens(tmp_path: Path) -> None:
    done = run_command("monitor", "-u", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 3
    assert "app-not-found" in done.stderr


def test_nothing_named_and_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 3000)) == 0:
            pytest.skip("something listens on port 3000, the default app of the command line")
    done = run_command("monitor", cwd=tmp_path)
    assert done.returncode == 3
    assert "hint: no app was named: start one with --app COMMAND" in done.stderr
