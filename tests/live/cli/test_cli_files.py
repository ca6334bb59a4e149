"""report, history, ab, init, config and completion end to end."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import APPS, environment, run_command

from pytest_memory import results, store
from pytest_memory.model import Environment, Growth, RunResult, SettledMemory, Verdict

APP = APPS / "allocates.js"


def memory(heap_bytes: int) -> SettledMemory:
    return SettledMemory(
        t_s=1.0,
        heap_used_bytes=heap_bytes,
        heap_total_bytes=heap_bytes,
        external_bytes=0,
        array_buffers_bytes=0,
        rss_bytes=5 * heap_bytes,
    )


def measured(test_id: str, heap_bytes: int, outcome: str = "pass", started_at: str = "") -> RunResult:
    return RunResult(
        test_id=test_id,
        started_at=started_at,
        verdict=Verdict(outcome=outcome),  # type: ignore[arg-type]
        start_memory=memory(10_000_000),
        end_memory=memory(heap_bytes),
        growth=(Growth(metric="heap_used", start=10e6, end=float(heap_bytes)),),
    )


def write(path: Path, *found: RunResult, commit: str = "", created_at: str = "2026-01-01T00:00:00Z") -> None:
    document = results.make_document(found, Environment(commit=commit), created_at)
    store.write_document(path, document)


# --- report -------------------------------------------------------------------------------------------------------


def test_report_of_a_directory_takes_the_newest_of_each_test(tmp_path: Path) -> None:
    write(tmp_path / "in" / "old.json", measured("a::x", 11_000_000, "critical", "2026-01-01T00:00:00Z"))
    write(tmp_path / "in" / "new.json", measured("a::x", 11_000_000, "pass", "2026-01-02T00:00:00Z"))
    write(tmp_path / "in" / "deep" / "other.json", measured("a::<script>alert(1)</script>", 12_000_000))
    (tmp_path / "in" / "package.json").write_text('{"name": "x"}')
    (tmp_path / "in" / "crashed.json").write_text('{"version": 1, "results": [{"test')
    (tmp_path / "in" / "newer.json").write_text('{"version": 99, "results": []}')
    done = run_command("report", "-i", "in", "-o", "out/r.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 tests: 2 healthy" in done.stdout
    assert "crashed.json" in done.stderr
    assert "newer.json" in done.stderr
    assert "package.json" not in done.stderr
    page = (tmp_path / "out" / "r.html").read_text()
    assert "<script>alert(1)" not in page


def test_report_of_one_file_as_json(tmp_path: Path) -> None:
    write(tmp_path / "one.json", measured("a::x", 11_000_000))
    done = run_command("report", "-i", "one.json", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["results"] == 1
    assert (tmp_path / "memory-analysis-report.html").is_file()


def test_report_of_nothing(tmp_path: Path) -> None:
    for source in (".", "missing"):
        done = run_command("report", "-i", source, cwd=tmp_path)
        assert done.returncode == 3
        assert "result-not-a-file" in done.stderr


def test_report_that_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path / "one.json", measured("a::x", 11_000_000))
    done = run_command("report", "-i", "one.json", "-o", "one.json/r.html", cwd=tmp_path)
    assert done.returncode == 3
    assert "store-write" in done.stderr


# --- compare and history ------------------------------------------------------------------------------------------


def test_compare_worse_better_and_not_at_all(tmp_path: Path) -> None:
    write(tmp_path / "a.json", measured("t::x", 11_000_000))
    write(tmp_path / "b.json", measured("t::x", 40_000_000))
    write(tmp_path / "c.json", measured("t::other", 40_000_000))
    assert run_command("compare", "a.json", "b.json", cwd=tmp_path).returncode == 1
    assert run_command("compare", "b.json", "a.json", cwd=tmp_path).returncode == 0
    assert run_command("compare", "a.json", "c.json", cwd=tmp_path).returncode == 4
    document = json.loads(run_command("compare", "a.json", "b.json", "--json", cwd=tmp_path).stdout)
    assert document["worse"] == 1
    missing = run_command("compare", "a.json", "nope.json", cwd=tmp_path)
    assert missing.returncode == 3
    assert "nope.json cannot be read" in missing.stderr


def test_history_names_the_commit(tmp_path: Path) -> None:
    for day in range(1, 13):
        heap = 11_000_000 if day < 7 else 20_000_000
        write(
            tmp_path / "kept" / f"run-202601{day:02}T000000Z.json",
            measured("t::x", heap + day * 1000),
            commit=f"{day:02}" * 20,
            created_at=f"2026-01-{day:02}T00:00:00Z",
        )
    done = run_command("history", "kept", "--test", "t::x", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "worse since 0707070707" in done.stdout
    assert "last good 0606060606" in done.stdout
    found = json.loads(run_command("history", "kept", "--metric", "heap_bytes", "--json", cwd=tmp_path).stdout)
    assert [one["metric"] for one in found] == ["heap_bytes"]
    named = run_command("history", cwd=tmp_path, env={"PYTEST_MEMORY_RESULTS": "kept"})
    assert named.stdout == run_command("history", "kept", cwd=tmp_path).stdout
    assert run_command("history", cwd=tmp_path).returncode == 2
    assert run_command("history", "kept", "--metric", "nope", cwd=tmp_path).returncode == 2
    assert run_command("history", ".", cwd=tmp_path).returncode == 3


# --- ab -----------------------------------------------------------------------------------------------------------


@pytest.mark.node
def test_ab_runs_both_sides(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    shutil.copy(APP, tmp_path / "server.js")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmemory_app = server.js\n")
    (tmp_path / "test_it.py").write_text(
        "def test_keep(memory_monitor, load_generator):\n    load_generator.run('/keep?n=10', requests=200)\n"
    )
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "base")
    done = run_command(
        "ab", "--base", "HEAD", "--rounds", "1", "--", "-q", cwd=tmp_path, env={"PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run 1 of 2: base" in done.stderr
    assert "1 test compared" in done.stdout
    assert run_command("ab", "--base", "no-such-ref", cwd=tmp_path).returncode == 3
    unprepared = run_command("ab", "--base", "HEAD", "--prepare", "git no-such-command", "--json", cwd=tmp_path)
    assert unprepared.returncode == 3
    assert json.loads(unprepared.stdout)["error"]["message"].startswith("git no-such-command ended with status")


# --- init, config, completion -------------------------------------------------------------------------------------


@pytest.mark.node
def test_init_writes_a_test_that_passes(tmp_path: Path) -> None:
    shutil.copy(APP, tmp_path / "server.js")
    package = {"name": "shop", "scripts": {"start": "node server.js"}, "dependencies": {"express": "4"}}
    (tmp_path / "package.json").write_text(json.dumps(package))
    assert "would write" in run_command("init", "--dry-run", cwd=tmp_path).stdout
    assert not (tmp_path / "tests").exists()
    done = run_command("init", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["framework"] == "Express"
    assert json.loads(done.stdout)["written"] == [
        "tests/test_memory.py",
        "memory-config.json",
        ".github/workflows/memory.yml",
    ]
    (tmp_path / "memory-config.json").write_text("{}")
    assert "kept" in run_command("init", cwd=tmp_path).stdout
    assert (tmp_path / "memory-config.json").read_text() == "{}"
    assert run_command("init", "--force", cwd=tmp_path).returncode == 0
    tested = run_pytest(tmp_path, "-k", "under_load")
    assert tested.returncode == 0, tested.stdout


def run_pytest(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_init_where_there_is_no_app(tmp_path: Path) -> None:
    assert run_command("init", cwd=tmp_path).returncode == 2
    (tmp_path / "package.json").write_text("{")
    done = run_command("init", cwd=tmp_path)
    assert done.returncode == 2
    assert "package.json cannot be read" in done.stderr
    assert run_command("init", "nowhere", cwd=tmp_path).returncode == 2


def test_config_says_where_a_value_came_from(tmp_path: Path) -> None:
    (tmp_path / "memory-config.json").write_text('{"monitor": {"interval": 250}}')
    done = run_command("config", cwd=tmp_path, env={"PYTEST_MEMORY_FAIL_ON": "warning"})
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert rows["interval"][1:3] == ["0.25", "s"]
    assert rows["interval"][3].endswith("memory-config.json")
    assert rows["fail_on"] == ["fail_on", "warning", "PYTEST_MEMORY_FAIL_ON"]
    document = json.loads(run_command("config", "--json", cwd=tmp_path).stdout)
    assert document["interval"] == {
        "value": 0.25,
        "source": "config file",
        "from": str(tmp_path / "memory-config.json"),
    }
    assert " ".join(rows["load_ramp_up"]) == "load_ramp_up 0 s default in pytest, 5 s in load, stress and analyze"
    in_tools = {"load": 5.0, "stress": 5.0, "analyze": 5.0}
    assert document["load_ramp_up"] == {"value": 0.0, "source": "default", "in_tools": in_tools}
    assert "in_tools" not in document["load_duration"]
    (tmp_path / "other.json").write_text('{"loadTest": {"rampUp": 1000}}')
    document = json.loads(run_command("config", "--config", "other.json", "--json", cwd=tmp_path).stdout)
    assert (document["load_ramp_up"]["value"], document["load_ramp_up"].get("in_tools")) == (1.0, None)
    schema = json.loads(run_command("config", "--schema", cwd=tmp_path).stdout)
    assert "monitor" in schema["properties"]


def test_completion_and_version(tmp_path: Path) -> None:
    script = run_command("completion", "bash", cwd=tmp_path).stdout
    assert "complete -o default" in script
    document = json.loads(run_command("completion", "bash", "--json", cwd=tmp_path).stdout)
    assert document == {"shell": "bash", "script": script}
    assert run_command("--version", cwd=tmp_path).stdout.startswith("pytest-memory ")
