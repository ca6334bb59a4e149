"""What the app prints: the last part of it, however much there was.

What it is: a bounded buffer of stdout and stderr together, with the lines that Node prints because *we* attached
taken out again, and a watch for a pattern ("log:REGEX").
What it is not: the reading of a pipe (``node.process``).  Floor 1: bytes in, text out; thread-safe.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from typing import Final

TAIL_BYTES: Final = 256 * 1024
"""How much of the output is kept: a few thousand lines, which no failure message shows in full."""

_NOISE = re.compile(
    rb"^(?:Debugger listening on ws://.*"
    rb"|For help, see: https://nodejs\.org/.*"
    rb"|Debugger attached\."
    rb"|Waiting for the debugger to disconnect\.\.\."
    rb"|Debugger ending on ws://.*)\r?(?:\n|\Z)",
    re.MULTILINE,
)
_NOISE_STARTS: Final = (
    b"Debugger listening on ws://",
    b"For help, see: https://nodejs.org/",
    b"Debugger attached.",
    b"Waiting for the debugger to disconnect...",
    b"Debugger ending on ws://",
)
_WATCH_CARRY_BYTES = 8 * 1024  # a pattern longer than this across two reads is not found: lines are shorter


class AppOutput:
    """The last ``TAIL_BYTES`` the app printed.  One thread feeds it; any thread may look."""

    def __init__(self, tail_bytes: int = TAIL_BYTES) -> None:
        self._tail_bytes = tail_bytes
        self._lock = threading.Lock()
        self._chunks: deque[bytes] = deque()
        self._kept_bytes = 0
        self._bytes_seen = 0
        self._pattern: re.Pattern[str] | None = None
        self._carry = b""
        self._found = threading.Event()

    def feed(self, chunk: bytes) -> None:
        """Add what was printed; the oldest whole chunks beyond the limit are dropped."""
        with self._lock:
            self._chunks.append(chunk)
            self._bytes_seen += len(chunk)
            self._kept_bytes += len(chunk)
            while self._kept_bytes - len(self._chunks[0]) >= self._tail_bytes:
                self._kept_bytes -= len(self._chunks.popleft())
            if self._pattern is not None:
                self._search(self._pattern, chunk)

    def _search(self, pattern: re.Pattern[str], chunk: bytes) -> None:
        data = self._carry + chunk
        begun_at = data.rfind(b"\n") + 1
        whole, begun = _NOISE.sub(b"", data[:begun_at]), data[begun_at:]
        # "Debugger listening on" is not the app's word: what may become such a line waits for its end.
        shown = whole if _may_become_noise(begun) else whole + begun
        if pattern.search(shown.decode("utf-8", "replace")):
            self._found.set()
            self._pattern, self._carry = None, b""
        else:
            self._carry = (whole + begun)[-_WATCH_CARRY_BYTES:]

    def watch(self, pattern: str) -> threading.Event:
        """An event that is set once the output, from here on or so far, matches ``pattern`` (``^$`` per line)."""
        with self._lock:
            self._found = threading.Event()
            self._pattern = re.compile(pattern, re.MULTILINE)
            self._carry = b""
            self._search(self._pattern, self._kept_lines())
            return self._found

    @property
    def bytes_seen(self) -> int:
        """How much the app has printed altogether, inspector noise included."""
        return self._bytes_seen

    def _kept_lines(self) -> bytes:
        """The kept part; from a line's beginning when earlier output was dropped."""
        data = b"".join(self._chunks)
        truncated = self._bytes_seen > len(data) or len(data) > self._tail_bytes
        data = data[-self._tail_bytes :]
        return data[data.find(b"\n") + 1 :] if truncated else data

    @property
    def text(self) -> str:
        """The kept part as text; starts at a line's beginning when earlier output was dropped."""
        with self._lock:
            data = self._kept_lines()
        return _NOISE.sub(b"", data).decode("utf-8", "replace")

    @property
    def lines(self) -> list[str]:
        """The kept lines, without their line ends."""
        return self.text.splitlines()

    def __str__(self) -> str:
        return self.text


def _may_become_noise(begun: bytes) -> bool:
    """Whether an unfinished line is, or may go on to be, one of the inspector's."""
    return _NOISE.match(begun) is not None or any(start.startswith(begun) for start in _NOISE_STARTS)
