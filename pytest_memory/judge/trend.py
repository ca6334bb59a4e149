"""What the floor of a series does late in a leak test: its slope, its shape, and signs of more to come.

Floor 3: pure.  It measures, `leak` decides.  The floor is what remains when sawteeth, alternations and noise are
taken away: the lows of cycles where the series has some, of equal blocks where it has none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_memory import stats
from pytest_memory.judge.series import Point, Series

Shape = Literal["flat", "linear", "levelling-off", "sawtooth", "step", "staircase", "noisy"]

# Fewer independent floor points than this give no 95 % interval at all (Kendall's S at n = 5: 1.7 %).
MIN_FLOOR_POINTS = 5
_BLOCKS = 8
# A series that once fell by this share of its range is not climbing: it saws, and where it stands now says little.
_SAWING_SHARE = 0.3
# Lows that repeat each other this much better than the period of their sawtooth is known are level for no other reason
# than that nothing grows: a leak would have to make up for the drift of the phase to within this share of it.
_REPEATED_SHARE = 0.02
# A curve that levels off explains this much of what a line leaves unexplained.  Measured leaks reach 0.6.
_CLEAN_BEND = 0.95
# A table that doubles gives steps of doubling size at doubling distances; the first ones fall into the warm-up.
_STEP_GROWTH = 1.4
_STEP_GROWTH_MAX = 4.0
_NEXT_STEP_BY = 2.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The floor of the late half of a series.

    ``early_slope`` and ``late_slope`` are those of the half's own halves; ``growth`` is what the floor rose by;
    ``points`` how many floor points there are.  ``saws``: the series keeps falling back, and too few cycles were
    seen to know their lows.  ``one_step``: without its largest step the floor would not rise.  ``steps_may_follow``:
    it has risen in steps that become larger and rarer; ``saw_rate`` what a known sawtooth climbs by per unit;
    ``wander`` the robust standard deviation of the readings about their trend."""

    slope: stats.Slope
    shape: Shape
    growth: float
    late_slope: stats.Slope
    early_slope: stats.Slope
    median_step: float
    points: int
    saws: bool
    one_step: bool
    steps_may_follow: bool
    saw_rate: float = 0.0
    wander: float = 0.0


def read_trend(series: Series, limit: float, resolution: float) -> Trend:
    """Measure the late half of a series; ``limit`` and ``resolution`` only serve to name its shape."""
    # The late half; of a series too short for that, as much as an interval needs.
    late = max(series.window(0.5), list(series.load[-MIN_FLOOR_POINTS:]), key=len)
    most = series.window(0.1)
    cycle = stats.find_cycle(most)
    if cycle is not None and _repeats(most, cycle, resolution):
        cycle, late = None, find_floor(most, noise=resolution / 4.0)[0]
    flattened = late
    if cycle is not None and late:
        flattened = [point for point in cycle.remove(most) if point[0] >= late[0][0]]
    floor, cycles = find_floor(flattened, noise=resolution / 4.0)
    doubt = cycle.slope_doubt if cycle is not None else 0.0
    slope = _widen(stats.theil_sen(floor), doubt)
    growth = floor[-1][1] - floor[0][1] if floor else 0.0
    saws = cycle is None and cycles < MIN_FLOOR_POINTS and _saws(series, resolution)
    half = len(flattened) // 2
    return Trend(
        slope=slope,
        shape=_shape(series, floor, slope, limit, resolution, saws=saws or cycle is not None),
        growth=growth,
        early_slope=_widen(slope_of(flattened[: half + 1]), doubt),
        late_slope=_widen(slope_of(flattened[half:]), doubt),
        median_step=_median_step(flattened),
        points=len(floor),
        saws=saws,
        one_step=_is_one_step(floor, limit),
        steps_may_follow=_steps_may_follow(_without_saw(most, cycle, resolution), series.units, limit, resolution),
        saw_rate=abs(cycle.height) / cycle.period if cycle is not None else 0.0,
        wander=stats.spread([y - slope.value * x for x, y in flattened]),
    )


