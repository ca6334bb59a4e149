"""Questions to one heap, on small heaps whose answers can be counted by hand."""

from __future__ import annotations

import pytest
from support.snapshot_builder import SnapshotBuilder

from pytest_memory.heap import queries, tables
from pytest_memory.heap.graph import HeapGraph, build_graph
from pytest_memory.heap.names import printable
from pytest_memory.heap.snapshot import parse_snapshot


class Heap(SnapshotBuilder):
    def __init__(self) -> None:
        super().__init__()
        self.app = self.node("object", "global", size=8)
        self.edge(self.root, "shortcut", 1, self.app)

    def object(self, name: str, size: int = 8, *, of: int | None = None, kind: str = "object") -> int:
        node = self.node(kind, name, size=size)
        self.edge(self.app if of is None else of, "property", "it", node)
        return node

    def graph(self) -> HeapGraph:
        return build_graph(parse_snapshot(self.to_bytes()))


def test_classes_come_by_retained_size_and_pattern() -> None:
    heap = Heap()
    heap.object("Small", 50, of=heap.object("Large", 100))
    graph = heap.graph()
    rows = queries.class_rows(graph)
    assert [(row.name, row.count, row.size_bytes, row.retained_bytes) for row in rows] == [
        ("global", 1, 8, 158),
        ("Large", 1, 100, 150),
        ("Small", 1, 50, 50),
    ]
    assert [row.name for row in queries.class_rows(graph, "*a*", limit=2)] == ["global", "Large"]


def test_largest_objects_are_the_apps() -> None:
    heap = Heap()
    heap.object("system / Map", 9999, kind="hidden")
    inner = heap.object("Inner", 70, of=heap.object("Outer", 30))
    heap.object("handler", 40, kind="closure")
    graph = heap.graph()
    rows = queries.largest_objects(graph)
    assert [(row.name, row.retained_bytes) for row in rows] == [("Outer", 100), ("Inner", 70), ("handler()", 40)]
    assert rows[1].node_id == 2 * inner + 1
    assert [row.name for row in queries.largest_objects(graph, "I*")] == ["Inner"]
    assert len(queries.largest_objects(graph, limit=1)) == 1


def table_slots(buckets: int, entry_slots: int) -> int:
    return 3 + buckets + 2 * buckets * entry_slots


@pytest.mark.parametrize(
    ("name", "entry_slots"), [("Map", 3), ("Set", 2), ("SafeMap", 3), ("SessionStore", 3), ("TagBag", 2)]
)
def test_entries_of_hash_tables_are_counted_once(name: str, entry_slots: int) -> None:
    heap = Heap()
    collection = heap.object(name)
    buckets = 4
    table = heap.node("array", "", size=16 + 8 * table_slots(buckets, entry_slots))
    heap.edge(collection, "internal", "table", table)
    heap.edge(table, "internal", "map", heap.node("hidden", "system / Map"))
    heap.edge(table, "internal", "2", heap.node("hidden", "system / Oddball"))
    for entry in (0, 1, 5):
        start = 3 + buckets + entry * entry_slots
        for slot in range(entry_slots - 1):  # key, and value if there is one
            heap.edge(table, "internal", str(start + slot), heap.object("Thing"))
    assert queries.collection_lengths(heap.graph())[collection] == 3


@pytest.mark.parametrize("buckets", [4, 2**53])
def test_slots_that_no_table_has_are_no_entries(buckets: int) -> None:
    heap = Heap()
    collection = heap.object("Map")
    table = heap.node("array", "", size=16 + 8 * table_slots(buckets, 3))
    heap.edge(collection, "internal", "table", table)
    heap.edge(table, "internal", "999999999999999999", heap.object("Thing"))
    heap.edge(table, "internal", str(min(table_slots(buckets, 3), 2**32)), heap.object("Thing"))
    heap.edge(table, "internal", str(3 + buckets), heap.object("Thing"))
    assert queries.collection_lengths(heap.graph())[collection] == (1 if buckets == 4 else 0)


def test_a_weak_collection_has_no_entries_of_its_own() -> None:
    heap = Heap()
    weak = heap.object("Weak")
    heap.object("Prototype", of=weak)
    table = heap.node("array", "", size=16 + 8 * (3 + 2 * 4))
    heap.edge(weak, "internal", "table", table)
    for slot in range(3, 11):
        heap.edge(table, "internal", str(slot), heap.object("Thing"))
    assert queries.collection_lengths(heap.graph())[weak] == 0


def test_collections_come_by_length() -> None:
    heap = Heap()
    array, plain = heap.object("Array"), heap.object("Object")
    for index in range(5):
        heap.edge(array, "element", index, heap.object("Thing"))
    for index in range(3):
        heap.edge(plain, "property", f"p{index}", heap.object("Thing"))
    rows = queries.largest_collections(heap.graph())
    assert [(row.container.name, row.length) for row in rows] == [("Array", 5), ("Object", 3)]


def test_the_prototype_is_no_entry() -> None:
    heap = Heap()
    array, plain = heap.object("Array"), heap.object("Object")
    for owner in (array, plain):
        heap.edge(owner, "property", "__proto__", heap.app)
    for index in range(5):
        heap.edge(array, "element", index, heap.object("Thing"))
        heap.edge(plain, "property", f"p{index}", heap.object("Thing"))
    lengths = queries.collection_lengths(heap.graph())
    assert lengths[[array, plain]].tolist() == [5, 5]


