"""From a finished window to a judged result.  Floor 6: the one order of things for the plugin and the CLI.

The phases are start → (warm up, load, rounds: the test's own body) → settle → snapshot → stop → judge; this
module owns the last steps: it asks `judge` and puts the verdict and its evidence into the RunResult.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_memory import environment, judge, spec
from pytest_memory.errors import AppError, PytestMemoryError
from pytest_memory.judge.limits import HealthThresholds, LimitSetting, Measured, judge_limits
from pytest_memory.model import Artifact, Check, ClassDelta, Finding, Note, RunResult
from pytest_memory.monitor import MemoryMonitor, end_of


def limits_from(settings: spec.Settings) -> tuple[LimitSetting, ...]:
    """The limits among the settings, with who set them."""
    return tuple(
        LimitSetting(name=name, limit=settings[name], source=settings.source(name))
        for name in spec.LIMITS
        if settings[name] is not None
    )


def health_from(settings: spec.Settings) -> HealthThresholds:
    """The health thresholds among the settings."""
    return HealthThresholds(
        heap_growth_bytes=float(settings["heap_growth_warning"]),
        rss_growth_bytes=float(settings["rss_growth_warning"]),
        gc_count=int(settings["gc_count_warning"]),
        critical_factor=spec.CRITICAL_FACTOR,
    )


def judge_monitor(
    monitor: MemoryMonitor,
    test_id: str,
    settings: spec.Settings,
    *,
    tool: str = "pytest",
    leak_test_expected: bool = False,
    class_deltas: Sequence[ClassDelta] = (),
    findings: Sequence[Finding] = (),
    artifacts: Sequence[Artifact] = (),
    worker_count: int = 0,
) -> RunResult:
    """Judge a stopped monitor's window against the settings; everything known goes into one RunResult."""
    measured = Measured(
        growth={} if monitor.app_died else monitor.growth,
        start_moved_bytes=monitor.start_memory.moved_bytes if monitor.start_memory else 0,
        end_moved_bytes=monitor.end_memory.moved_bytes if monitor.end_memory else 0,
        gc_events=monitor.window_gc_events,
        gc_observed=monitor.gc_observed,
        gc_dropped=monitor.gc_dropped,
        load=monitor.own_loads,
        leak_tests=monitor.leak_loads,
        heap_leak_tested=any(one.kind == "heap" for result in monitor.leak_results for one in result.estimates),
        failed_runs=monitor.failed_runs,
        unfinished_runs=monitor.unfinished_runs,
        app_died=monitor.app_died,
        exit_status=monitor.app_info.exit_status,
        inspector_lost=monitor.inspector_lost,
        never_inspected=monitor.never_inspected,
        processes_ended=monitor.processes_ended,
        workers_ended=monitor.workers_ended,
        app_restarted=monitor.app_restarted,
        doubts=monitor.doubts,
        shared_machine=worker_count > 1,
    )
    checks = list(judge_limits(measured, limits_from(settings), health_from(settings)))
    if leak_test_expected and not monitor.leak_results:
        checks.append(Check(metric="no_leaks", outcome="not-measured", reason="no-leak-test", unit="count"))
    leaks = [estimate for result in monitor.leak_results for estimate in result.estimates]
    checks.extend(check for result in monitor.leak_results for check in result.checks)
    record = monitor.record(test_id, tool=tool)
    notes = (Note(slug="shared-machine"),) if worker_count > 1 and _has_times(record) else ()
    return replace(
        record,
        notes=(*record.notes, *notes),
        verdict=judge.combine(checks, leaks),
        environment=environment.describe(
            node_version=monitor.app_info.node_version,
            v8_version=monitor.app_info.v8_version,
            worker_count=worker_count,
        ),
        class_deltas=(*class_deltas, *(d for r in monitor.leak_results for d in r.class_deltas)),
        heap_tree=next((r.heap_tree for r in reversed(monitor.leak_results) if r.heap_tree), ()),
        findings=(*_app_findings(monitor.app_error), *findings, *(f for r in monitor.leak_results for f in r.findings)),
        artifacts=(*artifacts, *(a for r in monitor.leak_results for a in r.artifacts)),
    )


def add_death(result: RunResult, error: AppError) -> RunResult:
    """The result of an app that died after it had been judged: what was measured stays, the verdict is that it died."""
    died = Measured(app_died=True, exit_status=error.exit_status)
    checks = (*result.verdict.checks, *judge_limits(died, (), HealthThresholds()))
    return replace(
        result,
        app=end_of(result.app, error),
        verdict=judge.combine(checks, result.verdict.leaks),
        findings=(*_app_findings(error), *result.findings),
    )


def _has_times(result: RunResult) -> bool:
    return bool(result.load or result.gc_events)


def not_measured(test_id: str, error: PytestMemoryError, *, tool: str = "pytest") -> RunResult:
    """The result of a measurement that could not be made."""
    finding = Finding(
        slug=error.slug, severity="critical", subject=type(error).__name__, evidence={"message": error.message}
    )
    return RunResult(test_id=test_id, tool=tool, findings=(finding,))


def _app_findings(error: AppError | None) -> tuple[Finding, ...]:
    if error is None:
        return ()
    evidence: dict[str, str | int | float | bool | None] = {
        "message": error.message,
        "exit_status": error.exit_status,
        "last_output": error.output_tail,
    }
    return (Finding(slug=error.slug, severity="critical", subject="app", evidence=evidence),)
