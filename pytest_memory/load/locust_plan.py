"""The locustfile of a plan: users that send what the plan says, in the bytes the engine would send.  Floor 5: gevent.

On other hosts run ``locust -f $(python -m pytest_memory.load.locust_path) --worker --master-host HOST``; the plan
comes from the master.  What is sent, read, saved and judged is `load.template`'s, `load.wire`'s and
`load.inspect`'s, as in our own load processes; only the sockets are gevent's.
"""

from __future__ import annotations

import random
import socket
import ssl
from time import perf_counter
from typing import Any

import gevent
from locust import User
from locust.exception import StopUser

from pytest_memory.load.inspect import ResponseRejected, absorb_cookies, judge_response, save_values
from pytest_memory.load.locust_bridge import WORKER
from pytest_memory.load.messages import Flow, Job, Step
from pytest_memory.load.template import built_in_values, render_request
from pytest_memory.load.tls import make_tls_context
from pytest_memory.load.wire import IDEMPOTENT_METHODS, FullReader, WireError

READ_BYTES = 65536
RECONNECT_PAUSE_S = 0.05


class PlanClient:
    """One keep-alive connection, used by one user."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLContext | None = make_tls_context(job.tls) if job.tls else None
        self._used = False
        self.reader = FullReader()

    def send(self, step: Step, payload: bytes) -> float:
        """Send a request and read its response; returns the seconds that took.  Raises WireError, OSError."""
        fresh = self._socket is None
        started = perf_counter()
        try:
            return self._exchange(step, payload)
        except (ConnectionError, WireError) as error:
            stale = not fresh and not self.reader.started and step.method in IDEMPOTENT_METHODS
            self.close()
            if not stale or (isinstance(error, WireError) and error.kind != "closed"):
                raise
        self._exchange(step, payload)
        return perf_counter() - started

    def _exchange(self, step: Step, payload: bytes) -> float:
        sock = self._socket or self._connect()
        self.reader.expect(step.method)
        started = perf_counter()
        sock.settimeout(self._job.timeout_s)
        sock.sendall(payload)
        while True:
            data = sock.recv(READ_BYTES)
            elapsed_s = perf_counter() - started
            WORKER.bytes_received += len(data)
            if not data:
                if not self.reader.feed_eof():
                    kind = "truncated" if self.reader.started else "closed"
                    raise WireError(kind, "the connection ended before the response did")
                break
            if self.reader.feed(data):
                break
            if elapsed_s > self._job.timeout_s:
                raise TimeoutError(f"no response within {self._job.timeout_s:g} s")
        WORKER.bytes_sent += len(payload)
        if not self.reader.keep_alive or not self._job.keep_alive:
            self.close()
        return elapsed_s

    def _connect(self) -> socket.socket:
        sock = WORKER.addresses.connect(self._job.timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None and self._job.tls is not None:
            sock = self._tls.wrap_socket(sock, server_hostname=self._job.tls.server_name)
        self._socket = sock
        self.reader.reset()
        return sock

    def close(self) -> None:
        """Close the connection; the next request opens one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class PlanUser(User):  # type: ignore[misc]
    """A user of the plan: flows of steps, until there are no permits left."""

    def on_start(self) -> None:
        WORKER.under_way.wait()
        assert WORKER.job is not None
        self._job = WORKER.job
        self._client = PlanClient(self._job)
        self._turn = WORKER.job.worker

    def on_stop(self) -> None:
        self._client.close()

    def follow_a_flow(self) -> None:
        """One pass through a flow."""
        job = self._job
        flow = job.flows[job.order[self._turn % len(job.order)]]
        self._turn += 1
        values = built_in_values(WORKER.number)
        WORKER.number += job.stride
        jar: dict[str, str] = {}
        for step in flow.steps:
            if not WORKER.take_permit():
                self._client.close()
                raise StopUser
            try:
                going_on = self._perform(flow, step, values, jar)
            finally:
                WORKER.request_ended()
            if job.think_time_s is not None:
                gevent.sleep(random.uniform(*job.think_time_s))
            if not going_on:
                break

    tasks = [follow_a_flow]  # noqa: RUF012 - Locust's own way of naming them

    def _perform(self, flow: Flow, step: Step, values: dict[str, object], jar: dict[str, str]) -> bool:
        """Send one step and count it; whether the flow goes on."""
        cookies = "; ".join(f"{name}={value}" for name, value in jar.items()).encode("latin-1", "replace")
        reader = self._client.reader
        latency_s, status, error = 0.0, 0, None
        try:
            payload = render_request(step.method, step.head, step.cookies, step.body, values, cookies)
            latency_s = self._client.send(step, payload)
            status = reader.status
            accepted = status in step.expect if step.expect is not None else status < 400
            if not accepted:
                error = (f"http-{status}", "")
            if flow.keep_cookies:
                absorb_cookies(jar, reader)
            judge_response(step, reader)
            if step.saves and status < 400:
                values.update(save_values(step.saves, reader))
        except (WireError, ResponseRejected) as problem:
            error = (problem.kind, problem.detail)
        except KeyError as missing:
            error = ("save", f"no value for {{{missing.args[0]}}}: an earlier step did not give it")
        except OSError as problem:
            error = (_kind_of(problem), str(problem))
            gevent.sleep(RECONNECT_PAUSE_S)
        if error is not None and error[0] in ("timeout", "malformed", "truncated", "connect", "closed"):
            self._client.close()
        self._fire(step, latency_s, status, error)
        return error is None

    def _fire(self, step: Step, latency_s: float, status: int, error: tuple[str, str] | None) -> None:
        name = self._job.names[step.target]
        context: dict[str, Any] = {"pytest_memory": (latency_s, status, 0, error)}
        self.environment.events.request.fire(
            request_type=step.method,
            name=name,
            response_time=latency_s * 1e3,
            response_length=0,
            exception=None if error is None else RuntimeError(": ".join(error)),
            context=context,
        )


def _kind_of(problem: OSError) -> str:
    if isinstance(problem, (TimeoutError, socket.timeout)):
        return "timeout"
    if isinstance(problem, ssl.SSLError):
        return "tls"
    if isinstance(problem, ConnectionRefusedError):
        return "connect"
    return "reset" if isinstance(problem, ConnectionError) else "connect"
