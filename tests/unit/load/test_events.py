"""Server-sent events, counted in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.load.events import MAX_KEPT_LINE_BYTES, EventCounter

CONNECTED = b"event: connected\ndata: {}\n\n\n"


def count(stream: bytes, *, trpc: bool = False, size: int | None = None) -> EventCounter:
    counter = EventCounter(trpc=trpc)
    step = size or len(stream)
    for start in range(0, len(stream), step):
        counter.feed(stream[start : start + step])
    return counter


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: 1\n\n", 1),
        (b"data\n\n", 1),
        (b"data:1\r\rdata:2\r\n\r\n", 2),
        (b"data: 1\ndata: 2\n\n\n\n\n", 1),
        (b"data: 1\n", 0),
        (b": keep-alive\n\n", 0),
        (b"retry: 1000\n\nid: 7\n\n", 0),
        (b"event: x\n\ndata: 1\n\n", 1),
        (b"database: 1\n\n", 0),
        (b"event: ping\ndata:\n\n", 1),
        (b"event: serialized-error\ndata: {}\n\n", 1),
    ],
)
@pytest.mark.parametrize("size", [None, 1, 2, 3])
def test_an_event_is_a_block_with_data(stream: bytes, events: int, size: int | None) -> None:
    assert count(stream, size=size).count == events


@pytest.mark.parametrize(
    ("block", "events"),
    [
        (b"data: 0\n\n\n", 2),
        (b"data: 0\nid: 1\n\n\n", 2),
        (b"event: ping\ndata: \n\n\n", 1),
        (b"event: return\ndata: \n\n\n", 1),
        (b"event: restore-id\ndata: \nid: 1\n\n\n", 1),
    ],
)
def test_what_trpc_adds_is_no_event(block: bytes, events: int) -> None:
    counter = count(CONNECTED + block, trpc=True)
    assert (counter.count, counter.error) == (events, None)


@given(st.integers(1, 80))
def test_an_error_ends_a_stream_of_trpc(size: int) -> None:
    stream = CONNECTED + b'event: serialized-error\ndata: {"message":"boom"}\n\n\ndata: late\n\n\n'
    counter = count(stream, trpc=True, size=size)
    assert (counter.count, counter.error) == (1, b' {"message":"boom"}')


def test_an_endless_line_is_not_kept() -> None:
    counter = count(b"data: " + b"x" * (4 * MAX_KEPT_LINE_BYTES), size=MAX_KEPT_LINE_BYTES // 4)
    assert len(counter._rest) == MAX_KEPT_LINE_BYTES
    counter.feed(b"\n\n")
    assert counter.count == 1
