from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support import result_factory as factory

from pytest_memory.model import HeapNode, LeakEstimate, Phase, RunResult, Verdict
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
    assert {"scavenge", "mark-compact", "mark-compact (forced)"} <= set(names(figure))
    assert [label["text"] for label in figure["layout"]["annotations"]] == ["warm-up", "load", "settle"]
    assert len(figure["layout"]["shapes"]) == 3


def test_the_limit_line_lies_at_the_settled_start_plus_the_limit():
    figure = figures.timeline(factory.healthy())
    (limit,) = [trace for trace in figure["data"] if trace["name"].startswith("heap limit")]
    assert limit["y"] == [62.1, 62.1]


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
