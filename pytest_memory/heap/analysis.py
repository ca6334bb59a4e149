"""`HeapSnapshot`: one snapshot file, read and analysed when first asked something.  Floor 5: opens files.

Everything a test, the command line or the interactive profiler asks of a snapshot goes through here; what is
computed how is below the sans-I/O line (heap.snapshot, heap.graph, heap.compare, heap.paths, heap.queries).
Importing this module is light: numpy and numba come with the first question.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memory.cgroups import usable_cpus
from pytest_memory.errors import SnapshotFormatError
from pytest_memory.heap.archive import plain_file
from pytest_memory.heap.warm import compile_kernels
from pytest_memory.values import check_not_negative

if TYPE_CHECKING:
    from pytest_memory.heap.compare import ClassComparison, Comparison, ObjectSet
    from pytest_memory.heap.graph import HeapGraph
    from pytest_memory.heap.queries import (
        ClassRow,
        CollectionRow,
        DominatorRow,
        ObjectRow,
        Statistics,
        StringRow,
    )
    from pytest_memory.model import ClassDelta, Finding, HeapNode, RetainerPath

Progress = Callable[[str, float], None]
"""Told what is being done ("nodes", "edges", "dominators", …) and how much of that is done, 0 to 1."""

MAX_THREADS = 4
"""More do not help: reading is bound by memory then, and dominators are one thread's work."""


