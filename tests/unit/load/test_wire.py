"""Responses read whole, byte by byte and in any pieces; requests as bytes."""

from __future__ import annotations

import gzip
import zlib
from itertools import pairwise

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_memory.load.events import EventCounter
from pytest_memory.load.unpack import PIECE_BYTES, Unpacker
from pytest_memory.load.wire import (
    MAX_HEAD_BYTES,
    MAX_KEPT_BODY_BYTES,
    FullReader,
    ResponseReader,
    WireError,
    assemble,
    prepare,
)

# name → (method, bytes, ended by the connection's end, status, keep-alive, body)
RESPONSES: dict[str, tuple[str, bytes, bool, int, bool, bytes]] = {
    "length": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", False, 200, True, b"hello"),
    "empty": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False, 200, True, b""),
    "close": ("GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 2\r\n\r\nok", False, 200, False, b"ok"),
    "chunked": (
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
        False,
        200,
        True,
        b"hello world",
    ),
    "trailers": (
        "GET",
        b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 9\r\n\r\n",
        False,
        200,
        True,
        b"ab",
    ),
    "until the end": ("GET", b"HTTP/1.1 200 OK\r\n\r\nno length", True, 200, False, b"no length"),
    "until the end, said so": ("GET", b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nxy", True, 200, False, b"xy"),
    "http 1.0": ("GET", b"HTTP/1.0 200 OK\r\n\r\nold", True, 200, False, b"old"),
    "204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, True, b""),
    "304 with a length": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", False, 304, True, b""),
    "head": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", False, 200, True, b""),
    "head, chunked": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", False, 200, True, b""),
    "informational": (
        "POST",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
        False,
        201,
        True,
        b"ok",
    ),
    "informational, then close with a length": (
        "POST",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        False,
        200,
        False,
        b"hello",
    ),
    "informational, then until the end": (
        "GET",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest",
        True,
        200,
        False,
        b"rest",
    ),
    "a body that looks like a header": (
        "GET",
        b"HTTP/1.1 200 OK\r\n\r\n\r\ncontent-length: 5\r\n",
        True,
        200,
        False,
        b"",
    ),
}


def read(reader: ResponseReader, method: str, pieces: list[bytes], *, eof: bool) -> bool:
    reader.expect(method)
    complete = False
    for piece in pieces:
        assert not complete, "bytes are left after the response was complete"
        complete = reader.feed(piece)
    return reader.feed_eof() if eof else complete


def outcome(reader: ResponseReader, method: str, data: bytes) -> str:
    reader.expect(method)
    try:
        return "complete" if reader.feed(data) or reader.feed_eof() else "unfinished"
    except WireError as error:
        return error.kind


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % len(data) for place in places} - {0}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("kind", [ResponseReader, FullReader])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_response_is_read_in_pieces_of_any_size(name: str, kind: type[ResponseReader], size: int) -> None:
    method, data, eof, status, keep_alive, _ = RESPONSES[name]
    reader = kind()

    for _ in range(2 if keep_alive else 1):
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert read(reader, method, pieces, eof=eof)
        assert (reader.status, reader.keep_alive) == (status, keep_alive)


@given(name=st.sampled_from(sorted(RESPONSES)), places=st.lists(st.integers(0, 1000), max_size=12))
@example(name="informational", places=[25])
def test_random_splits_change_nothing(name: str, places: list[int]) -> None:
    method, data, eof, status, keep_alive, body = RESPONSES[name]
    reader = FullReader()

    assert read(reader, method, cut(data, places), eof=eof)
    assert (reader.status, reader.keep_alive) == (status, keep_alive)
    if body:
        assert reader.body() == body


@pytest.mark.parametrize("name", [name for name, row in RESPONSES.items() if not row[2]])
def test_every_truncation_is_noticed(name: str) -> None:
    method, data, _, _, _, _ = RESPONSES[name]

    for end in range(len(data)):
        reader = ResponseReader()
        reader.expect(method)
        assert not (end and reader.feed(data[:end]))
        assert not reader.feed_eof(), f"cut at {end}"
        assert reader.started is (end > 0)


