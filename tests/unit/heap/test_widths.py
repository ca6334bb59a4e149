"""Files beyond 4 GB, tables up to 2^31 rows, heaps beyond 2^32 bytes: the arithmetic, without a file of that size.

A mapping that nobody wrote to takes no memory: what is read lies at its far end.  `benchmarks/heap_large.py` analyses a
whole file of 17 million nodes.
"""

from __future__ import annotations

import mmap
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.snapshot_builder import SnapshotBuilder

from pytest_memory.errors import SnapshotFormatError
from pytest_memory.heap import bytescan, columns, ephemerons, kernels, nesting, spreading, tallies
from pytest_memory.heap.graph import build_graph
from pytest_memory.heap.marks import NO_DISTANCE, RETAINS, STRONG
from pytest_memory.heap.sections import Section, SectionReader
from pytest_memory.heap.snapshot import parse_snapshot
from pytest_memory.heap.strings import Strings

Int64s = NDArray[np.int64]
FAR = 2**32 + 1000
MOST = 2**31 - 1
"""Rows a table can have."""


def written_far(text: bytes) -> mmap.mmap:
    """More than 4 GiB of nothing, then ``text`` at FAR."""
    try:
        buffer = mmap.mmap(-1, FAR + 4096)
    except OSError as error:
        pytest.skip(f"no room for a mapping of {FAR:,} bytes: {error}")
    buffer[FAR : FAR + len(text)] = text
    return buffer


def view_of(buffer: mmap.mmap) -> NDArray[np.uint8]:
    view = np.frombuffer(buffer, np.uint8)
    view.flags.writeable = False
    return view


class Rows:
    """A sink that keeps what it is given and refuses one value."""

    def __init__(self, refused: int) -> None:
        self.found: list[list[int]] = []
        self._refused = refused

    def store(self, rows: Int64s, count: int, _at: int) -> int:
        self.found += rows[:count].tolist()
        bad = np.flatnonzero(rows[:count].ravel() == self._refused)
        return int(bad[0]) if len(bad) else -1

    def explain(self, _field: int, value: int) -> str:
        return f"value {value:,}"


def test_numbers_beyond_4_gib_of_a_file() -> None:
    text = b"[1,2,15032385529,4,5,99]"
    reader_text = written_far(text)
    with ThreadPoolExecutor(2) as pool:
        reader = SectionReader(reader_text, "far.heapsnapshot", pool, lambda _start, _stop: None)
        section = Section("edges", FAR, FAR + len(text), (text.count(b","),))
        sink = Rows(refused=0)
        reader.read_numbers(section, 3, 2, sink)
        assert sink.found == [[1, 2, 15_032_385_529], [4, 5, 99]]
        with pytest.raises(SnapshotFormatError, match="value 99 in row 1") as caught:
            reader.read_numbers(section, 3, 2, Rows(refused=99))
        assert caught.value.byte_offset == FAR + text.index(b"99]")
        with pytest.raises(SnapshotFormatError, match="rows of 3, 9 numbers"):
            reader.read_numbers(section, 3, 3, sink)
    assert bytescan.count_commas(reader.view, FAR, FAR + 500) == (5, FAR + len(text) - 1)
    assert nesting.skip_value(reader.view, FAR, FAR + 500) == FAR + len(text)


def test_strings_beyond_4_gib_of_a_file() -> None:
    entry = "17 / part of key (Key @5) -> value (Value @7) pair in WeakMap (table @4294967301)"
    texts = ["12345", 'a \\" quote', entry]
    written = "[" + ",".join(f'"{text}"' for text in texts) + "]"
    buffer = written_far(written.encode())
    view = view_of(buffer)
    starts, lengths = np.empty(8, np.int64), np.empty(8, np.int32)
    count, end, status = bytescan.locate_strings(view, FAR + 1, len(buffer), starts, lengths)
    assert (count, end, status) == (3, FAR + len(written), bytescan.DONE)
    strings = Strings(buffer, view, starts[:count], lengths[:count])
    assert [strings[index] for index in range(3)] == ["12345", 'a " quote', entry]
    assert strings.integers(np.array([0, 1], np.int32)).tolist() == [12345, -1]
    assert (strings.find("12345"), strings.containing("quote").tolist()) == (0, [1])
    index, parts = ephemerons.find_entries(view, starts[:count], lengths[:count])
    assert (index.tolist(), parts[:, 0].tolist()) == ([2], [4_294_967_301])