def find_floor(points: Sequence[Point], *, noise: float) -> tuple[list[Point], int]:
    """The lows of the series, and how many lows of cycles larger than ``noise`` it has.

    With eight or more cycles the lows are theirs, else those of eight equal blocks."""
    if len(points) < 2 * MIN_FLOOR_POINTS:
        return list(points), 0
    trend = stats.theil_sen(points).value
    x0 = points[0][0]
    level = [(x, y - trend * (x - x0)) for x, y in points]
    values = [y for _, y in level]
    swing = max(values) - min(values)
    lows = stats.troughs(level, drop=max(swing / 3.0, noise))
    cycles = len(lows)
    if cycles < _BLOCKS:
        lows = stats.block_minima(level, min(_BLOCKS, len(points) // 2))
    return [(x, y + trend * (x - x0)) for x, y in lows], cycles


def slope_of(points: Sequence[Point]) -> stats.Slope:
    """Theil and Sen's slope of raw points; unknown (infinite interval) for fewer than five."""
    return stats.theil_sen(points) if len(points) >= MIN_FLOOR_POINTS else stats.Slope(0.0, -math.inf, math.inf, 0)


def slows_down(series: Series, trend: Trend, resolution: float) -> bool:
    """Whether the climb is surely slower late than early: inside the judged half, or against the quarter before.

    A real leak's rate varies by a few per cent; a filling cache's falls by more, and when it is large and only
    begins to fill, the bend is too slight for that but all the cleaner."""
    even = _without_steps(series.window(0.25), resolution)
    bend = stats.levelling_off(even)
    if bend is not None and bend.gain > _CLEAN_BEND:
        return True
    late = [point for point in even if point[0] >= 0.5 * series.units]
    half = len(late) // 2
    if _surely_slower(slope_of(late[: half + 1]), slope_of(late[half:]), 0.85):
        return True
    if _surely_slower(trend.early_slope, trend.late_slope, 0.85):
        return True
    return _surely_slower(slope_of(series.window(0.25, 0.5)), trend.slope, 0.6)


def _repeats(points: Sequence[Point], cycle: stats.Cycle, resolution: float) -> bool:
    """Whether a sawtooth is read at the same places again and again: rounds of 5,000 of a buffer flushed every 2,000
    see two levels.  The period is hardly known then, and need not be."""
    lows, cycles = find_floor(points, noise=resolution / 4.0)
    if cycles < _BLOCKS:
        return False
    slope = stats.theil_sen(lows)
    return max(abs(slope.low), abs(slope.high)) < _REPEATED_SHARE * cycle.slope_doubt


def _without_saw(points: Sequence[Point], cycle: stats.Cycle | None, resolution: float) -> Sequence[Point]:
    """The series with its sawtooth taken out, as well as it is known; as it is where it does not saw."""
    if cycle is not None:
        return cycle.remove(points)
    lows, cycles = find_floor(points, noise=resolution / 4.0)
    return lows if cycles >= _BLOCKS else points


def _is_one_step(floor: Sequence[Point], limit: float) -> bool:
    """Whether the floor's rise is the work of its largest step: one module, one table, the upper of two levels."""
    if len(floor) < MIN_FLOOR_POINTS:
        return False
    rises = [b[1] - a[1] for a, b in itertools.pairwise(floor)]
    largest = max(range(len(rises)), key=rises.__getitem__)
    if rises[largest] < 0.5 * (floor[-1][1] - floor[0][1]):
        return False
    without = [(x, y - (rises[largest] if i > largest else 0.0)) for i, (x, y) in enumerate(floor)]
    return stats.theil_sen(without).value < 0.7 * limit


def _steps_may_follow(points: Sequence[Point], units: float, limit: float, resolution: float) -> bool:
    """Whether the series has risen in steps that become larger and rarer, as a collection whose table doubles; or in a
    single one that comes to more than the limit if it returns.

    Between two steps such a series is flat, so a flat late half proves nothing until the next step, due at twice
    the work of the last, is overdue."""
    moves = [(x1, y1 - y0) for (_, y0), (x1, y1) in itertools.pairwise(points)]
    if len(moves) < MIN_FLOOR_POINTS:
        return False
    usual = stats.median([abs(move) for _, move in moves])
    steps = [(x, move) for x, move in moves if move > max(resolution / 2.0, 10.0 * usual)]
    if any(move > max(resolution, limit * x) and units < _NEXT_STEP_BY * x for x, move in steps):
        return True
    if len(moves) < 2 * MIN_FLOOR_POINTS:
        return False
    for (earlier_x, earlier), (later_x, later) in itertools.pairwise(steps):
        grown = _STEP_GROWTH <= later / earlier <= _STEP_GROWTH_MAX and later_x >= _STEP_GROWTH * earlier_x
        if grown and units < _NEXT_STEP_BY * later_x:
            return True
    return False


def _without_steps(points: Sequence[Point], resolution: float) -> list[Point]:
    """The series without its sudden rises: what entries add, not the tables that hold them."""
    if len(points) < 2 * MIN_FLOOR_POINTS:
        return list(points)
    usual = stats.median([(y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in itertools.pairwise(points) if x1 > x0])
    even, removed = [points[0]], 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        expected = usual * (x1 - x0)
        if y1 - y0 > 4.0 * abs(expected) + resolution:
            removed += y1 - y0 - expected
        even.append((x1, y1 - removed))
    return even


def _surely_slower(early: stats.Slope, late: stats.Slope, share: float) -> bool:
    return early.value > 0 and late.value < share * early.value and late.high < early.low


def _widen(slope: stats.Slope, by: float) -> stats.Slope:
    return stats.Slope(slope.value, slope.low - by, slope.high + by, slope.count)


def _median_step(points: Sequence[Point]) -> float:
    rates = [(yj - yi) / (xj - xi) for (xi, yi), (xj, yj) in itertools.pairwise(points) if xj > xi]
    return stats.median(rates) if rates else 0.0


def _saws(series: Series, resolution: float) -> bool:
    values = [series.start, *(y for _, y in series.load)]
    return stats.drawdown(values) > max(resolution, _SAWING_SHARE * (max(values) - min(values)))


def _shape(
    series: Series, floor: Sequence[Point], slope: stats.Slope, limit: float, resolution: float, *, saws: bool
) -> Shape:
    if slope.high < limit:
        return "sawtooth" if saws else "flat"
    if slope.low > limit:
        return "sawtooth" if saws else "linear"
    if _is_staircase(series, limit, resolution):
        return "staircase"
    if saws:
        return "sawtooth"
    values = [y for _, y in floor]
    rises = values[-1] - values[0] if values else 0.0
    return "step" if rises > 0 and stats.step_share(values) > 0.7 else "noisy"


def _is_staircase(series: Series, limit: float, resolution: float) -> bool:
    """A table that doubles whenever it is full: its floors over windows twice as long each rise twice as much."""
    floors = []
    for end in (0.125, 0.25, 0.5, 1.0):
        window = series.window(end / 2.0, end)
        if len(window) < 2:
            return False
        floors.append(min(y for _, y in window))
    rises = [b - a for a, b in itertools.pairwise(floors)]
    if rises[0] < resolution / 2.0:
        return False
    even = all(_STEP_GROWTH <= later / earlier <= _STEP_GROWTH_MAX for earlier, later in itertools.pairwise(rises))
    return even and rises[-1] / (series.units / 2.0) > limit
