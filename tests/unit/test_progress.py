"""Where a measurement is: stages inside stages, looked at from outside."""

from __future__ import annotations

import pytest

from pytest_memory.progress import Progress, Stages


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_innermost_stage_counts_from_its_own_begin() -> None:
    clock = Clock()
    stages = Stages(clock)
    assert stages.now() is None
    stages.begin()
    clock.now_s += 5
    with stages.within("warm-up"):
        clock.now_s += 2
        with stages.within("settle"):
            clock.now_s += 1
            assert (stages.now().phase, stages.now().elapsed_s) == ("settle", 1)
        assert (stages.now().phase, stages.now().elapsed_s) == ("warm-up", 3)
    assert (stages.now().phase, stages.now().elapsed_s) == ("", 8)
    stages.end()
    assert stages.now() is None


def test_a_stage_that_is_left_by_an_error_is_left() -> None:
    stages = Stages(Clock())
    with pytest.raises(ValueError), stages.within("settle"):
        raise ValueError
    assert stages.now() is None


def test_steps_share_the_time_of_their_stage() -> None:
    clock = Clock()
    stages = Stages(clock)
    stages.tell("round 1", 10.0)  # of nothing
    assert stages.now() is None
    with stages.within("leak test"):
        stages.tell("round 1", 10.0)
        clock.now_s += 4
        stages.tell("round 2", 10.0)
        assert stages.now() == Progress(phase="leak test, round 2", elapsed_s=4, remaining_s=6, at_most=True)
        clock.now_s += 7
        assert stages.now().remaining_s is None, "a rest that is under way may last longer"
        stages.tell("writing 7%")
        assert (stages.now().phase, stages.now().remaining_s) == ("leak test, writing 7%", None)
