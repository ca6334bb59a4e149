"""One simulated client: a connection, the request it waits for, and what it does next.  Floor 5: asyncio transports.

The path from `data_received` to the next `write` runs once per request and is what the engine's speed is made of:
it is kept straight, and counts with integers that already exist.  Everything rare (redirects, aborts, slow
reading, errors) hangs off it in methods of its own.  What is sent comes from `load.template`, what arrives is
read by `load.wire`; when and how often is the engine's business.
"""

from __future__ import annotations

import asyncio
import ssl
from os import write
from time import perf_counter_ns
from typing import TYPE_CHECKING, cast

from pytest_memory.load.inspect import ResponseRejected, absorb_cookies, judge_response, redirect_target, save_values
from pytest_memory.load.messages import Abort, Step, Stream
from pytest_memory.load.steps import LiveFlow, LiveStep
from pytest_memory.load.template import built_in_values, render_cookies, render_request
from pytest_memory.load.wire import FullReader, ResponseReader, WireError, assemble

if TYPE_CHECKING:
    from pytest_memory.load.engine import Engine

# A refused connection is tried again this often, until the engine calls the app dead.
RECONNECT_PAUSE_S = 0.05
# Beyond this a request hardly fits into a socket's buffer at once.
DIRECT_WRITE_BYTES = 16 * 1024


