"""Graph arithmetic on integer arrays: numbering, dominators, retained sums.  Floor 1.

Knows nodes 0..n-1 and edges in compressed rows; knows nothing of V8, names or bytes on disk.  What an edge's
flags and a node's class mean is decided in heap.graph.

Widths: a node or edge ordinal fits in 31 bits (a file with more would exceed 30 GB and is refused when read),
so ordinals are int32 and halve the memory traffic; sizes, sums and ids are int64.

Two numberings appear.  ``_ord`` is a node's position in the file.  ``_num`` is its number in the depth-first
walk, root 0: there a node's dominator, its parent and most of its neighbours lie close to it in memory.
"""

# Kernels return what they index from arrays, which is Any to mypy and an int64 to numba.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.jit import kernel
from pytest_memory.heap.marks import RETAINS, STRONG, UNSEEN

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Flags = NDArray[np.uint8]

_AT_ONCE = 1 << 16


# --- depth-first numbering ------------------------------------------------------------------------------------


def number_depth_first(
    first_edge: Int32s,
    edge_to: Int32s,
    edge_flags: Flags,
    root: int,
    protected: Flags,
    state: Int32s,
    order: Int32s,
    parent: Int32s,
    cursor: Int32s,
    late: Int32s,
) -> int:
    """Number every node in one depth-first walk over RETAINS edges, protected nodes first.

    ``protected`` marks seeds, all of them targets of the root; on return it marks everything reachable from
    them over STRONG edges.  An edge into the protected nodes from outside does not retain, unless it is the
    root's.  Nodes without a retaining edge hang under the root; so do those retained only by each other.

    Fills ``state[:, 0]`` with each node's number, ``state[:, 1]`` with its count of retaining edges from walked
    nodes, ``order`` (ord by num) and ``parent`` (num by num).  Returns how many nodes the walk reached: the
    rest, ``order[reached:]``, are cliques nobody retains, and their edges count for nothing.
    Scratch: ``cursor`` and ``late`` (n).

    Python around kernels: as one, with its pieces inlined, it takes three times as long to compile.
    """
    state[:, 0] = UNSEEN
    state[:, 1] = 0
    state[root, 0] = 0
    order[0] = root
    parent[0] = 0
    graph = (first_edge, edge_to, edge_flags)
    numbering = (state, order, parent, cursor, late)
    edges = slice(first_edge[root], first_edge[root + 1])
    from_root = edge_to[edges][edge_flags[edges] & RETAINS != 0]
    from_root = from_root[from_root != root]
    np.add.at(state[:, 1], from_root, 1)
    # What is protected first, which finds all of it; then the rest, then what hangs on orphans.
    reached = _walk(*graph, from_root, True, protected, *numbering, 1)
    reached = _walk(*graph, from_root, False, protected, *numbering, reached)
    if reached < order.shape[0]:
        reached = _walk(*graph, _find_orphans(*graph, protected, state), False, protected, *numbering, reached)
    if reached < order.shape[0]:
        cliques = np.flatnonzero(state[:, 0] == UNSEEN)
        state[cliques, 0] = np.arange(reached, order.shape[0], dtype=np.int32)
        order[reached:] = cliques
        parent[reached:] = 0
    return reached


_GRAPH = "int32[::1], int32[::1], uint8[::1]"


