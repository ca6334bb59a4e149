"""Questions to one heap: largest classes, objects, collections, strings; the dominator tree; the pie.  Floor 3.

Each answers with frozen rows of numbers and names, largest first and bounded; none prints.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.graph import DETACHED, HeapGraph, spread_detachedness
from pytest_memory.heap.names import ClassPattern, printable
from pytest_memory.heap.paths import node_label
from pytest_memory.heap.snapshot import Snapshot
from pytest_memory.values import check_not_negative

Bools = NDArray[np.bool_]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

_STRING_LIMIT = 1024
"""V8 writes no more of a string than this: longer ones with one beginning cannot be told apart."""
_WHOLE_STRING_BYTES = 16 + 2 * _STRING_LIMIT
"""A string that takes more is longer than what is written of it, however short that looks: an emoji is two of its
characters, and one in the file."""
_SHAPE_LIMIT = 8
_HOLES = ("system / Hole", "the_hole")
"""What Node 22 and later show in the place of a deleted entry."""
_ARRAY_HEADER_BYTES, _SLOT_BYTES = 16, 8
_COUNTER_SLOTS = 3
"""At the beginning of a hash table: entries, deleted entries, buckets."""
_MAX_SLOTS = 1 << 32
"""V8 makes no larger arrays; a file can say anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """A class: objects of non-zero size, their own bytes, and what would go with all of them."""

    name: str
    count: int
    size_bytes: int
    retained_bytes: int
    script_id: int = -1
    line: int = -1
    column: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow:
    """One object.  ``distance``: steps from the global object (-5: unreachable; 100,000,000 and more: only the
    virtual machine leads there)."""

    node_id: int
    name: str
    kind: str
    size_bytes: int
    retained_bytes: int
    distance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRow:
    """A Map, Set, Array or object used as one, and how many entries hold references."""

    container: ObjectRow
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StringRow:
    """Equal strings.  ``wasted_bytes``: what all but one of them take.  ``truncated``: equal as far as known."""

    text: str
    count: int
    size_bytes: int
    wasted_bytes: int
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DominatorRow:
    """A node of the dominator tree, top down; ``dominated`` counts what hangs below it, itself included."""

    node: ObjectRow
    depth: int
    dominated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """The heap by kind, as in DevTools' pie: native and V8 parts sum up to ``total_bytes``; the rest of the V8
    part is ``other_bytes``.

    ``detached_count``: DOM nodes the embedder knows to be in no document, and what they are made of;
    ``orphan_count``: nodes hung under the root because nothing retains them (weak references do not), or only each
    other; what such a node alone holds hangs under it and is not counted."""

    total_bytes: int
    native_bytes: int
    typed_array_bytes: int
    v8_bytes: int
    code_bytes: int
    string_bytes: int
    js_array_bytes: int
    system_bytes: int
    other_bytes: int
    node_count: int
    edge_count: int
    string_count: int
    detached_count: int
    orphan_count: int


def class_rows(graph: HeapGraph, pattern: str | None = None, *, limit: int | None = None) -> tuple[ClassRow, ...]:
    """Classes by retained size, largest first."""
    wanted = ClassPattern(pattern)
    table = graph.classes
    rows = [
        ClassRow(
            name=printable(heap_class.name),
            count=int(count),
            size_bytes=int(size),
            retained_bytes=int(retained),
            script_id=heap_class.script_id,
            line=heap_class.line,
            column=heap_class.column,
        )
        for heap_class, (count, size, retained) in zip(table.classes, table.totals.tolist())
        if count and wanted.fits(heap_class.name)
    ]
    rows.sort(key=lambda row: (-row.retained_bytes, row.name))
    return tuple(rows[: None if limit is None else check_not_negative(limit, "limit")])


def object_row(graph: HeapGraph, node: int) -> ObjectRow:
    snapshot = graph.snapshot
    return ObjectRow(
        node_id=int(snapshot.node_id[node]),
        name=node_label(graph, node),
        kind=snapshot.header.node_types[int(snapshot.node_type[node])],
        size_bytes=int(graph.size[node]),
        retained_bytes=int(graph.retained[node]),
        distance=int(graph.distances[node]),
    )


def object_shape(graph: HeapGraph, node: int) -> str:
    """A plain object's properties in the order they were given: ``{id, user, expires}``, ``{}`` for none."""
    snapshot = graph.snapshot
    kind = snapshot.edge_type_code("property")
    names: list[str] = []
    for edge in range(int(snapshot.first_edge[node]), int(snapshot.first_edge[node + 1])):
        if snapshot.edge_type[edge] == kind:
            name = printable(snapshot.strings[int(snapshot.edge_name[edge])], 40)
            if name != "__proto__":
                names.append(name)
        if len(names) > _SHAPE_LIMIT:
            names[-1] = "…"
            break
    return "{" + ", ".join(names) + "}"


