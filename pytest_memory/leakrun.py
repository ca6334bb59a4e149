"""Carry out a leak test: work, settle, look, ask `leaktest` what to do next, until it says stop.  Floor 6.

It is the only part of a leak test that touches the app and the clock, and it decides nothing.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.classcount import MAX_HEAP_BYTES, count_classes
from pytest_memory.errors import AppError, ConfigError, InspectorError, LoadError
from pytest_memory.expression import repeat_in_app
from pytest_memory.judge import worst
from pytest_memory.judge.counts import Look, counts_decide, growing_classes, judge_counts
from pytest_memory.judge.leak import doubt_ended_processes
from pytest_memory.leaktest import History, LeakPlan, Rested, RunRound, Stop, is_warm, next_step
from pytest_memory.model import (
    JUDGED_KINDS,
    Artifact,
    Check,
    ClassDelta,
    Finding,
    HeapNode,
    LeakEstimate,
    LoadStats,
    MemoryKind,
    Outcome,
    Round,
    SettledMemory,
)
from pytest_memory.node.exits import LAST_BREATH_S
from pytest_memory.settle import SettledApp, settle_app
from pytest_memory.units import Limit, parse_duration, parse_rate

_PRECISE_FLAGS = """(() => {
  const flags = ['--no-opt', '--no-sparkplug', '--no-flush-bytecode'];
  if (Number(process.versions.node.split('.')[0]) >= 20) flags.push('--no-maglev');
  for (const flag of flags) require('v8').setFlagsFromString(flag);
})()"""
_HEAP_LIMIT = "require('v8').getHeapStatistics().heap_size_limit"
# Timers of the app's own housekeeping come and go.
_FEW_TIMERS = 5
_LOOKS = 4
_WORK_BETWEEN_LOOKS_S = 1.0
_NAMING_BUDGET_S = 10.0
_FIRST_ERROR_STATUS = 400
_STATUSES = range(100, 600)


class LeakTestedApp(SettledApp, Protocol):
    """What a leak test needs of an app beyond settling it."""

    @property
    def pid(self) -> int: ...
    @property
    def spec(self) -> Any: ...
    def check(self) -> None: ...
    def wait(self, timeout_s: float) -> int | None: ...
    def evaluate(self, js: str, *, timeout_s: float = ..., await_promise: bool = ...) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakResult:
    """What a leak test found.  ``estimates`` has one entry for each kind of memory; ``stopped`` says what ended
    the test ("decided", "max-duration", "max-rounds", "no-units", "errors", "app-died")."""

    estimates: tuple[LeakEstimate, ...]
    rounds: tuple[Round, ...] = ()
    warmup: tuple[Round, ...] = ()
    unit: str = "request"
    stopped: str = "decided"
    duration_s: float = 0.0
    checks: tuple[Check, ...] = ()
    class_deltas: tuple[ClassDelta, ...] = ()
    heap_tree: tuple[HeapNode, ...] = ()
    findings: tuple[Finding, ...] = ()
    artifacts: tuple[Artifact, ...] = ()

    @property
    def outcome(self) -> Outcome:
        return worst([estimate.outcome for estimate in self.estimates])


def run_leak_test(
    app: LeakTestedApp,
    operation: Callable[[], Any] | str,
    *,
    unit: str = "request",
    limit: Limit | str | None = None,
    rounds: int | None = None,
    max_rounds: int | None = None,
    max_duration: float | str | None = None,
    precise: bool = True,
    kinds: Sequence[MemoryKind] | None = None,
    counter: Callable[[], tuple[int, int]] | None = None,
    quiet: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    on_step: Callable[[str, float], None] | None = None,
    on_growth: Callable[[], None] | None = None,
) -> LeakResult:
    """Run ``operation`` against ``app`` until it is clear whether memory grows with the work.

    ``operation`` does one portion of work: when it returns a load result (or ``counter``, requests and errors so
    far, moves meanwhile), requests are the units and failed requests the errors; otherwise a call is one ``unit``.
    A text is a JavaScript expression, evaluated in the app; each evaluation is one unit.
    ``rounds`` is the least number of rounds, ``max_duration`` seconds or text.  ``quiet`` keeps other observers
    off the app while it settles.  ``on_step`` is told what begins ("round 7") and how long the whole test may last, in
    seconds; ``on_growth`` that memory has grown and the work pauses for some seconds, since the app rests or its
    objects are counted: time to prepare what an explanation needs.

    An app that dies ends the test with a critical estimate; only an inspector that is lost while the app lives,
    and errors of the operation itself, are raised.
    """
    plan = _make_plan(app, unit, limit, rounds, max_rounds, max_duration, precise, kinds)
    if isinstance(operation, str):
        operation = repeat_in_app(app, operation)
    return _Driver(app, operation, plan, counter, quiet, clock, sleep, on_step, on_growth).run()


def _make_plan(
    app: LeakTestedApp,
    unit: str,
    limit: Limit | str | None,
    rounds: int | None,
    max_rounds: int | None,
    max_duration: float | str | None,
    precise: bool,
    kinds: Sequence[MemoryKind] | None,
) -> LeakPlan:
    if isinstance(limit, str):
        limit = parse_rate(limit, what="leak limit")
    if limit is not None and limit.per not in (None, unit):
        raise ConfigError(
            f"leak limit is {limit.text!r} but the test counts in {unit!r}; expected one unit of work",
            slug="config-unit",
            hint=f'say unit="{limit.per}", or give the limit per {unit}',
        )
    plan = LeakPlan(limit=limit, unit=unit, precise=precise, heap_limit_bytes=int(app.evaluate(_HEAP_LIMIT)))
    if kinds is not None:
        if isinstance(kinds, str) or not kinds or not set(kinds) <= set(JUDGED_KINDS):
            raise ConfigError(
                f"kinds is {kinds!r}; expected a list of some of {', '.join(JUDGED_KINDS)}", slug="config-option"
            )
        plan = replace(plan, kinds=tuple(kinds))
    if rounds is not None:
        plan = replace(plan, min_rounds=max(plan.min_rounds, rounds), few_rounds_units=math.inf)
    if max_rounds is not None:
        plan = replace(plan, max_rounds=max_rounds, min_rounds=min(plan.min_rounds, max_rounds))
    if max_duration is not None:
        duration_s = parse_duration(max_duration, plain_unit="s", what="max_duration")
        plan = replace(plan, max_duration_s=duration_s)
    return plan


class _Driver:
    """Executes the steps of one leak test and keeps its history."""

    def __init__(
        self,
        app: LeakTestedApp,
        operation: Callable[[], Any],
        plan: LeakPlan,
        counter: Callable[[], tuple[int, int]] | None,
        quiet: Callable[[], AbstractContextManager[object]],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        on_step: Callable[[str, float], None] | None,
        on_growth: Callable[[], None] | None,
    ) -> None:
        self._app = app
        self._operation = operation
        self._plan = plan
        self._counter = counter
        self._quiet = quiet
        self._clock = clock
        self._sleep = sleep
        self._on_step = on_step
        self._on_growth = on_growth
        self._began = clock()
        self._pid = app.pid
        self._history = History()
        self._timers_at_rest: int | None = None

    def run(self) -> LeakResult:
        if self._plan.precise and not self._app.spec.precise:
            self._make_precise()
        while True:
            step = next_step(self._plan, self._history)
            if isinstance(step, Stop):
                return self._result(step, self._look(step.estimates))
            self._tell(_step_name(step, self._history))
            if isinstance(step, Rested) and self._history.rounds:
                self._tell_of_growth()
            try:
                self._carry_out(step)
            except AppError:
                self._history = replace(self._history, died=True)
            except (InspectorError, LoadError) as error:
                self._history = replace(self._history, died=self._died_of(error))
            self._history = replace(self._history, elapsed_s=self._clock() - self._began)

    def _tell(self, step: str) -> None:
        if self._on_step is not None:
            self._on_step(step, self._plan.max_duration_s)

    def _tell_of_growth(self) -> None:
        if self._on_growth is not None:
            self._on_growth()

    def _make_precise(self) -> None:
        """Switch the optimising compilers off in an app that was started without; what they made is outlived."""
        for record in self._app.processes:
            if record.role == "app" or record.inspector_url is not None:
                client: InspectorClient = self._app.inspector_of(record.pid)
                client.evaluate(_PRECISE_FLAGS)

    def _died_of(self, error: InspectorError | LoadError) -> bool:
        """True when an error means that the app died (or is another process now); any other is raised."""
        self._app.wait(LAST_BREATH_S)
        try:
            self._app.check()
        except AppError:
            return True
        if self._app.pid != self._pid:
            return True
        raise error

    def _carry_out(self, step: RunRound | Rested) -> None:
        start_s = self._clock()
        units = errors = 0
        if isinstance(step, RunRound):
            units, errors = self._work(step)
        else:
            self._sleep(step.seconds)
        end_s = self._clock()
        self._app.check()
        if self._app.pid != self._pid:
            raise AppError(f"the app is another process now (pid {self._pid} → {self._app.pid})", slug="app-died")
        self._record(step, units, errors, start_s, end_s, self._settle())

    def _work(self, step: RunRound) -> tuple[int, int]:
        """Call the operation; units of work done and errors among them.

        What it returns counts first; then what the load generator counted meanwhile (an operation may load the
        app without returning the result); else a call is a unit."""
        units = errors = calls = 0
        latest_s = self._clock() + step.longest_s
        while calls < step.repeat and (calls == 0 or self._clock() < latest_s):
            calls += 1
            before = self._counter() if self._counter else (0, 0)
            done = count_work(_called(self._operation()))
            if done is None and self._counter:
                now = self._counter()
                done = (now[0] - before[0], now[1] - before[1]) if now != before else None
            done = done or (1, 0)
            units += done[0]
            errors += done[1]
        self._history = replace(self._history, last_repeat=calls)
        return units, errors

    def _settle(self) -> SettledMemory:
        with self._quiet():
            memory = settle_app(self._app, timers_at_rest=self._timers_at_rest)
        self._learn_timers(memory)
        return replace(memory, t_s=self._clock())

    def _learn_timers(self, memory: SettledMemory) -> None:
        """What is active before any work is the app's rest.  Timers that outlast the settling are not waited for
        again: they are long, or they leak, and then waiting would cost every reading its whole budget."""
        active = memory.handle_kinds.get("Timeout", 0)
        if not self._history.warmup:
            self._timers_at_rest = active + _FEW_TIMERS
        elif self._timers_at_rest is not None and active > self._timers_at_rest:
            self._timers_at_rest = None

    def _record(
        self, step: RunRound | Rested, units: int, errors: int, start_s: float, end_s: float, memory: SettledMemory
    ) -> None:
        history = self._history
        done = Round(
            index=len(history.warmup) + len(history.rounds),
            units=units,
            errors=errors,
            start_s=start_s,
            end_s=end_s,
            memory=memory,
            idle=isinstance(step, Rested),
        )
        if history.rounds or is_warm(self._plan, history, done):
            self._history = replace(history, rounds=(*history.rounds, done))
        else:
            self._history = replace(history, warmup=(*history.warmup, done))

    def _look(self, estimates: Sequence[LeakEstimate]) -> list[Look]:
        """Objects by class, counted a few times with work between, after the last size has been read: what a leaking
        heap is made of, or what decides where its size could not."""
        heaps = [one for one in estimates if one.kind == "heap"]
        if not any(one.outcome == "critical" or counts_decide(one) for one in heaps):
            return []
        if self._history.died or self._heap_bytes() > MAX_HEAP_BYTES:
            return []
        if self._call_s() > _NAMING_BUDGET_S / _LOOKS:
            return []  # the leak has slowed the app down so much that three more calls would take too long
        self._tell("counting objects")
        self._tell_of_growth()
        # Enough work that one object in fifty units shows, not so much that naming takes longer than finding.
        repeat = max(1, min(self._history.last_repeat, 4))
        looks: list[Look] = []
        units = 0
        latest_s = self._clock() + _NAMING_BUDGET_S
        try:
            while len(looks) < _LOOKS and self._clock() < latest_s:
                with self._quiet():  # counting collects
                    looks.append((units, count_classes(self._app.inspector_of(self._app.pid))))
                if len(looks) < _LOOKS:
                    units += self._work(RunRound(repeat, longest_s=_WORK_BETWEEN_LOOKS_S))[0]
        except Exception:  # noqa: BLE001 - also what the test's operation raises
            return []  # the verdict of the sizes stands; only its illustration is missing
        return looks

    def _call_s(self) -> float:
        """How long one call of the operation took in the last round of work."""
        last = next(one for one in reversed(self._history.rounds) if not one.idle)
        return (last.end_s - last.start_s) / self._history.last_repeat

    def _heap_bytes(self) -> int:
        return self._history.rounds[-1].memory.heap_used_bytes

    def _result(self, stop: Stop, looks: Sequence[Look]) -> LeakResult:
        return LeakResult(
            estimates=judge_counts(doubt_ended_processes(stop.estimates, self._history.rounds), looks),
            class_deltas=growing_classes(looks),
            rounds=self._history.rounds,
            warmup=self._history.warmup,
            unit=self._plan.unit,
            stopped=stop.reason,
            duration_s=self._clock() - self._began,
        )


def _called(returned: Any) -> Any:
    """What an operation returned; refused when it is something that has yet to run."""
    if inspect.isawaitable(returned) or inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        if inspect.iscoroutine(returned):
            returned.close()  # never to be awaited, and no warning about that besides this error
    elif not (inspect.isroutine(returned) or isinstance(returned, functools.partial)):
        return returned
    raise ConfigError(
        f"the operation of a leak test returned {type(returned).__name__} {returned!r}, which has not run; expected "
        "the work to be done when it returns",
        slug="config-option",
        hint="call what it returns: lambda: asyncio.run(work()), or lambda: load_generator.run(...)",
    )


def _step_name(step: RunRound | Rested, history: History) -> str:
    """``"round 7"``: the rounds that are judged, of work, count from one."""
    worked = sum(not one.idle for one in history.rounds[1:])  # the first is the end of the warm-up
    if isinstance(step, Rested):
        return f"rest after round {worked}" if history.rounds else "first reading"
    return f"round {worked + 1}" if history.rounds else "warm-up"


def count_work(returned: Any) -> tuple[int, int] | None:
    """Units done and errors among them, from what an operation returned; None when it returned no load result.

    A load result counts its requests, with those of its warm-up; several (a list or tuple of them) are added up.  A
    response (anything with an HTTP ``status_code``, such as httpx's, or ``status``, such as urllib's) is one unit, and
    an error from 400 on: an app that answers "not found" is not exercised as the test means.  Where such an answer is
    the point, let the operation return nothing."""
    if isinstance(returned, (list, tuple)):
        pairs = [count_work(one) for one in returned]
        known = [pair for pair in pairs if pair is not None]
        if not known or len(known) < len(pairs):
            return None
        return sum(units for units, _ in known), sum(errors for _, errors in known)
    status = getattr(returned, "status_code", getattr(returned, "status", None))
    if isinstance(status, int) and status in _STATUSES:
        return 1, int(status >= _FIRST_ERROR_STATUS)
    stats = getattr(returned, "stats", returned)
    return (stats.sent, stats.errors) if isinstance(stats, LoadStats) else None
