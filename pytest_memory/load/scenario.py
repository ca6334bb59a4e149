"""Scenarios: an async function of the user's, given an httpx client, as many times as wanted.  Floor 5.

It runs in a thread of the test process, because it may close over anything there; so it is for behaviour (log in,
follow what the page says, think) and not for speed: httpx makes a few hundred requests a second and its own time
is part of what it measures.  Use `LoadGenerator.run`, `mix` or `sequence` where the latency matters.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from time import perf_counter_ns
from typing import Any

import httpx

from pytest_memory.errors import ConfigError
from pytest_memory.load.compile import Origin, origin_of
from pytest_memory.load.histogram import cell_of
from pytest_memory.load.hopeless import STALLED_TIMEOUTS, ErrorShare
from pytest_memory.load.messages import Done, Interval, Stage, TargetCounts, Tls
from pytest_memory.load.plan import Settings
from pytest_memory.load.schedule import client_start_s
from pytest_memory.load.tls import make_tls_context

Scenario = Callable[..., Awaitable[object]]

_KINDS = (
    (httpx.TimeoutException, "timeout"),
    (httpx.ConnectError, "connect"),
    (httpx.RemoteProtocolError, "malformed"),
    (httpx.TooManyRedirects, "redirect-loop"),
    (httpx.TransportError, "closed"),
)
# As in the engine: refused for this long and nothing answered meanwhile, the app is dead.
DEAD_AFTER_S = 0.5
# So many failed requests, and no answer between them, are no chance.
LEAST_UNANSWERED = 3
LOOK_S = 0.1  # how often it is looked whether a stage is over


class _Counts:
    """What the clients of one run counted since the last report; and since the last answer, whenever that was."""

    def __init__(self, before: _Counts | None = None) -> None:
        self.target = TargetCounts()
        self.status: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.first_error: str | None = None
        self.bytes_sent = self.bytes_received = 0
        self.answered_at: float = time.monotonic() if before is None else before.answered_at
        self.unanswered: Counter[str] = Counter() if before is None else before.unanswered

    def ended(self, status: int | None, latency_ns: int, error: tuple[str, str] | None = None) -> None:
        self.target.requests += 1
        if status is not None:
            self.answered_at = time.monotonic()
            self.unanswered.clear()
            self.status[status] += 1
            cell = cell_of(latency_ns)
            self.target.cells[cell] = self.target.cells.get(cell, 0) + 1
            if status >= 400:
                error = (f"http-{status}", "")
        elif error is not None:
            self.unanswered[error[0]] += 1
        if error is not None:
            self.failed(*error)

    def failed(self, kind: str, detail: str) -> None:
        self.target.errors += 1
        self.errors[kind] += 1
        self.first_error = self.first_error or (f"{kind}: {detail}" if detail else kind)


class _Hosts:
    """Where a scenario goes by whole URLs and redirects, looked at once each: public hosts need to be allowed."""

    def __init__(self, refuse_public: Callable[[Origin], None]) -> None:
        self._refuse_public = refuse_public
        self._admitted: set[Origin] = set()

    async def check(self, url: httpx.URL) -> None:
        """ConfigError for a host that may not be loaded."""
        origin = origin_of(url)
        if origin not in self._admitted:
            await asyncio.to_thread(self._refuse_public, origin)
            self._admitted.add(origin)


class _CountingTransport(httpx.AsyncBaseTransport):
    """Counts what passes: a request ends when its response has been read, or given up."""

    def __init__(self, inner: httpx.AsyncBaseTransport, counts: Callable[[], _Counts], hosts: _Hosts) -> None:
        self._inner = inner
        self._counts = counts
        self._hosts = hosts

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._hosts.check(request.url)
        started = perf_counter_ns()
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.TransportError as error:
            self._counts().ended(None, 0, _kind_of(error))
            raise
        self._counts().bytes_sent += int(request.headers.get("content-length", 0))
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        response.stream = _CountingStream(stream, self._counts, response.status_code, started)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _CountingStream(httpx.AsyncByteStream):
    def __init__(
        self, inner: httpx.AsyncByteStream, counts: Callable[[], _Counts], status: int, started_ns: int
    ) -> None:
        self._inner = inner
        self._counts = counts
        self._status = status
        self._started_ns = started_ns
        self._error: tuple[str, str] | None = None
        self._counted = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._inner:
                self._counts().bytes_received += len(piece)
                yield piece
        except httpx.TransportError as error:
            self._error = _kind_of(error)
            raise

    async def aclose(self) -> None:
        if not self._counted:
            self._counted = True
            self._counts().ended(self._status, perf_counter_ns() - self._started_ns, self._error)
        await self._inner.aclose()


def _kind_of(error: Exception) -> tuple[str, str]:
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), "scenario")
    return kind, f"{type(error).__name__}: {error}"


class ScenarioRun:
    """One run.  `messages` yields reports as a load process would; `stop` may be called from any thread."""

    def __init__(
        self,
        scenario: Scenario,
        settings: Settings,
        *,
        base_url: str | None,
        shared: Mapping[str, Any],
        tls: Tls | None,
        refuse_public: Callable[[Origin], None],
        first_number: int,
    ) -> None:
        self._scenario = scenario
        self._takes_number = len(inspect.signature(scenario).parameters) > 1
        self._settings = settings
        self._base_url = base_url or ""
        self._shared = {name: value for name, value in shared.items() if value is not None}
        # Made once: reading the system's authorities takes longer than most requests.
        self._tls = False if tls is None else make_tls_context(tls)
        self._hosts = _Hosts(refuse_public)
        self._number = first_number
        self._messages: queue.SimpleQueue[Interval | Done | BaseException] = queue.SimpleQueue()
        self._counts = _Counts()
        self._active = 0
        self._left = 0
        self._until: float | None = None
        self._stopped: str | None = None
        self._error_share = ErrorShare(settings.limits.max_error_rate)
        self._measured_from_ns = self._last_end_ns = perf_counter_ns()

    def messages(self) -> Iterator[Interval | Done]:
        """Run it; the last message is a Done.  What breaks the runner itself is raised here."""
        thread = threading.Thread(target=self._work, name="pytest-memory-scenario", daemon=True)
        thread.start()
        while True:
            message = self._messages.get()
            if isinstance(message, BaseException):
                raise message
            yield message
            if isinstance(message, Done):
                break
        thread.join()

    def stop(self, reason: str = "stopped") -> None:
        """Begin no further iteration."""
        self._stopped = self._stopped or reason
        self._left = 0
        self._until = time.monotonic()

    def _work(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._messages.put(error)

    async def _run(self) -> None:
        cpu = time.thread_time()
        ended_ns = self._measured_from_ns = perf_counter_ns()
        for stage in self._settings.stages:
            if not self._stopped:
                await self._run_stage(stage)
                ended_ns = self._last_end_ns
                self._report(stage.measured)
                if not stage.measured:
                    cpu = time.thread_time()
                    ended_ns = self._measured_from_ns = perf_counter_ns()
        self._messages.put(
            Done(
                id=0,
                duration_s=(ended_ns - self._measured_from_ns) * 1e-9,
                cpu_s=time.thread_time() - cpu,
                next_number=self._number,
                stopped_early=self._stopped,
                loop="httpx",
            )
        )

    async def _run_stage(self, stage: Stage) -> None:
        count = stage.requests if stage.iterations is None else stage.iterations  # a warm-up counts in requests
        self._left = 1 << 62 if count is None else count
        self._until = None if stage.duration_s is None else time.monotonic() + stage.duration_s
        self._last_end_ns = perf_counter_ns()
        clients = [asyncio.create_task(self._client(index, stage)) for index in range(stage.concurrency)]
        pending = set(clients)
        next_report = time.monotonic() + self._settings.interval_s
        try:
            while pending and not self._is_over():
                _, pending = await asyncio.wait(pending, timeout=LOOK_S, return_when=asyncio.FIRST_EXCEPTION)
                for client in clients:
                    if client.done():
                        client.result()  # what is no Exception, such as pytest.fail, ends the run
                if time.monotonic() >= next_report:
                    self._report(stage.measured)
                    next_report += self._settings.interval_s
            for _ in range(self._active):
                self._counts.failed("timeout", "an iteration had not ended when the run had, and was cut off")
        finally:
            for client in pending:
                client.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    def _is_over(self) -> bool:
        """Whether nothing more is to begin, and what has begun is over or has had the time of a request to end."""
        if not self._active and not self._may_begin():
            return True
        return self._until is not None and time.monotonic() > self._until + self._settings.timeout_s

    def _may_begin(self) -> bool:
        return self._left > 0 and (self._until is None or time.monotonic() < self._until)

    async def _client(self, index: int, stage: Stage) -> None:
        await asyncio.sleep(client_start_s(index, stage.concurrency, stage.ramp_up_s))
        while self._may_begin():
            self._left -= 1
            number, self._number = self._number, self._number + 1
            await self._iterate(number)
            self._judge(stage)
            if self._settings.think_time_s is not None:
                await asyncio.sleep(random.uniform(*self._settings.think_time_s))

    async def _iterate(self, number: int) -> None:
        """One user who comes, with a client that has neither cookies nor connections yet, and goes."""
        transport = _CountingTransport(httpx.AsyncHTTPTransport(verify=self._tls), lambda: self._counts, self._hosts)
        self._active += 1
        try:
            async with httpx.AsyncClient(
                base_url=self._base_url, timeout=self._settings.timeout_s, transport=transport, **self._shared
            ) as client:
                await (self._scenario(client, number) if self._takes_number else self._scenario(client))
        except httpx.TransportError:
            pass  # counted where it happened
        except ConfigError:
            raise  # a host that may not be loaded: no more of it
        except httpx.HTTPStatusError as error:
            # From `raise_for_status`: statuses of 400 and above are counted as such.
            if error.response.status_code < 400:
                self._counts.failed("scenario", f"{type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever the user's function raises is a failed iteration
            self._counts.failed("scenario", f"{type(error).__name__}: {error}")
        finally:
            self._active -= 1
            self._last_end_ns = perf_counter_ns()

    def _judge(self, stage: Stage) -> None:
        if self._error_share.is_too_large([self._counts.target], measured=stage.measured):
            self.stop("max-error-rate")
        silent_s = time.monotonic() - self._counts.answered_at
        unanswered = self._counts.unanswered
        if unanswered["connect"] >= LEAST_UNANSWERED and silent_s > DEAD_AFTER_S:
            self.stop("app-died")
        elif unanswered["timeout"] >= LEAST_UNANSWERED and silent_s > STALLED_TIMEOUTS * self._settings.timeout_s:
            self.stop("stalled")

    def _report(self, measured: bool) -> None:
        counts, self._counts = self._counts, _Counts(self._counts)
        self._error_share.add([counts.target], measured=measured)
        self._messages.put(
            Interval(
                t_s=(perf_counter_ns() - self._measured_from_ns) * 1e-9,
                measured=measured,
                active=self._active,
                targets=[counts.target],
                bytes_sent=counts.bytes_sent,
                bytes_received=counts.bytes_received,
                status=dict(counts.status),
                errors_by_kind=dict(counts.errors),
                first_error=counts.first_error,
            )
        )
