"""The names V8 gives the two edges of a WeakMap entry, taken apart.  Floor 1.

An entry keeps its value alive as long as both its key and its table live.  V8 writes an edge to the value from
each of them, both called ``N / part of key (K @1) -> value (V @2) pair in WeakMap (table @3)`` with different
numbers N.  Not a judge of what such an edge means: that is heap.graph.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.jit import READ_ONLY_BYTES, kernel

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Bytes = NDArray[np.uint8]

_BEGINNING = np.frombuffer(b" / part of key (", dtype=np.uint8)
_MIDDLE = np.frombuffer(b" pair in WeakMap (table @", dtype=np.uint8)
_AT_ONCE = 1 << 18  # edges: what is found on the way stays in the processor's cache


@kernel(
    f"int64({READ_ONLY_BYTES}, int64[::1], int32[::1], {READ_ONLY_BYTES}, {READ_ONLY_BYTES}, int32[::1], int64[:, ::1])"
)
def _find_entries(
    text: Bytes, starts: Int64s, lengths: Int32s, beginning: Bytes, middle: Bytes, index: Int32s, parts: Int64s
) -> int:
    """Fill ``index`` with the strings that are names of entries, and ``parts`` (rows of 2) with their table's id
    and a hash of all that both names of one entry share.  Returns how many there are; stops when full."""
    count = 0
    for string in range(starts.shape[0]):
        length = lengths[string]
        first = starts[string]
        last = first + length - 1
        if length < 60 or text[last] != 41:
            continue
        rest = first
        while text[rest] ^ 48 <= 9:  # a digit, and only a digit
            rest += 1
        same = True
        for offset in range(beginning.shape[0]):
            same = same and text[rest + offset] == beginning[offset]
        at = last - 1
        table = 0
        scale = 1
        while text[at] ^ 48 <= 9 and scale < 10**17:
            table += scale * (text[at] ^ 48)
            scale *= 10
            at -= 1
        at -= middle.shape[0] - 1
        if rest == first or not same or at < rest:
            continue
        for offset in range(middle.shape[0]):
            same = same and text[at + offset] == middle[offset]
        if not same:
            continue
        if count >= index.shape[0]:
            return count + 1
        shared = np.uint64(0xCBF29CE484222325)
        for at in range(rest, last):
            shared = (shared ^ np.uint64(text[at])) * np.uint64(0x100000001B3)
        index[count] = string
        parts[count, 0] = table
        parts[count, 1] = np.int64(shared)
        count += 1
    return count


def find_entries(text: Bytes, starts: Int64s, lengths: Int32s) -> tuple[Int32s, Int64s]:
    """The strings that name WeakMap entries: their indexes, and rows of (table id, hash shared by the pair)."""
    room = 4096
    while True:
        index, parts = np.empty(room, np.int32), np.empty((room, 2), np.int64)
        count = _find_entries(text, starts, lengths, _BEGINNING, _MIDDLE, index, parts)
        if count <= room:
            return index[:count], parts[:count]
        room *= 16


def find_edges(edge_type: Bytes, edge_name: Int32s, wanted_type: int, entry_of: Int32s) -> Int32s:
    """The edges of one type whose name ``entry_of`` (by string, -1 for none) knows, ascending.

    The names of entries stand together: what lies between the first and the last of them is looked at closely."""
    known = np.flatnonzero(entry_of >= 0)
    found = [np.empty(0, np.int64)]
    if len(known):
        first, span = np.int32(known[0]), np.uint32(known[-1] - known[0])
        for at in range(0, len(edge_name), _AT_ONCE):
            part = slice(at, at + _AT_ONCE)
            name = edge_name[part]
            edges = np.flatnonzero((name - first).view(np.uint32) <= span)  # modulo 2^32: others are beyond
            edges = edges[entry_of[name[edges]] >= 0]
            found.append(edges[edge_type[part][edges] == wanted_type] + at)
    return np.concatenate(found).astype(np.int32)
