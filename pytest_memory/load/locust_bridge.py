"""What runs inside Locust's master and workers, so that they report like our own load processes.  Floor 5: gevent.

Locust loads this file beside a locustfile (the user's, or `load.locust_plan`).  In a worker it counts each request
event as the engine counts responses, and hands the counts to the master; in the master it writes them, as the same
messages, to the descriptor the test process listens to.  Locust's own statistics are rounded; these are not.

When Locust's master starts the test it sends each worker its part of the plan.  The run, and its clock, begin when
the first user has been spawned: Locust takes its time for that (seconds, on a busy machine), and it is not the app's.
The run ends when every worker has said that nothing is under way any more.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from time import perf_counter_ns
from typing import Any

import gevent
import gevent.os
import msgspec
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from pytest_memory.load.addresses import Addresses
from pytest_memory.load.histogram import cell_of
from pytest_memory.load.hopeless import JointErrors
from pytest_memory.load.messages import Done, Interval, Job, TargetCounts, encode
from pytest_memory.load.schedule import share_of

# Names of the environment variables by which the test process reaches a master or worker it has started.
JOB_VARIABLE = "PYTEST_MEMORY_LOCUST_JOB"
REPORT_VARIABLE = "PYTEST_MEMORY_LOCUST_REPORT"
CHILD_VARIABLE = "PYTEST_MEMORY_LOCUST_CHILD"

UNLIMITED = 1 << 62
DEAD_AFTER_S = 0.5
# How often a worker looks whether it has users, and when the run begins without any.
USERS_LOOK_S = 0.002
USERS_WAIT_S = 15.0


class WorkerState:
    """What one Locust worker has counted since its last report, and what it may still send."""

    def __init__(self) -> None:
        self.environment: Environment | None = None
        self.job: Job | None = None
        self.addresses = Addresses([])
        self.under_way = gevent.event.Event()
        self.permits = UNLIMITED
        self.active = 0
        self.number = 0
        self.names: list[str] = []
        self.ended = False
        self._started_ns = perf_counter_ns()
        self.reset()

    def reset(self) -> None:
        self.targets: dict[str, TargetCounts] = {}
        self.status: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.first_error: str | None = None
        self.bytes_received = self.bytes_sent = 0

    def begin(self, job: Job) -> None:
        """The plan has arrived: count from zero, and say when there are users."""
        self.job = job
        self.addresses = Addresses(job.addresses)
        stage = job.stages[0]
        self.permits = UNLIMITED if stage.requests is None else stage.requests
        self.number = job.first
        self._started_ns = perf_counter_ns()
        self.ended = False
        self.under_way.clear()
        self.reset()
        gevent.spawn(self._say_when_users_are_there)
        self.check_over()

    def go(self) -> None:
        """The run begins, on all workers at once."""
        if self.job is not None and not self.under_way.is_set():
            self._started_ns = perf_counter_ns()
            self.under_way.set()
            gevent.spawn(self._report_regularly, self.job.interval_s)

    def take_permit(self) -> bool:
        """Whether one more request may be started."""
        if not self.permits:
            return False
        self.permits -= 1
        self.active += 1
        return True

    def request_ended(self) -> None:
        """A request for which there was a permit has ended."""
        self.active -= 1
        self.check_over()

    def close_gate(self) -> None:
        """Start nothing more."""
        self.permits = 0
        self.check_over()

    def check_over(self) -> None:
        """Tell the master when nothing is left to do."""
        if not self.permits and not self.active:
            self.finish()

    def finish(self) -> None:
        """The last report, once."""
        if not self.ended:
            self.ended = True
            self.report()
            self._send("memory-final", self.number)

    def count(self, name: str, latency_s: float, status: int, size_bytes: int, error: tuple[str, str] | None) -> None:
        """Count a request event."""
        if name not in self.names:
            self.names.append(name)
        counts = self.targets.setdefault(name, TargetCounts())
        counts.requests += 1
        self.bytes_received += size_bytes
        if status:
            self.status[status] += 1
        if latency_s > 0:
            cell = cell_of(int(latency_s * 1e9))
            counts.cells[cell] = counts.cells.get(cell, 0) + 1
        if error is not None:
            counts.errors += 1
            self.errors[error[0]] += 1
            self.first_error = self.first_error or (f"{error[0]}: {error[1]}" if error[1] else error[0])

    def report(self) -> None:
        """Hand the counts to the master and start again from zero."""
        message = Interval(
            t_s=(perf_counter_ns() - self._started_ns) * 1e-9,
            measured=True,
            active=self.active,
            names=list(self.targets),
            targets=list(self.targets.values()),
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            status=dict(self.status),
            errors_by_kind=dict(self.errors),
            first_error=self.first_error,
        )
        self.reset()
        self._send("memory-interval", msgspec.msgpack.encode(message))

    def _say_when_users_are_there(self) -> None:
        runner = self.environment.runner if self.environment is not None else None
        while runner is not None and not self.ended and not self.under_way.is_set():
            if runner.user_count:
                self._send("memory-users", None)
                return
            gevent.sleep(USERS_LOOK_S)

    def _report_regularly(self, interval_s: float) -> None:
        while not self.ended:
            gevent.sleep(interval_s)
            if not self.ended:
                self.report()

    def _send(self, kind: str, data: Any) -> None:
        if self.environment is not None and self.environment.runner is not None:
            self.environment.runner.send_message(kind, data)


class MasterState:
    """The master's part: split the plan, pass reports on, end the run."""

    def __init__(self, environment: Environment, job: Job, report_fd: int) -> None:
        self.environment = environment
        self.job = job
        self._fd = report_fd
        self._workers: dict[str, int] = {}
        self._final: set[str] = set()
        self._next_number = job.first
        self._started_ns = self._ended_ns = perf_counter_ns()
        self._begun = False
        self._stopped: str | None = None
        self._errors = JointErrors(0, None)
        self._answered_at = time.monotonic()

    def start(self) -> None:
        """The test starts: each worker gets its part."""
        runner = self.environment.runner
        assert isinstance(runner, MasterRunner)
        parts = list(runner.clients)
        stage = self.job.stages[0]
        self._errors = JointErrors(len(parts), self.job.max_error_rate)
        for index, client in enumerate(parts):
            self._workers[client] = index
            requests = None if stage.requests is None else share_of(stage.requests, len(parts), index)
            own = msgspec.structs.replace(
                self.job,
                stages=[msgspec.structs.replace(stage, requests=requests)],
                first=self.job.first + index,
                stride=len(parts),
                worker=index,
            )
            runner.send_message("memory-plan", msgspec.msgpack.encode(own), client_id=client)
        gevent.spawn_later(USERS_WAIT_S, self.begin)

    def begin(self) -> None:
        """The first user is there: the run begins."""
        runner = self.environment.runner
        if self._begun or not isinstance(runner, MasterRunner):
            return
        self._begun = True
        self._started_ns = perf_counter_ns()
        self._answered_at = time.monotonic()
        for client in self._workers:
            runner.send_message("memory-go", None, client_id=client)
        duration_s = self.job.stages[0].duration_s
        if duration_s is not None:
            gevent.spawn_later(duration_s, self.close_gate)

    def close_gate(self, reason: str | None = None) -> None:
        """Let the workers end: those with a plan by themselves, others when Locust stops their users."""
        self._stopped = self._stopped or reason
        runner = self.environment.runner
        assert isinstance(runner, MasterRunner)
        if self.job.flows:
            for client in self._workers:
                runner.send_message("memory-gate", None, client_id=client)
        else:
            gevent.spawn(runner.stop)

    def take_interval(self, client: str, payload: bytes) -> None:
        """A worker's report: pass it on, and judge whether to go on."""
        message = msgspec.msgpack.decode(payload, type=Interval)
        message.worker = self._workers.get(client, 0)
        self._write(message)
        too_many = self._errors.add(message.worker, message.targets, measured=True)
        if message.status:
            self._answered_at = time.monotonic()
        if too_many and self._stopped is None:
            self.close_gate("max-error-rate")
        silent_s = time.monotonic() - self._answered_at
        if self._stopped is None and message.errors_by_kind.get("connect", 0) and silent_s > DEAD_AFTER_S:
            self.close_gate("app-died")

    def take_final(self, client: str, next_number: int) -> None:
        """A worker is through; with the last of them the run is."""
        self._final.add(client)
        self._errors.ended(self._workers.get(client, 0))
        self._next_number = max(self._next_number, next_number)
        self._ended_ns = perf_counter_ns()
        if self._final >= set(self._workers):
            self._write(
                Done(
                    id=self.job.id,
                    duration_s=(self._ended_ns - self._started_ns) * 1e-9,
                    cpu_s=0.0,
                    next_number=self._next_number,
                    stopped_early=self._stopped,
                    loop="locust",
                )
            )
            gevent.spawn(self.environment.runner.quit)

    def _write(self, message: Interval | Done) -> None:
        frame = encode(message)
        while frame:
            frame = frame[os.write(self._fd, frame) :]


