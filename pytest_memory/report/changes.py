"""Comparisons and histories in words: what changed between result files, runs and commits.  Floor 4: pure.

Decided elsewhere (`compare`, `history`); this module names metrics, formats values and says how sure it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_memory import metrics
from pytest_memory.compare import ComparedTest, MetricChange
from pytest_memory.history import ChangePoint, History
from pytest_memory.report import words
from pytest_memory.report.tables import Table

_CHANGES = {"worse": "worse", "better": "better", "same": "same", "uncertain": "maybe"}
_CHANGE_CLASSES = {"worse": "critical", "better": "pass", "same": "pass", "uncertain": "inconclusive"}
_SHOWN_COMMIT = 10


def comparison_sentence(compared: ComparedTest) -> str:
    """One compared test in one line: what got worse, that nothing did, or why there is no answer."""
    name = words.clean(compared.test_id, 200)
    if compared.presence == "only-before":
        return f"{name}: only in the earlier results"
    if compared.presence == "only-after":
        return f"{name}: only in the later results"
    if compared.differs:
        was, now = words.clean(compared.differs_before, 80), words.clean(compared.differs_after, 80)
        return (
            f"{name}: cannot be compared, {words.spoken(compared.differs)} differs ({was or 'none'} → {now or 'none'})"
        )
    if compared.worse:
        return f"{name}: {', '.join(_change_phrase(change, compared.unit) for change in compared.worse)}"
    better = [change for change in compared.changes if change.change == "better"]
    if better:
        return f"{name}: {', '.join(_change_phrase(change, compared.unit) for change in better)}"
    unsure = [change for change in compared.changes if change.change == "uncertain" and _is_judged(change)]
    if unsure:
        return f"{name}: perhaps {', '.join(_change_phrase(change, compared.unit) for change in unsure)}; measure again"
    return f"{name}: no difference beyond chance" if compared.changes else f"{name}: nothing to compare"


def _is_judged(change: MetricChange) -> bool:
    return metrics.BY_NAME[change.metric].judged == "always"


def _change_phrase(change: MetricChange, unit: str) -> str:
    before, after = (words.format_measure(value, _unit(change.unit, unit)) for value in (change.before, change.after))
    noun = words.metric_of(f"baseline:{change.metric}").noun
    word = "changed" if change.change == "uncertain" else _CHANGES[change.change]
    return f"{noun} {word} ({before} → {after}{_percent(change)})"


def _percent(change: MetricChange) -> str:
    return f", {words.format_percent_change(change.percent)}" if change.percent is not None else ""


def _unit(unit: str, per: str) -> str:
    return f"bytes/{per}" if unit == "bytes/unit" else unit


def comparison_table(compared: ComparedTest) -> Table:
    """Every metric of one compared test, the worst changes first."""
    order = list(_CHANGES)
    changes = sorted(compared.changes, key=lambda change: (order.index(change.change), not _is_judged(change)))
    rows = []
    for change in changes:
        unit = _unit(change.unit, compared.unit)
        interval = f"{words.format_measure(change.low, unit)} to {words.format_measure(change.high, unit)}"
        rows.append(
            (
                words.metric_of(f"baseline:{change.metric}").noun,
                words.format_measure(change.before, unit),
                words.format_measure(change.after, unit),
                words.format_percent_change(change.percent) if change.percent is not None else "–",
                _CHANGES[change.change],
                interval,
            )
        )
    return Table(
        title=words.clean(compared.test_id, 200),
        columns=("what", "before", "after", "in %", "change", "true difference"),
        rows=tuple(rows),
        numeric=frozenset((1, 2, 3)),
        outcomes=tuple(_CHANGE_CLASSES[change.change] for change in changes),  # type: ignore[misc]
    )


def comparisons_sentence(compared: Sequence[ComparedTest]) -> str:
    """All of them in one line: ``"3 tests compared: 1 worse, 1 better, 1 cannot be compared"``."""
    worse = sum(bool(one.worse) for one in compared)
    void = sum(bool(one.differs) or one.presence != "both" for one in compared)
    better = sum(
        not one.worse and any(change.change == "better" and _is_judged(change) for change in one.changes)
        for one in compared
    )
    counted = ((worse, "worse"), (better, "better"), (void, "not comparable"))
    said = ", ".join(f"{count} {what}" for count, what in counted if count)
    return f"{words.plural('test', len(compared))} compared: {said or 'no difference beyond chance'}"


def steps_comparison_table(
    before: Sequence[tuple[str, float]],
    after: Sequence[tuple[str, float]],
    title: str = "Steps against the earlier run",
) -> Table:
    """Heap at the named steps of two baseline runs, in the order of the later one."""
    earlier = dict(before)
    rows = []
    for name, size in after:
        was = earlier.get(name)
        change = "–" if was is None else words.format_change(size - was)
        rows.append((words.clean(name, 60), "–" if was is None else _size(was), _size(size), change))
    return Table(
        title=title, columns=("step", "before", "now", "change"), rows=tuple(rows), numeric=frozenset((1, 2, 3))
    )


def _size(size_bytes: float) -> str:
    return words.format_measure(size_bytes, "bytes")


# --- history ------------------------------------------------------------------------------------------------------


def history_line(history: History) -> str:
    """One series in one line: metric, first and last value, how many runs."""
    metric = metrics.BY_NAME[history.metric]
    first, last = history.points[0].reading.value, history.points[-1].reading.value
    unit = _unit(metric.unit, "unit")
    noun = words.metric_of(f"baseline:{history.metric}").noun
    runs = words.plural("run", len(history.points))
    return f"{noun}: {words.format_measure(first, unit)} → {words.format_measure(last, unit)} over {runs}"


def change_point_sentence(change: ChangePoint, history: History) -> str:
    """One change of level: where, from what to what, and how sure."""
    unit = _unit(metrics.BY_NAME[history.metric].unit, "unit")
    what = "worse" if change.worse else "better"
    before, after = words.format_measure(change.before, unit), words.format_measure(change.after, unit)
    sentence = f"{what} since {_commit(change)}: {before} → {after}"
    if change.differs:
        was, now = words.clean(change.differs_before, 60), words.clean(change.differs_after, 60)
        sentence += f"; {words.spoken(change.differs)} changed there, too ({was or 'none'} → {now or 'none'})"
    return sentence if change.confirmed else f"{sentence}; one run so far, not confirmed"


def _commit(change: ChangePoint) -> str:
    when = words.clean(change.created_at, 40)
    if not change.commit:
        return when or f"run {change.index + 1}"
    since = f" (last good {change.previous_commit[:_SHOWN_COMMIT]})" if change.previous_commit and change.worse else ""
    return f"{change.commit[:_SHOWN_COMMIT]}{since}"
