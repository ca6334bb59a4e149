"""The last of the dominators where single steps lead too far: what hangs on the nodes of a long list.  Floor 1.

Apart from heap.kernels, so that a first analysis does not wait for its compilation: few heaps have such a list.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.jit import inlined, kernel

Int32s = NDArray[np.int32]


@inlined
def _place_jump(num: int, dominator: Int32s, link: Int32s) -> None:
    """``link[num]``: a node further up the dominator tree, and the depth, so that any node above is found in O(log n)
    (E. W. Myers, "An applicative random-access stack", 1983)."""
    above = dominator[num]
    jump = link[above, 0]
    twice = link[jump, 0]
    is_even = link[above, 1] - link[jump, 1] == link[jump, 1] - link[twice, 1]
    link[num, 0] = twice if is_even else above
    link[num, 1] = link[above, 1] + 1


@kernel("void(int32[::1], int32[:, ::1], int32[::1], int64)")
def finish_dominators(parent: Int32s, link: Int32s, dominator: Int32s, done: int) -> None:
    """Immediate dominators from number ``done`` on, where ``dominator`` has semidominators.

    ``parent`` and ``dominator`` are those of kernels.find_dominators.  Scratch: ``link`` (n, 2)."""
    link[0, 0] = 0
    link[0, 1] = 0
    for num in range(1, done):
        _place_jump(num, dominator, link)
    for num in range(done, parent.shape[0]):
        above = parent[num]
        semi = dominator[num]
        while above > semi:
            above = link[above, 0] if link[above, 0] > semi else dominator[above]
        dominator[num] = above
        _place_jump(num, dominator, link)
