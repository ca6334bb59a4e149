"""Which classes grow with the work: objects per class, counted a few times with work between.  Floor 3: pure.

Counts are whole numbers and know no noise of compilers and tables; a class that gains in proportion to the work at
every look is what a leak is made of.  They cannot tell a leak from a cache that fills: that is asked of sizes,
over a much longer time (`leak`).  So counts name what grows; they do not decide that something leaks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from pytest_memory.model import ClassDelta

Look = tuple[int, Mapping[str, int]]
"""(units of work done before the look, objects by class)."""

# Below this a gain is the app's own coming and going.
_LEAST_GAIN = 10
_LEAST_PER_UNIT = 0.005
# "In proportion": the highest rate between two looks over the lowest.
_MOST_UNEVEN = 1.5
_MOST_CLASSES = 12


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
