"""pytest_memory.noise against what is known of Student's t and of pooled variances."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory import noise
from pytest_memory.noise import Noise


def tail_of_t(t: float, freedom: float) -> float:
    """P(T > t) by integrating the density: a naive oracle."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    steps, upper = 20_000, 1.0
    total = 0.0
    for index in range(steps):  # substitute x = t + u/(1-u) to integrate to infinity
        u = (index + 0.5) / steps * upper
        x = t + u / (1 - u)
        total += scale * (1 + x * x / freedom) ** (-(freedom + 1) / 2) / (1 - u) ** 2
    return total / steps


@pytest.mark.parametrize("freedom", [2, 5, 6, 9.5, 13, 26])
def test_student_t_leaves_one_in_a_thousand(freedom: float) -> None:
    assert tail_of_t(noise.student_t(freedom), freedom) == pytest.approx(1 - noise.CONFIDENCE, rel=0.03)


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_student_t_falls_with_freedom(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert noise.student_t(low) >= noise.student_t(high) >= 3.09


def test_one_measurement_knows_only_what_was_known() -> None:
    assert noise.pool([41.0], Noise(2.0)) == Noise(2.0)
    assert noise.pool([], Noise(2.0)) == Noise(2.0)


def test_two_equal_measurements_do_not_mean_no_noise() -> None:
    pooled = noise.pool([41.0, 41.0], Noise(2.0))
    assert 1.7 < pooled.sd < 2.0


def test_many_measurements_outweigh_the_prior() -> None:
    generator = random.Random(1)
    pooled = noise.pool([generator.gauss(100, 5) for _ in range(200)], Noise(0.5))
    assert pooled.sd == pytest.approx(5, rel=0.15)


def test_a_drift_is_not_its_own_noise() -> None:
    drifting = [20.0 * 1.01**step for step in range(20)]
    assert noise.pool(drifting, Noise(0.14)).sd > 1.0
    assert noise.pool_in_order(drifting, Noise(0.14)).sd < 0.2


@pytest.mark.parametrize("count", [4, 6, 20])
def test_noise_from_steps_is_that_of_the_measurements(count: int) -> None:
    generator = random.Random(count)
    nothing_known = Noise(0.0, 1e-9)
    seen = [noise.pool_in_order([generator.gauss(100, 5) for _ in range(count)], nothing_known).sd for _ in range(2000)]
    assert math.sqrt(math.fsum(sd**2 for sd in seen) / len(seen)) == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize("repeats", [[], [3.0], [3.0, 4.0], [3.0, 4.0, 6.0]])
def test_few_repeats_show_no_drift(repeats: list[float]) -> None:
    assert noise.pool_in_order(repeats, Noise(2.0)) == noise.pool(repeats, Noise(2.0))


def test_half_width_narrows_with_repeats() -> None:
    one = noise.half_width(Noise(1.0), 1, Noise(1.0))
    many = noise.half_width(Noise(1.0), 20, Noise(1.0))
    assert one == pytest.approx(noise.student_t(6) * math.sqrt(2))
    assert many < 0.75 * one


def test_an_interval_gives_back_its_standard_deviation() -> None:
    assert noise.sd_of_interval(10 - 1.96 * 3, 10 + 1.96 * 3) == pytest.approx(3, rel=1e-4)
