"""What an update changes, what it leaves alone, and what it refuses to store."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.baseline_factory import MB, TEST_ID, elsewhere, load, result, slope

from pytest_memory import baseline_update
from pytest_memory.baseline import MAX_REPEATS, NO_BASELINE, Baseline, derived_tolerance, encode_baseline
from pytest_memory.baseline_update import gone_ids, merge_baselines, prune_entries, update_baseline, why_not_storable
from pytest_memory.metrics import BY_NAME, Reading
from pytest_memory.model import Check, RunResult
from pytest_memory.report.stored import summary_lines


def stored(*results: RunResult) -> Baseline:
    document = NO_BASELINE
    for one in results:
        document, _ = update_baseline(document, [one])
    return document


def heap(document: Baseline, test_id: str = TEST_ID) -> Any:
    entry = document.entry(test_id)
    assert entry is not None
    return entry.metrics["heap_bytes"]


def test_the_first_run_adds() -> None:
    document, summary = update_baseline(NO_BASELINE, [result("a.py::t"), result("b.py::t")])
    assert summary.added == ("a.py::t", "b.py::t")
    assert summary.created
    assert set(document.entries) == {"a.py::t", "b.py::t"}
    assert document.stored


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.lists(st.sampled_from("abcdef"), unique=True))
def test_a_partial_run_touches_only_what_it_ran(all_tests: list[str], ran: list[str]) -> None:
    before = stored(*(result(test_id) for test_id in all_tests))
    after, _ = update_baseline(before, [result(test_id, heap=50 * MB) for test_id in ran])
    for test_id in set(all_tests) - set(ran):
        assert after.entries[test_id] == before.entries[test_id]
    assert set(after.entries) == {*all_tests, *ran}


def test_agreeing_runs_become_repeats_and_the_value_their_median() -> None:
    document = stored(result(heap=20.0 * MB), result(heap=20.1 * MB), result(heap=20.04 * MB))
    assert heap(document).repeats == (20_000_000, 20_100_000, 20_040_000)
    assert heap(document).value == 20_040_000


def test_repeats_are_bounded() -> None:
    document = stored(*(result(heap=20 * MB + i % 5 * 20_000) for i in range(MAX_REPEATS + 7)))
    assert len(heap(document).repeats) == MAX_REPEATS


def test_another_level_starts_anew_and_remembers_the_noise() -> None:
    noisy = [result(heap=20 * MB + offset * 0.1 * MB) for offset in (0, 4, -4, 3, -2)]
    before = stored(*noisy)
    document, summary = update_baseline(before, [result(heap=30 * MB)])
    assert heap(document).repeats == (30_000_000,)
    assert heap(document).earlier_sd == pytest.approx(0.26 * MB, rel=0.5)
    assert [(c.metric, c.before, c.after) for c in summary.changes if c.metric == "heap_bytes"] == [
        ("heap_bytes", heap(before).value, 30_000_000)
    ]
    assert summary.updated == (TEST_ID,)


def test_a_single_run_has_learnt_no_noise_to_remember() -> None:
    document = stored(result(heap=20 * MB), result(heap=30 * MB))
    assert heap(document).earlier_sd is None


def test_other_conditions_replace_the_entry() -> None:
    document = stored(result(heap=20 * MB), result(heap=20.01 * MB, environment=elsewhere(node_version="v22.0.0")))
    assert heap(document).repeats == (20_010_000,)
    entry = document.entry(TEST_ID)
    assert entry is not None
    assert entry.environment.node == "v22.0.0"


def test_growth_after_other_amounts_of_work_is_a_new_level() -> None:
    document = stored(result(loads=[load(2000)]), result(loads=[load(9000)]))
    entry = document.entry(TEST_ID)
    assert entry is not None
    assert len(entry.metrics["heap_growth_bytes"].repeats) == 1
    assert len(entry.metrics["heap_bytes"].repeats) == 2


def test_a_drift_that_is_accepted_again_and_again_does_not_widen_its_own_tolerance() -> None:
    document, told = NO_BASELINE, []
    for step in range(20):
        measured = result(heap=20 * MB * 1.01**step)
        document, summary = update_baseline(document, [measured])
        told.extend(replace(change, test_id="") for change in summary.changes if change.metric == "heap_bytes")
        if step:
            tolerance = derived_tolerance(BY_NAME["heap_bytes"], heap(document), Reading(value=20 * MB))
            assert tolerance < 0.055 * heap(document).value
    assert any(change.drifted for change in told)
    assert any(not change.drifted for change in told)  # in the end it is a new level


def test_a_drift_is_told_when_it_adds_up() -> None:
    document = stored(*(result(heap=heap_mb * MB) for heap_mb in (20, 20.4, 20.8)))
    _, summary = update_baseline(document, [result(heap=21.3 * MB)])
    (change,) = [change for change in summary.changes if change.metric == "heap_bytes"]
    assert (change.before, change.after, change.drifted) == (20 * MB, 21.3 * MB, True)
    (line,) = [line for line in summary_lines(replace(summary, written=True)) if "heap_bytes" in line]
    assert line.endswith("heap_bytes 20.0 MB → 21.3 MB, little by little over 4 measurements")


def test_runs_that_agree_have_no_drift() -> None:
    _, summary = update_baseline(stored(*(result(heap=20 * MB + i % 3 * 90_000) for i in range(9))), [result()])
    assert summary.changes == ()


def test_a_metric_not_measured_this_time_is_kept() -> None:
    before = stored(result())
    after, _ = update_baseline(before, [replace(result(), gc_events=())])
    assert after.entries[TEST_ID].metrics["gc_count"] == before.entries[TEST_ID].metrics["gc_count"]


UNSURE = slope(5000, half=math.inf, outcome="inconclusive")


def run_check(reason: str, outcome: Any = "critical") -> Check:
    return Check(metric="load", outcome=outcome, reason=reason, source="run", unit="count")


BROKEN = Check(metric="max_heap_growth", outcome="critical", reason="over-limit")
BREACH = Check(metric="baseline:heap_bytes", outcome="critical", reason="baseline-breach")


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (result(), None),
        (RunResult(test_id="t"), "not-measured"),
        (result(checks=[run_check("app-died")], outcome="critical"), "app-died"),
        (result(checks=[run_check("no-requests")], outcome="critical"), "no-requests"),
        (result(checks=[BROKEN], outcome="critical"), "limit-broken"),
        (result(leaks=[slope(5000, outcome="critical")], outcome="critical"), "limit-broken"),
        (
            result(leaks=[UNSURE], outcome="inconclusive"),
            "leak-inconclusive",
        ),
        (result(checks=[run_check("app-restarted", "inconclusive")], outcome="inconclusive"), "app-restarted"),
        (replace(result(), test_outcome="failed"), "test-failed"),
        (replace(result(), test_outcome="rerun"), "test-failed"),
        (replace(result(checks=[BREACH], outcome="critical"), test_outcome="failed"), None),
        (result(converged=False), "not-settled"),
        (result(checks=[Check(metric="m", outcome="warning", reason="r")], outcome="warning"), None),
    ],
)
def test_only_a_test_that_went_well_is_stored(measured: RunResult, reason: str | None) -> None:
    assert why_not_storable(measured) == reason
    document, summary = update_baseline(NO_BASELINE, [measured])
    assert bool(document.entries) is (reason is None)
    assert summary.skipped == (() if reason is None else ((measured.test_id, reason),))


def test_what_was_not_stored_is_said_with_its_reason() -> None:
    unsure = result("a", leaks=[UNSURE], outcome="inconclusive")
    restarted = result("b", checks=[run_check("app-restarted", "inconclusive")], outcome="inconclusive")
    _, summary = update_baseline(NO_BASELINE, [unsure, restarted])
    first, second = summary_lines(summary)
    assert first == "  not stored: a (its leak test could not tell whether it leaks)"
    assert second.startswith("  not stored: b (the app restarted while it was measured")


def test_entries_of_deleted_tests_are_listed_and_removed_only_when_asked() -> None:
    before = stored(result("a.py::gone"), result("a.py::here"))
    kept, listed = update_baseline(before, [], gone=["a.py::gone", "a.py::never-was"])
    assert kept.entries == before.entries
    assert (listed.gone, listed.pruned) == (("a.py::gone",), ())
    pruned, removed = update_baseline(before, [], gone=["a.py::gone"], prune=True)
    assert set(pruned.entries) == {"a.py::here"}
    assert (removed.gone, removed.pruned) == ((), ("a.py::gone",))


def test_only_what_a_collection_could_see_is_gone() -> None:
    document = stored(*(result(i) for i in ("a.py::x", "a.py::y[1]", "b.py::x", "c.py::x", "deleted.py::x")))
    collected = ["a.py::x", "b.py::other"]
    assert gone_ids(document, collected, whole_files={"a.py"}, missing_files={"deleted.py"}) == (
        "a.py::y[1]",
        "deleted.py::x",
    )
    assert gone_ids(document, collected, whole_files=()) == ()
    assert baseline_update.entry_files(document) == ("a.py", "b.py", "c.py", "deleted.py")
    assert set(prune_entries(document, ["b.py::x"]).entries) == set(document.entries) - {"b.py::x"}


def test_shards_merge_to_what_one_run_would_have_written() -> None:
    one, other = result("a.py::t"), result("b.py::t")
    merged = merge_baselines(stored(one), stored(other))
    assert encode_baseline(merged) == encode_baseline(stored(one, other))