@pytest.mark.parametrize("width", [6, 7])
def test_an_edge_to_the_last_of_all_nodes_there_can_be(width: int) -> None:
    """Targets are offsets into the numbers of all nodes: beyond 2^31, 2^32 and 2^33 for most of them."""
    targets = [0, 2**24, 2**31 // width + 1, 2**30, MOST - 2, MOST - 1]
    rows = np.array([[0, 5, target * width] for target in targets], np.int64)
    types, names, to = np.empty(9, np.uint8), np.empty(9, np.int32), np.full(9, -1, np.int32)

    def store(rows: Int64s) -> int:
        fields = np.arange(3, dtype=np.int64)
        return columns.store_edges(rows, len(rows), fields, 1, width, MOST, 2, types, names, to)

    assert store(rows) == -1
    assert to.tolist() == [-1, -1, *targets, -1]
    for wrong in ((MOST - 1) * width + 1, (MOST - 1) * width - 1, MOST * width, 2**62 // width * width):
        assert store(np.array([[0, 5, 0], [0, 5, wrong]], np.int64)) == 5


def test_ids_and_sizes_keep_all_their_bits() -> None:
    rows = np.array([[0, MOST, 2**53 + 1, 2**40 + 1, MOST], [0, 1, 2**59, 2**59 + 3, 0]], np.int64)
    size, node_id = np.empty(2, np.int64), np.empty(2, np.int64)
    name, edges, small = np.empty(2, np.int32), np.empty(2, np.int32), np.empty(2, np.uint8)
    fields = np.array([0, 1, 2, 3, 4, -1], np.int64)
    assert columns.store_nodes(rows, 2, fields, 1, 0, small, name, node_id, size, edges, small.copy()) == -1
    assert (node_id.tolist(), size.tolist()) == ([2**53 + 1, 2**59], [2**40 + 1, 2**59 + 3])
    assert (name.tolist(), edges.tolist()) == ([MOST, 1], [MOST, 0])


def test_row_starts_up_to_the_last_edge_there_can_be() -> None:
    first = np.empty(4, np.int32)
    assert columns.sum_rows(np.array([2, MOST - 4, 2], np.int32), first) == MOST
    assert first.tolist() == [0, 2, MOST - 2, MOST]


def test_the_last_edges_there_can_be_are_followed() -> None:
    """0 → 2 over edge 0, 2 → 3 and 3 → 1 over the last ones; all edges between are node 1's, which nobody visits."""
    try:
        edge_to, flags = np.zeros(MOST, np.int32), np.zeros(MOST, np.uint8)
    except MemoryError:
        pytest.skip(f"no room for a mapping of {MOST:,} edges")
    first_edge = np.array([0, 1, MOST - 2, MOST - 1, MOST], np.int32)
    edge_to[0], edge_to[MOST - 2], edge_to[MOST - 1] = 2, 3, 1
    flags[0] = flags[MOST - 2] = flags[MOST - 1] = RETAINS | STRONG

    distance, queue = np.array([0, 7, NO_DISTANCE, NO_DISTANCE], np.int32), np.zeros(4, np.int32)  # 1 was seen before
    none = np.empty(0, np.int32), np.empty(0, np.uint8)
    assert spreading.measure_distances(first_edge, edge_to, flags, *none, distance, queue, 1, 0) == 3
    assert (distance.tolist(), queue[:3].tolist()) == ([0, 7, 1, 2], [0, 2, 3])

    owner, stack = np.empty(4, np.int32), np.empty(9, np.int32)
    flags[MOST - 1] = 0
    tallies.assign_owners(first_edge, edge_to, flags, np.array([0, 1, 1, 1], np.uint8), owner, stack)
    assert owner.tolist() == [0, -1, 0, 0]
    flags[MOST - 1] = RETAINS | STRONG

    order, slots = np.array([0, 2, 3, 1], np.int32), np.array([0, 2, 0, 1], np.int32)
    retainer = np.full(3, -1, np.int32)
    kernels.fill_retainers(first_edge, edge_to, flags, np.ones(4, np.uint8), order, 0, 3, slots, 1, retainer)
    assert retainer.tolist() == [0, 1, 2]


def test_sums_beyond_32_bits_and_beyond_a_float() -> None:
    heap = SnapshotBuilder()
    app = heap.node("object", "global", size=2**53)
    heap.edge(heap.root, "shortcut", "global", app)
    for number in range(3):
        heap.edge(app, "property", f"part{number}", heap.node("object", "Part", size=2**40 + 1, node_id=2**45 + number))
    graph = build_graph(parse_snapshot(heap.to_bytes()))
    parts = 3 * (2**40 + 1)
    assert graph.total_bytes == 2**53 + parts
    totals = dict(zip((one.name for one in graph.classes.classes), graph.classes.totals.tolist()))
    assert totals["Part"] == [3, parts, parts]
    assert totals["global"] == [1, 2**53, 2**53 + parts]
    assert graph.ord_of(2**45 + 2) == 4


def test_columns_have_the_widths_that_all_this_rests_on() -> None:
    heap = SnapshotBuilder()
    heap.edge(heap.root, "element", 1, heap.node("object", "App", size=8))
    snapshot = parse_snapshot(heap.to_bytes())
    graph = build_graph(snapshot)
    wide: dict[str, Any] = {
        "ids": snapshot.node_id,
        "sizes": snapshot.node_size,
        "folded sizes": graph.size,
        "retained": graph.retained,
        "totals": graph.classes.totals,
        "where strings begin": snapshot.strings.starts,
    }
    assert {name: array.dtype for name, array in wide.items()} == dict.fromkeys(wide, np.dtype(np.int64))
    ordinals = (
        snapshot.edge_to, snapshot.first_edge, graph.tree.order, graph.tree.dominator, graph.tree.tree_order,
        graph.tree.tree_size, graph.tree_position, graph.dominator_ord, *graph.retainers,
    )  # fmt: skip
    assert {array.dtype for array in ordinals} == {np.dtype(np.int32)}
    assert np.iinfo(np.int32).max == columns.MAX_ORDINAL
