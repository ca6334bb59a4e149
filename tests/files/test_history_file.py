"""Runs kept in a directory: what can be read is read, what cannot is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.baseline_factory import MB, document, result

from pytest_memory import store
from pytest_memory.errors import ResultFormatError
from pytest_memory.history import change_points
from pytest_memory.history_file import load_history


def keep(directory: Path, index: int, heap: float) -> None:
    one = document(result(heap=heap), created_at=f"2026-01-{index + 1:02}T00:00:00Z", commit=f"{index:08}")
    store.write_document(store.run_file(directory, one), one)


def test_a_directory_of_runs_is_a_history(tmp_path: Path) -> None:
    for index in range(8):
        keep(tmp_path, index, 20 * MB if index < 5 else 30 * MB)
    (tmp_path / "run-broken.json").write_text("{")
    (tmp_path / "notes.txt").write_text("no run")
    loaded = load_history(tmp_path)
    assert loaded.run_count == 8
    assert len(loaded.unreadable) == 1
    assert "run-broken.json" in loaded.unreadable[0]
    heap = next(history for history in loaded.histories if history.metric == "heap_bytes")
    (change,) = change_points(heap)
    assert change.commit == "00000005"


@pytest.mark.parametrize("exists", [True, False])
def test_a_directory_without_runs_is_said(tmp_path: Path, exists: bool) -> None:
    directory = tmp_path / "results"
    if exists:
        directory.mkdir()
    with pytest.raises(ResultFormatError, match="holds no readable run"):
        load_history(directory)
