"""What a snapshot's nodes and edges mean: what retains what, how large things are, what class they are.  Floor 2.

The rules are those of the DevTools memory panel, so that numbers here and there are the same numbers:

- weak edges retain nothing, shortcuts only at the root, a node not itself;
- of the two edges to a WeakMap entry's value the key's one retains, not the table's;
- what the app's global objects reach is the app's: references into it from elsewhere (debugger, embedder)
  retain nothing;
- nodes nothing retains hang under the root;
- backing stores ("array", "hidden", external string data) reached through one object only count as that
  object's own bytes.

Knows no file offsets (heap.snapshot) and no graph algorithms (heap.kernels).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap import ephemerons, kernels, tallies
from pytest_memory.heap.classes import ClassTable, assign_classes
from pytest_memory.heap.marks import DETOUR, NO_DISTANCE, RETAINS, STRONG
from pytest_memory.heap.sections import Progress
from pytest_memory.heap.snapshot import Snapshot

Bytes = NDArray[np.uint8]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

SYSTEM_DISTANCE = 100_000_000
"""Distances of what only the virtual machine reaches start here (DevTools' baseSystemDistance)."""
DETACHED = 2
_CHUNK_NODES = 1 << 17
_FEW_NODES, _FEW_STEPS = 1000, 50
_STEPS_PER_NODE = 16  # up the dominator tree, on average: heaps of real programs take one or two


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Where readers of snapshots differ.  The defaults are DevTools' rules; benchmarks/heap.py also compares
    with memlab, which knows neither entries of WeakMaps nor folded sizes and takes everything but the global
    objects as protected."""

    weak_map_entries: bool = True
    fold_sizes: bool = True
    protect_shortcuts: bool = True


DEVTOOLS = Rules()


@dataclass(slots=True)
class Dominators:
    """The dominator tree, every node in it exactly once.

    order int32 (ord by depth-first number), dominator int32 (number by number, the root its own), hung: how many
    nodes were put under the root because nothing that is reached retains them; tree_order int32 (ord by preorder
    position in the tree), tree_size int32 (by position); retained int64 (bytes, by ord).
    """

    order: Int32s
    dominator: Int32s
    hung: int
    tree_order: Int32s
    tree_size: Int32s
    retained: Int64s


@dataclass
class HeapGraph:
    """A snapshot with everything computed that a class table needs; the rest on demand.

    size int64: shallow bytes by ord, folded (see module); edge_flags uint8; protected uint8: the app's nodes.
    """

    snapshot: Snapshot
    edge_flags: Bytes
    protected: Bytes
    size: Int64s
    tree: Dominators
    classes: ClassTable
    _cache: dict[str, object] = field(default_factory=dict, repr=False)

    @property
    def root(self) -> int:
        return self.snapshot.header.root_ord

    @property
    def retained(self) -> Int64s:
        return self.tree.retained

    @property
    def total_bytes(self) -> int:
        """Everything in the heap, with what the embedder allocated beside it."""
        return int(self.retained[self.root]) + self.snapshot.header.extra_native_bytes

    @property
    def orphan_count(self) -> int:
        """Nodes hung under the root because nothing retains them, or only each other."""
        return self.tree.hung

    def retained_together(self, ords: Int64s) -> int:
        """Bytes that some nodes keep alive together: what one of them retains within another is counted once."""
        if not len(ords):
            return 0
        starts = np.sort(self.tree_position[ords]).astype(np.int64)
        ends = starts + self.tree.tree_size[starts]
        # Subtrees are apart or within each other: one is within an earlier one when it begins before that ends.
        outermost = np.concatenate(([True], starts[1:] >= np.maximum.accumulate(ends)[:-1]))
        return int(self.retained[self.tree.tree_order[starts[outermost]]].sum())

    @cached_property
    def tree_position(self) -> Int32s:
        """Preorder position in the dominator tree by ord."""
        position = np.empty(self.snapshot.node_count, np.int32)
        position[self.tree.tree_order] = np.arange(self.snapshot.node_count, dtype=np.int32)
        return position

    @cached_property
    def dominator_ord(self) -> Int32s:
        """Immediate dominator by ord; the root's is the root."""
        above = np.empty(self.snapshot.node_count, np.int32)
        above[self.tree.order] = self.tree.order[self.tree.dominator]
        return above

    @cached_property
    def retainers(self) -> tuple[Int32s, Int32s, Int32s]:
        """All edges by target: first_retainer (n + 1), retainer_edge, retainer_from."""
        from pytest_memory.heap import spreading

        snapshot = self.snapshot
        first = np.empty(snapshot.node_count + 1, np.int32)
        edge, source = np.empty(snapshot.edge_count, np.int32), np.empty(snapshot.edge_count, np.int32)
        spreading.turn_edges(snapshot.first_edge, snapshot.edge_to, first, edge, source)
        return first, edge, source

    @cached_property
    def distances(self) -> Int32s:
        """Steps from the nearest global object by ord; SYSTEM_DISTANCE and more where only the virtual machine
        leads, -5 where nothing does."""
        return _measure_distances(self)

    @cached_property
    def ord_by_id(self) -> tuple[Int64s, NDArray[np.intp]]:
        """Sorted ids and the ordinals they belong to."""
        by_id = np.argsort(self.snapshot.node_id, kind="stable")
        return self.snapshot.node_id[by_id], by_id

    def ord_of(self, node_id: int) -> int:
        """The ordinal of an id, or -1."""
        ids, by_id = self.ord_by_id
        at = int(np.searchsorted(ids, node_id))
        return int(by_id[at]) if at < len(ids) and ids[at] == node_id else -1

    def children(self, node: int) -> Int32s:
        """The nodes immediately dominated by ``node``."""
        position = int(self.tree_position[node])
        stop = position + int(self.tree.tree_size[position])
        found = []
        child = position + 1
        while child < stop:
            found.append(child)
            child += int(self.tree.tree_size[child])
        return self.tree.tree_order[found] if found else np.empty(0, np.int32)


def build_graph(
    snapshot: Snapshot, *, rules: Rules = DEVTOOLS, threads: int = 2, progress: Progress | None = None
) -> HeapGraph:
    """Compute flags, dominators, sizes and classes.  Sizes and classes are found on a second thread meanwhile."""
    report = progress or (lambda _what, _share: None)
    report("dominators", 0.0)
    edge_flags = compute_edge_flags(snapshot, rules)
    protected = compute_protected(snapshot, rules)
    state = spread_detachedness(snapshot)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="heap-graph") as pool:
        if threads > 1:
            size_task = pool.submit(compute_sizes, snapshot, edge_flags, rules)
            class_task = pool.submit(assign_classes, snapshot, state == DETACHED)
        walked = compute_dominators(snapshot, edge_flags, protected, pool)
        report("retained sizes", 0.0)
        if threads <= 1:
            size_task = pool.submit(compute_sizes, snapshot, edge_flags, rules)
            class_task = pool.submit(assign_classes, snapshot, state == DETACHED)
        size = size_task.result()
        tree = lay_out_tree(walked, size)
        report("classes", 0.0)
        classes = class_task.result()
    classes.total(tree.tree_order, tree.tree_size, size, tree.retained)
    return HeapGraph(snapshot, edge_flags, protected, size, tree, classes)


