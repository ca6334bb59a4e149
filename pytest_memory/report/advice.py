"""What findings and notes say, and what to do about them.  Floor 4: pure; part of the view, like `report.words`.

A recommendation never stands alone: it carries the sentence of the finding, estimate or check it follows from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pytest_memory.model import Finding, LeakEstimate, Note, RetainerPath, RunResult
from pytest_memory.report import words
from pytest_memory.units import format_count, format_duration, format_size

Severity = Literal["info", "warning", "critical"]
_SHOWN_APART = ("message", "last_output")  # the headline itself, and the app's output, which has its own part
_SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
MAX_PATH_STEPS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """One action, and the evidence it follows from."""

    severity: Severity
    action: str
    evidence: str
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    """How a finding of one slug is said, and what to do about it."""

    headline: str
    action: str = ""


# --- findings -----------------------------------------------------------------------------------------------------

_PATTERNS: Mapping[str, _Pattern] = {
    "growing-class": _Pattern(
        headline="objects of class {subject} accumulate",
        action="follow the retainer path of {subject} to the collection that keeps it, and remove entries when "
        "their work is done",
    ),
    "growing-collection": _Pattern(
        headline="the collection {subject} keeps growing",
        action="bound {subject}: a maximum size, a time to live, or a WeakMap keyed by the object's owner",
    ),
    "unbounded-cache": _Pattern(
        headline="the cache {subject} keeps growing",
        action="give the cache {subject} a maximum size or a time to live",
    ),
    "timer": _Pattern(
        headline="functions held by timers accumulate: {subject}",
        action="keep the handle of each setInterval/setTimeout and clear it when its work is done",
    ),
    "listener": _Pattern(
        headline="functions registered as event listeners accumulate: {subject}",
        action="remove the listener when the request ends (off, once, or an AbortSignal), or register it once at start",
    ),
    "growing-function": _Pattern(
        headline="functions made at one place accumulate: {subject}",
        action="find who keeps these functions and let them go: each holds the whole scope it was made in",
    ),
    "allocation-site": _Pattern(headline="allocated by {subject}"),
    "promise": _Pattern(
        headline="promises stay pending: {subject}",
        action="settle every promise: add a timeout or an AbortSignal to what it waits for",
    ),
    "buffer": _Pattern(
        headline="Buffers accumulate: {subject}",
        action="release the Buffers, and copy small slices of large ones (Buffer.from(slice)) before keeping them",
    ),
    "sliced-string": _Pattern(
        headline="short strings hold long ones: {subject}",
        action="copy a substring before keeping it, so that it does not hold the string it was cut from",
    ),
    "duplicate-strings": _Pattern(
        headline="the same strings are kept many times: {subject}",
        action="share the string (intern it in a Map) or keep an id in its place",
    ),
    "socket": _Pattern(
        headline="sockets stay open: {subject}",
        action="destroy or reuse the connection: an agent with keepAlive and maxSockets, and response bodies read to "
        "their end",
    ),
    "handle": _Pattern(
        headline="handles stay open: {subject}",
        action="close the handle when its work is done (close, destroy, unref)",
    ),
    "async-context": _Pattern(
        headline="async contexts accumulate: {subject}",
        action="end the asynchronous chain that keeps the store, or keep less in AsyncLocalStorage",
    ),
    "module": _Pattern(
        headline="modules are loaded again and again: {subject}",
        action="load the module once; clearing require.cache does not free what it exported",
    ),
    "detached": _Pattern(
        headline="detached objects are kept: {subject}",
        action="drop the last reference to {subject} when it is closed",
    ),
    "console": _Pattern(
        headline="console arguments are kept by an attached debugger: {subject}",
        action="detach other inspector clients while measuring",
    ),
    "heap-limit": _Pattern(
        headline="the heap comes close to its limit: {subject}",
        action="raise --max-old-space-size, or make the app hold less",
    ),
    "gc-pressure": _Pattern(
        headline="much time goes into garbage collection: {subject}",
        action="allocate less per request, or raise --max-semi-space-size",
    ),
    "long-gc-pause": _Pattern(
        headline="long garbage collection pauses: {subject}",
        action="keep fewer long-lived objects: the pause follows the size of the live heap",
    ),
    "app-died": _Pattern(
        headline="the app died: {subject}",
        action="read the app's last output; if the heap ran full, look at the classes that grew until then",
    ),
    "out-of-memory": _Pattern(
        headline="the app ran out of memory: {subject}",
        action="look at the classes that grew until then",
    ),
}

_KIND_ACTIONS: Mapping[str, str] = {
    "heap": "compare two heap snapshots of this test (the `heap_snapshot` fixture) to see which class grows",
    "external": "look for Buffers, ArrayBuffers and streams that are kept: they are outside the V8 heap",
    "native": "look at native addons, zlib and crypto contexts, TLS sockets: nothing in JavaScript accounts for it",
    "worker-heap": "look at the worker threads' own state: the growth is in their heaps",
    "rss": "compare with the heap: growth in RSS alone is native memory or fragmentation",
    "handles": "close timers, sockets and watchers when their work is done",
    "fds": "close files and sockets when their work is done",
}


def finding_sentence(finding: Finding, unit: str = "unit") -> str:
    """One finding in one line: what it is, the evidence, and where; ``unit`` is what its units of work are."""
    message = str(finding.evidence.get("message", ""))
    shown = {key: value for key, value in finding.evidence.items() if key not in _SHOWN_APART}
    if "exit status" in message:  # the message of an app that ended says it already
        shown.pop("exit_status", None)
    evidence = evidence_text(shown, unit)
    headline = _headline(finding)
    sentence = f"{headline} ({evidence})" if evidence else headline
    return f"{sentence}, at {words.clean(finding.location)}" if finding.location else sentence


def _headline(finding: Finding) -> str:
    subject = words.clean(finding.subject, 120)
    if message := finding.evidence.get("message"):
        return words.clean(str(message), 300)
    if pattern := _PATTERNS.get(finding.slug):
        return pattern.headline.format(subject=subject)
    return ": ".join(part for part in (words.spoken(finding.slug), subject) if part)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Findings by severity, otherwise in the order given."""
    return sorted(findings, key=lambda finding: _SEVERITIES.index(finding.severity))