@kernel(
    f"int64({_GRAPH}, int32[::1], boolean, uint8[::1], "
    "int32[:, ::1], int32[::1], int32[::1], int32[::1], int32[::1], int64)"
)
def _walk(
    first_edge: Int32s,
    edge_to: Int32s,
    edge_flags: Flags,
    starts: Int32s,
    protected_only: bool,
    protected: Flags,
    state: Int32s,
    order: Int32s,
    parent: Int32s,
    cursor: Int32s,
    late: Int32s,
    reached: int,
) -> int:
    """Number everything reachable from the unseen ``starts``, children of the root.

    ``reached``: how many nodes have a number; returns how many have one afterwards.  In ``late`` wait those that got
    protection from a walked node, but not over a RETAINS edge, and the root: in the end it spreads from them."""
    late_count = 0
    for start in starts:
        if state[start, 0] != UNSEEN or (protected_only and protected[start] == 0):
            continue
        spreading = protected[start]
        state[start, 0] = reached
        order[reached] = start
        parent[reached] = 0
        cursor[reached] = first_edge[start]
        num = reached
        reached += 1
        while num != 0:
            node = order[num]
            outside = protected[node] == 0
            stop = first_edge[node + 1]
            edge = cursor[num]
            child = -1
            while edge < stop:
                flags = edge_flags[edge]
                target = edge_to[edge]
                edge += 1
                if flags & RETAINS == 0:
                    if spreading and flags & STRONG and protected[target] == 0:
                        protected[target] = 1
                        late[late_count] = target
                        late_count += 1
                    continue
                if target == node or (outside and protected[target]):
                    continue
                state[target, 1] += 1
                if state[target, 0] == UNSEEN:
                    child = target
                    break
                if spreading and state[target, 0] == 0 and protected[target] == 0:  # back to the root
                    protected[target] = 1
                    late[late_count] = target
                    late_count += 1
            cursor[num] = edge
            if child < 0:
                num = parent[num]
            else:
                if spreading:
                    protected[child] = 1
                state[child, 0] = reached
                order[reached] = child
                parent[reached] = num
                cursor[reached] = first_edge[child]
                num = reached
                reached += 1
    while late_count > 0:
        late_count -= 1
        node = late[late_count]
        if state[node, 0] > 0:
            continue
        for edge in range(first_edge[node], first_edge[node + 1]):
            target = edge_to[edge]
            if edge_flags[edge] & STRONG and protected[target] == 0:
                protected[target] = 1
                late[late_count] = target
                late_count += 1
    return reached


def _find_orphans(first_edge: Int32s, edge_to: Int32s, edge_flags: Flags, protected: Flags, state: Int32s) -> Int32s:
    """The unseen nodes that no other unseen node retains.  A handful in a whole heap: no kernel of its own."""
    unseen = np.flatnonzero(state[:, 0] == UNSEEN).astype(np.int32)
    retained = np.zeros(state.shape[0], np.bool_)
    for at in range(0, len(unseen), _AT_ONCE):
        source, edges = edges_of(first_edge, unseen[at : at + _AT_ONCE])
        target = edge_to[edges]
        counts = (edge_flags[edges] & RETAINS != 0) & (target != source)
        counts &= (protected[source] != 0) | (protected[target] == 0)
        retained[target[counts]] = True
    return unseen[~retained[unseen]]


def edges_of(first_edge: Int32s, nodes: NDArray[np.integer[Any]]) -> tuple[NDArray[np.integer[Any]], Int64s]:
    """All edges of some nodes: whose each is, and its ord."""
    first = first_edge[nodes].astype(np.int64)
    lengths = first_edge[nodes + 1] - first
    offsets = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(nodes, lengths), np.repeat(first, lengths) + offsets


@kernel("void(int32[:, ::1], int32[::1], int32[::1], int32[::1], int32[::1])")
def start_retainers(state: Int32s, order: Int32s, first_retainer: Int32s, front: Int32s, back: Int32s) -> None:
    """Lay out a row by number for the retainers each node has: ``first_retainer`` (n + 1), and by ord the first
    and the last slot of its row, ``front`` and ``back`` (n)."""
    slot = 0
    for num in range(order.shape[0]):
        node = order[num]
        first_retainer[num] = slot
        front[node] = slot
        slot += state[node, 1]
        back[node] = slot - 1
    first_retainer[order.shape[0]] = slot


@kernel("void(int32[::1], int32[::1], uint8[::1], uint8[::1], int32[::1], int64, int64, int32[::1], int64, int32[::1])")
def fill_retainers(
    first_edge: Int32s,
    edge_to: Int32s,
    edge_flags: Flags,
    protected: Flags,
    order: Int32s,
    start: int,
    stop: int,
    slots: Int32s,
    step: int,
    retainer: Int32s,
) -> None:
    """Turn around the edges of the walked nodes number ``start`` to ``stop``, all of them below ``reached``.

    Afterwards ``retainer[first_retainer[w]:first_retainer[w + 1]]`` holds the numbers of the walked nodes with a
    retaining edge to number w, in no order.  ``slots`` is ``front`` with ``step`` 1 or ``back`` with -1: two
    threads can fill the rows from both ends, as long as each part of the numbers is done once.
    """
    for num in range(start, stop):
        node = order[num]
        outside = num > 0 and protected[node] == 0
        for edge in range(first_edge[node], first_edge[node + 1]):
            target = edge_to[edge]
            if edge_flags[edge] & RETAINS == 0 or target == node or (outside and protected[target]):
                continue
            slot = slots[target]
            retainer[slot] = num
            slots[target] = slot + step


