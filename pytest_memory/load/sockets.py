"""WebSocket churn: clients that connect, subscribe, receive and leave, over and over.  Floor 5: threads, sockets.

One thread per client, because websocket-client blocks; they share a lock only to count.  This is for connections
that come and go (what leaks listeners), not for message throughput.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any

from websocket import ABNF, WebSocket, WebSocketBadStatusException, WebSocketException, WebSocketTimeoutException

from pytest_memory.load.addresses import Addresses
from pytest_memory.load.engine import DEAD_AFTER_S, UNLIMITED
from pytest_memory.load.histogram import cell_of
from pytest_memory.load.hopeless import ErrorShare, Silence
from pytest_memory.load.inspect import ResponseRejected, trpc_error
from pytest_memory.load.messages import Done, Interval, Socket, Stage, TargetCounts
from pytest_memory.load.schedule import client_start_s
from pytest_memory.load.template import built_in_values, render_parts
from pytest_memory.load.tls import make_tls_context

RECONNECT_PAUSE_S = 0.05
GOODBYE_S = 1.0
# Errors in which the app has said nothing.
_SILENT_KINDS = ("connect", "timeout", "tls")


class TimedSocket:
    """A socket with one deadline for all that is read and sent: pings and single bytes do not put it off."""

    def __init__(self, sock: socket.socket, allowed_s: float) -> None:
        self._socket = sock
        self.allow(allowed_s)

    def allow(self, allowed_s: float) -> None:
        """Count anew from now."""
        self._deadline = time.monotonic() + allowed_s
        self._allowed_s = allowed_s

    def recv(self, size: int) -> bytes:
        self._wait_no_longer()
        return self._socket.recv(size)

    def send(self, data: bytes) -> int:
        self._wait_no_longer()
        return self._socket.send(data)

    def _wait_no_longer(self) -> None:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise WebSocketTimeoutException(f"not over within {self._allowed_s:g} s")
        self._socket.settimeout(left_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class SocketEngine:
    """One job of WebSocket connections.  A "request" is one connection from start to end."""

    def __init__(self, job: Socket, loop: asyncio.AbstractEventLoop, emit: Callable[[Interval], None]) -> None:
        self.job = job
        self._loop = loop
        self._emit = emit
        self._tls = make_tls_context(job.tls) if job.tls else None
        self._addresses = Addresses(job.addresses)
        self._lock = threading.Lock()
        self._quit = threading.Event()  # to leave what is held
        self._over = threading.Event()  # of a stage: nothing is left to rest for
        self._last_end_ns = 0
        self._stopped: str | None = None
        self._number = job.first
        self._permits = 0
        self._active = 0
        self._refused_since: float | None = None
        self._answered = False
        self._failure: tuple[str, str] | None = None
        self._error_share = ErrorShare(job.max_error_rate)
        self._silence = Silence()
        self._waiting: dict[int, int] = {}  # since when, by the number of the connection
        self._answered_ns = 0
        self._measured_from_ns = perf_counter_ns()
        self._reset()

    def _reset(self) -> None:
        self._counts = TargetCounts()
        self._errors: Counter[str] = Counter()
        self._status: Counter[int] = Counter()
        self._first_error: str | None = None
        self._sent = self._received = 0

    async def run(self) -> Done:
        """Run all stages."""
        cpu = time.process_time()
        ended_ns = self._measured_from_ns = perf_counter_ns()
        for stage in self.job.stages:
            if self._stopped or self._failure:
                break
            await self._run_stage(stage)
            ended_ns = self._last_end_ns
            self._report(stage.measured)
            if not stage.measured:
                cpu = time.process_time()
                ended_ns = self._measured_from_ns = perf_counter_ns()
        return Done(
            id=self.job.id,
            duration_s=(ended_ns - self._measured_from_ns) * 1e-9,
            cpu_s=time.process_time() - cpu,
            next_number=self._number,
            stopped_early=self._stopped,
            failure=self._failure,
            loop="threads",
        )

    def stop(self, reason: str) -> None:
        """Start nothing new; connections under way end as soon as they can."""
        with self._lock:
            self._stopped = self._stopped or reason
            self._permits = 0
        self._quit.set()
        self._over.set()

    async def _run_stage(self, stage: Stage) -> None:
        count = stage.requests if stage.iterations is None else stage.iterations
        self._permits = UNLIMITED if count is None else count
        self._quit.clear()
        self._over.clear()
        self._last_end_ns = perf_counter_ns()
        until = None if stage.duration_s is None else time.monotonic() + stage.duration_s
        threads = [
            threading.Thread(target=self._client, args=(index, stage, until), daemon=True)
            for index in range(min(stage.concurrency, self._permits))
        ]
        for thread in threads:
            thread.start()
        next_report = time.monotonic() + self.job.interval_s
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0.02)
            if time.monotonic() >= next_report:
                self._report(stage.measured)
                next_report += self.job.interval_s
            self._stop_if_hopeless(stage)
            is_time_up = until is not None and time.monotonic() >= until
            if is_time_up:
                self._quit.set()
            with self._lock:
                is_over = not self._active and (not self._permits or is_time_up)
            if is_over:
                self._over.set()

    def _stop_if_hopeless(self, stage: Stage) -> None:
        with self._lock:
            too_many = self._error_share.is_too_large([self._counts], measured=stage.measured)
            oldest = min(self._waiting.values(), default=None)
            self._silence.look(perf_counter_ns(), waiting_since_ns=oldest, answered_ns=self._answered_ns)
        if too_many:
            self.stop("max-error-rate")
        elif self._silence.is_stalled(self.job.timeout_s):
            self.stop("stalled")

    def _client(self, index: int, stage: Stage, until: float | None) -> None:
        """What one thread does: connections one after the other, while there are permits."""
        process = self.job.worker / self.job.stride
        self._over.wait(client_start_s(index, stage.concurrency, stage.ramp_up_s, process))
        while (until is None or time.monotonic() < until) and (number := self._take_permit()) is not None:
            started = perf_counter_ns()
            try:
                answered_ns = self._churn(number)
            except (OSError, WebSocketException, ResponseRejected) as error:
                kind, detail = _kind_of(error)
                self._ended(number, error=(kind, detail))
                if isinstance(error, ConnectionRefusedError):
                    self._refused(detail)
                    self._over.wait(RECONNECT_PAUSE_S)
            except Exception as error:  # noqa: BLE001 - such as a CookieError about what a handshake sets
                self._ended(number, error=("websocket", f"{type(error).__name__}: {error}"))
            else:
                self._ended(number, latency_ns=answered_ns - started)
            if self.job.think_time_s is not None:
                self._over.wait(random.uniform(*self.job.think_time_s))

    def _take_permit(self) -> int | None:
        with self._lock:
            if not self._permits:
                return None
            self._permits -= 1
            self._active += 1
            number = self._number
            self._number += self.job.stride
            self._waiting[number] = perf_counter_ns()
            return number

    def _heard(self, number: int) -> None:
        """A connection has got what it waited for."""
        with self._lock:
            self._waiting.pop(number, None)
            self._answered_ns = perf_counter_ns()
            self._answered = True
            self._refused_since = None

    def _ended(self, number: int, *, latency_ns: int | None = None, error: tuple[str, str] | None = None) -> None:
        if error is not None and error[0] not in _SILENT_KINDS:
            self._heard(number)
        with self._lock:
            self._waiting.pop(number, None)
            self._active -= 1
            self._last_end_ns = perf_counter_ns()
            counts = self._counts
            counts.requests += 1
            if latency_ns is not None:
                self._status[101] += 1
                cell = cell_of(latency_ns)
                counts.cells[cell] = counts.cells.get(cell, 0) + 1
            if error is not None:
                counts.errors += 1
                self._errors[error[0]] += 1
                self._first_error = self._first_error or f"{error[0]}: {error[1]}"

    def _refused(self, detail: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._refused_since = self._refused_since or now
            dead = now - self._refused_since > DEAD_AFTER_S
            if not self._answered:
                self._failure = ("connect", f"{self._addresses}: {detail}")
        if dead or self._failure:
            self.stop("app-died")

    def _churn(self, number: int) -> int:
        """One connection; returns when all that was waited for had arrived."""
        job = self.job
        values = built_in_values(number)
        connection, timed = self._connect(values)
        try:
            for message in job.send:
                self._count(sent=connection.send(render_parts(message, values).decode("utf-8")))
            for _ in range(job.receive):
                self._receive(connection)
            answered_ns = perf_counter_ns()
            self._heard(number)
            self._quit.wait(job.hold_s)
            timed.allow(job.timeout_s)
            for message in job.farewell:
                self._count(sent=connection.send(render_parts(message, values).decode("utf-8")))
            if job.clean:
                timed.allow(GOODBYE_S)
                connection.close(timeout=GOODBYE_S)
        finally:
            # After a clean close there is nothing left to close; otherwise this is the hanging up.
            with contextlib.suppress(OSError):
                connection.shutdown()  # type: ignore[no-untyped-call]
        return answered_ns

    def _connect(self, values: Mapping[str, object]) -> tuple[WebSocket, TimedSocket]:
        """A WebSocket, and what holds it to its time."""
        job = self.job
        deadline = time.monotonic() + job.timeout_s
        plain = self._addresses.connect(job.timeout_s)
        try:
            sock = plain
            if self._tls is not None and job.tls is not None:
                sock = self._tls.wrap_socket(plain, server_hostname=job.tls.server_name)
            timed = TimedSocket(sock, max(0.0, deadline - time.monotonic()))
            connection = WebSocket(enable_multithread=False)
            self._shake_hands(connection, timed, values)
        except BaseException:
            # That of TLS has taken the plain one's descriptor.
            sock.close()
            raise
        return connection, timed

    def _shake_hands(self, connection: WebSocket, timed: TimedSocket, values: Mapping[str, object]) -> None:
        job = self.job
        lines = [render_parts(line, values).decode("utf-8", "replace") for line in job.headers]
        named = {line.partition(":")[0].lower() for line in lines}
        try:
            # A redirect could lead to a host that nobody has allowed to be loaded.
            connection.connect(  # type: ignore[no-untyped-call]
                render_parts(job.url, values).decode("ascii"),
                socket=timed,
                header=lines,
                subprotocols=job.subprotocols or None,
                redirect_limit=0,
                suppress_host="host" in named,
                suppress_origin="origin" in named,
            )
        finally:
            # Of a redirect newer versions of the library raise something vague, older ones nothing at all.
            status = connection.getstatus()
            if status not in (None, 101):
                where = (connection.getheaders() or {}).get("location")
                raise ResponseRejected(f"http-{status}", f"a redirect to {where!r}, which is not followed")

    def _receive(self, connection: WebSocket) -> None:
        opcode, data = connection.recv_data()
        if opcode == ABNF.OPCODE_CLOSE:
            raise ResponseRejected("closed", f"the server closed the connection: {data[:60]!r}")
        payload = data if isinstance(data, bytes) else data.encode()
        self._count(received=len(payload))
        if self.job.check == "trpc" and b'"error"' in payload and (message := trpc_error(payload)) is not None:
            raise ResponseRejected("trpc", message)

    def _count(self, *, sent: int = 0, received: int = 0) -> None:
        with self._lock:
            self._sent += sent
            self._received += received

    def _report(self, measured: bool) -> None:
        with self._lock:
            message = Interval(
                t_s=(perf_counter_ns() - self._measured_from_ns) * 1e-9,
                measured=measured,
                active=self._active,
                targets=[self._counts],
                bytes_sent=self._sent,
                bytes_received=self._received,
                status=self._status,
                errors_by_kind=self._errors,
                first_error=self._first_error,
            )
            self._error_share.add([self._counts], measured=measured)
            self._reset()
        self._emit(message)


def _kind_of(error: Exception) -> tuple[str, str]:
    if isinstance(error, ResponseRejected):
        return error.kind, error.detail
    if isinstance(error, WebSocketBadStatusException):
        return f"http-{error.status_code}", str(error)[:200]
    if isinstance(error, (WebSocketTimeoutException, TimeoutError, socket.timeout)):
        return "timeout", str(error)
    if isinstance(error, ssl.SSLError):
        return "tls", str(error)
    if isinstance(error, WebSocketException):
        return "websocket", str(error)
    return ("connect" if isinstance(error, ConnectionRefusedError) else "closed"), str(error)
