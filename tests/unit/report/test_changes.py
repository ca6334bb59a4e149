"""Comparisons and histories in words."""

from __future__ import annotations

import pytest

from pytest_memory.baseline import Conditions
from pytest_memory.compare import ComparedTest, MetricChange
from pytest_memory.history import ChangePoint, History, Point
from pytest_memory.metrics import Reading
from pytest_memory.report import changes
from pytest_memory.report.view import table_lines


def change(kind: str = "worse", metric: str = "heap_bytes", before: float = 11e6, after: float = 20e6) -> MetricChange:
    return MetricChange(
        metric=metric,
        unit="bytes",
        change=kind,  # type: ignore[arg-type]
        before=before,
        after=after,
        low=8e6,
        high=10e6,
        tolerance=1e6,
    )


@pytest.mark.parametrize(
    ("compared", "sentence"),
    [
        (ComparedTest(test_id="t", presence="only-before"), "t: only in the earlier results"),
        (ComparedTest(test_id="t", presence="only-after"), "t: only in the later results"),
        (
            ComparedTest(test_id="t", differs="node", differs_before="20", differs_after="24"),
            "t: cannot be compared, node differs (20 → 24)",
        ),
        (
            ComparedTest(test_id="t", changes=(change(),)),
            "t: settled heap worse (11.0 MB → 20.0 MB, +81.8 %)",
        ),
        (
            ComparedTest(test_id="t", changes=(change("better", before=20e6, after=11e6),)),
            "t: settled heap better (20.0 MB → 11.0 MB, -45.0 %)",
        ),
        (
            ComparedTest(test_id="t", changes=(change("uncertain"),)),
            "t: perhaps settled heap changed (11.0 MB → 20.0 MB, +81.8 %); measure again",
        ),
        (ComparedTest(test_id="t", changes=(change("same"),)), "t: no difference beyond chance"),
        (ComparedTest(test_id="t"), "t: nothing to compare"),
    ],
)
def test_sentence(compared: ComparedTest, sentence: str) -> None:
    assert changes.comparison_sentence(compared) == sentence


def test_summary_counts() -> None:
    compared = [
        ComparedTest(test_id="a", changes=(change(),)),
        ComparedTest(test_id="b", changes=(change("better"),)),
        ComparedTest(test_id="c", differs="node"),
        ComparedTest(test_id="d"),
    ]
    assert changes.comparisons_sentence(compared) == "4 tests compared: 1 worse, 1 better, 1 not comparable"
    assert changes.comparisons_sentence([compared[3]]) == "1 test compared: no difference beyond chance"


def test_table_has_the_worst_first() -> None:
    table = changes.comparison_table(
        ComparedTest(test_id="t", changes=(change("same", "external_bytes"), change("worse", "heap_bytes")))
    )
    assert [row[0] for row in table.rows] == ["settled heap", "external memory"]
    assert table_lines(table)[0] == "t:"


def test_steps() -> None:
    table = changes.steps_comparison_table([("idle", 4e6)], [("idle", 5e6), ("/api", 6e6)])
    assert table.rows == (("idle", "4.00 MB", "5.00 MB", "+1.00 MB"), ("/api", "–", "6.00 MB", "–"))


def history() -> History:
    points = tuple(
        Point(created_at=f"2026-01-0{day}", commit=str(day) * 40, reading=Reading(value=value), conditions=Conditions())
        for day, value in ((1, 11e6), (2, 20e6))
    )
    return History(test_id="t", metric="heap_bytes", points=points)


def test_history() -> None:
    assert changes.history_line(history()) == "settled heap: 11.0 MB → 20.0 MB over 2 runs"


def point(**more: object) -> ChangePoint:
    fields: dict[str, object] = {
        "index": 1,
        "commit": "2" * 40,
        "previous_commit": "1" * 40,
        "created_at": "2026-01-02",
        "before": 11e6,
        "after": 20e6,
        "chance": 0.0,
        "worse": True,
    }
    return ChangePoint(**{**fields, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (point(), "worse since 2222222222 (last good 1111111111): 11.0 MB → 20.0 MB"),
        (point(worse=False), "better since 2222222222: 11.0 MB → 20.0 MB"),
        (point(commit=""), "worse since 2026-01-02: 11.0 MB → 20.0 MB"),
        (point(commit="", created_at=""), "worse since run 2: 11.0 MB → 20.0 MB"),
        (
            point(differs="node", differs_before="20", differs_after="24"),
            "worse since 2222222222 (last good 1111111111): 11.0 MB → 20.0 MB; node changed there, too (20 → 24)",
        ),
        (
            point(confirmed=False),
            "worse since 2222222222 (last good 1111111111): 11.0 MB → 20.0 MB; one run so far, not confirmed",
        ),
    ],
)
def test_change_point(found: ChangePoint, sentence: str) -> None:
    assert changes.change_point_sentence(found, history()) == sentence
