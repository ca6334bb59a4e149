"""The plan of a leak test: what to do next, given what has been seen.  Floor 3: pure; `leakrun` carries it out.

A leak test is sequential.  It warms up, then works in rounds; as soon as every kind of memory is judged below its
limit it stops.  Where one grows it goes on until caches are full and lifetimes over, rests to see what is given
back, and only then calls it a leak.  When neither answer is reached before the stated maxima, it stops and the
answer is *inconclusive*, with the reason.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_memory.judge.leak import RESOLUTION, LeakPlan, drained_rests, gave_back, judge_leak, unjudged
from pytest_memory.judge.load import LEAST_FAILED
from pytest_memory.judge.series import read_series
from pytest_memory.model import LeakEstimate, MemoryKind, Round

__all__ = ["History", "LeakPlan", "Rested", "RunRound", "Step", "Stop", "is_warm", "next_step"]


@dataclass(frozen=True, slots=True)
class RunRound:
    """Call the operation ``repeat`` times, or fewer when ``longest_s`` is over, then take a settled reading.

    Warm-up rounds are thrown away."""

    repeat: int
    warmup: bool = False
    longest_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Rested:
    """Leave the app alone for ``seconds``, then take a settled reading."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """The test is over.  ``reason`` is "decided", or what ran out: "max-rounds", "max-duration", "no-units",
    "errors", "app-died"."""

    reason: str
    estimates: tuple[LeakEstimate, ...] = ()


Step = RunRound | Rested | Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What has happened so far.

    ``warmup`` begins with a reading before any work; ``rounds`` begin with the last warm-up round, whose reading
    is the start; ``last_repeat`` counts the calls of the operation in the last working round."""

    warmup: tuple[Round, ...] = ()
    rounds: tuple[Round, ...] = ()
    last_repeat: int = 1
    elapsed_s: float = 0.0
    died: bool = False

    @property
    def units(self) -> int:
        return sum(one.units for one in (*self.warmup, *self.rounds))

    @property
    def errors(self) -> int:
        return sum(one.errors for one in (*self.warmup, *self.rounds))


# How long the app works between two rests, once rests are what it is judged by.
_WORK_BETWEEN_RESTS_S = 2.5
# How much longer than its maximum a test may last, in rests, to finish one.
_OVERTIME_RESTS = 1.5
# A rest is read every second; two seconds without a fall end it, once something was given back.
_REST_STEP_S = 1.0
_QUIET_S = 2.0
# A reading after collections takes time that grows with the heap: work at least this many times as long.
_WORK_PER_SETTLE = 4.0
_LONGEST_ROUND_S = 3.0
_ROUNDS_TO_ENOUGH = 24
# Calls that must have been made before their units and errors are judged.
_TRIAL_ROUNDS = 3
_TRIAL_UNITS = 100
# Doubts that more of the same work rarely removes, but a rest does: expiring stores and flushed buffers.
_REST_REMOVES = frozenset({"noisy", "straddles-limit", "below-resolution"})
_REST_MAY_REMOVE = frozenset({"sawtooth", "step"})
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def next_step(plan: LeakPlan, history: History) -> Step:
    """Decide what to do next.  Always ends: rounds and duration are bounded by the plan."""
    every = (*history.warmup, *history.rounds)
    if history.died:
        return Stop("app-died", (*_estimates(plan, history), unjudged("critical", "app-died", plan, every)))
    if refusal := _refusal(plan, history):
        return Stop(refusal, (unjudged("not-measured", refusal, plan, every),))
    if not every:
        return Rested(0.0)  # the reading before any work
    if not history.rounds:
        return _work(plan, history, plan.round_s, warmup=True)
    if len(history.rounds) == 1:
        return _work(plan, history, plan.round_s)
    estimates = _estimates(plan, history)
    unsettled = [estimate for estimate in estimates if estimate.outcome != "pass"]
    # What has grown for the whole time is not left unjudged for the want of a rest, or of a rest's last seconds.
    overtime_s = _OVERTIME_RESTS * plan.rest_s
    in_time = history.elapsed_s < plan.max_duration_s + overtime_s or 0.0 < _resting_s(history.rounds) < overtime_s
    if history.rounds[-1].idle and in_time and any(_goes_on(plan, history.rounds, one.kind) for one in unsettled):
        return Rested(_REST_STEP_S)  # half a rest proves nothing, neither way
    if _decided(estimates):
        return _stop("decided", estimates, plan, history)
    if len(history.rounds) >= plan.max_rounds:
        return _stop("max-rounds", estimates, plan, history)
    doubtful = [estimate for estimate in estimates if estimate.outcome == "inconclusive"]
    if history.elapsed_s >= plan.max_duration_s:
        rest_decides = in_time and not history.rounds[-1].idle and any(one.reason == "no-rest" for one in doubtful)
        return Rested(_REST_STEP_S) if rest_decides else _stop("max-duration", estimates, plan, history)
    if _needs_rest(plan, history, doubtful):
        return Rested(_REST_STEP_S)
    between_rests = any(estimate.reason == "gives-back" for estimate in doubtful)
    return _work(plan, history, _WORK_BETWEEN_RESTS_S / 2 if between_rests else plan.round_s)


def _stop(reason: str, estimates: tuple[LeakEstimate, ...], plan: LeakPlan, history: History) -> Stop:
    """The end, whatever was found; but few failures of few units, which ended nothing so far, count as well."""
    if history.errors > plan.max_error_rate * max(history.units, history.errors):
        return Stop("errors", (unjudged("not-measured", "errors", plan, (*history.warmup, *history.rounds)),))
    return Stop(reason, estimates)


