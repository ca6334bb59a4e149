"""Snapshots in gzip or zstd: written for keeping, unpacked for reading.  Floor 5: files; looks at no content.

A snapshot is text and shrinks to a tenth.  An analysis maps the plain file, so compression is for what is kept.
"""

from __future__ import annotations

import contextlib
import gzip
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

from pytest_memory import units
from pytest_memory.errors import ConfigError, SnapshotFormatError, StoreError
from pytest_memory.heap import headroom
from pytest_memory.model import Artifact
from pytest_memory.store import publish

Compression = Literal["gzip", "zstd"]

SNAPSHOT_SUFFIX = ".heapsnapshot"
SUFFIXES: dict[Compression, str] = {"gzip": ".gz", "zstd": ".zst"}
KIN = (SNAPSHOT_SUFFIX, *(SNAPSHOT_SUFFIX + packed for packed in SUFFIXES.values()))
"""What takes a snapshot's name, for `store.publish`: any of its forms may be packed or unpacked into another."""
_MAGICS: dict[Compression, bytes] = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_GZIP_LEVEL = 6  # the last step that still pays: level 9 takes three times as long for 2 % less
_COPY_BYTES = 1 << 20
_LOOK_BYTES = 64 << 20
"""So much is unpacked between two looks at the room that is left."""
_RESERVE_BYTES = 2 * _LOOK_BYTES
"""Unpacking stops when less is free: a disk without any room is trouble for others than us."""


def compress_file(path: Path, compression: Compression) -> Path:
    """Replace ``path`` by its compressed form (``.gz`` or ``.zst`` appended) and return that; over nothing that is
    there (``a-2.heapsnapshot.gz``).

    Raises ConfigError when zstd is asked for and no Python module for it is there, StoreError when writing fails;
    the plain file then stays."""
    if compression not in SUFFIXES:
        raise ConfigError(f"compression is {compression!r}; expected gzip or zstd", slug="config-option")
    stem = path.name.removesuffix(SNAPSHOT_SUFFIX)
    plain = path.name[len(stem) :]
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with path.open("rb") as source, _open(part, "wb", compression) as sink:
            shutil.copyfileobj(source, sink, _COPY_BYTES)
        target = publish(part, stem, plain + SUFFIXES[compression], kin=KIN if plain else (), own=path)
        path.unlink()
    except OSError as error:
        target = path.with_name(path.name + SUFFIXES[compression])
        raise StoreError(f"{target} could not be written: {error.strerror or error}", slug="store-write") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return target


def compress_snapshots(paths: Iterable[Path], compression: str) -> list[Path]:
    """The files after compressing the snapshots among them, as the setting ``snapshot_compression`` says it."""
    if compression == "none":
        return list(paths)
    return [
        compress_file(path, cast("Compression", compression)) if path.suffix == SNAPSHOT_SUFFIX else path
        for path in paths
    ]


def snapshot_artifact(path: Path) -> Artifact:
    """What a result says of a snapshot that is kept."""
    name = path.name.partition(SNAPSHOT_SUFFIX)[0]
    return Artifact(kind="heapsnapshot", path=str(path), name=name, size_bytes=path.stat().st_size)


def move_snapshot(path: Path, directory: Path) -> Path:
    """Move a snapshot to ``directory``, over nothing that is there, and return where it is.  Raises OSError."""
    part = directory / f".{path.name}.{secrets.token_hex(8)}.part"
    try:
        shutil.move(path, part)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return publish(part, path.name.removesuffix(SNAPSHOT_SUFFIX), SNAPSHOT_SUFFIX, kin=KIN)


