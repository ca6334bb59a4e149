"""New, deleted and kept by object id; the three-snapshot method; records and tables of growth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.snapshot_builder import SnapshotBuilder

from pytest_memory.heap.compare import Comparison, survivors
from pytest_memory.heap.graph import HeapGraph, build_graph
from pytest_memory.heap.snapshot import parse_snapshot
from pytest_memory.heap.tables import comparison_table

Objects = dict[int, tuple[str, int]]
"""Id → class and size."""

RUNTIME: Objects = {100_001 + 2 * n: ("Runtime", 8) for n in range(40)}


def heap_of(objects: Objects, *, natives: int = 0, native_ids_from: int = 500_000) -> HeapGraph:
    heap = SnapshotBuilder()
    app = heap.node("object", "global", size=100, node_id=3)
    heap.edge(heap.root, "shortcut", 1, app)
    for node_id, (name, size) in {**RUNTIME, **objects}.items():
        heap.edge(app, "property", name.lower(), heap.node("object", name, size=size, node_id=node_id))
    for number in range(natives):
        wrap = heap.node("native", "Node / TCPWrap", size=16, node_id=native_ids_from + 2 * number)
        heap.edge(app, "property", "wrap", wrap)
    return build_graph(parse_snapshot(heap.to_bytes()))


def sessions(*ids: int, name: str = "Session", size: int = 20) -> Objects:
    return dict.fromkeys(ids, (name, size))


def test_new_deleted_and_kept_go_by_id() -> None:
    comparison = Comparison(heap_of(sessions(11, 13, 15)), heap_of(sessions(13, 15, 17, 19)))
    assert comparison.by_id
    assert sorted(comparison.new("Session").ids) == [17, 19]
    assert comparison.deleted("Session").ids == [11]
    assert sorted(comparison.kept("Session").ids) == [13, 15]
    assert (comparison.new("Session").count, comparison.new("Session").size_bytes) == (2, 40)
    assert len(comparison.new("Session")) == 2


def test_as_many_gone_as_came_is_not_unchanged() -> None:
    comparison = Comparison(heap_of(sessions(11, 13)), heap_of(sessions(15, 17)))
    (delta,) = comparison.class_deltas("Session")
    assert (delta.count_delta, delta.size_delta_bytes, delta.new, delta.deleted) == (0, 0, 2, 2)


@pytest.mark.parametrize("shared_id", [11, 85_219_430_459_517_971], ids=["dense", "sparse"])
@pytest.mark.parametrize("names", [["Session"] * 3, ["Session", "Basket", "Session"]], ids=["one class", "two classes"])
def test_an_id_that_several_objects_have_tells_nothing(names: list[str], shared_id: int) -> None:
    """V8 writes no such file: an object is then neither new nor gone for having another's id."""

    def heap(names: list[str]) -> HeapGraph:
        builder = SnapshotBuilder()
        app = builder.node("object", "global", size=100, node_id=3)
        builder.edge(builder.root, "shortcut", 1, app)
        for name in names:
            builder.edge(app, "property", "one", builder.node("object", name, size=20, node_id=shared_id))
        return build_graph(parse_snapshot(builder.to_bytes()))

    same = Comparison(heap(names), heap(names))
    assert not same.by_id
    assert (same.new().count, same.deleted().count, same.kept().count) == (0, 0, 4)
    grown = Comparison(heap(names[:1]), heap(names))
    assert (grown.new().count, grown.kept().count) == (2, 2)
    assert Comparison(heap(names), heap(names[:1])).deleted().count == 2


