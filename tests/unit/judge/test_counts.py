"""Counts of objects: what grows with the work, and when that decides what sizes could not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_memory.judge.counts import SMALLEST_OBJECT_B, Look, counts_decide, growing_classes, judge_counts
from pytest_memory.model import LeakEstimate

EDGE = LeakEstimate(
    kind="heap",
    outcome="inconclusive",
    reason="straddles-limit",
    slope=20.0,
    low=-10.0,
    high=50.0,
    limit=10.0,
    unit="request",
)


def looks(*counts: int, step: int = 1000, name: str = "Session") -> list[Look]:
    return [(step * i, {name: count, "Server": 1}) for i, count in enumerate(counts)]


def test_gains_in_proportion_are_named_the_largest_first() -> None:
    found = growing_classes([(1000 * i, {"A": 50 * i, "B": 500 * i, "C": 7}) for i in range(4)])
    assert [(delta.name, delta.count_delta) for delta in found] == [("B", 1500), ("A", 150)]


@pytest.mark.parametrize(
    "counts",
    [(0, 500, 400, 900), (0, 10, 500, 1500), (5, 5, 5, 5), (0, 1, 2, 3)],
    ids=["fell", "uneven", "level", "few"],
)
def test_other_gains_are_no_evidence(counts: tuple[int, ...]) -> None:
    assert growing_classes(looks(*counts)) == ()


def test_what_is_not_held_since_the_beginning_is_a_buffer_between_two_flushes() -> None:
    assert judge_counts([replace(EDGE, units=2000)], looks(2000, 3000, 4000, 5000))[0].outcome == "critical"
    assert judge_counts([replace(EDGE, units=126_000)], looks(2000, 3000, 4000, 5000))[0].outcome == "inconclusive"


def test_objects_that_add_up_decide_at_the_edge_of_the_noise() -> None:
    (found,) = judge_counts([EDGE], looks(0, 1000, 2000, 3000))
    assert (found.outcome, found.reason) == ("critical", "counted")
    assert (found.low, found.high) == (EDGE.low, EDGE.high)


@pytest.mark.parametrize(
    ("estimate", "seen"),
    [
        (EDGE, looks(0, 1000, 1000, 1000)),
        (EDGE, looks(0, 300, 600, 900)),  # 7.2 B/request at the least, and 10 are allowed
        (EDGE, looks(0, 3000, 6000, 9000)),  # 72 B/request: the sizes have no room for that
        (EDGE, looks(0, 1000, 2000)),
        (EDGE, looks(0, 1000, 2000, 3000, step=0)),
        (EDGE, []),
        (replace(EDGE, reason="levelling-off"), looks(0, 1000, 2000, 3000)),
        (replace(EDGE, reason="sawtooth"), looks(0, 1000, 2000, 3000)),
        (replace(EDGE, outcome="pass", reason="below-limit"), looks(0, 1000, 2000, 3000)),
        (replace(EDGE, kind="external"), looks(0, 1000, 2000, 3000)),
    ],
)
def test_counts_decide_nothing_else(estimate: LeakEstimate, seen: list[Look]) -> None:
    assert judge_counts([estimate], seen) == (estimate,)


def test_the_edge_is_where_one_object_a_unit_is_just_allowed() -> None:
    at_limit = replace(EDGE, limit=float(SMALLEST_OBJECT_B))
    assert judge_counts([at_limit], looks(0, 1000, 2000, 3000)) == (at_limit,)
    (found,) = judge_counts([at_limit], looks(0, 1001, 2002, 3003))
    assert found.outcome == "critical"


def test_only_a_heap_in_doubt_is_looked_at() -> None:
    assert counts_decide(EDGE)
    assert not counts_decide(replace(EDGE, high=9.0))
    assert not counts_decide(replace(EDGE, outcome="critical", reason="grows"))
