"""What crosses the pipes between the test process and the load processes.  Floor 2: records only, no I/O.

Every message is one msgpack document behind a four-byte length.  The test process sends `Job` and `Stop`; a load
process answers with `Interval` (about once a second) and one `Done`.  Counts in an `Interval` are those since the
one before, so neither side keeps anything that grows with the number of requests.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pytest_memory.errors import LoadError

MAX_FRAME_BYTES = 1 << 30  # a job with large uploads fits; a stray print to the pipe does not pass for a length

Escape = Literal["url", "header", "json", "json-value", "form", "raw"]


class Slot(msgspec.Struct, frozen=True):
    """A place in a request where a value goes, escaped for where it stands."""

    name: str
    escape: Escape


Part = bytes | Slot


class Save(msgspec.Struct, frozen=True):
    """Take a value from a response: ``where`` is "json", "header" or "regex", ``what`` the path, name or pattern."""

    name: str
    where: Literal["json", "header", "regex"]
    what: str


class Stream(msgspec.Struct, frozen=True):
    """The response is a stream of server-sent events: hang up after ``events`` of them, or after ``hold_s``."""

    events: int | None = None
    hold_s: float | None = None


class Step(msgspec.Struct, frozen=True):
    """One request as bytes with holes.  ``head`` ends before the final blank line's CRLF is due: content-length
    and cookies are added when it is rendered.  ``target`` indexes the names the results are grouped by."""

    target: int
    method: str
    head: list[Part]
    body: list[Part]
    cookies: list[Part] = []
    saves: list[Save] = []
    expect: list[int] | None = None
    check: Literal["", "trpc"] = ""
    stream: Stream | None = None


class Flow(msgspec.Struct, frozen=True):
    """Steps one client takes in order.  With ``keep_cookies`` it sends back what Set-Cookie gave it."""

    steps: list[Step]
    keep_cookies: bool = False


class Stage(msgspec.Struct, frozen=True):
    """A stretch of load.  It ends after ``requests`` (or ``iterations`` of a flow) or ``duration_s``, whichever is
    first; one of them is given."""

    concurrency: int
    requests: int | None = None
    iterations: int | None = None
    duration_s: float | None = None
    rate_per_s: float | None = None
    ramp_up_s: float = 0.0
    measured: bool = True


class Abort(msgspec.Struct, frozen=True):
    """Hang up on ``share`` of the requests: half-way through sending ("request", silent for ``after_s`` first), at
    the first byte of the response ("response"), after a time or after a number of response bytes."""

    share: float
    at: Literal["request", "response", "time", "bytes"]
    after_s: float = 0.0
    after_bytes: int = 0


class Tls(msgspec.Struct, frozen=True):
    """How to talk TLS: ``verify`` against the system's authorities, or ``ca_file``; ``server_name`` is for SNI."""

    server_name: str
    verify: bool = True
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None


class Job(msgspec.Struct, tag="job"):
    """All one load process needs for one run.

    ``addresses`` are numeric, tried in order until one answers.  ``first`` and ``stride`` number the requests:
    this process uses ``first``, ``first + stride``, …, so that ``{n}`` is unique over all processes.
    ``max_error_rate`` is for a process that has the run for itself.
    """

    id: int
    addresses: list[tuple[str, int]]
    flows: list[Flow]
    order: list[int]
    names: list[str]
    stages: list[Stage]
    timeout_s: float
    interval_s: float
    first: int = 0
    stride: int = 1
    worker: int = 0
    tls: Tls | None = None
    keep_alive: bool = True
    keep_connections: bool = False
    think_time_s: tuple[float, float] | None = None
    abort: Abort | None = None
    read_bytes_per_s: float | None = None
    max_error_rate: float | None = None
    max_redirects: int = 0


class Socket(msgspec.Struct, tag="socket"):
    """A run of WebSocket connections: connect, send, receive, leave; over and over.  ``addresses`` as in a `Job`;
    ``headers`` are whole lines."""

    id: int
    url: list[Part]
    addresses: list[tuple[str, int]]
    stages: list[Stage]
    timeout_s: float
    interval_s: float
    send: list[list[Part]]
    receive: int = 0
    hold_s: float = 0.0
    farewell: list[list[Part]] = []
    clean: bool = True
    check: Literal["", "trpc"] = ""
    headers: list[list[Part]] = []
    subprotocols: list[str] = []
    first: int = 0
    stride: int = 1
    worker: int = 0
    tls: Tls | None = None
    think_time_s: tuple[float, float] | None = None
    max_error_rate: float | None = None


class Stop(msgspec.Struct, tag="stop"):
    """Start nothing new; finish what is under way.  ``reason`` goes into the result."""

    reason: str = "stopped"


class TargetCounts(msgspec.Struct):
    """What one target received: ended requests, failed ones, and the latency cells of `load.histogram`."""

    requests: int = 0
    errors: int = 0
    cells: dict[int, int] = {}


class Interval(msgspec.Struct, tag="interval"):
    """What happened since the last Interval.  ``t_s`` counts from the start of the measured stages.

    ``names`` are those of ``targets`` where the job did not give them (Locust); ``worker`` says whose they are when
    one process speaks for several."""

    t_s: float
    measured: bool
    active: int
    targets: list[TargetCounts]
    aborted: int = 0
    dropped: int = 0
    retried: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    status: dict[int, int] = {}
    errors_by_kind: dict[str, int] = {}
    first_error: str | None = None
    names: list[str] = []
    worker: int = 0


class Done(msgspec.Struct, tag="done"):
    """The run is over.  ``failure`` is set when nothing could be connected to at all: kind and text.

    ``next_number`` is the first request number that was not used; ``polled_s`` the part of ``cpu_s`` in which it only
    looked whether there was something to do."""

    id: int
    duration_s: float
    cpu_s: float
    next_number: int
    polled_s: float = 0.0
    stopped_early: str | None = None
    failure: tuple[str, str] | None = None
    loop: str = "asyncio"


_TO_WORKER: msgspec.msgpack.Decoder[Job | Socket | Stop] = msgspec.msgpack.Decoder(Job | Socket | Stop)
_FROM_WORKER: msgspec.msgpack.Decoder[Interval | Done] = msgspec.msgpack.Decoder(Interval | Done)
_ENCODER = msgspec.msgpack.Encoder()

ToWorker = Job | Socket | Stop
FromWorker = Interval | Done


def encode(message: ToWorker | FromWorker) -> bytes:
    """One frame: length, then the message."""
    payload = _ENCODER.encode(message)
    return len(payload).to_bytes(4, "big") + payload


def frame_length(prefix: bytes) -> int:
    """The length a frame announces; LoadError when it cannot be one (something else wrote into the pipe)."""
    length = int.from_bytes(prefix, "big")
    if length > MAX_FRAME_BYTES:
        raise LoadError(
            f"the pipe of a load process carries {prefix!r}; expected the length of a message",
            slug="load-worker-died",
        )
    return length


def decode_to_worker(payload: bytes) -> ToWorker:
    """What the test process said."""
    return _TO_WORKER.decode(payload)


def decode_from_worker(payload: bytes) -> FromWorker:
    """What a load process said; LoadError when it is no message."""
    try:
        return _FROM_WORKER.decode(payload)
    except msgspec.DecodeError as error:
        raise LoadError(
            f"a load process sent {payload[:60]!r}; expected a message ({error})", slug="load-worker-died"
        ) from error
