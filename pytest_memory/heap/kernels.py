"""Graph arithmetic on integer arrays: numbering, dominators, retained sums, distances, owners.  Floor 1.

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

from pytest_memory.heap.jit import inlined, kernel

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Flags = NDArray[np.uint8]

RETAINS = 1
"""Edge flag: keeps its target alive, as far as dominators are concerned."""
STRONG = 2
"""Edge flag: passes protection and ownership on, and counts for distances.  Every RETAINS edge is STRONG."""
DETOUR = 4
"""Edge flag: never followed when distances are measured."""

UNSEEN = -1
"""Not reached: in numberings and owners."""
SHARED = -2
"""Reached from more than one owner."""
NO_DISTANCE = -5
"""Not reached: in distances (the value DevTools uses)."""


@kernel("int64(int32[::1], int32[::1])")
def sum_rows(row_lengths: Int32s, first: Int32s) -> int:
    """Fill ``first`` (n + 1) with the start of each row; returns the sum of all lengths, even beyond 31 bits."""
    total = np.int64(0)
    for row in range(row_lengths.shape[0]):
        first[row] = np.int32(total)
        total += row_lengths[row]
    first[row_lengths.shape[0]] = np.int32(total)
    return total


# --- depth-first numbering ------------------------------------------------------------------------------------


@inlined
def _walk(
    first_edge: Any,
    edge_to: Any,
    edge_flags: Any,
    start: Any,
    protected: Any,
    state: Any,
    order: Any,
    parent: Any,
    cursor: Any,
    late: Any,
    reached: Any,
    late_count: Any,
) -> Any:
    """Number everything reachable from ``start``, a child of the root; returns (reached, late_count)."""
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
    return reached, late_count


@inlined
def _protect_late(
    first_edge: Any, edge_to: Any, edge_flags: Any, protected: Any, state: Any, late: Any, late_count: Any
) -> None:
    """Spread protection from protected nodes that were not walked as such, the root among them."""
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


@inlined
def _mark_retained(first_edge: Any, edge_to: Any, edge_flags: Any, protected: Any, state: Any, retained: Any) -> None:
    """Mark the unseen nodes that another unseen node retains: those are no orphans."""
    retained[:] = 0
    for node in range(retained.shape[0]):
        if state[node, 0] != UNSEEN:
            continue
        outside = protected[node] == 0
        for edge in range(first_edge[node], first_edge[node + 1]):
            target = edge_to[edge]
            if edge_flags[edge] & RETAINS and target != node and not (outside and protected[target]):
                retained[target] = 1


@kernel(
    "int64(int32[::1], int32[::1], uint8[::1], int64, uint8[::1], "
    "int32[:, ::1], int32[::1], int32[::1], int32[::1], int32[::1])"
)
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
    """
    node_count = order.shape[0]
    state[:, 0] = UNSEEN
    state[:, 1] = 0
    state[root, 0] = 0
    order[0] = root
    parent[0] = 0
    reached = 1
    late_count = 0
    # Round 0 walks what is protected, and so finds all of it; round 1 walks the rest and counts the root's edges.
    for round_number in range(2):
        for edge in range(first_edge[root], first_edge[root + 1]):
            node = edge_to[edge]
            if edge_flags[edge] & RETAINS == 0 or node == root or (round_number == 0 and protected[node] == 0):
                continue
            if state[node, 0] == UNSEEN:
                reached, late_count = _walk(
                    first_edge,
                    edge_to,
                    edge_flags,
                    node,
                    protected,
                    state,
                    order,
                    parent,
                    cursor,
                    late,
                    reached,
                    late_count,
                )
            state[node, 1] += round_number
        _protect_late(first_edge, edge_to, edge_flags, protected, state, late, late_count)
        late_count = 0
    if reached < node_count:
        _mark_retained(first_edge, edge_to, edge_flags, protected, state, late)
        for node in range(node_count):
            if state[node, 0] == UNSEEN and late[node] == 0:
                reached, late_count = _walk(
                    first_edge,
                    edge_to,
                    edge_flags,
                    node,
                    protected,
                    state,
                    order,
                    parent,
                    cursor,
                    late,
                    reached,
                    0,
                )
    last = reached
    for node in range(node_count):
        if state[node, 0] == UNSEEN:
            state[node, 0] = last
            order[last] = node
            parent[last] = 0
            last += 1
    return reached


