"""The only place that decides: pass, warning, critical or inconclusive.  Floor 3: pure functions of values.

`limits` holds growth and pauses against limits, `leak` decides whether rounds of work leak, `baseline` compares
with a stored measurement.  This file joins their answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_memory.model import Check, LeakEstimate, Outcome, Verdict

# Worst first.  A broken limit outweighs doubt: one sure failure is a failure whatever else is unclear.
SEVERITY: tuple[Outcome, ...] = ("critical", "not-measured", "inconclusive", "warning", "pass")


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The worst of several outcomes; no outcome at all is ``not-measured``, never a pass."""
    return min(outcomes, key=SEVERITY.index) if outcomes else "not-measured"


def combine(checks: Sequence[Check], leaks: Sequence[LeakEstimate] = ()) -> Verdict:
    """One verdict from every check, each list worst first (and otherwise in the order given)."""
    ordered = tuple(sorted(checks, key=lambda check: SEVERITY.index(check.outcome)))
    ordered_leaks = tuple(sorted(leaks, key=lambda leak: SEVERITY.index(leak.outcome)))
    outcome = worst([check.outcome for check in ordered] + [leak.outcome for leak in ordered_leaks])
    return Verdict(outcome=outcome, checks=ordered, leaks=ordered_leaks)


def fails(outcome: Outcome, fail_on: str) -> bool:
    """Whether an outcome fails the test.

    ``fail_on`` is what fails besides a broken limit: nothing more ("critical"), a "warning", or no answer
    ("inconclusive").  A measurement that could not be made always fails."""
    return outcome in ("critical", "not-measured", fail_on)


def verdict_fails(verdict: Verdict, fail_on: str) -> bool:
    """Whether anything in a verdict fails the test: a warning does also where another check has no answer."""
    every = [check.outcome for check in verdict.checks] + [leak.outcome for leak in verdict.leaks]
    return any(fails(outcome, fail_on) for outcome in (verdict.outcome, *every))
