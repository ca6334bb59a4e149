"""Kernels against the paper's graph, shapes with known answers, and slow oracles on random graphs."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import graph_oracles as oracle

from pytest_memory.heap import columns, jumps, kernels, spreading, tallies
from pytest_memory.heap.kernels import Int32s
from pytest_memory.heap.marks import NO_DISTANCE, RETAINS, SHARED, STRONG, UNSEEN

Graph = list[list[int]]


class Computed:
    """One graph through all kernels.  Edges can carry their own flags; ``seeds`` are protected from the start."""

    def __init__(
        self,
        graph: Graph,
        sizes: list[int] | None = None,
        flags: list[list[int]] | None = None,
        seeds: tuple[int, ...] = (),
    ) -> None:
        count = len(graph)
        lengths = np.array([len(row) for row in graph], np.int32)
        self.first_edge = np.empty(count + 1, np.int32)
        columns.sum_rows(lengths, self.first_edge)
        self.edge_to = np.array([target for row in graph for target in row], np.int32)
        self.flags = np.full(len(self.edge_to), RETAINS | STRONG, np.uint8)
        if flags is not None:
            self.flags[:] = [flag for row in flags for flag in row]
        self.protected = np.zeros(count, np.uint8)
        self.protected[list(seeds)] = 1
        self.order, parent = np.empty(count, np.int32), np.empty(count, np.int32)
        state, scratch = np.empty((count, 2), np.int32), np.empty((2, count), np.int32)
        self.reached = kernels.number_depth_first(
            self.first_edge, self.edge_to, self.flags, 0, self.protected, state, self.order, parent, *scratch
        )
        first_retainer = np.empty(count + 1, np.int32)
        retainer = np.empty(int(state[:, 1].sum()), np.int32)
        front, back = np.empty(count, np.int32), np.empty(count, np.int32)
        kernels.start_retainers(state, self.order, first_retainer, front, back)
        middle = self.reached // 2
        for start, stop, slots, step in ((0, middle, front, 1), (middle, self.reached, back, -1)):
            kernels.fill_retainers(
                self.first_edge, self.edge_to, self.flags, self.protected, self.order, start, stop, slots, step,
                retainer,
            )  # fmt: skip
        assert sorted(front - back) == [1] * count, "every row is filled from both ends, exactly once"
        self.dominator, by_jumps = np.empty(count, np.int32), np.empty(count, np.int32)
        for dominator, steps in ((self.dominator, 16 * count), (by_jumps, 0)):
            found = kernels.find_dominators(parent, first_retainer, retainer, state, scratch[0], dominator, steps)
            jumps.finish_dominators(parent, state, dominator, found)
        assert (self.dominator == by_jumps).all()
        self.size = np.array(sizes if sizes is not None else [1] * count, np.int64)
        self.retained = np.empty(count, np.int64)
        self.tree_order, self.tree_size = np.empty(count, np.int32), np.empty(count, np.int32)
        kernels.sum_retained(
            self.dominator, self.order, self.size, self.retained, self.tree_order, self.tree_size,
            np.empty(count, np.int64), np.empty((count, 2), np.int32),
        )  # fmt: skip

    def dominators_by_ord(self) -> dict[int, int]:
        return {int(self.order[num]): int(self.order[above]) for num, above in enumerate(self.dominator)}


def hang_orphans(graph: Graph) -> Graph:
    """The same graph with every node under the root that no other node points to."""
    retained = {target for source, row in enumerate(graph) for target in row if target != source}
    return [graph[0] + [node for node in range(1, len(graph)) if node not in retained], *graph[1:]]


LETTERS = "RABCDEFGHIJKL"
PAPER_EDGES = "RA,RB,RC,AD,BA,BD,BE,CF,CG,DL,EH,FI,GI,GJ,HE,HK,IK,JI,KI,KR,LH"
PAPER_DOMINATORS = dict(zip("ABCDEFGHIJKL", "RRRRRCCRRGRD"))


def test_the_graph_of_the_lengauer_tarjan_paper() -> None:
    graph: Graph = [[] for _ in LETTERS]
    for source, target in PAPER_EDGES.split(","):
        graph[LETTERS.index(source)].append(LETTERS.index(target))
    found = Computed(graph).dominators_by_ord()
    assert {LETTERS[node]: LETTERS[above] for node, above in found.items() if node} == PAPER_DOMINATORS


@pytest.mark.parametrize(
    ("graph", "dominators"),
    [
        pytest.param([[]], {0: 0}, id="root alone"),
        pytest.param([[0]], {0: 0}, id="root points to itself"),
        pytest.param([[1], [1]], {0: 0, 1: 0}, id="self edge"),
        pytest.param([[1], [0]], {0: 0, 1: 0}, id="edge back to the root"),
        pytest.param([[1, 2], [3], [3], []], {0: 0, 1: 0, 2: 0, 3: 0}, id="diamond"),
        pytest.param([[1], [2], [3], []], {0: 0, 1: 0, 2: 1, 3: 2}, id="chain"),
        pytest.param([[1, 1, 1], [2, 2], []], {0: 0, 1: 0, 2: 1}, id="parallel edges"),
        pytest.param([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]], {0: 0, 1: 0, 2: 0, 3: 0}, id="clique"),
        pytest.param([[], []], {0: 0, 1: 0}, id="orphan"),
        pytest.param([[], [2], []], {0: 0, 1: 0, 2: 1}, id="orphan with a child"),
        pytest.param([[1], [], [1]], {0: 0, 1: 0, 2: 0}, id="shared with an orphan"),
        pytest.param([[1], [], [3], [2, 1]], {0: 0, 1: 0, 2: 0, 3: 0}, id="a clique nobody retains"),
    ],
)
def test_dominators_of_small_shapes(graph: Graph, dominators: dict[int, int]) -> None:
    assert Computed(graph).dominators_by_ord() == dominators


def test_cliques_nobody_retains_are_counted_apart() -> None:
    assert Computed([[1], [], [3], [2]]).reached == 2
    assert Computed([[1], [], []]).reached == 3


def test_a_chain_of_a_million_nodes_needs_no_recursion() -> None:
    count = 1_000_000
    computed = Computed([[node + 1] for node in range(count - 1)] + [[]])
    assert computed.retained[0] == count
    assert computed.retained[count // 2] == count - count // 2
    assert computed.tree_order.tolist() == list(range(count))


def test_a_long_list_of_what_a_table_holds_too_takes_no_steps_by_the_square() -> None:
    """Each value is reached through its place in the list first, and everything above it would have to be passed."""
    count = 300_000
    places = [[1 + place + 1, 1 + count + place] for place in range(count)]  # the next one, its value
    places[-1] = [1 + count + count - 1]
    table = 1 + 2 * count
    began = time.process_time()
    computed = Computed([[1, table], *places, *([[]] * count), list(range(1 + count, table))])
    assert time.process_time() - began < 60, "4.5e10 steps were taken one by one"
    found = computed.dominators_by_ord()
    assert {found[1 + count + place] for place in range(count)} == {0}
    assert computed.retained[1] == count


def test_a_star_of_many_nodes_is_flat() -> None:
    computed = Computed([list(range(1, 50_000))] + [[]] * 49_999)
    assert set(computed.dominator.tolist()) == {0}
    assert computed.retained[0] == 50_000


graphs = st.integers(1, 12).flatmap(
    lambda count: st.lists(st.lists(st.integers(0, count - 1), max_size=4), min_size=count, max_size=count)
)


@given(graphs)
def test_dominators_equal_removing_each_node(graph: Graph) -> None:
    computed = Computed(graph)
    whole = hang_orphans(graph)
    expected = oracle.immediate_dominators(whole)
    found = computed.dominators_by_ord()
    assert computed.reached == len(expected)
    assert {node: found[node] for node in expected} == expected
    assert all(found[node] == 0 for node in set(found) - set(expected))


@given(graphs, st.data())
def test_retained_sizes_equal_what_is_lost(graph: Graph, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 2**50), min_size=len(graph), max_size=len(graph)))
    computed = Computed(graph, sizes)
    for node, size in oracle.retained_sizes(hang_orphans(graph), sizes).items():
        if node:
            assert computed.retained[node] == size
    assert computed.retained[0] == sum(sizes)


@given(graphs)
def test_the_tree_is_laid_out_in_preorder(graph: Graph) -> None:
    computed = Computed(graph)
    above = computed.dominators_by_ord()
    position = {int(node): at for at, node in enumerate(computed.tree_order)}
    assert sorted(position) == list(range(len(graph)))
    for node, at in position.items():
        inside = {int(other) for other in computed.tree_order[at : at + computed.tree_size[at]]}
        assert node == 0 or above[node] not in inside
        assert inside == {other for other in above if node in _chain(other, above)}


def _chain(node: int, above: dict[int, int]) -> set[int]:
    chain = {node}
    while node != above[node]:
        node = above[node]
        chain.add(node)
    return chain


@given(graphs, st.data())
def test_protection_reaches_what_strong_edges_reach(graph: Graph, data: st.DataObject) -> None:
    flags = [[data.draw(st.sampled_from([0, STRONG, RETAINS | STRONG])) for _ in row] for row in graph]
    flags[0] = [RETAINS | STRONG for _ in flags[0]]
    choices = [target for target in set(graph[0]) if target != 0]
    seeds = data.draw(st.sets(st.sampled_from(choices))) if choices else set()
    computed = Computed(graph, flags=flags, seeds=tuple(seeds))
    strong = [[t for t, f in zip(row, kinds) if f & STRONG] for row, kinds in zip(graph, flags)]
    expected = set().union(*(oracle.reachable(strong, seed) for seed in seeds))
    assert set(np.flatnonzero(computed.protected).tolist()) == expected
    # Dominators follow from the edges that count: RETAINS, and not from outside into the protected ones.
    counted = [
        [
            t
            for t, f in zip(row, kinds)
            if f & RETAINS and t != node and (node == 0 or node in expected or t not in expected)
        ]
        for node, (row, kinds) in enumerate(zip(graph, flags))
    ]
    wanted = oracle.immediate_dominators(hang_orphans(counted))
    found = computed.dominators_by_ord()
    assert {node: found[node] for node in wanted} == wanted


@given(graphs, st.data())
def test_class_totals_count_every_byte_once(graph: Graph, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 5), min_size=len(graph), max_size=len(graph)))
    class_of = data.draw(st.lists(st.integers(0, 2), min_size=len(graph), max_size=len(graph)))
    computed = Computed(graph, sizes)
    totals = np.zeros((3, 3), np.int64)
    tallies.total_classes(
        computed.tree_order, computed.tree_size, computed.size, computed.retained, np.array(class_of, np.int32),
        np.zeros(3, np.int32), totals,
    )  # fmt: skip
    above = computed.dominators_by_ord()
    for of_class in range(3):
        members = [node for node in range(len(graph)) if class_of[node] == of_class and sizes[node]]
        top = [node for node in members if not (_chain(node, above) - {node}) & set(members)]
        expected = [len(members), sum(sizes[n] for n in members), sum(int(computed.retained[n]) for n in top)]
        assert totals[of_class].tolist() == expected


@given(graphs, st.data())
def test_owners_are_the_only_way_in(graph: Graph, data: st.DataObject) -> None:
    ownable = data.draw(st.lists(st.booleans(), min_size=len(graph), max_size=len(graph)))
    computed = Computed(graph)
    count = len(graph)
    owner = np.empty(count, np.int32)
    tallies.assign_owners(
        computed.first_edge, computed.edge_to, computed.flags, np.array(ownable, np.uint8), owner,
        np.empty(2 * count + 1, np.int32),
    )  # fmt: skip
    for node in range(count):
        if not ownable[node]:
            assert owner[node] == node
            continue
        ways_in = {
            start for start in range(count) if not ownable[start] and node in _through_ownable(graph, ownable, start)
        }
        expected = UNSEEN if not ways_in else ways_in.pop() if len(ways_in) == 1 else SHARED
        assert owner[node] == expected


def _through_ownable(graph: Graph, ownable: list[bool], start: int) -> set[int]:
    return oracle.reachable([[t for t in row if ownable[t]] for row in graph], start)


@given(graphs)
def test_turned_edges_are_the_same_edges(graph: Graph) -> None:
    computed = Computed(graph)
    count, edges = len(graph), len(computed.edge_to)
    first, edge, source = np.empty(count + 1, np.int32), np.empty(edges, np.int32), np.empty(edges, np.int32)
    spreading.turn_edges(computed.first_edge, computed.edge_to, first, edge, source)
    for node in range(count):
        row = slice(first[node], first[node + 1])
        assert [int(computed.edge_to[e]) for e in edge[row]] == [node] * (first[node + 1] - first[node])
        assert edge[row].tolist() == sorted(edge[row].tolist())
        for e, s in zip(edge[row], source[row]):
            assert computed.first_edge[s] <= e < computed.first_edge[s + 1]
    assert sorted(edge.tolist()) == list(range(edges))


@given(graphs)
def test_distances_are_shortest(graph: Graph) -> None:
    computed = Computed(graph)
    count = len(graph)
    distance = np.full(count, NO_DISTANCE, np.int32)
    queue = np.empty(count, np.int32)
    queue[0], distance[0] = 0, 1
    spreading.measure_distances(
        computed.first_edge, computed.edge_to, computed.flags, np.empty(0, np.int32), np.empty(0, np.uint8),
        distance, queue, 1, 0,
    )  # fmt: skip
    expected = oracle.distances(graph, [0])
    assert distance.tolist() == [expected.get(node, NO_DISTANCE) for node in range(count)]


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 2**31 - 1)), min_size=1, max_size=60))
def test_equal_rows_share_a_group(rows: list[tuple[int, int]]) -> None:
    group = np.empty(len(rows), np.int32)
    slots: Int32s = np.full(1 << (2 * len(rows)).bit_length(), -1, np.int32)
    table: Int32s = np.array(rows, np.int32)
    count = tallies.group_rows(table, group, slots)
    numbers: dict[tuple[int, int], int] = {}
    assert group.tolist() == [numbers.setdefault(row, len(numbers)) for row in rows]
    assert count == len(numbers)


def test_states_spread_attached_before_detached() -> None:
    graph = [[1, 2], [3], [3, 4], [5], [], []]
    computed = Computed(graph)
    state = np.array([0, 1, 2, 0, 0, 0], np.uint8)
    spreading.spread_states(
        computed.first_edge,
        computed.edge_to,
        np.zeros(len(computed.edge_to), np.uint8),
        np.array([1], np.uint8),
        np.array([1, 1, 1, 1, 1, 0], np.uint8),
        state,
        np.empty(6, np.int32),
        np.zeros(6, np.uint8),
    )
    assert state.tolist() == [0, 1, 2, 1, 2, 0]


def test_sums_beyond_31_bits_are_told() -> None:
    first = np.empty(3, np.int32)
    assert columns.sum_rows(np.array([2**31 - 1, 5], np.int32), first) == 2**31 + 4
