"""Sums by owner and by class, and equal rows found.  Floor 1.

Apart from heap.kernels, so that two processes can compile at the same time.
"""

# Kernels return what they index from arrays, which is Any to mypy and an int64 to numba.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.jit import kernel
from pytest_memory.heap.marks import SHARED, STRONG, UNSEEN

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Flags = NDArray[np.uint8]
Bools = NDArray[np.bool_]


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


def fold_sizes(owner: Int32s, ownable: Bools, keeps_apart: Bools, size: Int64s) -> Int64s:
    """The sizes, with that of every owned node given to its owner, unless the owner is to be kept apart.

    Numpy, as fast as a kernel: few nodes are ownable, and what owns is not."""
    folded = size.copy()
    owned = np.flatnonzero(ownable)
    owned = owned[owner[owned] >= 0]
    owned = owned[~keeps_apart[owner[owned]]]
    np.add.at(folded, owner[owned], size[owned])
    folded[owned] = 0
    return folded


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
