"""Robust statistics of short series: slopes with intervals, floors, give-back, steps, levelling off.

Pure Python on plain sequences: a leak test has at most a few hundred readings, so importing an array library
would cost more than all of its arithmetic.  It is not about memory: it knows numbers, not bytes, and decides
nothing.  Floor 1: imports nothing of ours.

Why these tools and no others: settled memory is not "line plus independent noise".  It alternates between two
levels, saws, steps when a table doubles, and levels off.  Least squares believes each of these to be a trend.
Pairwise slopes (Theil 1950, Sen 1968) with the exact distribution of Kendall's S do not, and say so in the width
of their interval.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

Points = Sequence[tuple[float, float]]
"""(x, y) pairs in order of x."""

# Beyond this many points Kendall's S is normal to three digits; below it, it is counted exactly.
_EXACT_KENDALL_MAX = 40
# Each unclear interval doubles the work of `find_cycle`; more of them mean that there is no such cycle.
_MAX_UNCLEAR = 4


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile (0..100), interpolated linearly between order statistics; exact, not from a histogram.

    Raises ValueError for an empty series or a q outside 0..100.
    """
    if not values:
        raise ValueError("percentile of an empty series")
    if not 0.0 <= q <= 100.0:
        raise ValueError(f"percentile rank is {q!r}; expected 0..100")
    ordered = sorted(values)
    position = (len(ordered) - 1) * q / 100.0
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    low, high = float(ordered[below]), float(ordered[above])
    # min() keeps rounding from carrying the result past the upper neighbour.
    return min(high, low + (high - low) * (position - below))


def median(values: Sequence[float]) -> float:
    """The middle value; the mean of the two middle values for an even count."""
    return percentile(values, 50.0)


