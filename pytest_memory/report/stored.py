"""What a baseline update did, or would do, in words.  Floor 4: an UpdateSummary in, lines out."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_memory.baseline_update import LevelChange, UpdateSummary
from pytest_memory.report import words
from pytest_memory.units import format_duration, format_size

MAX_NAMES = 5  # of a kind; a thousand tests are a number, not a list

_SKIPPED = {
    "not-measured": "nothing was measured",
    "app-died": "the app died",
    "no-requests": "no request was served",
    "load-app-died": "the app took no connections any more",
    "load-stalled": "the app answered nothing any more",
    "load-dropped": "the app got less load than was asked for",
    "load-failed": "a load run failed",
    "load-unfinished": "a load run had not ended",
    "too-many-errors": "too many requests failed",
    "test-failed": "the test failed",
    "limit-broken": "a limit was broken",
    "leak-inconclusive": "its leak test could not tell whether it leaks",
    "not-settled": "memory was still moving",
}


def summary_lines(summary: UpdateSummary) -> list[str]:
    """A few lines for the terminal; empty when there is nothing to say."""
    lines = _stored(summary)
    if summary.written:  # else the verdicts have said it
        lines.extend(_change(change) for change in summary.changes[:MAX_NAMES])
    for test_id, reason in summary.skipped[:MAX_NAMES]:
        lines.append(f"  not stored: {test_id} ({_SKIPPED.get(reason) or words.reason_phrase(reason)})")
    if summary.pruned:
        lines.append(f"  removed: {_names(summary.pruned)}")
    if summary.gone:
        lines.append(f"  no longer exists: {_names(summary.gone)}; --memory-baseline-prune removes such entries")
    return lines


def _stored(summary: UpdateSummary) -> list[str]:
    if not summary.added and not summary.updated:
        return [f"baseline {summary.path} written"] if summary.written else []
    counts = [f"{len(ids)} {word}" for ids, word in ((summary.added, "new"), (summary.updated, "updated")) if ids]
    if summary.written:
        verb = "created" if summary.created else "updated"
        return [f"baseline {summary.path} {verb}: {', '.join(counts)}"]
    if summary.created:
        hint = "--memory-baseline-update writes it"
        return [f"baseline {summary.path} does not exist yet; {len(summary.added)} tests would be stored ({hint})"]
    if summary.added:
        hint = "--memory-baseline-update stores them"
        return [f"not in the baseline {summary.path}: {_names(summary.added)} ({hint})"]
    return []


def _change(change: LevelChange) -> str:
    before, after = (_value(value, change.unit) for value in (change.before, change.after))
    drift = f", little by little over {change.repeats} measurements" if change.drifted else ""
    return f"  {change.test_id}: {change.metric} {before} → {after}{drift}"


def _value(value: float, unit: str) -> str:
    if unit.startswith("bytes"):
        return format_size(value) + unit.removeprefix("bytes")
    return format_duration(value) if unit == "s" else f"{value:g}"


def _names(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:MAX_NAMES])
    return shown if len(ids) <= MAX_NAMES else f"{shown} and {len(ids) - MAX_NAMES} more"