def members(graph: HeapGraph, pattern: str | None) -> Int64s:
    """Ordinals of the objects whose class a pattern fits."""
    wanted = ClassPattern(pattern)
    table = graph.classes
    fitting = np.array([wanted.fits(heap_class.name) for heap_class in table.classes], np.bool_)
    return np.flatnonzero(fitting[table.class_of] & (graph.size > 0))


def largest_objects(graph: HeapGraph, pattern: str | None = None, *, limit: int = 20) -> tuple[ObjectRow, ...]:
    """Objects by retained size.  Without a pattern: what an app allocates, not V8's own nodes or the roots."""
    ords = members(graph, pattern) if pattern is not None else np.flatnonzero(_is_apps(graph))
    return tuple(object_row(graph, int(node)) for node in _top(ords, graph.retained[ords], limit))


def largest_collections(graph: HeapGraph, *, limit: int = 20) -> tuple[CollectionRow, ...]:
    """Containers by number of entries that hold references."""
    lengths = collection_lengths(graph)
    ords = np.flatnonzero(_is_apps(graph) & (lengths > 0))
    return tuple(
        CollectionRow(container=object_row(graph, int(node)), length=int(lengths[node]))
        for node in _top(ords, lengths[ords], limit)
    )


def collection_lengths(graph: HeapGraph) -> Int64s:
    """Entries by ord: elements and properties of arrays and objects, entries of Maps and Sets, 0 for the rest.

    Entries without any reference (small integers) leave no trace in a snapshot and are not counted.
    """
    snapshot = graph.snapshot
    first, types = snapshot.first_edge, snapshot.header.edge_types
    is_entry = np.array([name in ("element", "property") for name in types], np.bool_)[snapshot.edge_type]
    prototype = snapshot.strings.find("__proto__")  # every object's, and nobody's entry
    if prototype >= 0:
        is_entry &= (snapshot.edge_type != snapshot.edge_type_code("property")) | (snapshot.edge_name != prototype)
    running = np.zeros(snapshot.edge_count + 1, np.int32)
    np.cumsum(is_entry, out=running[1:], dtype=np.int32)
    lengths: Int64s = (running[first[1:]] - running[first[:-1]]).astype(np.int64)
    lengths[snapshot.node_type != snapshot.node_type_code("object")] = 0
    table_name = snapshot.strings.find("table")
    if table_name >= 0:
        internal = snapshot.edge_type_code("internal")
        edges = np.flatnonzero((snapshot.edge_name == table_name) & (snapshot.edge_type == internal))
        owners = np.searchsorted(first, edges, side="right") - 1
        entry_slots = _entry_slots(snapshot, snapshot.edge_to[edges])
        ordered = entry_slots > 0
        lengths[owners] = 0
        lengths[owners[ordered]] = _table_lengths(snapshot, snapshot.edge_to[edges[ordered]], entry_slots[ordered])
    return lengths


def _entry_slots(snapshot: Snapshot, tables: Int32s) -> Int64s:
    """Slots an entry takes in each table: key, value and chain of a Map; key and chain of a Set; 0 in what is no
    ordered hash table.

    A table's length tells, whatever the class is called (``class Sessions extends Map``): behind its counters a
    Map's has 7 slots for each of 2^n buckets, a Set's 5; a WeakMap's has 2^n slots in all."""
    behind = _slots(snapshot, tables) - _COUNTER_SLOTS
    entry_slots = np.zeros(len(tables), np.int64)
    for candidate in (2, 3):
        buckets, rest = np.divmod(behind, 1 + 2 * candidate)
        entry_slots[(rest == 0) & (buckets > 0) & (buckets & (buckets - 1) == 0)] = candidate
    return entry_slots


def _slots(snapshot: Snapshot, arrays: Int32s) -> Int64s:
    return (snapshot.node_size[arrays] - _ARRAY_HEADER_BYTES) // _SLOT_BYTES


