"""What is new, gone and kept between snapshots of one process, object by object.  Floor 3.

V8 gives every object an id that stays with it from snapshot to snapshot, as long as one inspector session lasts.
So growth is not a difference of counts: ten thousand objects may go and ten thousand others come.  Nodes of the
embedder ("native") and of the snapshot itself ("synthetic") get new ids each time; for them only counts compare.

Knows nothing of files and tables of text.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap import tallies
from pytest_memory.heap.classes import HeapClass
from pytest_memory.heap.graph import HeapGraph
from pytest_memory.heap.names import ClassPattern, printable
from pytest_memory.model import ClassDelta

Bools = NDArray[np.bool_]
Int64s = NDArray[np.int64]

_RENUMBERED_TYPES = ("native", "synthetic")
_SAMPLE = 20_000
_SAME_SHARE = 0.9
"""Of the objects with one id in both snapshots, nine in ten must be of one class: else ids were handed out anew."""


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
    """``after`` against ``before``, by object id.

    ``by_id`` is False when the two snapshots number their objects differently (two processes, or an inspector
    session that ended in between): then ``new`` and ``deleted`` are differences of counts.
    """

    def __init__(self, before: HeapGraph, after: HeapGraph, *, is_new: Bools | None = None) -> None:
        self.before = before
        self.after = after
        self.by_id = ids_agree(before, after)
        if is_new is not None:
            self.is_new, self.is_deleted = is_new, np.zeros(before.snapshot.node_count, np.bool_)
        elif self.by_id:
            self.is_new = ~_among(after, before)
            self.is_deleted = ~_among(before, after)
        else:
            self.is_new = np.zeros(after.snapshot.node_count, np.bool_)
            self.is_deleted = np.zeros(before.snapshot.node_count, np.bool_)

    def new(self, pattern: str | None = None) -> ObjectSet:
        """Objects in ``after`` only, of classes a pattern fits ("Session", "Sess*"; None: all)."""
        return self._objects(self.after, self.is_new, pattern)

    def deleted(self, pattern: str | None = None) -> ObjectSet:
        """Objects in ``before`` only."""
        return self._objects(self.before, self.is_deleted, pattern)

    def kept(self, pattern: str | None = None) -> ObjectSet:
        """Objects in both, as they are in ``after``."""
        return self._objects(self.after, ~self.is_new, pattern)

    @cached_property
    def classes(self) -> tuple[ClassComparison, ...]:
        """All classes of both snapshots, the largest growth of shallow size first."""
        before, after = _by_class(self.before, self.is_deleted), _by_class(self.after, self.is_new)
        rows = []
        for heap_class in before.keys() | after.keys():
            row = _compare_class(heap_class, before[heap_class], after[heap_class], self.by_id)
            if row.count_before or row.count_after:
                rows.append(row)
        rows.sort(key=lambda row: (-row.size_delta_bytes, -row.new, row.heap_class.name))
        return tuple(rows)

    def class_deltas(self, pattern: str | None = None) -> tuple[ClassDelta, ...]:
        """Growth by class name as records for a result, the largest growth first; unchanged classes left out.

        Classes of one name with constructors in different places are added up.
        """
        wanted = ClassPattern(pattern)
        sums: dict[str, list[int]] = defaultdict(lambda: [0] * 7)
        for row in self.classes:
            if wanted.fits(row.heap_class.name):
                values = (
                    row.count_delta,
                    row.size_delta_bytes,
                    row.retained_delta_bytes,
                    row.count_after,
                    row.size_after_bytes,
                    row.new,
                    row.deleted,
                )
                total = sums[row.heap_class.name]
                for at, value in enumerate(values):
                    total[at] += value
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
        mask = chosen & fitting[table.class_of] & (graph.size > 0)
        if not self.by_id and graph is self.after and chosen is self.is_new:
            return self._newest(mask.size, fitting)
        return object_set(graph, mask)

    def _newest(self, _size: int, fitting: Bools) -> ObjectSet:
        """Without ids: as many objects as the count grew by, those V8 numbered last standing for the new ones."""
        table, snapshot = self.after.classes, self.after.snapshot
        names = {table.classes[at].name for at in np.flatnonzero(fitting)}
        grown: dict[str, int] = defaultdict(int)
        for row in self.classes:
            if row.heap_class.name in names:
                grown[row.heap_class.name] += row.count_delta
        chosen = np.zeros(snapshot.node_count, np.bool_)
        for name, count in grown.items():
            if count > 0:
                of_name = np.array([heap_class.name == name for heap_class in table.classes], np.bool_)
                ords = np.flatnonzero(of_name[table.class_of] & (self.after.size > 0))
                chosen[ords[np.argsort(snapshot.node_id[ords], kind="stable")[-count:]]] = True
        return object_set(self.after, chosen)


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

    ``new`` of the answer are those survivors; its classes compare baseline and final.
    """
    is_new = ~_among(final, baseline) & _among(final, middle)
    return Comparison(baseline, final, is_new=is_new)


