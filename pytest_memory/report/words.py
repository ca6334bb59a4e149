"""The vocabulary of the reports: how a value, a metric, a kind of memory and a reason code are said.  Floor 4: pure.

Part of the view: `report.view` makes sentences of these words, and nothing else in the package turns a number
or a code into text for people.  Codes not listed here are worded from their own letters, so that an older
report still reads a newer result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_memory.model import Outcome
from pytest_memory.units import format_count, format_duration, format_size

Detail = Mapping[str, str | int | float | bool | None]

# --- outcomes ---------------------------------------------------------------------------------------------------

HEALTH_CLASSES: Mapping[Outcome, str] = {
    "critical": "critical",
    "not-measured": "not measured",
    "inconclusive": "inconclusive",
    "warning": "warning",
    "pass": "healthy",
}
"""The health class of an outcome, worst first."""

HEALTH_MARKS: Mapping[Outcome, str] = {
    "critical": "✖",
    "not-measured": "∅",
    "inconclusive": "?",
    "warning": "▲",
    "pass": "✔",
}
"""A shape for each class, so that no reader depends on colour."""

# --- what is measured -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """How a measured quantity is named; ``grows`` says that its sentence is about growth."""

    noun: str
    grows: bool = True


_METRICS: Mapping[str, Metric] = {
    "heap": Metric(noun="heap"),
    "rss": Metric(noun="RSS"),
    "uss": Metric(noun="USS"),
    "external": Metric(noun="external memory"),
    "array_buffers": Metric(noun="array buffers"),
    "native": Metric(noun="native memory"),
    "worker_heap": Metric(noun="worker heaps"),
    "code": Metric(noun="compiled code"),
    "handles": Metric(noun="open handles"),
    "fds": Metric(noun="open files"),
    "gc_pause": Metric(noun="longest GC pause", grows=False),
    "gc_count": Metric(noun="major GC runs", grows=False),
    "gc_frequency": Metric(noun="GC runs", grows=False),
    "app": Metric(noun="app", grows=False),
    "load": Metric(noun="load", grows=False),
    "leak": Metric(noun="leak test", grows=False),
    "peak_rss": Metric(noun="peak RSS", grows=False),
    "peak_heap": Metric(noun="peak heap", grows=False),
}
_BASELINE_NOUNS: Mapping[str, str] = {
    "heap_bytes": "settled heap",
    "heap_growth_bytes": "heap growth",
    "heap_bytes_per_unit": "heap growth per unit",
    "external_bytes": "external memory",
    "rss_bytes": "RSS",
    "peak_rss_bytes": "peak RSS",
    "gc_count": "major GC runs",
    "gc_pause_s": "longest GC pause",
    "latency_p50_s": "median latency",
    "latency_p99_s": "p99 latency",
    "rps": "request rate",
}
_METRIC_ALIASES = {"gc_runs": "gc_count", "no_leaks": "leak", "leaks": "leak", "heap_total": "heap"}

MEMORY_KINDS: Mapping[str, str] = {
    "heap": "V8 heap",
    "external": "external memory (Buffers)",
    "native": "native memory",
    "worker-heap": "worker heaps",
    "rss": "RSS",
    "handles": "open handles",
    "fds": "open files",
}
_LEAK_NAMES: Mapping[str, str] = {
    "heap": "leak",
    "external": "leak in external memory (Buffers)",
    "native": "leak in native memory",
    "worker-heap": "leak in worker heaps",
    "rss": "leak in RSS",
    "handles": "leak of handles",
    "fds": "leak of open files",
}
SHAPES: Mapping[str, str] = {
    "flat": "flat",
    "linear": "grows steadily",
    "levelling-off": "levels off",
    "sawtooth": "rises and gives back",
    "step": "one step",
    "staircase": "grows in steps",
    "noisy": "noisy",
}
GC_KINDS: Mapping[str, str] = {
    "scavenge": "scavenge",
    "minor-mark-compact": "minor mark-compact",
    "mark-compact": "mark-compact",
    "incremental": "incremental marking",
    "weak-callbacks": "weak callbacks",
}


def metric_of(name: str) -> Metric:
    """The metric a check is about: ``max_heap_growth`` and ``health:heap_used`` are both about the heap."""
    if is_baseline(name):
        what = name.partition(":")[2]
        return Metric(noun=_BASELINE_NOUNS.get(what, spoken(what) or "baseline"), grows=False)
    key = _snake(name.rpartition(":")[2] if not name.startswith("no_leaks") else "leak")
    key = key.removeprefix("max_").removesuffix("_growth").removesuffix("_bytes").removesuffix("_used")
    key = _METRIC_ALIASES.get(key, key)
    return _METRICS.get(key, Metric(noun=spoken(key) or "measurement", grows=False))


def heap_name(*, with_workers: bool) -> str:
    """What the curve of the heap in use is called."""
    return "heap used + workers" if with_workers else "heap used"


def is_baseline(metric: str) -> bool:
    """Whether a check compares with a baseline: one metric of it, or the whole."""
    return metric == "baseline" or metric.startswith("baseline:")


def leak_name(kind: str) -> str:
    """``"external"`` → ``"leak in external memory (Buffers)"``."""
    return _LEAK_NAMES.get(kind, f"leak of {spoken(kind)}")


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


def spoken(code: str) -> str:
    """An unlisted code in words: ``"worker-went-away"`` → ``"worker went away"``."""
    return " ".join(clean(code).replace("-", " ").replace("_", " ").split())


# --- reason codes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What a reason code says, and (if there is one) the next action of the test's author."""

    phrase: str
    hint: str = ""


