"""Results in words: the verdict sentence, the failure text, the row of each test.  Floor 4: pure.

The only place where numbers become words, with its parts `report.words` (vocabulary), `report.tables` (cells) and
`report.advice` (findings, notes, recommendations).  Nothing is decided here: outcomes come from `judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pytest_memory.judge import SEVERITY
from pytest_memory.model import Check, Finding, Growth, LeakEstimate, LoadStats, Outcome, RetainerPath, RunResult
from pytest_memory.report import advice, series, tables, words
from pytest_memory.report.tables import Table
from pytest_memory.units import format_count, format_duration, format_size

_MAX_PATHS = 3
_MAX_FINDINGS = 5
_MAX_FILES = 5
_MAX_OUTPUT_LINES = 10
_UNJUDGED = "not judged"
_Item = TypeVar("_Item")
_WILD_PERCENT = 100.0  # a tolerance larger than the value itself: the baseline is next to nothing
_VERBOSE = 10  # times as much of everything
_MEASURED_REASONS = ("within-limit", "over-limit", "over-threshold-warning", "over-threshold-critical")


# --- sentences ----------------------------------------------------------------------------------------------------


def verdict_line(result: RunResult) -> str:
    """The verdict in one line: its class, the sentence of the worst check or estimate, and what else is as bad.

    ``"leak: 1,024 B/request (95 %: 1,009–1,041), limit 100 B/request; 2.05 MB in 2,000 requests over 8 rounds"``"""
    sentences = _worst_sentences(result)
    if not sentences:
        if is_unjudged(result):
            return f"{_UNJUDGED}: a profile explains, it gives no verdict"
        return f"{_prefix(result.verdict.outcome)}: {_why_unjudged(result)}"
    line = sentences[0][1]
    others = [noun for noun, _ in sentences[1:]]
    if others and result.verdict.outcome != "pass":
        line += f"; also {_listed(others)}"
    return line


def is_unjudged(result: RunResult) -> bool:
    """Whether there was nothing to judge by intent: a profile, unlike a test that could not be measured."""
    return result.tool == "profile" and result.verdict.outcome == "not-measured"


def _why_unjudged(result: RunResult) -> str:
    said = [advice.finding_sentence(finding, result.unit) for finding in _findings(result)]
    said.extend(advice.note_sentence(note) for note in result.notes)
    return said[0] if said else "nothing was judged"


def _worst_sentences(result: RunResult) -> list[tuple[str, str]]:
    """(short name, sentence) of every estimate and check that has the verdict's outcome, leaks first."""
    outcome = result.verdict.outcome
    leaks = [leak for leak in result.verdict.leaks if leak.outcome == outcome]
    sentences = [(words.leak_name(leak.kind), leak_sentence(leak, result)) for leak in leaks]
    # What was measured before what was not: "no entry in the baseline" must not speak for a healthy test.
    for check in sorted(result.verdict.checks, key=lambda check: check.measured is None):
        if check.outcome == outcome and not _said_by_estimate(check, result):
            noun = words.metric_of(check.metric).noun
            sentences.append((noun, f"{_prefix(outcome)}: {check_sentence(check, result)}"))
    return sentences


def _said_by_estimate(check: Check, result: RunResult) -> bool:
    return check.metric.startswith("no_leaks:") and any(
        leak.kind == check.metric.removeprefix("no_leaks:") for leak in result.verdict.leaks
    )


def _prefix(outcome: Outcome) -> str:
    return {"pass": "healthy", "warning": "memory warning", "critical": "memory"}.get(outcome, tables.class_of(outcome))


def _listed(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:3]) + (f" and {len(unique) - 3} more" if len(unique) > 3 else "")


def leak_sentence(leak: LeakEstimate, result: RunResult) -> str:
    """One leak estimate: slope with its interval, limit, the growth behind it, and where it leads."""
    thing = tables.leak_thing(leak)
    slope = words.format_rate(leak.slope, leak.unit, thing)
    limit = _leak_limit(leak, result) or words.format_rate(leak.limit, leak.unit, thing)
    if leak.outcome == "not-measured":
        return f"{_leak_prefix(leak)}: {words.reason_phrase(leak.reason)}"
    sentence = f"{_leak_prefix(leak)}: {slope} (95 %: {words.format_interval(leak.low, leak.high)}), limit {limit}"
    if leak.outcome == "critical":
        how = "" if leak.reason == "grows" else f"; {words.reason_phrase(leak.reason)}"
        return sentence + _leak_growth(leak) + how + _leak_future(leak, result)
    if phrase := words.reason_phrase(leak.reason):
        sentence += f"; {phrase}"
    return f"{sentence}; {_rounds(leak)}" if leak.rounds else sentence


