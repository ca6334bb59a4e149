"""``heap`` on small files: what it prints, and the same as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.snapshot_builder import SnapshotBuilder

from pytest_memory.cli.front import main


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """Three sessions in an array, a text that is there twice, and an object nothing retains."""
    heap = SnapshotBuilder()
    app = heap.node("object", "global", size=8)
    heap.edge(heap.root, "shortcut", 1, app)
    sessions = heap.node("object", "Array", size=16)
    heap.edge(app, "property", "sessions", sessions)
    for number in range(3):
        session = heap.node("object", "Session", size=100 + number)
        heap.edge(sessions, "element", number, session)
    for name in ("one", "two"):
        heap.edge(app, "property", name, heap.node("string", "said twice", size=32))
    heap.node("object", "Orphan", size=24)
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(heap.to_bytes())
    return path


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    call = {"functionName": "keep", "scriptId": "1", "url": "app.js", "lineNumber": 4, "columnNumber": 2}
    root = {"functionName": "(root)", "scriptId": "0", "url": "", "lineNumber": -1, "columnNumber": -1}
    keep = {"callFrame": call, "selfSize": 4000, "id": 2, "children": []}
    document = {
        "head": {"callFrame": root, "selfSize": 0, "id": 1, "children": [keep]},
        "samples": [{"size": 4000, "nodeId": 2, "ordinal": 1}],
    }
    path = tmp_path / "a.heapprofile"
    path.write_text(json.dumps(document))
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """The one JSON document of the command."""
    assert main(["heap", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_snapshot_as_json(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = printed(capsys, snapshot, "--top", 2)
    assert document["file"] == "a.heapsnapshot"
    assert [row["name"] for row in document["classes"]] == ["global", "Array"]
    assert document["statistics"]["orphan_count"] == 1


def test_a_class_as_json(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = printed(capsys, snapshot, "--class", "Sess*", "--top", 2)
    (row,) = document["classes"]
    assert (row["name"], row["count"], row["size_bytes"], row["retained_bytes"]) == ("Session", 3, 303, 303)
    assert [row["size_bytes"] for row in document["objects"]] == [102, 101]
    (path,) = document["paths"]
    assert path["count"] == 3
    assert path["steps"][-1][1] == "Session"


def test_strings_as_json(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = printed(capsys, snapshot, "--strings")
    assert row == {"text": "said twice", "count": 2, "size_bytes": 64, "wasted_bytes": 32, "truncated": False}


def test_a_profile_as_json(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = printed(capsys, profile)
    assert document["total_bytes"] == 4000
    (site,) = document["sites"]
    assert (site["function"], site["url"], site["line"], site["size_bytes"]) == ("keep", "app.js", 5, 4000)


def test_what_had_to_be_hung_under_the_root_is_told(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["heap", str(snapshot)]) == 0
    assert "nodes hung under the root, as nothing else retains them: 1\n" in capsys.readouterr().out
