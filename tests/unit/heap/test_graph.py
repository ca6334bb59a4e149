"""What edges and nodes mean: small heaps with one thing in them each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.snapshot_builder import SnapshotBuilder, dump

from pytest_memory.errors import SnapshotFormatError
from pytest_memory.heap import graph as graph_module
from pytest_memory.heap.graph import SYSTEM_DISTANCE, HeapGraph, Rules, build_graph, spread_detachedness
from pytest_memory.heap.queries import statistics
from pytest_memory.heap.snapshot import parse_snapshot
from pytest_memory.heap.tables import statistics_table

THROUGH_TABLE = "1 / part of key (Key @{key}) -> value (Value @{value}) pair in WeakMap (table @{table})"
THROUGH_KEY = "2 / part of key (Key @{key}) -> value (Value @{value}) pair in WeakMap (table @{table})"


def graph_of(heap: SnapshotBuilder, **rules: bool) -> HeapGraph:
    return build_graph(parse_snapshot(heap.to_bytes()), rules=Rules(**rules))


class Heap(SnapshotBuilder):
    """A root with "(GC roots)" and the global object, as V8 makes them."""

    def __init__(self) -> None:
        super().__init__()
        self.gc_roots = self.node("synthetic", "(GC roots)")
        self.app = self.node("object", "global", size=100)
        self.edge(self.root, "element", 1, self.gc_roots)
        self.edge(self.root, "shortcut", 2, self.app)

    def object(self, name: str, size: int = 10, *, of: int | None = None, kind: str = "object") -> int:
        node = self.node(kind, name, size=size)
        self.edge(self.app if of is None else of, "property", name.lower() or "it", node)
        return node


def dominator(graph: HeapGraph, node: int) -> int:
    return int(graph.dominator_ord[node])


def test_weak_edges_retain_nothing() -> None:
    heap = Heap()
    holder, other, held = heap.object("Holder"), heap.object("Other"), heap.node("object", "Held", size=7)
    heap.edge(holder, "property", "held", held)
    heap.edge(other, "weak", "held", held)
    graph = graph_of(heap)
    assert dominator(graph, held) == holder
    assert graph.retained[holder] == 17


def test_shortcuts_retain_at_the_root_only() -> None:
    heap = Heap()
    bound, target = heap.object("Bound"), heap.object("Target")
    heap.edge(bound, "shortcut", "bound_this", target)
    graph = graph_of(heap)
    assert dominator(graph, heap.app) == heap.root
    assert dominator(graph, target) == heap.app
    assert graph.retained[bound] == 10


def test_the_key_keeps_a_weak_map_value_the_table_does_not() -> None:
    heap = Heap()
    key, table, value = heap.object("Key"), heap.object("WeakMap"), heap.node("object", "Value", size=9)
    ids = {"key": 2 * key + 1, "value": 2 * value + 1, "table": 2 * table + 1}
    heap.edge(table, "internal", THROUGH_TABLE.format(**ids), value)
    heap.edge(key, "internal", THROUGH_KEY.format(**ids), value)
    graph = graph_of(heap)
    assert dominator(graph, value) == key
    assert graph.distances[value] == graph.distances[key] + 1
    assert dominator(graph_of(heap, weak_map_entries=False), value) == heap.app


def test_what_the_app_reaches_is_not_held_by_outsiders() -> None:
    heap = Heap()
    debugger = heap.node("synthetic", "(Debugger)", size=1)
    heap.edge(heap.gc_roots, "element", 1, debugger)
    cache = heap.object("Cache")
    entry = heap.node("object", "Entry", size=5)
    heap.edge(cache, "property", "entry", entry)
    heap.edge(debugger, "element", 1, entry)
    graph = graph_of(heap)
    assert dominator(graph, entry) == cache
    assert dominator(graph_of(heap, protect_shortcuts=False), entry) == debugger


def test_what_only_a_weak_link_protects_is_still_the_apps() -> None:
    heap = Heap()
    holder, mine = heap.object("Holder"), heap.node("object", "Mine", size=5)
    inner = heap.node("object", "Inner", size=3)
    heap.edge(holder, "shortcut", "bound", mine)  # protects, retains not
    heap.edge(mine, "property", "inner", inner)
    outsider = heap.node("synthetic", "(Handles)")
    heap.edge(heap.gc_roots, "element", 1, outsider)
    heap.edge(outsider, "element", 1, inner)
    graph = graph_of(heap)
    assert graph.protected[mine]
    assert graph.protected[inner]
    assert dominator(graph, mine) == heap.root
    assert dominator(graph, inner) == mine


def test_orphans_and_cliques_hang_under_the_root_and_are_counted() -> None:
    heap = Heap()
    orphan, below = heap.node("object", "Orphan", size=3), heap.node("object", "Below", size=4)
    one, two = heap.node("object", "One", size=5), heap.node("object", "Two", size=6)
    heap.edge(orphan, "property", "below", below)
    heap.edge(one, "property", "two", two)
    heap.edge(two, "property", "one", one)
    graph = graph_of(heap)
    assert dominator(graph, orphan) == heap.root
    assert graph.retained[orphan] == 7
    assert (dominator(graph, one), dominator(graph, two)) == (heap.root, heap.root)
    assert graph.total_bytes == 100 + 3 + 4 + 5 + 6
    assert graph.orphan_count == 3, "the orphan and both of the clique; what is below an orphan hangs there"
    assert "nothing else retains them: 3" in statistics_table(statistics(graph))


@pytest.mark.parametrize("back", [False, True])
def test_where_everything_is_retained_nothing_is_hung_under_the_root(back: bool) -> None:
    heap = Heap()
    holder = heap.object("Holder")
    if back:
        heap.edge(holder, "property", "root", heap.root)
    graph = graph_of(heap)
    assert graph.orphan_count == 0
    assert "hung" not in statistics_table(statistics(graph))


def test_what_only_weak_references_and_itself_know_is_hung_under_the_root() -> None:
    heap = Heap()
    holder, known = heap.object("Holder"), heap.node("object", "Known", size=5)
    heap.edge(holder, "weak", "1", known)
    heap.edge(known, "property", "self", known)
    assert graph_of(heap).orphan_count == 1


def test_backing_stores_count_as_their_owners_bytes() -> None:
    heap = Heap()
    owner = heap.object("Map")
    table = heap.node("array", "", size=1000)
    heap.edge(owner, "internal", "table", table)
    left, right, shared = heap.object("Left"), heap.object("Right"), heap.node("array", "", size=50)
    heap.edge(left, "internal", "elements", shared)
    heap.edge(right, "internal", "elements", shared)
    graph = graph_of(heap)
    assert (graph.size[owner], graph.size[table]) == (1010, 0)
    assert (graph.size[left], graph.size[shared]) == (10, 50)
    assert graph.retained[owner] == 1010
    assert graph_of(heap, fold_sizes=False).size[table] == 1000


def test_with_internals_exposed_sizes_stay_where_they_are() -> None:
    heap = SnapshotBuilder()
    roots = heap.node("synthetic", "(GC roots)")
    owner, table = heap.node("object", "Map", size=10), heap.node("array", "", size=1000)
    heap.edge(heap.root, "element", 1, roots)
    heap.edge(roots, "element", 1, owner)
    heap.edge(owner, "internal", "table", table)
    assert graph_of(heap).size[table] == 1000


def totals(graph: HeapGraph) -> dict[str, list[int]]:
    return {c.name: t for c, t in zip(graph.classes.classes, graph.classes.totals.tolist()) if t[0]}


def test_names_of_classes() -> None:
    heap = Heap()
    for kind, name in (
        ("hidden", "system / Map"), ("code", "(code)"), ("closure", "onClick"), ("regexp", "/x/"), ("array", ""),
        ("string", "text"), ("concatenated string", "(concatenated string)"), ("symbol", "s"), ("bigint", "b"),
        ("number", "heap number"), ("object shape", "system / Map"), ("native", "Node / TCPWrap"),
        ("native", '<div id="a" class="b">'), ("native", "<p>"), ("object", "Session"),
    ):  # fmt: skip
        node = heap.object(name, kind=kind)
        heap.edge(heap.gc_roots, "element", 1, node)  # two ways in: nothing is folded
        heap.edge(heap.object("Second"), "property", "it", node)
    assert set(totals(graph_of(heap))) == {
        "global", "Second", "(system)", "(compiled code)", "Function", "RegExp", "(array)", "(string)",
        "(concatenated string)", "(symbol)", "(bigint)", "(number)", "(object shape)", "Node / TCPWrap", "<div>", "<p>",
        "Session",
    }  # fmt: skip


def test_constructors_in_two_places_are_two_classes() -> None:
    heap = Heap()
    nodes = [heap.object("Session") for _ in range(5)]
    for node in nodes[:2]:
        heap.location(node, 7, 1, 2)
    for node in nodes[2:4]:
        heap.location(node, 8, 1, 2)
    graph = graph_of(heap)
    rows = [
        (c.script_id, t[0]) for c, t in zip(graph.classes.classes, graph.classes.totals.tolist()) if c.name == "Session"
    ]
    assert sorted(rows) == [(-1, 1), (7, 2), (8, 2)]


def test_functions_are_one_class_wherever_they_stand() -> None:
    heap = Heap()
    for place in range(3):
        heap.location(heap.object("handler", kind="closure"), 7, place, 0)
    assert totals(graph_of(heap))["Function"] == [3, 30, 30]


def test_a_class_inside_its_own_class_is_retained_once() -> None:
    heap = Heap()
    outer = heap.object("Node", 10)
    inner = heap.object("Node", 20, of=outer)
    heap.object("Other", 30, of=inner)
    assert totals(graph_of(heap))["Node"] == [2, 30, 60]


def test_nodes_of_no_size_are_no_objects() -> None:
    heap = Heap()
    heap.object("Empty", 0)
    assert "Empty" not in totals(graph_of(heap))


def test_detached_spreads_over_native_nodes_only() -> None:
    heap = Heap()
    detached = heap.node("native", "Node / TCPWrap", size=8, detachedness=2)
    heap.edge(heap.app, "property", "wrap", detached)
    behind, script = heap.node("native", "Node / Buffer", size=4), heap.node("object", "Socket", size=2)
    heap.edge(detached, "property", "buffer", behind)
    heap.edge(detached, "property", "socket", script)
    attached = heap.node("native", "Node / UDPWrap", size=1, detachedness=1)
    heap.edge(heap.app, "property", "udp", attached)
    names = set(totals(graph_of(heap)))
    assert {"Detached Node / TCPWrap", "Detached Node / Buffer", "Socket", "Node / UDPWrap"} <= names


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from(["property", "weak", "internal"]), st.integers(0, 11))),
)
def test_a_few_states_spread_as_many_do(nodes: list[tuple[bool, int]], edges: list[tuple[int, str, int]]) -> None:
    """A few steps among a few nodes are numpy's, the rest is a kernel's, whichever step it begins at."""
    heap = Heap()
    ords = [heap.node("native" if native else "object", "N", detachedness=state) for native, state in nodes]
    for source, kind, target in edges:
        heap.edge(ords[source % len(ords)], kind, "it", ords[target % len(ords)])
    snapshot = parse_snapshot(heap.to_bytes())
    states = []
    for steps, few in ((50, 1000), (0, 1000), (1, 1000), (2, 1000), (50, 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(graph_module, "_FEW_STEPS", steps)
            patch.setattr(graph_module, "_FEW_NODES", few)
            states.append(spread_detachedness(snapshot).tolist())
    assert all(state == states[0] for state in states)


def test_a_long_list_held_elsewhere_too_is_finished_by_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    heap = Heap()
    table, link = heap.object("Table"), heap.object("Link")
    links = [link]
    for _ in range(200):
        link = heap.object("Link", of=link)
        links.append(link)
    for node in links:
        held = heap.object("Held", of=node)
        heap.edge(table, "property", "held", held)
    expected = graph_of(heap).dominator_ord
    monkeypatch.setattr(graph_module, "_STEPS_PER_NODE", 0)
    assert (graph_of(heap).dominator_ord == expected).all()


def test_distances_count_from_the_global_object() -> None:
    heap = Heap()
    first = heap.object("First")
    second = heap.object("Second", of=first)
    internal = heap.node("hidden", "system / Thing", size=1)
    heap.edge(heap.gc_roots, "element", 1, internal)
    lost = heap.node("object", "Lost", size=1)
    heap.edge(second, "weak", "lost", lost)
    distances = graph_of(heap).distances
    assert distances[[heap.app, first, second]].tolist() == [1, 2, 3]
    assert distances[[heap.root, heap.gc_roots, internal]].tolist() == [SYSTEM_DISTANCE + step for step in range(3)]
    assert distances[lost] == -5


@pytest.mark.parametrize(
    ("name", "skipped"), [("1", False), ("2", False), ("4", True), ("5", False), ("7", True), ("x", False)]
)
def test_distances_do_not_run_along_shared_descriptors(name: str, skipped: bool) -> None:
    heap = Heap()
    descriptors = heap.object("(map descriptors)", kind="array")
    key = heap.node("string", "key", size=1)
    heap.edge(descriptors, "internal", name, key)
    assert (graph_of(heap).distances[key] == -5) == skipped


def test_distances_do_not_run_along_function_maps_of_a_context() -> None:
    heap = Heap()
    context = heap.object("system / NativeContext", kind="hidden")
    function_map, other = heap.node("hidden", "system / Map", size=1), heap.node("object", "Other", size=1)
    heap.edge(context, "internal", "sloppy_function_map", function_map)
    heap.edge(context, "internal", "other", other)
    distances = graph_of(heap).distances
    assert distances[function_map] == -5
    assert distances[other] == 3


def test_the_tree_can_be_walked_down() -> None:
    heap = Heap()
    parents = [heap.object("Parent") for _ in range(3)]
    children = [heap.object("Child", of=parents[1]) for _ in range(4)]
    graph = graph_of(heap)
    assert sorted(graph.children(parents[1]).tolist()) == children
    assert graph.children(children[0]).tolist() == []
    assert set(graph.children(heap.root).tolist()) == {heap.gc_roots, heap.app}


def test_objects_are_found_by_id() -> None:
    graph = graph_of(Heap())
    assert graph.ord_of(5) == 2
    assert graph.ord_of(4) == -1
    assert graph.ord_of(10**12) == -1


def test_one_thread_and_two_give_the_same_answer() -> None:
    heap = Heap()
    for number in range(50):
        heap.edge(heap.object(f"C{number % 3}"), "property", "back", heap.app)
    snapshot = parse_snapshot(heap.to_bytes())
    one = build_graph(snapshot, threads=1)
    two = build_graph(snapshot, threads=2)
    assert np.array_equal(one.retained, two.retained)
    assert np.array_equal(one.classes.totals, two.classes.totals)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stage_is_told_before_it_begins(threads: int) -> None:
    heap = Heap()
    heap.object("Late")
    whole = heap.to_bytes()
    told: list[tuple[str, float]] = []
    build_graph(parse_snapshot(whole), threads=threads, progress=lambda *stage: told.append(stage))
    assert told == [("dominators", 0.0), ("retained sizes", 0.0), ("classes", 0.0)]
    told.clear()
    undecodable = parse_snapshot(whole.replace(b'"Late"', b'"A\\u12"'))
    with pytest.raises(SnapshotFormatError):
        build_graph(undecodable, threads=threads, progress=lambda *stage: told.append(stage))
    assert told[-1] == ("classes", 0.0)


def test_a_root_that_is_not_the_first_node() -> None:
    heap = SnapshotBuilder()
    real_root = heap.node("synthetic", "")
    app = heap.node("object", "App", size=5)
    heap.edge(real_root, "shortcut", "app", app)
    document = heap.to_document()
    document["snapshot"]["root_index"] = 6
    graph = build_graph(parse_snapshot(dump(document)))
    assert graph.root == real_root
    assert graph.total_bytes == 5
    assert dominator(graph, app) == real_root