# How the evidence of heap findings is said; what is not listed says its own name.
_SAID: Mapping[str, Callable[[int], str]] = {
    "count_delta": lambda value: f"{words.format_signed_count(value)} objects",
    "entries_delta": lambda value: f"{words.format_signed_count(value)} entries",
    "size_delta_bytes": lambda value: f"{words.format_change(value)} in size",
    "retained_bytes": lambda value: f"{words.format_change(value)} retained",
    "size_bytes": format_size,
    "new": lambda value: f"{format_count(value)} new",
    "deleted": lambda value: f"{format_count(value)} deleted" if value else "",
    "count": lambda value: f"{format_count(value)} by now",
    "node_id": lambda value: f"id @{value}",
}


def evidence_text(evidence: words.Detail, unit: str = "unit") -> str:
    """``{"count_delta": 2000, "retained_bytes": 2_048_000, "units": 2000}`` →
    ``"+2,000 objects, +2.05 MB retained, 1,024 B/request in 2,000 requests"``."""
    left = {key: value for key, value in evidence.items() if value is not None and value != ""}
    parts = []
    before, after = left.pop("length_before", None), left.pop("length_after", None)
    if isinstance(before, int) and isinstance(after, int):
        parts.append(f"{format_count(before)} → {format_count(after)} entries")
    units = left.pop("units", None)
    parts.extend(_evidence(key, value) for key, value in left.items())
    if isinstance(units, int) and units:
        parts.append(_pace(left.get("retained_bytes"), units, unit))
    return ", ".join(part for part in parts if part)


def _pace(retained_bytes: object, units: int, unit: str) -> str:
    work = f"in {words.plural(unit, units)}"
    return f"{words.format_rate(retained_bytes / units, unit)} {work}" if isinstance(retained_bytes, int) else work


def _evidence(key: str, value: str | int | float | bool | None) -> str:
    if isinstance(value, bool):
        return f"{words.spoken(key)} {'yes' if value else 'no'}"
    if isinstance(value, int) and key in _SAID:
        return _SAID[key](value)
    if isinstance(value, (int, float)):
        return _evidence_number(key, value)
    return f"{words.spoken(key)} {words.clean(str(value), 120)}"


def _evidence_number(key: str, value: int | float) -> str:
    name, _, measure = key.rpartition("_")
    if measure == "bytes":
        return f"{words.spoken(name)} {format_size(value)}"
    if key == "t_s":
        return f"{format_duration(value)} after the start"
    if measure == "s":
        return f"{words.spoken(name)} {format_duration(value)}"
    if measure == "percent":
        return f"{words.spoken(name)} {value:.3g} %"
    return f"{words.spoken(key)} {format_count(value) if isinstance(value, int) else f'{value:.3g}'}"


def path_text(path: RetainerPath, max_steps: int = MAX_PATH_STEPS) -> str:
    """``(GC roots) → app → cache : Map → table : Array``, the middle left out of a long one."""
    return " → ".join(path_steps(path, max_steps))


def path_steps(path: RetainerPath, max_steps: int = MAX_PATH_STEPS) -> tuple[str, ...]:
    """The steps of a path in words, root first, the middle of a long one as one step."""
    if len(path.steps) <= max_steps:
        return tuple(_step(edge, node) for edge, node in path.steps)
    head = max_steps // 2
    left_out = len(path.steps) - max_steps
    first = [_step(edge, node) for edge, node in path.steps[:head]]
    last = [_step(edge, node) for edge, node in path.steps[head + left_out :]]
    return (*first, f"… {left_out} more …", *last)


