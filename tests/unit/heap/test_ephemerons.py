"""Edges of WeakMap entries, found among all the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.heap import ephemerons

INDEXES = st.integers(0, 9) | st.sampled_from([-(2**31), -1, 2**31 - 1])  # hidden edges and elements have any


@given(st.lists(st.tuples(st.integers(0, 3), INDEXES), max_size=40), st.sets(st.integers(0, 9)))
def test_edges_of_entries_are_those_of_one_type_with_a_known_name(
    edges: list[tuple[int, int]], known: set[int]
) -> None:
    entry_of = np.array([5 if string in known else -1 for string in range(10)], np.int32)
    types = np.array([kind for kind, _name in edges], np.uint8)
    # A name of that type is a string of the table: heap.snapshot has seen to it.
    names = np.array([name % 10 if kind == 3 else name for kind, name in edges], np.int32)
    expected = [at for at, (kind, name) in enumerate(zip(types, names)) if kind == 3 and int(name) in known]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ephemerons, "_AT_ONCE", 7)
        assert ephemerons.find_edges(types, names, 3, entry_of).tolist() == expected
