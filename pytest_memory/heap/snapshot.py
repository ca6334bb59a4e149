"""The columns of one V8 heap snapshot, read from bytes.  Floor 2: takes bytes, opens no file.

The only place that knows where V8 puts which field: names and positions come from the file's own ``meta``
(Node 18–22 write seven fields a node, Node 24 and later six).  Not a graph: what an edge means is decided in
heap.graph.  Whatever is not a whole, consistent snapshot is a SnapshotFormatError with byte offset and field.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_memory.errors import SnapshotFormatError
from pytest_memory.heap import bytescan, columns, ephemerons
from pytest_memory.heap.sections import Buffer, Progress, Release, Section, SectionReader, ignore_progress
from pytest_memory.heap.strings import Strings

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Bytes = NDArray[np.uint8]

_STRING_BLOCK = 1 << 18
_MAX_FIELDS = 64
"""Of a row: V8 writes seven at most, and a block of rows is read at once."""
_MAX_TOTAL_BYTES = 1 << 62
"""More bytes than any machine has; sums and differences below it fit in 64 bits."""


@dataclass(frozen=True, slots=True)
class Header:
    """What ``"snapshot"`` says about the rest.  Field positions count within a row."""

    node_width: int
    edge_width: int
    node_fields: Int64s
    edge_fields: Int64s
    node_types: tuple[str, ...]
    edge_types: tuple[str, ...]
    location_fields: tuple[str, ...]
    node_count: int
    edge_count: int
    root_ord: int
    extra_native_bytes: int


@dataclass(slots=True)
class Snapshot:
    """One snapshot as columns; rows are ordinals.

    node_type uint8 (index into header.node_types), node_name int32 (string), node_id int64 (V8's),
    node_size int64 (bytes, as in the file), node_detachedness uint8 (0 unknown, 1 attached, 2 detached);
    first_edge int32 (n + 1); edge_type uint8, edge_name int32 (string; of elements and hidden an index's
    32 bits, see edge_indexes), edge_to int32 (ordinal); locations int32 (rows of node ordinal, script id, line, column;
    both 0-based).
    weak_map_names: the strings that name WeakMap entries, as heap.ephemerons finds them.
    """

    header: Header
    strings: Strings
    weak_map_names: tuple[Int32s, Int64s]
    node_type: Bytes
    node_name: Int32s
    node_id: Int64s
    node_size: Int64s
    node_detachedness: Bytes
    first_edge: Int32s
    edge_type: Bytes
    edge_name: Int32s
    edge_to: Int32s
    locations: Int32s

    @property
    def node_count(self) -> int:
        return len(self.node_type)

    @property
    def edge_count(self) -> int:
        return len(self.edge_type)

    def edge_indexes(self, edges: NDArray[np.integer[Any]]) -> Int64s:
        """The indexes of element and hidden edges: of a sparse array some are beyond 2^31."""
        indexes: Int64s = self.edge_name[edges].astype(np.int64) & columns.MAX_INDEX
        return indexes

    def node_type_code(self, name: str) -> int:
        """The code of a node type in this file, or -1: Node versions differ in their types."""
        types = self.header.node_types
        return types.index(name) if name in types else -1

    def edge_type_code(self, name: str) -> int:
        types = self.header.edge_types
        return types.index(name) if name in types else -1


def _keep_pages(_start: int, _stop: int) -> None:
    pass


def parse_snapshot(
    text: Buffer,
    *,
    name: str = "snapshot",
    threads: int = 2,
    progress: Progress = ignore_progress,
    release: Release = _keep_pages,
) -> Snapshot:
    """Read a whole ``.heapsnapshot``.

    ``name`` is what errors call it.  The number arrays are read in stretches on ``threads`` threads (the
    kernels hold no GIL) while another locates the strings.  Raises SnapshotFormatError.
    """
    with ThreadPoolExecutor(max_workers=max(2, threads), thread_name_prefix="heap-parse") as pool:
        reader = SectionReader(text, name, pool, release)
        progress("sections", 0.0)
        sections = reader.find_sections()
        header = parse_header(reader, sections["snapshot"])
        strings_task = pool.submit(_locate_strings, reader, sections["strings"], release)
        nodes = _NodeColumns(header)
        edges = _EdgeColumns(header)
        reader.read_numbers(sections["nodes"], header.node_width, header.node_count, nodes, progress)
        reader.read_numbers(sections["edges"], header.edge_width, header.edge_count, edges, progress)
        progress("strings", 0.0)
        locations = _read_locations(reader, header, sections.get("locations"))
        strings, weak_map_names, end = strings_task.result()
        reader.check_tail(end, sections)
    _check_sizes(reader, nodes.size, sections["nodes"])
    first_edge = _row_starts(reader, header, sections["nodes"], nodes.edge_count)
    snapshot = Snapshot(
        header=header,
        strings=strings,
        weak_map_names=weak_map_names,
        node_type=nodes.node_type,
        node_name=nodes.name,
        node_id=nodes.node_id,
        node_size=nodes.size,
        node_detachedness=nodes.detachedness,
        first_edge=first_edge,
        edge_type=edges.edge_type,
        edge_name=edges.name_or_index,
        edge_to=edges.to_ord,
        locations=locations,
    )
    _check_names(reader, snapshot, sections)
    return snapshot


def parse_header(reader: SectionReader, section: Section) -> Header:
    """Read ``"snapshot"``: the counts and where each field stands.  Raises SnapshotFormatError."""
    try:
        head: Any = json.loads(reader.text[section.start : section.stop])
        meta = head["meta"]
        node_fields, edge_fields = _names(meta["node_fields"]), _names(meta["edge_fields"])
        node_at = [node_fields.index(key) for key in ("type", "name", "id", "self_size", "edge_count")]
        node_at.append(node_fields.index("detachedness") if "detachedness" in node_fields else -1)
        edge_at = [edge_fields.index(key) for key in ("type", "name_or_index", "to_node")]
        node_types = tuple(_names(meta["node_types"][node_at[0]]))
        edge_types = tuple(_names(meta["edge_types"][edge_at[0]]))
        counts = [head["node_count"], head["edge_count"], head.get("root_index", 0), head.get("extra_native_bytes", 0)]
        location_fields = tuple(_names(meta.get("location_fields", [])))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as exc:
        raise SnapshotFormatError(
            f"{reader.name!r} has a header this version does not understand, at byte {section.start:,}: "
            f"{type(exc).__name__} {exc}; expected meta with node_fields, node_types, edge_fields, edge_types, and "
            "node_count and edge_count",
            byte_offset=section.start,
            field="snapshot",
            hint="Node 18 and later are understood",
        ) from exc
    widths = [len(node_fields), len(edge_fields), len(location_fields)]
    _check_counts(reader, section, counts, widths, max(len(node_types), len(edge_types)))
    return Header(
        node_width=len(node_fields),
        edge_width=len(edge_fields),
        node_fields=np.array(node_at, np.int64),
        edge_fields=np.array(edge_at, np.int64),
        node_types=node_types,
        edge_types=edge_types,
        location_fields=location_fields,
        node_count=counts[0],
        edge_count=counts[1],
        root_ord=counts[2] // len(node_fields),
        extra_native_bytes=counts[3],
    )


def _names(value: Any) -> list[str]:
    """A list of names as ``meta`` holds them; the letters of one name are no names."""
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.40} is no list of names")
    return [str(name) for name in value]


def _check_counts(
    reader: SectionReader, section: Section, counts: list[Any], widths: list[int], type_count: int
) -> None:
    """Counts are checked before anything is allocated: a lie must not ask for the machine's memory.

    ``widths``: fields of a node, an edge and a location."""
    problem = ""
    node_count, edge_count, root_index, native_bytes = counts
    width = widths[0]
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts):
        problem = f"counts that are no counts: {counts!r:.200}"
    elif node_count == 0:
        problem = "no nodes; expected a root at least"
    elif type_count > 255:
        problem = f"{type_count} types; expected at most 255"
    elif max(widths) > _MAX_FIELDS:
        problem = f"{max(widths):,} fields in a row; expected at most {_MAX_FIELDS}"
    elif native_bytes >= _MAX_TOTAL_BYTES:
        problem = f"extra_native_bytes of {native_bytes.bit_length():,} bits; expected less than 2^62"
    elif max(node_count, edge_count) > columns.MAX_ORDINAL:
        problem = f"{node_count:,} nodes and {edge_count:,} edges; expected at most {columns.MAX_ORDINAL:,} of each"
    elif 2 * max(node_count, edge_count) > reader.size:
        problem = f"{node_count:,} nodes and {edge_count:,} edges promised by a file of {reader.size:,} bytes"
    elif root_index % width or root_index >= node_count * width:
        problem = f"root_index {root_index:,}; expected a multiple of {width} below {node_count * width:,}"
    if problem:
        raise SnapshotFormatError(
            f"{reader.name!r} has {problem}, in the header at byte {section.start:,}",
            slug="snapshot-counts",
            byte_offset=section.start,
            field="snapshot",
        )


class _NodeColumns:
    """Sink of ``"nodes"``."""

    def __init__(self, header: Header) -> None:
        count = header.node_count
        self._header = header
        self.node_type = np.empty(count, np.uint8)
        self.name = np.empty(count, np.int32)
        self.node_id = np.empty(count, np.int64)
        self.size = np.empty(count, np.int64)
        self.edge_count = np.empty(count, np.int32)
        self.detachedness = np.zeros(count, np.uint8)

    def store(self, rows: Int64s, count: int, at: int) -> int:
        return columns.store_nodes(
            rows,
            count,
            self._header.node_fields,
            len(self._header.node_types),
            at,
            self.node_type,
            self.name,
            self.node_id,
            self.size,
            self.edge_count,
            self.detachedness,
        )

    def explain(self, field: int, value: int) -> str:
        names = ("type", "name", "id", "self_size", "edge_count", "detachedness")
        return f"{names[list(self._header.node_fields).index(field)]} {value:,}"


class _EdgeColumns:
    """Sink of ``"edges"``."""

    def __init__(self, header: Header) -> None:
        count = header.edge_count
        self._header = header
        self.edge_type = np.empty(count, np.uint8)
        self.name_or_index = np.empty(count, np.int32)
        self.to_ord = np.empty(count, np.int32)

    def store(self, rows: Int64s, count: int, at: int) -> int:
        header = self._header
        return columns.store_edges(
            rows,
            count,
            header.edge_fields,
            len(header.edge_types),
            header.node_width,
            header.node_count,
            at,
            self.edge_type,
            self.name_or_index,
            self.to_ord,
        )

    def explain(self, field: int, value: int) -> str:
        names = ("type", "name_or_index", "to_node")
        what = names[list(self._header.edge_fields).index(field)]
        limit = self._header.node_count * self._header.node_width
        expected = f"; expected a multiple of {self._header.node_width} below {limit:,}" if what == "to_node" else ""
        return f"{what} {value:,}{expected}"


class _LocationRows:
    """Sink of ``"locations"``: node ordinal, script, line and column in this order."""

    def __init__(self, header: Header, count: int) -> None:
        fields = header.location_fields
        self._order = [fields.index(key) for key in ("object_index", "script_id", "line", "column")]
        self._header = header
        self.rows = np.empty((count, 4), np.int32)

    def store(self, rows: Int64s, count: int, at: int) -> int:
        picked = rows[:count, self._order]
        limit = self._header.node_count * self._header.node_width
        bad = (picked[:, 0] % self._header.node_width != 0) | (picked[:, 0] < 0) | (picked[:, 0] >= limit)
        if bad.any():
            return int(np.argmax(bad)) * int(rows.shape[1]) + self._order[0]
        for at_column in (1, 2, 3):
            values = picked[:, at_column]
            bad = (values < -columns.MAX_ORDINAL - 1) | (values > columns.MAX_INDEX)
            if bad.any():
                return int(np.argmax(bad)) * int(rows.shape[1]) + self._order[at_column]
        picked[:, 0] //= self._header.node_width
        self.rows[at : at + count] = picked.astype(np.int32)  # V8's "unknown" is -1, written in 32 bits up to Node 22
        return -1

    def explain(self, field: int, value: int) -> str:
        what = self._header.location_fields[field]
        limit = self._header.node_count * self._header.node_width
        expected = f"; expected a multiple of {self._header.node_width} below {limit:,}"
        return f"{what} {value:,}{expected if what == 'object_index' else ''}"


def _read_locations(reader: SectionReader, header: Header, section: Section | None) -> Int32s:
    if section is None or not header.location_fields:
        return np.empty((0, 4), np.int32)
    width = len(header.location_fields)
    row_count = reader.count_numbers(section) // width
    try:
        sink = _LocationRows(header, row_count)
    except ValueError:
        return np.empty((0, 4), np.int32)  # fields of another V8: locations are a convenience, not the graph
    reader.read_numbers(section, width, row_count, sink)
    return sink.rows


def _locate_strings(
    reader: SectionReader, section: Section, release: Release
) -> tuple[Strings, tuple[Int32s, Int64s], int]:
    """The string table, the names of WeakMap entries in it, and the position behind its closing bracket."""
    if reader.text[section.start : section.start + 1] != b"[":
        reader.fail(bytescan.NOT_A_STRING, section.start, "strings", "; expected an array of strings")
    at = reader.skip_space(section.start + 1)
    # Room for the shortest strings there can be; memory that is not written to costs nothing.
    room = (reader.size - at) // len('"",') + 1
    starts, lengths = np.empty(room, np.int64), np.empty(room, np.int32)
    if reader.text[at : at + 1] == b"]":
        none = np.empty(0, np.int32), np.empty((0, 2), np.int64)
        return Strings(reader.text, reader.view, starts[:0], lengths[:0]), none, at + 1
    seen, status = 0, bytescan.FULL
    indexes, parts = [], []
    while status == bytescan.FULL:
        block, first = slice(seen, seen + _STRING_BLOCK), at
        count, at, status = bytescan.locate_strings(reader.view, at, reader.size, starts[block], lengths[block])
        # Looked at while the bytes are at hand: the mapped pages are given back below.
        index, part = ephemerons.find_entries(reader.view, starts[block][:count], lengths[block][:count])
        indexes.append(index + np.int32(seen))
        parts.append(part)
        seen += count
        release(first, at)
    if status != bytescan.DONE:
        reader.fail(status, at, "strings", f" (after {seen:,} strings)")
    strings = Strings(reader.text, reader.view, starts[:seen], lengths[:seen])
    return strings, (np.concatenate(indexes), np.concatenate(parts)), at


def _row_starts(reader: SectionReader, header: Header, section: Section, edge_counts: Int32s) -> Int32s:
    first_edge = np.empty(len(edge_counts) + 1, np.int32)
    total = columns.sum_rows(edge_counts, first_edge)
    if total != header.edge_count:
        raise SnapshotFormatError(
            f"{reader.name!r} counts {total:,} edges in the rows of 'nodes' (bytes {section.start:,} to "
            f"{section.stop:,}); the header promises {header.edge_count:,}",
            slug="snapshot-counts",
            byte_offset=section.start,
            field="edge_count",
        )
    return first_edge


def _check_sizes(reader: SectionReader, sizes: Int64s, section: Section) -> None:
    """All sizes together must be a number of bytes: beyond 64 bits, totals would be wrong, even negative."""
    total = float(sizes.sum(dtype=np.float64))
    if total >= _MAX_TOTAL_BYTES:
        raise SnapshotFormatError(
            f"{reader.name!r} has nodes of {total:.3g} bytes together in 'nodes' (bytes {section.start:,} to "
            f"{section.stop:,}); expected less than 2^62",
            slug="snapshot-counts",
            byte_offset=section.start,
            field="self_size",
        )


def _check_names(reader: SectionReader, snapshot: Snapshot, sections: dict[str, Section]) -> None:
    """Every name must be in the table.  Only now can it be known: the strings come last."""
    header, count = snapshot.header, len(snapshot.strings)
    row = columns.first_at_least(snapshot.node_name, count)
    key, width, field, value = "nodes", header.node_width, header.node_fields[1], int(snapshot.node_name[row])
    if row < 0:
        is_named = np.array([name not in ("element", "hidden") for name in header.edge_types], np.uint8)
        row = columns.first_bad_name(snapshot.edge_type, snapshot.edge_name, is_named, count)
        if row < 0:
            return
        key, width, field = "edges", header.edge_width, header.edge_fields[1]
        value = int(snapshot.edge_name[row]) & columns.MAX_INDEX
    section = sections[key]
    offset = reader.number_offset(section.start + 1, section.stop, row * width + int(field), section.commas)
    reader.fail_index(key, row, f"name {value:,}; the table has {count:,} strings", offset)
