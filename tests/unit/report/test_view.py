from __future__ import annotations

from dataclasses import replace

import pytest
from support import result_factory as factory

from pytest_memory.judge import combine
from pytest_memory.model import Check, ClassDelta, Finding, Growth, RetainerPath, RunResult, Sample
from pytest_memory.report import advice, tables, view, words


def test_verdict_lines(golden_text):
    lines = [
        f"{result.test_id.rpartition('::')[2]}\n    {view.verdict_line(result)}" for result in factory.every_kind()
    ]
    golden_text("verdict_lines.txt", "\n".join(lines) + "\n")


def baseline_check(reason: str, before: float, after: float, tolerance: float, unit: str = "bytes", **more) -> Check:
    detail = {
        "baseline": before,
        "change_percent": 100 * (after - before) / before if before else None,
        "tolerance": tolerance,
        "tolerance_percent": 100 * tolerance / before if before else None,
    }
    return Check(
        metric="baseline:heap_bytes",
        outcome="critical",
        reason=reason,
        measured=after,
        detail=detail,
        unit=unit,
        **more,
    )


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (
            baseline_check("baseline-breach", 41.2e6, 48.8e6, 2.93e6),
            "settled heap +18.4 % (41.2 → 48.8 MB), tolerance 7.1 %",
        ),
        (
            baseline_check("baseline-breach", 41.2e6, 48.8e6, 4.12e6, limit_text="10%"),
            "settled heap +18.4 % (41.2 → 48.8 MB), tolerance 10%",
        ),
        (
            baseline_check("baseline-breach", 9e3, 2.1e6, 256e3),
            "settled heap +2.09 MB (9.00 KB → 2.10 MB), tolerance 256 KB",
        ),
        (
            baseline_check("baseline-breach", 0, 220, 20, "bytes/request"),
            "settled heap +220 B/request (0 → 220 B/request), tolerance 20 B/request",
        ),
        (
            baseline_check("baseline-stale-low", 48.8e6, 41.2e6, 2.93e6),
            "settled heap -15.6 % (48.8 → 41.2 MB), tolerance 6.0 %; "
            "far below the baseline, which no longer guards anything",
        ),
    ],
)
def test_a_comparison_says_change_values_and_tolerance(check, sentence):
    assert view.check_sentence(check, factory.healthy()) == sentence


@pytest.mark.parametrize("kind", ["leaking", "over_limit", "inconclusive", "crashed", "unmeasured", "compared", "xss"])
def test_failure_texts(kind, golden_text):
    golden_text(f"failure_{kind}.txt", view.failure_text(getattr(factory, kind)()) + "\n")


def test_the_leak_sentence_is_the_one_promised():
    assert view.verdict_line(factory.leaking()) == (
        "leak: 1,024 B/request (95 %: 1,009–1,041), limit 100 B/request; 2.05 MB in 2,000 requests over 8 rounds; "
        "would reach the 512 MB heap limit after 480,000 requests"
    )


def test_the_limit_sentence_is_the_one_promised():
    assert view.verdict_line(factory.over_limit()) == "memory: heap grew 61.2 MB (12.1 → 73.3 MB), limit 50MB"


