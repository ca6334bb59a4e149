"""Which objects of one snapshot are also in another: by V8's ids where these last, else by counts.  Floor 2.

V8 gives every object an id that stays with it from snapshot to snapshot, as long as one inspector session lasts.
Four things make an id worthless, and are looked for here:

- nodes of the embedder ("native") and of the snapshot itself ("synthetic") get new ids each time;
- another process hands out the same small numbers, and in the same order while it runs the same code: whole heaps
  of two runs of one script agree in 96 % of their ids, in one session they agree in all;
- one class of such a heap may be shifted although the others agree;
- a file that V8 did not write may give one id to several objects.

Where ids are worthless, the counts of a class stand in: what it grew by is new, and the objects numbered last pass
for the new ones.

Knows no sets of objects and no sums (heap.compare).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.graph import HeapGraph

Bools = NDArray[np.bool_]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

_RENUMBERED_TYPES = ("native", "synthetic")
_STRING_CLASSES = ("(string)", "(concatenated string)", "(sliced string)")
"""A string that becomes a property's name turns from one of these to another and stays itself."""
_SAME_SHARE = 0.99
"""So many of the objects with one id in both snapshots must be of one class: else ids were handed out anew."""
_SPARSE = 64
"""Ids are dense unless someone made them up: so many times their number they do not reach."""
_ABSENT = -1


@dataclass(frozen=True, slots=True)
class Match:
    """``is_new`` and ``is_kept`` by ordinal of the later snapshot, ``is_deleted`` by that of the earlier one.

    With three snapshots an object may be neither new nor kept: it came after the middle one."""

    by_id: bool
    is_new: Bools
    is_kept: Bools
    is_deleted: Bools


def match(before: HeapGraph, after: HeapGraph, middle: HeapGraph | None = None) -> Match:
    """New is what came after ``before`` (and was there in ``middle``) and is in ``after``.

    Only objects of non-zero size are told of: the others belong to their owner.
    """
    between = [] if middle is None else [_Side(middle)]
    first, last = _Side(before), _Side(after)
    is_string = _number_classes([first, *between, last])
    found = _Found(first, last, is_string)
    pairs = [found, *(_Found(*pair, is_string) for side in between for pair in ((first, side), (side, last)))]
    by_id = all(side.tells_apart() for side in (first, *between, last)) and all(pair.agrees() for pair in pairs)
    counted = _renumbered(len(is_string)) if by_id else np.ones(len(is_string), np.bool_)
    for pair in pairs:
        counted |= pair.shifted()
    is_new, is_kept, is_deleted = ~found.in_earlier, found.in_earlier.copy(), ~found.in_later
    if middle is not None:
        is_new &= pairs[-1].in_earlier
    if counted.any():
        came = np.minimum.reduce([side.counts(len(is_string)) for side in (*between, last)])
        _by_count(first, last, counted, came, (is_new, is_kept, is_deleted))
    for mask, side in ((is_new, last), (is_kept, last), (is_deleted, first)):
        mask &= side.seen
    return Match(by_id, is_new, is_kept, is_deleted)


class _Side:
    """One snapshot.  ``code`` is a class's number by ordinal, the same number in all snapshots that are compared;
    renumbered nodes of a class have the odd number that follows."""

    def __init__(self, graph: HeapGraph) -> None:
        self.graph = graph
        self.ids = graph.snapshot.node_id
        self.seen: Bools = graph.size > 0
        self.code: Int32s = np.empty(0, np.int32)
        self._counts: Int64s = np.empty(0, np.int64)

    def number(self, numbers: dict[str, int]) -> None:
        table, types = self.graph.classes, self.graph.snapshot.header.node_types
        of_class = np.array([2 * numbers.setdefault(one.name, len(numbers)) for one in table.classes], np.int32)
        renumbered = np.array([name in _RENUMBERED_TYPES for name in types], np.int32)
        self.code = of_class[table.class_of] + renumbered[self.graph.snapshot.node_type]

    @property
    def lasts(self) -> Bools:
        """By ordinal: nodes whose ids mean anything in another snapshot."""
        lasts: Bools = self.code & 1 == 0
        return lasts

    def tells_apart(self) -> bool:
        """Whether no two nodes whose ids last have the same one."""
        ids = self.ids[self.lasts]
        if not len(ids) or int(ids.max()) >= _SPARSE * len(ids):
            return len(np.unique(ids)) == len(ids)
        is_used = np.zeros(int(ids.max()) + 1, np.bool_)
        is_used[ids] = True
        return int(np.count_nonzero(is_used)) == len(ids)

    def counts(self, length: int) -> Int64s:
        if len(self._counts) != length:
            self._counts = np.bincount(self.code[self.seen], minlength=length)
        return self._counts


