"""What an update makes of the baseline document.  Floor 2: values in, values out; no files.

An update touches only the tests it measured, accepts only tests that went well, and removes nothing unless it is
told to.  A measurement within the tolerance adds to what is known of the noise; another starts a new level.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from pytest_memory import metrics
from pytest_memory.baseline import (
    BASELINE_VERSION,
    MAX_REPEATS,
    Baseline,
    BaselineEntry,
    StoredMetric,
    conditions_of,
    derived_tolerance,
    entry_key,
    incomparable,
    round_value,
    same_units,
    stored_noise,
)
from pytest_memory.metrics import Metric, Reading
from pytest_memory.model import Check, RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelChange:
    """A metric whose level an update changed, by more than the tolerance.

    With ``drifted`` no single update did: the first and the newest of ``repeats`` accepted measurements are that far
    apart."""

    test_id: str
    metric: str
    unit: str
    before: float
    after: float
    drifted: bool = False
    repeats: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSummary:
    """What an update did.  ``skipped`` are results not stored, with the reason code of `why_not_storable`;
    ``gone`` are entries of tests that no longer exist and were left; ``pruned`` those that were removed.  With
    ``written`` False the file is as it was: nothing changed, or this only says what an update would do."""

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    changes: tuple[LevelChange, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    gone: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    created: bool = False
    written: bool = False
    path: str = ""


def why_not_storable(result: RunResult) -> str | None:
    """Why a result must not become a baseline, or None: only a test that went well is one.

    A code: "not-measured", "test-failed", "limit-broken", "leak-inconclusive", "not-settled", or the reason of a check
    of the run that was no pass ("app-died", "app-restarted", "no-requests", …).  Baseline checks do not count: a breach
    that is accepted is what an update is for."""
    checks = [check for check in result.verdict.checks if not _is_baseline_check(check)]
    for check in checks:
        if check.source == "run" and check.outcome in ("critical", "inconclusive"):
            return check.reason
    if result.end_memory is None:
        return "not-measured"
    outcomes = [check.outcome for check in checks] + [leak.outcome for leak in result.verdict.leaks]
    if "critical" in outcomes or "not-measured" in outcomes:
        return "limit-broken"
    breached = any(_is_baseline_check(check) and check.outcome != "pass" for check in result.verdict.checks)
    if result.test_outcome in ("failed", "rerun", "xfailed", "skipped") and not breached:
        return "test-failed"
    if any(leak.outcome == "inconclusive" for leak in result.verdict.leaks):
        return "leak-inconclusive"
    return None if result.end_memory.converged else "not-settled"


def _is_baseline_check(check: Check) -> bool:
    return check.metric.startswith("baseline")


def update_baseline(
    baseline: Baseline, measured: Iterable[RunResult], *, gone: Collection[str] = (), prune: bool = False
) -> tuple[Baseline, UpdateSummary]:
    """Store what was measured; every entry of a test that did not run stays as it is.

    A measurement within the tolerance joins its entry's repeats; another starts a new level.
    ``gone`` are ids of tests that no longer exist; they are removed only with ``prune``."""
    entries = dict(baseline.entries)
    added, updated, changes, skipped = [], [], [], []
    for result in measured:
        key = entry_key(result.test_id)
        if reason := why_not_storable(result):
            skipped.append((result.test_id, reason))
            continue
        old = entries.get(key)
        entries[key], changed = _update_entry(old, result)
        changes.extend(changed)
        if old is None:
            added.append(result.test_id)
        elif entries[key] != old:
            updated.append(result.test_id)
    gone_here = tuple(sorted(key for key in map(entry_key, gone) if key in baseline.entries))
    if prune:
        entries = {key: entry for key, entry in entries.items() if key not in gone_here}
    summary = UpdateSummary(
        added=tuple(added),
        updated=tuple(updated),
        changes=tuple(changes),
        skipped=tuple(skipped),
        gone=() if prune else gone_here,
        pruned=gone_here if prune else (),
        created=not baseline.stored,
    )
    return replace(baseline, version=BASELINE_VERSION, entries=entries, stored=True), summary


def gone_ids(
    baseline: Baseline,
    collected: Collection[str],
    *,
    whole_files: Collection[str],
    missing_files: Collection[str] = (),
) -> tuple[str, ...]:
    """Entries whose tests no longer exist.

    ``collected`` are the ids of a collection before any deselection.  Only what the collection could have seen is
    judged: ids in ``whole_files`` (files collected without a ``::``) and in ``missing_files`` (no longer there)."""
    keys = {entry_key(test_id) for test_id in collected}
    whole, missing = set(whole_files), set(missing_files)
    return tuple(
        key
        for key in sorted(baseline.entries)
        if key not in keys and (_file_of(key) in whole or _file_of(key) in missing)
    )


def entry_files(baseline: Baseline) -> tuple[str, ...]:
    """The test files that entries belong to, relative to pytest's root, sorted."""
    return tuple(sorted({_file_of(key) for key in baseline.entries}))


