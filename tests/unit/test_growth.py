"""Growth of a window in which worker threads end and begin."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.baseline_factory import MB, settled

from pytest_memory.growth import window_growth
from pytest_memory.model import SettledMemory


def memory(main_mb: float, **threads_mb: float) -> SettledMemory:
    heaps = {f"1:{name}": round(size * MB) for name, size in threads_mb.items()}
    return replace(settled(main_mb * MB), worker_heaps=heaps, worker_heap_used_bytes=sum(heaps.values()))


@pytest.mark.parametrize(
    ("start", "end", "grown_mb"),
    [
        (memory(10), memory(12), 2),
        (memory(10, a=5), memory(11, a=8), 4),
        (memory(10, a=5), memory(10, a=3), -2),  # what lives on may shrink
        (memory(10, a=5), memory(12), 2),  # what ended hides nothing
        (memory(10), memory(10, a=5), 5),  # one more thread is more memory
        (memory(10, a=20), memory(10, b=20), 0),  # one for another is none
        (memory(10, a=20), memory(10, b=23), 3),
        (memory(0, a=30, b=10, c=10, d=10), memory(0, e=5, b=18, c=18, d=18), 24),  # 60 to 59 MB, and 24 MB kept
    ],
)
def test_threads_that_end_hide_nothing_and_those_that_replace_them_are_no_growth(
    start: SettledMemory, end: SettledMemory, grown_mb: float
) -> None:
    assert window_growth(start, end, 0)["heap_used"].amount == grown_mb * MB


@pytest.mark.parametrize(("workers_mb", "grown_mb"), [(20, 0), (25, 5), (15, 0)])
def test_threads_nobody_can_tell_apart_count_by_their_sum_unless_it_fell(workers_mb: float, grown_mb: float) -> None:
    start = replace(settled(10 * MB), worker_heap_used_bytes=20 * MB)
    end = replace(settled(10 * MB), worker_heap_used_bytes=round(workers_mb * MB))
    assert window_growth(start, end, 0)["heap_used"].amount == grown_mb * MB


def test_growth_has_the_work_it_is_divided_by() -> None:
    growth = window_growth(memory(10), memory(12), 1000)
    assert set(growth) == {"heap_used", "external", "array_buffers", "rss", "native"}
    assert growth["heap_used"].per_unit == 2000
