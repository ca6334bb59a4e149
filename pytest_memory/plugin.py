"""The pytest front: options, markers, fixtures, and the verdict raised inside the test.  Floor 7.

The only module that imports pytest.  It is imported by every pytest run of an environment, so nothing heavy is
imported at the top: what measures is imported when a test asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memory import spec
from pytest_memory.errors import ConfigError, PytestMemoryError
from pytest_memory.session import MemorySession

if TYPE_CHECKING:
    from pytest_memory.heap import HeapSnapshot
    from pytest_memory.load.generator import LoadGenerator
    from pytest_memory.model import RunResult
    from pytest_memory.monitor import MemoryMonitor
    from pytest_memory.node.process import NodeApp

SESSION = pytest.StashKey[MemorySession]()
COLLECTOR = pytest.StashKey["_Collector"]()
MEASUREMENT = pytest.StashKey["Measurement"]()
GENERATOR = pytest.StashKey["LoadGenerator"]()
RESULT = pytest.StashKey["RunResult"]()

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
    for signature, text in spec.MARKER_HELP:
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
    config.stash[COLLECTOR] = _Collector(config.stash[SESSION], config)
    config.pluginmanager.register(config.stash[COLLECTOR], "memory-collector")
    if getattr(config.option, "htmlpath", None) and config.pluginmanager.hasplugin("html"):
        config.pluginmanager.register(_HtmlHooks(config.stash[SESSION], config), "memory-html")


def _layers(config: pytest.Config) -> dict[spec.Source, dict[str, object]]:
    ini = {option.name: config.getini(option.ini_key) for option in spec.OPTIONS if option.in_pytest}
    layers: dict[spec.Source, dict[str, object]] = {
        "ini": {name: value for name, value in ini.items() if value not in ("", None)},
        "environment": spec.environment_values(os.environ),
        "option": {
            option.name: getattr(config.option, option.ini_key, None) for option in spec.OPTIONS if option.in_pytest
        },
    }
    named = layers["option"].get("config") or layers["environment"].get("config") or layers["ini"].get("config")
    file = Path(str(named)) if named else config.rootpath / CONFIG_FILE
    if named or file.is_file():
        layers["config file"] = _read_config_file(file)
    return layers


def _read_config_file(file: Path) -> dict[str, object]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}; expected a JSON file", slug="config-file") from None
    return spec.parse_config_text(text, str(file))


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
    problems: list[str] = []
    for item in items:
        markers = [marker for marker in item.iter_markers() if marker.name in spec.MARKERS]
        if not markers:
            continue
        for marker in markers:
            try:
                spec.check_marker(marker.name, marker.args, marker.kwargs)
                if marker.name == "node_app":
                    _wanted_app(item, session)
            except ConfigError as error:
                problems.append(f"{item.nodeid}: {error}")
        names = getattr(item, "fixturenames", None)
        limited = any(marker.name in LIMIT_MARKERS for marker in markers)
        if limited and names is not None and "memory_monitor" not in names:
            names.append("memory_monitor")
    if problems:
        raise pytest.UsageError("\n".join(dict.fromkeys(problems)))


def _marker_layer(item: pytest.Item) -> dict[str, object]:
    """The settings in an item's markers; the closest marker of a name wins."""
    layer: dict[str, object] = {}
    for name, option in spec.BY_MARKER.items():
        marker = item.get_closest_marker(name)
        if marker is not None and marker.args:
            layer[option.name] = marker.args[0]
    return layer


def _wanted_app(item: pytest.Item, session: MemorySession) -> Any:
    from pytest_memory.node.wanted import wanted_app

    marker = item.get_closest_marker("node_app")
    return wanted_app(
        session.settings,
        args=marker.args if marker else (),
        kwargs=marker.kwargs if marker else {},
        test_directory=str(item.path.parent),
        root_directory=str(session.root),
        precise=_wants_precise(item),
    )


