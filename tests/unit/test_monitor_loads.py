"""Whose load a run was: the test's own, or a leak test's; no app is needed for that."""

from __future__ import annotations

import pytest

from pytest_memory import MemoryMonitor
from pytest_memory.load import LoadGenerator
from pytest_memory.load.result import LoadResult
from pytest_memory.model import LoadStats


def sent(generator: LoadGenerator, requests: int) -> None:
    generator.results.append(LoadResult(LoadStats(requests=requests)))


def test_the_runs_of_each_leak_test_are_told_from_the_others() -> None:
    monitor = MemoryMonitor()
    with LoadGenerator("http://127.0.0.1:9") as generator:
        sent(generator, 1)  # before the window
        monitor.watch_load(generator)
        sent(generator, 2)
        with monitor._sending_for_leak_test():
            sent(generator, 3)
            sent(generator, 4)
        sent(generator, 5)
        with pytest.raises(RuntimeError), monitor._sending_for_leak_test():
            sent(generator, 6)
            raise RuntimeError("the operation broke")
    assert [load.requests for load in monitor.own_loads] == [2, 5]
    assert [[load.requests for load in loads] for loads in monitor.leak_loads] == [[3, 4], [6]]
    assert [load.requests for load in monitor.loads] == [2, 3, 4, 5, 6]


def test_what_warms_a_run_up_is_work_of_the_window() -> None:
    monitor = MemoryMonitor()
    with LoadGenerator("http://127.0.0.1:9") as generator:
        monitor.watch_load(generator)
        generator.results.append(LoadResult(LoadStats(requests=100, warmup_requests=900)))
    assert monitor.units == 1000  # all thousand may have left something
    assert monitor._count_load() == (1000, 0)
    assert [load.requests for load in monitor.loads] == [100]


def test_the_runs_before_a_new_window_are_nothing_to_it() -> None:
    monitor = MemoryMonitor()
    with LoadGenerator("http://127.0.0.1:9") as generator:
        with monitor._sending_for_leak_test():
            sent(generator, 1)
        monitor.watch_load(generator)
        sent(generator, 2)
    assert [load.requests for load in monitor.own_loads] == [2]
    assert not any(monitor.leak_loads)
