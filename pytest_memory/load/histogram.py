"""A latency histogram of constant size, precise to three significant digits.  Floor 2: pure arithmetic.

It is not a list of samples: values fall into cells whose width is at most 1/1024 of their value (the layout of
HdrHistogram with 2048 sub-buckets), so ten million requests take the room of one.  Values are whole
nanoseconds.  Cells are kept sparsely, ``{cell: count}``: an interval of a run touches a few hundred of them,
and that dict is what crosses the pipe from the load process.

``cell_of`` is repeated inline in the hot path of `load.client`; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from pytest_memory.model import Latency

SUB_BUCKET_BITS = 11  # 2048 values are exact, then 1024 cells per doubling: an error below 0.1 %
EXACT_BELOW = 1 << SUB_BUCKET_BITS
HALF = EXACT_BELOW >> 1

Cells = dict[int, int]


def cell_of(value_ns: int) -> int:
    """The index of the cell that counts ``value_ns`` (>= 0)."""
    if value_ns < EXACT_BELOW:
        return value_ns
    shift = value_ns.bit_length() - SUB_BUCKET_BITS
    return shift * HALF + (value_ns >> shift)


def value_of(cell: int) -> float:
    """The middle, in nanoseconds, of what a cell counts."""
    if cell < EXACT_BELOW:
        return float(cell)
    shift = cell // HALF - 1
    lowest = (cell - shift * HALF) << shift
    return lowest + ((1 << shift) - 1) / 2


def merge(into: Cells, cells: Mapping[int, int]) -> None:
    """Add the counts of ``cells`` to ``into``."""
    get = into.get
    for cell, count in cells.items():
        into[cell] = get(cell, 0) + count


def count_of(cells: Mapping[int, int]) -> int:
    """How many values were recorded."""
    return sum(cells.values())


def percentiles_s(cells: Mapping[int, int], wanted: Iterable[float]) -> list[float]:
    """The values, in seconds, at the percentiles ``wanted`` (each 0..100, ascending); zeros when empty.

    The value at p is the smallest recorded one with at least p per cent of all values at or below it (nearest
    rank), as wrk, HdrHistogram and autocannon report it.
    """
    marks = list(wanted)
    total = count_of(cells)
    if not total:
        return [0.0] * len(marks)
    found: list[float] = []
    ordered = sorted(cells)
    position, seen = 0, cells[ordered[0]]
    for mark in marks:
        # Rounded first: 99.9 per cent of 1000 is 999.0000000000001 in floats, and the rank is 999.
        rank = max(1, math.ceil(round(mark * total / 100, 6)))
        while seen < rank and position + 1 < len(ordered):
            position += 1
            seen += cells[ordered[position]]
        found.append(value_of(ordered[position]) * 1e-9)
    return found


def summarise(cells: Mapping[int, int]) -> Latency:
    """Count, mean and the percentiles every report shows."""
    total = count_of(cells)
    if not total:
        return Latency()
    marks = percentiles_s(cells, (0, 50, 75, 90, 95, 99, 99.9, 100))
    mean_s = sum(value_of(cell) * count for cell, count in cells.items()) / total * 1e-9
    return Latency(
        count=total,
        mean_s=mean_s,
        min_s=marks[0],
        p50_s=marks[1],
        p75_s=marks[2],
        p90_s=marks[3],
        p95_s=marks[4],
        p99_s=marks[5],
        p999_s=marks[6],
        max_s=marks[7],
    )
