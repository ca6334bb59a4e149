"""Result files on disk: names, atomic writes, locks.  Floor 5: the files of `results`, nothing decided here.

A file appears under its name only when it is whole (temporary name in the same directory, fsync, rename); a
killed writer leaves the old file standing.  Writers that read, change and write take a lock beside the file.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_memory import results
from pytest_memory.errors import ResultFormatError, StoreError
from pytest_memory.model import ResultDocument

LOCK_TIMEOUT_S = 30.0
_LOCK_POLL_S = 0.05
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_STEM = 100  # file systems stop at 255 bytes; leave room for suffixes


def now_text() -> str:
    """The time of day as results write it: UTC, whole seconds, ISO 8601."""
    return time_text(time.time())


def time_text(timestamp_s: float) -> str:
    """A POSIX timestamp as results write it."""
    return datetime.datetime.fromtimestamp(timestamp_s, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def file_stem(name: str) -> str:
    """A test id or snapshot name as a file name: readable, safe, short, distinct for distinct names."""
    safe = _UNSAFE.sub("-", name).strip("-.") or "unnamed"
    if safe == name and len(safe) <= _MAX_STEM:
        return safe
    import zlib

    return f"{safe[:_MAX_STEM]}-{zlib.crc32(name.encode('utf-8', 'surrogatepass')):08x}"


def free_path(directory: Path, stem: str, suffix: str, *, kin: Sequence[str] = (), own: Path | None = None) -> Path:
    """Where a file of this name can be written over nothing: ``stem``, or ``stem-2``, ``stem-3``, …

    A stem is taken by files of the suffixes ``kin``, too (the packed forms of one file), but not by ``own``."""
    number, wanted = 1, stem
    while any(_is_taken(directory / f"{wanted}{one}", own) for one in (suffix, *kin)):
        number += 1
        wanted = f"{stem}-{number}"
    return directory / f"{wanted}{suffix}"


def _is_taken(path: Path, own: Path | None) -> bool:
    return path != own and os.path.lexists(path)


def publish(part: Path, stem: str, suffix: str, *, kin: Sequence[str] = (), own: Path | None = None) -> Path:
    """Give a whole file its name (see `free_path`) and return that: over nothing, whoever else wants the name.

    Where the file system knows no links, another process that takes the name in the same moment loses its file."""
    while True:
        path = free_path(part.parent, stem, suffix, kin=kin, own=own)
        try:
            os.link(part, path)
        except FileExistsError:
            continue  # taken since it was found free
        except OSError:
            os.replace(part, path)
        else:
            with contextlib.suppress(OSError):
                part.unlink()
        return path


def write_atomic(path: Path, data: bytes) -> None:
    """Write the whole file or nothing.  Raises StoreError naming the path and the system's reason."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".part", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise StoreError(
            f"{path} could not be written: {error.strerror or error}",
            slug="store-write",
            hint="is the directory there, writable, and is there room on the disk?",
        ) from error


def _umask() -> int:
    # There is no way to read the umask without setting it; the window is two system calls long.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def read_bytes(path: Path) -> bytes:
    """The file's bytes, or ResultFormatError (result-not-a-file) with the system's reason."""
    try:
        return path.read_bytes()
    except OSError as error:
        expected = "a file this user may read" if isinstance(error, PermissionError) else "a file"
        raise ResultFormatError(
            f"{path} cannot be read: {error.strerror or error}; expected {expected}", slug="result-not-a-file"
        ) from error


def read_document(path: Path) -> ResultDocument:
    """Read one result document of this or an older version."""
    return results.decode_document(read_bytes(path), file=str(path))


def write_document(path: Path, document: ResultDocument) -> None:
    """Write one result document, atomically."""
    write_atomic(path, results.encode_document(document))


def run_file(directory: Path, document: ResultDocument) -> Path:
    """Where a session's document is kept below --memory-results: by date, so that names sort by age."""
    stamp = document.created_at.replace(":", "").replace("-", "")
    commit = document.environment.commit[:10]
    stem = f"run-{stamp}-{commit}" if commit else f"run-{stamp}"
    candidate, number = directory / f"{stem}.json", 1
    while candidate.exists():
        number += 1
        candidate = directory / f"{stem}-{number}.json"
    return candidate


@contextlib.contextmanager
def locked(path: Path, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold ``path``'s lock (an flock on ``.<name>.lock`` beside it).  Raises StoreError after ``timeout_s``.

    The kernel drops the lock when its holder dies, so a killed process never blocks the next one."""
    import fcntl

    lock = path.parent / f".{path.name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StoreError(f"{lock} cannot be opened: {error.strerror or error}", slug="store-lock") from error
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"{path} stayed locked by another process for {timeout_s:g} s",
                        slug="store-lock",
                        hint=f"who holds {lock}?",
                    ) from None
                time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)
