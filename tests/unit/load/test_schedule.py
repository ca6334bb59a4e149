"""Arrivals, ramps and shares."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.load.schedule import arrival_s, client_start_s, due_by_share, share_of, weighted_order


def test_arrivals_are_evenly_spaced() -> None:
    assert [arrival_s(n, 10) for n in range(4)] == pytest.approx([0, 0.1, 0.2, 0.3])


@given(st.floats(0.1, 1e5), st.floats(0, 100), st.integers(0, 10**6))
def test_arrivals_never_go_back_and_a_ramp_only_delays(rate: float, ramp: float, number: int) -> None:
    assert arrival_s(number, rate, ramp) <= arrival_s(number + 1, rate, ramp)
    assert arrival_s(number, rate, ramp) >= arrival_s(number, rate) - 1e-6


def test_a_ramp_sends_half_as_much_and_then_all() -> None:
    in_ramp = sum(arrival_s(n, 100, 2.0) < 2.0 for n in range(1000))
    after = sum(2.0 <= arrival_s(n, 100, 2.0) < 3.0 for n in range(1000))
    assert in_ramp == pytest.approx(100, abs=1)
    assert after == pytest.approx(100, abs=1)


def test_clients_start_over_the_ramp() -> None:
    assert [client_start_s(n, 4, 2.0) for n in range(4)] == [0, 0.5, 1.0, 1.5]
    assert client_start_s(3, 4, 0.0) == 0
    assert [client_start_s(n, 2, 2.0, process) for n in range(2) for process in (0.0, 0.5)] == [0, 0.5, 1.0, 1.5]


@given(st.integers(0, 10**6), st.integers(1, 64))
def test_shares_add_up(total: int, parts: int) -> None:
    shares = [share_of(total, parts, index) for index in range(parts)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("weights", "order"), [([1.0], [0]), ([3, 1], [0, 0, 1, 0]), ([2, 2], [0, 1]), ([1, 1, 2], [2, 0, 1, 2])]
)
def test_a_mix_is_spread_out(weights: list[float], order: list[int]) -> None:
    assert weighted_order(weights) == order


@given(st.lists(st.floats(0.01, 1000), min_size=1, max_size=12))
def test_a_mix_keeps_its_shares(weights: list[float]) -> None:
    order = weighted_order(weights)
    counts = Counter(order)
    assert set(counts) == set(range(len(weights)))
    for index, weight in enumerate(weights):
        assert counts[index] / len(order) == pytest.approx(weight / sum(weights), abs=0.02)


@given(st.floats(0, 1), st.integers(1, 2000))
def test_a_share_of_requests_is_exact_in_the_long_run(share: float, total: int) -> None:
    chosen = sum(due_by_share(share, number) for number in range(total))
    assert chosen == pytest.approx(share * total, abs=1.001)
