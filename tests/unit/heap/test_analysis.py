"""A file that is written to between loading it and asking something of it."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.snapshot_builder import SnapshotBuilder

from pytest_memory.errors import ConfigError, SnapshotFormatError
from pytest_memory.heap import HeapSnapshot


@pytest.fixture
def file(tmp_path: Path) -> Path:
    heap = SnapshotBuilder()
    for number in range(500):
        heap.edge(heap.root, "element", number, heap.node("object", "Session", size=16))
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(heap.to_bytes())
    return path


QUESTION = """
import os, sys
from pytest_memory.errors import SnapshotFormatError
from pytest_memory.heap import HeapSnapshot
snapshot = HeapSnapshot.load(sys.argv[1])
os.truncate(sys.argv[1], 100)
try:
    snapshot.classes()
except SnapshotFormatError as error:
    print(error)
"""


def test_a_file_that_was_cut_since_is_refused(file: Path) -> None:
    """In a process of its own, which reading behind the end would kill."""
    size = file.stat().st_size
    assert size > 8192, "more than a page must be missing"
    done = subprocess.run([sys.executable, "-c", QUESTION, str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"'a.heapsnapshot' has changed since it was loaded: it had {size:,} bytes and has 100" in done.stdout


def test_a_file_that_was_written_to_since_is_refused(file: Path) -> None:
    snapshot = HeapSnapshot.load(file)
    was = file.stat()
    with file.open("r+b") as stream:
        stream.write(b"{")
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns + 1))
    with pytest.raises(SnapshotFormatError, match="has changed since it was loaded") as caught:
        snapshot.classes()
    error = caught.value
    assert (error.slug, error.byte_offset, error.field) == ("snapshot-changed", was.st_size, "file")


@pytest.mark.parametrize(
    ("name", "data", "slug", "field"),
    [
        ("a.heapsnapshot", b"", "snapshot-truncated", "snapshot"),
        ("a.heapsnapshot", b"[1]", "snapshot-not-a-snapshot", "snapshot"),
        ("a.heapsnapshot.gz", b"x", "snapshot-format", "file"),
        ("a.heapsnapshot.gz", gzip.compress(b"[1]", mtime=0), "snapshot-not-a-snapshot", "snapshot"),
    ],
)
def test_what_is_no_snapshot_is_refused_with_place_and_field(
    name: str, data: bytes, slug: str, field: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SnapshotFormatError) as caught:
        HeapSnapshot.load(tmp_path / name).classes()
    assert (caught.value.slug, caught.value.byte_offset, caught.value.field) == (slug, 0, field)


def test_a_file_that_grows_is_refused(file: Path) -> None:
    snapshot = HeapSnapshot.load(file)
    with file.open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(SnapshotFormatError, match="has changed since it was loaded"):
        snapshot.classes()


def test_a_file_that_was_replaced_or_deleted_is_still_the_one_loaded(file: Path) -> None:
    replaced = HeapSnapshot.load(file)
    other = file.with_name("other")
    other.write_bytes(b"{}")
    other.replace(file)
    assert replaced.count("Session") == 500
    deleted = HeapSnapshot.load(file)
    file.unlink()
    with pytest.raises(SnapshotFormatError, match="ends inside"):
        deleted.classes()


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda heap: heap.classes(limit=-1), "limit"),
        (lambda heap: heap.retainer_paths("Nobody", limit=-1), "limit"),
        (lambda heap: heap.largest_objects(limit=-1), "limit"),
        (lambda heap: heap.largest_collections(limit=-1), "limit"),
        (lambda heap: heap.duplicate_strings(limit=-1), "limit"),
        (lambda heap: heap.find_strings("x", limit=-1), "limit"),
        (lambda heap: heap.dominator_tree(per_node=-1), "per_node"),
        (lambda heap: heap.dominator_tree(depth=-1), "depth"),
        (lambda heap: heap.to_dict(limit=-1), "limit"),
        (lambda heap: heap.compare(heap).table(limit=-1), "limit"),
        (lambda heap: heap.compare(heap).paths(limit=-1), "limit"),
        (lambda heap: heap.compare(heap).to_dict(limit=-1), "limit"),
    ],
)
def test_fewer_rows_than_none_are_refused(ask: Callable[[HeapSnapshot], object], what: str, file: Path) -> None:
    with pytest.raises(ConfigError, match=f"{what} is -1; expected 0 or more"):
        ask(HeapSnapshot.load(file))


def test_no_rows_are_no_rows(file: Path) -> None:
    heap = HeapSnapshot.load(file)
    assert heap.classes()
    assert heap.classes(limit=0) == heap.largest_objects(limit=0) == heap.duplicate_strings(limit=0) == ()
    assert [row.depth for row in heap.dominator_tree(per_node=0)] == [0]
