"""HTTP/1.1 on prepared bytes: a request becomes bytes once, a response is counted rather than built.

Floor 2: no I/O.  `prepare` turns an ``httpx.Request`` into the bytes that are sent again and again;
`ResponseReader` is fed what arrives, in whatever pieces, and says when a response has ended and how.  It is not an
HTTP client: no pool, no cookies, no redirects.  Parsing is httptools' (llhttp), the parser of Node itself.

Two readers: the lean one asks llhttp for nothing but the end of the message, the full one keeps headers and body
for those who look at them (saved values, tRPC's error envelope, redirects).
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from pytest_memory.load.events import EventCounter
from pytest_memory.load.unpack import ENCODINGS, Unpacker

if TYPE_CHECKING:
    import httpx

# Node's own HTTP client refuses a head above 16 KiB; real apps with many cookies reach 64.
MAX_HEAD_BYTES = 256 * 1024
# A body is only kept when something looks into it; what is larger is not looked into.
MAX_KEPT_BODY_BYTES = 16 * 1024 * 1024

# Methods whose request may be sent again when a kept-alive connection turned out to be closed (RFC 9110, 9.2.2).
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})

# Set by the engine itself, whatever the request says.
_FRAMING_HEADERS = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"expect"})

_LENGTH_OR_CHUNKED = re.compile(
    rb"\r\n(?:content-length[ \t]*:|transfer-encoding[ \t]*:[^\r\n]*chunked)", re.IGNORECASE
)


class WireError(Exception):
    """The other side did not speak HTTP/1.1.  ``kind`` is what the error is counted as."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request as bytes.  ``head`` is the request line and the headers, each ended by CRLF, without
    content-length, cookie and the blank line: those are added when it is rendered."""

    method: str
    head: bytes
    cookie: bytes
    body: bytes


def prepare(request: httpx.Request, *, keep_alive: bool = True) -> PreparedRequest:
    """Turn a request into bytes.  The body is read into memory (it is sent many times).

    Header values with line breaks cannot get here: httpx and this function refuse them.
    """
    body = request.read()
    lines = [request.method.encode("ascii") + b" " + request.url.raw_path + b" HTTP/1.1"]
    cookie = b""
    for name, value in request.headers.raw:
        lowered = name.lower()
        if b"\r" in value or b"\n" in value or b"\r" in name or b"\n" in name:
            raise ValueError(f"header {name!r} contains a line break: {value!r}")
        if lowered == b"cookie":
            cookie = value
        elif lowered not in _FRAMING_HEADERS:
            lines.append(name + b": " + value)
    if not keep_alive:
        lines.append(b"connection: close")
    return PreparedRequest(request.method, b"\r\n".join(lines) + b"\r\n", cookie, body)


def needs_length(method: str, body: bytes) -> bool:
    """Whether a request announces a length: one with a body, or one whose method usually has one."""
    return bool(body) or method in ("POST", "PUT", "PATCH")


def assemble(method: str, head: bytes, cookie: bytes, body: bytes) -> bytes:
    """The whole request."""
    pieces = [head]
    if cookie:
        pieces.append(b"cookie: " + cookie + b"\r\n")
    if needs_length(method, body):
        pieces.append(b"content-length: %d\r\n" % len(body))
    pieces.append(b"\r\n")
    pieces.append(body)
    return b"".join(pieces)


class ResponseReader:
    """Reads the responses of one connection, one after the other.

    Call `expect` before a request is sent and `feed` with what arrives; once `complete`, `status` and
    `keep_alive` hold.  `feed_eof` says whether the end of the connection was the proper end of the response.
    After a WireError or an unfinished response `reset` must come before the next one.
    """

    __slots__ = ("_feed", "_head", "_head_done", "_is_head_request", "_parser", "complete", "keep_alive", "status")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin with a new connection."""
        self._parser = HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self.expect("GET")

    def expect(self, method: str) -> None:
        """A request of this method is about to be sent."""
        self._is_head_request = method == "HEAD"
        self._head_done = False
        self._head = b""
        self.complete = False

    @property
    def started(self) -> bool:
        """Whether anything of the response has arrived."""
        return self._head_done or self._head != b""

    @property
    def answering(self) -> bool:
        """Whether the head of the response is there and its body is not yet."""
        return self._head_done and not self.complete

    def feed(self, data: bytes) -> bool:
        """Take what arrived; returns whether the response is complete.  Raises WireError."""
        if self.complete:
            raise WireError("malformed", f"unasked-for bytes after the response: {data[:40]!r}")
        head_was_done = self._head_done
        try:
            self._feed(data)
        except HttpParserUpgrade:
            self.complete = True
            self.keep_alive = False
        except HttpParserError as error:
            raise self._malformed(error, data) from error
        if self.complete:
            if self._is_head_request:
                self._renew()
            return True
        if not head_was_done:
            self._keep_head(data)
        return False

    def feed_eof(self) -> bool:
        """The connection ended.  True when that is how the response ends: one that announced no length."""
        if self.complete:
            return True
        if not self._head_done or self.keep_alive or _LENGTH_OR_CHUNKED.search(_last_head(self._head)):
            return False
        self.complete = True
        return True

    def _malformed(self, error: HttpParserError, data: bytes) -> WireError:
        if self.complete:
            return WireError("malformed", f"unasked-for bytes after the response: {data[-40:]!r}")
        return WireError("malformed", f"{error}: {data[:60]!r}")

    def _renew(self) -> None:
        # The answer to HEAD announces a body that does not come, and llhttp cannot be told so from Python.
        self._parser = HttpResponseParser(self)
        self._feed = self._parser.feed_data

    def _keep_head(self, data: bytes) -> None:
        # Only a response that comes in pieces gets here; its head says later whether the end of the connection
        # may be its end.
        self._head += data
        if not self._head_done and len(self._head) > MAX_HEAD_BYTES:
            raise WireError("head-too-large", f"headers of more than {MAX_HEAD_BYTES} bytes")

    # httptools calls these from within feed_data.

    def on_headers_complete(self) -> None:
        self._head_done = True
        parser = self._parser
        self.status = parser.get_status_code()
        self.keep_alive = parser.should_keep_alive()
        if self._is_head_request and self.status >= 200:
            self.complete = True

    def on_message_complete(self) -> None:
        if 100 <= self.status < 200 and self.status != 101:
            # An informational response: the real one follows.  `_head` stays, the beginning of the real one may
            # come with the end of this one; `_last_head` skips it.
            self._head_done = False
            return
        self.complete = True


