"""A file in which the probe of a process notes its sizes, and their reader.  Floor 5: one file, nothing decided.

Asking a busy app through its inspector takes a third of a millisecond of it or more, whatever is asked; noting its
sizes, a tenth of one.  So at short intervals the probe notes them by itself, and they are read here without the app's
knowing.  What is not here: collections, handles and whatever an app with a blocked event loop has to say; for these it
is asked.

The file is 64 notes of 8 doubles in the machine's byte order, the n-th note (from 1) in place n % 64: n, milliseconds
on the app's clock, heapUsed, heapTotal, external, arrayBuffers, the longest delay of the event loop in milliseconds or
-1, and n once more.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

_PLACES = 64
_NOTE = struct.Struct("=8d")
_FRESH_MS = 20.0
"""A note is taken 10 ms before it is wanted.  What is older than this, or than half an interval, was meant for another
occasion, and would not be a sample in time."""

_MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory: a busy disk does not hold up the app."""


@dataclass(frozen=True, slots=True)
class Note:
    """Sizes in bytes; the delay is the longest since the note that was read before, None where none was measured.

    ``at_ms`` is performance.now of the app.  A delay under 5 ms may be one of up to a second before."""

    at_ms: float
    heap_used_bytes: int
    heap_total_bytes: int
    external_bytes: int
    array_buffers_bytes: int
    loop_delay_s: float | None


class Notes:
    """A new file for one reader of one process, in which it notes its sizes every ``every_s`` seconds.

    Raises OSError where no file can be made."""

    def __init__(self, every_s: float) -> None:
        self.every_ms = every_s * 1000
        directory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
        self._file, name = tempfile.mkstemp(prefix="pytest-memory-notes-", dir=directory)
        self.path = Path(name)
        self._read_number = 0
        self._lock = threading.Lock()  # it may be closed by another thread than that which reads
        try:
            os.truncate(self._file, _PLACES * _NOTE.size)
        except OSError:
            self.close()
            raise

    @classmethod
    def open(cls, every_s: float | None) -> Notes | None:
        """None where none are wanted, or no file can be made: the app is asked then."""
        if every_s is None:
            return None
        try:
            return cls(every_s)
        except OSError:
            return None

    def hide(self) -> None:
        """Remove the name, once the app has opened it: nothing stays behind, however either ends."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    def close(self) -> None:
        """Idempotent."""
        self.hide()
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def take(self) -> Note | None:
        """The latest note, or None where there is none since the last call.  Never waits."""
        with self._lock:
            if self._file < 0:
                return None
            try:
                data = os.pread(self._file, _PLACES * _NOTE.size, 0)
            except OSError:
                return None
            latest, self._read_number = read_notes(data, self._read_number)
            return latest

    def is_fresh(self, note: Note, now_ms: float) -> bool:
        """Whether it is a sample of now, which is ``now_ms`` on the app's clock."""
        return now_ms - note.at_ms <= min(_FRESH_MS, self.every_ms / 2)


def read_notes(data: bytes, after: int) -> tuple[Note | None, int]:
    """The latest whole note behind number ``after``, with the worst delay of all behind it, and its number.

    Without one: None and ``after``.  What no probe writes (half a note, no number) is no note."""
    whole = data[: len(data) - len(data) % _NOTE.size]
    notes = (note for note in _NOTE.iter_unpack(whole) if note[0] == note[-1] and all(map(math.isfinite, note)))
    new = sorted(note for note in notes if note[0] > after)
    if not new:
        return None, after
    number, at_ms, used, total, external, buffers, _delay_ms, _ = new[-1]
    delay_ms = max(note[6] for note in new)
    return Note(
        at_ms=at_ms,
        heap_used_bytes=int(used),
        heap_total_bytes=int(total),
        external_bytes=int(external),
        array_buffers_bytes=int(buffers),
        loop_delay_s=delay_ms / 1000 if delay_ms >= 0 else None,
    ), int(number)