# --- dominators -----------------------------------------------------------------------------------------------


@kernel("int64(int32[::1], int32[::1], int32[::1], int32[:, ::1], int32[::1], int32[::1], int64)")
def find_dominators(
    parent: Int32s,
    first_retainer: Int32s,
    retainer: Int32s,
    link: Int32s,
    stack: Int32s,
    dominator: Int32s,
    steps: int,
) -> int:
    """Immediate dominators by the semi-NCA algorithm (L. Georgiadis, "Linear-Time Algorithms for Dominators and
    Related Problems", 2005, section 2.3), everything in depth-first numbers; ``dominator[0]`` is 0.

    Iterative: chains of any length.  ``steps`` are those that all nodes together may take up the tree.  Returns the
    first number that was not found in so many: from there on ``dominator`` has semidominators, for heap.jumps.
    Scratch: ``link`` (n, 2), the ancestor in the forest of linked nodes and the smallest semidominator on the
    compressed path to it; ``stack`` (n).
    """
    node_count = parent.shape[0]
    for num in range(node_count):
        link[num, 0] = parent[num]
        link[num, 1] = num
    for num in range(node_count - 1, 0, -1):
        semi = parent[num]
        for slot in range(first_retainer[num], first_retainer[num + 1]):
            other = retainer[slot]
            if other > num:
                # Nodes above num are linked: compress the path, then ask for the best on it.
                depth = 0
                while link[other, 0] > num:
                    stack[depth] = other
                    depth += 1
                    other = link[other, 0]
                root_of_tree = link[other, 0]
                best = link[other, 1]
                while depth > 0:
                    depth -= 1
                    other = stack[depth]
                    if link[other, 1] > best:
                        link[other, 1] = best
                    else:
                        best = link[other, 1]
                    link[other, 0] = root_of_tree
                other = best
            if other < semi:
                semi = other
        link[num, 1] = semi  # may shrink when paths are compressed,
        dominator[num] = semi  # so the semidominator itself waits here
    dominator[0] = 0
    # Step by step as long as that is cheap.  What hangs on the nodes of a long list and is held elsewhere too has as
    # many steps to go as the list is long: then by jumps.
    num = 1
    while num < node_count and steps >= 0:
        above = parent[num]
        semi = dominator[num]
        while above > semi:
            above = dominator[above]
            steps -= 1
        dominator[num] = above
        num += 1
    return num


@kernel("void(int32[::1], int32[::1], int64[::1], int64[::1], int32[::1], int32[::1], int64[::1], int32[:, ::1])")
def sum_retained(
    dominator: Int32s,
    order: Int32s,
    size: Int64s,
    retained: Int64s,
    tree_order: Int32s,
    tree_size: Int32s,
    sums: Int64s,
    subtree: Int32s,
) -> None:
    """Sum sizes up the dominator tree, and lay the tree out in preorder.

    ``size`` and ``retained`` are by ord.  ``tree_order[p]`` is the ord at preorder position p and
    ``tree_size[p]`` how many nodes it dominates, itself included: its subtree is ``p .. p + tree_size[p]``, its
    first child is at p + 1 and each child's next sibling behind the child's subtree.
    Scratch: ``sums`` (n) and ``subtree`` (n, 2), by num.
    """
    node_count = order.shape[0]
    for num in range(node_count):
        subtree[num, 0] = 1
        sums[num] = size[order[num]]
    # A dominator has a smaller number than what it dominates: one sweep down, one sweep up.
    for num in range(node_count - 1, 0, -1):
        above = dominator[num]
        subtree[above, 0] += subtree[num, 0]
        sums[above] += sums[num]
    subtree[0, 1] = 1
    tree_order[0] = order[0]
    tree_size[0] = subtree[0, 0]
    retained[order[0]] = sums[0]
    for num in range(1, node_count):
        above = dominator[num]
        position = subtree[above, 1]  # the next free place among the children of above
        subtree[above, 1] = position + subtree[num, 0]
        subtree[num, 1] = position + 1
        tree_order[position] = order[num]
        tree_size[position] = subtree[num, 0]
        retained[order[num]] = sums[num]