def _step(edge: str, node: str) -> str:
    edge, node = words.clean(edge, 60), words.clean(node, 60)
    if not edge or edge == node:
        return node
    return f"{edge} : {node}" if node else edge


def path_summary(path: RetainerPath) -> str:
    """How much hangs on a path: ``"2,000 objects, 2.05 MB retained"``."""
    text = words.plural("object", path.count)
    return f"{text}, {format_size(path.retained_bytes)} retained" if path.retained_bytes else text


# --- notes --------------------------------------------------------------------------------------------------------

_NOTES: Mapping[str, str] = {
    "few-samples": "few samples: growth and peaks may be missed",
    "late-samples": "sampling fell behind its schedule: the machine was busy",
    "late-load": "the load fell behind its schedule: latencies include waiting",
    "clock-jump": "the clock jumped during the measurement",
    "not-settled": "memory was still moving when it was read",
    "shared-machine": "other tests ran on this machine at the same time",
    "gc-not-observed": "garbage collections could not be observed",
    "gc-dropped": "some collections may not be known: processes began, were killed or could not be asked meanwhile",
    "no-inspector": "no inspector connection: only the operating system's numbers were measured",
    "not-precise": "the app did not run in precise mode: compiled code moves the heap by some 100 KB",
    "not-explained": "what grew could not be looked at in heap snapshots",
    "snapshot-skipped": "a heap snapshot was skipped",
    "gave-up-settling": "settling ended at its time budget",
    "inspector-lost": "the inspector connection was lost: from then on only the operating system's numbers exist",
    "callback-failed": "a callback of the test failed while sampling",
    "blocked-loop": "the event loop did not answer some samples: only the operating system's numbers exist for them",
    "measurement-doubtful": "the measurement is doubtful",
}


def note_sentence(note: Note) -> str:
    """One note in one line; ``message`` in its detail, when there is one, is the sentence."""
    detail = dict(note.detail)
    message = detail.pop("message", None)
    sentence = words.clean(str(message), 300) if message else _NOTES.get(note.slug, words.spoken(note.slug))
    evidence = evidence_text(detail)
    return f"{sentence} ({evidence})" if evidence else sentence


# --- recommendations ----------------------------------------------------------------------------------------------


def recommendations(result: RunResult, leak_sentences: Mapping[str, str]) -> tuple[Recommendation, ...]:
    """What to do next, worst first: from findings, from leaks nothing explains, from reasons that name a remedy.

    ``leak_sentences`` words each leak estimate by its kind (`report.view` makes them)."""
    advice = [_from_finding(finding, result.unit) for finding in worst_first(result.findings)]
    if not any(item.action for item in advice):
        advice = [*advice, *(_from_leak(leak, leak_sentences) for leak in result.verdict.leaks)]
    advice.extend(_from_reasons(result))
    unique: dict[tuple[str, str], Recommendation] = {}
    for item in advice:
        if item.action:
            unique.setdefault((item.action, item.location), item)
    return tuple(sorted(unique.values(), key=lambda item: _SEVERITIES.index(item.severity)))


def _from_finding(finding: Finding, unit: str) -> Recommendation:
    pattern = _PATTERNS.get(finding.slug)
    action = pattern.action.format(subject=words.clean(finding.subject, 80)) if pattern else ""
    return Recommendation(
        severity=finding.severity,
        action=action,
        evidence=finding_sentence(finding, unit),
        location=words.clean(finding.location or ""),
    )


def _from_leak(leak: LeakEstimate, sentences: Mapping[str, str]) -> Recommendation:
    action = _KIND_ACTIONS.get(leak.kind, "") if leak.outcome == "critical" else ""
    return Recommendation(severity="critical", action=action, evidence=sentences.get(leak.kind, ""))


_CHECK_SEVERITY: Mapping[str, Severity] = {"critical": "critical", "pass": "info"}


def _from_reasons(result: RunResult) -> list[Recommendation]:
    advice = []
    for check in result.verdict.checks:
        severity: Severity = _CHECK_SEVERITY.get(check.outcome, "warning")
        noun = words.metric_of(check.metric).noun
        phrase = words.reason_phrase(check.reason, check.detail)
        if hint := words.reason_hint(check.reason):
            advice.append(Recommendation(severity=severity, action=hint, evidence=f"{noun}: {phrase}"))
    for leak in result.verdict.leaks:
        if leak.outcome == "inconclusive" and (hint := words.reason_hint(leak.reason)):
            evidence = f"{words.MEMORY_KINDS.get(leak.kind, leak.kind)}: {words.reason_phrase(leak.reason)}"
            advice.append(Recommendation(severity="warning", action=hint, evidence=evidence))
    return advice