@pytest.mark.parametrize("shared_id", [11, 85_219_430_459_517_971], ids=["dense", "sparse"])
@pytest.mark.parametrize("kinds", [("object", "native"), ("native", "object")], ids=["before it", "behind it"])
def test_an_object_stays_itself_beside_one_whose_id_does_not_last(kinds: tuple[str, str], shared_id: int) -> None:
    builder = SnapshotBuilder()
    app = builder.node("object", "global", size=100, node_id=3)
    builder.edge(builder.root, "shortcut", 1, app)
    for kind in kinds:
        builder.edge(app, "property", "one", builder.node(kind, kind, size=20, node_id=shared_id))
    heap = build_graph(parse_snapshot(builder.to_bytes()))
    comparison = Comparison(heap, heap)
    assert comparison.by_id
    assert (comparison.new().count, comparison.deleted().count, comparison.kept().count) == (0, 0, 3)


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("Session", 1),
        ("Sess*", 2),
        ("Session?tore", 1),
        ("*", 3),
        (None, 3),
        ("session", 0),
        ("Ses", 0),
        ("[S]ession", 0),
    ],
)
def test_class_patterns(pattern: str | None, count: int) -> None:
    after = {11: ("Session", 1), 13: ("SessionStore", 1), 15: ("User[]", 1)}
    assert Comparison(heap_of({}), heap_of(after)).new(pattern).count == count


def test_growth_is_told_largest_first_and_the_unchanged_left_out() -> None:
    before = {**sessions(11), 13: ("Gone", 500)}
    after = {**sessions(11, 17), 19: ("Large", 900)}
    deltas = Comparison(heap_of(before), heap_of(after)).class_deltas()
    assert [(delta.name, delta.size_delta_bytes) for delta in deltas] == [
        ("Large", 900),
        ("Session", 20),
        ("global", 0),  # holds more than before
        ("Gone", -500),
    ]
    assert deltas[0].retained_delta_bytes == 900
    assert (deltas[1].count_after, deltas[1].size_after_bytes) == (2, 40)


def test_native_nodes_are_compared_by_count() -> None:
    before, after = heap_of({}, natives=3), heap_of({}, natives=5, native_ids_from=700_000)
    (delta,) = Comparison(before, after).class_deltas("Node / *")
    assert (delta.new, delta.deleted, delta.count_delta) == (2, 0, 2)


def test_native_objects_are_found_by_count_too() -> None:
    few, many = heap_of({}, natives=3), heap_of({}, natives=500, native_ids_from=700_000)
    grown, shrunk = Comparison(few, many), Comparison(many, few)
    wraps = "Node / TCPWrap"
    assert grown.by_id
    assert (grown.new(wraps).count, grown.deleted(wraps).count, grown.kept(wraps).count) == (497, 0, 3)
    assert (shrunk.new(wraps).count, shrunk.deleted(wraps).count, shrunk.kept(wraps).count) == (0, 497, 3)
    assert min(grown.new(wraps).ids) == 700_000 + 2 * 3
    (row,) = [row for row in grown.classes if row.heap_class.name == wraps]
    assert (row.new, row.deleted, row.kept) == (497, 0, 3)


def other_process(objects: Objects) -> HeapGraph:
    """A heap whose small ids belong to other classes than in ``heap_of``."""
    return heap_of({**{node_id: (f"Other{node_id % 7}", 8) for node_id in RUNTIME}, **objects})


def test_snapshots_of_two_processes_share_no_ids() -> None:
    before = heap_of(sessions(*range(11, 91, 2)))
    comparison = Comparison(before, other_process(sessions(*range(1001, 1141, 2))))
    assert not comparison.by_id
    assert comparison.new("Session").ids == list(range(1081, 1141, 2))
    assert comparison.kept("Session").ids == list(range(1001, 1081, 2))
    assert comparison.deleted("Session").count == 0
    assert "do not share object ids" in comparison_table(comparison)


def test_without_shared_ids_the_last_of_a_shrunk_class_are_deleted() -> None:
    comparison = Comparison(heap_of(sessions(*range(11, 91, 2))), other_process(sessions(*range(11, 31, 2))))
    assert not comparison.by_id
    assert comparison.deleted("Session").ids == list(range(31, 91, 2))
    assert comparison.kept("Session").count == 10
    assert comparison.new("Session").count == 0
    (delta,) = comparison.class_deltas("Session")
    assert (delta.new, delta.deleted) == (0, 30)


