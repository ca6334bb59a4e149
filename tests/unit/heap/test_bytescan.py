"""Scanners of bytes against the json module, whole and cut anywhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.heap import bytescan, nesting

numbers = st.lists(st.integers(0, 10**18 - 1) | st.integers(-(10**18) + 1, -1), min_size=1, max_size=30)
spaces = st.sampled_from(["", " ", "\n", "\r\n\t "])


def parse(text: bytes, room: int = 100) -> tuple[list[int], int, int]:
    out = np.empty(room, np.int64)
    count, at, status = bytescan.parse_integers(np.frombuffer(text, np.uint8), 0, len(text), out)
    return out[:count].tolist(), at, status


@given(numbers, spaces, spaces)
def test_integers_read_as_json_reads_them(values: list[int], before: str, behind: str) -> None:
    text = (before + (behind + "," + before).join(map(str, values)) + behind + "]").encode()
    assert parse(text) == (values, len(text), bytescan.DONE)


@given(numbers, st.integers(1, 5))
def test_integers_read_in_pieces_are_the_same(values: list[int], room: int) -> None:
    text = (",".join(map(str, values)) + "]").encode()
    view, found, at = np.frombuffer(text, np.uint8), [], 0
    status = bytescan.FULL
    while status == bytescan.FULL:
        out = np.empty(room, np.int64)
        count, at, status = bytescan.parse_integers(view, at, len(text), out)
        found += out[:count].tolist()
    assert (found, at, status) == (values, len(text), bytescan.DONE)


@given(numbers)
def test_every_cut_is_noticed(values: list[int]) -> None:
    text = (",".join(map(str, values)) + "]").encode()
    for stop in range(len(text)):
        _, at, status = parse(text[:stop])
        behind_comma = text[stop - 1 : stop] == b","
        assert status == (bytescan.DONE if behind_comma else bytescan.CUT)
        assert at <= stop


@pytest.mark.parametrize(
    ("text", "at", "status"),
    [
        (b"", 0, bytescan.CUT),
        (b"]", 0, bytescan.NOT_A_NUMBER),
        (b",1]", 0, bytescan.NOT_A_NUMBER),
        (b"1,,2]", 2, bytescan.NOT_A_NUMBER),
        (b"1,-]", 2, bytescan.NOT_A_NUMBER),
        (b"1,--2]", 2, bytescan.NOT_A_NUMBER),
        (b"1,- 2]", 2, bytescan.NOT_A_NUMBER),
        (b"1,2-3]", 3, bytescan.NOT_A_SEPARATOR),
        (b"1,-1234567890123456789]", 3, bytescan.TOO_LARGE),
        (b"1.5,2]", 1, bytescan.NOT_A_SEPARATOR),
        (b"1e5]", 1, bytescan.NOT_A_SEPARATOR),
        (b"1 2]", 2, bytescan.NOT_A_SEPARATOR),
        (b'1,"2"]', 2, bytescan.NOT_A_NUMBER),
        (b"1,null]", 2, bytescan.NOT_A_NUMBER),
        (b"1,[2]]", 2, bytescan.NOT_A_NUMBER),
        (b"1,\x00]", 2, bytescan.NOT_A_NUMBER),
        (b"1234567890123456789,1]", 0, bytescan.TOO_LARGE),
        (b"1,99999999999999999999999999]", 2, bytescan.TOO_LARGE),
    ],
)
def test_what_is_no_integer_is_refused_at_its_byte(text: bytes, at: int, status: int) -> None:
    assert parse(text)[1:] == (at, status)


@given(st.binary(max_size=60))
def test_integers_of_garbage_never_leave_the_bytes(text: bytes) -> None:
    values, at, _ = parse(text)
    assert 0 <= at <= len(text)
    assert len(values) <= len(text)


def locate(text: bytes, room: int = 100) -> tuple[list[bytes], int, int]:
    starts, lengths = np.empty(room, np.int64), np.empty(room, np.int32)
    count, at, status = bytescan.locate_strings(np.frombuffer(text, np.uint8), 0, len(text), starts, lengths)
    return [text[s : s + n] for s, n in zip(starts[:count], lengths[:count])], at, status


@given(st.lists(st.text(max_size=8), min_size=1, max_size=10), st.booleans(), spaces)
def test_strings_are_located_where_json_has_them(values: list[str], ascii_only: bool, space: str) -> None:
    text = json.dumps(values, ensure_ascii=ascii_only, separators=(space + "," + space, ":")).encode(
        "utf-8", "surrogatepass"
    )
    found, at, status = locate(text[1:])
    assert (at, status) == (len(text) - 1, bytescan.DONE)
    assert [json.loads(b'"%b"' % raw) for raw in found] == values


@given(st.lists(st.text(max_size=6), min_size=1, max_size=6))
def test_every_cut_string_table_is_noticed(values: list[str]) -> None:
    text = json.dumps(values).encode()[1:]
    for stop in range(len(text)):
        assert locate(text[:stop])[2] == bytescan.CUT


@pytest.mark.parametrize(
    ("text", "at", "status"),
    [
        (b"]", 0, bytescan.NOT_A_STRING),
        (b'"a",]', 4, bytescan.NOT_A_STRING),
        (b'"a" "b"]', 4, bytescan.NOT_A_SEPARATOR),
        (b'"a",1]', 4, bytescan.NOT_A_STRING),
        (b'"a\nb"]', 2, bytescan.NOT_A_STRING),
        (b'"a\\', 3, bytescan.CUT),
    ],
)
def test_what_is_no_string_table_is_refused(text: bytes, at: int, status: int) -> None:
    assert locate(text)[1:] == (at, status)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=3) | st.dictionaries(st.text(max_size=3), json_values, max_size=3))
def test_values_are_stepped_over_whole(value: object) -> None:
    text = json.dumps(value).encode()
    view = np.frombuffer(text + b",1", np.uint8)
    assert nesting.skip_value(view, 0, len(view)) == len(text)
    for stop in range(len(text)):
        assert nesting.skip_value(view, 0, stop) == -1
