"""Which of many results a report shows, what they are called, and where their files are."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_memory import results, store
from pytest_memory.cli import artifacts
from pytest_memory.cli.collect import Collected, collect
from pytest_memory.cli.output import Output
from pytest_memory.model import AppInfo, Artifact, Environment, ResultDocument, RunResult

OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def result(test_id: str, tool: str, started_at: str = NEW, **app: str) -> RunResult:
    return RunResult(test_id=test_id, tool=tool, started_at=started_at, app=AppInfo(**app))  # type: ignore[arg-type]


def document(*found: RunResult, environment: Environment | None = None) -> ResultDocument:
    return results.make_document(found, environment or Environment(), "2026-01-03T00:00:00Z")


def write(name: str, *found: RunResult, environment: Environment | None = None) -> None:
    store.write_document(Path(name), document(*found, environment=environment))


def collected(source: str = ".") -> tuple[Collected, str]:
    said = io.StringIO()
    return collect(Path(source), Output(out=io.StringIO(), err=said)), said.getvalue()


def names(found: Collected) -> list[str]:
    return [one.test_id for one in found.document.results]


def test_results_of_two_apps_are_two_and_named_by_their_app() -> None:
    write("a.json", result("monitor", "monitor", OLD, command="npm start", url="http://127.0.0.1:4001"))
    write("b.json", result("monitor", "monitor", NEW, command="node api.js", url="http://127.0.0.1:4002"))
    write("c.json", result("monitor", "monitor", NEW, command="4711", url="http://127.0.0.1:4003"))
    write("d.json", result("load http://127.0.0.1:4001", "load"))
    found, said = collected()
    assert names(found) == [
        "load http://127.0.0.1:4001",
        "monitor: http://127.0.0.1:4003",
        "monitor: node api.js",
        "monitor: npm start",
    ]
    assert (found.older, said) == (0, "")


def test_of_one_app_the_newest_is_shown_and_the_others_are_counted() -> None:
    # A started app has another port each time.
    for number, when in enumerate((OLD, NEW, OLD)):
        write(f"{number}.json", result("monitor", "monitor", when, command="app.js", url=f"http://127.0.0.1:{number}"))
    write("4.json", result("t.py::test_it", "pytest", OLD, command="a"), result("t.py::other", "pytest"))
    write("5.json", result("t.py::test_it", "pytest", NEW, command="b"))
    found, said = collected()
    assert names(found) == ["monitor: app.js", "t.py::other", "t.py::test_it"]
    assert {one.started_at for one in found.document.results} == {NEW}
    assert found.older == 3
    assert said == "left out: 3 older results of the same tests or apps\n"


def test_a_copy_is_not_counted_as_left_out() -> None:
    write("a.json", result("monitor", "monitor", command="app.js"))
    shutil.copy("a.json", "b.json")
    assert collected() == (Collected(collected()[0].document, 0), "")


def test_analyzes_baseline_is_not_that_of_baseline() -> None:
    write("steps.json", result("baseline", "baseline", OLD, command="app.js"))
    write("deep/results.json", result("baseline", "analyze", command="app.js"), result("analyze", "analyze"))
    found, _ = collected()
    assert names(found) == ["analyze", "analyze baseline: app.js", "baseline: app.js"]


def test_the_environment_is_that_of_the_newest_result() -> None:
    first, second = Environment(node_version="v20.0.0"), Environment(node_version="v22.0.0")
    write("a.json", replace(result("a", "pytest", OLD), environment=first), environment=first)
    write("b.json", replace(result("b", "pytest", NEW), environment=second), environment=second)
    write("c.json", result("load", "load", "2026-01-02T09:00:00Z"), environment=Environment(os="Linux"))
    found, _ = collected()
    assert found.document.environment == second
    assert found.document.results[2].environment == Environment(os="Linux")  # of its file


# --- kept files ---------------------------------------------------------------------------------------------------


def with_file(path: str, content: bytes = b"snapshot") -> RunResult:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)
    kept = Artifact(kind="heapsnapshot", path=path, name="a", size_bytes=len(content))
    return replace(result("analyze", "analyze"), artifacts=(kept,))


def path_shown(source: str) -> str:
    (one,) = collected(source)[0].document.results
    return one.artifacts[0].path


def test_a_directory_is_read_from_within_from_elsewhere_and_after_it_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    made = document(with_file("result/snapshots/a.heapsnapshot"))
    store.write_document(Path("result/results.json"), artifacts.for_file_in(Path("result"), made))
    assert path_shown("result") == os.path.join("result", "snapshots", "a.heapsnapshot")
    Path("result").rename("moved")
    assert path_shown("moved") == os.path.join("moved", "snapshots", "a.heapsnapshot")
    monkeypatch.chdir("moved")
    assert path_shown(".") == os.path.join("snapshots", "a.heapsnapshot")
    Path("../elsewhere").mkdir()
    monkeypatch.chdir("../elsewhere")
    assert Path(path_shown("../moved")) == Path.cwd().parent / "moved" / "snapshots" / "a.heapsnapshot"


def test_paths_relative_to_where_the_command_ran_are_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    write("kept/run.json", with_file("kept/t/a.heapsnapshot"))
    monkeypatch.chdir("kept")
    assert path_shown(".") == os.path.join("t", "a.heapsnapshot")


def test_a_file_outside_is_stored_absolute() -> None:
    made = artifacts.for_file_in(Path("result"), document(with_file("resulting/a.heapsnapshot")))
    assert made.results[0].artifacts[0].path == os.path.abspath("resulting/a.heapsnapshot")


def test_what_is_gone_or_another_file_keeps_its_path(tmp_path: Path) -> None:
    one = with_file("a.heapsnapshot")
    write("deep/run.json", one)
    Path("a.heapsnapshot").write_bytes(b"of another run")
    assert path_shown("deep") == "a.heapsnapshot"
    hostile = replace(one, artifacts=(replace(one.artifacts[0], path="a\0b"),))
    write("deep/run.json", hostile)
    assert path_shown("deep") == "a\0b"