@pytest.mark.parametrize("reason", [*words.REASONS, "never-heard-of"])
@pytest.mark.parametrize(
    "metric", ["max_heap_growth", "max_gc_pause", "no_leaks:heap", "baseline:rss", "app", "load", "x:y"]
)
@pytest.mark.parametrize("measured", [None, 12.0])
def test_every_reason_makes_a_sentence(reason, metric, measured):
    check = Check(metric=metric, outcome="inconclusive", reason=reason, measured=measured, limit=1.0)
    result = RunResult(test_id="t", verdict=combine([check]))
    sentence = view.check_sentence(check, result)
    assert sentence.strip(" ,;:") == sentence
    assert "None" not in sentence
    assert view.failure_text(result)


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (
            Check(metric="max_heap_growth", outcome="critical", reason="over-limit", measured=35.0, limit=10.0,
                  limit_text="10%", unit="percent", detail={"start": 12e6, "end": 16.2e6}),
            "heap grew 35 % (12.0 → 16.2 MB), limit 10%",
        ),
        (
            Check(metric="max_heap_growth", outcome="critical", reason="over-limit", measured=240.0, limit=200.0,
                  limit_text="200B/request", unit="bytes/request",
                  detail={"start": 12e6, "end": 13.2e6, "units": 5000}),
            "heap grew 240 B/request (12.0 → 13.2 MB in 5,000 requests), limit 200B/request",
        ),
        (
            Check(metric="max_rss_growth", outcome="pass", reason="within-limit", measured=-2e6, limit=1e6,
                  limit_text="1MB", detail={"start": 12e6, "end": 10e6}),
            "RSS shrank 2.00 MB (12.0 → 10.0 MB), limit 1MB",
        ),
        (
            Check(metric="max_gc_pause", outcome="critical", reason="over-limit", measured=0.312, limit=0.2,
                  limit_text="200ms", unit="s"),
            "longest GC pause 312 ms, limit 200ms",
        ),
        (
            Check(metric="load", outcome="critical", reason="too-many-errors", measured=40.0, limit=1.0,
                  limit_text="1%", unit="percent", detail={"errors": 40, "requests": 100, "first_error": "500 from /"}),
            "40 of 100 requests failed (first: 500 from /), limit 1%",
        ),
        (
            Check(metric="max_rss_growth", outcome="inconclusive", reason="not-settled", measured=5e6, limit=1e6,
                  limit_text="1MB", detail={"start": 10e6, "end": 15e6}),
            "RSS grew 5.00 MB (10.0 → 15.0 MB), limit 1MB; memory had not settled when it was read",
        ),
        (
            Check(metric="max_heap_growth", outcome="inconclusive", reason="no-samples", limit=50e6, limit_text="50MB"),
            "heap: nothing was measured, limit 50MB",
        ),
    ],
)  # fmt: skip
def test_check_sentences(check, sentence):
    assert view.check_sentence(check, RunResult(test_id="t")) == sentence


def test_other_equally_bad_checks_are_named():
    checks = [
        Check(metric="max_heap_growth", outcome="critical", reason="over-limit", measured=6e7, limit=5e7),
        Check(metric="max_rss_growth", outcome="critical", reason="over-limit", measured=6e8, limit=5e7),
    ]
    line = view.verdict_line(RunResult(test_id="t", verdict=combine(checks)))
    assert line.endswith("; also RSS")


def test_failure_text_is_bounded_and_verbose_shows_more():
    path = RetainerPath(steps=tuple((f"edge{i}", f"Node{i}") for i in range(500)), count=3, retained_bytes=10)
    finding = Finding(slug="growing-class", severity="warning", subject="X" * 5000, paths=(path,) * 50)
    result = replace(
        factory.leaking(),
        rounds=factory.rounds(200, start=1e7, step=1e5),
        class_deltas=factory.leaking().class_deltas * 200,
        findings=(finding,) * 300,
        artifacts=factory.leaking().artifacts * 100,
        notes=factory.leaking().notes * 100,
    )
    short, long = view.failure_text(result), view.failure_text(result, verbose=True)
    assert len(short.splitlines()) < 100
    assert len(short.splitlines()) < len(long.splitlines()) < 800
    assert max(len(line) for line in long.splitlines()) < 1500


def test_rounds_left_out_are_counted():
    result = replace(factory.leaking(), rounds=factory.rounds(30, start=1e7, step=1e5))
    table = tables.rounds_table(result)
    names = [row[0] for row in table.rows]
    assert names == ["start", "1", "2", "3", "4", "… 16 more", *map(str, range(21, 31))]
    assert len({len(row) for row in table.rows}) == 1


def test_classes_that_only_hold_what_grew_are_left_out():
    held = ClassDelta(name="Session", count_delta=5, size_delta_bytes=500, retained_delta_bytes=9000)
    holder = ClassDelta(name="Server", count_delta=0, size_delta_bytes=0, retained_delta_bytes=9500)
    table = tables.classes_table([holder, held])
    assert [row[0] for row in table.rows] == ["Session"]


