"""Levels over commits: steps are found at the right commit, noise and outliers are not steps."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.baseline_factory import ENVIRONMENT, MB, TEST_ID, document, elsewhere, result

from pytest_memory.history import ChangePoint, History, _Level, build_histories, change_points
from pytest_memory.model import Environment


def history_of(heaps: Sequence[float], environments: Sequence[Environment] = ()) -> History:
    runs = []
    for index, heap in enumerate(heaps):
        environment = environments[index] if environments else ENVIRONMENT
        one = document(
            result(heap=heap, environment=environment),
            created_at=f"2026-01-01T{index // 60:02}:{index % 60:02}:00Z",
            commit=f"commit{index}",
        )
        runs.append((f"run-{index}.json", one))
    random.Random(1).shuffle(runs)  # in any order
    return next(one for one in build_histories(runs) if one.metric == "heap_bytes")


def found(heaps: Sequence[float], environments: Sequence[Environment] = ()) -> list[ChangePoint]:
    return list(change_points(history_of(heaps, environments)))


def noisy(level: float, count: int, seed: int = 1, sd: float = 0.006) -> list[float]:
    generator = random.Random(seed)
    return [level * MB * (1 + generator.gauss(0, sd)) for _ in range(count)]


def test_points_are_in_order_of_time_with_their_commits() -> None:
    history = history_of([20 * MB] * 3)
    assert [point.commit for point in history.points] == ["commit0", "commit1", "commit2"]
    assert [point.origin for point in history.points] == ["run-0.json", "run-1.json", "run-2.json"]
    assert (history.test_id, history.metric) == (TEST_ID, "heap_bytes")


def test_a_step_is_found_at_its_commit() -> None:
    (change,) = found(noisy(20, 12) + noisy(24, 9, seed=2))
    assert (change.index, change.commit, change.previous_commit) == (12, "commit12", "commit11")
    assert change.before == pytest.approx(20 * MB, rel=0.01)
    assert change.after == pytest.approx(24 * MB, rel=0.01)
    assert change.worse
    assert change.confirmed


def test_up_and_down_are_two_changes() -> None:
    changes = found(noisy(20, 8) + noisy(30, 8, seed=2) + noisy(20, 8, seed=3))
    assert [(change.index, change.worse) for change in changes] == [(8, True), (16, False)]


def test_three_levels_are_two_changes() -> None:
    changes = found(noisy(20, 6) + noisy(24, 6, seed=2) + noisy(29, 6, seed=3))
    assert [change.index for change in changes] == [6, 12]


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_change(seed: int) -> None:
    assert found(noisy(20, 40, seed=seed)) == []


def test_one_run_off_the_level_is_an_outlier() -> None:
    heaps = noisy(20, 20)
    heaps[9] *= 1.5
    assert found(heaps) == []


def test_a_step_in_the_newest_run_is_reported_unconfirmed() -> None:
    (change,) = found([*noisy(20, 10), 26 * MB])
    assert (change.index, change.confirmed) == (10, False)
    (change,) = found([*noisy(20, 10), 26 * MB, 26.1 * MB])
    assert (change.index, change.confirmed) == (10, True)


def test_a_change_of_node_is_named_as_the_likelier_cause() -> None:
    environments = [ENVIRONMENT] * 6 + [elsewhere(node_version="v22.1.0")] * 6
    (change,) = found(noisy(20, 6) + noisy(26, 6, seed=2), environments)
    assert (change.differs, change.differs_before, change.differs_after) == ("node", "20", "22")


@pytest.mark.parametrize("count", [0, 1])
def test_too_short_to_change(count: int) -> None:
    heaps = [20.0 * MB] * max(count, 1)
    assert found(heaps) == []


def test_two_levels_in_turn_are_noise() -> None:
    """Heaps of healthy apps alternate between two levels a page or two apart."""
    assert found([20 * MB + (index % 2) * 117_000 for index in range(30)]) == []


@given(st.lists(st.floats(1e6, 1e8), min_size=1, max_size=25))
def test_changes_are_ordered_and_inside(heaps: list[float]) -> None:
    indexes = [change.index for change in found(heaps)]
    assert indexes == sorted(set(indexes))
    assert all(0 < index < len(heaps) for index in indexes)


def test_a_hump_of_a_few_commits_is_found() -> None:
    changes = found(noisy(20, 8) + noisy(26, 4, seed=2) + noisy(20, 14, seed=3))
    assert [(change.index, change.worse) for change in changes] == [(8, True), (12, False)]


def test_only_the_newest_runs_are_looked_at() -> None:
    changes = found(noisy(30, 20) + noisy(20, 150, seed=2) + noisy(25, 60, seed=3))
    assert [change.index for change in changes] == [170]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_the_running_deviation_is_the_naive_one(values: list[float]) -> None:
    level = _Level()
    for count, value in enumerate(values, start=1):
        level.add(value)
        centre = statistics.median(values[:count])
        assert level.deviation == pytest.approx(sum(abs(one - centre) for one in values[:count]), abs=1e-6)
