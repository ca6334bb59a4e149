"""Every figure once, as plain plotly figure dicts.  Floor 4: pure; plotly itself is not imported.

A figure is ``{"data": [...], "layout": {...}}`` of JSON-basic values, thinned by `report.series`.  Colours of series
are the Okabe-Ito palette, and no two series of a figure share colour, dash and marker, so that colour-blind readers
and grey printouts can tell them apart.  Paper and text colours are the page's business: the script that mounts a
figure fills them in for light and dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_memory.model import Check, GcEvent, HeapNode, LeakEstimate, LoadStats, Phase, RunResult
from pytest_memory.report import series, tables, words
from pytest_memory.units import format_count, format_size

Figure = dict[str, Any]

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#8a8f98",
)
MAX_PHASE_LABELS = 8
_POINTS = 240
_BOX_COLORS = ("#9fcbe4", "#f0c58a", "#9bd8c3", "#ecb594", "#e3bfd1", "#c9dff0", "#cdd0d5")  # light: dark text on all
_SIGNIFICANT_DIGITS = 4  # finer than a pixel, half the size of exact bytes


@dataclass(frozen=True, slots=True)
class _Curve:
    """One series of the timeline: the field of a sample and its looks; those not ``shown`` wait in the legend."""

    field: str
    name: str
    color: str
    dash: str
    width: float = 2
    shown: bool = True


_HEAP = _Curve("heap_used_bytes", "heap used", BLUE, "solid", 2.5)
_CURVES = (
    _HEAP,
    _Curve("rss_bytes", "RSS", VERMILION, "solid", 1.2),  # dashes dissolve in a dense, jagged line
    _Curve("external_bytes", "external", GREEN, "dot"),
    _Curve("heap_total_bytes", "heap total", PURPLE, "dashdot", shown=False),
    _Curve("worker_heap_used_bytes", "worker heaps", ORANGE, "longdash"),
)
# A limit beside its curve, and the heap's, which is looked at most, apart from everything.
_LIMIT_COLORS: Mapping[str, str] = {"heap": ORANGE, "RSS": VERMILION, "external memory": GREEN}
_GC_MARKS: Mapping[str, tuple[str, str]] = {
    "scavenge": (SKY, "circle"),
    "minor-mark-compact": (PURPLE, "triangle-up"),
    "mark-compact": (ORANGE, "diamond"),
    "incremental": (GREEN, "cross"),
    "weak-callbacks": (GREY, "x"),
}


# --- the timeline -------------------------------------------------------------------------------------------------

_FAR_ABOVE = 3.0  # a limit above so many times the highest reading is not drawn at first


def timeline(result: RunResult) -> Figure | None:
    """Memory over time with phases and limit, and the garbage collection pauses below on the same time axis."""
    measured = {curve: total for curve, total in _curves(result) if total}
    if not measured:
        return None
    top = max(value for total in measured.values() for value in total.values if value is not None)
    scale, unit = _scale(top)
    data = [
        _line(curve, series.thin(total.times, total.values, _POINTS), scale, unit) for curve, total in measured.items()
    ]
    end_s = max(total.times[-1] for total in measured.values())
    data.extend(_limit_lines(result, end_s, scale, unit, top=top))
    pauses = _pause_traces(result.gc_events)
    layout = _layout(y_title=unit, x_title="time, s")
    layout["shapes"], layout["annotations"] = _phase_marks(result.phases, end_s)
    layout["xaxis"]["range"] = [0, _time(end_s * 1.01)]
    if pauses:
        layout["yaxis"]["domain"] = [0.3, 1]
        layout["yaxis2"] = {"domain": [0, 0.2], "title": {"text": "GC, ms"}, "rangemode": "tozero", "automargin": True}
        layout["xaxis"]["anchor"] = "y2"
        data.extend(pauses)
    return {"data": data, "layout": layout}


def _curves(result: RunResult) -> Iterator[tuple[_Curve, series.Series]]:
    """Every curve with its values; that of the heap is what heap limits are about, worker threads included."""
    for curve in _CURVES:
        if curve is _HEAP:
            name = words.heap_name(with_workers=series.has_worker_heaps(result.samples))
            yield replace(curve, name=name), series.heap_totals(result.samples)
        else:
            yield curve, series.process_totals(result.samples, curve.field)


def _line(curve: _Curve, total: series.Series, scale: float, unit: str) -> Figure:
    # Between two gaps a lone reading has no line: where there is room, every reading is a point as well.
    sparse = len(total.values) <= _POINTS // 2
    return {
        "type": "scatter",
        "mode": "lines+markers" if sparse else "lines",
        **({"marker": {"size": 4}} if sparse else {}),
        "name": curve.name,
        "x": [_time(time) for time in total.times],
        "y": [None if value is None else _compact(value / scale) for value in total.values],
        "line": {"color": curve.color, "dash": curve.dash, "width": curve.width},
        "hovertemplate": f"%{{y}} {unit}",
        **({} if curve.shown else {"visible": "legendonly"}),
    }


def _limit_lines(result: RunResult, end_s: float, scale: float, unit: str, *, top: float) -> list[Figure]:
    """The limits somebody set on the curves that are drawn, each in the colour of its own.

    One far above ``top``, the highest reading, would press the curves flat: it is shown when its name is clicked."""
    lines = []
    for check in result.verdict.checks:
        level = _limit_level(check)
        if level is None:
            continue
        noun = words.metric_of(check.metric).noun
        lines.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": _text(f"{noun} limit ({_limit_name(check)})"),
                "x": [0, _time(end_s)],
                "y": [_compact(level / scale)] * 2,
                "line": {"color": _LIMIT_COLORS.get(noun, GREY), "dash": "longdashdot", "width": 2},
                "hovertemplate": f"%{{y}} {unit}",
                **({"visible": "legendonly"} if level > _FAR_ABOVE * top else {}),
            }
        )
    return lines


def _limit_name(check: Check) -> str:
    """``"50MB"``; of a rate also how much work was done: ``"200B/request × 2,000"``."""
    units = check.detail.get("units")
    text = tables.limit_text(check)
    return f"{text} × {format_count(units)}" if _is_rate(check) and isinstance(units, int) else text


def _limit_level(check: Check) -> float | None:
    """Where a growth limit lies on the memory axis: the settled start plus what is allowed by the end."""
    start = check.detail.get("start")
    known = isinstance(start, (int, float)) and check.limit is not None and words.metric_of(check.metric).grows
    if not known or check.source == "default" or words.is_baseline(check.metric):
        return None
    assert isinstance(start, (int, float))
    assert check.limit is not None
    if check.unit == "percent":
        return start * (1 + check.limit / 100)
    if check.unit == "bytes":
        return start + check.limit
    units = check.detail.get("units")
    return start + check.limit * units if _is_rate(check) and isinstance(units, int) else None


def _is_rate(check: Check) -> bool:
    return check.unit.startswith("bytes/")


def _pause_traces(events: Sequence[GcEvent]) -> list[Figure]:
    traces = []
    for kind, (color, symbol) in _GC_MARKS.items():
        chosen = [event for event in events if event.kind == kind]
        if chosen:
            traces.append(_pause_trace(series.longest_pauses(chosen, _POINTS // 2), kind, color, symbol))
    return traces


def _pause_trace(events: Sequence[GcEvent], kind: str, color: str, symbol: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": words.GC_KINDS.get(kind, kind),
        "x": [_time(event.t_s) for event in events],
        "y": [_compact(event.duration_s * 1000) for event in events],
        "yaxis": "y2",
        "marker": {"color": color, "symbol": symbol, "size": 6},
        "hovertemplate": "%{y} ms",
    }


def _phase_marks(phases: Sequence[Phase], end_s: float) -> tuple[list[Figure], list[Figure]]:
    shapes: list[Figure] = []
    labels: list[Figure] = []
    for number, phase in enumerate(phases):
        shapes.append(
            {
                "type": "rect",
                "xref": "x",
                "yref": "paper",
                "x0": _time(phase.start_s),
                "x1": _time(phase.end_s),
                "y0": 0,
                "y1": 1,
                "layer": "below",
                "line": {"width": 0},
                "fillcolor": GREY,
                "opacity": 0.16 if number % 2 else 0.07,
            }
        )
        wide = phase.end_s - phase.start_s >= 0.06 * end_s
        if wide and len(labels) < MAX_PHASE_LABELS:
            labels.append(_label(_text(words.clean(phase.name, 40)), (phase.start_s + phase.end_s) / 2, 1.0, "bottom"))
    return shapes, labels


def _label(text: str, x: float, y: float, anchor: str) -> Figure:
    return {"text": text, "x": _time(x), "y": y, "yref": "paper", "yanchor": anchor, "showarrow": False}


# --- the leak test ------------------------------------------------------------------------------------------------


def rounds(result: RunResult) -> Figure | None:
    """Settled heap growth over units of work: readings, fitted line with its 95 % interval, and the limit."""
    start = result.start_memory
    estimate = next((leak for leak in result.verdict.leaks if leak.kind == "heap"), None)
    if start is None or len(result.rounds) < 2:
        return None
    base = start.heap_used_bytes + start.worker_heap_used_bytes
    units_done, growth_bytes, idle = [0], [0.0], [False]
    for round_ in result.rounds:
        units_done.append(units_done[-1] + round_.units)
        growth_bytes.append(round_.memory.heap_used_bytes + round_.memory.worker_heap_used_bytes - base)
        idle.append(round_.idle)
    worked = [point for point in zip(units_done, growth_bytes, idle) if not point[2]]
    middle = worked[len(worked) // 2][:2]
    lines = _estimate_lines(estimate, units_done[-1], middle) if estimate and units_done[-1] else []
    scale, unit = _scale(max(abs(value) for value in (*growth_bytes, *(v for _, _, ys in lines for v in ys))))
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": [0, units_done[-1]] if len(ys) == 2 else [0, units_done[-1], units_done[-1], 0],
            "y": [_compact(value / scale) for value in ys],
            **style,
        }
        for name, style, ys in lines
    ]
    data.append(_readings(units_done, growth_bytes, idle, scale, unit))
    unit_name = words.plural(result.unit, 2).partition(" ")[2]
    return {"data": data, "layout": _layout(y_title=f"growth, {unit}", x_title=_text(f"{unit_name} done"))}


def _readings(
    units_done: Sequence[int], growth_bytes: Sequence[float], idle: Sequence[bool], scale: float, unit: str
) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "settled heap growth",
        "x": list(units_done),
        "y": [_compact(value / scale) for value in growth_bytes],
        "line": {"color": BLUE, "width": 1, "dash": "dot"},
        "marker": {"color": BLUE, "size": 9, "symbol": ["circle-open" if rest else "circle" for rest in idle]},
        "hovertemplate": f"%{{y}} {unit}",
    }


def _estimate_lines(leak: LeakEstimate, units: int, middle: tuple[int, float]) -> list[tuple[str, Figure, list[float]]]:
    """(name, style, y values): interval as a wedge and slope through the ``middle`` reading, the limit from zero."""

    def through_middle(slope: float) -> list[float]:
        return [middle[1] - slope * middle[0], middle[1] + slope * (units - middle[0])]

    lines: list[tuple[str, Figure, list[float]]] = []
    bounded = abs(leak.low) != float("inf") and abs(leak.high) != float("inf")
    if bounded:
        low, high = through_middle(leak.low), through_middle(leak.high)
        band = {"fill": "toself", "fillcolor": "rgba(86,180,233,0.25)", "line": {"width": 0}, "hoverinfo": "skip"}
        lines.append(("95 % interval", band, [low[0], low[1], high[1], high[0]]))
    slope = words.format_rate(leak.slope, leak.unit)
    style = {"line": {"color": BLUE, "width": 2}, "hoverinfo": "skip"}
    lines.append((_text(f"fit: {slope}"), style, through_middle(leak.slope)))
    limit = {"line": {"color": ORANGE, "dash": "longdashdot", "width": 2}, "hoverinfo": "skip"}
    lines.append((_text(f"limit: {words.format_rate(leak.limit, leak.unit)}"), limit, [0.0, leak.limit * units]))
    return lines


# --- load ---------------------------------------------------------------------------------------------------------


def latency(loads: Sequence[LoadStats]) -> Figure | None:
    """Latency percentiles and request rate over the time under load, one load run after the other."""
    points = series.joined_load(loads)
    if len(points) < 2:
        return None
    shown = series.slowest_points(points)
    times = [_time(point.t_s) for point in shown]
    data: list[Figure] = []
    for name, values, color, dash in (
        ("p50", [point.p50_s for point in shown], BLUE, "solid"),
        ("p99", [point.p99_s for point in shown], VERMILION, "dash"),
    ):
        y = [_compact(value * 1000) for value in values]
        line = {"color": color, "dash": dash, "width": 2}
        data.append(_plain_line(name, times, y, line, "%{y} ms"))
    layout = _layout(y_title="latency, ms", x_title="time under load, s")
    if any(point.errors for point in points):
        errors = [point.errors for point in shown]
        line = {"color": ORANGE, "dash": "dot", "width": 2}
        data.append({**_plain_line("errors", times, errors, line, "%{y} errors"), "yaxis": "y2"})
        layout["yaxis2"] = {"overlaying": "y", "side": "right", "title": {"text": "errors"}, "rangemode": "tozero"}
    return {"data": data, "layout": layout}


def _plain_line(name: str, x: Sequence[float], y: Sequence[float], line: Figure, hover: str) -> Figure:
    style = {"mode": "lines", "line": line, "hovertemplate": hover}
    return {"type": "scatter", "name": name, "x": list(x), "y": list(y), **style}


# --- the heap -----------------------------------------------------------------------------------------------------


def treemap(nodes: Sequence[HeapNode]) -> Figure | None:
    """Who retains what: boxes sized by retained bytes, each inside its dominator."""
    if len(nodes) < 2:
        return None
    return {
        "data": [
            {
                "type": "treemap",
                "ids": [str(number) for number in range(len(nodes))],
                "parents": [str(node.parent) if node.parent >= 0 else "" for node in nodes],
                "labels": [_text(_box_label(node)) for node in nodes],
                "values": _covering(nodes),
                "text": [format_size(node.retained_bytes) for node in nodes],
                "branchvalues": "total",
                "hovertemplate": "%{label}<br>%{text} retained, %{percentRoot:.1%} of the heap<extra></extra>",
                "texttemplate": "%{label}<br>%{text}",
                "textfont": {"color": "#1b1f24"},
                "root": {"color": "#d8dce1"},
                "marker": {"line": {"width": 1, "color": "#5b636d"}, "depthfade": False},
                "tiling": {"pad": 2},
                "maxdepth": 4,
            }
        ],
        "layout": {
            "margin": {"l": 4, "r": 4, "t": 4, "b": 4},
            "height": 420,
            "treemapcolorway": list(_BOX_COLORS),
            "extendtreemapcolors": False,
        },
    }


def _box_label(node: HeapNode) -> str:
    name = words.clean(node.name, 60)
    return name if node.count == 1 else f"{format_count(node.count)} × {name}"


def _covering(nodes: Sequence[HeapNode]) -> list[int]:
    """Each node's size, at least that of its children together: plotly draws nothing at all otherwise."""
    inside = [0] * len(nodes)
    sizes = [0] * len(nodes)
    for number in range(len(nodes) - 1, -1, -1):
        node = nodes[number]
        sizes[number] = max(node.retained_bytes, inside[number])
        if node.parent >= 0:
            inside[node.parent] += sizes[number]
    return sizes


