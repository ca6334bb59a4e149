"""Drives the clients of one load process through the stages of a job.  Floor 5: the event loop's clock and sockets.

A request starts only with a *permit*: a stage of N requests has N of them, a stage of a duration has all it wants
until its gate closes.  So a count is exact whatever fails on the way, and a stage is over when no permit is left
and no request is under way.  Stops early when the app is gone, when too many requests fail, or when nothing is
answered any more; a deadline sweep ends each request that has waited too long, so nothing can hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections import defaultdict
from collections.abc import Callable
from time import perf_counter_ns

from pytest_memory.load.addresses import connect_slow_reader
from pytest_memory.load.alarm import Alarm
from pytest_memory.load.busy_poll import BusyPoll, Neighbours, may_poll
from pytest_memory.load.client import Client
from pytest_memory.load.histogram import cell_of
from pytest_memory.load.hopeless import ErrorShare, Silence
from pytest_memory.load.messages import Done, Interval, Job, Stage, TargetCounts
from pytest_memory.load.schedule import arrival_s, client_start_s, due_by_share
from pytest_memory.load.steps import LiveFlow
from pytest_memory.load.tls import make_tls_context
from pytest_memory.load.wire import FullReader, ResponseReader

UNLIMITED = 1 << 62
# Connections refused for this long, with nothing answered in between: the app is dead, not restarting a worker.
DEAD_AFTER_S = 0.5
# How long an orderly goodbye may take before the connections are cut.
GOODBYE_S = 1.0
# Arrivals nearer than this to each other are started together: below it waking costs more than the lateness it saves.
FINEST_WAKE_NS = 50_000
# A sleeping process is woken some 50 us late, which would be counted as the app's: it is woken this much earlier and
# watches the clock until the arrival is due.  Never for more than this part of the time between arrivals, so that it
# neither costs much nor keeps responses waiting at high rates.
WAKE_EARLY_NS = 80_000
WAKE_EARLY_SHARE = 0.1
# Event loops round timers to this, up or down: a stage of arrivals must not end before its last one is due.
LOOP_TIMER_S = 0.001

_NEIGHBOURS = Neighbours()


class Engine:
    """One job in one process.  ``emit`` takes an `Interval` now and then; `run` returns the `Done`.

    ``clients`` are those an earlier job left connected; after a job with ``keep_connections`` the attribute of
    that name holds those this one leaves."""

    def __init__(
        self,
        job: Job,
        loop: asyncio.AbstractEventLoop,
        emit: Callable[[Interval], None],
        clients: list[Client] | None = None,
    ) -> None:
        self.job = job
        self.loop = loop
        self.emit = emit
        self.timeout_s = job.timeout_s
        self.abort = job.abort
        self.keep_alive = job.keep_alive
        self.read_bytes_per_s = job.read_bytes_per_s
        self.max_redirects = job.max_redirects
        self.stopped: str | None = None
        self.pause_before_next = 0.0
        self.refused_since_ns = 0
        self.last_response_ns = 0
        self.is_open_model = False
        self._tls = make_tls_context(job.tls) if job.tls else None
        self._address = job.addresses[0]
        self._number = job.first
        self._starts = 0  # of requests, to spread aborts
        # Each process goes through the whole order: in every other place of it there may be the slow target only.
        self._flow_turn = job.worker * len(job.order) // job.stride
        self._targets = [TargetCounts() for _ in job.names]
        self._flows = [LiveFlow(flow, self._targets, follow=job.max_redirects > 0) for flow in job.flows]
        self._single = self._flows[0] if len(self._flows) == 1 else None
        full = any(step.full for flow in self._flows for step in flow.steps)
        self._make_reader: Callable[[], ResponseReader] = FullReader if full else ResponseReader
        self.clients = clients or []
        for client in self.clients:
            client.adopt(self, self._make_reader())
        self._reset_counts()
        # of the current stage
        self._stage = job.stages[0]
        self._permits = 0
        self._active = 0
        self._begin_ns = self._last_end_ns = self._last_due_ns = 0
        self._whole_flows = False
        self._holds = True  # whether streams and half requests are held, as long as they are to be
        self._over: asyncio.Future[None] | None = None
        self._idle: list[Client] = []
        self._resting: dict[Client, asyncio.TimerHandle] = {}  # those that begin later
        self._pausing: dict[Client, asyncio.TimerHandle] = {}  # those in the middle of a flow
        self._next_arrival = 0
        self._alarm: Alarm | None = None
        self._alarm_for = -1  # the arrival it is set for
        self._wake_early_ns = 0
        self._may_poll = may_poll(job.stride)
        self._poll: BusyPoll | None = None
        self._gone: asyncio.Event = asyncio.Event()
        self._polled_ns = self._measured_from_ns = 0
        self._measured_from_cpu_s = 0.0
        self._silence = Silence()
        self._error_share = ErrorShare(job.max_error_rate)

    def _reset_counts(self) -> None:
        self.status: defaultdict[int, int] = defaultdict(int)
        self._errors: defaultdict[str, int] = defaultdict(int)
        self._first_error: str | None = None
        self.aborted = self._dropped = self.retried = self.bytes_sent = self.bytes_received = 0

    # --- the job --------------------------------------------------------------------------------------------------

    async def run(self) -> Done:
        """Run all stages and say goodbye.  Never raises for what the app does."""
        failure = await self._connect_first()
        sweep = self.loop.create_task(self._sweep())
        reporter = self.loop.create_task(self._report_regularly())
        ended_ns = self._begin_measuring()
        try:
            for position, stage in enumerate(self.job.stages if failure is None else []):
                if self.stopped:
                    break
                await self._run_stage(stage)
                ended_ns = self._last_end_ns
                self._report()
                following = self.job.stages[position + 1 : position + 2]
                if following and not self.stopped:
                    await self._say_goodbye(keep=following[0].concurrency)
                if not stage.measured:
                    ended_ns = self._begin_measuring()
            # Also of what never came to a stage, or was stopped before its last one.
            await self._say_goodbye(keep=self._kept_at_end())
        finally:
            sweep.cancel()
            reporter.cancel()
        return Done(
            id=self.job.id,
            duration_s=(ended_ns - self._measured_from_ns) * 1e-9,
            cpu_s=time.process_time() - self._measured_from_cpu_s,
            polled_s=self._polled_ns * 1e-9,
            next_number=self._number,
            stopped_early=self.stopped,
            failure=failure,
            loop=type(self.loop).__module__.partition(".")[0],
        )

    def _begin_measuring(self) -> int:
        """Set all clocks to zero: what went before, such as a warm-up, is no part of the run."""
        self._polled_ns = 0
        self._measured_from_cpu_s = time.process_time()
        self._measured_from_ns = perf_counter_ns()
        return self._measured_from_ns

    def stop(self, reason: str) -> None:
        """Start nothing new; what is under way may end."""
        if self.stopped is None:
            self.stopped = reason
        self._close_gate()
        self._hold_no_longer()
        for timer in self._pausing.values():
            timer.cancel()
            self._active -= 1
        self._pausing.clear()
        self._check_over()

    def _kept_at_end(self) -> int:
        return len(self.clients) if self.job.keep_connections and not self.stopped else 0

    async def _connect_first(self) -> tuple[str, str] | None:
        """Find the address that answers: that of a kept connection, or with one that the first client then uses."""
        for client in self.clients:
            if client.transport is not None and client.address is not None:
                self._address = client.address
                return None
        first = self._client(0)
        failure = ("connect", "no address")
        for address in self.job.addresses:
            self._address = address
            try:
                await asyncio.wait_for(self.open_connection(first), self.timeout_s)
                return None
            except (asyncio.TimeoutError, TimeoutError):
                failure = ("timeout", f"no connection to {address[0]} port {address[1]} within {self.timeout_s:g} s")
            except ssl.SSLError as error:
                failure = ("tls", f"{address[0]} port {address[1]}: {error}")
            except OSError as error:
                failure = ("connect", f"{address[0]} port {address[1]}: {error.strerror or error}")
        return failure

    async def open_connection(self, client: Client) -> None:
        """Connect; `Client.connection_made` is called before this returns.  Raises OSError, ssl.SSLError."""
        host, port = client.address = self._address
        name = self.job.tls.server_name if self.job.tls else None
        if self.read_bytes_per_s is None:
            await self.loop.create_connection(lambda: client, host, port, ssl=self._tls, server_hostname=name)
            return
        sock = await connect_slow_reader(self.loop, self._address)
        await self.loop.create_connection(lambda: client, sock=sock, ssl=self._tls, server_hostname=name)

    def _client(self, index: int) -> Client:
        while len(self.clients) <= index:
            self.clients.append(Client(self, self._make_reader()))
        return self.clients[index]

    # --- one stage ------------------------------------------------------------------------------------------------

    async def _run_stage(self, stage: Stage) -> None:
        self._stage = stage
        count = stage.requests if stage.iterations is None else stage.iterations
        self._permits = UNLIMITED if count is None else count
        self._holds = True
        self._over = self.loop.create_future()
        self._begin_ns = self._last_end_ns = self.last_response_ns = perf_counter_ns()
        # The gate may close late; what would only have been due after the end is neither started nor dropped.
        length_ns = UNLIMITED if stage.duration_s is None else int(stage.duration_s * 1e9)
        self._last_due_ns = self._begin_ns + length_ns - 1
        self.is_open_model = stage.rate_per_s is not None
        # An arrival is a whole flow; so is a permit when iterations are what is counted.
        several_steps = any(len(flow.steps) > 1 for flow in self._flows)
        self._whole_flows = several_steps and (self.is_open_model or stage.iterations is not None)
        for client in self.clients:
            # The stage before may have ended in the middle of a flow; what is counted here are whole ones.
            client.start_over()
        if stage.duration_s is not None:
            margin_s = LOOP_TIMER_S if self.is_open_model else 0.0
            gate = self.loop.call_later(stage.duration_s + margin_s, self._time_is_up)
        else:
            gate = None
        if self.is_open_model:
            self._start_arrivals(stage)
        else:
            if self._may_poll and self.job.think_time_s is None:
                self._poll = BusyPoll(self.loop, lambda: self.last_response_ns, _NEIGHBOURS)
            for index in range(min(stage.concurrency, self._permits)):
                delay_s = self._client_start_s(index, stage)
                client = self._client(index)
                self._begin_later(delay_s, client) if delay_s else self._begin(client)
        self._check_over()  # of a short warm-up a process may have no part
        try:
            await self._over
        finally:
            if gate is not None:
                gate.cancel()
            self._forget_the_resting()
            if self._poll is not None:
                self._poll.close()
                self._polled_ns += self._poll.polled_ns
                self._poll = None
            if self._alarm is not None:
                self._alarm.close()
                self._alarm = None

    def _time_is_up(self) -> None:
        """The duration has passed; what was due within it, and somebody is free for, still starts.  What is only held
        is left: it would make the stage longer by up to as long as it is to be held."""
        if self.is_open_model:
            self._start_due()
        self._close_gate()
        self._hold_no_longer()

    def _hold_no_longer(self) -> None:
        self._holds = False
        for client in list(self.clients):
            client.hold_no_longer()

    def _close_gate(self) -> None:
        self._drop_overdue(perf_counter_ns(), patience_s=0.0)
        self._permits = 0
        self._check_over()

    def _check_over(self) -> None:
        if not self._permits and not self._active and self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _client_start_s(self, index: int, stage: Stage) -> float:
        process = self.job.worker / self.job.stride
        return client_start_s(index, stage.concurrency, stage.ramp_up_s, process)

    def _begin_later(self, delay_s: float, client: Client) -> None:
        self._resting[client] = self.loop.call_later(delay_s, self._begin, client)

    def _forget_the_resting(self) -> None:
        # The next stage begins its clients itself: who was still thinking would have two requests at once.
        for timer in self._resting.values():
            timer.cancel()
        self._resting.clear()

    def _begin(self, client: Client) -> None:
        """A client of a closed loop starts, or comes back from thinking."""
        self._resting.pop(client, None)
        if self._permits and not client.busy:
            self._permits -= 1
            self._active += 1
            client.begin()

    def request_ended(self, client: Client) -> None:
        """The client is free: give it the next request, or end the stage."""
        self._last_end_ns = perf_counter_ns()
        if self._whole_flows and client.in_flow and not self.stopped:
            self._continue_flow(client)
        elif self.is_open_model:
            self._active -= 1
            self._idle.append(client)
            if self._permits:
                self._start_due()
            self._check_over()
        elif self._permits and self.job.think_time_s is None and not self.pause_before_next:
            self._permits -= 1
            client.begin()
            if self._poll is not None and self._poll.asleep:
                self._poll.wake()
        else:
            self._active -= 1
            self._check_over()
            if self._permits:
                self._begin_later(self._pause_s(), client)

    def _continue_flow(self, client: Client) -> None:
        pause_s = self._pause_s()
        if not pause_s:
            client.begin()
            return
        # Still under way, so that the stage waits for it; not busy, so that it does not time out.
        self._pausing[client] = self.loop.call_later(pause_s, self._go_on, client)

    def _go_on(self, client: Client) -> None:
        del self._pausing[client]
        client.begin()

    def _pause_s(self) -> float:
        pause_s, self.pause_before_next = self.pause_before_next, 0.0
        if self.job.think_time_s is not None:
            pause_s = max(pause_s, random.uniform(*self.job.think_time_s))
        return pause_s

    # --- arrivals at a rate ---------------------------------------------------------------------------------------

    def _start_arrivals(self, stage: Stage) -> None:
        self._idle = [self._client(index) for index in reversed(range(stage.concurrency))]
        self._next_arrival = 0
        self._alarm_for = -1
        period_ns = 1e9 * self.job.stride / (stage.rate_per_s or 1.0)
        self._wake_early_ns = min(WAKE_EARLY_NS, int(WAKE_EARLY_SHARE * period_ns))
        self._alarm = Alarm(self.loop, self._await_due)
        self._start_due()

    def _due_ns(self, number: int) -> int:
        stage = self._stage
        overall = number * self.job.stride + self.job.worker
        return self._begin_ns + int(arrival_s(overall, stage.rate_per_s or 1.0, stage.ramp_up_s) * 1e9)

    def _await_due(self) -> None:
        """The alarm has rung, a little early."""
        self._alarm_for = -1
        due = self._due_ns(self._next_arrival)
        if self._idle and due - perf_counter_ns() <= self._wake_early_ns:
            while perf_counter_ns() < due:
                pass
        self._start_due()

    def _start_due(self) -> None:
        now = perf_counter_ns()
        self._drop_overdue(now, self.timeout_s)
        while self._permits and self._idle and (due := self._due_ns(self._next_arrival)) <= min(now, self._last_due_ns):
            self._next_arrival += 1
            self._permits -= 1
            self._active += 1
            self._idle.pop().begin(due)
        # With nobody idle the next client that becomes free looks at what is due.
        if self._permits and self._idle and self._alarm is not None and self._alarm_for != self._next_arrival:
            self._alarm_for = self._next_arrival
            self._alarm.set_at(max(due - self._wake_early_ns, now + FINEST_WAKE_NS))

    def _drop_overdue(self, now: int, patience_s: float) -> None:
        """Give up arrivals that nobody was free for: in the middle of a stage those older than a timeout, at the
        end all that are due."""
        if not self.is_open_model:
            return
        latest = min(now - int(patience_s * 1e9), self._last_due_ns)
        while self._permits and self._due_ns(self._next_arrival) <= latest:
            self._next_arrival += 1
            self._dropped += 1

    # --- what clients ask -----------------------------------------------------------------------------------------

    def next_flow(self) -> LiveFlow:
        """The flow a client begins next, in the order of the mix."""
        if self._single is not None:
            return self._single
        order = self.job.order
        flow = self._flows[order[self._flow_turn % len(order)]]
        self._flow_turn += 1
        return flow

    def next_number(self) -> int:
        """A number for {n} that no other request has."""
        number = self._number
        self._number += self.job.stride
        return number

    def aborts_this(self) -> bool:
        """Whether the request being started is one to hang up on."""
        number, self._starts = self._starts, self._starts + 1
        return self.abort is not None and due_by_share(self.abort.share, number)

    def still_refused(self) -> bool:
        """A connection was refused; True when that has gone on for so long that the app is dead."""
        now = perf_counter_ns()
        if not self.refused_since_ns:
            self.refused_since_ns = now
        if self.stopped is None and now - self.refused_since_ns > DEAD_AFTER_S * 1e9:
            self.stop("app-died")
        return self.stopped is not None

    def connection_gone(self, client: Client) -> None:
        """A connection has ended; someone may be waiting for the last one."""
        self._gone.set()

    def count_error(self, counts: TargetCounts, kind: str, detail: str) -> None:
        """Count an ended request as failed."""
        counts.errors += 1
        self._errors[kind] += 1
        if self._first_error is None:
            self._first_error = f"{kind}: {detail}" if detail else kind

    def record(self, counts: TargetCounts, latency_ns: int) -> None:
        """Count a latency outside the hot path."""
        cell = cell_of(max(0, latency_ns))
        counts.cells[cell] = counts.cells.get(cell, 0) + 1

    # --- watching over it -----------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        pause_s = min(0.1, self.timeout_s / 4)
        timeout_ns = int(self.timeout_s * 1e9)
        while True:
            await asyncio.sleep(pause_s)
            now = perf_counter_ns()
            self._listen(now)
            for client in self.clients:
                if client.busy and client.sent_ns + client.hold_ns < now - timeout_ns:
                    client.time_out()
            if not self._holds:
                self._hold_no_longer()  # what has only since been answered
            self._stop_if_hopeless()

    def _listen(self, now: int) -> None:
        waiting = (client.sent_ns for client in self.clients if client.awaits_answer)
        self._silence.look(now, waiting_since_ns=min(waiting, default=None), answered_ns=self.last_response_ns)

    def _stop_if_hopeless(self) -> None:
        # Clients that all think are in the middle of a stage, too; what is over cannot be stopped.
        if self.stopped or self._over is None or self._over.done():
            return
        if self._error_share.is_too_large(self._targets, measured=self._stage.measured):
            self.stop("max-error-rate")
        if self._silence.is_stalled(self.timeout_s):
            self.stop("stalled")

    async def _report_regularly(self) -> None:
        started = self.loop.time()
        number = 0
        while True:
            number += 1
            await asyncio.sleep(max(0.0, started + number * self.job.interval_s - self.loop.time()))
            self._report()

    def _report(self) -> None:
        """Hand over what was counted since the last time, and start again from zero."""
        message = Interval(
            t_s=(perf_counter_ns() - self._measured_from_ns) * 1e-9,
            measured=self._stage.measured,
            active=self._active,
            targets=self._targets,
            aborted=self.aborted,
            dropped=self._dropped,
            retried=self.retried,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            status=self.status,
            errors_by_kind=self._errors,
            first_error=self._first_error,
        )
        self.emit(message)
        self._error_share.add(self._targets, measured=self._stage.measured)
        for counts in self._targets:
            counts.requests = counts.errors = 0
            counts.cells = {}
        self._reset_counts()

    # --- goodbye --------------------------------------------------------------------------------------------------

    async def _say_goodbye(self, keep: int) -> None:
        """Close all but ``keep`` connections so that the server has seen it when this returns."""
        leaving = self.clients[keep:]
        waiting = [client for client in leaving if client.leave()]
        deadline = self.loop.time() + GOODBYE_S
        while any(client.transport is not None or client.is_closing for client in waiting):
            self._gone.clear()
            left_s = deadline - self.loop.time()
            if left_s <= 0:
                break
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._gone.wait(), left_s)
        for client in leaving:
            client.hang_up()
        del self.clients[keep:]
        # One turn for the transports that were cut to be closed.
        await asyncio.sleep(0)