def is_warm(plan: LeakPlan, history: History, candidate: Round) -> bool:
    """Whether the warm-up is over with this round, so that its reading is the start."""
    rounds = (*history.warmup, candidate)
    work_s = sum(one.end_s - one.start_s for one in rounds)
    units = sum(one.units for one in rounds)
    return work_s >= plan.warmup_s and (units >= plan.warmup_units or work_s >= 3 * plan.warmup_s)


def _estimates(plan: LeakPlan, history: History) -> tuple[LeakEstimate, ...]:
    if len(history.rounds) < 2:
        return ()
    first = history.warmup[0] if history.warmup else None
    return judge_leak(history.rounds, plan, before=first if first is not None and first.idle else None)


def _decided(estimates: Sequence[LeakEstimate]) -> bool:
    """One sure leak decides; otherwise every kind must have been judged."""
    outcomes = [estimate.outcome for estimate in estimates]
    return "critical" in outcomes or "inconclusive" not in outcomes


def _refusal(plan: LeakPlan, history: History) -> str | None:
    """Why this cannot be measured at all: nothing is being done, or too much of it fails."""
    calls = sum(not one.idle for one in (*history.warmup, *history.rounds))
    if calls >= _TRIAL_ROUNDS and history.units == 0:
        return "errors" if history.errors else "no-units"
    tried = max(history.units, history.errors)
    if tried >= _TRIAL_UNITS or calls >= _TRIAL_ROUNDS:
        # Two in the first hundred are chance where one in two hundred may fail; judge.load asks for as many.
        sure = history.errors >= LEAST_FAILED or history.errors == tried
        return "errors" if sure and history.errors > plan.max_error_rate * tried else None
    return None


def _work(plan: LeakPlan, history: History, target_s: float, *, warmup: bool = False) -> RunRound:
    """A round that lasts about ``target_s``, and long against its reading.

    Lengths vary (by the golden ratio, which fits no period): equal rounds would beat against a buffer that is
    flushed every so many units, and a slow beat looks like growth."""
    worked = [one for one in (*history.warmup, *history.rounds) if not one.idle]
    if not worked:
        return RunRound(1, warmup=warmup)
    last = worked[-1]
    wanted_s = max(target_s, min(_WORK_PER_SETTLE * last.memory.duration_s, _LONGEST_ROUND_S))
    per_call_s = max((last.end_s - last.start_s) / history.last_repeat, 1e-4)
    vary = 0.6 + 0.8 * (len(worked) * _GOLDEN % 1.0)
    repeat = min(round(wanted_s * vary / per_call_s), 4 * history.last_repeat, _repeat_by_growth(plan, history))
    repeat = max(1, repeat)
    return RunRound(repeat, warmup=warmup, longest_s=3.0 * wanted_s)


def _repeat_by_growth(plan: LeakPlan, history: History) -> int:
    """The most calls a round may have, so that what grows fast is still seen in many rounds before it is enough."""
    if len(history.rounds) < 2 or history.rounds[-1].idle:
        return history.last_repeat * 4
    grown = _footprint(history.rounds[-1]) - _footprint(history.rounds[-2])
    per_call = grown / history.last_repeat
    return (
        max(1, int(plan.leak_after_bytes / _ROUNDS_TO_ENOUGH / per_call)) if per_call > 0 else history.last_repeat * 4
    )


def _footprint(one: Round) -> int:
    memory = one.memory
    return memory.heap_used_bytes + memory.worker_heap_used_bytes + max(memory.external_bytes, 0)


# --- rests ----------------------------------------------------------------------------------------------------


def _needs_rest(plan: LeakPlan, history: History, doubtful: Sequence[LeakEstimate]) -> bool:
    if history.rounds[-1].idle:
        return False
    reasons = {one.reason for one in doubtful}
    if "no-rest" in reasons:
        return True
    work_s = _work_since_rest_s(history.rounds)
    if "gives-back" in reasons:
        return work_s >= _WORK_BETWEEN_RESTS_S
    if any(one.idle for one in history.rounds):
        return False
    patience_s = plan.pass_after_s if reasons & _REST_REMOVES else plan.leak_after_s
    return work_s >= patience_s and bool(reasons & (_REST_REMOVES | _REST_MAY_REMOVE))


def _resting_s(rounds: Sequence[Round]) -> float:
    """How long the rest under way lasts already, its readings included; 0.0 while there is none."""
    last = rounds[-1]
    resting = list(itertools.takewhile(lambda one: one.idle, reversed(rounds)))
    return last.end_s + last.memory.duration_s - resting[-1].start_s if resting else 0.0


def _work_since_rest_s(rounds: Sequence[Round]) -> float:
    work_s = 0.0
    for one in reversed(rounds[1:]):
        if one.idle:
            break
        work_s += one.end_s - one.start_s
    return work_s


def _goes_on(plan: LeakPlan, rounds: Sequence[Round], kind: MemoryKind) -> bool:
    """Whether the rest under way must last longer: a first one its full length, any while memory still falls."""
    series = read_series(rounds, kind)
    if series is None or not series.rests:
        return False
    rest = series.rests[-1]
    if rest.duration_s >= plan.max_rest_s:
        return False
    if gave_back(series) and rest not in drained_rests(series):
        return True  # others returned more: what is swept seldom is yet to be swept
    falls = [one.fall_times_s(RESOLUTION[kind] / 4.0) for one in series.rests]
    # A store that is swept every so often falls in jumps: wait for the next one to stay away.
    gaps = [later - earlier for times in falls for earlier, later in itertools.pairwise((0.0, *times))]
    quiet_s = max([_QUIET_S, *(1.3 * gap for gap in gaps)])
    first_s = plan.rest_s if len(series.rests) == 1 else max((times[-1] for times in falls if times), default=0.0)
    last_s = falls[-1][-1] if falls[-1] else 0.0
    return rest.duration_s < max(last_s + quiet_s, first_s)