def _leak_prefix(leak: LeakEstimate) -> str:
    name = words.leak_name(leak.kind)
    prefixes = {"critical": name, "pass": f"no {name}", "warning": f"possible {name}"}
    return prefixes.get(leak.outcome, f"{tables.class_of(leak.outcome)}, {name}")


def _leak_limit(leak: LeakEstimate, result: RunResult) -> str:
    for check in result.verdict.checks:
        if check.metric == f"no_leaks:{leak.kind}" and check.limit_text:
            return words.clean(check.limit_text, 60)
    return ""


def _leak_growth(leak: LeakEstimate) -> str:
    if not leak.units:
        return ""
    thing = tables.leak_thing(leak)
    amount = format_size(leak.growth) if thing == "B" else f"{format_count(round(leak.growth))} {thing}"
    return f"; {amount} in {words.plural(leak.unit, leak.units)} over {words.plural('round', leak.rounds)}"


def _rounds(leak: LeakEstimate) -> str:
    return f"{words.plural(leak.unit, leak.units)} in {words.plural('round', leak.rounds)}"


def _leak_future(leak: LeakEstimate, result: RunResult) -> str:
    if not leak.units_to_heap_limit:
        return ""
    limit = f"the {format_size(result.app.heap_limit_bytes)} heap limit" if result.app.heap_limit_bytes else "its limit"
    after = int(float(f"{leak.units_to_heap_limit:.3g}"))  # an extrapolation has no seventh digit
    return f"; would reach {limit} after {words.plural(leak.unit, after)}"


def check_sentence(check: Check, result: RunResult) -> str:
    """One check: ``"heap grew 61.2 MB (12.1 → 73.3 MB), limit 50MB"``, or why it could not be judged."""
    metric = words.metric_of(check.metric)
    phrase = words.reason_phrase(check.reason, check.detail)
    if words.is_baseline(check.metric):
        return _baseline_sentence(check, metric, phrase)
    if check.measured is None:
        limit = tables.limit_text(check)
        phrase = phrase or "nothing was measured"
        sentence = phrase if metric.noun in ("app", "load") else f"{metric.noun}: {phrase}"
        return f"{sentence}, limit {limit}" if limit else sentence
    if check.reason == "too-many-errors":
        return f"{phrase}, limit {tables.limit_text(check)}"
    sentence = _measured(check, metric, result)
    if limit := tables.limit_text(check):
        sentence += f", {'default threshold' if check.source == 'default' else 'limit'} {limit}"
    return sentence if check.reason in _MEASURED_REASONS or not phrase else f"{sentence}; {phrase}"


def _measured(check: Check, metric: words.Metric, result: RunResult) -> str:
    if not metric.grows or check.measured is None:
        return f"{metric.noun} {tables.measured_text(check)}"
    verb = "grew" if check.measured >= 0 else "shrank"
    amount = tables.measured_text(check) if check.measured >= 0 else words.format_measure(-check.measured, check.unit)
    span = _span(check, result)
    return f"{metric.noun} {verb} {amount}{span}"


def _span(check: Check, result: RunResult) -> str:
    """``" (12.1 → 73.3 MB)"`` from the check's own detail, else from the growth it is about."""
    start, end, units = check.detail.get("start"), check.detail.get("end"), check.detail.get("units")
    if not isinstance(start, (int, float)) or not isinstance(end, (int, float)):
        growth = _growth_of(check, result)
        if growth is None:
            return ""
        start, end, units = growth.start, growth.end, growth.units
    span = words.format_span(start, end)
    if check.unit.startswith("bytes/") and isinstance(units, int) and units:
        return f" ({span} in {words.plural(check.unit.partition('/')[2], units)})"
    return f" ({span})"


def _growth_of(check: Check, result: RunResult) -> Growth | None:
    noun = words.metric_of(check.metric).noun
    return next((growth for growth in result.growth if words.metric_of(growth.metric).noun == noun), None)