@kernel(
    "void(int32[::1], int32[::1], uint8[::1], uint8[::1], int32[:, ::1], int32[::1], int64, int32[::1], int32[::1])"
)
def fill_retainers(
    first_edge: Int32s,
    edge_to: Int32s,
    edge_flags: Flags,
    protected: Flags,
    state: Int32s,
    order: Int32s,
    reached: int,
    first_retainer: Int32s,
    retainer: Int32s,
) -> None:
    """Turn the walk's edges around: ``retainer[first_retainer[w]:first_retainer[w + 1]]`` are the numbers of the
    walked nodes with a retaining edge to number w.  Uses up ``state[:, 1]``."""
    node_count = order.shape[0]
    slot = 0
    for num in range(node_count):
        first_retainer[num] = slot
        node = order[num]
        slot += state[node, 1]
        state[node, 1] = first_retainer[num]
    first_retainer[node_count] = slot
    for num in range(reached):
        node = order[num]
        outside = num > 0 and protected[node] == 0
        for edge in range(first_edge[node], first_edge[node + 1]):
            target = edge_to[edge]
            if edge_flags[edge] & RETAINS == 0 or target == node or (outside and protected[target]):
                continue
            slot = state[target, 1]
            retainer[slot] = num
            state[target, 1] = slot + 1


# --- dominators -----------------------------------------------------------------------------------------------