def compute_edge_flags(snapshot: Snapshot, rules: Rules = DEVTOOLS) -> Bytes:
    """RETAINS and STRONG for every edge (see the module's rules)."""
    by_type = np.full(256, RETAINS | STRONG, np.uint8)
    for name, flags in (("weak", 0), ("shortcut", STRONG)):
        if name in snapshot.header.edge_types:
            by_type[snapshot.edge_type_code(name)] = flags
    # What by_type[edge_type] says, in a fifth of the time.
    edge_flags: Bytes = np.frombuffer(bytearray(snapshot.edge_type).translate(by_type.tobytes()), np.uint8)
    root = snapshot.header.root_ord
    row = slice(int(snapshot.first_edge[root]), int(snapshot.first_edge[root + 1]))
    edge_flags[row][snapshot.edge_type[row] == snapshot.edge_type_code("shortcut")] = RETAINS | STRONG
    if rules.weak_map_entries:
        entries = weak_map_edges(snapshot)
        edge_flags[entries.from_table] &= ~np.uint8(RETAINS)
    return edge_flags


@dataclass(frozen=True, slots=True)
class WeakMapEdges:
    """The edges to values of WeakMap entries: all of them, which entry each belongs to, and those that come
    from the table."""

    edges: Int32s
    entry: Int32s
    from_table: Int32s