def test_the_address_of_an_app_is_no_file_of_a_test():
    row = view.result_row(RunResult(test_id="monitor: http://[::1]:3000", tool="monitor"))
    assert (row.file, row.name) == ("", "monitor: http://[::1]:3000")
    row = view.result_row(RunResult(test_id="tests/test_a.py::test_b[::1]", tool="pytest"))
    assert (row.file, row.name) == ("tests/test_a.py", "test_b[::1]")


def test_order_is_worst_first_then_growth():
    names = [result.test_id.rpartition("::")[2] for result in view.ordered(factory.every_kind())]
    assert names[0] == "test_upload"
    assert names[-1] in ("test_checkout", "test_cluster")
    assert names.index("test_never_started") < names.index("test_too_noisy") < names.index("test_cache_fills")


def test_recommendations_follow_from_findings_with_their_evidence():
    advised = view.recommendations(factory.leaking())
    assert [item.severity for item in advised] == ["critical", "warning"]
    assert "Session" in advised[0].action
    assert "+2,000 objects" in advised[0].evidence
    assert advised[0].location == "src/sessions.js:41:18"


def test_an_unexplained_leak_is_advised_by_its_kind():
    result = replace(factory.leaking(), findings=())
    (item,) = view.recommendations(result)
    assert "heap_snapshot" in item.action
    assert item.evidence.startswith("leak: 1,024 B/request")


def test_a_healthy_result_has_no_advice():
    assert view.recommendations(factory.healthy()) == ()
    assert view.recommendations(factory.sawtooth()) == ()


def test_an_unknown_finding_is_worded_from_its_slug_and_evidence():
    finding = Finding(
        slug="moon-phase", severity="info", subject="full", evidence={"size_bytes": 2000, "wait_s": 0.5, "on": True}
    )
    assert advice.finding_sentence(finding) == "moon phase: full (2.00 KB, wait 500 ms, on yes)"


def test_a_finding_with_a_message_says_it():
    finding = Finding(slug="app-not-ready", severity="critical", subject="AppError", evidence={"message": "port 3000"})
    assert advice.finding_sentence(finding) == "port 3000"


def test_a_finding_says_an_exit_status_once():
    ended = "'server.js' (pid 7) was ended by SIGKILL (exit status -9)"
    evidence = {"message": ended, "exit_status": -9, "last_output": ""}
    finding = Finding(slug="app-died", severity="critical", subject="app", evidence=evidence)
    assert advice.finding_sentence(finding) == ended


def test_results_without_anything_still_have_words():
    result = RunResult(test_id="bare")
    assert view.verdict_line(result) == "not measured: nothing was judged"
    row = view.result_row(result)
    assert (row.name, row.file, row.health, row.curve) == ("bare", "", "not measured", ())
    assert view.overview_sentence([result]) == "1 test: 1 not measured"
    assert view.failure_text(result) == "not measured: nothing was judged"


def test_growth_has_no_column_for_work_that_nobody_counted():
    idle = replace(factory.healthy(), growth=(Growth(metric="heap_used", start=1e6, end=2e6),))
    assert tables.growth_table(idle).columns == ("what", "start", "end", "growth", "in %")
    assert tables.growth_table(factory.healthy()).columns[-1] == "per request"


def test_steps_show_what_each_one_added():
    end = factory.healthy().end_memory
    assert end is not None
    steps = tuple(
        (name, replace(end, heap_used_bytes=heap, worker_heap_used_bytes=0))
        for name, heap in (("idle", 7_000_000), ("/orders", 7_500_000), ("idle again", 7_200_000))
    )
    table = tables.steps_table(replace(factory.healthy(), steps=steps))
    assert table.columns[:3] == ("step", "heap", "growth")
    assert [row[:3] for row in table.rows] == [
        ("idle", "7.00 MB", "–"),
        ("/orders", "7.50 MB", "+500 KB"),
        ("idle again", "7.20 MB", "-300 KB"),
    ]


def test_the_curve_that_stands_for_a_result_counts_worker_heaps():
    samples = [
        Sample(t_s=second, pid=1, heap_used_bytes=8_000_000, worker_heap_used_bytes=second * 10_000_000)
        for second in range(5)
    ]
    assert view.main_curve(replace(factory.healthy(), samples=tuple(samples))).values[-1] == 48_000_000