@kernel("void(int32[::1], int32[::1], int32[::1], int32[:, ::1], int32[::1], int32[::1])")
def dominators(
    parent: Int32s, first_retainer: Int32s, retainer: Int32s, link: Int32s, stack: Int32s, dominator: Int32s
) -> None:
    """Immediate dominators by the semi-NCA algorithm (L. Georgiadis, "Linear-Time Algorithms for Dominators and
    Related Problems", 2005, section 2.3), everything in depth-first numbers; ``dominator[0]`` is 0.

    Iterative: chains of any length.  Scratch: ``link`` (n, 2), the ancestor in the forest of linked nodes and
    the smallest semidominator on the compressed path to it; ``stack`` (n).
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
    for num in range(1, node_count):
        above = parent[num]
        semi = dominator[num]
        while above > semi:
            above = dominator[above]
        dominator[num] = above


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


@kernel("void(int32[::1], int32[::1], int64[::1], int64[::1], int32[::1], int32[::1], int64[:, ::1])")
def total_classes(
    tree_order: Int32s,
    tree_size: Int32s,
    size: Int64s,
    retained: Int64s,
    class_of: Int32s,
    covered: Int32s,
    totals: Int64s,
) -> None:
    """Count, size and retained size of every class over its nodes of non-zero size.

    ``totals`` (classes, 3).  The retained size of a class counts each byte once: a node dominated by another of
    its class adds nothing.  Scratch: ``covered`` (classes), zeros: where the class's last counted subtree ends.
    """
    for position in range(tree_order.shape[0]):
        node = tree_order[position]
        if size[node] == 0:
            continue
        row = class_of[node]
        totals[row, 0] += 1
        totals[row, 1] += size[node]
        if position >= covered[row]:
            totals[row, 2] += retained[node]
            covered[row] = position + tree_size[position]


# --- owners, distances, retainers -------------------------------------------------------------------------------


@kernel("void(int32[::1], int32[::1], uint8[::1], uint8[::1], int32[::1], int32[::1])")
def assign_owners(
    first_edge: Int32s, edge_to: Int32s, edge_flags: Flags, ownable: Flags, owner: Int32s, stack: Int32s
) -> None:
    """Find the one node through which each ownable node is reached over STRONG edges.

    ``owner[v]`` becomes v for nodes that are not ownable, the owner's ord where all ways to v lead through the
    same not ownable node and otherwise ownable ones, SHARED for several, UNSEEN for none.
    Scratch: ``stack`` (2 n): a node waits at most once with an owner and once as shared.
    """
    node_count = owner.shape[0]
    for node in range(node_count):
        owner[node] = UNSEEN if ownable[node] else node
    for start in range(node_count):
        if ownable[start]:
            continue
        stack[0] = start
        waiting = 1
        while waiting > 0:
            waiting -= 1
            node = stack[waiting]
            mine = owner[node]
            for edge in range(first_edge[node], first_edge[node + 1]):
                target = edge_to[edge]
                theirs = owner[target]
                if edge_flags[edge] & STRONG == 0 or theirs == SHARED or theirs == mine or theirs == target:  # noqa: SIM109
                    continue
                owner[target] = mine if theirs == UNSEEN else SHARED
                stack[waiting] = target
                waiting += 1


@kernel("void(int32[::1], uint8[::1], int64[::1], int64[::1])")
def fold_sizes(owner: Int32s, keeps_apart: Flags, size: Int64s, folded: Int64s) -> None:
    """Give the size of every owned node to its owner, unless the owner is to be kept apart."""
    for node in range(owner.shape[0]):
        folded[node] = size[node]
    for node in range(owner.shape[0]):
        above = owner[node]
        if above >= 0 and above != node and keeps_apart[above] == 0:
            folded[above] += size[node]
            folded[node] -= size[node]


@kernel("int64(int32[::1], int32[::1], uint8[::1], int32[::1], uint8[::1], int32[::1], int32[::1], int64, int64)")
def measure_distances(
    first_edge: Int32s,
    edge_to: Int32s,
    edge_flags: Flags,
    edge_pair: Int32s,
    pair_waits: Flags,
    distance: Int32s,
    queue: Int32s,
    queued: int,
    first: int,
) -> int:
    """Breadth-first distances over STRONG edges without DETOURs, from the ``queued`` nodes in ``queue``.

    ``distance`` holds NO_DISTANCE for nodes to be reached.  Of the edges of one pair (``edge_pair`` >= 0; an
    empty array when there are none) only the second one met is followed.  Returns the end of the queue.
    """
    at = first
    paired = edge_pair.shape[0] > 0
    while at < queued:
        node = queue[at]
        at += 1
        step = distance[node] + 1
        for edge in range(first_edge[node], first_edge[node + 1]):
            target = edge_to[edge]
            if distance[target] != NO_DISTANCE:
                continue
            flags = edge_flags[edge]
            if flags & STRONG == 0 or flags & DETOUR:
                continue
            if paired and edge_pair[edge] >= 0:
                pair = edge_pair[edge]
                pair_waits[pair] ^= 1
                if pair_waits[pair]:
                    continue
            distance[target] = step
            queue[queued] = target
            queued += 1
    return queued


@kernel("void(int32[::1], int32[::1], int32[::1], int32[::1], int32[::1])")
def turn_edges(
    first_edge: Int32s, edge_to: Int32s, first_retainer: Int32s, retainer_edge: Int32s, retainer_from: Int32s
) -> None:
    """The other direction of every edge: by target, the edge's ord and its source, sources ascending.

    ``first_retainer`` (n + 1) is filled too.
    """
    node_count = first_retainer.shape[0] - 1
    first_retainer[:] = 0
    for edge in range(edge_to.shape[0]):
        first_retainer[edge_to[edge]] += 1
    end = 0
    for node in range(node_count):
        end += first_retainer[node]
        first_retainer[node] = end
    first_retainer[node_count] = end
    for back in range(node_count):
        node = node_count - 1 - back
        for edge in range(first_edge[node + 1] - 1, first_edge[node] - 1, -1):
            slot = first_retainer[edge_to[edge]] - 1
            first_retainer[edge_to[edge]] = slot
            retainer_edge[slot] = edge
            retainer_from[slot] = node


@kernel("int64(int32[:, ::1], int32[::1], int32[::1])")
def group_rows(rows: Int32s, group: Int32s, slots: Int32s) -> int:
    """Give equal rows the same group, groups numbered in order of appearance; returns the number of groups.

    ``slots`` is scratch, all -1, a power of two longer than twice the rows: open addressing, linear probing.
    """
    mask = slots.shape[0] - 1
    width = rows.shape[1]
    groups = 0
    for row in range(rows.shape[0]):
        mix = np.uint64(0x9E3779B97F4A7C15)
        for column in range(width):
            mix = (mix ^ np.uint64(np.uint32(rows[row, column]))) * np.uint64(0xFF51AFD7ED558CCD)
            mix ^= mix >> np.uint64(32)
        slot = np.int64(mix) & mask
        while True:
            other = slots[slot]
            if other < 0:
                slots[slot] = row
                group[row] = groups
                groups += 1
                break
            same = True
            for column in range(width):
                same = same and rows[other, column] == rows[row, column]
            if same:
                group[row] = group[other]
                break
            slot = (slot + 1) & mask
    return groups


@kernel("void(int32[::1], int32[::1], uint8[::1], uint8[::1], uint8[::1], uint8[::1], int32[::1], uint8[::1])")
def spread_states(
    first_edge: Int32s,
    edge_to: Int32s,
    edge_kind: Flags,
    kind_carries: Flags,
    node_carries: Flags,
    state: Flags,
    waiting: Int32s,
    settled: Flags,
) -> None:
    """Spread state 1, then state 2, along edges of carrying kinds to carrying nodes; the first to arrive stays.

    ``state`` holds the known states (0: unknown) and receives the spread ones.  Scratch: ``waiting`` (n) and
    ``settled`` (n, zeros).
    """
    node_count = state.shape[0]
    for node in range(node_count):
        if state[node] != 0:
            settled[node] = 1
    for wave in range(1, 3):
        count = 0
        for node in range(node_count):
            if state[node] == wave and node_carries[node]:
                waiting[count] = node
                count += 1
        while count > 0:
            count -= 1
            node = waiting[count]
            for edge in range(first_edge[node], first_edge[node + 1]):
                target = edge_to[edge]
                if settled[target] == 0 and kind_carries[edge_kind[edge]]:
                    settled[target] = 1
                    if node_carries[target]:
                        state[target] = wave
                        waiting[count] = target
                        count += 1