def weak_map_edges(snapshot: Snapshot) -> WeakMapEdges:
    index, parts = snapshot.weak_map_names
    none = np.empty(0, np.int32)
    internal = snapshot.edge_type_code("internal")
    if not len(index) or internal < 0:
        return WeakMapEdges(none, none, none)
    entry_of = np.full(len(snapshot.strings), -1, np.int32)
    entry_of[index] = np.arange(len(index), dtype=np.int32)
    edges = ephemerons.find_edges(snapshot.edge_type, snapshot.edge_name, internal, entry_of)
    row = entry_of[snapshot.edge_name[edges]]
    source = np.searchsorted(snapshot.first_edge, edges, side="right") - 1
    from_table = edges[snapshot.node_id[source] == parts[row, 0]]
    _, pair = np.unique(parts[:, 1], return_inverse=True)
    return WeakMapEdges(edges, pair.astype(np.int32)[row], from_table)


def compute_protected(snapshot: Snapshot, rules: Rules = DEVTOOLS) -> Bytes:
    """Mark the global objects: targets of the root's shortcuts, and the document trees."""
    protected = np.zeros(snapshot.node_count, np.uint8)
    root = snapshot.header.root_ord
    row = slice(int(snapshot.first_edge[root]), int(snapshot.first_edge[root + 1]))
    target, kind = snapshot.edge_to[row], snapshot.edge_type[row]
    seeds = kind == snapshot.edge_type_code("shortcut")
    trees = kind == snapshot.edge_type_code("element")
    trees[trees] = _is_document_trees(snapshot, target[trees])
    chosen = seeds | trees if rules.protect_shortcuts else ~(seeds | trees)
    protected[target[chosen]] = 1
    return protected


def _is_document_trees(snapshot: Snapshot, nodes: Int32s) -> NDArray[np.bool_]:
    synthetic = snapshot.node_type[nodes] == snapshot.node_type_code("synthetic")
    names = [snapshot.strings[int(name)] == "(Document DOM trees)" for name in snapshot.node_name[nodes]]
    found: NDArray[np.bool_] = synthetic & np.array(names, np.bool_)
    return found


def spread_detachedness(snapshot: Snapshot) -> Bytes:
    """Native nodes the embedder knows to be attached or detached, and the native nodes behind them."""
    state = snapshot.node_detachedness
    if not state.any():
        return state
    types = snapshot.header.edge_types
    carries = np.array([name not in ("hidden", "invisible", "weak") for name in types], np.uint8)
    native = (snapshot.node_type == snapshot.node_type_code("native")).astype(np.uint8)
    state = np.where(native, state & 3, 0).astype(np.uint8)
    if _spread_shortly(snapshot, carries, native, state):
        return state
    count = snapshot.node_count
    from pytest_memory.heap import spreading

    spreading.spread_states(
        snapshot.first_edge,
        snapshot.edge_to,
        snapshot.edge_type,
        carries,
        native,
        state,
        np.empty(count, np.int32),
        np.zeros(count, np.uint8),
    )
    return state


def _spread_shortly(snapshot: Snapshot, carries: Bytes, native: Bytes, state: Bytes) -> bool:
    """What the kernel does, for the few nodes and steps of a heap without a browser: no kernel is compiled for those.

    False where there is more to do; what is done by then is right."""
    steps = _FEW_STEPS
    for wave in (1, 2):
        nodes = np.flatnonzero(state == wave)
        while len(nodes):
            if steps == 0 or len(nodes) > _FEW_NODES:
                return False
            steps -= 1
            _, edges = kernels.edges_of(snapshot.first_edge, nodes)
            target = snapshot.edge_to[edges]
            arrives = carries[snapshot.edge_type[edges]] & native[target] & (state[target] == 0)
            nodes = np.unique(target[arrives != 0])
            state[nodes] = wave
    return True


