"""The verdict, raised inside the test: so that xfail, reruns and JUnit see it.  Floor 7.

A verdict written into a finished report, or raised at the end of the session, is seen by none of them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memory import spec
from pytest_memory.errors import PytestMemoryError
from pytest_memory.plugin import snapshots
from pytest_memory.plugin.ids import id_of_test
from pytest_memory.plugin.stash import GENERATOR, IN_BODY, MEASUREMENT, PROBLEM, RESULT, SESSION

if TYPE_CHECKING:
    from pytest_memory.model import RunResult
    from pytest_memory.monitor import MemoryMonitor
    from pytest_memory.session import MemorySession


class Measurement:
    """One test's measured window, from the start of its body to the verdict."""

    def __init__(
        self, item: pytest.Item, session: MemorySession, settings: spec.Settings, monitor: MemoryMonitor
    ) -> None:
        self.item = item
        self.session = session
        self.settings = settings
        self.monitor = monitor
        self.started = False

    def start(self) -> None:
        try:
            self.monitor.start()
            self.started = True
        except PytestMemoryError as error:
            self.item.stash[RESULT] = self.session.not_measured(id_of_test(self.item), error)
            raise pytest.fail.Exception(str(error), pytrace=False) from None

    def finish(self, *, body_failed: bool = False) -> RunResult:
        """Stop, judge, and remember the result on the item."""
        self.monitor.stop()
        baseline_marker = self.item.get_closest_marker("memory_baseline")
        result = self.session.judge(
            self.monitor,
            id_of_test(self.item),
            self.settings,
            leak_test_expected=self.item.get_closest_marker("no_leaks") is not None,
            baseline_metrics=baseline_marker.kwargs.get("metrics") if baseline_marker else None,
        )
        if self.session.keeps_snapshots(failed=body_failed or self.session.fails(result, self.settings)):
            result = replace(result, artifacts=(*result.artifacts, *snapshots.keep(self.item)))
        self.item.stash[RESULT] = result
        return result

    def finish_after_failure(self) -> None:
        """The body failed by itself: measure what can be measured, and let its own error stand."""
        try:
            result = self.finish(body_failed=True)
        except PytestMemoryError as error:
            self.item.stash[RESULT] = self.session.not_measured(id_of_test(self.item), error)
            return
        from pytest_memory.report import view

        self.item.add_report_section("call", "memory", view.failure_text(result, verbose=False))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A rerun begins with nothing of the run before; what is wrong with a test's markers is said in its place."""
    keys: tuple[pytest.StashKey[Any], ...] = (MEASUREMENT, GENERATOR, RESULT, IN_BODY)
    for key in keys:
        if key in item.stash:
            del item.stash[key]
    if (problem := item.stash.get(PROBLEM, None)) is not None:
        pytest.fail(problem, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    measurement = item.stash.get(MEASUREMENT, None)
    if measurement is not None:
        measurement.start()
    item.stash[IN_BODY] = True
    try:
        outcome = yield
    except (Exception, pytest.fail.Exception):
        measurement = item.stash.get(MEASUREMENT, None)
        if measurement is not None and measurement.started:
            measurement.finish_after_failure()
        raise
    measurement = item.stash.get(MEASUREMENT, None)  # the body may have asked for it
    if measurement is None:
        return outcome
    try:
        result = measurement.finish()
    except PytestMemoryError as error:
        item.stash[RESULT] = measurement.session.not_measured(id_of_test(item), error)
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    if measurement.session.fails(result, measurement.settings):
        from pytest_memory.report import view

        pytest.fail(view.failure_text(result, verbose=item.config.getoption("verbose", 0) > 0), pytrace=False)
    return outcome


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the result on the report, JSON-basic, so that it travels from pytest-xdist's workers by itself."""
    report = yield
    snapshots.keep_of_failed(item, call, report)
    result = item.stash.get(RESULT, None)
    if result is None or not (call.when == "call" or (call.when == "setup" and report.failed)):
        return report
    from pytest_memory import results

    result = replace(result, test_outcome=_outcome_word(report))
    report.memory_result = results.to_payload(result)  # type: ignore[attr-defined]
    # JUnit takes properties from the report of the teardown, which copies the item's; a rerun replaces its own.
    properties = item.config.stash[SESSION].properties(result)
    names = {name for name, _ in properties}
    item.user_properties[:] = [*(kept for kept in item.user_properties if kept[0] not in names), *properties]
    report.user_properties[:] = item.user_properties
    html = item.config.pluginmanager.get_plugin("memory-html")
    if html is not None:
        html.add_extras(report, result)
    return report


def _outcome_word(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xpassed" if report.passed else "xfailed"
    return report.outcome
