"""Does it leak?  The decision over the rounds of a leak test.  Floor 3: pure; the same rounds, the same answer.

One question is asked of every kind of memory: *does its floor still rise with the work, late in the test?*  Late,
because caches fill and modules load early on; its floor, because buffers saw and stores expire.  The answer
"grows" is believed only after enough work, when the growth does not slow down, and when the app gives nothing
back while it is left alone.  What is neither clearly below the limit nor believed is *inconclusive*, with the
reason that `leaktest` acts upon: most doubts are removed by more work or by a rest.

It decides nothing about how a test is run (that is `leaktest`) and words nothing (that is `report.view`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_memory import stats
from pytest_memory.judge.series import KINDS, Rest, Series, read_series
from pytest_memory.judge.trend import MIN_FLOOR_POINTS, Trend, read_trend, slows_down
from pytest_memory.model import LeakEstimate, MemoryKind, Outcome, Round
from pytest_memory.units import Limit

# --- what counts as growth ------------------------------------------------------------------------------------

# Bytes per unit below which no managed growth is called a leak when the test names no limit of its own.  Settled
# healthy servers in precise mode stay within 0 to 3 B/request; one request in fifty leaving 700 B behind is 14.
DEFAULT_PRECISE_B = 6.0
# With the optimising compilers at work, healthy apps move by up to 50 B/request for thousands of requests.
DEFAULT_IMPRECISE_B = 64.0
# A leaked Buffer or ArrayBuffer also leaves an object of 100 to 200 B on the heap, where small leaks show sooner;
# the sizes of live Buffers, on the other hand, wander by megabytes in healthy apps.
EXTERNAL_FLOOR_B = 64.0
# Resident memory nobody accounts for is coarse (pages, arenas) and creeps in healthy apps.
NATIVE_FLOOR_B = 512.0
# Handles and descriptors are whole things: one in two hundred requests is no accident if it goes on.
COUNT_LIMIT = 0.005

# Growth below these, over the judged half of the test, is not told from a module loaded late or a table
# allocated on first use, whatever its rate per unit looks like.
RESOLUTION: dict[MemoryKind, float] = {
    "heap": 12e3,
    "worker-heap": 12e3,
    "external": 128e3,
    "native": 2e6,
    "handles": 5.0,
    "fds": 5.0,
}
# A leak is called only for a multiple of that, a pass given below it: what lies between is doubt.
LEAK_RESOLUTIONS = 2.5
# Under a sawtooth, growth is known to about this share of the rate at which it climbs.
SAW_RESOLUTION = 0.01
# Pages around a growing heap (malloc arenas, page tables, half-filled heap pages) grow along with it.
NATIVE_SHARE_OF_MANAGED = 0.25

# --- what counts as doubt -------------------------------------------------------------------------------------

# A leak gives nothing back: what its series returns in a rest is noise of a few thousandths.  An expiring store
# whose oldest entries are just beginning to go has returned a few hundredths.
GIVE_BACK_SHARE = 0.03
SMALL_SHARE = 0.25
# A rest that returned less than this share of what the most generous one did has not drained the app.
DRAINED_SHARE = 0.5
# Each drained point costs a rest; four in order are chance once in twelve, and their growth must be large as well.
MIN_DRAINED_POINTS = 4
EASED_SHARE = 0.85
# That nothing was added is seen sooner: lows of equal height do not come about by chance.
MIN_FLAT_POINTS = 3
# What wanders by itself (sizes of live Buffers, resident pages) must grow by more than it wanders.
WANDER = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakPlan:
    """How far a leak test goes and what it holds growth against.

    ``limit`` is a rate (bytes per ``unit``) or None for the defaults; all ``_s`` are seconds of work unless said
    otherwise; ``max_duration_s`` bounds the whole test, ``precise`` says that the app runs without its
    optimising compilers, whose code moves the heap by more than a small leak does."""

    limit: Limit | None = None
    unit: str = "request"
    precise: bool = True
    kinds: tuple[MemoryKind, ...] = KINDS
    # Thrown away: connections, modules and feedback of the first requests.
    warmup_s: float = 1.0
    warmup_units: int = 200
    # Earliest believable "does not leak".
    min_rounds: int = 10
    # Of an app that is slow, or that its leak has slowed down, rounds are few but long: with this many units in them,
    # and `leak_after_long_s` of time, as few do as an interval needs.
    few_rounds_units: float = 5000.0
    pass_after_s: float = 8.0
    pass_after_units: int = 10_000
    pass_after_long_s: float = 20.0
    # What wanders by itself may pass for the size of its wandering, once so much time has not shown it to rise.
    pass_anyway_s: float = 30.0
    # Earliest believable "leaks": caches of ten thousand entries and lifetimes of ten seconds are over by then.
    # Slow apps, or those that their leak slows down, cannot do that much; for them time must do, that of the readings
    # included.  What grows very fast is sure sooner, after enough units to fill caches of large entries; and what has
    # become too big to go on is called at once.
    leak_after_s: float = 20.0
    leak_after_units: int = 30_000
    leak_after_long_s: float = 60.0
    leak_after_bytes: float = 128e6
    leak_after_units_of_bytes: int = 10_000
    leak_at_bytes: float = 1e9
    leak_after_count: float = 1000.0
    # The rest before a leak is called, and how long a rest may be extended while memory still falls.
    rest_s: float = 10.0
    max_rest_s: float = 25.0
    max_rounds: int = 600
    max_duration_s: float = 100.0
    round_s: float = 0.35
    max_error_rate: float = 0.01
    heap_limit_bytes: int | None = None

    def limit_for(self, kind: MemoryKind) -> float:
        """Growth per unit that is still allowed for one kind of memory (bytes; handles and fds: things)."""
        if kind in ("handles", "fds"):
            return COUNT_LIMIT
        if self.limit is not None:
            asked = self.limit.value
        else:
            asked = DEFAULT_PRECISE_B if self.precise else DEFAULT_IMPRECISE_B
        if kind == "native":
            return max(asked, NATIVE_FLOOR_B)
        if kind == "external":
            return max(asked, EXTERNAL_FLOOR_B)
        return asked


def judge_leak(rounds: Sequence[Round], plan: LeakPlan, *, before: Round | None = None) -> tuple[LeakEstimate, ...]:
    """Judge every measured kind of memory; worst kinds are not sorted first, `judge.combine` does that.

    ``rounds`` begin with the reading after the warm-up; ``before`` is one from before any work.  Nothing measured
    gives one ``not-measured`` estimate.
    """
    every = [series for kind in plan.kinds if (series := read_series(rounds, kind, before=before)) is not None]
    if not every or every[0].units <= 0:
        return (unjudged("not-measured", "no-units", plan, rounds),)
    managed = sum(max(0.0, one.growth) for one in every if one.kind in ("heap", "worker-heap", "external"))
    return tuple(_judge_series(series, plan, managed_growth=managed) for series in every)


def unjudged(outcome: Outcome, reason: str, plan: LeakPlan, rounds: Sequence[Round]) -> LeakEstimate:
    """An estimate that says why there is none: no work was done, too much of it failed, the app died."""
    return LeakEstimate(
        kind="heap",
        outcome=outcome,
        reason=reason,
        slope=0.0,
        low=-math.inf,
        high=math.inf,
        limit=plan.limit_for("heap"),
        unit=plan.unit,
        shape="noisy",
        rounds=len(rounds),
        units=sum(one.units for one in rounds),
    )


def doubt_ended_processes(estimates: Sequence[LeakEstimate], rounds: Sequence[Round]) -> tuple[LeakEstimate, ...]:
    """The estimates, none of them a pass when a process of the app ended between two rounds.

    A worker that leaks and is replaced in time takes along what it kept: the sums stay flat for as long as somebody
    recycles it.  A leak that was found in spite of that stays found."""
    pids = [set(one.memory.node_pids) for one in rounds]
    if all(earlier <= later for earlier, later in itertools.pairwise(pids)):
        return tuple(estimates)
    return tuple(
        replace(one, outcome="inconclusive", reason="processes-ended") if one.outcome == "pass" else one
        for one in estimates
    )


# --- one kind of memory ---------------------------------------------------------------------------------------


def _judge_series(series: Series, plan: LeakPlan, *, managed_growth: float) -> LeakEstimate:
    limit = plan.limit_for(series.kind)
    trend = read_trend(series, limit, RESOLUTION[series.kind])
    outcome, reason = _decide(series, trend, limit, plan, managed_growth)
    shape = "levelling-off" if reason == "levelling-off" else trend.shape
    returned = max((_given_back(series, rest) for rest in series.rests), default=0.0)
    return LeakEstimate(
        kind=series.kind,
        outcome=outcome,
        reason=reason,
        slope=trend.slope.value,
        low=trend.slope.low,
        high=trend.slope.high,
        limit=limit,
        unit=plan.unit,
        median_step=trend.median_step,
        late_slope=trend.late_slope.value,
        give_back=min(1.0, max(returned, stats.give_back([series.start, *(y for _, y in series.load)]))),
        shape=shape,
        rounds=len(series.load),
        units=int(series.units),
        growth=series.growth,
        units_to_heap_limit=_units_to_limit(series, trend, outcome, plan),
    )


def _decide(series: Series, trend: Trend, limit: float, plan: LeakPlan, managed_growth: float) -> tuple[Outcome, str]:
    if gave_back(series):
        return _decide_drained(series, limit, plan)
    if trend.points < MIN_FLOOR_POINTS or not _enough_rounds(series, plan):
        return "inconclusive", "too-short"
    tolerated = _tolerated(series, limit, plan, series.units / 2.0)
    if series.kind in ("external", "native") and trend.slope.low <= 0.0 and series.lasted_s >= plan.pass_anyway_s:
        tolerated = max(tolerated, WANDER * trend.wander / (series.units / 2.0))
    if plan.limit is None:
        tolerated = max(tolerated, SAW_RESOLUTION * trend.saw_rate)
    if trend.slope.high < tolerated:
        if not _worked_enough_to_pass(series, plan):
            return "inconclusive", "too-short"
        # What probably grows must not pass where what surely grows would not.
        if trend.slope.value > limit and not _tolerable(series, plan, trend.slope, limit):
            return "inconclusive", "too-short" if series.lasted_s < plan.leak_after_long_s else "below-resolution"
        if _falls(series, trend, limit):
            return "inconclusive", "falling"
        return ("inconclusive", "step") if trend.steps_may_follow else ("pass", "below-limit")
    if not _grows(series, trend, limit, managed_growth):
        return "inconclusive", _doubt(trend, limit)
    return _believe(series, trend, plan)


def _believe(series: Series, trend: Trend, plan: LeakPlan) -> tuple[Outcome, str]:
    """The floor rises faster than allowed: is it a leak, or something that will end?"""
    if not _worked_enough_to_fail(series, plan):
        return "inconclusive", "growing"
    if trend.saws:
        return "inconclusive", "sawtooth"
    if trend.one_step and trend.shape != "staircase":
        return "inconclusive", "step"
    if slows_down(series, trend, RESOLUTION[series.kind]):
        return "inconclusive", "levelling-off"
    if not series.rests:
        return "inconclusive", "no-rest"
    if gave_back(series):
        return "inconclusive", "gives-back"
    if series.rests[-1].duration_s < plan.rest_s * 0.9:
        return "inconclusive", "no-rest"
    return "critical", "staircase" if trend.shape == "staircase" else "grows"


def _tolerated(series: Series, limit: float, plan: LeakPlan, judged_units: float) -> float:
    """What the interval must stay below.  Without a limit of the user's own, growth that does not add up to the
    resolution over the judged work is tolerated: few, heavy units have large rates and small sums."""
    if plan.limit is not None and series.kind in ("heap", "worker-heap"):
        return limit
    return max(limit, RESOLUTION[series.kind] / judged_units) if judged_units > 0 else limit


def _tolerable(series: Series, plan: LeakPlan, slope: stats.Slope, limit: float) -> bool:
    """Whether growth above the limit may pass because it comes to too little in all.  More work would tell it
    from a module that was loaded late: so it is waited for, and what is on a heap is never waved through, nor are
    whole things that surely grow."""
    if series.kind in ("heap", "worker-heap") or series.lasted_s < plan.leak_after_long_s:
        return False
    return series.kind not in ("handles", "fds") or slope.low <= limit


def _falls(series: Series, trend: Trend, limit: float) -> bool:
    """Whether the judged half surely falls, by more than a leak would have to rise.

    That will end, and what comes then is not known.  A buffer flushed a little more seldom than it is read looks
    emptier at each reading, leak or none, until it has just missed a flush.  Not when it has come down to what there
    was before any work."""
    if series.kind not in ("heap", "worker-heap", "external") or trend.slope.high >= -limit:
        return False
    if -trend.slope.high * series.units / 2.0 < RESOLUTION[series.kind]:
        return False
    units, lowest = min(series.window(0.5), key=lambda point: point[1])
    return series.before is None or abs(lowest - series.before) >= limit * units


def _grows(series: Series, trend: Trend, limit: float, managed_growth: float) -> bool:
    needed = LEAK_RESOLUTIONS * RESOLUTION[series.kind]
    if series.kind == "native":
        needed = max(needed, NATIVE_SHARE_OF_MANAGED * managed_growth)
    if trend.growth < needed:
        return False
    return trend.slope.low > limit or trend.shape == "staircase"


def _doubt(trend: Trend, limit: float) -> str:
    if trend.shape in ("step", "sawtooth", "noisy"):
        return trend.shape
    if trend.slope.low > limit:
        return "below-resolution"
    return "straddles-limit" if limit <= trend.slope.high else "noisy"


def _enough_rounds(series: Series, plan: LeakPlan) -> bool:
    if len(series.load) >= plan.min_rounds:
        return True
    return series.lasted_s >= plan.leak_after_long_s and series.units >= plan.few_rounds_units


def _worked_enough_to_pass(series: Series, plan: LeakPlan) -> bool:
    if series.load_s >= plan.pass_after_long_s:
        return True
    return series.load_s >= plan.pass_after_s and series.units >= plan.pass_after_units


def _worked_enough_to_fail(series: Series, plan: LeakPlan) -> bool:
    if _grew_much(series, plan) or series.lasted_s >= plan.leak_after_long_s:
        return True
    return series.load_s >= plan.leak_after_s and series.units >= plan.leak_after_units


def _grew_much(series: Series, plan: LeakPlan) -> bool:
    if series.kind in ("handles", "fds"):
        return series.growth >= plan.leak_after_count
    too_big = plan.leak_at_bytes
    if plan.heap_limit_bytes and series.kind == "heap":
        too_big = min(too_big, 0.4 * plan.heap_limit_bytes)
    if series.growth >= too_big:
        return True
    return series.growth >= plan.leak_after_bytes and series.units >= plan.leak_after_units_of_bytes


def _units_to_limit(series: Series, trend: Trend, outcome: Outcome, plan: LeakPlan) -> int | None:
    if outcome != "critical" or series.kind != "heap" or not plan.heap_limit_bytes or trend.slope.value <= 0:
        return None
    left = plan.heap_limit_bytes - (series.start + series.growth)
    return int(series.units + max(0.0, left) / trend.slope.value)


# --- what a rest shows ----------------------------------------------------------------------------------------


def _given_back(series: Series, rest: Rest) -> float:
    """The share (0..1) of the growth up to a rest that the rest returned."""
    grown = max(rest.before, *(y for x, y in series.load if x <= rest.units)) - series.start
    return (rest.before - rest.lowest) / grown if grown > 0 else 0.0


def gave_back(series: Series) -> bool:
    """Whether what a rest returned is a sign that the rest of the growth will go as well.

    Not when it is noise; nor when it is a small share, returned at once, and nothing followed for most of the
    rest: connections close and last timers fire, and what is left then is left for good."""
    noise = RESOLUTION[series.kind] / 4.0
    for rest in series.rests:
        share = _given_back(series, rest)
        falls_s = rest.fall_times_s(noise)
        if not falls_s or share <= GIVE_BACK_SHARE:
            continue
        if share > SMALL_SHARE or falls_s[-1] > 0.3 * rest.duration_s:
            return True
    return False


def drained_rests(series: Series) -> list[Rest]:
    """The rests in which the app returned what it had to return; of an app that never returns anything, all.

    By amount, or by share of what had come since the lowest reading before: the first rest follows much work, later
    ones little; or because nothing had come.  One that returned little of what had, where another returned much, was
    too short for a store that is swept seldom."""
    amounts = [rest.before - rest.lowest for rest in series.rests]
    lows = list(itertools.accumulate((series.start, *(rest.lowest for rest in series.rests)), min))
    shares = [
        min(1.0, amount / (rest.before - low)) if rest.before > low else 0.0
        for amount, rest, low in zip(amounts, series.rests, lows)
    ]
    return [
        rest
        for amount, share, rest, low in zip(amounts, shares, series.rests, lows)
        if amount >= DRAINED_SHARE * max(amounts)
        or share >= DRAINED_SHARE * max(shares)
        or rest.lowest - low < RESOLUTION[series.kind]
    ]


def _decide_drained(series: Series, limit: float, plan: LeakPlan) -> tuple[Outcome, str]:
    """Judge by what is left after each rest: what expires or is flushed is gone by then, a leak is not.

    The start is no such point: its reading was taken while things were alive; nor is a rest that returned little
    where another returned much: a store that is swept seldom was not swept in it.  The reading from before any work
    is one, though: when what is left after two rests differs from it by no more than the limit allows, warm-up and
    all, nothing leaks.  (After one, something of the app's start may have gone that a leak just makes up for.)"""
    drained = [(rest.units, rest.lowest) for rest in drained_rests(series)]
    units, left = drained[-1]
    level = left - drained[0][1] < max(limit * (units - drained[0][0]), RESOLUTION[series.kind])
    as_before = series.before is not None and abs(left - series.before) < limit * units
    if len(drained) > 1 and level and as_before:
        return "pass", "given-back"
    lows = [low for _, low in drained]
    resolved = min(RESOLUTION[series.kind], limit * (units - drained[0][0]))
    if len(drained) >= MIN_FLAT_POINTS and max(lows) - min(lows) <= resolved:
        return "pass", "given-back"
    if len(drained) < MIN_DRAINED_POINTS:
        return "inconclusive", "gives-back"
    slope = stats.theil_sen(drained, confidence=0.9)
    grows = slope.low > limit and not _tolerable(series, plan, slope, limit)
    if slope.high < _tolerated(series, limit, plan, units - drained[0][0]):
        return ("inconclusive", "gives-back") if grows else ("pass", "given-back")
    grew = drained[-1][1] - drained[0][1] > LEAK_RESOLUTIONS * RESOLUTION[series.kind]
    # A cache may fill beside a store that expires: it is given the work any growth is given, or the time, with rests.
    rested_s = sum(rest.duration_s for rest in series.rests)
    long_enough = _worked_enough_to_fail(series, plan) or series.lasted_s + rested_s >= plan.leak_after_long_s
    if slope.low > limit and grew and long_enough and not _eases_off(drained):
        return "critical", "grows-between-rests"
    return "inconclusive", "gives-back"


def _eases_off(drained: Sequence[tuple[float, float]]) -> bool:
    """Whether what is left after rests grows slower late than early, as a cache that fills beside a store does.

    So few points give no interval: each half's median rate, and a share that `slows_down` also asks for."""
    half = len(drained) // 2
    early, late = (stats.theil_sen(points).value for points in (drained[: half + 1], drained[half:]))
    return late < EASED_SHARE * early
