"""The class of every node, and the class table.  Floor 2.

A class is a name and, for objects, where their constructor stands: two constructors called ``Session`` in two
files are two classes.  Names follow DevTools: "(system)" for V8's internals, "(compiled code)", "Function",
"<div>" for "<div id=…>", "Detached …" for what the embedder calls detached, the type in brackets for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap import tallies
from pytest_memory.heap.snapshot import Snapshot

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

_FIXED_NAMES = {"hidden": "(system)", "code": "(compiled code)", "closure": "Function", "regexp": "RegExp"}
_NAMED_TYPES = ("object", "native")


@dataclass(frozen=True, slots=True)
class HeapClass:
    """A class's identity.  ``script_id`` is -1 when the constructor is not known; line and column are 0-based."""

    name: str
    script_id: int = -1
    line: int = -1
    column: int = -1


@dataclass(slots=True)
class ClassTable:
    """class_of int32: class by ord.  totals int64 (classes, 3): count, shallow bytes, retained bytes, over the
    class's nodes of non-zero size."""

    classes: list[HeapClass]
    class_of: Int32s
    totals: Int64s = field(default_factory=lambda: np.zeros((0, 3), np.int64))

    def total(self, tree_order: Int32s, tree_size: Int32s, size: Int64s, retained: Int64s) -> None:
        self.totals = np.zeros((len(self.classes), 3), np.int64)
        covered = np.zeros(len(self.classes), np.int32)
        tallies.total_classes(tree_order, tree_size, size, retained, self.class_of, covered, self.totals)


def assign_classes(snapshot: Snapshot, detached: NDArray[np.bool_]) -> ClassTable:
    """Find every node's class; totals are filled in later, when retained sizes are known."""
    names: dict[str, int] = {}
    type_class = np.full(len(snapshot.header.node_types), -1, np.int32)
    for code, type_name in enumerate(snapshot.header.node_types):
        if type_name not in _NAMED_TYPES:
            type_class[code] = names.setdefault(_FIXED_NAMES.get(type_name, f"({type_name})"), len(names))
    class_of: Int32s = type_class[snapshot.node_type]
    by_name = np.flatnonzero(class_of < 0)
    name = snapshot.node_name[by_name]
    used = np.zeros(len(snapshot.strings), np.bool_)
    used[name] = True
    class_of_name = np.full(len(snapshot.strings), -1, np.int32)
    for index in np.flatnonzero(used):
        text = class_name(snapshot.strings[int(index)])
        class_of_name[index] = names.setdefault(text, len(names))
    class_of[by_name] = class_of_name[name]
    native = snapshot.node_type_code("native")
    for node in np.flatnonzero(detached):
        if snapshot.node_type[node] == native:
            text = class_name("Detached " + snapshot.strings[int(snapshot.node_name[node])])
            class_of[node] = names.setdefault(text, len(names))
    classes = [HeapClass(text) for text in names]
    _split_by_location(snapshot, class_of, classes)
    return ClassTable(classes, class_of)


def class_name(node_name: str) -> str:
    """``<div id="a">`` → ``<div>``; every other name is a class name already."""
    for opening in ("<", "Detached <"):
        if node_name.startswith(opening):
            space = node_name.find(" ", len(opening))
            return node_name[:space] + ">" if space >= 0 else node_name
    return node_name


def _split_by_location(snapshot: Snapshot, class_of: Int32s, classes: list[HeapClass]) -> None:
    locations = snapshot.locations
    is_object = snapshot.node_type[locations[:, 0]] == snapshot.node_type_code("object")
    rows = locations[is_object & (locations[:, 1] >= 0)]
    if not len(rows):
        return
    nodes = rows[:, 0].copy()
    rows[:, 0] = class_of[nodes]
    group = np.empty(len(rows), np.int32)
    slots = np.full(1 << (2 * len(rows)).bit_length(), -1, np.int32)
    tallies.group_rows(rows, group, slots)
    _, first_row = np.unique(group, return_index=True)
    base = len(classes)
    for row in first_row:
        of_class, script_id, line, column = map(int, rows[row])
        classes.append(HeapClass(classes[of_class].name, script_id, line, column))
    class_of[nodes] = base + group
