"""The dominator tree in boxes, on small heaps whose sizes can be added up by hand."""

from __future__ import annotations

import pytest
from support.snapshot_builder import SnapshotBuilder

from pytest_memory.heap import tree
from pytest_memory.heap.graph import HeapGraph, build_graph
from pytest_memory.heap.snapshot import parse_snapshot
from pytest_memory.heap.tree import heap_tree
from pytest_memory.model import HeapNode


class Heap(SnapshotBuilder):
    def __init__(self) -> None:
        super().__init__()
        self.app = self.node("object", "global", size=8)
        self.edge(self.root, "shortcut", 1, self.app)

    def held(self, by: int, edge: str | int, name: str, size: int, kind: str = "object") -> int:
        node = self.node(kind, name, size=size)
        self.edge(by, "element" if isinstance(edge, int) else "property", edge, node)
        return node

    def graph(self) -> HeapGraph:
        return build_graph(parse_snapshot(self.to_bytes()))


def names(tree: tuple[HeapNode, ...]) -> list[tuple[str, str, int, int]]:
    return [(tree[box.parent].name if box.parent >= 0 else "", box.name, box.count, box.retained_bytes) for box in tree]


def test_large_objects_stand_alone_and_small_ones_of_a_class_together() -> None:
    heap = Heap()
    sessions = heap.held(heap.app, "sessions", "Map", 100)
    for index in range(200):
        session = heap.held(sessions, index, "Session", 20)
        heap.held(session, "token", f"secret-{index}", 30, kind="string")
    heap.held(heap.app, "cache", "Cache", 5_000)
    heap.held(heap.app, "tiny", "Tiny", 1)
    assert names(heap_tree(heap.graph())) == [
        ("", "(heap)", 1, 15_109),
        ("(heap)", "(global)", 1, 15_109),
        ("(global)", "sessions : Map", 1, 10_100),
        ("sessions : Map", "Session", 200, 10_000),
        ("Session", "(string)", 200, 6_000),
        ("(global)", "cache : Cache", 1, 5_000),
    ]


def test_a_chain_is_one_box_named_by_its_ends() -> None:
    heap = Heap()
    heap.held(heap.app, "other", "Other", 20_000)
    server = heap.held(heap.app, "server", "Server", 40)
    handler = heap.held(heap.held(server, "_events", "Object", 40), "request", "handle", 40, kind="closure")
    sessions = heap.held(handler, "sessions", "Map", 5_000)
    for index in range(100):
        heap.held(sessions, index, "Session", 50)
    assert names(heap_tree(heap.graph()))[3:] == [
        ("(global)", "server : Server → sessions : Map", 1, 10_120),
        ("server : Server → sessions : Map", "Session", 100, 5_000),
    ]


def test_it_is_bounded_and_keeps_the_largest() -> None:
    heap = Heap()
    for index in range(80):
        heap.held(heap.app, f"part{index}", "Part", 1_000 + index)
    tree = heap_tree(heap.graph(), limit=10)
    assert len(tree) == 10
    assert [box.name for box in tree[2:]] == [f"part{index} : Part" for index in range(79, 71, -1)]
    assert all(box.parent < number for number, box in enumerate(tree))


def test_an_empty_heap_is_one_box() -> None:
    assert names(heap_tree(build_graph(parse_snapshot(SnapshotBuilder().to_bytes())))) == [("", "(heap)", 1, 0)]


def test_a_linked_list_is_followed_for_a_few_steps_only() -> None:
    heap = SnapshotBuilder()
    last = heap.node("object", "global", size=8)
    heap.edge(heap.root, "shortcut", 1, last)
    for _ in range(30_000):
        link = heap.node("object", "Link", size=40)
        heap.edge(last, "property", "next", link)
        last = link
    graph = build_graph(parse_snapshot(heap.to_bytes()))
    opened = []

    class Counting(tree._Children):
        def of(self, ords):  # type: ignore[no-untyped-def]
            opened.append(len(ords))
            return super().of(ords)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tree, "_Children", Counting)
        assert len(tree.heap_tree(graph, limit=20)) == 20
    assert len(opened) <= 20 * (tree._LONGEST_CHAIN + 1)
