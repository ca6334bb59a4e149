"""The pytest front: options, markers, fixtures, and the verdict raised inside the test.  Floor 7.

The only package that imports pytest.  It is imported by every pytest run of an environment, so nothing heavy is
imported at the top: what measures is imported when a test asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_memory import markers, spec
from pytest_memory.errors import ConfigError, PytestMemoryError
from pytest_memory.plugin.fixtures import (
    heap_snapshot,
    load_generator,
    memory_monitor,
    node_app,
    wanted_app_of,
)
from pytest_memory.plugin.measurement import pytest_runtest_call, pytest_runtest_makereport, pytest_runtest_setup
from pytest_memory.plugin.reporting import Collector, HtmlHooks
from pytest_memory.plugin.stash import PROBLEM, SESSION
from pytest_memory.session import MemorySession

# What pytest looks for in this module: the fixtures and hooks that live beside it.
__all__ = [
    "heap_snapshot",
    "load_generator",
    "memory_monitor",
    "node_app",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
]

COLLECTOR = pytest.StashKey[Collector]()
CONFIG_FILE = "memory-config.json"
LIMIT_MARKERS = frozenset(name for name in spec.BY_MARKER if name != "memory_baseline")


# --- configuration --------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("memory", "memory regression testing of Node.js apps")
    for option in spec.OPTIONS:
        if not option.in_pytest:
            continue
        extra: dict[str, Any] = {"action": "store_true"} if option.is_flag else {"metavar": option.metavar}
        group.addoption(option.pytest_flag, dest=option.ini_key, default=None, help=_with_default(option), **extra)
        parser.addini(option.ini_key, option.help.replace("%%", "%"), type="string", default="")


def _with_default(option: spec.Option) -> str:
    shown = option.default not in (None, False) and isinstance(option.default, str)
    return f"{option.help} (default: {option.default})" if shown else option.help


def pytest_configure(config: pytest.Config) -> None:
    for signature, text in markers.MARKER_HELP:
        config.addinivalue_line("markers", f"{signature}: {text}")
    try:
        config.stash[SESSION] = MemorySession(
            spec.merge_settings(_layers(config)),
            root=config.rootpath,
            is_worker=hasattr(config, "workerinput"),
            worker_count=_worker_count(config),
        )
    except PytestMemoryError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[COLLECTOR] = Collector(config.stash[SESSION], config)
    config.pluginmanager.register(config.stash[COLLECTOR], "memory-collector")
    if getattr(config.option, "htmlpath", None) and config.pluginmanager.hasplugin("html"):
        config.pluginmanager.register(HtmlHooks(config.stash[SESSION], config), "memory-html")


def _layers(config: pytest.Config) -> dict[spec.Source, dict[str, object]]:
    ini = {option.name: config.getini(option.ini_key) for option in spec.OPTIONS if option.in_pytest}
    layers: dict[spec.Source, dict[str, object]] = {
        "ini": {name: value for name, value in ini.items() if value not in ("", None)},
        "environment": spec.environment_values(os.environ),
        "option": {
            option.name: getattr(config.option, option.ini_key, None) for option in spec.OPTIONS if option.in_pytest
        },
    }
    # Typed paths are from where they were typed, those of the ini file from its directory.
    named = layers["option"].get("config") or layers["environment"].get("config")
    written = layers["ini"].get("config")
    file = Path(str(named)) if named else config.rootpath / str(written or CONFIG_FILE)
    if named or written or file.is_file():
        from pytest_memory.config_file import read_config_file

        layers["config file"] = read_config_file(file)
    return layers


def _worker_count(config: pytest.Config) -> int:
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        return int(workerinput.get("workercount", 0))
    numprocesses = getattr(config.option, "numprocesses", None)
    return int(numprocesses) if isinstance(numprocesses, int) else 0


# --- collection -----------------------------------------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Wrong markers are usage errors here, before anything is started; limits bring their monitor along."""
    session = config.stash[SESSION]
    suite_limited = any(session.settings[name] is not None for name in spec.LIMITS)
    problems: list[str] = []
    for item in items:
        ours = [marker for marker in item.iter_markers() if marker.name in markers.MARKERS]
        if wrong := [f"{item.nodeid}: {problem}" for problem in _problems_of(item, ours, session)]:
            problems.extend(wrong)
            item.stash[PROBLEM] = "\n".join(dict.fromkeys(wrong))
        names = getattr(item, "fixturenames", None)
        if names is None or "memory_monitor" in names:
            continue
        if any(marker.name in LIMIT_MARKERS for marker in ours) or (suite_limited and "node_app" in names):
            item.fixturenames = [*names, "memory_monitor"]  # type: ignore[attr-defined]
    # A worker of pytest-xdist that refuses to collect is an internal error there: each such test fails instead.
    if problems and not session.is_worker:
        raise pytest.UsageError("\n".join(dict.fromkeys(problems)))


def _problems_of(item: pytest.Item, ours: list[pytest.Mark], session: MemorySession) -> Iterator[str]:
    for marker in ours:
        try:
            markers.check_marker(marker.name, marker.args, marker.kwargs)
            if marker.name == "node_app":
                wanted_app_of(item, session)
        except ConfigError as error:
            yield str(error)


# --- reporting ------------------------------------------------------------------------------------------------


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> Any:
    payload = getattr(report, "memory_result", None)
    if payload is None or report.when != "call" or hasattr(report, "wasxfail"):
        return None
    outcome = payload["verdict"]["outcome"]
    if report.failed and outcome in ("critical", "warning", "inconclusive", "not-measured"):
        return "failed", "M", ("FAILED", {"red": True})
    if report.passed and outcome in ("inconclusive", "warning"):
        return "passed", "m", (f"PASSED ({outcome})", {"yellow": True})
    return None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = config.stash[SESSION]
    if not session.results:
        return
    from pytest_memory.report import text

    lines = text.terminal_section(session.results, config.get_terminal_writer().fullwidth, config.getoption("verbose"))
    if lines:
        terminalreporter.section("memory")
        for markup, line in lines:
            terminalreporter.write_line(line, **markup)
    if session.baseline_summary is not None:
        from pytest_memory.report import stored

        for line in stored.summary_lines(session.baseline_summary):
            terminalreporter.write_line(line)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    memory = session.config.stash[SESSION]
    if memory.is_worker or session.config.option.collectonly:
        return
    collector = session.config.stash[COLLECTOR]
    problems = memory.finish(collected=collector.collected, whole_files=collector.whole_files)
    lines = [f"memory: {problem}" for problem in problems]
    if problems and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED  # a file that was asked for is not there: no green job
    try:
        lines += memory.tell_github(os.environ)
    except PytestMemoryError as error:
        lines.append(f"memory: {error}")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and lines:
        # Not ensure_newline, which knows nothing of the dots of -q: a workflow command counts only at a line's start.
        writer = session.config.get_terminal_writer()
        if writer.width_of_current_line:
            writer.line()
        for line in lines:
            reporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    memory = config.stash.get(SESSION, None)
    if memory is not None:
        memory.apps.release_all()
