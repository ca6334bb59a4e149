"""Where the parts of a JSON document lie, and its arrays of numbers read in stretches.  Floor 1.

Takes bytes, opens no file.  Knows that a heap snapshot is one JSON object with a ``"snapshot"`` header, long flat
arrays of integers and a table of strings; what the numbers mean is heap.snapshot's business.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from pytest_memory.errors import SnapshotFormatError
from pytest_memory.heap import bytescan

Int64s = NDArray[np.int64]

Release = Callable[[int, int], None]
"""Told that bytes start..stop of the file are not needed for now: mapped pages can be given back."""

Progress = Callable[[str, float], None]
"""Told what is being done, as it begins, and how much of it is done, 0 to 1."""

_STRETCH_BYTES = 8 << 20  # long enough to keep two threads busy for milliseconds, short enough to bound what is mapped
_MAX_AHEAD = 8
_ROWS_PER_BLOCK = 4096
_SHORT_VALUE = 1 << 14
_JSON = json.JSONDecoder()
_COMMA, _BRACE = 44, 125
_SPACE = re.compile(rb"[ \t\r\n]*")
_KEY = re.compile(rb'[ \t\r\n]*"([^"\\]{0,64})"[ \t\r\n]*:[ \t\r\n]*')

_WHAT_IS_WRONG = {
    bytescan.CUT: ("snapshot-truncated", "ends inside"),
    bytescan.NOT_A_NUMBER: ("snapshot-format", "has something else than an integer in"),
    bytescan.TOO_LARGE: ("snapshot-format", "has an impossibly large number in"),
    bytescan.NOT_A_SEPARATOR: ("snapshot-format", "lacks a comma or closing bracket in"),
    bytescan.NOT_A_STRING: ("snapshot-format", "has something else than a string in"),
}


def ignore_progress(_what: str, _share: float) -> None:
    pass


class Buffer(Protocol):
    """Bytes that can be searched: bytes, bytearray or a memory-mapped file."""

    def find(self, what: bytes, start: int = ..., stop: int = ..., /) -> int: ...
    def rfind(self, what: bytes, start: int = ..., stop: int = ..., /) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


class Sink(Protocol):
    """Takes rows of numbers: ``store`` answers -1, or the position (row times width plus field) of a bad value."""

    def store(self, rows: Int64s, count: int, at: int) -> int: ...
    def explain(self, field: int, value: int) -> str: ...


@dataclass(frozen=True, slots=True)
class Section:
    """A value of the document: ``start`` at its first byte, ``stop`` behind its last (-1: not known yet).

    ``commas``: of a flat array, how many there are in each stretch of _STRETCH_BYTES behind the opening bracket.
    """

    key: str
    start: int
    stop: int
    commas: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Stretch:
    """Whole rows of a number array, ending behind a comma or behind the closing bracket."""

    start: int
    stop: int
    first_row: int
    last_row: int
    """Behind the last."""


class SectionReader:
    """One document.  ``name`` is what errors call it; long arrays are scanned and read on the pool's threads."""

    def __init__(self, text: Buffer, name: str, pool: Executor, release: Release) -> None:
        self.text = text
        self.name = name
        self._pool = pool
        self._release = release
        self.size = len(text)
        self.view = np.frombuffer(text, dtype=np.uint8) if self.size else np.empty(0, np.uint8)  # type: ignore[call-overload]

    def fail(self, status: int, at: int, field: str, detail: str = "") -> NoReturn:
        """Raise for a scanner's status at a byte."""
        slug, what = _WHAT_IS_WRONG[status]
        if status == bytescan.CUT:
            hint = "the file is cut short or still being written: take the snapshot again, or wait for it to finish"
        else:
            hint = None
        found = "" if status == bytescan.CUT else f": found {self.excerpt(at)!r}"
        raise SnapshotFormatError(
            f"{self.name!r} {what} {field!r} at byte {at:,}{found}{detail}",
            slug=slug,
            hint=hint,
            byte_offset=at,
            field=field,
        )

    def excerpt(self, at: int) -> str:
        return bytes(self.text[at : at + 20]).decode("ascii", "backslashreplace")

    # --- where things are ---------------------------------------------------------------------------------

    def find_sections(self) -> dict[str, Section]:
        """The values of the document by key, up to and including ``"strings"``, whose end is not looked for."""
        at = self._document_start()
        sections: dict[str, Section] = {}
        while True:
            section = self._section_at(at, sections)
            sections[section.key] = section
            if section.key == "strings":
                for key in ("snapshot", "nodes", "edges"):
                    if key not in sections:
                        self._fail_missing(key, section.start)
                return sections
            at = self.skip_space(section.stop)
            if at >= self.size:
                self.fail(bytescan.CUT, self.size, section.key)
            if self.view[at] != _COMMA:
                self.fail(bytescan.NOT_A_SEPARATOR, at, section.key, '; expected a comma, "strings" has not come yet')
            at += 1

    def check_tail(self, at: int, sections: dict[str, Section]) -> None:
        """After the strings: perhaps sections of a newer V8, none of them there before, then the document's end."""
        known = dict(sections)
        while True:
            at = self.skip_space(at)
            if at >= self.size:
                self.fail(bytescan.CUT, self.size, "strings", "; expected the closing brace of the document")
            if self.view[at] != _COMMA:
                break
            section = self._section_at(at + 1, known)
            known[section.key] = section
            at = section.stop
        end = self.skip_space(at + 1)
        if self.view[at] != _BRACE or end < self.size:
            bad = end if self.view[at] == _BRACE else at
            self.fail(bytescan.NOT_A_SEPARATOR, bad, "strings", "; expected the end of the document")

    def _fail_missing(self, key: str, at: int) -> NoReturn:
        raise SnapshotFormatError(
            f"{self.name!r} has no {key!r} before its strings at byte {at:,}",
            byte_offset=at,
            field=key,
            hint="V8 writes snapshot, nodes, edges and strings in this order",
        )

    def skip_space(self, at: int) -> int:
        match = _SPACE.match(self.text, at)  # type: ignore[call-overload]
        return match.end() if match else at

    def _document_start(self) -> int:
        head = bytes(self.text[:512])
        if not head:
            raise SnapshotFormatError(
                f"{self.name!r} is empty",
                slug="snapshot-truncated",
                byte_offset=0,
                field="snapshot",
                hint="the snapshot is still being written, or writing it failed",
            )
        match = _SPACE.match(head)
        start = match.end() if match else 0
        if head[start : start + 1] == b"{" and (
            head[start + 1 :].lstrip().startswith(b'"snapshot"') or len(head[start:]) < 12
        ):
            return start + 1
        raise SnapshotFormatError(
            f"{self.name!r} is no heap snapshot: it begins with {self.excerpt(start)!r}; "
            'expected \'{"snapshot":{"meta":…\'',
            slug="snapshot-not-a-snapshot",
            byte_offset=start,
            field="snapshot",
            hint=_guess_what(head[start:]),
        )

    def _section_at(self, at: int, known: dict[str, Section]) -> Section:
        """The section whose key begins at ``at``."""
        head = bytes(self.text[at : at + 128])
        match = _KEY.match(head)
        if match is None or match.end() == len(head):
            last = next(reversed(known), "strings")
            if at + 128 >= self.size:
                missing = ", ".join(key for key in ("snapshot", "nodes", "edges", "strings") if key not in known)
                self.fail(bytescan.CUT, self.size, last, f"; {missing or 'another section'} did not follow")
            self.fail(bytescan.NOT_A_SEPARATOR, at, last, "; expected the next section")
        key = match[1].decode("utf-8", "backslashreplace")
        start = at + match.end()
        if key in known:
            self.fail(bytescan.NOT_A_SEPARATOR, at, key, "; this section was there before")
        if key == "strings":
            return Section(key, start, -1)
        if self.text[start : start + 1] == b"[" and key in ("nodes", "edges", "locations", "samples"):
            return self._flat_array(key, start)
        return Section(key, start, self._end_of(key, start))

    def _flat_array(self, key: str, start: int) -> Section:
        """Look for the end of an array without strings and nested arrays, counting its commas on the way.

        Several stretches are looked at ahead, twice as many each time: most arrays end in the first.
        """
        counts: list[int] = []
        first, ahead = start + 1, 1
        while True:
            if first >= self.size:
                self.fail(bytescan.CUT, self.size, key, f"; the array has no end, {sum(counts):,} numbers are there")
            cuts = [min(first + at * _STRETCH_BYTES, self.size) for at in range(ahead + 1)]
            for commas, end in self._pool.map(self._count_commas, cuts, cuts[1:]):
                counts.append(commas)
                if end >= 0:
                    return Section(key, start, end + 1, tuple(counts))
            first, ahead = cuts[-1], min(2 * ahead, _MAX_AHEAD)

    def _count_commas(self, start: int, stop: int) -> tuple[int, int]:
        found = bytescan.count_commas(self.view, start, stop)
        self._release(start, stop)
        return found

    def _end_of(self, key: str, start: int) -> int:
        opening = self.text[start : start + 1]
        if opening not in (b"[", b"{"):
            self.fail(bytescan.NOT_A_SEPARATOR, start, key, "; expected an array or an object")
        with contextlib.suppress(ValueError, RecursionError):  # a short one, without compiling a kernel
            head = bytes(self.text[start : start + _SHORT_VALUE]).decode("latin-1")  # a character for each byte
            return start + _JSON.raw_decode(head)[1]
        from pytest_memory.heap import nesting

        stop = nesting.skip_value(self.view, start, self.size)
        if stop < 0:
            self.fail(bytescan.CUT, self.size, key)
        return stop

    # --- numbers --------------------------------------------------------------------------------------------

    def read_numbers(
        self, section: Section, width: int, row_count: int, sink: Sink, progress: Progress = ignore_progress
    ) -> None:
        """Read ``row_count`` rows of ``width`` numbers into ``sink``, in stretches on the pool's threads."""
        progress(section.key, 0.0)
        self._check_count(section, self.count_numbers(section), width, row_count)
        if not row_count:
            return
        stretches = self._plan(section, width, row_count)
        tasks = [self._pool.submit(self._read_stretch, section.key, part, width, sink) for part in stretches]
        failures = []
        for task, part in zip(tasks, stretches):
            try:
                task.result()
            except SnapshotFormatError as exc:
                failures.append(exc)
            self._release(part.start, part.stop)
            progress(section.key, (part.stop - section.start) / (section.stop - section.start))
        if failures:
            raise failures[0]

    def _plan(self, section: Section, width: int, row_count: int) -> list[Stretch]:
        """Cut an array at row borders, which follow from the commas before them."""
        first = self.skip_space(section.start + 1)
        stops = [*range(section.start + 1, section.stop, _STRETCH_BYTES)[1:], section.stop]
        stretches = []
        start, first_row, seen = first, 0, 0
        for cut, commas in zip(stops, section.commas):
            seen += commas
            stop, row = cut, row_count
            if cut < section.stop:
                # seen commas stand before the cut; the border is behind the comma that completes a row
                missing = -seen % width
                row = (seen + missing) // width
                if row == first_row:
                    continue
                if row < row_count:
                    stop = self._last_comma(cut, section) + 1
                    for _ in range(missing):
                        stop = self.text.find(b",", stop, section.stop) + 1
                else:
                    stop = section.stop
            stretches.append(Stretch(start, stop, first_row, row))
            start, first_row = stop, row
            if row == row_count:
                break
        return stretches

    def _last_comma(self, before: int, section: Section) -> int:
        """The last comma of the stretch that ends at ``before``, where one was counted."""
        at = self.text.rfind(b",", max(section.start, before - _STRETCH_BYTES), before)
        if at < 0:
            self.fail(bytescan.NOT_A_SEPARATOR, before - 1, section.key, "; a comma was counted before it")
        return at

    def count_numbers(self, section: Section) -> int:
        """How many numbers a flat array has."""
        if self.text[section.start : section.start + 1] != b"[":
            self.fail(bytescan.NOT_A_SEPARATOR, section.start, section.key, "; expected an array of numbers")
        empty = self.skip_space(section.start + 1) == section.stop - 1
        return 0 if empty else sum(section.commas) + 1

    def _check_count(self, section: Section, found: int, width: int, row_count: int) -> None:
        if found != width * row_count:
            raise SnapshotFormatError(
                f"{self.name!r} has {found:,} numbers in {section.key!r} (bytes {section.start:,} to "
                f"{section.stop:,}); the header promises {row_count:,} rows of {width}, "
                f"{width * row_count:,} numbers",
                slug="snapshot-counts",
                byte_offset=section.stop,
                field=section.key,
            )

    def _read_stretch(self, key: str, part: Stretch, width: int, sink: Sink) -> None:
        numbers = np.empty(_ROWS_PER_BLOCK * width, np.int64)
        rows = numbers.reshape(-1, width)
        at, row = part.start, part.first_row
        while True:
            block_start = at
            count, at, status = bytescan.parse_integers(self.view, at, part.stop, numbers)
            if status not in (bytescan.DONE, bytescan.FULL):
                self.fail(status, at, key)
            if count % width or (status == bytescan.DONE and at != part.stop):
                self.fail(bytescan.NOT_A_SEPARATOR, at, key)
            self._check_row(key, row + count // width, part, at, status)
            bad = sink.store(rows, count // width, row)
            if bad >= 0:
                self._fail_value(key, block_start, part.stop, bad, width, int(numbers[bad]), row, sink)
            row += count // width
            if status == bytescan.DONE:
                return

    def _check_row(self, key: str, row: int, part: Stretch, at: int, status: int) -> None:
        """Before rows are stored: kernels check no bounds, and the bytes may be others than those that were counted."""
        if row == part.last_row or (row < part.last_row and status == bytescan.FULL):
            return
        raise SnapshotFormatError(
            f"{self.name!r} has {row:,} rows of {key!r} up to byte {at:,}; {part.last_row:,} were counted there before",
            slug="snapshot-changed",
            byte_offset=at,
            field=key,
            hint="the file is being written to: take the snapshot again, or wait for it to finish",
        )

    def _fail_value(
        self, key: str, start: int, stop: int, position: int, width: int, value: int, row: int, sink: Sink
    ) -> NoReturn:
        offset = self.number_offset(start, stop, position)
        self.fail_index(key, row + position // width, sink.explain(position % width, value), offset)

    def number_offset(self, start: int, stop: int, position: int, commas: tuple[int, ...] = ()) -> int:
        """The byte at which number ``position`` of the array text ``start..stop`` begins.

        ``commas``: those of the section, if ``start`` is behind its bracket; a bad value may be the hundred-millionth.
        """
        at = start
        for count in commas:
            if count >= position:
                break
            at, position = at + _STRETCH_BYTES, position - count
        for _ in range(position):
            at = self.text.find(b",", at, stop) + 1
        return self.skip_space(at)

    def fail_index(self, key: str, row: int, what: str, offset: int) -> NoReturn:
        raise SnapshotFormatError(
            f"{self.name!r} has {what} in row {row:,} of {key!r}, at byte {offset:,}",
            slug="snapshot-index",
            byte_offset=offset,
            field=key,
        )


def _guess_what(head: bytes) -> str:
    """What else it may be that somebody took for a heap snapshot."""
    guesses: Iterable[tuple[bool, str]] = (
        (head[:2] == b"\x1f\x8b", "it is gzip-compressed: unpack it first"),
        (head[:4] == b"\x28\xb5\x2f\xfd", "it is zstd-compressed: unpack it first"),
        (b'"callFrame"' in head and b'"head"' in head, "it looks like a sampling heap profile (.heapprofile)"),
        (b'"callFrame"' in head or b'"timeDeltas"' in head, "it looks like a CPU profile (.cpuprofile)"),
        (b'"traceEvents"' in head, "it looks like a trace"),
    )
    for applies, guess in guesses:
        if applies:
            return guess
    return "expected a file written by v8.writeHeapSnapshot() or HeapProfiler.takeHeapSnapshot"