def test_without_shared_ids_a_class_in_two_scripts_grows_once() -> None:
    def classes(script: int, count: int, ids_from: int) -> HeapGraph:
        heap = SnapshotBuilder()
        glob = heap.node("object", "global", size=8, node_id=ids_from)
        heap.edge(heap.root, "shortcut", 1, glob)
        for number in range(count):
            session = heap.node("object", "Session", size=400, node_id=ids_from + 2 + 2 * number)
            heap.edge(glob, "element", number, session)
            heap.location(session, script, 11, 2)
        return build_graph(parse_snapshot(heap.to_bytes()))

    comparison = Comparison(classes(7, 50, 1), classes(9, 55, 100_001))
    (delta,) = comparison.class_deltas("Session")
    assert (delta.count_delta, delta.new, delta.deleted) == (5, 5, 0) == (5, comparison.new("Session").count, 0)


def test_a_second_run_of_the_same_code_is_no_later_moment_of_the_first() -> None:
    """It numbers its objects in the same order: whoever comes later has another's id."""
    common = {100_101 + 2 * n: ("Common", 8) for n in range(960)}
    before = heap_of({**common, **sessions(*range(11, 91, 2)), 91: ("Last", 8), 93: ("Last", 8)})
    late = dict.fromkeys(range(11, 41, 2), ("Moved", 8))
    after = heap_of({**common, **late, **sessions(*range(41, 131, 2))})
    comparison = Comparison(before, after)
    assert not comparison.by_id
    assert comparison.new("Session").count == 45 - 40
    assert comparison.new("Moved").count == 15
    assert comparison.deleted("Last").count == 2


def test_one_shifted_class_is_compared_by_count() -> None:
    """Too few to tell the snapshots apart as wholes: two Sessions have the ids of two Users, who moved on."""
    common = {100_101 + 2 * n: ("Common", 8) for n in range(3000)}
    before = heap_of({**common, **sessions(*range(11, 41, 2)), 41: ("User", 8), 43: ("User", 8)})
    after = heap_of({**common, **sessions(*range(11, 45, 2)), 45: ("User", 8), 47: ("User", 8)})
    comparison = Comparison(before, after)
    assert comparison.by_id
    assert comparison.new("Session").count == 2
    assert (comparison.new("User").count, comparison.deleted("User").count) == (0, 0)
    assert comparison.kept("User").count == 2
    for row in comparison.classes:
        assert row.count_delta == row.new - row.deleted, row


def test_strings_that_became_property_names_stay_themselves() -> None:
    """V8 turns a concatenated string into another kind then, under its id: no sign of another process."""

    def heap(kind: str) -> HeapGraph:
        made = SnapshotBuilder()
        app = made.node("object", "global", size=100, node_id=3)
        made.edge(made.root, "shortcut", 1, app)
        for number in range(100):
            made.edge(app, "element", number, made.node("object", "Runtime", size=8, node_id=101 + 2 * number))
            made.edge(app, "element", number, made.node(kind, "text", size=32, node_id=1001 + 2 * number))
        return build_graph(parse_snapshot(made.to_bytes()))

    comparison = Comparison(heap("concatenated string"), heap("string"))
    assert comparison.by_id
    assert (comparison.new().count, comparison.deleted().count, comparison.kept().count) == (0, 0, 201)


def test_what_was_folded_into_its_owner_and_shows_now_is_not_new() -> None:
    comparison = Comparison(
        heap_of({11: ("Shell", 0), 13: ("Shell", 8)}), heap_of({11: ("Shell", 8), 13: ("Shell", 0)})
    )
    assert comparison.by_id
    assert (comparison.new("Shell").count, comparison.kept("Shell").ids) == (0, [11])


def test_the_three_snapshot_method_finds_what_stayed() -> None:
    baseline = heap_of(sessions(11, 13))
    middle = heap_of(sessions(11, 13, 15, 17, 19))
    final = heap_of(sessions(13, 15, 19, 21, 23))
    comparison = survivors(baseline, middle, final)
    assert sorted(comparison.new("Session").ids) == [15, 19]
    assert comparison.kept("Session").ids == [13]  # 21 and 23 came after the middle
    assert comparison.deleted("Session").ids == [11]
    (row,) = [row for row in comparison.classes if row.heap_class.name == "Session"]
    assert (row.new, row.deleted, row.kept) == (2, 1, 1)


