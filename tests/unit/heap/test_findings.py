"""Leak patterns, each on two small heaps: one in which it is there, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.snapshot_builder import SnapshotBuilder

from pytest_memory.heap.compare import Comparison
from pytest_memory.heap.findings import LEAST_OBJECTS, find
from pytest_memory.heap.graph import build_graph
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


def test_what_the_embedder_calls_detached_is_a_finding() -> None:
    def windows(heap: SnapshotBuilder, app: int, count: int) -> None:
        for number in range(count):
            node = heap.node("native", "Window", size=80, node_id=ADDED_IDS_FROM + 2 * number, detachedness=2)
            heap.edge(app, "element", number, node)

    assert found(windows, 0, 25)["detached"].subject == "Detached Window"