# --- all of one result --------------------------------------------------------------------------------------------


def result_figures(result: RunResult) -> dict[str, Figure]:
    """Every figure a result has data for, by name: "timeline", "rounds", "latency", "treemap"."""
    made = {
        "timeline": timeline(result),
        "rounds": rounds(result),
        "latency": latency(result.load),
        "treemap": treemap(result.heap_tree),
    }
    return {name: figure for name, figure in made.items() if figure is not None}


def _layout(*, y_title: str, x_title: str) -> Figure:
    return {
        "height": 360,
        "margin": {"l": 56, "r": 16, "t": 24, "b": 44},
        "hovermode": "x unified",
        "legend": {"orientation": "h", "y": -0.22, "yanchor": "top", "x": 0},
        "xaxis": {"title": {"text": x_title}, "automargin": True, "unifiedhovertitle": {"text": x_title + ": %{x}"}},
        "yaxis": {"title": {"text": y_title}, "rangemode": "tozero", "automargin": True},
    }


def _scale(largest_bytes: float) -> tuple[float, str]:
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if largest_bytes >= factor:
            return factor, unit
    return 1.0, "B"


def _compact(value: float) -> float | int:
    rounded = float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
    return int(rounded) if rounded == int(rounded) else rounded


def _time(seconds: float) -> float | int:
    rounded = round(seconds, 2)
    return int(rounded) if rounded == int(rounded) else rounded


def _text(text: str) -> str:
    """Text for plotly, which understands a few HTML tags in labels and entities: foreign names must stay text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
