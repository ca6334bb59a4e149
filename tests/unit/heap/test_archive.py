"""Compressed snapshots: there and back, and what is broken."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import tempfile
from pathlib import Path

import pytest
from support.snapshot_builder import SnapshotBuilder

from pytest_memory.errors import ConfigError, SnapshotFormatError, StoreError
from pytest_memory.heap import HeapSnapshot, archive
from pytest_memory.heap.archive import Compression, compress_file, compress_snapshots, plain_file

TEXT = b'{"snapshot":' + b"1,2,3," * 10_000 + b"]}"


def heap_text() -> bytes:
    heap = SnapshotBuilder()
    for number in range(200):
        heap.edge(heap.root, "element", number, heap.node("object", f"Class{number % 7}", size=16))
    return heap.to_bytes()


def test_gzip_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(TEXT)
    packed = compress_file(path, "gzip")
    assert packed == tmp_path / "a.heapsnapshot.gz"
    assert list(tmp_path.iterdir()) == [packed]
    assert packed.stat().st_size < len(TEXT) / 10
    with plain_file(packed) as plain:
        assert plain.name == "a.heapsnapshot"
        assert plain.read_bytes() == TEXT
    assert not plain.exists()


@pytest.mark.parametrize("first", [".gz", ".zst", ""])
def test_what_was_kept_before_stays(tmp_path: Path, first: str) -> None:
    earlier = {f"a.heapsnapshot{first or '.gz'}": b"first", f"a-2.heapsnapshot{first}": b"second"}
    for name, content in earlier.items():
        (tmp_path / name).write_bytes(content)
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(TEXT)
    packed = compress_file(path, "gzip")
    assert packed.name == "a-3.heapsnapshot.gz"
    assert not path.exists()
    with plain_file(packed) as plain:
        assert plain.read_bytes() == TEXT
    assert {name: (tmp_path / name).read_bytes() for name in earlier} == earlier


def test_plain_file_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(TEXT)
    with plain_file(path) as plain:
        assert plain == path
    assert path.exists()


@pytest.mark.parametrize("damage", [slice(0, 40), slice(3, None), slice(0, 0)])
def test_broken_archive_is_refused(tmp_path: Path, damage: slice) -> None:
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(TEXT)
    packed = compress_file(path, "gzip")
    packed.write_bytes(packed.read_bytes()[damage] or b"x")
    with pytest.raises(SnapshotFormatError, match="could not be unpacked"), plain_file(packed):
        pass


ZSTD_MODULES = ("compression.zstd", "backports.zstd", "zstandard", "pyzstd")
ZSTD = any(importlib.util.find_spec(name) for name in ("zstandard", "pyzstd", "compression"))


def test_zstd_without_a_module_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ZSTD_MODULES:
        monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(TEXT)
    with pytest.raises(ConfigError, match="zstandard"):
        compress_file(path, "zstd")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not ZSTD, reason="no zstd module is installed")
def test_zstd_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(TEXT)
    with plain_file(compress_file(path, "zstd")) as plain:
        assert plain.read_bytes() == TEXT


@pytest.mark.skipif(not ZSTD, reason="no zstd module is installed")
def test_every_frame_of_a_zstd_file_is_read(tmp_path: Path) -> None:
    """As pzstd writes them, which compresses on several processors."""
    whole = tmp_path / "a.heapsnapshot.zst"
    for part in (TEXT[:1000], TEXT[1000:30_000], TEXT[30_000:]):
        path = tmp_path / "part"
        path.write_bytes(part)
        with whole.open("ab") as stream:
            stream.write(compress_file(path, "zstd").read_bytes())
    with plain_file(whole) as plain:
        assert plain.read_bytes() == TEXT


ARCHIVES = ("gzip", pytest.param("zstd", marks=pytest.mark.skipif(not ZSTD, reason="no zstd module is installed")))


@pytest.mark.parametrize("compression", ARCHIVES)
@pytest.mark.parametrize("new_name", [None, "renamed"])
def test_a_compressed_snapshot_is_loaded_like_a_plain_one(
    tmp_path: Path, compression: Compression, new_name: str | None
) -> None:
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(heap_text())
    plain = HeapSnapshot.load(path)
    expected = plain.classes()
    packed = compress_file(path, compression)
    if new_name:
        packed = packed.rename(tmp_path / new_name)
    snapshot = HeapSnapshot.load(packed)
    assert snapshot.classes() == expected
    assert snapshot.name == packed.name
    assert list(tmp_path.iterdir()) == [packed]


@pytest.mark.parametrize("compression", ARCHIVES)
@pytest.mark.parametrize("keep", [0, 1, 3, 17, 60, -1])
def test_a_cut_archive_is_refused_when_asked(tmp_path: Path, compression: Compression, keep: int) -> None:
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(heap_text())
    packed = compress_file(path, compression)
    packed.write_bytes(packed.read_bytes()[:keep])
    with pytest.raises(SnapshotFormatError):
        HeapSnapshot.load(packed).classes()


def test_no_room_to_unpack_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, a file system without room")
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(TEXT)
    packed = compress_file(path, "gzip")
    full = tmp_path / "full"
    full.mkdir()
    (full / "a.heapsnapshot").symlink_to("/dev/full")
    monkeypatch.setattr("tempfile.TemporaryDirectory", lambda **_options: contextlib.nullcontext(str(full)))
    with pytest.raises(StoreError, match="No space left"), plain_file(packed):
        pass


def test_unpacking_stops_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "unpacked"))
    monkeypatch.setattr(archive, "_COPY_BYTES", 1000)
    monkeypatch.setattr(archive, "_LOOK_BYTES", 10_000)
    monkeypatch.setattr(archive, "_RESERVE_BYTES", 1 << 60)
    (tmp_path / "unpacked").mkdir()
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(TEXT)
    packed = compress_file(path, "gzip")
    with pytest.raises(StoreError, match=r"come to 10\.0 KB, and .* are free; expected") as caught, plain_file(packed):
        pass
    assert "TMPDIR" in str(caught.value)
    assert list((tmp_path / "unpacked").iterdir()) == []


@pytest.mark.parametrize("blanks", [0, 7, 2500])
def test_what_is_no_snapshot_is_not_unpacked_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blanks: int
) -> None:
    monkeypatch.setattr(archive, "_COPY_BYTES", 1000)
    path = tmp_path / "a.heapsnapshot"
    path.write_bytes(b" " * blanks + TEXT)
    with plain_file(compress_file(path, "gzip")) as plain:
        assert plain.stat().st_size == blanks + len(TEXT)
    path.write_bytes(b" " * blanks + b"\0" * 5000)
    packed = compress_file(path, "gzip")
    packed.write_bytes(packed.read_bytes()[:-8])  # its end is broken: who comes so far says so
    with pytest.raises(SnapshotFormatError, match="is no heap snapshot") as caught, plain_file(packed):
        pass
    assert caught.value.byte_offset == blanks


def test_compressing_takes_the_snapshots_only(tmp_path: Path) -> None:
    names = ("a.heapsnapshot", "b.heapprofile")
    for name in names:
        (tmp_path / name).write_bytes(TEXT)
    paths = [tmp_path / name for name in names]
    assert compress_snapshots(paths, "none") == paths
    assert [path.name for path in compress_snapshots(paths, "gzip")] == ["a.heapsnapshot.gz", "b.heapprofile"]


def test_unknown_compression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected gzip or zstd"):
        compress_file(tmp_path / "a", "rar")  # type: ignore[arg-type]