@given(
    name=st.sampled_from(sorted(name for name, row in RESPONSES.items() if not row[2])),
    end=st.integers(1, 1000),
    places=st.lists(st.integers(0, 1000), max_size=6),
)
@example(name="informational, then close with a length", end=103, places=[16])
def test_every_truncation_is_noticed_in_pieces(name: str, end: int, places: list[int]) -> None:
    method, data, _, _, _, _ = RESPONSES[name]
    reader = ResponseReader()

    assert not read(reader, method, cut(data[: end % len(data) or 1], places), eof=True)
    assert reader.started


@given(st.binary(min_size=1, max_size=200))
def test_garbage_is_an_error_or_unfinished_but_nothing_else(data: bytes) -> None:
    assert outcome(FullReader(), "GET", data) in ("unfinished", "complete", "malformed", "head-too-large")


@given(st.sampled_from(sorted(RESPONSES)), st.integers(0, 10_000), st.integers(0, 255))
def test_a_flipped_byte_never_breaks_the_reader(name: str, place: int, value: int) -> None:
    method, data, _, _, _, _ = RESPONSES[name]
    broken = bytearray(data)
    broken[place % len(data)] = value
    assert outcome(ResponseReader(), method, bytes(broken)) in ("unfinished", "complete", "malformed")


def test_two_responses_for_one_request_are_malformed() -> None:
    data = RESPONSES["length"][1]
    with pytest.raises(WireError, match="unasked-for bytes"):
        ResponseReader().feed(data + b"more")
    reader = ResponseReader()
    reader.feed(data)
    with pytest.raises(WireError, match="unasked-for bytes"):
        reader.feed(b"x")


