"""Polling instead of sleeping: while answers come, not for long without, and not where others want the CPU."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter_ns

import pytest

from pytest_memory.load import busy_poll
from pytest_memory.load.busy_poll import BusyPoll, Neighbours, may_poll
from pytest_memory.load.pool import worker_environment


class Quiet(Neighbours):
    """Nobody wants the CPU, whatever else this machine does."""

    def want_it(self, now: int, awake_ns: int, ran_ns: int) -> bool:
        return False


QUIET = Quiet()


async def sleeps_after(poll: BusyPoll, at_most_s: float = 5.0) -> bool:
    """Whether polling ends by itself."""
    end_ns = perf_counter_ns() + int(at_most_s * 1e9)
    while not poll.asleep and perf_counter_ns() < end_ns:
        await asyncio.sleep(0)
    return poll.asleep


def run(check: Callable[[asyncio.AbstractEventLoop], object]) -> None:
    async def main() -> None:
        result = check(asyncio.get_running_loop())
        if asyncio.iscoroutine(result):
            await result

    asyncio.run(main())


def test_without_answers_it_goes_to_sleep_and_has_counted_the_looking_in_vain() -> None:
    async def check(loop: asyncio.AbstractEventLoop) -> None:
        answered = perf_counter_ns()
        poll = BusyPoll(loop, lambda: answered, QUIET)
        assert poll.asleep
        poll.wake()
        assert not poll.asleep
        assert await sleeps_after(poll)
        assert perf_counter_ns() - answered > busy_poll.PATIENCE_NS
        assert poll.polled_ns > 0

    run(check)


def test_while_answers_come_it_stays_awake_and_their_service_is_no_polling() -> None:
    async def check(loop: asyncio.AbstractEventLoop) -> None:
        poll = BusyPoll(loop, perf_counter_ns, QUIET)
        poll.wake()
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not poll.asleep
        assert poll.polled_ns == 0

    run(check)


class Machine:
    """Clocks, and a loop whose turns take a fixed time, for some of which another process has the CPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000_000
        self.ran = 0
        self.others_share = 0.0
        self.calls: list[Callable[[], None]] = []
        self.reads = 0
        monkeypatch.setattr(busy_poll, "perf_counter_ns", lambda: self.now)
        monkeypatch.setattr(busy_poll, "thread_time_ns", self._thread_time_ns)

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def turn(self, count: int = 1, each_ns: int = 10_000) -> None:
        for _ in range(count):
            self.now += each_ns
            self.ran += int(each_ns * (1 - self.others_share))
            calls, self.calls = self.calls, []
            for call in calls:
                call()

    def poll(self, answered_ns: Callable[[], int], neighbours: Neighbours) -> BusyPoll:
        return BusyPoll(self, answered_ns, neighbours)  # type: ignore[arg-type]

    def _thread_time_ns(self) -> int:
        self.reads += 1
        return self.ran


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_work_on_what_is_no_answer_yet_is_no_polling(machine: Machine) -> None:
    """A handshake of 5 ms between two turns."""
    poll = machine.poll(lambda: answered, Neighbours())
    answered = machine.now
    poll.wake()
    machine.turn(2, each_ns=3_000)
    assert poll.polled_ns == 3_000  # within the first the answer was served that woke it
    machine.turn(1, each_ns=5_000_000)
    assert poll.polled_ns == 3_000 + busy_poll.LONGEST_VAIN_TURN_NS


def test_where_others_want_the_cpu_it_sleeps(machine: Machine) -> None:
    poll = machine.poll(lambda: machine.now, Neighbours())
    machine.others_share = 0.2
    poll.wake()
    machine.turn(4_900)
    assert not poll.asleep
    machine.turn(200)
    assert poll.asleep
    poll.wake()
    assert poll.asleep
    machine.turn(1, each_ns=busy_poll.SHORTEST_REST_NS)
    poll.wake()
    assert not poll.asleep


