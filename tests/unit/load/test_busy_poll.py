"""Polling instead of sleeping: while answers come, not for long without, and not where others want the CPU."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import pytest

from pytest_memory.load import busy_poll
from pytest_memory.load.busy_poll import BusyPoll, may_poll


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
        poll = BusyPoll(loop, lambda: answered, waited_ns=lambda: 0)
        assert poll.asleep
        poll.wake()
        assert not poll.asleep
        assert await sleeps_after(poll)
        assert perf_counter_ns() - answered > busy_poll.PATIENCE_NS
        assert poll.polled_ns > 0

    run(check)


def test_while_answers_come_it_stays_awake_and_their_service_is_no_polling() -> None:
    async def check(loop: asyncio.AbstractEventLoop) -> None:
        poll = BusyPoll(loop, perf_counter_ns, waited_ns=lambda: 0)
        poll.wake()
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not poll.asleep
        assert poll.polled_ns == 0

    run(check)


def test_where_others_want_the_cpu_it_rests_and_twice_as_long_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy_poll, "FIRST_REST_NS", 40_000_000)

    async def check(loop: asyncio.AbstractEventLoop) -> None:
        # As when it never gets the CPU.
        poll = BusyPoll(loop, perf_counter_ns, waited_ns=perf_counter_ns)
        rests_s = []
        for _ in range(2):
            while poll.asleep:
                poll.wake()
                await asyncio.sleep(0)
            assert await sleeps_after(poll)
            began_ns = perf_counter_ns()
            while poll.asleep:
                poll.wake()
            rests_s.append((perf_counter_ns() - began_ns) * 1e-9)
        assert rests_s[0] == pytest.approx(0.04, abs=0.03)
        assert rests_s[1] > 1.5 * rests_s[0]

    run(check)


def test_with_the_cpu_to_itself_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy_poll, "_LOOK_EVERY_NS", 0)

    async def check(loop: asyncio.AbstractEventLoop) -> None:
        poll = BusyPoll(loop, perf_counter_ns, waited_ns=lambda: 0)
        poll.wake()
        await asyncio.sleep(0.05)
        assert not poll.asleep

    run(check)


def test_closed_it_polls_no_more() -> None:
    async def check(loop: asyncio.AbstractEventLoop) -> None:
        poll = BusyPoll(loop, perf_counter_ns, waited_ns=lambda: 0)
        poll.wake()
        poll.close()
        poll.wake()
        assert poll.asleep
        polled_ns = poll.polled_ns
        await asyncio.sleep(0.01)
        assert poll.polled_ns == polled_ns

    run(check)


@pytest.mark.parametrize(
    ("cpus", "quota", "setting", "allowed"),
    [
        (2, False, None, True),
        (1, False, None, False),
        (None, False, None, False),
        (8, True, None, False),
        (8, False, "0", False),
        (8, False, "1", True),
    ],
)
def test_only_where_nobody_misses_the_cpu(
    monkeypatch: pytest.MonkeyPatch, cpus: int | None, quota: bool, setting: str | None, allowed: bool
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cpus)
    monkeypatch.setattr(busy_poll, "read_waited_ns", lambda: 0)
    monkeypatch.setattr(busy_poll, "has_cpu_quota", lambda pid: quota)
    monkeypatch.delenv("PYTEST_MEMORY_BUSY_POLL", raising=False)
    if setting is not None:
        monkeypatch.setenv("PYTEST_MEMORY_BUSY_POLL", setting)
    assert may_poll() is allowed


def test_not_where_the_system_does_not_say_who_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr(busy_poll, "has_cpu_quota", lambda pid: False)
    monkeypatch.setattr(busy_poll, "SCHEDSTAT", tmp_path / "schedstat")
    assert not may_poll()
    for nonsense in ("", "12", "a b c"):
        (tmp_path / "schedstat").write_text(nonsense)
        assert not may_poll()
    (tmp_path / "schedstat").write_text("123 4567 8\n")
    assert busy_poll.read_waited_ns() == 4567
    assert may_poll()