def _number_classes(sides: Sequence[_Side]) -> Bools:
    """Number classes by name; answers by number which are strings."""
    numbers: dict[str, int] = {}
    for side in sides:
        side.number(numbers)
    return np.repeat(np.array([name in _STRING_CLASSES for name in numbers], np.bool_), 2)


def _renumbered(length: int) -> Bools:
    odd: Bools = np.arange(length) % 2 == 1
    return odd


class _Found:
    """Two snapshots' objects looked up in each other by id.  An object is there when its class is the same, too."""

    def __init__(self, earlier: _Side, later: _Side, is_string: Bools) -> None:
        self._earlier, self._later, self._is_string = earlier, later, is_string
        there = _codes_of_same_ids(later, earlier)
        self.in_earlier, self._moved_later = self._judge(later, there)
        # Strings tell nothing of ids: they change their class.
        judged = (there != _ABSENT) & later.seen & ~is_string[later.code]
        self._shared = int(np.count_nonzero(judged))
        self.in_later, self._moved_earlier = self._judge(earlier, _codes_of_same_ids(earlier, later))

    def _judge(self, side: _Side, there: Int32s) -> tuple[Bools, Int64s]:
        """Which of one's nodes are also in the other, and the ordinals of those whose id another class has there."""
        same: Bools = there == side.code
        others = np.flatnonzero(~same & (there != _ABSENT))  # few: what follows goes over these only
        is_kin = self._is_string[side.code[others]] & self._is_string[there[others]]
        same[others[is_kin]] = True
        moved = others[~is_kin]
        return same, moved[side.seen[moved]]

    def agrees(self) -> bool:
        """Whether objects that share an id are the same objects, judged by their classes."""
        moved = np.count_nonzero(~self._is_string[self._later.code[self._moved_later]])
        return self._shared > 0 and int(moved) <= (1 - _SAME_SHARE) * self._shared

    def shifted(self) -> Bools:
        """By number: classes whose ids belong to another class in the other snapshot too often to be trusted."""
        length = len(self._is_string)
        moved = np.bincount(self._later.code[self._moved_later], minlength=length)
        moved += np.bincount(self._earlier.code[self._moved_earlier], minlength=length)
        shifted: Bools = moved > (1 - _SAME_SHARE) * (self._earlier.counts(length) + self._later.counts(length))
        return shifted


def _codes_of_same_ids(side: _Side, other: _Side) -> Int32s:
    """By one's nodes: the class number of the other's node of the same id, _ABSENT for none."""
    there = np.full(len(side.ids), _ABSENT, np.int32)
    wanted, ids, codes = side.ids[side.lasts], other.ids[other.lasts], other.code[other.lasts]
    if not len(wanted) or not len(ids):
        return there
    top = int(max(wanted.max(), ids.max()))
    if top < _SPARSE * (len(wanted) + len(ids)):
        by_id = np.full(top + 1, _ABSENT, np.int32)
        by_id[ids] = codes
        there[side.lasts] = by_id[wanted]
    else:
        order = np.argsort(ids)
        at = order[np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)]
        there[side.lasts] = np.where(ids[at] == wanted, codes[at], _ABSENT)
    return there


def _by_count(first: _Side, last: _Side, counted: Bools, came: Int64s, masks: tuple[Bools, Bools, Bools]) -> None:
    """Fill in new, kept and deleted for classes that only counts compare.

    In the order of their ids, as many as there were before stand for the kept ones, those up to ``came`` for the
    new ones; of the earlier snapshot those that are too many, the last ones, for the deleted.
    """
    is_new, is_kept, is_deleted = masks
    earlier, later = first.counts(len(counted)), last.counts(len(counted))
    ords, codes, ranks = _ranked(last, counted)
    is_kept[ords] = ranks < earlier[codes]
    is_new[ords] = (ranks >= earlier[codes]) & (ranks < came[codes])
    ords, codes, ranks = _ranked(first, counted)
    is_deleted[ords] = ranks >= later[codes]


def _ranked(side: _Side, counted: Bools) -> tuple[Int64s, Int32s, Int64s]:
    """Ordinals of these classes' objects, their class numbers, and how many of the class have smaller ids."""
    ords = np.flatnonzero(counted[side.code] & side.seen)
    ords = ords[np.lexsort((side.ids[ords], side.code[ords]))]
    codes = side.code[ords]
    sizes = np.bincount(codes, minlength=len(counted))
    ranks: Int64s = np.arange(len(ords)) - (np.cumsum(sizes) - sizes)[codes]
    return ords, codes, ranks
