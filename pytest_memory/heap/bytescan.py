"""Reading JSON's bytes at memory speed: runs of integers, string tables.  Floor 1.

Knows nothing of V8.  Every scanner takes the bytes, where to start and where to stop, never reads outside of
them, and answers ``(…, position, status)``: on trouble ``position`` is the byte that broke the rules.

One byte at a time on purpose: reading eight digits at once in a 64-bit word was measured at half the speed
(0.34 s against 0.19 s for 300 MB of edges), because branch prediction likes the regular shape of snapshots.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.jit import READ_ONLY_BYTES, inlined, kernel

Bytes = NDArray[np.uint8]

DONE = 0
"""The value ended where it should: at its closing bracket, or at ``stop`` behind a comma."""
FULL = 1
"""The output is full; call again from ``position``."""
CUT = 2
"""The bytes end inside the value."""
NOT_A_NUMBER = 3
"""Something else than an integer stands where one should be."""
TOO_LARGE = 4
"""More than 18 digits: no size, id or index of a heap is that large."""
NOT_A_SEPARATOR = 5
"""After an item comes neither a comma nor the closing bracket."""
NOT_A_STRING = 6
"""Something else than a string stands where one should be, or a control character stands inside of one."""

_COMMA, _CLOSE, _QUOTE, _BACKSLASH, _MINUS = 44, 93, 34, 92, 45
_ZERO = 48
"""A byte ^ 48 is at most 9 if it is a digit, and only then."""
_SPACES = 1 << 32 | 1 << 13 | 1 << 10 | 1 << 9
_FIRST_PRINTABLE = 32
_COUNTED_AT_ONCE = 1 << 18
_MAX_DIGITS = 18


@inlined
def _skip_space(text: Any, at: Any, stop: Any) -> Any:
    while at < stop and text[at] <= 32 and _SPACES >> text[at] & 1:
        at += 1
    return at


@kernel(f"UniTuple(int64, 3)({READ_ONLY_BYTES}, int64, int64, int64[::1])")
def parse_integers(text: Bytes, start: int, stop: int, out: NDArray[np.int64]) -> tuple[int, int, int]:
    """Read integers separated by commas and white space from ``text[start:stop]`` into ``out``.

    Starts before a number.  Ends at a closing bracket (position just behind it), at ``stop`` behind a comma, or
    when ``out`` is full (position before the next number).  Returns (numbers, position, status).
    """
    at = start
    count = 0
    sign = 1
    while count < out.shape[0]:
        first = at
        value = 0
        while at < stop:
            digit = text[at] ^ _ZERO
            if digit > 9:
                break
            value = value * 10 + digit
            at += 1
        if at == first:
            if sign > 0:  # white space first, then perhaps a sign, and behind that a digit
                at = _skip_space(text, at, stop)
                if at > first:
                    continue
                if at < stop and text[at] == _MINUS:
                    sign = -1
                    at += 1
                    continue
            status = CUT if at >= stop else NOT_A_NUMBER
            return count, at if sign > 0 else at - 1, status
        if at - first > _MAX_DIGITS:
            return count, first, TOO_LARGE
        if at < stop and text[at] <= 32:
            at = _skip_space(text, at, stop)
        if at >= stop:
            return count, at, CUT
        separator = text[at]
        if separator != _COMMA and separator != _CLOSE:
            return count, at, NOT_A_SEPARATOR
        out[count] = value * sign
        sign = 1
        count += 1
        at += 1
        if separator != _COMMA or at >= stop:
            return count, at, DONE
    return count, at, FULL


def count_commas(text: Bytes, start: int, stop: int) -> tuple[int, int]:
    """Count commas up to the first closing bracket.  Returns (commas, position of the bracket or -1).

    Numpy in pieces, which takes less time than a kernel: nothing else among numbers is as large as a bracket.
    """
    total = 0
    is_comma = np.empty(min(_COUNTED_AT_ONCE, max(stop - start, 0)), np.bool_)
    for at in range(start, stop, _COUNTED_AT_ONCE):
        part = text[at : min(at + _COUNTED_AT_ONCE, stop)]
        commas = np.equal(part, _COMMA, out=is_comma[: len(part)])
        if part.max() >= _CLOSE:
            closing = np.flatnonzero(part == _CLOSE)
            if len(closing):
                return total + int(np.count_nonzero(commas[: closing[0]])), at + int(closing[0])
        total += int(np.count_nonzero(commas))
    return total, -1


@kernel(f"UniTuple(int64, 3)({READ_ONLY_BYTES}, int64, int64, int64[::1], int32[::1])")
def locate_strings(
    text: Bytes, start: int, stop: int, starts: NDArray[np.int64], lengths: NDArray[np.int32]
) -> tuple[int, int, int]:
    """Find the strings of a JSON array without decoding them: byte behind the quote, and length in bytes.

    Starts before a string.  Ends at the closing bracket (position just behind it) or when the outputs are full
    (position before the next string).  Returns (strings, position, status).
    """
    at = start
    count = 0
    capacity = starts.shape[0]
    while count < capacity:
        at = _skip_space(text, at, stop)
        if at >= stop:
            return count, at, CUT
        if text[at] != _QUOTE:
            return count, at, NOT_A_STRING
        at += 1
        first = at
        while at < stop and text[at] != _QUOTE:
            if text[at] < _FIRST_PRINTABLE:
                return count, at, NOT_A_STRING
            at += 2 if text[at] == _BACKSLASH else 1
        if at >= stop:
            return count, stop, CUT
        if at - first > 2**31 - 1:
            return count, first, TOO_LARGE
        starts[count] = first
        lengths[count] = at - first
        count += 1
        at = _skip_space(text, at + 1, stop)
        if at >= stop:
            return count, at, CUT
        if text[at] == _CLOSE:
            return count, at + 1, DONE
        if text[at] != _COMMA:
            return count, at, NOT_A_SEPARATOR
        at += 1
    return count, at, FULL
