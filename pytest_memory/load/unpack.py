"""gzip and deflate undone as they arrive, in whatever pieces.  Floor 1: no I/O, and nothing of a stream is kept.

For streams that do not end; a whole body is undone at once by `load.wire`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

ENCODINGS = ("gzip", "x-gzip", "deflate")

# What comes out at a time: a few bytes can stand for gigabytes.
PIECE_BYTES = 64 * 1024
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15
_GZIP_MAGIC = b"\x1f\x8b"


class Unpacker:
    """Undoes one stream of an encoding in `ENCODINGS`."""

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding != "deflate"
        self._begin = b""  # too little to know what begins here
        self._inflater: zlib._Decompress | None = None
        self._members = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What ``data`` adds, in pieces; all of them must be taken.  Raises zlib.error when it is not what it says."""
        while data:
            if self._inflater is None:
                data = self._begin + data
                self._begin = data if len(data) < 2 else b""
                if self._begin or not self._start(data):
                    return
            assert self._inflater is not None
            piece = self._inflater.decompress(data, PIECE_BYTES)
            while piece:
                yield piece
                # Of what it has taken in, something may still wait inside.
                piece = self._inflater.decompress(self._inflater.unconsumed_tail, PIECE_BYTES)
            data = b""
            if self._inflater.eof:
                data, self._inflater = self._inflater.unused_data, None

    def _start(self, data: bytes) -> bool:
        """Begin a member; gzip may have several.  False for what stands after the last one."""
        if self._members and not (self._gzip and data.startswith(_GZIP_MAGIC)):
            return False
        self._members += 1
        if self._gzip:
            self._inflater = zlib.decompressobj(_GZIP_BITS)
        else:
            # Some servers send as "deflate" what has no header of zlib.
            has_header = data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._inflater = zlib.decompressobj(_ZLIB_BITS if has_header else _RAW_BITS)
        return True
