"""Stepping over one JSON value, whatever is in it.  Floor 1.

Apart from heap.bytescan, so that a first analysis does not wait for its compilation: what a snapshot has to be stepped
over is short, unless allocations were tracked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.jit import READ_ONLY_BYTES, kernel

_OPEN, _CLOSE, _BRACE_OPEN, _BRACE_CLOSE, _QUOTE, _BACKSLASH = 91, 93, 123, 125, 34, 92


@kernel(f"int64({READ_ONLY_BYTES}, int64, int64)")
def skip_value(text: NDArray[np.uint8], start: int, stop: int) -> int:
    """The position behind the object or array that begins at ``start``; -1 when the bytes end inside of it."""
    depth = 0
    at = start
    while at < stop:
        byte = text[at]
        if byte == _QUOTE:
            at += 1
            while at < stop and text[at] != _QUOTE:
                at += 2 if text[at] == _BACKSLASH else 1
        elif byte == _OPEN or byte == _BRACE_OPEN:  # noqa: SIM109 (numba knows no tuples of mixed integers)
            depth += 1
        elif byte == _CLOSE or byte == _BRACE_CLOSE:  # noqa: SIM109
            depth -= 1
        at += 1
        if depth == 0:
            return min(at, stop)
    return -1