def compute_sizes(snapshot: Snapshot, edge_flags: Bytes, rules: Rules = DEVTOOLS) -> Int64s:
    """Shallow sizes by ord, backing stores folded into the one object that owns them."""
    root, first_edge, types = snapshot.header.root_ord, snapshot.first_edge, snapshot.node_type
    synthetic = types == snapshot.node_type_code("synthetic")
    root_targets = snapshot.edge_to[first_edge[root] : first_edge[root + 1]]
    # Without a global object under the root the internals themselves were asked for: show them as they are.
    if not rules.fold_sizes or synthetic[root_targets].all():
        return np.array(snapshot.node_size)
    ownable = (types == snapshot.node_type_code("array")) | (types == snapshot.node_type_code("hidden"))
    external = snapshot.strings.find("system / ExternalStringData")
    if external >= 0:
        ownable |= (types == snapshot.node_type_code("native")) & (snapshot.node_name == external)
    owner = np.empty(snapshot.node_count, np.int32)
    stack = np.empty(2 * snapshot.node_count + 1, np.int32)
    tallies.assign_owners(first_edge, snapshot.edge_to, edge_flags, ownable.view(np.uint8), owner, stack)
    del stack
    synthetic[root] = True
    return tallies.fold_sizes(owner, ownable, synthetic, snapshot.node_size)


@dataclass(frozen=True, slots=True)
class Walk:
    """order, dominator and hung as in Dominators; ``scratch`` (n, 2) is free for use.

    Fresh memory costs more than arithmetic on it, so arrays done with are handed on."""

    order: Int32s
    dominator: Int32s
    hung: int
    scratch: Int32s


def compute_dominators(snapshot: Snapshot, edge_flags: Bytes, protected: Bytes, pool: Executor) -> Walk:
    """Dominators of every node by depth-first number; spreads ``protected`` over all the app's nodes."""
    count, first_edge, edge_to = snapshot.node_count, snapshot.first_edge, snapshot.edge_to
    order, parent = np.empty(count, np.int32), np.empty(count, np.int32)
    state = np.empty((count, 2), np.int32)
    cursor, late = np.empty(count, np.int32), np.empty(count + 1, np.int32)
    reached = kernels.number_depth_first(
        first_edge,
        edge_to,
        edge_flags,
        snapshot.header.root_ord,
        protected,
        state,
        order,
        parent,
        cursor,
        late[:count],
    )
    # Whom a node that was reached retains has that counted: the others were put under the root.
    hung = int(np.count_nonzero(state[:, 1] == 0)) - int(state[snapshot.header.root_ord, 1] == 0)
    first_retainer = late
    retainer = np.empty(int(state[:, 1].sum(dtype=np.int64)), np.int32)
    dominator = np.empty(count, np.int32)
    front, back = cursor, dominator  # scratch until then
    kernels.start_retainers(state, order, first_retainer, front, back)
    chunks = deque(range(0, reached, _CHUNK_NODES))

    def fill(take: Callable[[], int], slots: Int32s, step: int) -> None:
        while True:
            try:
                start = take()
            except IndexError:
                return
            stop = min(start + _CHUNK_NODES, reached)
            kernels.fill_retainers(
                first_edge, edge_to, edge_flags, protected, order, start, stop, slots, step, retainer
            )

    # The pool's thread joins in when it is done with sizes and classes, working from the other end.
    helper = pool.submit(fill, chunks.pop, back, -1)
    fill(chunks.popleft, front, 1)
    if not helper.cancel():
        helper.result()
    steps = _STEPS_PER_NODE * count
    found = kernels.find_dominators(parent, first_retainer, retainer, state, cursor, dominator, steps)
    if found < count:
        from pytest_memory.heap import jumps

        jumps.finish_dominators(parent, state, dominator, found)
    return Walk(order, dominator, hung, state)