def test_the_three_snapshot_method_counts_where_ids_do_not_last() -> None:
    baseline, middle = heap_of({}, natives=3), heap_of({}, natives=8, native_ids_from=600_000)
    final = heap_of({}, natives=500, native_ids_from=700_000)
    comparison = survivors(baseline, middle, final)
    assert (comparison.new("Node / *").count, comparison.kept("Node / *").count) == (5, 3)


def test_a_middle_snapshot_of_another_process_is_noticed() -> None:
    baseline, final = heap_of(sessions(11, 13)), heap_of(sessions(13, 15, 19, 21, 23))
    comparison = survivors(baseline, other_process(sessions(15, 21, 31)), final)
    assert not comparison.by_id
    assert comparison.new("Session").count == 3 - 2
    assert Comparison(baseline, final).by_id


def test_retained_size_of_a_set_counts_each_byte_once() -> None:
    heap = SnapshotBuilder()
    app = heap.node("object", "global", size=1)
    heap.edge(heap.root, "shortcut", 1, app)
    outer = heap.node("object", "Link", size=10)
    inner = heap.node("object", "Link", size=10)
    heap.edge(app, "property", "head", outer)
    heap.edge(outer, "property", "next", inner)
    after = build_graph(parse_snapshot(heap.to_bytes()))
    empty = SnapshotBuilder()
    empty.edge(empty.root, "shortcut", 1, empty.node("object", "global", size=1))
    comparison = Comparison(build_graph(parse_snapshot(empty.to_bytes())), after)
    assert comparison.new("Link").retained_bytes == 20


def test_what_a_class_retains_within_another_of_its_name_counts_once() -> None:
    def heap(depth: int) -> HeapGraph:
        """``Node`` of one file holds ``Node`` of another."""
        made = SnapshotBuilder()
        holder = made.node("object", "global", size=8, node_id=3)
        made.edge(made.root, "shortcut", 1, holder)
        for script, size in ((7, 10), (8, 1000))[:depth]:
            inner = made.node("object", "Node", size=size)
            made.location(inner, script, 1, 2)
            made.edge(holder, "property", "next", inner)
            holder = inner
        return build_graph(parse_snapshot(made.to_bytes()))

    for before, after, growth in ((0, 2, 1010), (2, 0, -1010), (1, 2, 1000)):
        comparison = Comparison(heap(before), heap(after))
        (delta,) = comparison.class_deltas("Node")
        assert (delta.size_delta_bytes, delta.retained_delta_bytes) == (growth, growth)


def test_the_table_prints_well() -> None:
    comparison = Comparison(heap_of({}), heap_of(sessions(11, 13, size=2500)))
    assert comparison_table(comparison) == (
        "class    new  deleted  objects      size  retained\n"
        "───────  ───  ───────  ───────  ────────  ────────\n"
        "Session    2        0       +2  +5.00 KB  +5.00 KB\n"
        "global     0        0        0       0 B  +5.00 KB"
    )


def test_of_two_heaps_that_do_not_differ_the_table_says_so() -> None:
    comparison = Comparison(heap_of(sessions(11, 13)), heap_of(sessions(11, 13)))
    assert comparison_table(comparison) == "no class differs in its objects or their size"


ids = st.sets(st.integers(0, 40).map(lambda n: 11 + 2 * n))


@given(ids, ids, ids)
def test_sets_of_ids_behave_as_sets(first: set[int], second: set[int], third: set[int]) -> None:
    before, middle, final = (heap_of(sessions(*sorted(found))) for found in (first, second, third))
    comparison = Comparison(before, middle)
    assert set(comparison.new("Session").ids) == second - first
    assert set(comparison.deleted("Session").ids) == first - second
    assert set(comparison.kept("Session").ids) == first & second
    stayed = survivors(before, middle, final)
    assert set(stayed.new("Session").ids) == (second & third) - first
    assert set(stayed.kept("Session").ids) == first & third
    assert set(stayed.deleted("Session").ids) == first - third


def test_made_up_ids_beyond_any_density_still_compare() -> None:
    huge = 2**50 + 1
    comparison = Comparison(heap_of(sessions(11)), heap_of(sessions(11, huge)))
    assert comparison.new("Session").ids == [huge]
    assert np.count_nonzero(comparison.is_deleted) == 0
