"""Snapshots in gzip or zstd: written for keeping, unpacked for reading.  Floor 5: files; looks at no content.

A snapshot is text and shrinks to a tenth.  An analysis maps the plain file, so compression is for what is kept.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

from pytest_memory.errors import ConfigError, SnapshotFormatError, StoreError

Compression = Literal["gzip", "zstd"]

SUFFIXES: dict[Compression, str] = {"gzip": ".gz", "zstd": ".zst"}
_GZIP_LEVEL = 6  # the last step that still pays: level 9 takes three times as long for 2 % less
_COPY_BYTES = 1 << 20


def compress_file(path: Path, compression: Compression) -> Path:
    """Replace ``path`` by its compressed form (``.gz`` or ``.zst`` appended) and return that.

    Raises ConfigError when zstd is asked for and no Python module for it is there, StoreError when writing fails;
    the plain file then stays."""
    if compression not in SUFFIXES:
        raise ConfigError(f"compression is {compression!r}; expected gzip or zstd", slug="config-option")
    target = path.with_name(path.name + SUFFIXES[compression])
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with path.open("rb") as source, _open(part, "wb", compression) as sink:
            shutil.copyfileobj(source, sink, _COPY_BYTES)
        os.replace(part, target)
        path.unlink()
    except OSError as error:
        raise StoreError(f"{target} could not be written: {error.strerror or error}", slug="store-write") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return target


@contextlib.contextmanager
def plain_file(path: Path) -> Iterator[Path]:
    """The path of an uncompressed form of ``path``: itself, or a temporary file that is removed afterwards.

    Raises SnapshotFormatError for a broken archive."""
    compression = next((kind for kind, suffix in SUFFIXES.items() if path.name.endswith(suffix)), None)
    if compression is None:
        yield path
        return
    stem = path.name.removesuffix(SUFFIXES[compression])
    with tempfile.TemporaryDirectory(prefix="pytest-memory-") as directory:
        plain = Path(directory) / stem
        try:
            with _open(path, "rb", compression) as source, plain.open("wb") as sink:
                shutil.copyfileobj(source, sink, _COPY_BYTES)
        except (EOFError, gzip.BadGzipFile, ValueError, OSError) as error:
            raise SnapshotFormatError(
                f"{str(path)!r} could not be unpacked: {error}; expected a {compression} file",
                slug="snapshot-format",
                byte_offset=0,
            ) from error
        yield plain


def check_compression(compression: Compression) -> None:
    """Raise ConfigError when this Python cannot write it: before anything is measured that would be packed."""
    if compression == "zstd":
        _zstd_module()


def _open(path: Path, mode: Literal["rb", "wb"], compression: Compression) -> IO[bytes]:
    if compression == "gzip":
        return cast("IO[bytes]", gzip.open(path, mode, compresslevel=_GZIP_LEVEL))
    zstd = _zstd_module()
    return cast("IO[bytes]", zstd.open(path, mode))


def _zstd_module() -> Any:
    """Python 3.14's own module, or one of the two packages with the same ``open``."""
    import importlib

    for name in ("compression.zstd", "backports.zstd", "zstandard", "pyzstd"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise ConfigError(
        "compression is 'zstd', which this Python cannot write; expected Python 3.14 or the zstandard package",
        slug="config-option",
        hint="use gzip, or pip install zstandard",
    )