def _wants_precise(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("no_leaks")
    return marker is not None and bool(marker.kwargs.get("precise", True))


# --- fixtures -------------------------------------------------------------------------------------------------


@pytest.fixture
def node_app(request: pytest.FixtureRequest) -> Iterator[NodeApp]:
    """The Node.js app under test, started and ready: `.url`, `.pid`, `.evaluate(js)`, `.client`, `.output`.

    Which app: `@pytest.mark.node_app("server.js", ready="/health")`, `--memory-app`, or the ini key memory_app.
    """
    session = request.config.stash[SESSION]
    _skip_when_disabled(session)
    item: pytest.Item = request.node
    try:
        app_spec = _wanted_app(item, session)
        scope = _app_scope(item, session)
        app = session.apps.acquire(app_spec, _scope_key(item, scope))
    except PytestMemoryError as error:
        item.stash[RESULT] = session.not_measured(item.nodeid, error)
        pytest.fail(str(error), pytrace=False)
    if scope != "function":
        _scope_node(item, scope).addfinalizer(lambda: session.apps.release(app))
    try:
        yield app
    finally:
        if scope == "function":
            session.apps.release(app)


@pytest.fixture
def memory_monitor(request: pytest.FixtureRequest, node_app: NodeApp) -> Iterator[MemoryMonitor]:
    """Watches the app's memory while the test body runs: `.samples`, `.growth`, `.phase(name)`, `.leak_test(fn)`.

    Limits come from markers (`max_heap_growth("50MB")`, `no_leaks("100B/request")`, …) and from configuration.
    """
    import tempfile

    from pytest_memory.monitor import MemoryMonitor

    item: pytest.Item = request.node
    session = request.config.stash[SESSION]
    settings = session.settings.override("marker", _marker_layer(item))
    directory = Path(tempfile.mkdtemp(prefix="pytest-memory-"))
    monitor = MemoryMonitor(
        node_app,
        interval=settings["interval"],
        no_leaks=settings["no_leaks"],
        explain_directory=directory if settings["explain"] else None,
    )
    leak_marker = item.get_closest_marker("no_leaks")
    monitor.leak_options = dict(leak_marker.kwargs) if leak_marker else {}
    if GENERATOR in item.stash:
        monitor.watch_load(item.stash[GENERATOR])
    item.stash[MEASUREMENT] = Measurement(item, session, settings, monitor)
    yield monitor
    monitor.abandon()  # of a test that failed before its body, or was interrupted in it
    session.keep_snapshots(directory, item.nodeid, failed=_failed(item))


@pytest.fixture
def load_generator(request: pytest.FixtureRequest, node_app: NodeApp) -> Iterator[LoadGenerator]:
    """Sends load to the app: `.run("/path", requests=1000, concurrency=10)`, `.trpc("post.list", {...})`, …"""
    from pytest_memory.load.generator import LoadGenerator

    item: pytest.Item = request.node
    settings = request.config.stash[SESSION].settings
    try:
        generator = LoadGenerator(node_app.url, **_load_defaults(settings))
    except ConfigError as error:
        pytest.fail(str(error), pytrace=False)
    with generator:
        # Whichever fixture came first: a monitor of this test counts these requests as the work of its window.
        item.stash[GENERATOR] = generator
        if MEASUREMENT in item.stash:
            item.stash[MEASUREMENT].monitor.watch_load(generator)
        yield generator


@pytest.fixture
def heap_snapshot(request: pytest.FixtureRequest, node_app: NodeApp) -> Iterator[Callable[..., HeapSnapshot]]:
    """Takes heap snapshots of the app: `before = heap_snapshot("before")`; `after.compare(before).new("Session")`."""
    session = request.config.stash[SESSION]
    item: pytest.Item = request.node
    camera = session.camera(node_app)

    def take(name: str = "snapshot") -> HeapSnapshot:
        measurement = item.stash.get(MEASUREMENT, None)
        if measurement is not None:
            # Writing a snapshot takes many times the heap, and the process does not give it back soon.
            measurement.monitor.doubt("rss", "rss-after-snapshot")
        return camera.take(name)

    yield take
    camera.close()
    session.keep_snapshots(camera.directory, f"{item.nodeid}-snapshots", failed=_failed(item))


def _load_defaults(settings: spec.Settings) -> dict[str, Any]:
    """The suite's defaults of a load run; what is nobody's setting is left to the engine."""
    names = {"load_concurrency": "concurrency", "load_duration": "duration", "load_ramp_up": "ramp_up"}
    return {to: settings[name] for name, to in names.items() if settings.source(name) != "default"}


def _failed(item: pytest.Item) -> bool:
    result = item.stash.get(RESULT, None)
    return result is not None and result.verdict.outcome in ("critical", "not-measured")


def _skip_when_disabled(session: MemorySession) -> None:
    if session.settings["disable"]:
        pytest.skip("measuring memory is switched off (--memory-disable)")


def _app_scope(item: pytest.Item, session: MemorySession) -> str:
    marker = item.get_closest_marker("node_app")
    return str(marker.kwargs.get("scope", session.settings["app_scope"]) if marker else session.settings["app_scope"])


def _scope_node(item: pytest.Item, scope: str) -> pytest.Item | pytest.Collector:
    kinds: dict[str, type] = {
        "class": pytest.Class,
        "module": pytest.Module,
        "package": pytest.Package,
        "session": pytest.Session,
    }
    # A function outside a class asks for scope "class": its module is the closest thing that lives longer.
    return item.getparent(kinds[scope]) or item.getparent(pytest.Module) or item.session


def _scope_key(item: pytest.Item, scope: str) -> str | None:
    return None if scope == "function" else _scope_node(item, scope).nodeid or "session"


# --- the verdict, inside the test -----------------------------------------------------------------------------


class Measurement:
    """One test's measured window, from the start of its body to the verdict."""

    def __init__(
        self, item: pytest.Item, session: MemorySession, settings: spec.Settings, monitor: MemoryMonitor
    ) -> None:
        self.item = item
        self.session = session
        self.settings = settings
        self.monitor = monitor

    def start(self) -> None:
        try:
            self.monitor.start()
        except PytestMemoryError as error:
            self.item.stash[RESULT] = self.session.not_measured(self.item.nodeid, error)
            pytest.fail(str(error), pytrace=False)

    def finish(self) -> RunResult:
        """Stop, judge, and remember the result on the item."""
        self.monitor.stop()
        baseline_marker = self.item.get_closest_marker("memory_baseline")
        result = self.session.judge(
            self.monitor,
            self.item.nodeid,
            self.settings,
            leak_test_expected=self.item.get_closest_marker("no_leaks") is not None,
            baseline_metrics=baseline_marker.kwargs.get("metrics") if baseline_marker else None,
        )
        self.item.stash[RESULT] = result
        return result

    def finish_after_failure(self) -> None:
        """The body failed by itself: measure what can be measured, and let its own error stand."""
        try:
            result = self.finish()
        except PytestMemoryError as error:
            self.item.stash[RESULT] = self.session.not_measured(self.item.nodeid, error)
            return
        from pytest_memory.report import view

        self.item.add_report_section("call", "memory", view.failure_text(result, verbose=False))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    measurement = item.stash.get(MEASUREMENT, None)
    if measurement is None:
        return (yield)
    measurement.start()
    try:
        outcome = yield
    except (Exception, pytest.fail.Exception):
        measurement.finish_after_failure()
        raise
    try:
        result = measurement.finish()
    except PytestMemoryError as error:
        item.stash[RESULT] = measurement.session.not_measured(item.nodeid, error)
        pytest.fail(str(error), pytrace=False)
    if measurement.session.fails(result, measurement.settings):
        from pytest_memory.report import view

        pytest.fail(view.failure_text(result, verbose=item.config.getoption("verbose") > 0), pytrace=False)
    return outcome


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the result on the report, JSON-basic, so that it travels from pytest-xdist's workers by itself."""
    report = yield
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


# --- reporting ------------------------------------------------------------------------------------------------


class _HtmlHooks:
    """pytest-html's hooks, registered only in a run that writes its report."""

    def __init__(self, session: MemorySession, config: pytest.Config) -> None:
        self._session = session
        self._report = Path(config.option.htmlpath).expanduser().absolute()
        self._self_contained = bool(getattr(config.option, "self_contained_html", False))

    def add_extras(self, report: pytest.TestReport, result: RunResult) -> None:
        from pytest_memory.report import pytest_html

        extras = pytest_html.row_extras(result, directory=self._report.parent)
        report.extras = [*getattr(report, "extras", []), *extras]  # type: ignore[attr-defined]

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str], summary: list[str], postfix: list[str]) -> None:
        from pytest_memory.report import pytest_html

        if self._session.results:
            assets = None if self._self_contained else self._report.parent / "assets"
            prefix.append(pytest_html.summary_html(self._session.document(), assets_directory=assets))

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        from pytest_memory.report import pytest_html

        pytest_html.table_header(cells)

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        from pytest_memory import results
        from pytest_memory.report import pytest_html

        payload = getattr(report, "memory_result", None)
        pytest_html.table_row(cells, None if payload is None else results.from_payload(payload))


