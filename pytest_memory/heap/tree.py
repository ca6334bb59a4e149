"""The dominator tree in a few hundred boxes, for a treemap: who retains what.  Floor 3.

Opened from the root downwards, the box that retains most first, so that detail goes where the bytes are.  Children
that are large stand alone, named by the reference that leads to them; the small ones of one class share a box, which
is opened like any other: a Map of ten thousand sessions is one box of ten thousand, and what they hold is seen inside.
Where an object holds little but one other, the two are one box: what is at the end of a chain counts, not the chain.
Strings are never quoted: a report leaves the machine.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.graph import HeapGraph
from pytest_memory.heap.names import printable
from pytest_memory.heap.paths import edge_between, node_label
from pytest_memory.model import HeapNode

Int64s = NDArray[np.int64]

MAX_BOXES = 200
ALONE_SHARE = 0.01
"""An object that retains at least this much of the heap has a box of its own."""
LEAST_SHARE = 0.001
"""Boxes that retain less of the heap are left out: they would be no more than a line."""
CHAIN_SHARE = 0.9
"""An object whose largest part is this much of it is shown as a step on the way to that part."""

_STEP = " → "
_LONGEST_CHAIN = 50
"""Steps taken to the end of a chain; a linked list is one of a million, each holding nearly all of the one before."""


@dataclass(frozen=True, slots=True)
class _Box:
    name: str
    ords: Int64s
    retained_bytes: int


def heap_tree(graph: HeapGraph, *, limit: int = MAX_BOXES) -> tuple[HeapNode, ...]:
    """At most ``limit`` boxes, each after the one it lies in, the root first."""
    children = _Children(graph)
    total_bytes = int(graph.retained[graph.root])
    root = _Box("(heap)", np.array([graph.root], np.int64), total_bytes)
    waiting = [(-total_bytes, 0, -1, root)]
    made: list[HeapNode] = []
    number = 0  # keeps boxes of one size in the order they were found
    while waiting and len(made) < limit:
        _, _, parent, box = heapq.heappop(waiting)
        inside = list(_open(graph, box, children.of(box.ords), total_bytes))
        name, retained_bytes = box.name, box.retained_bytes
        for _ in range(_LONGEST_CHAIN if parent >= 0 else 0):
            if (step := _next_of_chain(box, inside)) is None:
                break
            name, box = f"{name.split(_STEP)[0]}{_STEP}{step.name}", step
            inside = list(_open(graph, box, children.of(box.ords), total_bytes))
        made.append(HeapNode(name=name, parent=parent, retained_bytes=retained_bytes, count=len(box.ords)))
        for inner in inside:
            number += 1
            heapq.heappush(waiting, (-inner.retained_bytes, number, len(made) - 1, inner))
    return tuple(made)


def _next_of_chain(box: _Box, inside: Sequence[_Box]) -> _Box | None:
    """The one object that a single object holds, when there is next to nothing else in it."""
    if not inside or len(box.ords) != 1:
        return None
    largest = max(inside, key=lambda inner: inner.retained_bytes)
    is_chain = len(largest.ords) == 1 and largest.retained_bytes >= CHAIN_SHARE * box.retained_bytes
    return largest if is_chain else None


class _Children:
    """The nodes immediately dominated by some nodes, found by one sort of all of them."""

    def __init__(self, graph: HeapGraph) -> None:
        above = graph.dominator_ord
        self._ords = np.argsort(above, kind="stable")
        self._ords = self._ords[self._ords != graph.root]
        self._above = above[self._ords]

    def of(self, ords: Int64s) -> Int64s:
        wanted = ords.astype(self._above.dtype)  # of another type, the whole of what is searched would be copied
        first, stop = (np.searchsorted(self._above, wanted, side=side) for side in ("left", "right"))
        lengths = stop - first
        inside = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.asarray(self._ords[np.repeat(first, lengths) + inside], np.int64)


def _open(graph: HeapGraph, box: _Box, inside: Int64s, total_bytes: int) -> Iterator[_Box]:
    """What lies in a box: large objects alone, small ones by class."""
    retained = graph.retained[inside]
    alone = retained >= ALONE_SHARE * total_bytes
    owner = int(box.ords[0]) if len(box.ords) == 1 else -1
    for node in inside[alone]:
        yield _Box(_name(graph, owner, int(node)), np.array([node]), int(graph.retained[node]))
    small = inside[~alone]
    class_of = graph.classes.class_of[small]
    sums = np.bincount(class_of, weights=retained[~alone], minlength=len(graph.classes.classes))
    for number in np.flatnonzero(sums >= max(1.0, LEAST_SHARE * total_bytes)):
        name = printable(graph.classes.classes[int(number)].name, 100)
        yield _Box(name, small[class_of == number], int(sums[number]))


def _name(graph: HeapGraph, owner: int, node: int) -> str:
    label = node_label(graph, node)
    edge = edge_between(graph, owner, node) if owner >= 0 else ""
    return f"{edge} : {label}" if edge and not edge.startswith("[") else label