@contextlib.contextmanager
def plain_file(path: Path) -> Iterator[Path]:
    """The path of an uncompressed form of ``path``: itself, or a temporary file that is removed afterwards.

    Goes by the first bytes, then by the name.  Raises SnapshotFormatError for a broken archive and for what is no
    JSON object, StoreError when there is no room to unpack it, OSError when it cannot be opened."""
    compression = _compression_of(path)
    if compression is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="pytest-memory-") as directory:
        plain = Path(directory, path.name.removesuffix(SUFFIXES[compression]))
        try:
            with plain.open("wb") as sink:
                for piece in _bounded(path, _unpacked(path, compression), Path(directory)):
                    sink.write(piece)
        except OSError as error:
            raise StoreError(
                f"{str(path)!r} could not be unpacked to {directory}: {error.strerror or error}",
                slug="store-write",
                hint="TMPDIR names a directory with more room",
            ) from error
        yield plain


def _compression_of(path: Path) -> Compression | None:
    with path.open("rb") as stream:
        head = stream.read(4)
    by_head = (kind for kind, magic in _MAGICS.items() if head.startswith(magic))
    by_name = (kind for kind, suffix in SUFFIXES.items() if path.name.endswith(suffix))
    return next(by_head, None) or next(by_name, None)


def _unpacked(path: Path, compression: Compression) -> Iterator[bytes]:
    broken = _errors_of(compression)
    try:
        with _open(path, "rb", compression) as source:
            while piece := source.read(_COPY_BYTES):
                yield piece
    except broken as error:
        raise SnapshotFormatError(
            f"{str(path)!r} could not be unpacked: {error}; expected a {compression} file", byte_offset=0
        ) from error


def _bounded(path: Path, pieces: Iterator[bytes], directory: Path) -> Iterator[bytes]:
    """The pieces as long as they can be a snapshot's and there is room for them: a small archive can hold terabytes."""
    is_begun, size_bytes, looked_bytes = False, 0, 0
    for piece in pieces:
        beginning = b"" if is_begun else piece.lstrip()
        if beginning and not beginning.startswith(b"{"):
            raise SnapshotFormatError(
                f"{path.name!r} is no heap snapshot: what is packed in it begins with {beginning[:20]!r}; expected "
                '\'{"snapshot":{"meta":…\'',
                slug="snapshot-not-a-snapshot",
                byte_offset=size_bytes + len(piece) - len(beginning),
                field="snapshot",
            )
        is_begun = is_begun or bool(beginning)
        size_bytes += len(piece)
        yield piece
        if size_bytes - looked_bytes >= _LOOK_BYTES:
            looked_bytes = size_bytes
            _check_room(path, size_bytes, directory)


def _check_room(path: Path, size_bytes: int, directory: Path) -> None:
    free_bytes = headroom.read_disk_room(directory)
    if free_bytes < _RESERVE_BYTES:
        raise StoreError(
            f"{str(path)!r} ({units.format_size(path.stat().st_size)}) could not be unpacked to {directory}: it has "
            f"come to {units.format_size(size_bytes)}, and {units.format_size(free_bytes)} are free; expected "
            f"{units.format_size(_RESERVE_BYTES)} at least to be left",
            slug="store-write",
            hint="TMPDIR names a directory with more room",
        )


def check_compression(compression: str) -> None:
    """Raise ConfigError when this Python has no module for it: before anything is measured that would be packed."""
    if compression == "zstd":
        _zstd_module()


def _open(path: Path, mode: Literal["rb", "wb"], compression: Compression) -> IO[bytes]:
    if compression == "gzip":
        return cast("IO[bytes]", gzip.open(path, mode, compresslevel=_GZIP_LEVEL))
    zstd = _zstd_module()
    return cast("IO[bytes]", zstd.open(path, mode))


def _errors_of(compression: Compression) -> tuple[type[Exception], ...]:
    """What the modules raise for bytes that are no such archive, or only the beginning of one."""
    if compression == "gzip":
        return (EOFError, zlib.error, gzip.BadGzipFile)
    return (EOFError, _zstd_module().ZstdError)


def _zstd_module() -> Any:
    """Python 3.14's own module, or one of the two packages with the same ``open``."""
    import importlib

    for name in ("compression.zstd", "backports.zstd", "zstandard", "pyzstd"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise ConfigError(
        "compression is 'zstd', which this Python has no module for; expected Python 3.14 or the zstandard package",
        slug="config-option",
        hint="use gzip, or pip install zstandard",
    )
