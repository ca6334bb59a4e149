"""What is asked of a graph later or seldom: distances, retainers, spread states.  Floor 1.

Apart from heap.kernels, so that a first analysis does not wait for their compilation.
"""

# Kernels return what they index from arrays, which is Any to mypy and an int64 to numba.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.jit import kernel
from pytest_memory.heap.marks import DETOUR, NO_DISTANCE, STRONG

Int32s = NDArray[np.int32]
Flags = NDArray[np.uint8]


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