@pytest.mark.parametrize("piece_bytes", [1000, MAX_HEAD_BYTES // 2 + 1])
def test_an_endless_head_is_an_error(piece_bytes: int) -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nx: ")
    with pytest.raises(WireError) as caught:
        for _ in range(MAX_HEAD_BYTES // piece_bytes + 2):
            reader.feed(b"y" * piece_bytes)
    assert caught.value.kind == "head-too-large"


def test_an_upgrade_ends_the_response() -> None:
    reader = ResponseReader()
    assert reader.feed(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00")
    assert (reader.status, reader.keep_alive) == (101, False)


def test_a_large_body_is_read_but_not_kept() -> None:
    reader = FullReader()
    length = MAX_KEPT_BODY_BYTES * 2
    reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length)
    piece = b"x" * (1 << 20)
    assert [reader.feed(piece) for _ in range(length >> 20)][-1]
    assert sum(map(len, reader.body_parts)) <= MAX_KEPT_BODY_BYTES + len(piece)
    with pytest.raises(WireError, match="not looked into"):
        reader.body()


def deflate_raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"plain", mtime=0)),
        ("deflate", zlib.compress(b"plain")),
        ("deflate", deflate_raw(b"plain")),
    ],
)
def test_compressed_bodies_are_undone(encoding: str, body: bytes) -> None:
    reader = FullReader()
    reader.feed(
        f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    assert reader.body() == b"plain"
    assert reader.header("CONTENT-ENCODING") == encoding


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_a_body_that_is_not_what_it_says_is_an_error(encoding: str) -> None:
    reader = FullReader()
    reader.feed(f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 3\r\n\r\nabc".encode())
    with pytest.raises(WireError) as caught:
        reader.body()
    assert caught.value.kind == "content-encoding"


def test_a_compressed_bomb_is_not_blown_up() -> None:
    body = gzip.compress(b"0" * (MAX_KEPT_BODY_BYTES + 1))
    reader = FullReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    with pytest.raises(WireError) as caught:
        reader.body()
    assert caught.value.kind == "body-too-large"


STREAM = b"event: a\ndata: 1\n\ndata: 2\r\n\r\n: comment\rdata: 3\r\rdata: 4\n\n"


@given(places=st.lists(st.integers(0, 1000), max_size=10))
def test_events_of_a_stream_are_counted_across_pieces(places: list[int]) -> None:
    reader = FullReader()
    reader.expect("GET", keep_body=False, count_events=True)
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    for piece in cut(STREAM, places):
        reader.feed(piece)
    assert reader.events == 4
    assert reader.answering
    assert reader.body_parts == []


def gzip_in_two(data: bytes) -> bytes:
    return gzip.compress(data[:20], mtime=0) + gzip.compress(data[20:], mtime=0) + b"\0\0\0"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(STREAM, mtime=0)),
        ("x-gzip", gzip_in_two(STREAM)),
        ("deflate", zlib.compress(STREAM)),
        ("deflate", deflate_raw(STREAM)),
        ("identity", STREAM),
    ],
)
@given(places=st.lists(st.integers(0, 1000), max_size=10))
def test_events_of_a_compressed_stream_are_counted(encoding: str, body: bytes, places: list[int]) -> None:
    reader = FullReader()
    reader.expect("GET", keep_body=False, count_events=True)
    reader.feed(f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n\r\n".encode())
    for piece in cut(body, places):
        reader.feed(piece)
    assert reader.events == 4


def test_an_event_counts_when_the_server_has_flushed_it() -> None:
    packer = zlib.compressobj(wbits=31)
    reader = FullReader()
    reader.expect("GET", keep_body=False, count_events=True)
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
    for number in range(1, 4):
        reader.feed(packer.compress(b"data: %d\n\n" % number) + packer.flush(zlib.Z_SYNC_FLUSH))
        assert reader.events == number


def test_a_compressed_stream_is_unpacked_bit_by_bit() -> None:
    body = gzip.compress(b"data: 1\n\n" + b"0" * 4_000_000 + b"\n\n" + b"data: 2\n\n" * 20_000, mtime=0)
    pieces = list(Unpacker("gzip").feed(body))
    assert max(map(len, pieces)) <= PIECE_BYTES
    counter = EventCounter()
    for piece in pieces:
        counter.feed(piece)
    assert counter.count == 20_001


@pytest.mark.parametrize(
    ("status", "encoding", "what"),
    [
        (200, "br", "content-encoding is 'br'"),
        (200, "gzip", "compressed stream is broken"),
        (404, "br", None),
        (500, "gzip", None),
    ],
)
@pytest.mark.parametrize("count_events", [True, False])
def test_a_stream_that_cannot_be_read_says_why(
    status: int, encoding: str, what: str | None, count_events: bool
) -> None:
    reader = FullReader()
    reader.expect("GET", keep_body=False, count_events=count_events)
    answer = f"HTTP/1.1 {status} X\r\nContent-Encoding: {encoding}\r\nContent-Length: 3\r\n\r\nabc".encode()
    if what is None or not count_events:
        assert reader.feed(answer)
        return
    with pytest.raises(WireError, match=what) as caught:
        reader.feed(answer)
    assert caught.value.kind == "content-encoding"


# --- requests -----------------------------------------------------------------------------------------------------


def test_a_request_becomes_bytes() -> None:
    request = httpx.Request(
        "POST",
        "http://h:81/a b?q=1#frag",
        headers={"X-A": "1", "Connection": "upgrade"},
        cookies={"c": "2"},
        json={"a": 1},
    )
    prepared = prepare(request)

    assert prepared.head == (b"POST /a%20b?q=1 HTTP/1.1\r\nHost: h:81\r\nX-A: 1\r\nContent-Type: application/json\r\n")
    assert (prepared.cookie, prepared.body) == (b"c=2", b'{"a":1}')
    whole = assemble(prepared.method, prepared.head, prepared.cookie, prepared.body)
    assert whole.endswith(b'cookie: c=2\r\ncontent-length: 7\r\n\r\n{"a":1}')


def test_a_connection_of_its_own_is_asked_for() -> None:
    assert prepare(httpx.Request("GET", "http://h/"), keep_alive=False).head.endswith(b"\r\nconnection: close\r\n")


@pytest.mark.parametrize(("method", "expected"), [("GET", False), ("HEAD", False), ("POST", True), ("PATCH", True)])
def test_a_length_is_announced_when_a_body_is_expected(method: str, expected: bool) -> None:
    prepared = prepare(httpx.Request(method, "http://h/"))
    whole = assemble(prepared.method, prepared.head, b"", b"")
    assert (b"content-length: 0\r\n" in whole) is expected
    assert whole.count(b"\r\n\r\n") == 1


def test_line_breaks_do_not_get_into_the_head() -> None:
    request = httpx.Request("GET", "http://h/", headers={"x": "a\r\nInjected: 1"})
    with pytest.raises(ValueError, match="line break"):
        prepare(request)
