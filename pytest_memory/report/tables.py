"""The tables of a result, every cell already in words.  Floor 4: pure; part of the view.

One table serves the failure text, the terminal, Markdown and HTML, so they cannot disagree.  A table with no rows
is left out by whoever shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pytest_memory.model import (
    AppInfo,
    Check,
    ClassDelta,
    Environment,
    Latency,
    LeakEstimate,
    LoadStats,
    Outcome,
    Round,
    RunResult,
    SettledMemory,
)
from pytest_memory.report import series, words
from pytest_memory.units import format_count, format_duration, format_size

MAX_ROUNDS = 14
MAX_CLASSES = 8
MAX_LOADS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """``columns`` head the cells of each row; the columns in ``numeric`` are set right-aligned.

    ``shares`` (0..1 a row, or empty) is how long a bar each row deserves beside its name; ``outcomes`` (an outcome
    a row, or empty) what each row came to.  ``omitted`` rows were left out for room."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    shares: tuple[float, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    omitted: int = 0

    def __bool__(self) -> bool:
        return bool(self.rows)


def _numeric(*columns: int) -> frozenset[int]:
    return frozenset(columns)


# --- the verdict --------------------------------------------------------------------------------------------------


def limits_table(checks: Sequence[Check]) -> Table:
    """Every check but the baseline's and the leak test's own: measured, limit, who set it, health class."""
    shown = [
        check for check in checks if not words.is_baseline(check.metric) and not check.metric.startswith("no_leaks:")
    ]
    return Table(
        title="Limits",
        columns=("what", "measured", "limit", "set by", "class"),
        rows=tuple(_limit_row(check) for check in shown),
        numeric=_numeric(1, 2),
        outcomes=tuple(check.outcome for check in shown),
    )


def _limit_row(check: Check) -> tuple[str, ...]:
    metric = words.metric_of(check.metric)
    noun = f"{metric.noun} growth" if metric.grows else metric.noun
    measured = measured_text(check)
    if check.measured is None:
        # The sentence is the headline's: in a column it would push all others off the screen.
        measured = words.SHORT_REASONS.get(check.reason) or words.reason_phrase(check.reason, check.detail)
    return (noun, measured or "–", limit_text(check) or "–", words.clean(check.source), class_of(check.outcome))


def class_of(outcome: Outcome) -> str:
    """The health class of an outcome in one word."""
    return words.HEALTH_CLASSES.get(outcome, words.spoken(outcome))


def measured_text(check: Check) -> str:
    """The measured value, with its interval when it has one: ``"61.2 MB"``, ``"240 B/request (95 %: 210–270)"``."""
    if check.measured is None:
        return ""
    text = words.format_measure(check.measured, check.unit)
    if check.low is not None and check.high is not None:
        text += f" (95 %: {words.format_interval(check.low, check.high)})"
    return text


def limit_text(check: Check) -> str:
    """The limit in the user's own words, or formatted when it came from nobody."""
    if check.limit_text:
        return words.clean(check.limit_text, 60)
    return "" if check.limit is None else words.format_measure(check.limit, check.unit)


def baseline_table(checks: Sequence[Check]) -> Table:
    """The comparison with a stored baseline."""
    shown = [check for check in checks if words.is_baseline(check.metric)]
    return Table(
        title="Against the baseline",
        columns=("what", "measured", "baseline", "change", "allowed", "class", "remark"),
        rows=tuple(_baseline_row(check) for check in shown),
        numeric=_numeric(1, 2, 3, 4),
        outcomes=tuple(check.outcome for check in shown),
    )


def _baseline_row(check: Check) -> tuple[str, ...]:
    measured = "–" if check.measured is None else words.format_measure(check.measured, check.unit)
    return (
        words.metric_of(check.metric).noun,
        measured,
        stored_text(check) or "–",
        change_text(check) or "–",
        allowed_text(check) or "–",
        class_of(check.outcome),
        words.reason_phrase(check.reason, check.detail),
    )


def stored_text(check: Check) -> str:
    """The baseline's own value."""
    stored = check.detail.get("baseline")
    return words.format_measure(stored, check.unit) if isinstance(stored, (int, float)) else ""


def change_text(check: Check) -> str:
    """The change against the baseline in percent: ``"+36.7 %"``."""
    percent = check.detail.get("change_percent")
    return words.format_percent_change(percent) if isinstance(percent, (int, float)) else ""


def allowed_text(check: Check) -> str:
    """The worst value still allowed, with the tolerance in the user's words: ``"13.2 MB (10%)"``."""
    if check.limit is None:
        return ""
    allowed = words.format_measure(check.limit, check.unit)
    return f"{allowed} ({words.clean(check.limit_text, 40)})" if check.limit_text else allowed


def leaks_table(leaks: Sequence[LeakEstimate]) -> Table:
    """The leak test, one row a kind of memory."""
    return Table(
        title="Leak test",
        columns=("memory", "growth", "95 % interval", "limit", "late half", "given back", "shape", "class"),
        rows=tuple(_leak_row(leak) for leak in leaks),
        numeric=_numeric(1, 2, 3, 4, 5),
        outcomes=tuple(leak.outcome for leak in leaks),
    )


