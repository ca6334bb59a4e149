"""The smallest kernel there is: whether it had to be compiled tells whether the cache is cold.  Floor 1.

Everything an analysis needs takes seconds to compile; this takes a fraction of one, so that the work can be shared with
another process before it begins.
"""

from __future__ import annotations

from pytest_memory.heap.jit import kernel


@kernel("int64(int64)")
def same(value: int) -> int:
    """What it is given."""
    return value