REASONS: Mapping[str, Reason] = {
    # limits and health thresholds: the measured value says it all
    "within-limit": Reason(phrase=""),
    "over-limit": Reason(phrase=""),
    "over-threshold-warning": Reason(phrase=""),
    "over-threshold-critical": Reason(phrase=""),
    # conditions under which nothing can be judged
    "no-samples": Reason(
        phrase="nothing was measured",
        hint="measure for longer than one sampling interval, or shorten `interval`",
    ),
    "no-requests": Reason(
        phrase="no request was sent",
        hint="check that the load reaches the app: its URL, its port and the `ready` path",
    ),
    "too-many-errors": Reason(
        phrase="too many requests failed",
        hint="make the requests succeed first: an app that answers with errors is not exercised as the test means",
    ),
    "load-app-died": Reason(
        phrase="the app took no connections any more, so the load ended early",
        hint="read the app's output from when the load ended: it has crashed, or closed its port",
    ),
    "load-stalled": Reason(
        phrase="the app answered nothing any more, so the load ended early",
        hint="find what the app waits for: a pool that ran out, a lock, a loop that never ends",
    ),
    "load-stopped-by-errors": Reason(
        phrase="more requests had failed than the limit allows, so the load ended early",
        hint="make the requests succeed first, or allow more of them to fail (--max-error-rate)",
    ),
    "load-dropped": Reason(
        phrase="the app got less load than the rate asks for",
        hint="give the rate more connections (concurrency=), or ask for a rate that the app can serve",
    ),
    "load-failed": Reason(
        phrase="a load run in the background failed",
        hint="wait for the run in the test: load_generator.start(...).wait() raises what went wrong",
    ),
    "load-unfinished": Reason(
        phrase="a load run in the background was still under way when the measurement ended",
        hint="end the run in the test, with wait() or stop() of what load_generator.start(...) returned",
    ),
    "app-died": Reason(
        phrase="the app died while it was measured",
        hint="read the app's last output; if the heap ran full, look at the classes that grew until then",
    ),
    "inspector-lost": Reason(
        phrase="the app's inspector was lost or did not answer, so its memory could not be read at both ends",
        hint="let the app keep its inspector and its event loop turning: look for inspector.close(), SIGUSR1 handlers "
        "and long synchronous work",
    ),
    "gc-dropped": Reason(
        phrase="collections came faster than they were read, or a process began, was killed or could not be asked "
        "meanwhile: there may have been more than are known",
        hint="start the app's processes before the measured window and let them end by themselves; where another tool "
        "traces the app, read more often (--memory-interval)",
    ),
    "no-inspector": Reason(
        phrase="the app has no inspector that answers, so nothing of its memory was measured",
        hint="let a Node be the app, without --permission or with --allow-inspector, or attach to its inspector: Bun, "
        "Deno, and a container that the command starts cannot be measured from here",
    ),
    "processes-ended": Reason(
        phrase="processes of the app ended while it was measured: what was kept there is missing at the end",
        hint="find out why they ended (their last output), or keep workers from being recycled during the test",
    ),
    "app-restarted": Reason(
        phrase="the app restarted while it was measured, so start and end belong to different processes",
        hint="turn the supervisor or watch mode off for the test",
    ),
    "no-leak-test": Reason(
        phrase="the test asks for no leaks but ran no leak test",
        hint="call memory_monitor.leak_test(...) in the test",
    ),
    "not-settled": Reason(
        phrase="memory had not settled when it was read",
        hint="allow more settling time, or let the app finish its background work before the end",
    ),
    "precise-mode": Reason(
        phrase="the app did not run in precise mode, so compiled code hides changes of this size",
        hint="let `node_app` start the app, or raise the limit",
    ),
    "rss-after-snapshot": Reason(
        phrase="RSS was read after a heap snapshot, which itself takes memory",
        hint="take snapshots in another test than the one that limits RSS",
    ),
    "shared-machine": Reason(
        phrase="other tests ran on this machine at the same time, which lengthens pauses",
        hint="run tests that limit times without other workers beside them",
    ),
    # leak tests
    "below-limit": Reason(phrase=""),
    "given-back": Reason(phrase="what grows is given back"),
    "grows": Reason(phrase="grows steadily with the work"),
    "staircase": Reason(phrase="grows in steps, as the tables of a filling collection do"),
    "grows-between-rests": Reason(phrase="each rest gives back less than was added before it"),
    "counted": Reason(phrase="its size is at the edge of the noise, but its objects add up with the work"),
    "no-units": Reason(
        phrase="no work was done in the rounds",
        hint="let the leak test's function do work, and return the load result where it loads the app",
    ),
    "too-short": Reason(
        phrase="too little work to tell",
        hint="let the leak test run longer, or make a unit of work faster",
    ),
    "growing": Reason(
        phrase="it grows, but after too little work to rule out warm-up",
        hint="let the leak test run longer, so that warm-up ends or the growth goes on",
    ),
    "levelling-off": Reason(
        phrase="growth slows down, as a filling cache's does",
        hint="warm the app up for longer, or make its caches smaller in the test",
    ),
    "no-rest": Reason(
        phrase="it grows, and the app had no rest in which to give memory back",
        hint="allow the leak test a longer duration, which includes a rest",
    ),
    "gives-back": Reason(
        phrase="it grows under load and gives part of it back at rest",
        hint="shorten the app's expiry times in the test, or let the leak test run for longer than they take",
    ),
    "step": Reason(
        phrase="it rose in one step",
        hint="let the leak test run longer, to see whether the step comes again",
    ),
    "sawtooth": Reason(
        phrase="it rises and falls more than the limit allows to see",
        hint="let the leak test run for several of these cycles",
    ),
    "noisy": Reason(
        phrase="the readings scatter more than the limit",
        hint="do more work in each round, run more rounds, or raise the limit",
    ),
    "below-resolution": Reason(
        phrase="it rises, by too little in all to be told from modules and tables that come late",
        hint="let the leak test run longer, or do more work a second: what leaks comes to more, what is late does not",
    ),
    "falling": Reason(
        phrase="it keeps falling, and what follows when that ends is not known",
        hint="let the leak test run longer; a buffer flushed every so many units looks like that between two flushes",
    ),
    "straddles-limit": Reason(
        phrase="the limit lies inside the interval",
        hint="let the leak test run longer to narrow the interval, or move the limit",
    ),
    # baselines
    "baseline-within": Reason(phrase=""),
    "baseline-breach": Reason(
        phrase="",
        hint="see what changed since the baseline was recorded: snapshots of both tell what grew (pytest-memory diff)",
    ),
    "baseline-uncertain": Reason(
        phrase="worse than allowed, but within what chance or an unsettled heap explains",
        hint="measure again; several recorded runs make the baseline surer",
    ),
    "baseline-stale-low": Reason(
        phrase="far below the baseline, which no longer guards anything",
        hint="record a new baseline with --memory-baseline-update",
    ),
    "baseline-missing": Reason(
        phrase="the baseline has no entry for it",
        hint="record one with --memory-baseline-update",
    ),
    "baseline-not-measured": Reason(
        phrase="the baseline has it, but it was not measured now",
        hint="measure it again, or record the baseline anew with --memory-baseline-update",
    ),
    "baseline-not-comparable": Reason(
        phrase="measured under other conditions than the baseline",
        hint="record a baseline in this environment, or compare with --memory-baseline-ref",
    ),
}