class HeapSnapshot:
    """A heap snapshot file.

    ``load`` maps the file and looks at nothing but its size; the first question reads and analyses it.  The file
    may be deleted or replaced meanwhile (on POSIX): the mapping keeps its bytes.

    It must not be written to.  What was before the first question is found (by size and time of change) and refused.
    What comes while that is answered, or within the clock tick of the file system in which the file was loaded, is
    found if it leaves another number of rows or a later time.  Nothing is looked at afterwards, though names are read
    from the file whenever asked for; and pages that are cut off while they are read end the process (SIGBUS): there is
    no way to read a mapping that guards against it.
    """

    def __init__(
        self, path: Path, text: Any, *, stamp: os.stat_result | None = None, progress: Progress | None = None
    ) -> None:
        self.path = path
        self._text = text
        self._stamp = stamp
        self._progress = progress
        self._lock = threading.Lock()
        self._graph: HeapGraph | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, progress: Progress | None = None) -> HeapSnapshot:
        """Open a ``.heapsnapshot``; ``.gz`` and ``.zst`` are unpacked.

        Raises SnapshotFormatError for an empty file or a broken archive, OSError for one that cannot be opened;
        what is wrong inside of a file shows with the first question.
        """
        file = Path(path)
        with plain_file(file) as plain:
            text, stamp = _map_file(plain)
        return cls(file, text, stamp=stamp, progress=progress)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def graph(self) -> HeapGraph:
        """The analysed graph: arrays by ordinal, for questions this class does not know."""
        with self._lock:
            if self._graph is None:
                self._graph = self._analyse()
            return self._graph

    def analyse(self, progress: Progress | None = None) -> HeapSnapshot:
        """Read and analyse now, telling ``progress``; answers the snapshot itself.  Raises SnapshotFormatError."""
        self._progress = progress or self._progress
        _ = self.graph
        return self

    def _analyse(self) -> HeapGraph:
        compile_kernels()
        from pytest_memory.heap.graph import build_graph
        from pytest_memory.heap.snapshot import parse_snapshot

        progress = self._progress or (lambda _what, _share: None)
        threads = max(1, min(MAX_THREADS, usable_cpus()))
        self._check_unchanged()
        snapshot = parse_snapshot(
            self._text, name=self.name, threads=threads, progress=progress, release=_page_release(self._text)
        )
        self._check_unchanged()
        return build_graph(snapshot, threads=threads, progress=progress)

    def _check_unchanged(self) -> None:
        """Refuse a file that has been written to: a page behind its end would be the end of this process."""
        if self._stamp is None:
            return
        then_bytes, now_bytes = len(self._text), self._text.size()
        is_touched = False
        with contextlib.suppress(OSError):  # gone: nobody will write to what is mapped
            now = self.path.stat()
            # Another file under the same name is none of ours.
            is_touched = os.path.samestat(now, self._stamp) and now.st_mtime_ns != self._stamp.st_mtime_ns
        if now_bytes != then_bytes or is_touched:
            raise SnapshotFormatError(
                f"{self.name!r} has changed since it was loaded: it had {then_bytes:,} bytes and has {now_bytes:,}",
                slug="snapshot-changed",
                byte_offset=min(then_bytes, now_bytes),
                field="file",
                hint="load a snapshot when it is whole, or load a copy of it",
            )

    # --- questions ---
    # The graph first, then the modules that answer: importing them compiles the kernels here and alone, unless the
    # graph has seen to it.

    @property
    def total_bytes(self) -> int:
        return self.graph.total_bytes

    @cached_property
    def statistics(self) -> Statistics:
        """Sizes by kind, as in DevTools' pie."""
        graph = self.graph
        from pytest_memory.heap import queries

        return queries.statistics(graph)

    def classes(self, pattern: str | None = None, *, limit: int | None = None) -> tuple[ClassRow, ...]:
        """Classes by retained size; ``pattern`` like "Session" or "Sess*"."""
        graph = self.graph
        from pytest_memory.heap import queries

        return queries.class_rows(graph, pattern, limit=limit)

    def objects(self, pattern: str | None = None) -> ObjectSet:
        """All objects of the classes a pattern fits: ``.count``, ``.size_bytes``, ``.retained_bytes``, ``.ids``."""
        graph = self.graph
        import numpy as np

        from pytest_memory.heap import compare, queries

        mask = np.zeros(graph.snapshot.node_count, np.bool_)
        mask[queries.members(graph, pattern)] = True
        return compare.object_set(graph, mask)

    def count(self, pattern: str | None = None) -> int:
        """How many objects of the classes a pattern fits are there."""
        return sum(row.count for row in self.classes(pattern))

    def retainer_paths(self, pattern: str | int, *, limit: int = 5) -> tuple[RetainerPath, ...]:
        """Who keeps the objects of a class (or the one object of an id) alive, commonest way first."""
        graph = self.graph
        from pytest_memory.heap import paths, queries

        if isinstance(pattern, int):
            node = graph.ord_of(pattern)
            return paths.retainer_paths(graph, [node], limit=limit) if node >= 0 else ()
        return paths.retainer_paths(graph, queries.members(graph, pattern), limit=limit)

    def largest_objects(self, pattern: str | None = None, *, limit: int = 20) -> tuple[ObjectRow, ...]:
        graph = self.graph
        from pytest_memory.heap import queries

        return queries.largest_objects(graph, pattern, limit=limit)

    def largest_collections(self, *, limit: int = 20) -> tuple[CollectionRow, ...]:
        graph = self.graph
        from pytest_memory.heap import queries

        return queries.largest_collections(graph, limit=limit)

    def duplicate_strings(self, *, limit: int = 20) -> tuple[StringRow, ...]:
        graph = self.graph
        from pytest_memory.heap import queries

        return queries.duplicate_strings(graph, limit=limit)

    def find_strings(self, part: str, *, limit: int = 20) -> tuple[StringRow, ...]:
        graph = self.graph
        from pytest_memory.heap import queries

        return queries.find_strings(graph, part, limit=limit)

    def dominator_tree(self, *, depth: int = 4, per_node: int = 5) -> tuple[DominatorRow, ...]:
        graph = self.graph
        from pytest_memory.heap import queries

        return queries.dominator_rows(graph, depth=depth, per_node=per_node)

    def tree(self) -> tuple[HeapNode, ...]:
        """The dominator tree in a few hundred boxes, as a record for a result: the treemap of a report."""
        graph = self.graph
        from pytest_memory.heap import tree

        return tree.heap_tree(graph)

    # --- comparing ---

    def compare(self, before: HeapSnapshot, *, middle: HeapSnapshot | None = None) -> HeapComparison:
        """This snapshot against an earlier one of the same process.

        With ``middle`` the three-snapshot method: ``new`` are objects allocated between ``before`` and
        ``middle`` that are still here.
        """
        graphs = [snapshot.graph for snapshot in (before, middle, self) if snapshot is not None]
        from pytest_memory.heap import compare

        if middle is None:
            return HeapComparison(compare.Comparison(*graphs))
        return HeapComparison(compare.survivors(*graphs))

    def __str__(self) -> str:
        rows = self.classes(limit=20)
        from pytest_memory.heap import tables

        return tables.class_table(rows)

    def __repr__(self) -> str:
        state = "analysed" if self._graph is not None else "not analysed yet"
        return f"<HeapSnapshot {self.name!r}, {len(self._text):,} bytes, {state}>"

    def to_dict(self, *, limit: int = 50) -> dict[str, Any]:
        """The usual answers as plain values for JSON."""
        from dataclasses import asdict

        return {
            "file": self.name,
            "statistics": asdict(self.statistics),
            "classes": [asdict(row) for row in self.classes(limit=limit)],
            "largest_objects": [asdict(row) for row in self.largest_objects(limit=20)],
            "largest_collections": [asdict(row) for row in self.largest_collections(limit=20)],
            "duplicate_strings": [asdict(row) for row in self.duplicate_strings(limit=20)],
            "dominator_tree": [asdict(row) for row in self.dominator_tree()],
        }


