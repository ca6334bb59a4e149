"""Judging what was sent: whether load reached the app as the test meant.  Floor 3: pure.

A part of the load that failed must not hide behind another that went well, so parts are judged as well as the
whole: each run, each target of a mix or sequence.  The runs of one leak test are one load that it cut into rounds,
and count as one run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_memory.model import Check, LoadStats, Outcome

Detail = dict[str, str | int | float | bool | None]

MAX_ERROR_RATE = 0.01  # more failed requests than this, and the app was not exercised as the test meant
MAX_DROPPED_SHARE = 0.01  # of the arrivals that were due: more, and the app got less load than the test meant
# One failure among thirty requests is more than one in a hundred, and chance: this many are not.
LEAST_FAILED = 5
LEAST_ALL_FAILED = 3  # a part too small for that is judged when nothing of it succeeded
# A run that somebody stopped, or that broke the limit it was given (which raises), is not judged by that
# (but see `judge_load`).
_CUT_SHORT: Mapping[str, str] = {"app-died": "load-app-died", "stalled": "load-stalled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A load, a run or a target; the whole has no name."""

    name: str = ""
    requests: int
    errors: int
    first_error: str | None = None

    @property
    def share(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    @property
    def is_sure(self) -> bool:
        return self.errors >= LEAST_FAILED or self.errors == self.requests >= LEAST_ALL_FAILED


def judge_loads(
    runs: Sequence[LoadStats],
    leak_tests: Sequence[Sequence[LoadStats]] = (),
    *,
    max_error_rate: float = MAX_ERROR_RATE,
    app_died: bool = False,
) -> list[Check]:
    """What is wrong with the load of a window; nothing when all is well.

    Critical is: nothing sent; more than ``max_error_rate`` of all requests failed; or of one run, or one target of
    a run, when at least LEAST_FAILED of its requests did (or all of them, LEAST_ALL_FAILED at least); a run that
    ended early because nothing answered any more.  Inconclusive is: more than MAX_DROPPED_SHARE of the arrivals at a
    rate were dropped, for then nobody knows what the load that was asked for would have done.  ``app_died``: that the
    app has died is said already."""
    groups = [*([run] for run in runs), *leak_tests]
    every = [run for group in groups for run in group]
    if not every:
        return []
    if not sum(run.requests for run in every):
        return [_check("no-requests", measured=0)]
    errors = _judge_errors(groups, every, max_error_rate)
    return [*errors, *_judge_ends(every, app_died), *_judge_dropped(groups, every)]


def judge_load(load: Sequence[LoadStats], max_error_rate: float = MAX_ERROR_RATE) -> tuple[Check, ...]:
    """Load for itself, no memory measured: what `judge_loads` finds, or a pass."""
    wrong = judge_loads(load or (LoadStats(requests=0),), max_error_rate=max_error_rate)
    by_limit = [run for run in load if run.stopped_early == "max-error-rate"]
    if by_limit and not wrong:
        # Nothing raises on the command line.  What was under way when it was stopped has ended well since.
        wrong = [_check("load-stopped-by-errors", detail=_ended(by_limit[0]))]
    return tuple(wrong) or (_error_check("pass", "within-limit", _whole(load), max_error_rate),)


def _judge_errors(groups: Sequence[Sequence[LoadStats]], every: Sequence[LoadStats], limit: float) -> Iterator[Check]:
    """The whole when too much of it failed, else the worst part of which too much did."""
    whole = _whole(every)
    if whole.share > limit:
        yield _error_check("critical", "too-many-errors", whole, limit)
        return
    parts = [part for group in groups for part in _parts(group)]
    failed = [part for part in parts if part.share > limit and part.is_sure]
    if failed:
        worst = max(failed, key=lambda part: (part.share, part.errors))
        yield _error_check("critical", "too-many-errors", worst, limit)


def _judge_ends(every: Iterable[LoadStats], app_died: bool) -> Iterator[Check]:
    """One check for each way in which runs ended before their time, about the first of them."""
    said = {"app-died"} if app_died else set()
    for run in every:
        end = run.stopped_early or ""
        if end in _CUT_SHORT and end not in said:
            said.add(end)
            yield _check(_CUT_SHORT[end], detail=_ended(run))


def _ended(run: LoadStats) -> Detail:
    return {"part": _name(run), "requests": run.requests, "errors": run.errors}


def _judge_dropped(groups: Sequence[Sequence[LoadStats]], every: Sequence[LoadStats]) -> Iterator[Check]:
    """The whole when too many of its arrivals found no free connection, else the worst run of which too many did."""
    shares = [(_dropped_share(runs), runs) for runs in (every, *groups) if _dropped(runs) >= LEAST_FAILED]
    wrong = [(share, runs) for share, runs in shares if share > MAX_DROPPED_SHARE]
    if not wrong:
        return
    _, runs = wrong[0] if wrong[0][1] is every else max(wrong, key=lambda one: one[0])
    dropped = _dropped(runs)
    detail: Detail = {"dropped": dropped, "arrivals": dropped + sum(run.requests for run in runs)}
    if runs is not every:
        detail["part"] = _name(runs[0])
    yield _check("load-dropped", outcome="inconclusive", detail=detail)


def _dropped(runs: Sequence[LoadStats]) -> int:
    return sum(run.dropped for run in runs)


def _dropped_share(runs: Sequence[LoadStats]) -> float:
    due = _dropped(runs) + sum(run.requests for run in runs)
    return _dropped(runs) / due if due else 0.0


def _whole(runs: Sequence[LoadStats]) -> _Part:
    return _Part(
        requests=sum(run.requests for run in runs),
        errors=sum(run.errors for run in runs),
        first_error=next((run.first_error for run in runs if run.first_error), None),
    )


def _parts(group: Sequence[LoadStats]) -> Iterator[_Part]:
    """The runs of a group as one, and their targets, each over all of them."""
    if not group:
        return
    run = replace(_whole(group), name=_name(group[0]))
    yield run
    targets: dict[str, list[int]] = {}
    for target in (target for run in group for target in run.targets):
        counted = targets.setdefault(target.name, [0, 0])
        counted[0] += target.requests
        counted[1] += target.errors
    for name, (sent, failed) in targets.items():
        # The run's first error may be another target's.
        first = run.first_error if failed == run.errors else None
        yield _Part(name=name, requests=sent, errors=failed, first_error=first)


def _name(run: LoadStats) -> str:
    """What the run sent, without where to: there is one app."""
    return run.description.partition(" at http")[0]


def _error_check(outcome: Outcome, reason: str, part: _Part, limit: float) -> Check:
    detail: Detail = {"errors": part.errors, "requests": part.requests, "first_error": part.first_error}
    return Check(
        metric="load",
        outcome=outcome,
        reason=reason,
        measured=100.0 * part.share,
        limit=100.0 * limit,
        limit_text=f"{100 * limit:g}%",
        unit="percent",
        source="run",
        detail={**detail, "part": part.name} if part.name else detail,
    )


def _check(
    reason: str, *, outcome: Outcome = "critical", measured: float | None = None, detail: Detail | None = None
) -> Check:
    return Check(
        metric="load",
        outcome=outcome,
        reason=reason,
        measured=measured,
        unit="count",
        source="run",
        detail=detail or {},
    )