SHORT_REASONS: Mapping[str, str] = {
    "app-died": "app died",
    "app-restarted": "app restarted",
    "inspector-lost": "inspector lost",
    "no-inspector": "no inspector",
    "processes-ended": "process ended",
    "no-requests": "no requests",
    "load-app-died": "load ended early",
    "load-stalled": "load stalled",
    "load-stopped-by-errors": "load stopped",
    "load-dropped": "arrivals dropped",
    "load-failed": "load failed",
    "load-unfinished": "load unfinished",
}
"""Reasons in two words, for a column; their sentences are in REASONS."""


def reason_phrase(code: str, detail: Detail | None = None) -> str:
    """A reason code in words; some say more with the values in ``detail``."""
    known = REASONS.get(code)
    phrase = known.phrase if known else spoken(code)
    if not detail:
        return phrase
    if code == "too-many-errors" and "errors" in detail and "requests" in detail:
        phrase = f"{_count(detail['errors'])} of {_count(detail['requests'])} requests"
        phrase += f" of {clean(str(part), 120)} failed" if (part := detail.get("part")) else " failed"
        if first := detail.get("first_error"):
            phrase += f" (first: {clean(str(first), 120)})"
    elif code in ("load-app-died", "load-stalled", "load-stopped-by-errors") and "requests" in detail:
        part = clean(str(detail.get("part") or "all"), 120)
        phrase += f" ({part}: {_count(detail['errors'])} of {_count(detail['requests'])} requests failed)"
    elif code == "load-dropped" and "dropped" in detail:
        part = f" of {clean(str(part), 120)}" if (part := detail.get("part")) else ""
        phrase = f"{_count(detail['dropped'])} of {_count(detail['arrivals'])} arrivals{part} found no free connection "
        phrase += "and were dropped: the app got less load than the rate asks for"
    elif code == "load-failed" and (error := detail.get("error")):
        phrase += f": {clean(str(error), 200)}"
    elif code == "app-died" and (status := detail.get("exit_status")) is not None:
        phrase += f" (exit status {clean(str(status), 40)})"
    elif code == "processes-ended" and isinstance(ended := detail.get("processes"), int):
        phrase = phrase.replace("processes", plural("process", ended), 1)
    elif code == "baseline-not-comparable" and (what := detail.get("difference")):
        before, after = clean(str(detail.get("before")), 80), clean(str(detail.get("after")), 80)
        phrase += f" ({spoken(str(what))}: {before} then, {after} now)"
    return phrase