def _leak_row(leak: LeakEstimate) -> tuple[str, ...]:
    thing = leak_thing(leak)
    return (
        words.MEMORY_KINDS.get(leak.kind, words.spoken(leak.kind)),
        words.format_rate(leak.slope, leak.unit, thing),
        words.format_interval(leak.low, leak.high),
        words.format_rate(leak.limit, leak.unit, thing),
        words.format_rate(leak.late_slope, leak.unit, thing),
        f"{100 * leak.give_back:.0f} %",
        words.SHAPES.get(leak.shape, words.spoken(leak.shape)),
        class_of(leak.outcome),
    )


def leak_thing(leak: LeakEstimate) -> str:
    """What a leak of this kind is counted in."""
    return {"handles": "handles", "fds": "files"}.get(leak.kind, "B")


# --- what was measured --------------------------------------------------------------------------------------------


def growth_table(result: RunResult) -> Table:
    """Settled start and end of every measured quantity."""
    rows = []
    for growth in result.growth:
        per_unit = words.format_rate(growth.per_unit, result.unit) if growth.per_unit is not None else "–"
        percent = f"{growth.percent:+.1f} %" if growth.percent is not None else "–"
        noun = words.metric_of(growth.metric).noun
        change = words.format_change(growth.amount)
        rows.append((noun, format_size(growth.start), format_size(growth.end), change, percent, per_unit))
    columns = ("what", "start", "end", "growth", "in %", f"per {words.clean(result.unit, 30)}")
    shown = len(columns) if any(growth.units for growth in result.growth) else -1  # no work was counted
    return Table(
        title="Growth",
        columns=columns[:shown],
        rows=tuple(row[:shown] for row in rows),
        numeric=_numeric(1, 2, 3, 4, 5),
    )


def rounds_table(result: RunResult, max_rounds: int = MAX_ROUNDS) -> Table:
    """The rounds of a leak test, the middle left out of many."""
    shown = _ends(result.rounds, max_rounds)
    rows: list[tuple[str, ...]] = []
    if result.rounds and result.start_memory:
        rows.append(("start", "", "", *_round_memory(result.start_memory, None), ""))
    before = {
        round_.index: (result.rounds[position - 1].memory if position else result.start_memory)
        for position, round_ in enumerate(result.rounds)
    }
    for position, round_ in enumerate(shown):
        if len(shown) < len(result.rounds) and position == _head(max_rounds):
            rows.append((f"… {len(result.rounds) - len(shown)} more", *[""] * 7))
        rows.append(_round_row(round_, before[round_.index]))
    units_name = words.plural(result.unit, 2).partition(" ")[2]
    return Table(
        title="Rounds",
        columns=("round", units_name, "errors", "heap", "change", "external", "RSS", "settled"),
        rows=tuple(rows),
        numeric=_numeric(0, 1, 2, 3, 4, 5, 6),
    )


def _round_row(round_: Round, before: SettledMemory | None) -> tuple[str, ...]:
    name = f"{round_.index} idle" if round_.idle else str(round_.index)
    settled = format_duration(round_.memory.duration_s) if round_.memory.converged else "not settled"
    units, errors = format_count(round_.units), format_count(round_.errors)
    return (name, units, errors, *_round_memory(round_.memory, before), settled)


def _round_memory(memory: SettledMemory, before: SettledMemory | None) -> tuple[str, ...]:
    heap = memory.heap_used_bytes + memory.worker_heap_used_bytes
    change = (
        "" if before is None else words.format_change(heap - before.heap_used_bytes - before.worker_heap_used_bytes)
    )
    return (format_size(heap), change, format_size(memory.external_bytes), format_size(memory.rss_bytes))


def _ends(rounds: Sequence[Round], count: int) -> list[Round]:
    if len(rounds) <= count:
        return list(rounds)
    head = _head(count)
    return [*rounds[:head], *rounds[len(rounds) - (count - head) :]]


def _head(count: int) -> int:
    return count // 3


def steps_table(result: RunResult) -> Table:
    """The named steps of a baseline test: settled memory after each, and how much heap each one added."""
    rows, before = [], None
    for name, memory in result.steps:
        heap = memory.heap_used_bytes + memory.worker_heap_used_bytes
        growth = "–" if before is None else words.format_change(heap - before)
        sizes = (format_size(heap), growth, format_size(memory.external_bytes), format_size(memory.rss_bytes))
        rows.append((words.clean(name, 60), *sizes))
        before = heap
    columns = ("step", "heap", "growth", "external", "RSS")
    return Table(title="Steps", columns=columns, rows=tuple(rows), numeric=_numeric(1, 2, 3, 4))