def _table_lengths(snapshot: Snapshot, tables: Int32s, entry_slots: Int64s) -> Int64s:
    """Distinct entries of ordered hash tables: three counters, then buckets, then two entries a bucket.

    All tables at once: an app that leaks connections has tens of thousands of small Maps."""
    slots = _slots(snapshot, tables)
    start = _COUNTER_SLOTS + (slots - _COUNTER_SLOTS) // (1 + 2 * entry_slots)
    stop = np.minimum(slots, _MAX_SLOTS)
    first = snapshot.first_edge[tables].astype(np.int64)
    counts = snapshot.first_edge[tables.astype(np.int64) + 1] - first
    table = np.repeat(np.arange(len(tables)), counts)
    edge = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(len(table))
    named = snapshot.edge_type[edge] == snapshot.edge_type_code("internal")
    edge, table = edge[named], table[named]
    slot = snapshot.strings.integers(snapshot.edge_name[edge])
    holes = [snapshot.strings.find(name) for name in _HOLES]
    inside = (slot >= start[table]) & (slot < stop[table])
    alive = inside & ~np.isin(snapshot.node_name[snapshot.edge_to[edge]], holes)
    entry = (slot[alive] - start[table[alive]]) // entry_slots[table[alive]]
    distinct = np.unique(table[alive] << 32 | entry)
    return np.bincount(distinct >> 32, minlength=len(tables))


