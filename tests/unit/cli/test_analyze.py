"""``analyze`` without an app: its directory is never taken from whom it belongs to, what was measured never lost."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.result_factory import healthy

from pytest_memory import store
from pytest_memory.cli import analyze, baseline, stress
from pytest_memory.cli.analyze import prepare_directory
from pytest_memory.cli.front import main
from pytest_memory.errors import (
    AppError,
    CaptureError,
    InspectorClosed,
    InspectorTimeout,
    LoadError,
    SnapshotFormatError,
    StoreError,
)
from pytest_memory.model import RunResult

DIED = AppError("'app.js' (pid 4711) was killed", slug="app-died", exit_status=-9, output_tail="<--- Last few GCs --->")


@pytest.mark.parametrize("made", [False, True])
def test_a_new_or_empty_directory_is_kept_out_of_git(made: bool, tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "result"
    if made:
        directory.mkdir(parents=True)
    prepare_directory(directory)
    assert (directory / ".gitignore").read_text() == "*\n"
    prepare_directory(directory)
    assert [path.name for path in directory.iterdir()] == [".gitignore"]


@pytest.mark.parametrize("name", [".gitignore", "server.js"])
def test_a_directory_with_something_in_it_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("node_modules\n")
    prepare_directory(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "node_modules\n"


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be written"):
        prepare_directory(tmp_path / "file" / "below")
    (tmp_path / "out" / "results.json").mkdir(parents=True)
    with pytest.raises(StoreError, match="it is a directory"):
        prepare_directory(tmp_path / "out")


# --- what stands when the snapshots fail --------------------------------------------------------------------------


def analysed(
    error: Exception, app_end: AppError | None, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, RunResult]:
    """Exit status and stored result of an analysis whose measuring went well, and whose snapshots raise ``error``."""

    def check() -> None:
        if app_end is not None:
            raise app_end

    def fail(_app: object, _send: object, _stressed: object, into: Path, *_rest: object) -> None:
        (into / "snapshots").mkdir()
        (into / "snapshots" / "load-before.heapsnapshot").write_text("{}")
        raise error

    app = SimpleNamespace(alive=True, url="http://localhost:1", wait=lambda _timeout_s: None, check=check)
    judged = healthy()
    steps = RunResult(test_id="baseline", tool="baseline", verdict=judged.verdict)
    for module, name, value in (
        (analyze, "open_app", lambda *_: contextlib.nullcontext(app)),
        (analyze, "make_generator", lambda *_: contextlib.nullcontext()),
        (analyze, "operations", lambda *_: []),
        (analyze, "workload", lambda *_: None),
        (baseline, "measure", lambda *_: steps),
        (stress, "measure", lambda *_, **__: judged),
        (analyze, "_compare", fail),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.chdir(directory)
    status = main(["analyze", "--app", "app.js", "-o", "out", "--json"])
    assert (directory / "out" / "report.html").is_file()
    kept, stressed = store.read_document(directory / "out" / "results.json").results
    assert kept.test_id == "baseline"
    assert stressed.rounds == judged.rounds
    assert stressed.growth == judged.growth
    assert [artifact.name for artifact in stressed.artifacts[len(judged.artifacts) :]] == ["load-before"]
    return status, stressed


@pytest.mark.parametrize(
    "error",
    [
        CaptureError("too little memory", slug="capture-headroom"),
        InspectorTimeout("no answer within 60 s"),
        InspectorClosed("the connection is closed"),
        LoadError("no connection"),
        StoreError("out/snapshots/load.heapprofile could not be written: No space left on device"),
        SnapshotFormatError("cut short"),
        PermissionError(13, "Permission denied"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_snapshots_that_fail_leave_what_was_measured(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, result = analysed(error, None, tmp_path, monkeypatch)
    assert (status, result.verdict.outcome) == (0, "pass")
    reason = getattr(error, "message", None) or str(error) or "MemoryError"
    assert [(note.slug, note.detail) for note in result.notes[-1:]] == [("not-explained", {"reason": reason})]
    printed = capsys.readouterr()
    assert json.loads(printed.out)["results"][1]["notes"][-1]["slug"] == "not-explained"
    assert "not explained: " in printed.err


@pytest.mark.parametrize("error", [DIED, InspectorClosed("the connection is closed")], ids=["told", "found"])
def test_an_app_that_dies_of_its_snapshot_is_the_verdict(
    error: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, result = analysed(error, DIED, tmp_path, monkeypatch)
    assert (status, result.verdict.outcome) == (1, "critical")
    assert (result.verdict.checks[0].reason, result.verdict.checks[0].outcome) == ("app-died", "critical")
    assert len(result.verdict.checks) == len(healthy().verdict.checks) + 1
    assert result.findings[0].slug == "app-died"
    assert (result.app.exit_status, result.app.output_tail) == (-9, "<--- Last few GCs --->")
    assert result.notes[-1].slug == "not-explained"
