"""Two sets of runs, test by test."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.baseline_factory import MB, TEST_ID, document, elsewhere, load, result, slope

from pytest_memory import metrics
from pytest_memory.compare import MetricChange, compare_documents, compare_metric, compare_runs
from pytest_memory.metrics import Reading


def changes_of(before: float, after: float) -> dict[str, MetricChange]:
    (compared,) = compare_documents(document(result(heap=before)), document(result(heap=after)))
    return {change.metric: change for change in compared.changes}


def test_the_same_document_is_the_same() -> None:
    one = document(result("b.py::t"), result("a.py::t"))
    compared = compare_documents(one, one)
    assert [test.test_id for test in compared] == ["a.py::t", "b.py::t"]
    assert {change.change for test in compared for change in test.changes} == {"same"}
    assert {change.metric for change in compared[0].changes} == set(metrics.NAMES)


@pytest.mark.parametrize(
    ("after", "change"), [(20.9 * MB, "same"), (23 * MB, "worse"), (17 * MB, "better"), (19.1 * MB, "same")]
)
def test_a_change_beyond_chance_and_tolerance_counts(after: float, change: str) -> None:
    found = changes_of(20 * MB, after)["heap_bytes"]
    assert found.change == change
    assert found.low < found.difference < found.high
    assert found.percent == pytest.approx(100 * (after - 20 * MB) / (20 * MB))


def test_beyond_the_tolerance_but_not_beyond_chance_is_uncertain() -> None:
    metric = metrics.BY_NAME["heap_bytes_per_unit"]
    wide = compare_metric(metric, [Reading(value=0, low=-200, high=200)], [Reading(value=300, low=100, high=500)])
    assert wide.change == "uncertain"
    narrow = compare_metric(
        metric, [Reading(value=0, low=-4, high=4)], [Reading(value=300, low=295, high=305)], work=2000
    )
    assert narrow.change == "worse"


def test_more_requests_per_second_are_better() -> None:
    metric = metrics.BY_NAME["rps"]
    assert compare_metric(metric, [Reading(value=1000)], [Reading(value=2500)]).change == "better"
    assert compare_metric(metric, [Reading(value=2500)], [Reading(value=1000)]).change == "worse"


def test_repeats_of_both_sides_are_used() -> None:
    generator = random.Random(3)
    before = [document(result(heap=20 * MB + generator.gauss(0, 4e4))) for _ in range(6)]
    after = [document(result(heap=21.2 * MB + generator.gauss(0, 4e4))) for _ in range(6)]
    (compared,) = compare_runs(before, after)
    heap = compared.changes[0]
    assert (heap.change, heap.before_count, heap.after_count) == ("worse", 6, 6)
    assert heap.high - heap.low < 0.6 * MB
    assert heap in compared.worse


def test_advisory_metrics_do_not_make_a_test_worse() -> None:
    (compared,) = compare_documents(document(result()), document(result(rss=300 * MB)))
    assert {change.metric for change in compared.changes if change.change == "worse"} == {"rss_bytes", "peak_rss_bytes"}
    assert compared.worse == ()


def test_tests_of_one_side_are_listed() -> None:
    compared = compare_documents(document(result("a.py::t")), document(result("b.py::t", outcome="critical")))
    assert [(test.test_id, test.presence, test.outcome_after) for test in compared] == [
        ("a.py::t", "only-before", ""),
        ("b.py::t", "only-after", "critical"),
    ]


def test_other_conditions_are_said_and_not_compared() -> None:
    other = document(result(environment=elsewhere(node_version="v24.0.0")))
    (compared,) = compare_documents(document(result()), other)
    assert (compared.differs, compared.differs_before, compared.differs_after) == ("node", "20", "24")
    assert compared.changes == ()


def test_growth_and_times_need_the_same_work_and_cpu() -> None:
    other = document(result(loads=[load(9000)], environment=elsewhere(cpu="M1")))
    (compared,) = compare_documents(document(result()), other)
    found = {change.metric for change in compared.changes}
    assert not found & {"heap_growth_bytes", "rps", "latency_p50_s", "latency_p99_s", "gc_pause_s"}
    assert {"heap_bytes", "heap_bytes_per_unit", "rss_bytes"} <= found


def test_a_leak_of_200_bytes_a_request_is_worse() -> None:
    (compared,) = compare_documents(document(result(leaks=[slope(2)])), document(result(leaks=[slope(202)])))
    assert [change.metric for change in compared.worse] == ["heap_bytes_per_unit"]
    assert compared.test_id == TEST_ID


@given(st.floats(1e6, 1e9), st.floats(1e6, 1e9))
def test_swapping_sides_swaps_the_answer_sign(before: float, after: float) -> None:
    forth, back = changes_of(before, after)["heap_bytes"], changes_of(after, before)["heap_bytes"]
    assert forth.difference == -back.difference
    assert not (forth.change == "worse" and back.change == "worse")
