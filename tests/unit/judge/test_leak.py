"""What the judge makes of lines, steps and saws, one rule at a time."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.judge.leak import LeakPlan, judge_leak, unjudged
from pytest_memory.judge.series import Rest, read_series
from pytest_memory.model import LeakEstimate, MemoryKind, Round, SettledMemory
from pytest_memory.units import parse_rate

SETTLED = SettledMemory(
    t_s=0.0,
    heap_used_bytes=5_000_000,
    heap_total_bytes=7_000_000,
    external_bytes=1_000_000,
    array_buffers_bytes=0,
    rss_bytes=60_000_000,
    native_bytes=40_000_000,
    handles=3,
    fds=20,
)


def make_rounds(heaps: list[float], *, units: int = 1000, seconds: float = 1.0, rest: int = 0) -> list[Round]:
    """A round for each heap reading (the first is the start), then ``rest`` seconds of rest at the last level."""
    rounds = [
        Round(
            index=i,
            units=units,
            errors=0,
            start_s=i * seconds,
            end_s=(i + 1) * seconds,
            memory=replace(SETTLED, heap_used_bytes=round(heap)),
        )
        for i, heap in enumerate(heaps)
    ]
    end = rounds[-1].end_s
    for i in range(rest):
        still = rounds[-1].memory
        rounds.append(Round(index=0, units=0, errors=0, start_s=end + i, end_s=end + i + 1, memory=still, idle=True))
    return rounds


def line(slope: float, *, rounds: int = 60, units: int = 1000, start: float = 5e6) -> list[float]:
    chance = random.Random(2)
    return [start + slope * units * i + chance.gauss(0, 200) for i in range(rounds)]


def heap(rounds: list[Round], plan: LeakPlan | None = None) -> LeakEstimate:
    estimates = judge_leak(rounds, plan or LeakPlan())
    return next(estimate for estimate in estimates if estimate.kind == "heap")


def test_a_climb_after_enough_work_and_a_rest_is_a_leak() -> None:
    found = heap(make_rounds(line(100), rest=11))
    assert (found.outcome, found.reason, found.shape) == ("critical", "grows", "linear")
    assert found.slope == pytest.approx(100, abs=1)
    assert found.units == 59_000
    assert found.growth == pytest.approx(5.9e6, rel=0.01)


@pytest.mark.parametrize(
    ("rounds", "reason"),
    [
        (make_rounds(line(100)), "no-rest"),
        (make_rounds(line(100), rest=3), "no-rest"),
        (make_rounds(line(100, rounds=15), rest=11), "growing"),
        (make_rounds(line(100, rounds=6)), "too-short"),
        (make_rounds([5e6 + 2e6 * (1 - math.exp(-i / 25)) for i in range(60)], rest=11), "levelling-off"),
        (make_rounds([5e6 + 70e3 * i for i in range(41)] + [5e6 + 70e3 * i for i in range(21)], rest=11), "sawtooth"),
    ],
)
def test_doubt_has_a_reason(rounds: list[Round], reason: str) -> None:
    found = heap(rounds)
    assert (found.outcome, found.reason) == ("inconclusive", reason)


def test_flat_is_a_pass_once_enough_was_done() -> None:
    assert heap(make_rounds(line(0))).outcome == "pass"
    assert heap(make_rounds(line(0, rounds=12), seconds=0.1)).reason == "too-short"


def test_a_projection_is_made_for_a_leaking_heap_only() -> None:
    plan = LeakPlan(heap_limit_bytes=505_000_000)
    found = heap(make_rounds(line(100), rest=11), plan)
    assert found.units_to_heap_limit == pytest.approx(5_000_000, rel=0.02)
    assert heap(make_rounds(line(0)), plan).units_to_heap_limit is None


def test_compiled_code_is_no_growth() -> None:
    rounds = make_rounds(line(0))
    compiled = [
        replace(
            one,
            memory=replace(one.memory, heap_used_bytes=one.memory.heap_used_bytes + 50_000 * i, code_bytes=50_000 * i),
        )
        for i, one in enumerate(rounds)
    ]
    assert heap(compiled).outcome == "pass"


def test_kinds_that_were_not_measured_are_not_judged() -> None:
    rounds = [replace(one, memory=replace(one.memory, handles=None, fds=None)) for one in make_rounds(line(0))]
    assert {estimate.kind for estimate in judge_leak(rounds, LeakPlan())} == {"heap", "external", "native"}
    only = LeakPlan(kinds=("external",))
    assert [estimate.kind for estimate in judge_leak(rounds, only)] == ["external"]


def test_no_work_is_not_measured() -> None:
    (found,) = judge_leak(make_rounds([5e6] * 5, units=0), LeakPlan())
    assert (found.outcome, found.reason) == ("not-measured", "no-units")
    assert judge_leak([], LeakPlan())[0].outcome == "not-measured"
    assert unjudged("critical", "app-died", LeakPlan(), []).reason == "app-died"


@pytest.mark.parametrize(
    ("kind", "limit", "expected"),
    [
        ("heap", None, 6.0),
        ("heap", "100B/request", 100.0),
        ("external", "10B/request", 64.0),
        ("native", "100B/request", 512.0),
        ("native", "1KB/request", 1000.0),
        ("fds", "1KB/request", 0.005),
    ],
)
def test_limits_by_kind(kind: MemoryKind, limit: str | None, expected: float) -> None:
    assert LeakPlan(limit=parse_rate(limit) if limit else None).limit_for(kind) == expected
    assert LeakPlan(precise=False).limit_for("heap") > LeakPlan().limit_for("heap")


@given(
    st.lists(st.floats(0, 1e8), min_size=2, max_size=40),
    st.integers(0, 3000),
    st.floats(0.01, 5),
    st.integers(0, 12),
)
def test_any_readings_get_an_answer(heaps: list[float], units: int, seconds: float, rest: int) -> None:
    for estimate in judge_leak(make_rounds(heaps, units=units, seconds=seconds, rest=rest), LeakPlan()):
        assert estimate.outcome in ("pass", "critical", "inconclusive", "not-measured")
        assert estimate.reason
        assert estimate.low <= estimate.slope <= estimate.high
        assert 0.0 <= estimate.give_back <= 1.0


@given(st.lists(st.floats(4e6, 6e6), min_size=12, max_size=40), st.floats(0, 1e6))
def test_a_level_shift_of_everything_changes_nothing(heaps: list[float], shift: float) -> None:
    moved = heap(make_rounds([value + round(shift) for value in heaps]))
    found = heap(make_rounds(heaps))
    assert moved.outcome == found.outcome
    assert moved.slope == pytest.approx(found.slope, abs=1e-3)


# --- reading the rounds ---


def test_series_count_units_from_the_start() -> None:
    series = read_series(make_rounds([1.0, 2.0, 3.0], units=10, rest=2), "heap")
    assert series is not None
    assert (series.start, series.load, series.units, series.growth) == (1.0, ((10.0, 2.0), (20.0, 3.0)), 20.0, 2.0)
    assert series.load_s == pytest.approx(2.0)
    assert [rest.duration_s for rest in series.rests] == [pytest.approx(2.0)]


def test_worker_heaps_are_judged_where_there_are_workers() -> None:
    assert read_series(make_rounds([1.0, 2.0]), "worker-heap") is None


def test_falls_in_a_rest() -> None:
    rest = Rest(units=10, before=100_000, readings=((1, 99_900), (2, 60_000), (3, 60_000), (4, 20_000), (5, 20_050)))
    assert rest.fall_times_s(1000) == (2, 4)
    assert rest.fall_times_s(1e6) == ()
    assert rest.lowest == 20_000


def slow_rounds_with_sessions(slope: float, *, cycles: int = 4, units: int = 75) -> list[Round]:
    """Sessions of 60 KB expire in each rest; what ``slope`` bytes a unit have left by then stays."""
    rounds: list[Round] = []

    def add(heap_bytes: float, done: int, *, idle: bool) -> None:
        at = float(len(rounds))
        memory = replace(SETTLED, heap_used_bytes=round(heap_bytes))
        rounds.append(
            Round(index=len(rounds), units=done, errors=0, start_s=at, end_s=at + 1.0, memory=memory, idle=idle)
        )

    add(5e6, 0, idle=False)
    for cycle in range(cycles):
        for part in range(3):
            add(5e6 + 60e3 + slope * (cycle * units + (part + 1) * units / 3), units // 3, idle=False)
        for _ in range(6 if cycle else 11):
            add(5e6 + slope * (cycle + 1) * units, 0, idle=True)
    return rounds


@pytest.mark.parametrize(("slope", "outcome"), [(0, "pass"), (4, "pass"), (10, "inconclusive"), (40, "inconclusive")])
def test_what_surely_grows_from_rest_to_rest_is_not_passed_for_adding_up_to_little(slope: float, outcome: str) -> None:
    assert heap(slow_rounds_with_sessions(slope)).outcome == outcome


@pytest.mark.parametrize("seed", range(12))
def test_noise_does_not_pass_what_would_be_doubted_without_it(seed: int) -> None:
    """100 B/unit in 120 units of a slow app: too little in all to be called, too much a unit to be waved through."""
    chance = random.Random(seed)
    readings = [5e6 + 400.0 * index + abs(chance.gauss(0.0, 2000.0)) for index in range(30)]
    assert heap(make_rounds(readings, units=4)).outcome == "inconclusive"
