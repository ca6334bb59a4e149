"""The judgement against a baseline, at its edges; every reason code is here."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.baseline_factory import MB, TEST_ID, elsewhere, load, result, slope

from pytest_memory import units
from pytest_memory.baseline import NO_BASELINE, BaselineEntry
from pytest_memory.baseline_update import update_baseline
from pytest_memory.judge.baseline import BaselineSettings, judge_baseline
from pytest_memory.model import Check, RunResult


def entry_of(*results: RunResult) -> BaselineEntry:
    document = NO_BASELINE
    for one in results or (result(),):
        document, _ = update_baseline(document, [one])
    entry = document.entry(TEST_ID)
    assert entry is not None
    return entry


def judged(measured: RunResult, *before: RunResult, **settings: Any) -> dict[str, Check]:
    checks = judge_baseline(measured, entry_of(*before), BaselineSettings(**settings))
    return {check.metric.removeprefix("baseline:"): check for check in checks}


def reasons(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.reason.removeprefix("baseline-") for name, check in checks.items()}


def test_no_entry_passes_and_says_so() -> None:
    (check,) = judge_baseline(result(), None)
    assert (check.metric, check.outcome, check.reason) == ("baseline", "pass", "baseline-missing")


def test_the_same_run_is_within() -> None:
    checks = judged(result())
    assert set(checks) == {
        "heap_bytes",
        "heap_growth_bytes",
        "heap_bytes_per_unit",
        "external_bytes",
        "rss_bytes",
        "peak_rss_bytes",
        "gc_count",
    }
    assert set(reasons(checks).values()) == {"within"}
    assert {check.outcome for check in checks.values()} == {"pass"}


def test_a_breach_carries_everything_its_sentence_needs() -> None:
    check = judged(result(heap=48.8 * MB), result(heap=41.2 * MB))["heap_bytes"]
    assert (check.outcome, check.reason, check.source) == ("critical", "baseline-breach", "baseline")
    assert check.measured == 48_800_000
    assert check.limit is not None
    assert check.limit == pytest.approx(41.2 * MB + float(check.detail["tolerance"]))  # type: ignore[arg-type]
    assert check.detail["baseline"] == 41_200_000
    assert check.detail["change"] == 7_600_000
    assert check.detail["change_percent"] == pytest.approx(18.4466, rel=1e-4)
    assert check.detail["tolerance_percent"] == pytest.approx(5.16, rel=0.02)
    assert check.detail["tolerance_source"] == "noise"
    assert check.low is not None
    assert check.low > 41_200_000  # the interval lies above the baseline


@pytest.mark.parametrize(
    ("limit", "heap", "reason"),
    [
        ("10%", 22_000_000, "within"),
        ("10%", 22_000_001, "breach"),
        ("3MB", 23_000_000, "within"),
        ("3MB", 23_000_001, "breach"),
        ("10%", 17_999_999, "stale-low"),
        ("10%", 18_000_000, "within"),
    ],
)
def test_a_tolerance_of_the_user_holds_to_the_byte(limit: str, heap: int, reason: str) -> None:
    check = judged(result(heap=heap), tolerance=units.parse_limit(limit), source="marker")["heap_bytes"]
    assert check.reason == f"baseline-{reason}"
    assert check.limit_text == limit
    assert check.source == check.detail["tolerance_source"] == "marker"


def test_over_a_tolerance_narrower_than_chance_is_uncertain() -> None:
    check = judged(result(heap=20.3 * MB), tolerance=units.parse_limit("1%"))["heap_bytes"]
    assert (check.outcome, check.reason) == ("inconclusive", "baseline-uncertain")


def test_repeats_make_the_uncertain_certain() -> None:
    repeats = [result(heap=20 * MB + step * 10_000) for step in (0, 1, -1, 0, 1, 0, -1, 0, 1, 0, 0, -1, 0, 1)]
    check = judged(result(heap=20.4 * MB), *repeats, tolerance=units.parse_limit("1%"))["heap_bytes"]
    assert (check.outcome, check.reason) == ("critical", "baseline-breach")


def test_noise_that_was_measured_widens_the_tolerance() -> None:
    noisy = [result(heap=20 * MB * (1 + step / 100)) for step in (0, 3, -3, 2.5, -2, 1, -3, 3)]
    check = judged(result(heap=21.5 * MB), *noisy)["heap_bytes"]
    assert check.reason == "baseline-within"
    assert check.detail["tolerance_source"] == "noise"
    assert judged(result(heap=21.5 * MB), result())["heap_bytes"].reason == "baseline-breach"


def test_far_below_is_stale() -> None:
    check = judged(result(heap=15 * MB))["heap_bytes"]
    assert (check.outcome, check.reason, check.detail["better"]) == ("warning", "baseline-stale-low", True)


def test_an_unsettled_heap_proves_no_breach() -> None:
    check = judged(result(heap=30 * MB, converged=False))["heap_bytes"]
    assert (check.outcome, check.reason) == ("inconclusive", "baseline-uncertain")


def test_rss_warns_unless_the_test_names_it() -> None:
    assert judged(result(rss=150 * MB))["rss_bytes"].outcome == "warning"
    named = judged(result(rss=150 * MB), metrics={"rss_bytes": None})
    assert set(named) == {"rss_bytes"}
    assert named["rss_bytes"].outcome == "critical"


def test_times_are_judged_only_where_named() -> None:
    slow = result(loads=[load(slow=3)])
    assert not {"latency_p50_s", "latency_p99_s", "rps", "gc_pause_s"} & set(judged(slow))
    named = judged(slow, metrics={"latency_p99_s": None, "rps": None})
    assert {name: check.reason for name, check in named.items()} == {
        "latency_p99_s": "baseline-breach",
        "rps": "baseline-breach",
    }
    fast = judged(result(loads=[load(slow=0.3)]), metrics={"rps": None})
    assert fast["rps"].reason == "baseline-stale-low"


def test_times_need_the_same_machine_to_themselves() -> None:
    named = {"latency_p99_s": None, "heap_bytes": None}
    shared = judged(result(), metrics=named, shared_machine=True)
    assert reasons(shared) == {"heap_bytes": "within", "latency_p99_s": "not-comparable"}
    assert shared["latency_p99_s"].outcome == "inconclusive"
    assert shared["latency_p99_s"].detail["difference"] == "shared-machine"
    elsewhere_run = judged(result(environment=elsewhere(cpu="M1")), metrics=named)
    assert elsewhere_run["latency_p99_s"].detail == {"difference": "cpu", "before": "AMD EPYC 7763", "after": "M1"}
    assert elsewhere_run["heap_bytes"].reason == "baseline-within"


@pytest.mark.parametrize(
    ("measured", "differs"),
    [
        (result(environment=elsewhere(node_version="v22.3.0")), "node"),
        (result(environment=elsewhere(arch="aarch64")), "arch"),
        (result(loads=[load(concurrency=99)]), "load"),
        (result(precise=True), "precise"),
    ],
)
def test_other_conditions_are_inconclusive_with_the_reason(measured: RunResult, differs: str) -> None:
    (check,) = judge_baseline(measured, entry_of())
    assert (check.metric, check.outcome, check.reason) == ("baseline", "inconclusive", "baseline-not-comparable")
    assert check.detail["difference"] == differs


def test_a_run_without_an_end_cannot_be_compared() -> None:
    (check,) = judge_baseline(replace(result(), end_memory=None), entry_of())
    assert (check.outcome, check.reason) == ("inconclusive", "baseline-not-measured")


def test_a_metric_the_entry_has_and_the_run_has_not() -> None:
    named = {"gc_pause_s": None}
    check = judged(replace(result(), gc_events=()), metrics=named)["gc_pause_s"]
    assert (check.outcome, check.reason) == ("inconclusive", "baseline-not-measured")
    check = judged(result(), replace(result(), gc_events=()), metrics=named)["gc_pause_s"]
    assert (check.outcome, check.reason) == ("pass", "baseline-missing")


def test_growth_in_bytes_is_compared_only_after_the_same_work() -> None:
    longer = judged(result(growth=0.5 * MB, loads=[load(10_000)]))
    assert "heap_growth_bytes" not in longer
    assert longer["heap_bytes_per_unit"].reason == "baseline-within"
    nothing_per_unit = replace(entry_of(), metrics={"heap_growth_bytes": entry_of().metrics["heap_growth_bytes"]})
    checks = judge_baseline(result(loads=[load(10_000)]), nothing_per_unit)
    growth = next(check for check in checks if check.metric == "baseline:heap_growth_bytes")
    assert growth.detail == {"difference": "units", "before": "2000", "after": "10000"}


def test_growth_in_bytes_that_is_named_alone_is_never_passed_over() -> None:
    longer = result(growth=0.5 * MB, loads=[load(10_000)])
    alone = judged(longer, metrics={"heap_growth_bytes": None})["heap_growth_bytes"]
    assert (alone.outcome, alone.reason) == ("inconclusive", "baseline-not-comparable")
    assert alone.detail == {"difference": "units", "before": "2000", "after": "10000"}
    both = judged(longer, metrics={"heap_growth_bytes": None, "heap_bytes_per_unit": None})
    assert reasons(both) == {"heap_bytes_per_unit": "within"}


@pytest.mark.parametrize(
    ("heap_mb", "growth_mb", "requests", "outcome", "reason"),
    [
        # The baseline: 2000 requests, of which a cache of 4 MB has been filled, up to 20 MB.
        (24, 8, 4000, "inconclusive", "not-comparable"),  # the cache goes on filling
        (20, 4, 4000, "pass", "within"),  # it was full
        (24, 4, 4000, "critical", "breach"),  # 4 MB more from the start on: no cache
        (24, 4, 2100, "critical", "breach"),  # the same work
        (18, 2, 1000, "pass", "not-comparable"),  # half full: no reason to call the baseline stale
        (18, 4, 1000, "warning", "stale-low"),  # less from the start on
        (20, 2, 1000, "inconclusive", "not-comparable"),  # 2 MB more at the start, hidden by the cache
        (24, 4, 1000, "critical", "breach"),
    ],
)
def test_a_level_after_other_work_is_judged_where_the_work_does_not_decide(
    heap_mb: float, growth_mb: float, requests: int, outcome: str, reason: str
) -> None:
    measured = result(heap=heap_mb * MB, growth=growth_mb * MB, loads=[load(requests)])
    check = judged(measured, result(heap=20 * MB, growth=4 * MB))["heap_bytes"]
    assert (check.outcome, check.reason) == (outcome, f"baseline-{reason}")
    if reason == "not-comparable":
        assert check.detail == {"difference": "units", "before": "2000", "after": str(requests)}


def test_external_memory_that_fills_with_the_work_is_no_breach() -> None:
    measured = result(external=6 * MB, loads=[load(4000)])
    assert measured.start_memory is not None
    filled = replace(measured, start_memory=replace(measured.start_memory, external_bytes=0))
    before = result(external=3 * MB)
    assert judged(filled, before)["external_bytes"].reason == "baseline-not-comparable"
    higher = replace(measured, start_memory=replace(measured.start_memory, external_bytes=5 * MB))
    assert judged(higher, before)["external_bytes"].reason == "baseline-breach"


def test_200_bytes_a_request_are_a_breach_of_the_slope() -> None:
    check = judged(result(leaks=[slope(203)]), result(leaks=[slope(3)]))["heap_bytes_per_unit"]
    assert (check.outcome, check.reason, check.unit) == ("critical", "baseline-breach", "bytes/request")


def test_a_wide_interval_is_never_significant_by_default() -> None:
    wide = judged(
        result(leaks=[slope(203, half=400)]), result(leaks=[slope(3)]), tolerance=units.parse_limit("100B/request")
    )
    assert wide["heap_bytes_per_unit"].reason == "baseline-uncertain"
    assert wide["heap_bytes"].limit_text == ""  # a rate fits no size: derived there


def test_an_infinite_interval_hides_no_growth() -> None:
    short = replace(slope(5000, half=math.inf, outcome="inconclusive"), reason="too-short")
    check = judged(result(leaks=[short], growth=10 * MB), result(leaks=[slope(2)]))["heap_bytes_per_unit"]
    assert (check.outcome, check.reason) == ("critical", "baseline-breach")
    assert math.isfinite(float(check.detail["tolerance"]))


def test_a_metric_of_its_own_tolerance() -> None:
    named = {"heap_bytes": units.parse_limit("30%"), "rss_bytes": None}
    checks = judged(result(heap=25 * MB), metrics=named, tolerance=units.parse_limit("10%"), source="option")
    assert (checks["heap_bytes"].reason, checks["heap_bytes"].source) == ("baseline-within", "marker")
    assert checks["rss_bytes"].source == "option"


@given(st.floats(0.2, 5), st.integers(1, 12), st.integers(0, 2**32))
def test_worse_is_never_judged_milder_than_better(factor: float, repeats: int, seed: int) -> None:
    generator = random.Random(seed)
    entry = entry_of(*(result(heap=20 * MB * (1 + generator.gauss(0, 0.005))) for _ in range(repeats)))

    def severity(heap: float) -> int:
        checks = judge_baseline(result(heap=heap), entry)
        found = next(check for check in checks if check.metric == "baseline:heap_bytes")
        return ["stale-low", "within", "uncertain", "breach"].index(found.reason.removeprefix("baseline-"))

    assert severity(20 * MB * factor) <= severity(20 * MB * factor * 1.1)


def test_chance_alone_breaches_less_than_once_in_a_thousand() -> None:
    generator = random.Random(7)

    def measure() -> RunResult:
        return result(heap=20 * MB * (1 + generator.gauss(0, 0.007)), growth=generator.gauss(1e5, 35e3))

    breaches = 0
    for _ in range(600):
        entry = entry_of(*(measure() for _ in range(generator.choice((1, 2, 5)))))
        breaches += sum(check.reason == "baseline-breach" for check in judge_baseline(measure(), entry))
    assert breaches == 0