def reason_hint(code: str) -> str:
    """The next action a reason code asks for, or nothing."""
    known = REASONS.get(code)
    return known.hint if known else ""


def _count(value: object) -> str:
    return format_count(value) if isinstance(value, int) else clean(str(value))


# --- values -----------------------------------------------------------------------------------------------------


def format_measure(value: float, unit: str) -> str:
    """One value of a check in its unit: "bytes", "percent", "s", "count", "bytes/request", "handles/request"."""
    if unit == "bytes":
        return format_size(value)
    if unit == "percent":
        return f"{_decimal(value)} %"
    if unit == "1/s":
        return f"{_decimal(value)}/s"
    if unit == "s":
        return format_duration(value)
    if unit == "count":
        return format_count(round(value))
    if unit.startswith("bytes/"):
        return format_rate(value, unit.removeprefix("bytes/"))
    return f"{_decimal(value)} {clean(unit)}"


def format_rate(value: float, per: str, thing: str = "B") -> str:
    """``1024, "request"`` → ``"1,024 B/request"``; in KB, MB, … from 100,000 on; other things are counted."""
    if thing == "B" and abs(value) >= 100_000:
        return f"{format_size(value)}/{clean(per)}"
    return f"{_decimal(value)} {thing}/{clean(per)}"


def format_interval(low: float, high: float) -> str:
    """``1009, 1041`` → ``"1,009–1,041"``; with a minus sign on either side ``"-12 to 8"``."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "unknown"
    widest = max(abs(low), abs(high))
    if widest >= 100_000:
        ends = (format_size(low), format_size(high))
    elif widest >= 9.95:
        ends = (f"{round(low):,}", f"{round(high):,}")  # one precision for both ends
    else:
        ends = (_decimal(low), _decimal(high))
    return f"{ends[0]} to {ends[1]}" if low < 0 or high < 0 else f"{ends[0]}–{ends[1]}"


def format_change(size_bytes: float) -> str:
    """A size with its sign: ``"+262 KB"``, ``"-1.20 MB"``, ``"0 B"``."""
    return f"+{format_size(size_bytes)}" if size_bytes > 0 else format_size(size_bytes)


def format_percent_change(percent: float) -> str:
    """A change in percent with its sign: ``"+18.4 %"``; ``"0.0 %"``, never "-0.0 %"."""
    text = f"{percent:+,.1f}"
    return "0.0 %" if text in ("-0.0", "+0.0") else f"{text} %"


def format_signed_count(value: int) -> str:
    """A count with its sign: ``"+2,000"``."""
    return f"+{format_count(value)}" if value > 0 else format_count(value)


def format_span(start_bytes: float, end_bytes: float) -> str:
    """``"12.1 → 73.3 MB"``: the unit once when both share it."""
    return format_measures(start_bytes, end_bytes, "bytes")


def format_measures(start: float, end: float, unit: str) -> str:
    """Two values of a check, from one to the other: ``"41.2 → 48.8 MB"``, ``"348 → 612 B/request"``."""
    first, second = format_measure(start, unit), format_measure(end, unit)
    number, _, word = first.rpartition(" ")
    return f"{number} → {second}" if number and word == second.rpartition(" ")[2] else f"{first} → {second}"


def _decimal(value: float) -> str:
    """Whole from 10 on, one digit below; thousands separated; never "-0"."""
    text = f"{value:,.0f}" if abs(value) >= 9.95 else f"{value:.1f}"
    return {"-0.0": "0", "0.0": "0"}.get(text, text)


def plural(unit: str, count: int) -> str:
    """``"request", 2`` → ``"2 requests"``; ``"query", 2`` → ``"2 queries"``."""
    word = clean(unit) or "unit"
    if count != 1:
        if word.endswith(("s", "x", "ch", "sh")):
            word += "es"
        elif word.endswith("y") and word[-2:-1] not in tuple("aeiou"):
            word = word[:-1] + "ies"
        else:
            word += "s"
    return f"{format_count(count)} {word}"


def clean(text: str, limit: int = 200) -> str:
    """Foreign text on one line and at most ``limit`` characters, the middle left out.

    Names come from the app's heap and the app's output: a control character among them must not reach a
    terminal, nor a newline break a table."""
    flat = text if text.isprintable() else "".join(_printable(char) for char in text)
    if len(flat) <= limit:
        return flat
    tail = (limit - 1) // 3
    return f"{flat[: limit - 1 - tail]}…{flat[len(flat) - tail :]}"


def _printable(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else "\N{REPLACEMENT CHARACTER}"
