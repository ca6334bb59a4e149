"""Which classes grow with the work: objects per class, counted a few times with work between.  Floor 3: pure.

Counts are whole numbers and know no noise of compilers and tables; a class that gains in proportion to the work at
every look is what a leak is made of.  They cannot tell a leak from a cache that fills: that is asked of sizes,
over a much longer time (`leak`).  So counts name what grows, and decide only where the sizes, asked long enough,
could not: when the limit lies within their noise, and what is counted fits what they allow.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_memory.model import ClassDelta, LeakEstimate

Look = tuple[int, Mapping[str, int]]
"""(units of work done before the look, objects by class)."""

# Below this a gain is the app's own coming and going.
_LEAST_GAIN = 10
_LEAST_PER_UNIT = 0.005
# "In proportion": the highest rate between two looks over the lowest.
_MOST_UNEVEN = 1.5
_MOST_CLASSES = 12
# Of what the whole test would have left at the rate of the looks, a leak still holds this share.
_STILL_HELD = 0.8
# The smallest object there is: map, properties and elements, a word each (V8's JSObject::kHeaderSize; Node has no
# pointer compression). What an object holds besides is not known from its count.
SMALLEST_OBJECT_B = 24
# Fewer spans of work between looks than this are chance.
_LEAST_SPANS = 3
_EDGE_OF_NOISE = frozenset({"noisy", "straddles-limit", "below-resolution"})


def growing_classes(looks: Sequence[Look]) -> tuple[ClassDelta, ...]:
    """Classes that gained objects in proportion to the work between every two looks, largest gain first.

    Fewer than three looks, or looks without work between them, prove nothing: ()."""
    spans = [later[0] - earlier[0] for earlier, later in itertools.pairwise(looks)]
    if len(spans) < 2 or min(spans) <= 0:
        return ()
    found = []
    for name in looks[-1][1]:
        counts = [look[1].get(name, 0) for look in looks]
        gains = [later - earlier for earlier, later in itertools.pairwise(counts)]
        total = counts[-1] - counts[0]
        if min(gains) <= 0 or total < max(_LEAST_GAIN, _LEAST_PER_UNIT * sum(spans)):
            continue
        rates = [gain / span for gain, span in zip(gains, spans)]
        if max(rates) <= _MOST_UNEVEN * min(rates):
            found.append(
                ClassDelta(name=name, count_delta=total, size_delta_bytes=0, count_after=counts[-1], new=total)
            )
    return tuple(sorted(found, key=lambda delta: (-delta.count_delta, delta.name))[:_MOST_CLASSES])


def counts_decide(estimate: LeakEstimate) -> bool:
    """Whether this estimate is of a heap whose size, in the time there was, could not be told from its noise."""
    return (
        estimate.kind == "heap"
        and estimate.outcome == "inconclusive"
        and estimate.reason in _EDGE_OF_NOISE
        and estimate.high > estimate.limit
    )


def judge_counts(estimates: Sequence[LeakEstimate], looks: Sequence[Look]) -> tuple[LeakEstimate, ...]:
    """The estimates, with a heap at the edge of its noise called a leak (reason "counted") where objects prove it.

    They do when classes gained in proportion to the work at every look, when even as the smallest objects there
    are they come to more than the limit, and when the sizes have room for them: what climbs faster than the
    interval allows is on its way to be dropped, and so is what is not held since the beginning.  Nothing is
    acquitted: strings and plain memory are not counted."""
    spans = [later[0] - earlier[0] for earlier, later in itertools.pairwise(looks)]
    if len(spans) < _LEAST_SPANS or min(spans) <= 0:
        return tuple(estimates)
    return tuple(
        replace(one, outcome="critical", reason="counted")
        if counts_decide(one) and one.limit < _counted_rate(looks, one.units) <= one.high
        else one
        for one in estimates
    )


def _counted_rate(looks: Sequence[Look], units: int) -> float:
    """Bytes per unit that growing classes come to at least: those that still hold what ``units`` before the looks
    must have left.  The looks are seconds of work, in which a buffer fills that is flushed now and then."""
    worked = looks[-1][0] - looks[0][0]
    held = [
        delta
        for delta in growing_classes(looks)
        if delta.count_after >= _STILL_HELD * delta.count_delta / worked * (units + worked)
    ]
    return SMALLEST_OBJECT_B * sum(delta.count_delta for delta in held) / worked
