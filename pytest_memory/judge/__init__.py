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

    ``fail_on`` is the mildest outcome that fails besides a broken limit: "critical" (only that), "warning", or
    "inconclusive" (a broken limit or no answer).  A measurement that could not be made always fails."""
    if outcome in ("critical", "not-measured"):
        return True
    return outcome == fail_on
