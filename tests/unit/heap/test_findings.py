"""Leak patterns, each on two small heaps: one in which it is there, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.snapshot_builder import SnapshotBuilder

from pytest_memory.heap.compare import Comparison
from pytest_memory.heap.findings import LEAST_OBJECTS, find
from pytest_memory.heap.graph import HeapGraph, build_graph
from pytest_memory.heap.snapshot import parse_snapshot
from pytest_memory.heap.tables import path_line
from pytest_memory.model import Finding

Grow = Callable[[SnapshotBuilder, int, int], None]
"""(heap, ordinal of the app's object, how many have been added so far)."""
ADDED_IDS_FROM = 100_001


def heap_with(grow: Grow, count: int) -> SnapshotBuilder:
    """An app with objects of its own, so that the snapshots can be told to be of one process, and ``count`` more."""
    heap = SnapshotBuilder()
    glob = heap.node("object", "global", size=8, node_id=3)
    heap.edge(heap.root, "shortcut", 1, glob)
    app = heap.node("object", "App", size=8, node_id=5)
    heap.edge(glob, "property", "app", app)
    for number in range(40):
        heap.edge(app, "property", f"part{number}", heap.node("object", "Part", size=8, node_id=1001 + 2 * number))
    grow(heap, app, count)
    return heap


def found(grow: Grow, before: int, after: int, *, units: int = 0) -> dict[str, Finding]:
    graphs = [build_graph(parse_snapshot(heap_with(grow, count).to_bytes())) for count in (before, after)]
    return {finding.slug: finding for finding in find(Comparison(*graphs), units=units)}


def sessions(heap: SnapshotBuilder, app: int, count: int) -> None:
    holder = heap.node("object", "Map", size=8, node_id=7)
    table = heap.node("array", "", size=16 + 8 * (3 + 64 + 3 * 128), node_id=9)
    heap.edge(app, "property", "sessions", holder)
    heap.edge(holder, "internal", "table", table)
    for number in range(count):
        session = heap.node("object", "Session", size=100, node_id=ADDED_IDS_FROM + 2 * number)
        heap.edge(table, "internal", str(3 + 64 + 3 * number), session)


def test_a_growing_class_is_named_with_its_holder() -> None:
    finding = found(sessions, 5, 65, units=60)["growing-class"]
    assert (finding.subject, finding.severity) == ("Session", "critical")
    assert (finding.evidence["count_delta"], finding.evidence["size_delta_bytes"]) == (60, 6000)
    assert path_line(finding.paths[0]) == "60 × (global) → app : App → sessions : Map → table[] → Session"


def test_a_collection_that_is_in_both_has_more_entries() -> None:
    finding = found(sessions, 5, 65, units=60)["growing-collection"]
    assert finding.subject == "sessions : Map"
    assert (finding.evidence["length_before"], finding.evidence["length_after"]) == (5, 65)


@pytest.mark.parametrize(("units", "severity"), [(60, "critical"), (120, "critical"), (121, "info"), (0, "info")])
def test_keeping_pace_with_the_work_is_what_makes_it_critical(units: int, severity: str) -> None:
    assert found(sessions, 5, 65, units=units)["growing-class"].severity == severity


def test_fewer_objects_than_everyday_business_are_no_finding() -> None:
    assert "growing-class" in found(sessions, 5, 5 + LEAST_OBJECTS)
    assert found(sessions, 5, 5 + LEAST_OBJECTS - 1) == {}
    assert found(sessions, 65, 65) == {}
    assert found(sessions, 65, 5) == {}


def test_few_large_objects_are_a_finding_too() -> None:
    def buffers(heap: SnapshotBuilder, app: int, count: int) -> None:
        for number in range(count):
            node = heap.node("object", "Frame", size=6000, node_id=ADDED_IDS_FROM + 2 * number)
            heap.edge(app, "property", f"frame{number}", node)

    assert found(buffers, 1, 3)["growing-class"].subject == "Frame"
    assert "growing-class" not in found(buffers, 1, 2)


def test_plain_objects_are_told_apart_by_their_properties() -> None:
    def orders(heap: SnapshotBuilder, app: int, count: int) -> None:
        queue = heap.node("object", "Array", size=8, node_id=7)
        heap.edge(app, "property", "queue", queue)
        text = heap.node("string", "x", size=8, node_id=9)
        for number in range(count):
            order = heap.node("object", "Object", size=40, node_id=ADDED_IDS_FROM + 2 * number)
            heap.edge(queue, "element", number, order)
            for name in ("id", "user"):
                heap.edge(order, "property", name, text)

    finding = found(orders, 2, 62, units=60)["growing-shape"]
    assert (finding.subject, finding.evidence["new"]) == ("{id, user}", 60)


def callbacks(holder: str, edge: str) -> Grow:
    def grow(heap: SnapshotBuilder, app: int, count: int) -> None:
        for number in range(count):
            by = heap.node("object", holder, size=8, node_id=200_001 + 2 * number)
            heap.edge(app, "element", number, by)
            function = heap.node("closure", "onData", size=64, node_id=ADDED_IDS_FROM + 2 * number)
            heap.edge(by, "property", edge, function)
            heap.location(function, 7, 11, 2)

    return grow


@pytest.mark.parametrize(
    ("holder", "edge", "slug"),
    [
        ("Timeout", "_onTimeout", "timer"),
        ("Socket", "_events", "listener"),
        ("Job", "done", "growing-function"),
    ],
)
def test_functions_of_one_place_are_called_by_what_keeps_them(holder: str, edge: str, slug: str) -> None:
    finding = found(callbacks(holder, edge), 0, 30)[slug]
    assert (finding.subject, finding.evidence["count_delta"]) == ("onData", 30)


def test_copies_of_one_string_are_wasted_bytes() -> None:
    def copies(heap: SnapshotBuilder, app: int, count: int) -> None:
        for number in range(count):
            text = heap.node("string", "SELECT * FROM orders", size=1000, node_id=ADDED_IDS_FROM + 2 * number)
            heap.edge(app, "element", number, text)

    finding = found(copies, 2, 42)["duplicate-strings"]
    assert (finding.subject, finding.evidence["count_delta"]) == ("SELECT * FROM orders", 40)
    assert finding.evidence["retained_bytes"] == 40_000
    # Of the one that was there alone nothing was wasted, but it is none of the new ones.
    first, alone = found(copies, 0, 42)["duplicate-strings"], found(copies, 1, 42)["duplicate-strings"]
    assert (first.evidence["count_delta"], alone.evidence["count_delta"]) == (42, 41)
    assert first.evidence["retained_bytes"] == alone.evidence["retained_bytes"] == 41_000
    assert "duplicate-strings" not in found(copies, 1, LEAST_OBJECTS)


def test_what_the_embedder_calls_detached_is_a_finding() -> None:
    def windows(heap: SnapshotBuilder, app: int, count: int) -> None:
        for number in range(count):
            node = heap.node("native", "Window", size=80, node_id=ADDED_IDS_FROM + 2 * number, detachedness=2)
            heap.edge(app, "element", number, node)

    assert found(windows, 0, 25)["detached"].subject == "Detached Window"


# --- what is replaced, nested, or only looks like more


def cache_of(heap: SnapshotBuilder, app: int, ids_from: int, count: int) -> None:
    """A cache of callbacks and plain entries; other ``ids_from``, other objects."""
    cache = heap.node("object", "Array", size=8, node_id=7)
    heap.edge(app, "property", "cache", cache)
    text = heap.node("string", "x", size=8, node_id=9)
    for number in range(count):
        entry = heap.node("object", "Object", size=400, node_id=ids_from + 4 * number)
        heap.edge(cache, "element", 2 * number, entry)
        for name in ("id", "user"):
            heap.edge(entry, "property", name, text)
        function = heap.node("closure", "onTick", size=400, node_id=ids_from + 4 * number + 2)
        heap.edge(cache, "element", 2 * number + 1, function)
        heap.location(function, 7, 11, 2)


def test_entries_that_replace_others_are_no_growth() -> None:
    def turn_over(heap: SnapshotBuilder, app: int, ids_from: int) -> None:
        cache_of(heap, app, ids_from, 300)

    assert found(turn_over, ADDED_IDS_FROM, ADDED_IDS_FROM + 10_000, units=300) == {}


def test_of_replaced_and_added_entries_the_added_count() -> None:
    def grow(heap: SnapshotBuilder, app: int, count: int) -> None:
        cache_of(heap, app, ADDED_IDS_FROM + 10_000 * (count > 300), count)

    seen = found(grow, 300, 400, units=100)
    assert seen["growing-shape"].evidence["new"] == 100
    assert seen["growing-function"].evidence["count_delta"] == 100


def chained(kind: str, name: str, edge: str) -> Grow:
    """Each holds the next: the first retains all of them, and no sum may count that again for each."""

    def grow(heap: SnapshotBuilder, app: int, count: int) -> None:
        last, reference = app, "chain"
        for number in range(count):
            node = heap.node(kind, name, size=40, node_id=ADDED_IDS_FROM + 2 * number)
            heap.edge(last, "property", reference, node)
            if kind == "closure":
                heap.location(node, 7, 11, 2)
            last, reference = node, edge

    return grow


@pytest.mark.parametrize(("kind", "name", "slug"), [("object", "Object", "shape"), ("closure", "next", "function")])
def test_nested_objects_retain_no_more_than_there_is(kind: str, name: str, slug: str) -> None:
    finding = found(chained(kind, name, "next"), 10, 2010, units=2000)[f"growing-{slug}"]
    assert finding.evidence["retained_bytes"] <= 2000 * 40
    assert all(path.retained_bytes <= 2010 * 40 for path in finding.paths)


def test_paths_of_a_shape_count_for_all_of_its_objects() -> None:
    def orders(heap: SnapshotBuilder, app: int, count: int) -> None:
        cache_of(heap, app, ADDED_IDS_FROM, count)

    finding = found(orders, 10, 6010, units=6000)["growing-shape"]
    assert finding.evidence["new"] == pytest.approx(6000, rel=0.01)
    assert finding.paths[0].count == pytest.approx(6000, rel=0.01)


def strings_of(texts: dict[str, int], *, backwards: bool = False) -> Grow:
    def grow(heap: SnapshotBuilder, app: int, _count: int) -> None:
        holder = heap.node("object", "Array", size=8, node_id=7)
        heap.edge(app, "property", "texts", holder)
        number = 0
        for text, copies in sorted(texts.items(), reverse=backwards):
            for _ in range(copies):
                node = heap.node("string", text, size=400, node_id=ADDED_IDS_FROM + 2 * number)
                heap.edge(holder, "element", number, node)
                number += 1

    return grow


def graphs_of(*grown: Grow) -> list[HeapGraph]:
    return [build_graph(parse_snapshot(heap_with(grow, 0).to_bytes())) for grow in grown]


def test_equal_strings_in_another_order_are_not_more() -> None:
    texts = {f"text {number}": 25 for number in range(300)}
    before, after = graphs_of(strings_of(texts), strings_of(texts, backwards=True))
    assert find(Comparison(before, after)) == ()


def test_long_strings_are_told_apart_to_their_end() -> None:
    same = {"x" * 300 + "a": 90, "x" * 300 + "b": 30}
    assert find(Comparison(*graphs_of(strings_of(same), strings_of(same)))) == ()
    more = {**same, "x" * 300 + "b": 130}
    seen = find(Comparison(*graphs_of(strings_of(same), strings_of(more))))
    counts = [finding.evidence["count_delta"] for finding in seen if finding.slug == "duplicate-strings"]
    assert counts == [100]


def test_scripts_of_other_numbers_in_another_process_make_no_growth() -> None:
    def classes(script: int, ids_from: int) -> HeapGraph:
        heap = SnapshotBuilder()
        glob = heap.node("object", "global", size=8, node_id=ids_from)
        heap.edge(heap.root, "shortcut", 1, glob)
        for number in range(50):
            session = heap.node("object", "Session", size=400, node_id=ids_from + 2 + 2 * number)
            heap.edge(glob, "element", number, session)
            heap.location(session, script, 11, 2)
        return build_graph(parse_snapshot(heap.to_bytes()))

    comparison = Comparison(classes(7, 1), classes(9, 100_001))
    assert not comparison.by_id
    assert find(comparison) == ()