class Client(asyncio.Protocol):
    """A client of the engine.  `begin` starts a request for which the engine has given its permission."""

    def __init__(self, engine: Engine, reader: ResponseReader) -> None:
        self.engine = engine
        self.reader = reader
        self.transport: asyncio.Transport | None = None
        self.address: tuple[str, int] | None = None  # what it last connected to
        self._fd = -1
        self.busy = False
        self.started_ns = 0  # what latency counts from
        self.sent_ns = 0
        self.hold_ns = 0  # how long it stays because it was told to, which is no waiting
        self._flow: LiveFlow | None = None
        self._position = 0
        self.step = cast(LiveStep, None)
        self._payload = b""
        self._values: dict[str, object] = {}
        self._jar: dict[str, str] = {}
        self._on_this_connection = 0
        self._retried = False
        self._hops = 0
        self._abort: Abort | None = None
        self._response_bytes = 0
        self._watching = False  # someone wants to see the response before it is complete
        self._expected_losses = 0
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- a request ------------------------------------------------------------------------------------------------

    def begin(self, intended_ns: int = 0) -> None:
        """Send the next request of this client's flow.  With ``intended_ns`` latency counts from then."""
        step = self._next_step()
        self.step = step
        self.busy = True
        self._retried = False
        self._hops = 0
        self.started_ns = intended_ns
        self.sent_ns = perf_counter_ns()
        try:
            self._payload = step.payload if step.payload is not None else self._render(step.step)
        except KeyError as missing:
            self._flow = None
            self._end_failed("save", f"no value for {{{missing.args[0]}}}: an earlier step did not give it")
            return
        abort = self.engine.abort
        self._abort = abort if abort is not None and self.engine.aborts_this() else None
        self.hold_ns = step.hold_ns
        if self._abort is not None and self._abort.at == "request":
            self.hold_ns = max(step.hold_ns, int(1e9 * self._abort.after_s))
        transport = self.transport
        if transport is None or transport.is_closing():
            self.connect()
        else:
            self._send(transport)

    def _next_step(self) -> LiveStep:
        flow = self._flow
        if flow is None or self._position + 1 >= len(flow.steps):
            flow = self._flow = self.engine.next_flow()
            self._position = 0
            if not flow.static:
                self._values = built_in_values(self.engine.next_number())
                self._jar = {}
        else:
            self._position += 1
        return flow.steps[self._position]

    def _render(self, step: Step) -> bytes:
        return render_request(step.method, step.head, step.cookies, step.body, self._values, self._jar_line())

    def _jar_line(self) -> bytes:
        return "; ".join(f"{name}={value}" for name, value in self._jar.items()).encode("latin-1", "replace")

    def _send(self, transport: asyncio.Transport) -> None:
        step, engine, payload = self.step, self.engine, self._payload
        reader = self.reader
        self._response_bytes = 0
        if step.full:
            stream = step.stream
            cast(FullReader, reader).expect(
                step.method,
                keep_body=stream is None,
                count_events=stream is not None and stream.events is not None,
                trpc=step.step.check == "trpc",
            )
        else:
            reader.expect(step.method)
        self._watching = self._abort is not None or step.stream is not None or engine.read_bytes_per_s is not None
        if self._watching:
            payload = self._prepare_watch(payload)
        self._on_this_connection += 1
        now = perf_counter_ns()
        self.sent_ns = now
        if not self.started_ns:
            self.started_ns = now
        engine.bytes_sent += len(payload)
        # An event loop may put a write off until all that is ready was served, and the wait would be measured as
        # the app's: small requests go straight to the socket.  Unless an upload that was answered before it was
        # sent still waits in the transport: they would land in the middle of it.
        if self._fd >= 0 and len(payload) <= DIRECT_WRITE_BYTES and not transport.get_write_buffer_size():
            try:
                payload = payload[write(self._fd, payload) :]
            except OSError:
                pass  # full or broken: the transport waits, or finds out
            if not payload:
                return
        transport.write(payload)

    def data_received(self, data: bytes) -> None:
        now = perf_counter_ns()
        engine = self.engine
        engine.bytes_received += len(data)
        if not self.busy:
            # Bytes nobody asked for, such as a 408 to an idle connection: it is of no use any more.
            self.hang_up()
            return
        try:
            complete = self.reader.feed(data)
        except WireError as error:
            engine.last_response_ns = now  # of whatever kind
            self.hang_up()
            self._end_failed(error.kind, error.detail)
            return
        if self._watching and self._watch(len(data), complete):
            return
        if complete:
            self._finish(now)

    def _finish(self, now: int) -> None:
        """A whole response is there: count it and go on."""
        step, reader, engine = self.step, self.reader, self.engine
        status = reader.status
        if not reader.keep_alive or not engine.keep_alive:
            self._close()
        engine.last_response_ns = now
        engine.refused_since_ns = 0
        if step.full and self._look_into():
            return
        engine.status[status] += 1
        counts = step.counts
        counts.requests += 1
        # histogram.cell_of, inline.
        cell = now - self.started_ns
        if cell >= 2048:
            shift = cell.bit_length() - 11
            cell = (shift << 10) + (cell >> shift)
        cells = counts.cells
        cells[cell] = cells.get(cell, 0) + 1
        if status >= 400 or step.expect is not None:
            accepted = status in step.expect if step.expect is not None else status < 400
            if not accepted:
                self._flow = None
                engine.count_error(counts, f"http-{status}", "")
        self.busy = False
        engine.request_ended(self)

    def _look_into(self) -> bool:
        """What needs headers or body: redirects, saved values, cookies, checks.  True when it is dealt with."""
        step, reader, engine = self.step, cast(FullReader, self.reader), self.engine
        try:
            # First of all: what a redirect leads to may need the cookie that came with it.
            if self._flow is not None and self._flow.keep_cookies:
                absorb_cookies(self._jar, reader)
            if engine.max_redirects and 300 <= reader.status < 400 and (location := reader.header("location")):
                self._follow(location)
                return True
            judge_response(step.step, reader)
            if step.step.saves and reader.status < 400:
                self._values = {**self._values, **save_values(step.step.saves, reader)}
        except (WireError, ResponseRejected) as error:
            engine.status[reader.status] += 1
            self._flow = None
            self._end_failed(error.kind, error.detail, latency=True)
            return True
        return False

    def _follow(self, location: str) -> None:
        engine = self.engine
        self._hops += 1
        if self._hops > engine.max_redirects:
            raise ResponseRejected(
                "redirect-loop", f"more than {engine.max_redirects} redirects, the last to {location!r}"
            )
        method, head, body = redirect_target(self.reader.status, location, self._payload)
        engine.status[self.reader.status] += 1
        cookies = render_cookies(self.step.step.cookies, self._values, self._jar_line())
        self._payload = assemble(method, head, cookies, body)
        transport = self.transport
        if transport is None or transport.is_closing():
            self.connect()
        else:
            self._send(transport)

    def _end_failed(self, kind: str, detail: str, *, latency: bool = False) -> None:
        """The request has ended without a proper response."""
        counts = self.step.counts
        counts.requests += 1
        if latency and self.started_ns:
            self.engine.record(counts, perf_counter_ns() - self.started_ns)
        self.engine.count_error(counts, kind, detail)
        self.busy = False
        self._flow = None
        self.engine.request_ended(self)

    # --- leaky behaviours -----------------------------------------------------------------------------------------

    def _prepare_watch(self, payload: bytes) -> bytes:
        abort, loop, stream = self._abort, self.engine.loop, self.step.stream
        hold_s = stream.hold_s if stream is not None else None
        if abort is not None and abort.at == "request":
            self._timer = loop.call_later(abort.after_s, self._abandon)
            return payload[: max(1, len(payload) // 2)]
        # One timer, for what comes first: a second one would be left to strike a later request.
        if abort is not None and abort.at == "time" and (hold_s is None or abort.after_s < hold_s):
            self._timer = loop.call_later(abort.after_s, self._abandon)
        elif hold_s is not None:
            self._timer = loop.call_later(hold_s, self._stream_over)
        return payload

    def _watch(self, size: int, complete: bool) -> bool:
        """Look at a response while it arrives; True when the request has ended here."""
        self._response_bytes += size
        abort, stream, engine = self._abort, self.step.stream, self.engine
        if abort is not None and (
            (abort.at == "response") or (abort.at == "bytes" and self._response_bytes >= abort.after_bytes)
        ):
            self._abandon()
            return True
        if complete:
            # Before the events are looked at: who has read a response to its end does not hang up on it.
            self._cancel_timer()
            return stream is not None and self._stream_ended(stream)
        if stream is not None and self._has_seen_enough(stream):
            self._stream_over()
            return True
        if engine.read_bytes_per_s is not None and self.transport is not None:
            transport, pause_s = self.transport, size / engine.read_bytes_per_s
            transport.pause_reading()
            engine.loop.call_later(pause_s, self._resume, transport)
            self.hold_ns += int(1e9 * pause_s)  # it is not the app that takes this long
            engine.last_response_ns = perf_counter_ns()
        return False

    def _resume(self, transport: asyncio.Transport) -> None:
        if transport is self.transport and not transport.is_closing():
            transport.resume_reading()

    def _abandon(self) -> None:
        """Hang up on purpose: an ended request, and no error."""
        if not self.busy:
            return
        if self.reader.started:
            self.engine.last_response_ns = perf_counter_ns()
        self.hang_up()
        self.engine.refused_since_ns = 0  # there was a connection
        self.step.counts.requests += 1
        self.engine.aborted += 1
        self.busy = False
        self._flow = None
        self.engine.request_ended(self)

    def _stream_over(self) -> None:
        """Enough of a stream was seen: leave it, as a browser tab that is closed."""
        if not self.busy:
            return
        self.hang_up()
        if not self.reader.answering:
            self._end_failed("stream", "no response before it was time to leave")
            return
        if self.step.stream is None or not self._stream_ended(self.step.stream):
            self._finish(perf_counter_ns())

    def hold_no_longer(self) -> None:
        """Time is up, or the run is to stop: who only stays because it was told to leaves now."""
        if not self.busy or self.transport is None:
            return
        stream = self.step.stream
        if self._abort is not None and self._abort.at == "request":
            self._abandon()
        elif stream is not None and stream.events is None and self.is_listening:
            self._stream_over()

    def _has_seen_enough(self, stream: Stream) -> bool:
        reader = cast(FullReader, self.reader)
        return stream.events is not None and (reader.events >= stream.events or reader.stream_error is not None)

    def _stream_ended(self, stream: Stream) -> bool:
        """A stream is over.  True when it was an error, which is dealt with here."""
        reader = cast(FullReader, self.reader)
        if reader.status >= 400 or stream.events is None or self._has_seen_enough(stream):
            return False
        if not reader.keep_alive:
            self.hang_up()
        self.engine.last_response_ns = perf_counter_ns()
        self.engine.status[reader.status] += 1
        self._end_failed("stream", f"{reader.events} events; expected {stream.events}", latency=True)
        return True

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- the connection -------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Open a connection; what happens next comes through `connection_made` or `_connect_failed`."""
        # One that is closing is yet to say that it was lost, which must not end what is sent on the next.
        self._close()
        if self.engine.keep_alive and not (self._hops or self._retried or self.engine.is_open_model):
            # A closed loop measures the response, an arrival (and a client that always reconnects) all of it.
            self.started_ns = 0
        elif not self.started_ns:
            self.started_ns = perf_counter_ns()
        self._connecting = self.engine.loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self.engine.open_connection(self)
        except ConnectionRefusedError as error:
            self._connecting = None
            if self.engine.still_refused():
                self._connect_failed("connect", str(error))
            else:
                self._timer = self.engine.loop.call_later(RECONNECT_PAUSE_S, self.connect)
        except ssl.SSLError as error:
            self._connect_failed("tls", str(error))
        except OSError as error:
            self._connect_failed("connect", str(error))

    def _connect_failed(self, kind: str, detail: str) -> None:
        self._connecting = None
        if self.busy:
            self.engine.pause_before_next = RECONNECT_PAUSE_S
            self._end_failed(kind, detail)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._connecting = None
        self._on_this_connection = 0
        self._fd = self._plain_descriptor()
        self.reader.reset()
        if self.busy:
            self._send(self.transport)

    def _plain_descriptor(self) -> int:
        """The socket's descriptor, or -1 when what is sent must go through the transport (TLS)."""
        transport = self.transport
        if transport is None or transport.get_extra_info("ssl_object") is not None:
            return -1
        return int(transport.get_extra_info("socket").fileno())

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._expected_losses:
            self._expected_losses -= 1
            self.engine.connection_gone(self)
            return
        self.transport = None
        self._fd = -1
        if self.busy:
            self._cancel_timer()
            self._lost_while_waiting(error)
        self.engine.connection_gone(self)

    def _lost_while_waiting(self, error: Exception | None) -> None:
        reader = self.reader
        if reader.feed_eof():
            stream = self.step.stream
            if stream is None or not self._stream_ended(stream):
                self._finish(perf_counter_ns())
        elif reader.started:
            self.engine.last_response_ns = perf_counter_ns()
            self._end_failed("truncated", f"the connection ended within the response ({error or 'end of file'})")
        elif self._on_this_connection > 1 and self.step.idempotent and not self._retried:
            # The server closed an idle connection just as we wrote to it: safe to ask again, once.
            self._retried = True
            self.engine.retried += 1
            self.connect()
        else:
            kind = "reset" if isinstance(error, ConnectionError) else "closed"
            self._end_failed(kind, f"the connection ended before a response ({error or 'end of file'})")

    def _close(self) -> None:
        """Done with this connection, all of whose responses were read."""
        transport, self.transport = self.transport, None
        self._fd = -1
        if transport is not None:
            self._expected_losses += 1
            # What was answered before it was sent need not be sent any more, and would keep the old connection for
            # longer than the next one may last: a loss does not say of which it is.
            transport.abort() if transport.get_write_buffer_size() else transport.close()

    def hang_up(self) -> None:
        """Drop the connection, whatever is under way on it."""
        self._cancel_timer()
        transport, self.transport = self.transport, None
        self._fd = -1
        if transport is not None:
            self._expected_losses += 1
            transport.abort()

    def time_out(self) -> None:
        """The deadline of the request has passed."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        self.hang_up()
        waited_s = self.engine.timeout_s + self.hold_ns * 1e-9
        self._end_failed("timeout", f"no response within {waited_s:g} s", latency=True)

    @property
    def is_listening(self) -> bool:
        """Whether a stream is open: the app has answered, however long nothing more comes."""
        return self.busy and self.step.stream is not None and self.reader.answering

    @property
    def awaits_answer(self) -> bool:
        """Whether it is for the app to say something: not where a client listens, reads slowly, or is about to hang up
        at a time of its own."""
        reads_slowly = self.engine.read_bytes_per_s is not None and self.reader.answering
        if not self.busy or self.is_listening or reads_slowly:
            return False
        hangs_up = self._abort is not None and self._abort.at in ("time", "request")
        return not hangs_up or self.transport is None

    @property
    def in_flow(self) -> bool:
        """Whether the next request is a later step of what this client has begun."""
        return self._flow is not None and self._position + 1 < len(self._flow.steps)

    def start_over(self) -> None:
        """Begin a flow with the next request."""
        self._flow = None

    @property
    def is_closing(self) -> bool:
        """Whether a connection that was let go has not ended yet."""
        return self._expected_losses > 0

    def adopt(self, engine: Engine, reader: ResponseReader) -> None:
        """Serve another job on the connection that is still open."""
        self.engine = engine
        self.reader = reader
        self.busy = False
        self._flow = None
        self._jar = {}
        # The next request must not count as the first of its connection: it may find it closed.
        self._on_this_connection = max(1, self._on_this_connection)

    def leave(self) -> bool:
        """Say goodbye: end our side and let the server end its own.  True when there is something to wait for."""
        transport = self.transport
        if transport is None or transport.is_closing():
            self.transport = None
            return self._expected_losses > 0
        if not transport.can_write_eof():
            transport.close()
            return True
        try:
            transport.write_eof()
        except OSError:  # the app has reset the connection, and we have not been told yet
            self.hang_up()
        return True
