"""How far apart two measurements of the same thing may lie by chance.  Floor 1: numbers in, numbers out.

Few repeats are a poor measure of noise: two equal values in a row do not mean that there is none.  So what was
seen is pooled with what is known of the metric in general, the general knowledge counting as `PRIOR_FREEDOM`
further measurements (a moderated variance, as in G. K. Smyth, "Linear models and empirical Bayes methods",
2004).  With one measurement the general knowledge decides, with twenty the repeats do.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

PRIOR_FREEDOM = 6.0
# A suite makes hundreds of comparisons a day: one in a thousand may go wrong by chance, not one in twenty.
CONFIDENCE = 0.999
_NORMAL_95 = 1.959964
_LEAST_STEPS = 3  # of two or three repeats nobody can tell drift from noise

# One-sided quantiles of Student's t at CONFIDENCE, by degrees of freedom.
_STUDENT_T = (
    (1, 318.309),
    (2, 22.3271),
    (3, 10.2145),
    (4, 7.17318),
    (5, 5.89343),
    (6, 5.20763),
    (7, 4.78529),
    (8, 4.50079),
    (9, 4.29681),
    (10, 4.14370),
    (12, 3.92963),
    (15, 3.73283),
    (20, 3.55181),
    (30, 3.38518),
    (60, 3.23171),
    (math.inf, 3.09023),
)


@dataclass(frozen=True, slots=True)
class Noise:
    """The standard deviation of one measurement, and how many degrees of freedom that is known with."""

    sd: float
    freedom: float = PRIOR_FREEDOM


def student_t(freedom: float) -> float:
    """The one-sided quantile of Student's t at CONFIDENCE; between the table's rows linear in 1/freedom."""
    freedom = max(freedom, 1.0)
    for (low, t_low), (high, t_high) in itertools.pairwise(_STUDENT_T):
        if freedom <= high:
            share = (1 / low - 1 / freedom) / (1 / low - 1 / high)
            return t_low + share * (t_high - t_low)
    return _STUDENT_T[-1][1]


def sd_of_interval(low: float, high: float) -> float:
    """The standard deviation behind a 95 % interval."""
    return abs(high - low) / (2 * _NORMAL_95)


def pool(repeats: Sequence[float], prior: Noise) -> Noise:
    """The noise of one measurement: what ``repeats`` of it show, pooled with ``prior``."""
    seen_freedom = max(len(repeats) - 1, 0)
    if not seen_freedom:
        return prior
    freedom = prior.freedom + seen_freedom
    variance = (prior.freedom * prior.sd**2 + seen_freedom * statistics.variance(repeats)) / freedom
    return Noise(math.sqrt(variance), freedom)


def pool_in_order(repeats: Sequence[float], prior: Noise) -> Noise:
    """As `pool`, for repeats in the order they were made: the noise is what neighbours differ by.

    A level that drifts must not become its own tolerance, as it would by the variance about the mean of all repeats.
    Half the mean squared step is the variance where there is no drift (von Neumann, "Distribution of the ratio of the
    mean square successive difference to the variance", 1941), known with two thirds of the freedom."""
    steps = [after - before for before, after in itertools.pairwise(repeats)]
    if len(steps) < _LEAST_STEPS:
        return pool(repeats, prior)
    seen_freedom = len(steps) * 2 / 3
    freedom = prior.freedom + seen_freedom
    variance = statistics.fmean(step**2 for step in steps) / 2
    return Noise(math.sqrt((prior.freedom * prior.sd**2 + seen_freedom * variance) / freedom), freedom)


def half_width(before: Noise, before_count: int, after: Noise, after_count: int = 1) -> float:
    """How far two means (or medians) may lie apart by chance at CONFIDENCE, in the unit of the measurements."""
    variance = before.sd**2 / max(before_count, 1) + after.sd**2 / max(after_count, 1)
    return student_t(min(before.freedom, after.freedom)) * math.sqrt(variance)
