"""What of a stopped monitor reaches the judge; no app is needed for that."""

from __future__ import annotations

from dataclasses import replace

from support.baseline_factory import MB, settled

from pytest_memory import MemoryMonitor, spec
from pytest_memory.model import Check
from pytest_memory.runner import judge_monitor


def judged(moved_bytes: int, *, end_moved: bool) -> Check:
    """A heap that grew from 10 to 11.2 MB, or to 10.8, under a limit of 1 MB: wrong only as far as it still moved."""
    monitor = MemoryMonitor()
    start, end = settled(10 * MB), settled(11.2 * MB if end_moved else 10.8 * MB)
    monitor.start_memory = start if end_moved else replace(start, converged=False, moved_bytes=moved_bytes)
    monitor.end_memory = replace(end, converged=False, moved_bytes=moved_bytes) if end_moved else end
    settings = spec.merge_settings({"marker": {"max_heap_growth": "1MB"}})
    result = judge_monitor(monitor, "test_it", settings)
    (check,) = [check for check in result.verdict.checks if check.metric == "max_heap_growth"]
    return check


def test_a_limit_is_judged_with_what_the_heap_still_moved_by() -> None:
    assert [judged(moved, end_moved=True).reason for moved in (0, 100_000)] == ["over-limit", "not-settled"]
    assert [judged(moved, end_moved=False).reason for moved in (0, 100_000)] == ["within-limit", "not-settled"]