class FullReader(ResponseReader):
    """A reader that keeps headers (names lower-case) and body, or counts the events of a stream."""

    __slots__ = ("_body_bytes", "_unpacker", "_unreadable", "body_parts", "header_pairs", "keep_body", "stream")

    def __init__(self) -> None:
        self.keep_body = True
        super().__init__()

    def expect(self, method: str, *, keep_body: bool = True, count_events: bool = False, trpc: bool = False) -> None:
        """As for the lean reader; ``keep_body`` keeps the body, ``count_events`` counts its server-sent events (with
        ``trpc``: those of a subscription)."""
        super().expect(method)
        self.keep_body = keep_body
        self.header_pairs: list[tuple[str, str]] = []
        self.body_parts: list[bytes] = []
        self._body_bytes = 0
        self.stream = EventCounter(trpc=trpc) if count_events else None
        self._unpacker: Unpacker | None = None
        self._unreadable: WireError | None = None  # why the events of the stream cannot be counted

    def feed(self, data: bytes) -> bool:
        """As the lean reader.  Raises WireError also for a stream whose events cannot be counted."""
        complete = super().feed(data)
        if self._unreadable is not None:
            raise self._unreadable
        return complete

    @property
    def events(self) -> int:
        """How many events the stream had so far."""
        return self.stream.count if self.stream is not None else 0

    @property
    def stream_error(self) -> bytes | None:
        """The error that ended a stream of tRPC."""
        return self.stream.error if self.stream is not None else None

    def on_header(self, name: bytes, value: bytes) -> None:
        self.header_pairs.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, data: bytes) -> None:
        if self.stream is not None:
            self._feed_stream(self.stream, data)
        elif self.keep_body and self._body_bytes <= MAX_KEPT_BODY_BYTES:
            self._body_bytes += len(data)
            self.body_parts.append(data)

    def _feed_stream(self, stream: EventCounter, data: bytes) -> None:
        if self._unpacker is None:
            stream.feed(data)
            return
        try:
            for piece in self._unpacker.feed(data):
                stream.feed(piece)
        except zlib.error as error:
            self._unreadable = WireError("content-encoding", f"the compressed stream is broken: {error}")

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        # The body of an error is no stream.
        if self.stream is not None and 200 <= self.status < 300 and (encoding := self._encoding()):
            if encoding in ENCODINGS:
                self._unpacker = Unpacker(encoding)
            else:
                self._unreadable = _unknown_encoding(encoding)

    def on_message_complete(self) -> None:
        if 100 <= self.status < 200 and self.status != 101:
            self.header_pairs = []
        super().on_message_complete()

    def _encoding(self) -> str:
        encoding = (self.header("content-encoding") or "").strip().lower()
        return "" if encoding == "identity" else encoding

    def header(self, name: str) -> str | None:
        """The first value of a header, or None."""
        wanted = name.lower()
        return next((value for key, value in self.header_pairs if key == wanted), None)

    def body(self) -> bytes:
        """The body, decompressed.  Raises WireError when it was too large to keep or is not what it says."""
        if self._body_bytes > MAX_KEPT_BODY_BYTES:
            raise WireError("body-too-large", f"a body of more than {MAX_KEPT_BODY_BYTES} bytes is not looked into")
        body = b"".join(self.body_parts)
        encoding = self._encoding()
        if not encoding:
            return body
        if encoding not in ENCODINGS:
            raise _unknown_encoding(encoding)
        # 47: zlib or gzip, told apart by the header; -15: the raw deflate some servers send as "deflate".
        for window_bits in (47,) if "gzip" in encoding else (47, -15):
            plain = _inflate(body, window_bits)
            if plain is not None:
                return plain
        raise WireError("content-encoding", f"the {encoding} body is broken: {body[:40]!r}")


def _unknown_encoding(encoding: str) -> WireError:
    return WireError(
        "content-encoding", f"content-encoding is {encoding!r}, which is not looked into; expected gzip or deflate"
    )


def _inflate(body: bytes, window_bits: int) -> bytes | None:
    """``body`` decompressed, or None when it is not whole or not in this form."""
    inflater = zlib.decompressobj(window_bits)
    try:
        plain = inflater.decompress(body, MAX_KEPT_BODY_BYTES)
    except zlib.error:
        return None
    if inflater.unconsumed_tail:
        raise WireError("body-too-large", f"a body of more than {MAX_KEPT_BODY_BYTES} bytes is not looked into")
    return plain if inflater.eof else None


def _last_head(received: bytes) -> bytes:
    """The head of the final response in ``received``, informational ones before it skipped."""
    while received.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")) and b"\r\n\r\n" in received:
        received = received.partition(b"\r\n\r\n")[2]
    return received.partition(b"\r\n\r\n")[0]