def duplicate_strings(graph: HeapGraph, *, limit: int = 20) -> tuple[StringRow, ...]:
    """Strings that are there more than once, by wasted bytes."""
    text, counts, sizes = _repeated(graph)
    best = _top(np.arange(len(text)), sizes - sizes // np.maximum(counts, 1), limit)
    return tuple(_string_row(graph, int(text[at]), int(counts[at]), int(sizes[at])) for at in best)


@dataclass(frozen=True, slots=True)
class DuplicateRow:
    """A string of which there are several, by its whole text as it stands in the file: equal in both of two
    snapshots, whatever else they hold."""

    text: bytes
    index: int
    count: int
    wasted_bytes: int


def duplicate_rows(graph: HeapGraph) -> Iterator[DuplicateRow]:
    """Every string that is there more than once, in no order."""
    strings = graph.snapshot.strings
    for text, count, size in zip(*(column.tolist() for column in _repeated(graph))):
        yield DuplicateRow(strings.raw(text), text, count, size - size // count)


def copies(graph: HeapGraph, text: bytes) -> int:
    """How many strings on the heap are written like this in the file."""
    snapshot = graph.snapshot
    index = snapshot.strings.index_of_raw(text)
    if index < 0:
        return 0
    is_string = snapshot.node_type == snapshot.node_type_code("string")
    return int(np.count_nonzero(is_string & (snapshot.node_name == index) & (graph.size > 0)))


def _repeated(graph: HeapGraph) -> tuple[Int64s, Int64s, Int64s]:
    """Of strings that are there more than once: index, copies, and their bytes together."""
    snapshot = graph.snapshot
    ords = np.flatnonzero((snapshot.node_type == snapshot.node_type_code("string")) & (graph.size > 0))
    text, where, counts = np.unique(snapshot.node_name[ords], return_inverse=True, return_counts=True)
    sizes = np.bincount(where, weights=graph.size[ords].astype(np.float64), minlength=len(text)).astype(np.int64)
    several = counts > 1
    return text[several].astype(np.int64), counts[several].astype(np.int64), sizes[several]


def find_strings(graph: HeapGraph, part: str, *, limit: int = 20) -> tuple[StringRow, ...]:
    """Strings on the heap that contain ``part``, by size."""
    check_not_negative(limit, "limit")
    snapshot = graph.snapshot
    indexes = snapshot.strings.containing(part)
    ords = np.flatnonzero((snapshot.node_type == snapshot.node_type_code("string")) & (graph.size > 0))
    wanted = np.zeros(len(snapshot.strings), np.bool_)
    wanted[indexes] = True
    ords = ords[wanted[snapshot.node_name[ords]]]
    by_text: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for node in ords:
        total = by_text[int(snapshot.node_name[node])]
        total[0] += 1
        total[1] += int(graph.size[node])
    best = sorted(by_text.items(), key=lambda item: (-item[1][1], item[0]))[:limit]
    return tuple(_string_row(graph, text, count, size) for text, (count, size) in best)


def _string_row(graph: HeapGraph, text: int, count: int, size: int) -> StringRow:
    decoded = graph.snapshot.strings[text]
    return StringRow(
        text=printable(decoded),
        count=count,
        size_bytes=size,
        wasted_bytes=size - size // count,
        truncated=len(decoded) >= _STRING_LIMIT or size // count > _WHOLE_STRING_BYTES,
    )


def dominator_rows(
    graph: HeapGraph, *, depth: int = 4, per_node: int = 5, least_share: float = 0.01, start: int | None = None
) -> tuple[DominatorRow, ...]:
    """The dominator tree top down, depth first: the largest children of each node, as far as they matter.

    ``least_share``: children that retain less of the whole heap are left out.
    """
    least = least_share * graph.total_bytes
    check_not_negative(depth, "depth")
    check_not_negative(per_node, "per_node")
    rows: list[DominatorRow] = []
    waiting = [(graph.root if start is None else start, 0)]
    while waiting:
        node, level = waiting.pop()
        dominated = int(graph.tree.tree_size[graph.tree_position[node]])
        rows.append(DominatorRow(node=object_row(graph, node), depth=level, dominated=dominated))
        if level < depth:
            children = graph.children(node).astype(np.int64)
            best = [int(child) for child in _top(children, graph.retained[children], per_node)]
            waiting += [(child, level + 1) for child in reversed(best) if graph.retained[child] >= least]
    return tuple(rows)


def statistics(graph: HeapGraph) -> Statistics:
    """Sizes by kind, as DevTools' statistics view counts them."""
    snapshot, size = graph.snapshot, graph.size

    def total(*type_names: str) -> int:
        codes = [snapshot.node_type_code(name) for name in type_names]
        return int(size[np.isin(snapshot.node_type, codes)].sum())

    native = total("native") + snapshot.header.extra_native_bytes
    code, system = total("code"), total("hidden")
    strings = total("string", "concatenated string", "sliced string")
    buffers = snapshot.strings.find("system / JSArrayBufferData")
    is_native = snapshot.node_type == snapshot.node_type_code("native")
    typed = int(size[is_native & (snapshot.node_name == buffers)].sum()) if buffers >= 0 else 0
    arrays = _js_array_bytes(graph)
    v8 = graph.total_bytes - native
    return Statistics(
        total_bytes=graph.total_bytes,
        native_bytes=native,
        typed_array_bytes=typed,
        v8_bytes=v8,
        code_bytes=code,
        string_bytes=strings,
        js_array_bytes=arrays,
        system_bytes=system,
        other_bytes=v8 - code - strings - arrays - system,
        node_count=snapshot.node_count,
        edge_count=snapshot.edge_count,
        string_count=len(snapshot.strings),
        detached_count=int((spread_detachedness(snapshot) == DETACHED).sum()),
        orphan_count=graph.orphan_count,
    )


def _js_array_bytes(graph: HeapGraph) -> int:
    """Arrays with their element stores, where the store has no other owner."""
    snapshot, size = graph.snapshot, graph.size
    name, elements = snapshot.strings.find("Array"), snapshot.strings.find("elements")
    if name < 0:
        return 0
    others = ("hidden", "native", "code", "concatenated string", "sliced string", "string")
    codes = [snapshot.node_type_code(kind) for kind in others]
    is_array = (snapshot.node_name == name) & ~np.isin(snapshot.node_type, codes)
    total = int(size[is_array].sum())
    if elements < 0:
        return total
    internal = snapshot.edge_type_code("internal")
    edges = np.flatnonzero((snapshot.edge_name == elements) & (snapshot.edge_type == internal))
    owners = np.searchsorted(snapshot.first_edge, edges, side="right") - 1
    edges, owners = edges[is_array[owners]], owners[is_array[owners]]
    _, first_of_owner = np.unique(owners, return_index=True)
    stores = snapshot.edge_to[edges[first_of_owner]]
    retainers = np.bincount(snapshot.edge_to, minlength=snapshot.node_count)
    return total + int(size[stores[retainers[stores] == 1]].sum())


def _is_apps(graph: HeapGraph) -> Bools:
    """Objects and functions an app can name; not the global object itself, which holds everything."""
    snapshot = graph.snapshot
    codes = [snapshot.node_type_code(name) for name in ("object", "closure")]
    mine = np.isin(snapshot.node_type, codes)
    row = slice(int(snapshot.first_edge[graph.root]), int(snapshot.first_edge[graph.root + 1]))
    mine[snapshot.edge_to[row]] = False
    return mine


def _top(ords: Int64s, weight: Int64s, limit: int) -> Int64s:
    """The ``limit`` ordinals of greatest weight, greatest first; equal ones in file order."""
    check_not_negative(limit, "limit")
    if len(ords) > 4 * limit:
        part = np.argpartition(-weight, limit)[: limit + 1]
        least = weight[part].min() if len(part) else 0
        keep = np.flatnonzero(weight >= least)
        ords, weight = ords[keep], weight[keep]
    return ords[np.lexsort((ords, -weight))[:limit]]