class _Collector:
    """Gathers the results that reports carry, and what was collected; on the controller, or where there is no xdist."""

    def __init__(self, session: MemorySession, config: pytest.Config) -> None:
        self._session = session
        self._config = config
        self.collected: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        payload = getattr(report, "memory_result", None)
        if payload is not None:
            file, line, _ = report.location
            self._session.collect(payload, (file, (line or 0) + 1))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Before any deselection: which tests there are."""
        self.collected.update(item.nodeid for item in items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self.collected.update(ids)

    @property
    def whole_files(self) -> set[str]:
        """Files collected whole: a stored entry that is missing from them belongs to a test that no longer exists."""
        option = self._config.option
        narrowed = any(getattr(option, name, None) for name in ("keyword", "markexpr", "deselect", "lf", "stepwise"))
        if narrowed or any("::" in str(argument) for argument in self._config.args):
            return set()
        return {test_id.split("::")[0] for test_id in self.collected}


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
    memory.apps.release_all()
    if memory.is_worker:
        return
    collector = session.config.stash[COLLECTOR]
    problems = memory.finish(collected=collector.collected, whole_files=collector.whole_files)
    lines = [f"memory: {problem}" for problem in problems]
    try:
        lines += memory.tell_github(os.environ)
    except PytestMemoryError as error:
        lines.append(f"memory: {error}")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and lines:
        reporter.ensure_newline()
        for line in lines:
            reporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    memory = config.stash.get(SESSION, None)
    if memory is not None:
        memory.apps.release_all()