def test_neighbours_are_left_alone_for_longer_while_they_go_on_wanting_the_cpu(machine: Machine) -> None:
    """Through `BusyPoll`: a rest, in which nobody polled, must not be taken for a time in which nobody minded."""
    poll = machine.poll(lambda: machine.now, Neighbours())

    def rest_s() -> int:
        while not poll.asleep:
            machine.turn()
        for seconds in range(100):
            poll.wake()
            if not poll.asleep:
                return seconds
            # While it rests, it runs when it wants to: to sleep is to need no CPU.
            machine.turn(1, each_ns=1_000_000_000)
        raise AssertionError("it never polls again")

    machine.others_share = 0.2
    poll.wake()
    assert [rest_s() for _ in range(7)] == [1, 2, 4, 8, 16, 32, 32]
    machine.others_share = 0.1
    machine.turn(3 * 5_100)
    machine.others_share = 0.2
    assert rest_s() == 4  # 32 s were next, halved three times


def test_time_that_it_slept_is_no_time_in_which_nobody_minded(machine: Machine) -> None:
    """An answer each 20 ms, and patience for 0.3 ms, a third of which others have the CPU."""
    answered = 0
    poll = machine.poll(lambda: answered, Neighbours())
    machine.others_share = 0.34

    def is_awake_for_a_while() -> bool:
        nonlocal answered
        answered = machine.now
        poll.wake()
        was_awake = not poll.asleep
        while not poll.asleep:
            machine.turn()
        machine.now += 20_000_000
        return was_awake

    stretches = next(n for n in range(1000) if not is_awake_for_a_while())
    assert stretches == pytest.approx(busy_poll.LEAST_JUDGED_NS / busy_poll.PATIENCE_NS, rel=0.1)


def test_the_clock_of_the_cpu_is_read_now_and_then_only(machine: Machine) -> None:
    poll = machine.poll(lambda: machine.now, Neighbours())
    poll.wake()
    machine.turn(50_000)  # half a second
    assert not poll.asleep
    assert machine.reads == 1 + 10


def test_a_stretch_that_is_too_short_is_judged_with_the_next() -> None:
    neighbours = Neighbours()
    assert not neighbours.want_it(0, 30_000_000, 0)
    assert not neighbours.are_left_alone(0)
    assert neighbours.want_it(0, 30_000_000, 30_000_000)
    assert neighbours.are_left_alone(0)
    assert not neighbours.want_it(0, 30_000_000, 30_000_000)


def test_closed_it_polls_no_more() -> None:
    async def check(loop: asyncio.AbstractEventLoop) -> None:
        poll = BusyPoll(loop, perf_counter_ns, QUIET)
        poll.wake()
        poll.close()
        poll.wake()
        assert poll.asleep
        polled_ns = poll.polled_ns
        await asyncio.sleep(0.01)
        assert poll.polled_ns == polled_ns

    run(check)


@pytest.mark.parametrize(
    ("cpus", "processes", "testing", "quota", "setting", "allowed"),
    [
        (2, 1, None, False, None, True),
        (1, 1, None, False, None, False),
        (2, 2, None, False, None, False),
        (3, 2, None, False, None, True),
        (2, 1, "2", False, None, False),
        (4, 2, "2", False, None, False),
        (5, 2, "2", False, None, True),
        (2, 1, "?", False, None, True),
        (8, 1, None, True, None, False),
        (8, 1, None, False, "0", False),
        (8, 1, None, False, "1", True),
        (1, 1, "8", True, "1", True),
    ],
)
def test_only_where_nobody_misses_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
    cpus: int,
    processes: int,
    testing: str | None,
    quota: bool,
    setting: str | None,
    allowed: bool,
) -> None:
    monkeypatch.setattr(busy_poll, "usable_cpus", lambda: cpus)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(busy_poll, "has_cpu_quota", lambda pid: quota)
    for name, value in (("PYTEST_MEMORY_BUSY_POLL", setting), ("PYTEST_XDIST_WORKER_COUNT", testing)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert may_poll(processes) is allowed


def test_only_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_MEMORY_BUSY_POLL", "1")
    monkeypatch.setattr("sys.platform", "darwin")
    assert not may_poll(1)
    monkeypatch.setattr("sys.platform", "linux")
    assert may_poll(1)


def test_a_load_process_knows_how_many_tests_run_beside_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "7")
    assert worker_environment()["PYTEST_XDIST_WORKER_COUNT"] == "7"