def _baseline_sentence(check: Check, metric: words.Metric, phrase: str) -> str:
    """``"settled heap +36.7 % (12.0 → 16.4 MB), tolerance 10%"``: the change, both values, what is allowed."""
    if check.measured is None:
        return f"{metric.noun}: {phrase or 'nothing was measured'}"
    stored = check.detail.get("baseline")
    if isinstance(stored, (int, float)):
        change, tolerance = _change_and_tolerance(check, check.measured - stored)
        sentence = f"{metric.noun} {change} ({words.format_measures(stored, check.measured, check.unit)})"
        sentence += f", tolerance {tolerance}" if tolerance else ""
    else:
        sentence = f"{metric.noun} {words.format_measure(check.measured, check.unit)}"
    return f"{sentence}; {phrase}" if phrase else sentence


def _change_and_tolerance(check: Check, change: float) -> tuple[str, str]:
    """Both in percent, or both in the check's unit where the baseline is so near zero that percentages run wild."""
    percent, allowed = check.detail.get("change_percent"), check.detail.get("tolerance_percent")
    absolute = check.detail.get("tolerance")
    own = words.clean(check.limit_text, 40)
    if isinstance(percent, (int, float)) and (not isinstance(allowed, (int, float)) or allowed < _WILD_PERCENT):
        return words.format_percent_change(percent), own or (
            f"{allowed:.1f} %" if isinstance(allowed, (int, float)) else ""
        )
    sign = "+" if change > 0 else ""
    tolerance = words.format_measure(absolute, check.unit) if isinstance(absolute, (int, float)) else ""
    return f"{sign}{words.format_measure(change, check.unit)}", own or tolerance


# --- the failure text ---------------------------------------------------------------------------------------------


def failure_text(result: RunResult, verbose: bool = False) -> str:
    """What pytest shows for a failed test: the verdict, then tables, culprits, paths and files, bounded in length.

    ``verbose`` shows about ten times as many rows, paths and lines."""
    factor = _VERBOSE if verbose else 1
    leading, *others = [sentence for _, sentence in _worst_sentences(result)] or [verdict_line(result)]
    parts = ["\n".join([leading, *others[: 4 * factor]])]
    parts.extend(_table_parts(result, factor))
    limit = _MAX_FINDINGS * factor
    parts.append(
        _bullets("findings", _findings(result), lambda item: advice.finding_sentence(item, result.unit), limit)
    )
    parts.append(_bullets("held by", _paths(result), _path_lines, _MAX_PATHS * factor))
    parts.append(_bullets("notes", result.notes, advice.note_sentence, limit))
    parts.append(_bullets("what to do", recommendations(result), lambda item: item.action, _MAX_PATHS * factor))
    parts.append(_output_part(result, _MAX_OUTPUT_LINES * factor))
    parts.append(_bullets("files", tables.artifacts_table(result).rows, _file_line, _MAX_FILES * factor))
    return "\n\n".join(part for part in parts if part)


def _findings(result: RunResult) -> list[Finding]:
    return advice.worst_first(result.findings)


def _table_parts(result: RunResult, factor: int) -> list[str]:
    shown = [
        tables.limits_table(result.verdict.checks),
        tables.baseline_table(result.verdict.checks),
        tables.rounds_table(result, tables.MAX_ROUNDS * factor),
        tables.classes_table(result.class_deltas, tables.MAX_CLASSES * factor),
    ]
    if any(load.errors or not load.requests for load in result.load) or factor > 1:
        shown.append(tables.load_table(result.load))
    return ["\n".join(table_lines(table, indent="  ")) for table in shown if table]


def _bullets(title: str, items: Sequence[_Item], say: Callable[[_Item], str], limit: int) -> str:
    """The first ``limit`` items as a list; only those are put into words."""
    if not items:
        return ""
    lines = [f"  - {say(item)}" for item in items[:limit]]
    if len(items) > limit:
        lines.append(f"  … {len(items) - limit} more (-v shows more)")
    return "\n".join([f"{title}:", *lines])


def _paths(result: RunResult) -> list[tuple[Finding, RetainerPath]]:
    return [(finding, path) for finding in _findings(result) for path in finding.paths]


def _path_lines(held: tuple[Finding, RetainerPath]) -> str:
    finding, path = held
    subject = words.clean(finding.subject, 60)
    return f"{subject}, {advice.path_summary(path)}, held by\n      {advice.path_text(path)}"


