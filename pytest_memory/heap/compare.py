"""What is new, gone and kept between snapshots of one process, object by object.  Floor 3.

Growth is not a difference of counts: ten thousand objects may go and ten thousand others come.  Which object of one
snapshot is which of the other, and where only counts compare, is heap.matching's; here are the sets and the sums.

Knows nothing of files and tables of text.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap import tallies
from pytest_memory.heap.classes import ClassTable, HeapClass
from pytest_memory.heap.graph import HeapGraph
from pytest_memory.heap.matching import match
from pytest_memory.heap.names import ClassPattern, printable
from pytest_memory.model import ClassDelta

Bools = NDArray[np.bool_]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ObjectSet:
    """Some objects of one snapshot: how many, how large, and which.

    ``retained_bytes`` counts every byte once; ``ords`` are ordinals in ``graph``."""

    graph: HeapGraph = field(repr=False)
    ords: Int64s = field(repr=False)
    count: int
    size_bytes: int
    retained_bytes: int

    def __len__(self) -> int:
        return self.count

    @property
    def ids(self) -> list[int]:
        """V8's ids, as heap inspectors show them."""
        return [int(node_id) for node_id in self.graph.snapshot.node_id[self.ords]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassComparison:
    """One class in both snapshots.  ``new``, ``deleted`` and ``kept`` count objects; sizes are shallow bytes."""

    heap_class: HeapClass
    count_before: int
    count_after: int
    size_before_bytes: int
    size_after_bytes: int
    retained_before_bytes: int
    retained_after_bytes: int
    new: int
    deleted: int
    kept: int

    @property
    def count_delta(self) -> int:
        return self.count_after - self.count_before

    @property
    def size_delta_bytes(self) -> int:
        return self.size_after_bytes - self.size_before_bytes

    @property
    def retained_delta_bytes(self) -> int:
        return self.retained_after_bytes - self.retained_before_bytes


class Comparison:
    """``after`` against ``before``, by object id; with ``middle`` the three-snapshot method (see ``survivors``).

    ``by_id`` is False when the snapshots number their objects differently (two processes, or an inspector session
    that ended in between): then ``new`` and ``deleted`` are differences of counts, and the objects numbered last
    stand for them.  So it always is for classes whose ids do not last, such as the embedder's.
    """

    def __init__(self, before: HeapGraph, after: HeapGraph, *, middle: HeapGraph | None = None) -> None:
        self.before = before
        self.after = after
        found = match(before, after, middle)
        self.by_id = found.by_id
        self.is_new, self.is_kept, self.is_deleted = found.is_new, found.is_kept, found.is_deleted

    def new(self, pattern: str | None = None) -> ObjectSet:
        """Objects in ``after`` only, of classes a pattern fits ("Session", "Sess*"; None: all)."""
        return self._objects(self.after, self.is_new, pattern)

    def deleted(self, pattern: str | None = None) -> ObjectSet:
        """Objects in ``before`` only."""
        return self._objects(self.before, self.is_deleted, pattern)

    def kept(self, pattern: str | None = None) -> ObjectSet:
        """Objects in both, as they are in ``after``."""
        return self._objects(self.after, self.is_kept, pattern)

    @cached_property
    def classes(self) -> tuple[ClassComparison, ...]:
        """All classes of both snapshots, the largest growth of shallow size first."""
        before = _by_class(self.before, self.is_deleted)
        after = _by_class(self.after, self.is_new, self.is_kept)
        rows = []
        for heap_class in before.keys() | after.keys():
            row = _compare_class(heap_class, before.get(heap_class, [0] * 4), after.get(heap_class, [0] * 5))
            if row.count_before or row.count_after:
                rows.append(row)
        rows.sort(key=lambda row: (-row.size_delta_bytes, -row.new, row.heap_class.name))
        return tuple(rows)

    def class_deltas(self, pattern: str | None = None) -> tuple[ClassDelta, ...]:
        """Growth by class name as records for a result, the largest growth first; unchanged classes left out.

        Classes of one name with constructors in different places are one, and what one of them retains within
        another is counted once.
        """
        wanted = ClassPattern(pattern)
        sums: dict[str, list[int]] = defaultdict(lambda: [0] * 7)
        for row in self.classes:
            if wanted.fits(row.heap_class.name):
                values = (
                    row.count_delta,
                    row.size_delta_bytes,
                    0,  # retained bytes do not add up: what one class retains within another would count twice
                    row.count_after,
                    row.size_after_bytes,
                    row.new,
                    row.deleted,
                )
                total = sums[row.heap_class.name]
                for at, value in enumerate(values):
                    total[at] += value
        before, after = _retained_by_name(self.before), _retained_by_name(self.after)
        for name, total in sums.items():
            total[2] = after.get(name, 0) - before.get(name, 0)
        deltas = [
            ClassDelta(
                name=printable(name),
                count_delta=total[0],
                size_delta_bytes=total[1],
                retained_delta_bytes=total[2],
                count_after=total[3],
                size_after_bytes=total[4],
                new=total[5],
                deleted=total[6],
            )
            for name, total in sums.items()
            if any(total[:3]) or total[5] or total[6]
        ]
        deltas.sort(key=lambda delta: (-delta.size_delta_bytes, -delta.count_delta, delta.name))
        return tuple(deltas)

    def _objects(self, graph: HeapGraph, chosen: Bools, pattern: str | None) -> ObjectSet:
        table = graph.classes
        wanted = ClassPattern(pattern)
        fitting = np.array([wanted.fits(heap_class.name) for heap_class in table.classes], np.bool_)
        return object_set(graph, chosen & fitting[table.class_of])


def object_set(graph: HeapGraph, mask: Bools) -> ObjectSet:
    """The masked nodes, with the retained size of all of them together."""
    table = np.zeros((2, 3), np.int64)
    tallies.total_classes(
        graph.tree.tree_order,
        graph.tree.tree_size,
        graph.size,
        graph.retained,
        (~mask).astype(np.int32),
        np.zeros(2, np.int32),
        table,
    )
    count, size, retained = map(int, table[0])
    return ObjectSet(graph, np.flatnonzero(mask), count, size, retained)


def survivors(baseline: HeapGraph, middle: HeapGraph, final: HeapGraph) -> Comparison:
    """The three-snapshot method: allocated between baseline and middle, and still there at the end.

    ``new`` of the answer are those survivors; ``kept`` and ``deleted`` and its classes compare baseline and final.
    What came after ``middle`` is neither new nor kept.
    """
    return Comparison(baseline, final, middle=middle)


def _by_class(graph: HeapGraph, *masks: Bools) -> dict[HeapClass, list[int]]:
    """Count, size, retained size, and the number of masked objects of each mask, by class."""
    table = graph.classes
    masked = [np.bincount(table.class_of[mask], minlength=len(table.classes)) for mask in masks]
    rows = np.column_stack((table.totals, *masked)).tolist()
    return dict(zip(table.classes, rows))


def _retained_by_name(graph: HeapGraph) -> dict[str, int]:
    """Retained bytes by class name, each byte once, whichever of the classes of a name retains it."""
    numbers: dict[str, int] = {}
    of_class = np.array([numbers.setdefault(one.name, len(numbers)) for one in graph.classes.classes], np.int32)
    by_name = ClassTable([HeapClass(name) for name in numbers], of_class[graph.classes.class_of])
    by_name.total(graph.tree.tree_order, graph.tree.tree_size, graph.size, graph.retained)
    return dict(zip(numbers, by_name.totals[:, 2].tolist()))


def _compare_class(heap_class: HeapClass, before: list[int], after: list[int]) -> ClassComparison:
    return ClassComparison(
        heap_class=heap_class,
        count_before=before[0],
        count_after=after[0],
        size_before_bytes=before[1],
        size_after_bytes=after[1],
        retained_before_bytes=before[2],
        retained_after_bytes=after[2],
        deleted=before[3],
        new=after[3],
        kept=after[4],
    )
