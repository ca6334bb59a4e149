"""Server-sent events, counted as they arrive in whatever pieces.  Floor 2: no I/O, and no event is kept.

An event is a block of lines with at least one ``data``: comments that keep a connection alive and blocks that only
set ``retry`` or ``id`` are none.  A stream of tRPC has blocks of its own beside what the procedure yields.
"""

from __future__ import annotations

# Of a longer line only the beginning is kept: its field's name, and enough of an error to read its message.
MAX_KEPT_LINE_BYTES = 64 * 1024

# What @trpc/server 11 sends besides "connected" (which a subscription waits for) and the values yielded.
_TRPC_NO_EVENTS = frozenset({b"ping", b"return", b"restore-id"})
_TRPC_ERROR = b"serialized-error"


class EventCounter:
    """Counts the events of one stream.  With ``trpc``, ``error`` is the data of the error that ended it."""

    __slots__ = ("_after_cr", "_data", "_kind", "_rest", "_trpc", "count", "error")

    def __init__(self, *, trpc: bool = False) -> None:
        self._trpc = trpc
        self._rest = b""  # a line whose end has not come yet
        self._after_cr = False
        self._kind = b""
        self._data: bytes | None = None
        self.count = 0
        self.error: bytes | None = None

    def feed(self, data: bytes) -> None:
        """Take what arrived.  A line may end with LF, CRLF or CR."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        text = self._rest + data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._rest = rest[:MAX_KEPT_LINE_BYTES]
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        if not line:
            self._end_block()
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data = value if self._data is None else self._data
        elif name == b"event":
            self._kind = value.strip()

    def _end_block(self) -> None:
        kind, data = self._kind, self._data
        self._kind, self._data = b"", None
        if data is None or self.error is not None:
            return
        if self._trpc and kind == _TRPC_ERROR:
            self.error = data
        elif not (self._trpc and kind in _TRPC_NO_EVENTS):
            self.count += 1