def prune_entries(baseline: Baseline, test_ids: Collection[str]) -> Baseline:
    """The document without the entries of ``test_ids``."""
    keys = {entry_key(test_id) for test_id in test_ids}
    return replace(baseline, entries={key: entry for key, entry in baseline.entries.items() if key not in keys})


def merge_baselines(older: Baseline, newer: Baseline) -> Baseline:
    """Both documents' entries, as when shards of a suite each wrote their own; ``newer`` has the last word."""
    return replace(older, entries={**older.entries, **newer.entries}, extra={**older.extra, **newer.extra}, stored=True)


def _update_entry(old: BaselineEntry | None, result: RunResult) -> tuple[BaselineEntry, list[LevelChange]]:
    conditions = conditions_of(result)
    units = metrics.units_of_work(result)
    if old is None:
        old = BaselineEntry()
        comparable = False
    else:
        comparable = incomparable(old.environment, conditions) is None
    stored = dict(old.metrics) if comparable else {}
    changes = []
    for name, reading in metrics.read_metrics(result).items():
        metric, before = metrics.BY_NAME[name], stored.get(name)
        if name == "heap_growth_bytes" and not same_units(old.units, units):
            before = None
        stored[name] = _update_metric(metric, before, reading, units)
        if name in old.metrics and len(stored[name].repeats) == 1:
            was, now = old.metrics[name].value, stored[name].value
            changes.append(LevelChange(test_id=result.test_id, metric=name, unit=metric.unit, before=was, after=now))
        elif drift := _drift(result.test_id, metric, stored[name], reading, units):
            changes.append(drift)
    environment = replace(conditions, extra=old.environment.extra)
    return BaselineEntry(environment=environment, metrics=stored, units=units, extra=old.extra), changes


def _drift(test_id: str, metric: Metric, stored: StoredMetric, reading: Reading, units: int) -> LevelChange | None:
    """Where small changes, each of them accepted, have added up to one that would not have been."""
    first, newest = stored.repeats[0], stored.repeats[-1]
    if abs(newest - first) <= derived_tolerance(metric, stored, reading, units):
        return None
    return LevelChange(
        test_id=test_id,
        metric=metric.name,
        unit=metric.unit,
        before=first,
        after=newest,
        drifted=True,
        repeats=len(stored.repeats),
    )


def _update_metric(metric: Metric, old: StoredMetric | None, reading: Reading, units: int) -> StoredMetric:
    value = round_value(reading.value)
    low = None if reading.low is None else round_value(reading.low)
    high = None if reading.high is None else round_value(reading.high)
    if old is None:
        return StoredMetric(value=value, repeats=(value,), low=low, high=high)
    if abs(reading.value - old.value) <= derived_tolerance(metric, old, reading, units):
        repeats = (*old.repeats, value)[-MAX_REPEATS:]
        return replace(old, value=round_value(statistics.median(repeats)), repeats=repeats, low=low, high=high)
    # A new level: its noise is likelier that of the old level than nothing at all.
    learnt = stored_noise(metric, old, units)
    known = len(old.repeats) > 1 or old.earlier_sd is not None
    return replace(
        old,
        value=value,
        repeats=(value,),
        low=low,
        high=high,
        earlier_sd=round_value(learnt.sd) if known else None,
        earlier_freedom=learnt.freedom if known else None,
    )


def _file_of(key: str) -> str:
    return key.partition("::")[0]
