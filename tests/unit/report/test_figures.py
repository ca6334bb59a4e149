from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support import result_factory as factory

from pytest_memory.judge import combine
from pytest_memory.model import Check, HeapNode, LeakEstimate, LoadPoint, Phase, RunResult, Sample, Verdict
from pytest_memory.report import figures


def names(figure):
    return [trace["name"] for trace in figure["data"]]


@pytest.mark.parametrize("result", [*factory.every_kind(), factory.xss()], ids=lambda result: result.test_id[:40])
def test_every_figure_is_plain_json(result):
    made = figures.result_figures(result)
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_nothing_measured_gives_no_figure():
    assert figures.result_figures(RunResult(test_id="bare")) == {}


def test_the_timeline_has_curves_pauses_phases_and_the_limit():
    figure = figures.timeline(factory.healthy())
    assert names(figure)[:4] == ["heap used", "RSS", "external", "heap total"]
    assert "heap limit (50MB)" in names(figure)
    assert {"scavenge", "mark-compact"} <= set(names(figure))
    assert [label["text"] for label in figure["layout"]["annotations"]] == ["warm-up", "load", "settle"]
    assert len(figure["layout"]["shapes"]) == 3


def test_the_limit_line_lies_at_the_settled_start_plus_the_limit():
    figure = figures.timeline(factory.healthy())
    (limit,) = [trace for trace in figure["data"] if trace["name"].startswith("heap limit")]
    assert limit["y"] == [62.1, 62.1]


def limited(metric, *, limit=50e6, limit_text="50MB", unit="bytes", source="marker", start=12e6):
    """A result with one limit, as `judge.limits` leaves it."""
    check = Check(
        metric=metric,
        outcome="pass",
        reason="within-limit",
        measured=1e6,
        limit=limit,
        limit_text=limit_text,
        unit=unit,
        source=source,
        detail={"start": start, "end": start + 1e6, "units": 2000},
    )
    return replace(factory.healthy(), verdict=combine((check,)))


def limit_lines(result):
    return [trace for trace in figures.timeline(result)["data"] if " limit (" in trace["name"]]


@pytest.mark.parametrize("metric", ["max_heap_growth", "max_rss_growth", "max_external_growth"])
def test_a_limit_somebody_set_is_drawn_beside_its_curve_whatever_it_is_of(metric):
    (line,) = limit_lines(limited(metric))
    assert "visible" not in line
    assert line["y"] == [62, 62]
    assert limit_lines(limited(metric, source="default")) == [], "a health threshold is nobody's limit"


@pytest.mark.parametrize(("limit", "shown"), [(50e6, True), (150e6, True), (900e6, False)])
def test_a_limit_far_above_all_readings_does_not_press_them_flat(limit, shown):
    result = limited("max_heap_growth", limit=limit, limit_text="a limit")
    readings = [
        value
        for trace in figures.timeline(result)["data"]
        if " limit (" not in trace["name"] and trace.get("yaxis") != "y2"
        for value in trace["y"]
        if value is not None
    ]
    (line,) = limit_lines(result)
    assert (line.get("visible") != "legendonly") == shown == (line["y"][0] <= 3 * max(readings))


def test_limits_differ_in_looks_from_each_other_and_from_every_curve():
    looks = {(curve.color, curve.dash) for curve in figures._CURVES}
    looks |= {(color, "longdashdot") for color in figures._LIMIT_COLORS.values()}
    assert len(looks) == len(figures._CURVES) + len(figures._LIMIT_COLORS)


def test_a_rate_is_drawn_at_what_it_allowed_for_the_work_that_was_done():
    (line,) = limit_lines(limited("max_heap_growth", limit=200.0, limit_text="200B/request", unit="bytes/request"))
    assert line["name"] == "heap limit (200B/request × 2,000)"
    assert line["y"] == [12.4, 12.4]


def test_a_limit_in_the_user_s_words_is_text_not_markup():
    (line,) = limit_lines(limited("max_heap_growth", limit_text="<a href=x>"))
    assert line["name"] == "heap limit (&lt;a href=x&gt;)"


def growing_workers():
    """A main heap of 8 MB, and workers whose heaps grow from 5 to 64 MB, asked at every fifth sample."""
    return tuple(
        Sample(
            t_s=index * 0.2,
            pid=1,
            heap_used_bytes=8_000_000,
            worker_heap_used_bytes=5_000_000 + index * 590_000 if index % 5 == 0 else None,
        )
        for index in range(101)
    )


