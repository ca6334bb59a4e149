"""The baseline file: read from disk or from git, updated safely.  Floor 5: files, git and locks; no decisions.

An update reads, changes and writes under the file's lock, so that two pytest processes lose nothing of each
other's, and replaces the file in one step, so that a killed writer leaves the old one whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from pytest_memory import git, store
from pytest_memory.baseline import NO_BASELINE, Baseline, decode_baseline, encode_baseline
from pytest_memory.baseline_update import UpdateSummary, merge_baselines, update_baseline
from pytest_memory.model import RunResult


def load(path: Path | str, ref: str | None = None) -> Baseline:
    """The baseline at ``path``, as of git commit ``ref`` if given.  No such file: an empty one, ``stored`` False.

    Raises ResultFormatError for what is no baseline, StoreError (store-git) for a ref that cannot be read."""
    path = Path(path)
    if ref is not None:
        data = git.read_file_at(ref, path)
        return NO_BASELINE if data is None else decode_baseline(data, file=f"{path} at {ref}")
    if not path.is_symlink() and not path.exists():
        return NO_BASELINE
    return decode_baseline(store.read_bytes(path), file=str(path))


def write(path: Path | str, baseline: Baseline) -> None:
    """Write the whole document, atomically.  Raises StoreError (store-write)."""
    store.write_atomic(_target(Path(path)), encode_baseline(baseline))


def update(
    path: Path | str,
    results: Iterable[RunResult],
    *,
    gone: Collection[str] = (),
    prune: bool = False,
    lock_timeout_s: float = store.LOCK_TIMEOUT_S,
) -> UpdateSummary:
    """Store ``results`` in the baseline at ``path`` and leave every other entry as it is.

    ``gone`` are ids of tests that no longer exist; they are removed with ``prune``, else only listed.  The file is
    not written when nothing changes.  Raises ResultFormatError when the file there is no baseline (it is left as it
    is), StoreError when it cannot be locked or written."""
    path = _target(Path(path))
    with store.locked(path, timeout_s=lock_timeout_s):
        before = load(path)
        after, summary = update_baseline(before, results, gone=gone, prune=prune)
        changed = after.entries != before.entries
        if changed:
            write(path, after)
    return replace(summary, path=str(path), created=changed and not before.stored, written=changed)


def merge(path: Path | str, parts: Iterable[Path | str], *, lock_timeout_s: float = store.LOCK_TIMEOUT_S) -> Baseline:
    """Put the entries of ``parts`` into the baseline at ``path``, as when shards of a suite each wrote their own.

    A later part has the last word.  Raises as `update` does, and ResultFormatError for a part that is not there."""
    path = _target(Path(path))
    read = [decode_baseline(store.read_bytes(Path(part)), file=str(part)) for part in parts]
    with store.locked(path, timeout_s=lock_timeout_s):
        merged = load(path)
        for part in read:
            merged = merge_baselines(merged, part)
        write(path, merged)
    return merged


def _target(path: Path) -> Path:
    # Writing replaces the name: follow a link, so that it stays one.
    return path.resolve() if path.is_symlink() else path
