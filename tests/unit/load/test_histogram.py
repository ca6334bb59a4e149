"""Percentiles to three digits out of counters."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.load import histogram
from pytest_memory.load.histogram import cell_of, merge, percentiles_s, summarise, value_of

NANOSECONDS = st.integers(0, 3600 * 10**9)


def cells_of(values: list[int]) -> dict[int, int]:
    cells: dict[int, int] = {}
    for value in values:
        merge(cells, {cell_of(value): 1})
    return cells


@given(NANOSECONDS)
def test_a_cell_stands_for_its_values_to_a_thousandth(value: int) -> None:
    assert value_of(cell_of(value)) == pytest.approx(value, rel=1 / 1024)


@given(NANOSECONDS, NANOSECONDS)
def test_cells_are_in_the_order_of_values(one: int, other: int) -> None:
    if one <= other:
        assert cell_of(one) <= cell_of(other)


def test_cells_have_no_gap() -> None:
    for exponent in range(10, 40):
        edge = 1 << exponent
        assert cell_of(edge) - cell_of(edge - 1) == 1


@given(st.lists(NANOSECONDS, min_size=1, max_size=200), st.sampled_from([0, 1, 50, 75, 90, 99, 99.9, 100]))
def test_percentiles_are_those_of_the_sorted_list(values: list[int], percentile: float) -> None:
    rank = max(1, math.ceil(round(percentile * len(values) / 100, 6)))
    exact = sorted(values)[rank - 1]
    assert percentiles_s(cells_of(values), [percentile])[0] == pytest.approx(exact * 1e-9, rel=1 / 1024, abs=1e-12)


def test_the_percentile_of_a_thousand_is_not_off_by_one() -> None:
    values = list(range(1, 1001))
    assert percentiles_s(cells_of(values), [50, 99, 99.9]) == pytest.approx([500e-9, 990e-9, 999e-9])


@given(st.lists(NANOSECONDS, max_size=50), st.lists(NANOSECONDS, max_size=50))
def test_merging_is_counting_together(one: list[int], other: list[int]) -> None:
    merged = cells_of(one)
    merge(merged, cells_of(other))
    assert merged == cells_of(one + other)
    assert histogram.count_of(merged) == len(one) + len(other)


def test_a_summary() -> None:
    latency = summarise(cells_of([1_000_000 * n for n in range(1, 101)]))
    assert latency.count == 100
    assert latency.mean_s == pytest.approx(0.0505, rel=1e-3)
    assert (
        latency.min_s,
        latency.p50_s,
        latency.p75_s,
        latency.p90_s,
        latency.p95_s,
        latency.p99_s,
        latency.max_s,
    ) == (pytest.approx((0.001, 0.05, 0.075, 0.09, 0.095, 0.099, 0.1), rel=1e-3))


def test_nothing_recorded_is_all_zero() -> None:
    assert summarise({}).count == 0
    assert percentiles_s({}, [50, 99]) == [0.0, 0.0]


def test_an_hour_has_few_cells() -> None:
    assert cell_of(3600 * 10**9) < 40_000