def test_duplicate_strings_and_what_they_waste() -> None:
    heap = Heap()
    for _ in range(3):
        heap.object("again", 24, kind="string")
    heap.object("once", 500, kind="string")
    heap.object("again", 0, kind="string")  # V8's own, no memory of the heap
    (row,) = queries.duplicate_strings(heap.graph())
    assert (row.text, row.count, row.size_bytes, row.wasted_bytes, row.truncated) == ("again", 3, 72, 48, False)


def test_strings_cut_by_v8_are_marked() -> None:
    heap = Heap()
    for _ in range(2):
        heap.object("x" * 1024, 2000, kind="string")
    (row,) = queries.duplicate_strings(heap.graph())
    assert row.truncated


def test_a_string_of_emoji_is_longer_than_it_looks() -> None:
    """V8 writes 512 characters of it: one for two."""
    heap = Heap()
    for _ in range(2):
        heap.object("\uf600" * 512, 16 + 2 * 4000, kind="string")
        heap.object("\uf601" * 500, 16 + 2 * 1000, kind="string")
    longer, whole = queries.duplicate_strings(heap.graph())
    assert (longer.truncated, whole.truncated) == (True, False)


def test_a_character_beyond_16_bits_is_found_as_v8_writes_it() -> None:
    heap = Heap()
    heap.object("hello \uf600!", 30, kind="string")
    heap.object("hello \U0001f600 too", 20, kind="string")  # saved again by a careful program
    heap.object("hello \uf601", 10, kind="string")
    found = queries.find_strings(heap.graph(), "hello \U0001f600")
    assert [row.size_bytes for row in found] == [30, 20]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("token", ["token-2", "token-1"]),
        ("-1", ["token-1"]),
        ("n-1to", []),
        ('say "hi"', ['say "hi"']),
        ("é", ["café"]),
        ("absent", []),
    ],
)
def test_strings_are_found_by_content(part: str, found: list[str]) -> None:
    heap = Heap()
    for size, text in ((10, "token-1"), (20, "token-2"), (5, 'say "hi"'), (5, "café"), (5, "to"), (5, "© 2026")):
        heap.object(text, size, kind="string")
    assert [row.text for row in queries.find_strings(heap.graph(), part)] == found


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("n", ["line\nnumber", "\\name"]),
        ("u", ["line\nnumber"]),
        ("00", []),
        ("FC", []),
        ("\n", ["line\nnumber"]),
        ("\\n", ["\\name"]),
        ("sible", ["plaüsible"]),
    ],
)
def test_the_escapes_of_a_string_are_not_its_content(part: str, found: list[str]) -> None:
    heap = Heap()
    for size, text in ((30, "line\nnumber"), (20, "a\tb"), (10, "\\name"), (9, "plaüsible"), (8, "aüb")):
        heap.object(text, size, kind="string")
    assert [row.text for row in queries.find_strings(heap.graph(), part)] == [printable(text) for text in found]


def test_the_dominator_tree_top_down() -> None:
    heap = Heap()
    large = heap.object("Large", 600)
    heap.object("Part", 300, of=large)
    heap.object("Tiny", 1)
    rows = queries.dominator_rows(heap.graph(), least_share=0.05)
    assert [(row.depth, row.node.name, row.dominated) for row in rows] == [
        (0, "", 5),
        (1, "(global)", 4),
        (2, "Large", 2),
        (3, "Part", 1),
    ]
    assert len(queries.dominator_rows(heap.graph(), depth=1)) == 2
    assert "    Large" in tables.dominator_table(rows)


def test_the_pie_sums_up() -> None:
    heap = Heap()
    heap.object("(code)", 100, kind="code")
    for kind in ("string", "concatenated string", "sliced string"):
        heap.object("text", 10, kind=kind)
    heap.object("system / Map", 7, kind="hidden")
    heap.edge(heap.object("Other"), "property", "map", len(heap.nodes) - 2)
    heap.object("Node / Thing", 50, kind="native")
    heap.object("system / JSArrayBufferData", 1000, kind="native")
    array = heap.object("Array", 16)
    store = heap.node("array", "(object elements)", size=84)
    heap.edge(array, "internal", "elements", store)
    document_graph = heap.graph()
    pie = queries.statistics(document_graph)
    assert (pie.code_bytes, pie.string_bytes, pie.native_bytes, pie.typed_array_bytes) == (100, 30, 1050, 1000)
    assert pie.js_array_bytes == 100
    parts = pie.code_bytes + pie.string_bytes + pie.js_array_bytes + pie.system_bytes + pie.other_bytes
    assert parts == pie.v8_bytes
    assert pie.v8_bytes + pie.native_bytes == pie.total_bytes == document_graph.total_bytes
    assert "typed arrays and buffers" in tables.statistics_table(pie)


def test_shapes_of_plain_objects() -> None:
    heap = Heap()
    plain = heap.node("object", "Object", size=8)
    for name in ("id", "__proto__", "user"):
        heap.edge(plain, "property", name, heap.object("Thing"))
    wide = heap.node("object", "Object", size=8)
    for number in range(20):
        heap.edge(wide, "property", f"p{number}", heap.object("Thing"))
    graph = heap.graph()
    assert queries.object_shape(graph, plain) == "{id, user}"
    assert queries.object_shape(graph, wide) == "{p0, p1, p2, p3, p4, p5, p6, p7, …}"