def ids_agree(before: HeapGraph, after: HeapGraph) -> bool:
    """Whether objects that share an id are the same objects, judged by their classes."""
    ids, by_id = before.ord_by_id
    stable = np.flatnonzero(_has_stable_id(after) & (after.size > 0))
    sample = stable[:: max(1, len(stable) // _SAMPLE)]
    wanted = after.snapshot.node_id[sample]
    at = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    shared = ids[at] == wanted
    if not shared.any():
        return False
    same = sum(
        before.classes.classes[before.classes.class_of[left]].name
        == after.classes.classes[after.classes.class_of[right]].name
        for left, right in zip(by_id[at[shared]], sample[shared])
    )
    return bool(same >= _SAME_SHARE * int(shared.sum()))


def _has_stable_id(graph: HeapGraph) -> Bools:
    types = graph.snapshot.header.node_types
    return np.array([name not in _RENUMBERED_TYPES for name in types], np.bool_)[graph.snapshot.node_type]


def _among(graph: HeapGraph, other: HeapGraph) -> Bools:
    """Which nodes of ``graph`` have their id in ``other``; those without lasting ids count as there."""
    ids, others = graph.snapshot.node_id, other.snapshot.node_id
    top = int(max(ids.max(), others.max()))
    stable = _has_stable_id(graph)
    if top < 64 * (len(ids) + len(others)):  # ids are dense unless someone made them up
        present = np.zeros(top + 1, np.bool_)
        present[others[_has_stable_id(other)]] = True
        return present[ids] | ~stable
    return np.isin(ids, others[_has_stable_id(other)]) | ~stable


def _by_class(graph: HeapGraph, changed: Bools) -> dict[HeapClass, tuple[int, int, int, int, bool]]:
    """Count, size, retained size, changed objects and whether ids last, by class."""
    table = graph.classes
    seen = changed & (graph.size > 0)
    counts = np.bincount(table.class_of[seen], minlength=len(table.classes))
    lasting = np.bincount(table.class_of[_has_stable_id(graph)], minlength=len(table.classes)) > 0
    rows: dict[HeapClass, tuple[int, int, int, int, bool]] = defaultdict(lambda: (0, 0, 0, 0, True))
    for at, heap_class in enumerate(table.classes):
        count, size, retained = map(int, table.totals[at])
        rows[heap_class] = (count, size, retained, int(counts[at]), bool(lasting[at]))
    return rows


def _compare_class(
    heap_class: HeapClass, before: tuple[int, int, int, int, bool], after: tuple[int, int, int, int, bool], by_id: bool
) -> ClassComparison:
    delta = after[0] - before[0]
    if by_id and before[4] and after[4]:
        new, deleted = after[3], before[3]
    else:
        new, deleted = max(0, delta), max(0, -delta)
    return ClassComparison(
        heap_class=heap_class,
        count_before=before[0],
        count_after=after[0],
        size_before_bytes=before[1],
        size_after_bytes=after[1],
        retained_before_bytes=before[2],
        retained_after_bytes=after[2],
        new=new,
        deleted=deleted,
        kept=after[0] - new,
    )
