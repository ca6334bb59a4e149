"""Compressed snapshots: there and back, and what is broken."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from pytest_memory.errors import ConfigError, SnapshotFormatError
from pytest_memory.heap.archive import compress_file, plain_file

TEXT = b'{"snapshot":' + b"1,2,3," * 10_000 + b"]}"


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


def test_unknown_compression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected gzip or zstd"):
        compress_file(tmp_path / "a", "rar")  # type: ignore[arg-type]