def _file_line(row: tuple[str, ...]) -> str:
    kind, path, size = row
    return f"{kind}  {path}  ({size})"


def _output_part(result: RunResult, limit: int) -> str:
    tail = output_tail(result, limit)
    if not tail:
        return ""
    status = "" if result.app.exit_status is None else f" (exit status {result.app.exit_status})"
    return "\n".join([f"last output of the app{status}:", *(f"  {line}" for line in tail.splitlines())])


def output_tail(result: RunResult, limit: int = 40) -> str:
    """The last lines the app wrote before it died, or nothing when it lives or passed."""
    if result.verdict.outcome == "pass":
        return ""
    return "\n".join(words.clean(line, 240) for line in result.app.output_tail.splitlines()[-limit:])


def table_lines(table: Table, *, indent: str = "", title: bool = True) -> list[str]:
    """A table as aligned lines of text."""
    cells = [list(table.columns), *(list(row) for row in table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.columns))]
    lines = [f"{table.title.lower()}:"] if title and table.title else []
    for number, row in enumerate(cells):
        if number == 0 and not any(table.columns):
            continue
        aligned = [
            cell.rjust(width) if column in table.numeric else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append((indent + "  ".join(aligned)).rstrip())
    if table.omitted:
        lines.append(f"{indent}… {format_count(table.omitted)} more rows")
    return lines


def recommendations(result: RunResult) -> tuple[advice.Recommendation, ...]:
    """What to do next, worst first, each with its evidence."""
    sentences: dict[str, str] = {leak.kind: leak_sentence(leak, result) for leak in result.verdict.leaks}
    return advice.recommendations(result, sentences)


# --- rows and overview --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One test in an overview: its class, its sentence, its headline number and the curve of its heap (or RSS)."""

    test_id: str
    file: str
    name: str
    outcome: Outcome
    health: str
    mark: str
    sentence: str
    headline: str
    growth: str
    growth_bytes: float
    curve: tuple[float | None, ...]
    duration: str
    requests: str


def result_row(result: RunResult, curve_points: int = 60) -> ResultRow:
    """The overview row of one result."""
    file, name = _file_and_name(result)
    outcome = result.verdict.outcome
    return ResultRow(
        test_id=words.clean(result.test_id, 400),
        file=words.clean(file, 200),
        name=words.clean(name, 300),
        outcome=outcome,
        health=_UNJUDGED if is_unjudged(result) else tables.class_of(outcome),
        mark=words.HEALTH_MARKS.get(outcome, "·"),
        sentence=verdict_line(result),
        headline=_headline(result),
        growth=words.format_change(_heap_growth_bytes(result)) if result.growth else "",
        growth_bytes=_heap_growth_bytes(result),
        curve=tuple(series.bucket_peaks(main_curve(result).values, curve_points)),
        duration=format_duration(result.duration_s) if result.duration_s else "",
        requests=format_count(sum(load.requests for load in result.load)) if result.load else "",
    )


def _headline(result: RunResult) -> str:
    """The shortest number that tells the story: the slope of a leak test, else the growth of the worst check."""
    leaks = [leak for leak in result.verdict.leaks if leak.outcome == result.verdict.outcome] or result.verdict.leaks
    if leaks:
        return words.format_rate(leaks[0].slope, leaks[0].unit, tables.leak_thing(leaks[0]))
    for check in result.verdict.checks:
        if check.outcome == result.verdict.outcome and check.measured is not None:
            text = words.format_measure(check.measured, check.unit)
            metric = words.metric_of(check.metric)
            grows = metric.grows and not words.is_baseline(check.metric)
            sign = "+" if grows and check.measured > 0 else ""
            return f"{metric.noun} {sign}{text}"
    for check in result.verdict.checks:
        if check.outcome == result.verdict.outcome and check.measured is None:
            return words.SHORT_REASONS.get(check.reason, "")
    return f"heap {words.format_change(_heap_growth_bytes(result))}" if result.growth else ""


def _heap_growth_bytes(result: RunResult) -> float:
    for growth in result.growth:
        if words.metric_of(growth.metric).noun == "heap":
            return growth.amount
    return 0.0


def main_curve(result: RunResult) -> series.Series:
    """The one curve that stands for a result: heap in use (workers included), or RSS where no heap was read."""
    return series.heap_totals(result.samples) or series.process_totals(result.samples, "rss_bytes")


def ordered(results: Iterable[RunResult]) -> list[RunResult]:
    """Worst first: by outcome, then by heap growth, then by name."""
    return sorted(
        results, key=lambda item: (SEVERITY.index(item.verdict.outcome), -_heap_growth_bytes(item), item.test_id)
    )


def class_counts(results: Iterable[RunResult]) -> list[tuple[Outcome, str, int]]:
    """(outcome, health class, how many) for every class, worst first."""
    counted = list(results)
    outcomes = [result.verdict.outcome for result in counted]
    names: dict[Outcome, str] = dict(words.HEALTH_CLASSES)
    if all(is_unjudged(result) for result in counted if result.verdict.outcome == "not-measured"):
        names["not-measured"] = _UNJUDGED
    return [(outcome, health, outcomes.count(outcome)) for outcome, health in names.items()]


def _file_and_name(result: RunResult) -> tuple[str, str]:
    """A test's file and its name there; a tool has no file, though its app may be at ``http://[::1]:3000``."""
    if result.tool != "pytest":
        return "", result.test_id
    file, _, name = result.test_id.partition("::")
    return (file, name) if name else ("", file)


def overview_sentence(results: Sequence[RunResult]) -> str:
    """``"12 tests: 1 critical, 2 warning, 9 healthy; worst growth 61.2 MB (test_checkout)"``."""
    counts = [f"{count} {health}" for _, health, count in class_counts(results) if count]
    sentence = words.plural("test", len(results))
    if counts:
        sentence += f": {', '.join(counts)}"
    growing = max(results, key=_heap_growth_bytes, default=None)
    if growing is not None and _heap_growth_bytes(growing) > 0:
        amount = format_size(_heap_growth_bytes(growing))
        sentence += f"; largest heap growth {amount} ({words.clean(_file_and_name(growing)[1], 300)})"
    return sentence


def load_sentence(load: LoadStats) -> str:
    """A load run in one line: ``"5,000 requests in 10.0 s (500/s), no errors; p50 4.10 ms, p99 20.0 ms"``."""
    pace = [f"{load.rps:,.0f}/s"]
    if load.concurrency:
        pace.append(words.plural("connection", load.concurrency))
    sentence = f"{words.plural('request', load.requests)} in {format_duration(load.duration_s)} ({', '.join(pace)})"
    sentence += (
        f", {words.plural('error', load.errors)} ({100 * load.error_rate:.1f} %)" if load.errors else ", no errors"
    )
    if load.dropped:
        sentence += f", {words.plural('arrival', load.dropped)} dropped"
    if load.latency.count:
        sentence += f"; p50 {format_duration(load.latency.p50_s)}, p99 {format_duration(load.latency.p99_s)}"
    if load.stopped_early:
        sentence += f"; stopped early: {words.spoken(load.stopped_early)}"
    return sentence


def load_sentences(loads: Sequence[LoadStats], limit: int = 12) -> list[tuple[str, tuple[str, ...]]]:
    """(sentence, details) of every load; repeated runs are one, with the percentiles of the slowest."""
    said = []
    for load, runs in series.merged_loads(loads)[:limit]:
        sentence = load_sentence(load)
        if runs > 1:
            sentence += f" (of the slowest of {words.plural('run', runs)})"
        said.append((sentence, tuple(load_details(load))))
    return said


def load_details(load: LoadStats) -> list[str]:
    """What a load run's one line leaves out: errors by kind, the first error, aborted and retried requests."""
    lines = []
    if load.errors_by_kind:
        kinds = sorted(load.errors_by_kind.items(), key=lambda item: -item[1])
        lines.append(
            "errors: " + ", ".join(f"{words.clean(kind, 60)} × {format_count(count)}" for kind, count in kinds)
        )
    if load.first_error:
        lines.append(f"first error: {words.clean(load.first_error, 240)}")
    for name, count in (("aborted on purpose", load.aborted), ("retried", load.retried)):
        if count:
            lines.append(f"{name}: {format_count(count)}")
    if load.bytes_sent or load.bytes_received:
        lines.append(f"sent {format_size(load.bytes_sent)}, received {format_size(load.bytes_received)}")
    return lines