def spread(values: Sequence[float]) -> float:
    """Robust standard deviation: 1.4826 times the median absolute deviation; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    centre = median(values)
    return 1.4826 * median([abs(value - centre) for value in values])


@dataclass(frozen=True, slots=True)
class Slope:
    """A slope with its confidence interval ``low``..``high``, from ``count`` points.

    With too few points for the asked confidence the interval is the whole line (-inf..inf)."""

    value: float
    low: float
    high: float
    count: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2.0


@lru_cache(maxsize=64)
def _kendall_counts(n: int) -> tuple[int, ...]:
    """How many permutations of n items have k discordant pairs, k = 0..n(n-1)/2 (Mahonian numbers)."""
    counts = [1]
    for size in range(2, n + 1):
        widened = [0] * (len(counts) + size - 1)
        for k, ways in enumerate(counts):
            for shift in range(size):
                widened[k + shift] += ways
        counts = widened
    return tuple(counts)


def _kendall_margin(n: int, confidence: float) -> int | None:
    """How many of the sorted pairwise slopes lie outside the interval on each side; None if n is too small."""
    pairs = n * (n - 1) // 2
    tail = (1.0 - confidence) / 2.0
    if n > _EXACT_KENDALL_MAX:
        sigma = math.sqrt(n * (n - 1) * (2 * n + 5) / 18.0)
        margin = int((pairs - _normal_quantile(1.0 - tail) * sigma) / 2.0)
        return max(margin, 0)
    counts = _kendall_counts(n)
    allowed = tail * math.factorial(n)
    margin, below = -1, 0
    while margin + 1 < len(counts) and below + counts[margin + 1] <= allowed:
        margin += 1
        below += counts[margin]
    return margin if margin >= 0 else None


def _normal_quantile(p: float) -> float:
    """Inverse of the standard normal distribution, by bisection on erf: six digits are plenty here."""
    low, high = -10.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2.0
        if 0.5 * (1.0 + math.erf(middle / math.sqrt(2.0))) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def theil_sen(points: Points, *, confidence: float = 0.95) -> Slope:
    """The median of all pairwise slopes, with Sen's interval from the exact null distribution of Kendall's S.

    Points of equal x form no pair.  Positive serial correlation narrows such an interval wrongly, so it is
    widened by the effective number of points (see `autocorrelation`).  Fewer than two distinct x give
    Slope(0, -inf, inf).
    """
    slopes = sorted(
        (yj - yi) / (xj - xi) for i, (xi, yi) in enumerate(points) for xj, yj in points[i + 1 :] if xj != xi
    )
    if not slopes:
        return Slope(0.0, -math.inf, math.inf, len(points))
    centre = median(slopes)
    effective = _effective_count(points, centre)
    margin = _kendall_margin(effective, confidence)
    if margin is None:
        return Slope(centre, -math.inf, math.inf, len(points))
    # The margin counts pairs of `effective` points; scale it to the pairs there are.
    outside = int(margin * len(slopes) / (effective * (effective - 1) // 2))
    outside = min(outside, (len(slopes) - 1) // 2)
    return Slope(centre, slopes[outside], slopes[-1 - outside], len(points))


def autocorrelation(values: Sequence[float]) -> float:
    """Lag-1 autocorrelation (-1..1); 0 for a constant or very short series."""
    if len(values) < 3:
        return 0.0
    mean = sum(values) / len(values)
    deviations = [value - mean for value in values]
    scale = sum(d * d for d in deviations)
    if scale <= 0.0:
        return 0.0
    return sum(a * b for a, b in itertools.pairwise(deviations)) / scale


def _effective_count(points: Points, slope: float) -> int:
    """How many independent points the series is worth, from the correlation of its residuals.

    Only positive correlation counts: alternation (negative correlation) makes a slope more certain, but a
    two-level series must not profit from that.  With few points the estimate itself is noise, so below ten
    they are taken as they are: `floor_points` has made them independent by then.
    """
    n = len(points)
    if n < 10:
        return n
    x0 = points[0][0]
    rho = autocorrelation([y - slope * (x - x0) for x, y in points])
    if rho <= 0.0:
        return n
    return max(5, min(n, round(n * (1.0 - rho) / (1.0 + rho))))


def block_minima(points: Points, blocks: int) -> list[tuple[float, float]]:
    """The lowest point of each of ``blocks`` consecutive blocks of nearly equal count (the series' floor)."""
    n = len(points)
    blocks = max(1, min(blocks, n))
    edges = [i * n // blocks for i in range(blocks + 1)]
    return [min(points[a:b], key=lambda point: (point[1], point[0])) for a, b in itertools.pairwise(edges)]


def troughs(points: Points, *, drop: float) -> list[tuple[float, float]]:
    """The lowest point of each cycle: the minimum between a fall of at least ``drop`` and the rise of as much.

    The low of a cycle still under way at the end is included; the stretch before the first fall is not (its low
    belongs to a cycle whose beginning was not seen).  ``drop`` must be positive."""
    found: list[tuple[float, float]] = []
    peak = -math.inf
    low: tuple[float, float] | None = None
    for point in points:
        value = point[1]
        if low is None:
            peak = max(peak, value)
            if peak - value >= drop:
                low = point
        elif value < low[1]:
            low = point
        elif value - low[1] >= drop:
            found.append(low)
            low, peak = None, value
    if low is not None:
        found.append(low)
    return found


def drawdown(values: Sequence[float]) -> float:
    """The largest fall from a peak to a later low, in the unit of the values; 0 for a rising series."""
    peak, worst = -math.inf, 0.0
    for value in values:
        peak = max(peak, value)
        worst = max(worst, peak - value)
    return worst


def give_back(values: Sequence[float]) -> float:
    """The share (0..1) of the series' rise above its start that was returned at some time; 0 without a rise.

    A leak returns nothing; a cache that is pruned, a buffer that is flushed and an expiring store do."""
    if len(values) < 2:
        return 0.0
    rise = max(values) - values[0]
    return min(1.0, drawdown(values) / rise) if rise > 0 else 0.0


def step_share(values: Sequence[float], *, steps: int = 1) -> float:
    """The share (0..1) of all increases that the ``steps`` largest single increases make up.

    Near 1: the series moves in steps (a table doubled, a module was loaded); near steps/n: it climbs evenly."""
    rises = sorted((b - a for a, b in itertools.pairwise(values) if b > a), reverse=True)
    total = sum(rises)
    return sum(rises[:steps]) / total if total > 0 else 0.0


@dataclass(frozen=True, slots=True)
class LevellingOff:
    """``y = end - drop * exp(-x / scale)`` fitted to a series, against a straight line.

    ``gain`` is the share of the straight line's squared residual that the curve explains (0..1); ``remaining``
    is what the curve still has to climb after the last point; ``final_slope`` is its slope there."""

    end: float
    scale: float
    remaining: float
    final_slope: float
    gain: float


def levelling_off(points: Points) -> LevellingOff | None:
    """Fit an exponential approach to a level by least squares over a grid of scales.

    None with fewer than five points, no spread in x, or when no falling-off curve beats the line."""
    if len(points) < 5 or points[-1][0] <= points[0][0]:
        return None
    x0, span = points[0][0], points[-1][0] - points[0][0]
    u = [(x - x0) / span for x, _ in points]
    y = [value for _, value in points]
    _, _, line_residual = _least_squares(u, y)
    if line_residual <= 0.0:
        return None
    best: tuple[float, float, float, float] | None = None
    # Scales from a twentieth of the span (long over) to three spans (barely bent: any longer is a line).
    for step in range(48):
        scale = 0.05 * (60.0 ** (step / 47.0))
        basis = [1.0 - math.exp(-value / scale) for value in u]
        base, height, residual = _least_squares(basis, y)
        if height > 0.0 and (best is None or residual < best[0]):
            best = (residual, scale, base, height)
    if best is None or best[0] >= line_residual:
        return None
    residual, scale, base, height = best
    left = height * math.exp(-1.0 / scale)
    return LevellingOff(
        end=base + height,
        scale=scale * span,
        remaining=left,
        final_slope=left / (scale * span),
        gain=1.0 - residual / line_residual,
    )


def _least_squares(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Intercept, slope and squared residual of the least-squares line; slope 0 when x has no spread."""
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    sxx = sum((value - mean_x) ** 2 for value in x)
    sxy = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y))
    slope = sxy / sxx if sxx > 0 else 0.0
    intercept = mean_y - slope * mean_x
    return intercept, slope, sum((b - intercept - slope * a) ** 2 for a, b in zip(x, y))


@dataclass(frozen=True, slots=True)
class Cycle:
    """A sawtooth that falls by ``height`` every ``period`` of x, found by `find_cycle`.

    One that rises at once has a negative height.
    ``slope_doubt`` is how far the uncertainty of the period can tilt the series once the cycle is taken out."""

    period: float
    height: float
    first: float
    slope_doubt: float
    falls: tuple[int, ...]

    def remove(self, points: Points) -> list[tuple[float, float]]:
        """The series without its sawtooth: what would have been read right after each fall."""
        rate = self.height / self.period
        return [(x, y - rate * (x - self.first - k * self.period)) for (x, y), k in zip(points, self.falls)]


def find_cycle(points: Points, *, min_falls: int = 4) -> Cycle | None:
    """Find a strictly periodic sawtooth (a buffer flushed every so many units), or None.

    One that is flushed a little more seldom than it is read shows as its mirror image: each reading finds it a bit
    emptier, until it has just missed a flush.  Of two that fit, the one whose period is known better is returned."""
    mirrored = _find_falls([(x, -y) for x, y in points], min_falls)
    rising = None if mirrored is None else replace(mirrored, height=-mirrored.height)
    found = [cycle for cycle in (_find_falls(points, min_falls), rising) if cycle is not None]
    return min(found, key=lambda cycle: cycle.slope_doubt, default=None)


def _find_falls(points: Points, min_falls: int) -> Cycle | None:
    """A sawtooth that climbs and falls at once, or None.

    Between falls such a series climbs at one rate, and every fall has one height; so each reading tells how many
    falls came before it, and those integers bound the period far more sharply than any spectrum could: a period
    P with its first fall at F must satisfy F + k*P <= x < F + (k+1)*P at every reading.
    """
    if len(points) < 3 * min_falls:
        return None
    slopes = sorted((yj - yi) / (xj - xi) for (xi, yi), (xj, yj) in itertools.pairwise(points) if xj > xi)
    if len(slopes) < 2 * min_falls:
        return None
    climb = median(slopes[len(slopes) // 2 :])
    missing = [yi + climb * (xj - xi) - yj for (xi, yi), (xj, yj) in itertools.pairwise(points)]
    largest = max(missing)
    if climb <= 0.0 or largest <= 0.0:
        return None
    height = median([fall for fall in missing if fall > 0.5 * largest])
    shares = [fall / height for fall in missing]
    unclear = [i for i, share in enumerate(shares) if abs(share - round(share)) > 0.1]
    if len(unclear) > _MAX_UNCLEAR:
        return None
    found: Cycle | None = None
    # A jump upwards inside an interval (a table doubled) hides part of a fall: try it with the fall and without.
    for extra in itertools.product((0, 1), repeat=len(unclear)):
        counts = [max(0, round(share)) for share in shares]
        for i, more in zip(unclear, extra):
            counts[i] = max(0, math.floor(shares[i])) + more
        falls = [0, *itertools.accumulate(counts)]
        if falls[-1] < min_falls:
            continue
        cycle = _period_bounds(points, falls, height)
        if cycle is not None and (found is None or cycle.slope_doubt > found.slope_doubt):
            found = cycle
    return found


def _period_bounds(points: Points, falls: list[int], height: float) -> Cycle | None:
    """The periods that explain every reading's number of falls; None when there is none."""
    xs = [x for x, _ in points]
    shortest, longest = 0.0, math.inf
    for i, (xi, ki) in enumerate(zip(xs, falls)):
        for xj, kj in zip(xs[i + 1 :], falls[i + 1 :]):
            shortest = max(shortest, (xj - xi) / (kj - ki + 1))
            if kj - ki > 1:
                longest = min(longest, (xj - xi) / (kj - ki - 1))
    if not math.isfinite(longest) or shortest > longest:
        return None
    period = (shortest + longest) / 2.0
    earliest = max(x - (k + 1) * period for x, k in zip(xs, falls))
    latest = min(x - k * period for x, k in zip(xs, falls))
    doubt = height / period * (longest - shortest) / 2.0 / period
    return Cycle(period, height, (earliest + latest) / 2.0, doubt, tuple(falls))
