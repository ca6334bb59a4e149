"""Files appear whole or not at all; locks are held by one, and freed by death."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_memory import results, store
from pytest_memory.errors import ResultFormatError, StoreError
from pytest_memory.model import Environment, RunResult


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file.json"
    store.write_atomic(path, b"one")
    store.write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


def test_who_wants_one_name_at_the_same_time_gets_one_each(tmp_path: Path) -> None:
    parts = [tmp_path / f"{number}.part" for number in range(40)]
    for part in parts:
        part.write_text(part.name)
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda part: store.publish(part, "same", ".txt"), parts))
    assert [path.read_text() for path in paths] == [part.name for part in parts]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_a_file_gets_its_name_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_paths: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    part = tmp_path / "part"
    part.write_text("whole")
    (tmp_path / "same.txt").symlink_to("nowhere")
    path = store.publish(part, "same", ".txt")
    assert (path.name, path.read_text()) == ("same-2.txt", "whole")
    assert not part.exists()


def test_the_mode_of_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b"")
    path.chmod(0o640)
    store.write_atomic(path, b"x")
    assert path.stat().st_mode & 0o777 == 0o640


def test_writing_where_a_directory_stands_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreError, match="taken"):
        store.write_atomic(tmp_path / "taken", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_writing_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="could not be written"):
        store.write_atomic(tmp_path / "file" / "x.json", b"x")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    store.write_atomic(path, b"old")

    def no_room(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(StoreError, match="No space left on device"):
        store.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


def test_reading_what_is_not_there_is_an_error_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ResultFormatError, match="No such file"):
        store.read_document(tmp_path / "missing.json")
    with pytest.raises(ResultFormatError, match="directory"):
        store.read_document(tmp_path)


def test_run_files_sort_by_age_and_never_collide(tmp_path: Path) -> None:
    document = results.make_document([RunResult(test_id="t")], Environment(commit="abcdef0123456"), store.time_text(0))
    first = store.run_file(tmp_path, document)
    store.write_document(first, document)
    second = store.run_file(tmp_path, document)
    assert first.name == "run-19700101T000000Z-abcdef0123.json"
    assert second.name == "run-19700101T000000Z-abcdef0123-2.json"


@pytest.mark.parametrize("name", ["test_a.py::test_b[x/y]", "ä" * 300, "../../etc", "", "a" * 500, "."])
def test_any_test_id_is_a_safe_short_file_name(name: str) -> None:
    stem = store.file_stem(name)
    assert 0 < len(stem.encode()) < 120
    assert "/" not in stem
    assert stem not in (".", "..")


def test_different_names_give_different_files() -> None:
    assert store.file_stem("a[1/2]") != store.file_stem("a[1-2]")


def test_a_lock_held_by_another_process_times_out_and_is_freed_by_its_death(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    script = (
        "import sys, time; from pathlib import Path; from pytest_memory import store\n"
        f"with store.locked(Path({str(path)!r})):\n    print('held', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="stayed locked"), store.locked(path, timeout_s=0.2):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with store.locked(path, timeout_s=5):
        pass
