"""Ways from the root as a programmer would tell them."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from support.snapshot_builder import SnapshotBuilder

from pytest_memory.heap import paths
from pytest_memory.heap.graph import HeapGraph, build_graph
from pytest_memory.heap.names import printable, reference, without_indexes
from pytest_memory.heap.snapshot import parse_snapshot
from pytest_memory.heap.tables import path_line


def app_heap() -> tuple[SnapshotBuilder, int]:
    heap = SnapshotBuilder()
    glob = heap.node("object", "global", size=8)
    heap.edge(heap.root, "shortcut", 1, glob)
    app = heap.node("object", "App", size=8)
    heap.edge(glob, "property", "app", app)
    return heap, app


def graph_of(heap: SnapshotBuilder) -> HeapGraph:
    return build_graph(parse_snapshot(heap.to_bytes()))


def map_of_sessions(count: int) -> tuple[HeapGraph, list[int]]:
    heap, app = app_heap()
    sessions = heap.node("object", "Map", size=8)
    table = heap.node("array", "", size=800)
    heap.edge(app, "property", "sessions", sessions)
    heap.edge(sessions, "internal", "table", table)
    found = []
    for number in range(count):
        found.append(heap.node("object", "Session", size=8))
        heap.edge(table, "internal", str(1021 + 3 * number), found[-1])
    return graph_of(heap), found


def test_a_map_reads_as_the_programmer_wrote_it() -> None:
    graph, (session,) = map_of_sessions(1)
    (path,) = paths.retainer_paths(graph, [session])
    assert path_line(path) == "(global) → app : App → sessions : Map → table[1021] → Session"
    assert (path.count, path.retained_bytes) == (1, 8)


def test_equal_ways_are_one_way_with_a_count() -> None:
    graph, sessions = map_of_sessions(30)
    (path,) = paths.retainer_paths(graph, sessions)
    assert path_line(path) == "30 × (global) → app : App → sessions : Map → table[] → Session"
    assert path.retained_bytes == 240


@pytest.mark.parametrize("store", ["timerListMap", "timerListQueue"])
def test_a_way_through_the_runtimes_timers_begins_there(store: str) -> None:
    heap, app = app_heap()
    function = heap.node("closure", "clearInterval", size=8)
    heap.edge(app - 1, "property", "clearInterval", function)
    lists = heap.node("object", "Object", size=8)
    heap.edge(function, "context", store, lists)
    due = heap.node("object", "TimersList", size=8)
    heap.edge(lists, "element", 30000, due)
    timeout = heap.node("object", "Timeout", size=8)
    heap.edge(due, "property", "_idleNext", timeout)
    (path,) = paths.retainer_paths(graph_of(heap), [timeout])
    assert path_line(path) == "(timers) → [30000] → TimersList → _idleNext : Timeout"


def test_a_question_costs_what_its_ways_are_long_not_what_the_heap_is_large() -> None:
    peaks = []
    for count in (200, 20_000):
        graph, sessions = map_of_sessions(count)
        paths.retainer_paths(graph, sessions[:100])  # what a graph computes once
        tracemalloc.start()
        paths.retainer_paths(graph, sessions[:100])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20_000, "something as large as the heap was made for one way"


def test_a_way_too_long_to_be_walked_says_so() -> None:
    heap, last = app_heap()
    for _ in range(paths._MAX_WALK + 200):
        link = heap.node("object", "Link", size=8)
        heap.edge(last, "property", "next", link)
        last = link
    graph = graph_of(heap)
    (path,) = paths.retainer_paths(graph, [last])
    assert path_line(path) == "… more … → Link → next* : Link"
    assert path.retained_bytes == 8
    everything = paths.retainer_paths(graph, range(3, last + 1))
    assert all(one.retained_bytes <= graph.total_bytes for one in everything)


def test_a_sample_stands_for_all() -> None:
    graph, sessions = map_of_sessions(1000)
    (path,) = paths.retainer_paths(graph, sessions, sample=100)
    assert (path.count, path.retained_bytes) == (1000, 8000)


def test_variables_of_functions_and_elements_of_arrays() -> None:
    heap, app = app_heap()
    handler = heap.node("closure", "onRequest", size=8)
    context = heap.node("object", "system / Context", size=8)
    cache, item = heap.node("object", "Array", size=8), heap.node("object", "Item", size=8)
    heap.edge(app, "property", "on request", handler)
    heap.edge(handler, "internal", "context", context)
    heap.edge(context, "context", "cache", cache)
    heap.edge(cache, "element", 7, item)
    (path,) = paths.retainer_paths(graph_of(heap), [item])
    assert path_line(path) == '(global) → app : App → ["on request"] → onRequest() → cache : Array → [7] → Item'


def test_the_last_places_of_a_sparse_array_have_their_index() -> None:
    heap, app = app_heap()
    items = [heap.node("object", "Item", size=8) for _ in range(5)]
    for written, item in zip((5, 2**31, 2**32 - 2, -(2**31), -2), items):  # -2: as Node 24 writes 2^32 - 2
        heap.edge(app, "element", written, item)
    graph = graph_of(heap)
    ways = [path_line(path) for item in items for path in paths.retainer_paths(graph, [item])]
    indexes = (5, 2147483648, 4294967294, 2147483648, 4294967294)
    assert ways == [f"(global) → app : App → [{index}] → Item" for index in indexes]


def test_a_long_list_is_told_shortly() -> None:
    heap, app = app_heap()
    last, edge = app, "head"
    for _ in range(500):
        link = heap.node("object", "Link", size=8)
        heap.edge(last, "property", edge, link)
        last, edge = link, "next"
    (path,) = paths.retainer_paths(graph_of(heap), [last])
    assert path_line(path) == "(global) → app : App → head : Link → next* : Link"


def test_a_long_way_is_cut_in_the_middle() -> None:
    heap, last = app_heap()
    for number in range(200):
        link = heap.node("object", f"C{number}", size=8)
        heap.edge(last, "property", f"p{number}", link)
        last = link
    (path,) = paths.retainer_paths(graph_of(heap), [last])
    assert len(path.steps) == paths.MAX_STEPS + 1
    assert path.steps[-1] == ("p199", "C199")
    assert path.steps[paths.MAX_STEPS // 2][0].startswith("… 142 more")


def test_weak_ways_are_no_ways() -> None:
    heap, app = app_heap()
    holder, held = heap.node("object", "Holder", size=8), heap.node("object", "Held", size=8)
    heap.edge(app, "weak", "held", held)
    heap.edge(app, "property", "holder", holder)
    heap.edge(holder, "property", "held", held)
    (path,) = paths.retainer_paths(graph_of(heap), [held])
    assert path_line(path) == "(global) → app : App → holder : Holder → held : Held"


def test_what_nothing_reaches_has_a_way_of_one_step() -> None:
    heap, _ = app_heap()
    lost = heap.node("object", "Lost", size=8)
    assert paths.retainer_paths(graph_of(heap), [lost])[0].steps == (("", "Lost"),)


def test_no_objects_have_no_ways() -> None:
    assert paths.retainer_paths(map_of_sessions(1)[0], []) == ()


def test_references_read_like_source() -> None:
    assert reference("property", "name") == "name"
    assert reference("property", "two words") == '["two words"]'
    assert reference("element", 3) == "[3]"
    assert reference("internal", "17") == "[17]"
    assert without_indexes("table[17]") == "table[]"


def test_names_can_be_written_anywhere() -> None:
    assert printable("a\ud83d") == "a\\ud83d"
    assert printable("a\x1b[31m\n") == "a\\x1b[31m\\n"
    assert printable("x" * 300, 10) == "x" * 9 + "…"


def test_an_object_used_as_a_dictionary_has_keys_not_names() -> None:
    heap, app = app_heap()
    cache = heap.node("object", "Object", size=8)
    heap.edge(app, "property", "cache", cache)
    entries = []
    for number in range(100):
        entries.append(heap.node("object", "Entry", size=8))
        heap.edge(cache, "property", f"user {number}", entries[-1])
    (path,) = paths.retainer_paths(graph_of(heap), entries)
    assert path_line(path) == "100 × (global) → app : App → cache : Object → [] → Entry"
    (path,) = paths.retainer_paths(graph_of(heap), entries[3:4])
    assert path_line(path) == "(global) → app : App → cache : Object → [user 3] → Entry"


def test_down_a_long_chain_a_few_objects_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    heap, app = app_heap()
    links = [heap.node("object", "Link", size=8) for _ in range(3000)]
    heap.edge(app, "property", "first", links[0])
    for link, following in itertools.pairwise(links):
        heap.edge(link, "property", "next", following)
    graph = graph_of(heap)
    steps = []
    walk_up = paths._walk_up
    monkeypatch.setattr(paths, "_walk_up", lambda *at: steps.append(len(way := walk_up(*at))) or way)
    found = paths.retainer_paths(graph, links)
    assert sum(steps) < paths.MAX_WALKED + 3002
    assert len(steps) < 100
    assert sum(path.count for path in found) == pytest.approx(3000, rel=0.01)
    assert "next* : Link" in path_line(found[0])
