"""What settling reads from the names of threads; the readings themselves are tested on a real Node."""

from __future__ import annotations

import pytest

from pytest_memory.settle import _thread_of


@pytest.mark.parametrize(
    ("title", "thread"),
    [("[worker 3] resize 7", "3"), ("[worker 12]", "12"), ("Worker 3", "3"), ("", ""), ("resize 7", "")],
)
def test_a_thread_is_known_by_its_number(title: str, thread: str) -> None:
    assert _thread_of(title) == thread