WORKER = WorkerState()


def _job_from(payload: bytes) -> Job:
    return msgspec.msgpack.decode(payload, type=Job)


def _attach(environment: Environment, **_: Any) -> None:
    """Locust is up: listen to what concerns our part of it."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        WORKER.environment = environment
        runner.register_message(
            "memory-plan", lambda msg, **_: WORKER.begin(msgspec.msgpack.decode(msg.data, type=Job))
        )
        runner.register_message("memory-go", lambda **_: WORKER.go())
        runner.register_message("memory-gate", lambda **_: WORKER.close_gate())
        events.request.add_listener(_on_request)
        events.test_stop.add_listener(lambda **_: WORKER.finish())
    elif isinstance(runner, MasterRunner) and JOB_VARIABLE in os.environ:
        with open(os.environ[JOB_VARIABLE], "rb") as file:
            job = _job_from(file.read())
        master = MasterState(environment, job, int(os.environ[REPORT_VARIABLE]))
        runner.register_message("memory-users", lambda **_: master.begin())
        runner.register_message("memory-interval", lambda msg, **_: master.take_interval(msg.node_id, msg.data))
        runner.register_message("memory-final", lambda msg, **_: master.take_final(msg.node_id, msg.data))
        events.test_start.add_listener(lambda **_: master.start())
    if CHILD_VARIABLE in os.environ:
        gevent.spawn(_die_with_parent)


def _on_request(
    request_type: str,
    name: str,
    response_time: float,
    response_length: int,
    exception: Exception | None = None,
    response: Any = None,
    context: dict[str, Any] | None = None,
    **_: Any,
) -> None:
    own = (context or {}).get("pytest_memory")
    if own is not None:
        WORKER.count(name, *own)
        return
    status = int(getattr(response, "status_code", 0) or 0)
    error = None
    if status >= 400:
        error = (f"http-{status}", "")
    elif exception is not None:
        refused = "refused" in str(exception).lower()
        error = ("connect" if refused else "locust", f"{type(exception).__name__}: {exception}")
    label = name if name.startswith(f"{request_type} ") else f"{request_type} {name}"
    WORKER.count(label, (response_time or 0) / 1e3, status, int(response_length or 0), error)


def _die_with_parent() -> None:
    """The test process holds the other end of standard input; when it is gone, so are we."""
    while gevent.os.tp_read(0, 1):
        pass
    os._exit(0)


events.init.add_listener(_attach)