def classes_table(deltas: Sequence[ClassDelta], max_classes: int = MAX_CLASSES) -> Table:
    """The classes that grew most, by what they retain (or hold themselves, where that is unknown)."""
    ordered = sorted(deltas, key=_weight, reverse=True)
    # Classes that only hold what grew (the global object, the server) retain more, but are no more than they were.
    grown = [delta for delta in ordered if delta.count_delta > 0 or delta.size_delta_bytes > 0]
    shown = grown[:max_classes]
    top = max((_weight(delta) for delta in shown), default=0) or 1
    return Table(
        title="Growing classes",
        columns=("class", "objects", "size", "retained", "new", "deleted", "now"),
        rows=tuple(_class_row(delta) for delta in shown),
        numeric=_numeric(1, 2, 3, 4, 5, 6),
        shares=tuple(max(0.0, _weight(delta) / top) for delta in shown),
        omitted=len(grown) - len(shown),
    )


def _weight(delta: ClassDelta) -> int:
    return delta.size_delta_bytes if delta.retained_delta_bytes is None else delta.retained_delta_bytes


def _class_row(delta: ClassDelta) -> tuple[str, ...]:
    retained = "–" if delta.retained_delta_bytes is None else words.format_change(delta.retained_delta_bytes)
    return (
        words.clean(delta.name, 80),
        words.format_signed_count(delta.count_delta),
        words.format_change(delta.size_delta_bytes),
        retained,
        format_count(delta.new),
        format_count(delta.deleted),
        format_count(delta.count_after),
    )


def load_table(loads: Sequence[LoadStats]) -> Table:
    """Every load, repeated runs as one (percentiles of the slowest), and the targets of a mixed one."""
    rows = []
    merged = series.merged_loads(loads)
    for load, runs in merged[:MAX_LOADS]:
        name = words.clean(load.description or "load", 60) + (f" × {format_count(runs)} runs" if runs > 1 else "")
        rows.append(_load_row(name, load.requests, load.errors, f"{load.rps:,.0f}/s", load.latency))
        if len(load.targets) > 1:
            for target in load.targets:
                name = f"↳ {words.clean(target.name, 58)}"
                rows.append(_load_row(name, target.requests, target.errors, "", target.latency))
    return Table(
        title="Load",
        columns=("load", "requests", "errors", "rate", "p50", "p95", "p99", "max"),
        rows=tuple(rows),
        numeric=_numeric(1, 2, 3, 4, 5, 6, 7),
        omitted=max(0, len(merged) - MAX_LOADS),
    )


def _load_row(name: str, requests: int, errors: int, rate: str, latency: Latency) -> tuple[str, ...]:
    quantiles = (latency.p50_s, latency.p95_s, latency.p99_s, latency.max_s)
    return (name, format_count(requests), format_count(errors), rate, *(format_duration(value) for value in quantiles))


def environment_table(environment: Environment, app: AppInfo | None = None) -> Table:
    """Where it was measured; with an app, how that was run."""
    memory = format_size(environment.memory_bytes) if environment.memory_bytes else ""
    cpu = f"{words.clean(environment.cpu, 80)} × {environment.cpu_count}" if environment.cpu_count else environment.cpu
    pairs = [
        ("Node.js", environment.node_version),
        ("V8", environment.v8_version),
        ("system", " ".join(part for part in (environment.os, environment.arch) if part)),
        ("processor", cpu),
        ("memory", memory),
        ("Python", environment.python_version),
        ("pytest", environment.pytest_version),
        ("pytest-memory", environment.plugin_version),
        ("workers", format_count(environment.worker_count) if environment.worker_count else ""),
        ("commit", environment.commit),
        ("CI", environment.ci),
    ]
    if app is not None:
        pairs = [*_app_pairs(app), *pairs]
    rows = tuple((name, words.clean(value, 160)) for name, value in pairs if value)
    return Table(title="Environment", columns=("", ""), rows=rows)


def common_environment_table(environment: Environment, of_results: Iterable[Environment]) -> Table:
    """Where the results of a page were measured; "several" where that was not the same for all of them."""
    table = environment_table(environment)
    found: dict[str, set[str]] = {name: {value} for name, value in table.rows}
    for other in set(of_results):
        for name, value in environment_table(other).rows:
            found.setdefault(name, set()).add(value)
    rows = tuple((name, "several" if len(found[name]) > 1 else value) for name, value in table.rows)
    return replace(table, rows=rows)


def _app_pairs(app: AppInfo) -> list[tuple[str, str]]:
    heap_limit = format_size(app.heap_limit_bytes) if app.heap_limit_bytes else ""
    processes = words.plural("process", len(app.processes)) if app.processes else ""
    return [
        ("command", app.command),
        ("URL", app.url),
        ("process", f"pid {app.pid}" if app.pid else ""),
        ("processes", processes),
        ("heap limit", heap_limit),
        ("precise mode", "on" if app.precise else "off"),
        ("exit status", "" if app.exit_status is None else str(app.exit_status)),
    ]


def artifacts_table(result: RunResult) -> Table:
    """The files kept with the result."""
    rows = tuple(
        (words.spoken(artifact.kind), words.clean(artifact.path, 300), _size_or_dash(artifact.size_bytes))
        for artifact in result.artifacts
    )
    return Table(title="Files", columns=("kind", "path", "size"), rows=rows, numeric=_numeric(2))


def _size_or_dash(size_bytes: int) -> str:
    return format_size(size_bytes) if size_bytes else "–"
