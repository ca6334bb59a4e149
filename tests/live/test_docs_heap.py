"""docs/heap.md: its examples run, one after the other, on an app, and nothing anybody may ask is missing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.apps import APPS

from pytest_memory import HeapSnapshot, MemoryProfiler
from pytest_memory.heap import HeapComparison

PAGE = (Path(__file__).parents[2] / "docs" / "heap.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

# For machines, or told on the page in other words.
UNTOLD = {"analyse", "graph", "name", "to_dict", "total_bytes", "tree", "table"}
UNTOLD |= {"running", "app", "read_allocations"}


def test_every_question_is_on_the_page() -> None:
    kinds = (HeapSnapshot, HeapComparison, MemoryProfiler)
    asked = {name for kind in kinds for name in vars(kind) if not name.startswith("_")} - UNTOLD
    assert sorted(name for name in asked if not re.search(rf"\b{name}\b", PAGE)) == []


@pytest.mark.node
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(APPS / "allocates.js", tmp_path / "server.js")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    said = []
    try:
        for example in EXAMPLES:
            exec(example, names)
            said.append(capsys.readouterr().out)
    finally:
        if "app" in names:
            names["app"].stop()
    assert names["comparison"].new("Session").count == 2000
    assert names["survivors"].new("Session").count == 1000
    assert "growing-class Session" in said[-1]
    assert all(said)
    assert (tmp_path / "profiles" / "allocations.heapprofile").exists()
