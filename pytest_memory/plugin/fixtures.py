"""The four fixtures, and which app a test means.  Floor 7.

What measures is imported when a test asks for it, never at the top.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memory import spec
from pytest_memory.errors import ConfigError, PytestMemoryError
from pytest_memory.plugin import snapshots
from pytest_memory.plugin.ids import id_of_test
from pytest_memory.plugin.live import is_watched, load_line, watching
from pytest_memory.plugin.measurement import Measurement
from pytest_memory.plugin.stash import CAMERA, GENERATOR, IN_BODY, MEASUREMENT, RESULT, SESSION

if TYPE_CHECKING:
    from pytest_memory.heap import HeapSnapshot
    from pytest_memory.heap.capture import Worker
    from pytest_memory.load.generator import LoadGenerator
    from pytest_memory.monitor import MemoryMonitor
    from pytest_memory.node.process import NodeApp
    from pytest_memory.node.spec import AppSpec
    from pytest_memory.session import MemorySession


@pytest.fixture
def node_app(request: pytest.FixtureRequest) -> Iterator[NodeApp]:
    """The Node.js app under test, started and ready: `.url`, `.pid`, `.evaluate(js)`, `.client`, `.output`.

    Which app: `@pytest.mark.node_app("server.js", ready="/health")`, `--memory-app`, or the ini key memory_app.
    """
    session = request.config.stash[SESSION]
    _skip_when_disabled(session)
    item: pytest.Item = request.node
    try:
        app_spec = wanted_app_of(item, session)
        _refuse_sharing(app_spec, session)
        scope = _app_scope(item, session)
        app = session.apps.acquire(app_spec, _scope_key(item, scope))
    except PytestMemoryError as error:
        item.stash[RESULT] = session.not_measured(id_of_test(item), error)
        raise pytest.fail.Exception(str(error), pytrace=False) from None
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
    from pytest_memory.monitor import MemoryMonitor

    item: pytest.Item = request.node
    session = request.config.stash[SESSION]
    settings = session.settings.override("marker", _marker_layer(item))
    monitor = MemoryMonitor(
        node_app,
        interval=settings["interval"],
        no_leaks=settings["no_leaks"],
        explain=settings["explain"],
        snapshot_directory=session.kept_directory(id_of_test(item)),
        snapshot_compression=settings["snapshot_compression"],
    )
    leak_marker = item.get_closest_marker("no_leaks")
    monitor.leak_options = dict(leak_marker.kwargs) if leak_marker else {}
    if GENERATOR in item.stash:
        monitor.watch_load(item.stash[GENERATOR])
    measurement = item.stash[MEASUREMENT] = Measurement(item, session, settings, monitor)
    if item.stash.get(IN_BODY, False):
        measurement.start()  # asked for by getfixturevalue: the window is what is left of the body
    with watching(request.config, monitor.progress):
        yield monitor
        monitor.abandon()  # of a test that failed before its body, or was interrupted in it


@pytest.fixture
def load_generator(request: pytest.FixtureRequest, node_app: NodeApp) -> Iterator[LoadGenerator]:
    """Sends load to the app: `.run("/path", requests=1000, concurrency=10)`, `.trpc("post.list", {...})`, …"""
    from pytest_memory.load.generator import LoadGenerator

    item: pytest.Item = request.node
    settings = request.config.stash[SESSION].settings
    with load_line(request.config) as line:
        try:
            generator = LoadGenerator(node_app.url, progress=line, **_load_defaults(settings))
        except ConfigError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        with generator:
            # Whichever fixture came first: a monitor of this test counts these requests as the work of its window.
            item.stash[GENERATOR] = generator
            if MEASUREMENT in item.stash:
                item.stash[MEASUREMENT].monitor.watch_load(generator)
            yield generator


@pytest.fixture
def heap_snapshot(request: pytest.FixtureRequest, node_app: NodeApp) -> Iterator[Callable[..., HeapSnapshot]]:
    """Takes heap snapshots of the app: `before = heap_snapshot("before")`; `after.compare(before).new("Session")`.

    `heap_snapshot("pool", worker="resize")` takes the heap of a worker thread, `pid=` that of another process.
    """
    from pytest_memory.heap import stop_warming, warm_kernels
    from pytest_memory.progress import Stages

    session = request.config.stash[SESSION]
    item: pytest.Item = request.node
    warm_kernels()  # a cold machine compiles while the test loads its app
    request.config.add_cleanup(stop_warming)
    camera = item.stash[CAMERA] = session.camera(node_app)
    stages = Stages(time.monotonic)
    if is_watched(request.config):
        camera.progress = lambda what, share: stages.tell(f"{what} {share:.0%}")

    def take(name: str = "snapshot", *, worker: Worker | None = None, pid: int | None = None) -> HeapSnapshot:
        measurement = item.stash.get(MEASUREMENT, None)
        with contextlib.ExitStack() as around:
            if measurement is not None:
                # Writing a snapshot takes many times the heap, and the process does not give it back soon.
                measurement.monitor.doubt("rss", "rss-after-snapshot")
                around.enter_context(measurement.monitor.hands_off())
            around.enter_context(stages.within(f"snapshot {name}"))
            return camera.take(name, worker=worker, pid=pid)

    with watching(request.config, stages.now):
        yield take
    snapshots.discard(item)


def _load_defaults(settings: spec.Settings) -> dict[str, Any]:
    """The suite's defaults of a load run; what is nobody's setting is left to the engine."""
    names = {"load_concurrency": "concurrency", "load_duration": "duration", "load_ramp_up": "ramp_up"}
    return {to: settings[name] for name, to in names.items() if settings.source(name) != "default"}


def _skip_when_disabled(session: MemorySession) -> None:
    if session.settings["disable"]:
        pytest.skip("measuring memory is switched off (--memory-disable)")


def _refuse_sharing(app_spec: AppSpec, session: MemorySession) -> None:
    """One running app, several workers: each would find in its window what the others' tests have left there."""
    if app_spec.attach is not None and session.worker_count > 1:
        raise ConfigError(
            f"{session.worker_count} pytest-xdist workers would measure one running app, {app_spec.label}, at the same "
            "time; expected one",
            slug="config-app",
            hint="run these tests with -n 0, or let each worker start an app of its own",
        )


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


def _marker_layer(item: pytest.Item) -> dict[str, object]:
    """The settings in an item's markers; the closest marker of a name wins."""
    layer: dict[str, object] = {}
    for name, option in spec.BY_MARKER.items():
        marker = item.get_closest_marker(name)
        if marker is not None and marker.args:
            layer[option.name] = marker.args[0]
    return layer


def wanted_app_of(item: pytest.Item, session: MemorySession) -> Any:
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
