"""Statistics of short series: exact where exactness can be stated, robust where it must be."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory import stats

values = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60)
slopes = st.floats(-1e4, 1e4)


def line(n: int, slope: float, start: float = 0.0) -> list[tuple[float, float]]:
    return [(float(x), start + slope * x) for x in range(n)]


# --- percentiles ---


@given(values, st.floats(0, 100))
def test_percentile_lies_between_its_neighbours(series: list[float], q: float) -> None:
    ordered = sorted(series)
    position = (len(ordered) - 1) * q / 100
    found = stats.percentile(series, q)
    assert ordered[math.floor(position)] <= found <= ordered[math.ceil(position)]


@given(values)
def test_median_agrees_with_the_standard_library(series: list[float]) -> None:
    assert stats.median(series) == pytest.approx(statistics.median(series), abs=1e-3)


@pytest.mark.parametrize(("series", "q"), [([], 50), ([1.0], -1), ([1.0], 101)])
def test_percentile_refuses_what_it_cannot_answer(series: list[float], q: float) -> None:
    with pytest.raises(ValueError):
        stats.percentile(series, q)


def test_spread_of_gaussian_noise_is_its_standard_deviation() -> None:
    chance = random.Random(1)
    assert stats.spread([chance.gauss(0, 5) for _ in range(4000)]) == pytest.approx(5, rel=0.1)
    assert stats.spread([3.0]) == 0.0


# --- slopes ---


@given(slopes, st.integers(5, 40))
def test_a_line_has_its_own_slope_and_no_doubt(slope: float, n: int) -> None:
    found = stats.theil_sen(line(n, slope))
    assert found.value == pytest.approx(slope, abs=1e-6)
    assert found.half_width == pytest.approx(0, abs=1e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=40), slopes, st.floats(-1e6, 1e6))
def test_slope_is_equivariant(series: list[float], tilt: float, shift: float) -> None:
    points = [(float(x), y) for x, y in enumerate(series)]
    tilted = [(x, y + tilt * x + shift) for x, y in points]
    assert stats.theil_sen(tilted).value == pytest.approx(stats.theil_sen(points).value + tilt, abs=1e-3)


def test_interval_of_few_points_is_everything_until_five() -> None:
    assert [math.isfinite(stats.theil_sen(line(n, 1)).high) for n in range(1, 8)] == [False] * 4 + [True] * 3


def test_interval_holds_the_true_slope_as_often_as_it_says() -> None:
    chance = random.Random(7)
    held = 0
    for _ in range(400):
        found = stats.theil_sen([(x, 3.0 * x + chance.gauss(0, 20)) for x in range(8)])
        held += found.low <= 3.0 <= found.high
    assert held / 400 >= 0.93


def test_interval_widens_for_series_that_remember() -> None:
    chance = random.Random(3)
    walk = list(itertools.accumulate(chance.gauss(0, 1) for _ in range(60)))
    shuffled = walk[:]
    chance.shuffle(shuffled)
    of_walk = stats.theil_sen(list(enumerate(walk)))
    assert (
        of_walk.low < 0.0 < of_walk.high
        or of_walk.half_width > 2 * stats.theil_sen(list(enumerate(shuffled))).half_width
    )


def test_one_outlier_does_not_move_the_slope() -> None:
    points = line(20, 2.0)
    points[10] = (10.0, 1e9)
    assert stats.theil_sen(points).value == pytest.approx(2.0)


def test_points_at_one_place_have_no_slope() -> None:
    found = stats.theil_sen([(1.0, 5.0), (1.0, 9.0)])
    assert (found.value, found.low, found.high) == (0.0, -math.inf, math.inf)


def test_kendall_margins_follow_from_counting_permutations() -> None:
    # n = 5: of 120 orders one has no discordant pair; 1/120 < 2.5 %, but (1 + 4)/120 is not.
    assert stats._kendall_margin(5, 0.95) == 0
    assert stats._kendall_margin(4, 0.95) is None
    assert sum(stats._kendall_counts(6)) == math.factorial(6)
    # The normal approximation takes over without a jump.
    assert abs((stats._kendall_margin(41, 0.95) or 0) - (stats._kendall_margin(40, 0.95) or 0)) < 25


# --- floors and falls ---


@given(values, st.integers(1, 12))
def test_block_minima_are_lows_of_the_series(series: list[float], blocks: int) -> None:
    points = [(float(x), y) for x, y in enumerate(series)]
    lows = stats.block_minima(points, blocks)
    assert len(lows) == min(blocks, len(points))
    assert set(lows) <= set(points)
    assert min(y for _, y in lows) == min(series)


def test_troughs_of_a_sawtooth_are_one_a_cycle() -> None:
    saw = [(float(x), float(x % 10)) for x in range(55)]
    assert stats.troughs(saw, drop=5) == [(10.0, 0.0), (20.0, 0.0), (30.0, 0.0), (40.0, 0.0), (50.0, 0.0)]


def test_a_fall_in_several_steps_is_one_trough() -> None:
    falling = [(0.0, 0.0), (1.0, 10.0), (2.0, 7.0), (3.0, 3.0), (4.0, 1.0), (5.0, 9.0)]
    assert stats.troughs(falling, drop=4) == [(4.0, 1.0)]


@given(values)
def test_give_back_is_a_share(series: list[float]) -> None:
    assert 0.0 <= stats.give_back(series) <= 1.0
    assert 0.0 <= stats.step_share(series) <= 1.0
    assert stats.drawdown(sorted(series)) == 0.0


def test_give_back_of_typical_shapes() -> None:
    assert stats.give_back([0, 1, 2, 3]) == 0.0
    assert stats.give_back([0, 4, 1, 2]) == pytest.approx(0.75)
    assert stats.give_back([5]) == 0.0
    assert stats.step_share([0, 0, 0, 10, 10]) == 1.0


# --- levelling off ---


def test_a_filling_cache_is_recognised_and_extrapolated() -> None:
    filling = [(x, 100.0 * (1 - math.exp(-x / 20))) for x in range(0, 60, 2)]
    found = stats.levelling_off([(float(x), y) for x, y in filling])
    assert found is not None
    assert found.end == pytest.approx(100, rel=0.05)
    assert found.scale == pytest.approx(20, rel=0.15)
    assert found.gain > 0.99


def test_a_line_does_not_level_off() -> None:
    assert stats.levelling_off(line(30, 5.0)) is None
    assert stats.levelling_off(line(3, 5.0)) is None


# --- cycles ---


def sampled_saw(leak: float, rate: float, period: float, count: int, seed: int = 1) -> list[tuple[float, float]]:
    chance = random.Random(seed)
    xs = itertools.accumulate(chance.uniform(0.6, 1.4) * period / 4.3 for _ in range(count))
    return [(x, leak * x + rate * (x % period) + chance.gauss(0, 200)) for x in xs]


@given(st.floats(0, 300), st.floats(200, 900), st.sampled_from([997.0, 2500.0, 5000.0]))
def test_growth_under_a_sawtooth_is_found_within_the_stated_doubt(leak: float, rate: float, period: float) -> None:
    points = sampled_saw(leak, rate, period, 60)
    cycle = stats.find_cycle(points)
    assert cycle is not None
    found = stats.theil_sen(cycle.remove(points)).value
    assert abs(found - leak) <= cycle.slope_doubt + 2.0


def test_no_cycle_in_lines_and_noise() -> None:
    chance = random.Random(5)
    assert stats.find_cycle(line(60, 100.0)) is None
    assert stats.find_cycle([(float(x), chance.gauss(0, 1000)) for x in range(60)]) is None
    assert stats.find_cycle(sampled_saw(0, 500, 5000, 9)) is None


def test_a_sawtooth_that_rises_at_once_is_the_mirror_image_of_one_that_falls() -> None:
    points = [(x, 500.0 * (x % 3000) + 14.0 * x) for x in range(0, 100_000, 2500)]
    cycle = stats.find_cycle(points)
    assert cycle is not None
    assert cycle.height < 0
    slope = stats.theil_sen(cycle.remove(points))
    assert abs(slope.value - 14.0) <= cycle.slope_doubt < 5


def test_a_doubling_table_does_not_hide_the_cycle() -> None:
    points = sampled_saw(0, 600, 5000, 60)
    middle = points[30][0] - 1
    jumped = [(x, y + (900_000 if x > middle else 0)) for x, y in points]
    cycle = stats.find_cycle(jumped)
    assert cycle is not None
    assert cycle.period == pytest.approx(5000, rel=0.05)
