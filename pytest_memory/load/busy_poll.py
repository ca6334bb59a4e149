"""Keeps a load process awake while answers come thick and fast.  Floor 5: the event loop, clocks.

A process that sleeps until the next answer has to be woken, and it is the server that pays: its write has to send
an interrupt to an idle CPU, which on a virtual machine costs more than all the rest of that write.  Both sides then
measure the machine's sleeping habits.  So for a moment after each answer of a run that is flat out the loop asks for
the next one without going to sleep, as a network driver polls a busy card.

It is done only where it takes nothing from anybody: where each load process of the run (and of each worker of
pytest-xdist) can have a CPU and one is left for the app; not under a quota of CPU time (it would be the app's time);
and for a while no more whenever others wanted the CPU it was done on.  In the environment
``PYTEST_MEMORY_BUSY_POLL=0`` forbids it altogether, and ``=1`` says that the CPUs suffice, which cannot be seen from
in here when the app has others than the load.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from time import perf_counter_ns, thread_time_ns

from pytest_memory.cgroups import has_cpu_quota, usable_cpus

# An answer that takes longer than this is slept for: waking is then a small part of it.
PATIENCE_NS = 300_000
# Awake, but without a CPU for more than this share of the time: others want it.
CROWDED_SHARE = 0.15
SHORTEST_REST_NS = 1_000_000_000  # twice as long each time, and half as long again when they do not
LONGEST_REST_NS = 32_000_000_000
# One turn of somebody else's in a shorter stretch would already be such a share.
LEAST_JUDGED_NS = 50_000_000
# A turn without an answer that takes longer was not spent on looking only: a connection was made, a part of a body
# came, or another process had the CPU.
LONGEST_VAIN_TURN_NS = 20_000


def may_poll(processes: int) -> bool:
    """Whether there is CPU time that nobody misses when so many load processes poll, and we can tell when somebody
    does."""
    setting = os.environ.get("PYTEST_MEMORY_BUSY_POLL")
    # Only there do we know what it brings, and is a thread's CPU time exact enough to see who else wants the CPU.
    if sys.platform != "linux" or setting == "0":
        return False
    if setting == "1":
        return True
    return usable_cpus() > processes * _test_processes() and not has_cpu_quota(os.getpid())


def _test_processes() -> int:
    """How many processes test beside each other, each with a load of its own: pytest-xdist tells its workers."""
    count = os.environ.get("PYTEST_XDIST_WORKER_COUNT", "")
    return int(count) if count.isdecimal() else 1


class Neighbours:
    """Whether other processes want the CPU this one polls on.

    A thread that polls does not sleep: as long as it was awake and did not run, somebody else had its CPU.  Of the
    time in which it slept nothing can be said.  One for the life of a process: runs are short, and each would have to
    find out anew."""

    def __init__(self) -> None:
        self._awake_ns = self._ran_ns = 0
        self._rest_ns = SHORTEST_REST_NS
        self._rest_until_ns = 0

    def are_left_alone(self, now: int) -> bool:
        """Whether it is their turn: they were in want of the CPU a while ago."""
        return now < self._rest_until_ns

    def want_it(self, now: int, awake_ns: int, ran_ns: int) -> bool:
        """Take in for how long the thread was awake since the last time, and for how much of that it ran.  True when
        others had the CPU for so much of it that they are to be left alone."""
        self._awake_ns += awake_ns
        self._ran_ns += ran_ns
        if self._awake_ns < LEAST_JUDGED_NS:
            return False
        is_crowded = self._awake_ns - self._ran_ns > CROWDED_SHARE * self._awake_ns
        self._awake_ns = self._ran_ns = 0
        if not is_crowded:
            self._rest_ns = max(SHORTEST_REST_NS, self._rest_ns // 2)
            return False
        self._rest_until_ns = now + self._rest_ns
        self._rest_ns = min(LONGEST_REST_NS, self._rest_ns * 2)
        return True


class BusyPoll:
    """Polls from each `wake` until no answer has come for a while.

    ``answered_ns`` tells when the last answer came; ``polled_ns`` is the time spent on looking in vain."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answered_ns: Callable[[], int], neighbours: Neighbours) -> None:
        self.asleep = True
        self.polled_ns = 0
        self._loop = loop
        self._answered_ns = answered_ns
        self._neighbours = neighbours
        self._turned_ns = 0
        self._told_ns = self._told_ran_ns = 0  # when, and with how much CPU time, the neighbours were last asked
        self._closed = False

    def wake(self) -> None:
        """An answer has come while nobody polled."""
        now = perf_counter_ns()
        if not self._closed and not self._neighbours.are_left_alone(now):
            self.asleep = False
            self._turned_ns = self._told_ns = now
            self._told_ran_ns = thread_time_ns()
            self._loop.call_soon(self._turn)

    def close(self) -> None:
        """Poll no more."""
        if not self.asleep:
            self._neighbours_want_it(perf_counter_ns())
        self.asleep = self._closed = True

    def _turn(self) -> None:
        """One turn of the loop: whatever was there has been served."""
        if self.asleep:
            return
        now = perf_counter_ns()
        answered = self._answered_ns()
        if answered < self._turned_ns:
            self.polled_ns += min(now - self._turned_ns, LONGEST_VAIN_TURN_NS)
        self._turned_ns = now
        is_idle = now - answered > PATIENCE_NS
        if is_idle or now - self._told_ns >= LEAST_JUDGED_NS:
            # Before it sleeps in any case: what it was awake for counts, what it sleeps for does not.
            self.asleep = self._neighbours_want_it(now) or is_idle
        if not self.asleep:
            self._loop.call_soon(self._turn)

    def _neighbours_want_it(self, now: int) -> bool:
        awake_ns, self._told_ns = now - self._told_ns, now
        before_ns, self._told_ran_ns = self._told_ran_ns, thread_time_ns()
        return self._neighbours.want_it(now, awake_ns, self._told_ran_ns - before_ns)
