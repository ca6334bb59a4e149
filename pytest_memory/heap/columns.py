"""Rows of numbers into typed columns, every value checked on the way.  Floor 1.

Knows that a node and an edge have fields, not where they stand in a row: heap.snapshot says that.  What
stores rows answers -1, or the position (row times width plus field) of the first value that cannot be.

Kernels for what is looked at value by value; numpy where it is as fast: a kernel has to be compiled.
"""

# Kernels return what they index from arrays, which is Any to mypy and an int64 to numba.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.jit import kernel

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Bytes = NDArray[np.uint8]

MAX_ORDINAL = 2**31 - 1
"""Ordinals are int32: a file with more nodes or edges than this would be larger than 30 GB."""
MAX_INDEX = 2**32 - 1
"""What an element's edge can be called: an array has up to 2^32 - 1 places, and a sparse one uses the last of them.  V8
writes those beyond 2^31 as they are up to Node 22, and from Node 24 on as negative numbers of the same 32 bits."""

_AT_ONCE = 1 << 18  # edges: what is found on the way stays in the processor's cache


def sum_rows(row_lengths: Int32s, first: Int32s) -> int:
    """Fill ``first`` (n + 1) with the start of each row; returns the sum of all lengths, even beyond 31 bits."""
    first[0] = 0
    np.cumsum(row_lengths, dtype=np.int32, out=first[1:])
    return int(row_lengths.sum(dtype=np.int64))


@kernel(
    "int64(int64[:, ::1], int64, int64[::1], int64, int64, uint8[::1], int32[::1], int64[::1], int64[::1], "
    "int32[::1], uint8[::1])"
)
def store_nodes(
    rows: Int64s,
    count: int,
    field: Int64s,
    type_count: int,
    at: int,
    node_type: Bytes,
    name: Int32s,
    node_id: Int64s,
    size: Int64s,
    edge_count: Int32s,
    detachedness: Bytes,
) -> int:
    """Store ``rows[:count]`` from node ``at`` on.  ``field``: where type, name, id, self size, edge count and
    detachedness (-1 when there is none) stand in a row."""
    width = rows.shape[1]
    f_type, f_name, f_id, f_size, f_edges, f_detached = field[0], field[1], field[2], field[3], field[4], field[5]
    for row in range(count):
        value = rows[row, f_type]
        if value < 0 or value >= type_count:
            return row * width + f_type
        node_type[at + row] = value
        value = rows[row, f_name]
        if value < 0 or value > MAX_ORDINAL:
            return row * width + f_name
        name[at + row] = value
        value = rows[row, f_id]
        if value < 0:
            return row * width + f_id
        node_id[at + row] = value
        value = rows[row, f_size]
        if value < 0:
            return row * width + f_size
        size[at + row] = value
        value = rows[row, f_edges]
        if value < 0 or value > MAX_ORDINAL:
            return row * width + f_edges
        edge_count[at + row] = value
        if f_detached >= 0:
            value = rows[row, f_detached]
            if value < 0:
                return row * width + f_detached
            detachedness[at + row] = min(value, 255)
    return -1


@kernel("int64(int64[:, ::1], int64, int64[::1], int64, int64, int64, int64, uint8[::1], int32[::1], int32[::1])")
def store_edges(
    rows: Int64s,
    count: int,
    field: Int64s,
    type_count: int,
    node_width: int,
    node_count: int,
    at: int,
    edge_type: Bytes,
    name_or_index: Int32s,
    to_ord: Int32s,
) -> int:
    """Store ``rows[:count]`` from edge ``at`` on.  ``field``: where type, name or index and target stand in a
    row.  An index beyond MAX_ORDINAL becomes negative, with the same 32 bits.  A target is written as an offset into
    the numbers of all nodes, ``node_width`` for each."""
    width = rows.shape[1]
    f_type, f_name, f_to = field[0], field[1], field[2]
    # Multiplying by the reciprocal is several times faster than dividing; the product below proves it exact.
    reciprocal = 1.0 / node_width
    for row in range(count):
        value = rows[row, f_type]
        if value < 0 or value >= type_count:
            return row * width + f_type
        edge_type[at + row] = value
        value = rows[row, f_name]
        if value < -MAX_ORDINAL - 1 or value > MAX_INDEX:
            return row * width + f_name
        name_or_index[at + row] = np.int32(value)
        value = rows[row, f_to]
        node = np.int64(value * reciprocal + 0.5)
        if value < 0 or node >= node_count or node * node_width != value:
            return row * width + f_to
        to_ord[at + row] = node
    return -1


def first_at_least(values: Int32s, limit: int) -> int:
    """The first position with a value of ``limit`` or more, or -1."""
    if int(values.max(initial=-1)) < limit:
        return -1
    return int(np.argmax(values >= limit))


def first_bad_name(edge_type: Bytes, name_or_index: Int32s, is_named: Bytes, string_count: int) -> int:
    """The first edge of a type with a name (``is_named`` by type) whose name is no string of the table, or -1."""
    for at in range(0, len(edge_type), _AT_ONCE):
        part = slice(at, at + _AT_ONCE)
        # As unsigned numbers, negative ones are beyond every table.
        beyond = np.flatnonzero(name_or_index[part].view(np.uint32) >= np.uint32(string_count))
        bad = beyond[is_named[edge_type[part][beyond]] != 0]
        if len(bad):
            return at + int(bad[0])
    return -1