def lay_out_tree(walk: Walk, size: Int64s) -> Dominators:
    """Retained sizes, and the tree in preorder.  Uses up ``walk.scratch``."""
    count = len(walk.order)
    tree = Dominators(
        order=walk.order,
        dominator=walk.dominator,
        hung=walk.hung,
        tree_order=np.empty(count, np.int32),
        tree_size=np.empty(count, np.int32),
        retained=np.empty(count, np.int64),
    )
    kernels.sum_retained(
        walk.dominator,
        walk.order,
        size,
        tree.retained,
        tree.tree_order,
        tree.tree_size,
        np.empty(count, np.int64),
        walk.scratch,
    )
    return tree


# --- distances ------------------------------------------------------------------------------------------------


def _measure_distances(graph: HeapGraph) -> Int32s:
    from pytest_memory.heap import spreading

    snapshot = graph.snapshot
    root, first_edge = graph.root, snapshot.first_edge
    flags = graph.edge_flags.copy()
    flags[_detours(snapshot)] |= DETOUR
    pair_of_edge = np.empty(0, np.int32)
    entries = weak_map_edges(snapshot)
    if len(entries.edges):
        pair_of_edge = np.full(snapshot.edge_count, -1, np.int32)
        pair_of_edge[entries.edges] = entries.entry
    waits = np.zeros(int(entries.entry.max()) + 1 if len(entries.entry) else 0, np.uint8)
    targets = snapshot.edge_to[first_edge[root] : first_edge[root + 1]]
    user = snapshot.node_type[targets] != snapshot.node_type_code("synthetic")
    user |= _is_document_trees(snapshot, targets)
    queue = np.empty(snapshot.node_count + len(targets), np.int32)
    distance = np.full(snapshot.node_count, NO_DISTANCE, np.int32)

    def spread(starts: Int32s) -> int:
        queue[: len(starts)] = starts
        return spreading.measure_distances(
            first_edge, snapshot.edge_to, flags, pair_of_edge, waits, distance, queue, len(starts), 0
        )

    roots = targets[user]
    distance[roots] = 1
    found = spread(roots)
    distance[root] = SYSTEM_DISTANCE if found else 0
    spread(np.array([root], np.int32))
    return distance


def _detours(snapshot: Snapshot) -> Int64s:
    """Edges no way should lead along: function maps of a context, and descriptors that maps merely share."""
    strings, found = snapshot.strings, [np.empty(0, np.int64)]
    context, function_map = strings.find("system / NativeContext"), strings.find("sloppy_function_map")
    hidden, array = snapshot.node_type_code("hidden"), snapshot.node_type_code("array")
    if context >= 0 and function_map >= 0:
        contexts = np.flatnonzero((snapshot.node_type == hidden) & (snapshot.node_name == context))
        _, edges = kernels.edges_of(snapshot.first_edge, contexts)
        named = _is_named(snapshot)[snapshot.edge_type[edges]]
        found.append(edges[named & (snapshot.edge_name[edges] == function_map)])
    descriptors = strings.find("(map descriptors)")
    if descriptors >= 0:
        arrays = np.flatnonzero((snapshot.node_type == array) & (snapshot.node_name == descriptors))
        _, edges = kernels.edges_of(snapshot.first_edge, arrays)
        index = snapshot.edge_indexes(edges)
        named = _is_named(snapshot)[snapshot.edge_type[edges]]
        values, where = np.unique(index[named], return_inverse=True)
        index[named] = np.array([_leading_int(strings[int(value)]) for value in values], np.int64)[where]
        found.append(edges[(index >= 2) & (index % 3 == 1)])
    return np.concatenate(found)


def _is_named(snapshot: Snapshot) -> NDArray[np.bool_]:
    return np.array([name not in ("element", "hidden") for name in snapshot.header.edge_types], np.bool_)


def _leading_int(text: str) -> int:
    """JavaScript's parseInt for the names of edges; -1 when there is no number."""
    stripped = text.lstrip()
    digits = len(stripped) - len(stripped.lstrip("0123456789"))
    return int(stripped[:digits]) if 0 < digits < 18 else -1