def test_the_heap_s_curve_counts_worker_heaps_as_its_limit_does():
    result = replace(limited("max_heap_growth", start=13e6), samples=growing_workers())
    heap, workers, *_ = figures.timeline(result)["data"]
    assert (heap["name"], workers["name"]) == ("heap used + workers", "worker heaps")
    assert (heap["y"][0], heap["y"][-1]) == (13, 72)
    assert heap["y"] == sorted(heap["y"]), "between two answers of the workers nothing drops"
    (limit,) = limit_lines(result)
    assert heap["y"][0] < limit["y"][0] < heap["y"][-1], "a broken limit is crossed"


def test_a_long_run_is_thinned_and_keeps_its_spike():
    samples = factory.samples(10_000, start=12e6, end=13e6)
    peak = max(sample.heap_used_bytes or 0 for sample in samples)
    figure = figures.timeline(replace(factory.healthy(), samples=samples, gc_events=factory.gc_events(1000, 20_000)))
    heap = figure["data"][0]
    assert max(value for value in heap["y"] if value is not None) == pytest.approx(peak / 1e6, rel=1e-3)
    assert all(len(trace["x"]) <= 400 for trace in figure["data"])


def test_a_blocked_loop_shows_as_a_gap():
    samples = factory.samples(700, start=12e6, end=13e6)
    figure = figures.timeline(replace(factory.healthy(), samples=samples[495:505]))
    assert figure["data"][0]["y"][5] is None
    assert None not in figure["data"][1]["y"], "the operating system still knew the RSS"


def test_rounds_show_readings_interval_fit_and_limit():
    figure = figures.rounds(factory.leaking())
    assert names(figure) == ["95 % interval", "fit: 1,024 B/request", "limit: 100 B/request", "settled heap growth"]
    readings = figure["data"][-1]
    assert readings["x"] == list(range(0, 2001, 250))
    assert readings["y"][0] == 0


def test_an_unbounded_interval_is_not_drawn():
    leak = LeakEstimate(
        kind="heap", outcome="inconclusive", reason="too-short", slope=5, low=float("-inf"), high=float("inf"), limit=8
    )
    result = replace(factory.leaking(), verdict=Verdict(outcome="inconclusive", leaks=(leak,)))
    assert "95 % interval" not in names(figures.rounds(result))


def test_load_runs_follow_one_another():
    loads = [factory.load(duration_s=5), factory.load(duration_s=5, errors=10)]
    figure = figures.latency(loads)
    assert figure["data"][0]["x"] == list(range(10))
    assert names(figure) == ["p50", "p99", "errors"]
    assert figures.latency([replace(factory.load(), series=())]) is None, "one point is no curve"


def test_errors_that_come_fast_are_drawn_in_a_long_run_too():
    failing = {index for index in range(600) if index % 3 == 0}
    points = [
        LoadPoint(
            t_s=index,
            requests=100,
            errors=50 * (index in failing),
            p50_s=0.001,
            p99_s=0.002 + 0.01 * (index not in failing),
        )
        for index in range(600)
    ]
    figure = figures.latency([replace(factory.load(duration_s=600), series=tuple(points))])
    errors = figure["data"][names(figure).index("errors")]["y"]
    assert len(errors) <= 200
    assert set(errors) == {50}, "every three intervals had one that failed"
    assert max(figure["data"][1]["y"]) == 12, "and the slow ones are drawn still"


def test_series_differ_by_more_than_colour():
    curves = figures._CURVES
    assert len({curve.color for curve in curves}) == len({(curve.dash, curve.width) for curve in curves}) == len(curves)
    marks = list(figures._GC_MARKS.values())
    assert len({symbol for _, symbol in marks}) == len(marks)


def test_names_in_figures_are_text_not_markup():
    result = replace(factory.healthy(), phases=(Phase(name="<b onload=x>&", start_s=0, end_s=20),))
    (label,) = figures.timeline(result)["layout"]["annotations"]
    assert label["text"] == "&lt;b onload=x&gt;&amp;"


def test_a_treemap_draws_every_box_inside_its_dominator():
    (trace,) = figures.treemap(factory.heap_tree())["data"]
    assert trace["parents"].count("") == 1
    assert set(trace["parents"]) <= {"", *trace["ids"]}
    assert trace["labels"][trace["ids"].index("6")] == "2,100 × Session"
    assert figures.treemap(()) is None
    assert figures.treemap(factory.heap_tree()[:1]) is None


def test_a_box_is_never_smaller_than_what_lies_in_it():
    """plotly draws nothing at all otherwise; a snapshot of another tool may round."""
    boxes = [HeapNode(name="root", parent=-1, retained_bytes=0)]
    boxes += [HeapNode(name="X", parent=0, retained_bytes=5) for _ in range(3)]
    (trace,) = figures.treemap(boxes)["data"]
    assert trace["values"] == [15, 5, 5, 5]