class HeapComparison:
    """``after.compare(before)``.

    ``new``, ``deleted`` and ``kept`` take a class pattern and answer a set of objects with ``count``,
    ``size_bytes``, ``retained_bytes`` and ``ids``; ``str()`` is a table of what grew.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    @property
    def by_id(self) -> bool:
        """False when the snapshots share no object ids: then ``new`` and ``deleted`` are differences of counts."""
        return self._comparison.by_id

    @property
    def classes(self) -> tuple[ClassComparison, ...]:
        return self._comparison.classes

    def new(self, pattern: str | None = None) -> ObjectSet:
        return self._comparison.new(pattern)

    def deleted(self, pattern: str | None = None) -> ObjectSet:
        return self._comparison.deleted(pattern)

    def kept(self, pattern: str | None = None) -> ObjectSet:
        return self._comparison.kept(pattern)

    def class_deltas(self, pattern: str | None = None) -> tuple[ClassDelta, ...]:
        """Growth by class as records for a result, the largest first."""
        return self._comparison.class_deltas(pattern)

    def paths(self, pattern: str | None = None, *, limit: int = 5) -> tuple[RetainerPath, ...]:
        """Who keeps the new objects alive."""
        from pytest_memory.heap import paths

        return paths.retainer_paths(self._comparison.after, self.new(pattern).ords, limit=limit)

    def findings(self, *, units: int = 0) -> tuple[Finding, ...]:
        """Leak patterns; ``units`` of work were done between the snapshots."""
        from pytest_memory.heap import findings

        return findings.find(self._comparison, units=units)

    def table(self, *, limit: int = 20) -> str:
        from pytest_memory.heap import tables

        return tables.comparison_table(self._comparison, limit=limit)

    def to_dict(self, *, limit: int = 50, units: int = 0) -> dict[str, Any]:
        """Growth by class and findings as plain values for JSON."""
        from dataclasses import asdict

        deltas = self.class_deltas()[: check_not_negative(limit, "limit")]
        return {
            "by_id": self.by_id,
            "classes": [asdict(delta) for delta in deltas],
            "findings": [asdict(finding) for finding in self.findings(units=units)],
        }

    def __str__(self) -> str:
        return self.table()


def _map_file(file: Path) -> tuple[mmap.mmap, os.stat_result]:
    with open(file, "rb") as stream:
        stamp = os.fstat(stream.fileno())
        head = stream.read(4)
        if not head:
            raise SnapshotFormatError(
                f"{file.name!r} is empty",
                slug="snapshot-truncated",
                byte_offset=0,
                field="snapshot",
                hint="the snapshot is still being written, or writing it failed",
            )
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), stamp


def _page_release(text: Any) -> Callable[[int, int], None]:
    """How to give mapped pages back while reading: they would count as this process's memory otherwise."""
    page = mmap.PAGESIZE
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is None or not isinstance(text, mmap.mmap):
        return lambda _start, _stop: None

    def release(start: int, stop: int) -> None:
        first, last = -(-start // page) * page, stop // page * page
        if last > first:
            text.madvise(advice, first, last - first)

    return release
