"""Polling instead of sleeping: while answers come, not for long without, and not where others want the CPU."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import pytest

from pytest_memory.load import busy_poll
from pytest_memory.load.busy_poll import BusyPoll, Neighbours, may_poll
from pytest_memory.load.pool import worker_environment

QUIET = Neighbours(lambda: 0)


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


def test_where_others_want_the_cpu_it_sleeps() -> None:
    async def check(loop: asyncio.AbstractEventLoop) -> None:
        # As when it never gets the CPU.
        poll = BusyPoll(loop, perf_counter_ns, Neighbours(perf_counter_ns))
        poll.wake()
        assert await sleeps_after(poll)
        poll.wake()
        assert poll.asleep

    run(check)


def test_neighbours_are_left_alone_for_longer_each_time_and_trusted_again() -> None:
    waited_ns, now = 0, perf_counter_ns()
    neighbours = Neighbours(lambda: waited_ns)

    def look(*, waited_share: float) -> bool:
        nonlocal waited_ns, now
        now += 100_000_000
        waited_ns += int(waited_share * 100_000_000)
        return neighbours.want_it(now)

    def rest_s() -> int:
        assert look(waited_share=0.2)
        return next(s for s in range(1, 100) if not neighbours.are_left_alone(now + s * 1_000_000_000))

    assert [rest_s() for _ in range(3)] == [1, 2, 4]
    assert not look(waited_share=0.1)
    assert not look(waited_share=0.1)
    assert [rest_s() for _ in range(7)] == [2, 4, 8, 16, 32, 32, 32]


def test_they_are_looked_at_now_and_then_only() -> None:
    looks = 0

    def read() -> int:
        nonlocal looks
        looks += 1
        return 0

    neighbours = Neighbours(read)
    now = perf_counter_ns()
    for _ in range(1000):
        now += 1_000_000
        assert not neighbours.want_it(now)
    assert looks == 1 + 1000 // 50


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
    monkeypatch.setattr(busy_poll, "read_waited_ns", lambda: 0)
    monkeypatch.setattr(busy_poll, "has_cpu_quota", lambda pid: quota)
    for name, value in (("PYTEST_MEMORY_BUSY_POLL", setting), ("PYTEST_XDIST_WORKER_COUNT", testing)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert may_poll(processes) is allowed


def test_not_where_the_system_does_not_say_who_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(busy_poll, "usable_cpus", lambda: 8)
    monkeypatch.setattr(busy_poll, "has_cpu_quota", lambda pid: False)
    monkeypatch.setattr(busy_poll, "SCHEDSTAT", tmp_path / "schedstat")
    assert not may_poll(1)
    for nonsense in ("", "12", "a b c"):
        (tmp_path / "schedstat").write_text(nonsense)
        assert not may_poll(1)
    (tmp_path / "schedstat").write_text("123 4567 8\n")
    assert busy_poll.read_waited_ns() == 4567
    assert may_poll(1)


def test_a_load_process_knows_how_many_tests_run_beside_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "7")
    assert worker_environment()["PYTEST_XDIST_WORKER_COUNT"] == "7"
