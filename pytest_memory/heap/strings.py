"""The string table of a snapshot: searched, and decoded one string at a time.  Floor 2: takes bytes, opens no file.

Knows how V8 writes a text in JSON; nothing of nodes and edges.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pytest_memory.errors import SnapshotFormatError
from pytest_memory.heap.sections import Buffer

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Bytes = NDArray[np.uint8]

_MAX_DIGITS = 18
_FIND_BLOCK = 1 << 16


class Strings:
    """The string table: located at once, decoded one at a time when asked for.

    A decoded string may hold lone surrogates: V8 cuts pairs in two.
    """

    def __init__(self, text: Buffer, view: Bytes, starts: Int64s, lengths: Int32s) -> None:
        self._text = text
        self.view = view
        self.starts = starts
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.starts)

    def raw(self, index: int) -> bytes:
        """The string as it stands in the file, escapes and all, without its quotes."""
        start = int(self.starts[index])
        return self._text[start : start + int(self.lengths[index])]

    def __getitem__(self, index: int) -> str:
        raw = self.raw(index)
        try:
            if b"\\" not in raw:
                return raw.decode("utf-8", "surrogatepass")
            return str(json.loads(b'"%b"' % raw))
        except ValueError as exc:
            start = int(self.starts[index])
            raise SnapshotFormatError(
                f"string {index} at byte {start:,} cannot be decoded: {exc}", byte_offset=start, field="strings"
            ) from exc

    def find(self, text: str) -> int:
        """The index of the first string equal to ``text``, or -1.  For plain ASCII without escapes."""
        wanted = text.encode("ascii")
        candidates = np.flatnonzero(self.lengths == len(wanted))
        # In blocks: most that are looked for come early, and the pages behind them stay unread.
        for first in range(0, len(candidates), _FIND_BLOCK):
            left = candidates[first : first + _FIND_BLOCK]
            for offset, byte in enumerate(wanted):
                left = left[self.view[self.starts[left] + offset] == byte]
            if len(left):
                return int(left[0])
        return -1

    def integers(self, indexes: Int32s) -> Int64s:
        """The numbers some strings are: V8 names internal slots "0", "1", …; -1 for other strings."""
        starts, lengths = self.starts[indexes], self.lengths[indexes]
        values = np.zeros(len(indexes), np.int64)
        is_number = (lengths > 0) & (lengths <= _MAX_DIGITS)
        for digit in range(int(lengths[is_number].max(initial=0))):
            inside = is_number & (digit < lengths)
            found = self.view[np.where(inside, starts + digit, 0)].astype(np.int64) - 48
            is_number &= ~inside | ((found >= 0) & (found <= 9))
            values = np.where(inside, values * 10 + found, values)
        return np.where(is_number, values, -1)

    def containing(self, part: str) -> Int64s:
        """Indexes of the strings that contain ``part``, ascending."""
        if not len(self):
            return np.empty(0, np.int64)
        found: set[int] = set()
        for needle in _spellings(part):
            found.update(self._holding(needle))
        return np.array([index for index in sorted(found) if self._contains(index, part)], np.int64)

    def _contains(self, index: int, part: str) -> bool:
        """Whether what was found in the bytes is in the text: an escape is spelt with letters and digits, too."""
        if b"\\" not in self.raw(index):
            return True
        text = self[index]
        return part in text or _as_v8_writes(part) in text

    def index_of_raw(self, raw: bytes) -> int:
        """The index of the first string written like this, escapes and all, or -1."""
        if not len(self):
            return -1
        first, stop = int(self.starts[0]) - 1, int(self.starts[-1]) + int(self.lengths[-1]) + 1
        at = self._text.find(b'"%b"' % raw, first, stop)
        while at >= 0:
            index = int(np.searchsorted(self.starts, at + 1))
            if index < len(self) and self.starts[index] == at + 1 and self.lengths[index] == len(raw):
                return index
            at = self._text.find(b'"%b"' % raw, at + 1, stop)
        return -1

    def _holding(self, needle: bytes) -> Iterator[int]:
        first, stop = int(self.starts[0]), int(self.starts[-1]) + int(self.lengths[-1])
        at = self._text.find(needle, first, stop)
        while at >= 0:
            index = int(np.searchsorted(self.starts, at, side="right")) - 1
            end = int(self.starts[index]) + int(self.lengths[index])
            if at + len(needle) <= end:
                yield index
                at = end  # one hit a string is enough
            at = self._text.find(needle, at + 1, stop)


def _spellings(part: str) -> set[bytes]:
    """How a text may stand in a snapshot: V8 writes ``\\uXXXX`` in capitals; who saves one again, small or as UTF-8."""
    plain = json.dumps(part, ensure_ascii=False)[1:-1]
    spellings = {plain.encode("utf-8", "surrogatepass")}
    for text in (part, _as_v8_writes(part)):
        quoted = [json.dumps(char)[1:-1] for char in text]
        capitals = [one.upper().replace("\\U", "\\u") if one.startswith("\\u") else one for one in quoted]
        spellings |= {"".join(capitals).encode(), "".join(quoted).encode()}
    return spellings


def _as_v8_writes(part: str) -> str:
    """Of a character beyond U+FFFF V8 writes the lower 16 bits: 😀, U+1F600, is ``\\uF600`` in every snapshot."""
    return "".join(chr(ord(char) & 0xFFFF) for char in part)
