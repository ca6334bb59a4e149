"""MemoryProfiler on a real app: which function allocated what stayed, and the files DevTools opens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_memory.errors import CaptureError, ConfigError, InspectorCommandError
from pytest_memory.heap import capture
from pytest_memory.heap.allocations import parse_profile
from pytest_memory.heap.capture import Camera
from pytest_memory.heap.profiler import MemoryProfiler
from pytest_memory.node.process import NodeApp
from pytest_memory.node.spec import AppSpec

pytestmark = pytest.mark.node

APPS = Path(__file__).parents[1] / "apps"


@pytest.fixture(scope="module")
def app() -> Iterator[NodeApp]:
    with NodeApp.start(AppSpec(command=str(APPS / "allocates.js"), ready="/")) as started:
        for _ in range(3):
            started.client.get("/keep")
        yield started


def test_operation_names_the_function_that_allocated_what_stays(app: NodeApp, tmp_path: Path) -> None:
    with MemoryProfiler(app, directory=tmp_path) as profiler:
        profile = profiler.profile_during_operation(
            lambda: [app.client.get("/keep") for _ in range(20)], "keep sessions", snapshots=False
        )
        assert profile.heap_growth_bytes > 20_000 * 50
        sites = profile.allocations.top_sites(3)
        own = [site for site in sites if site.url.endswith("allocates.js")]
        assert {site.function for site in own} <= {"Session", "keepSessions"}
        assert own
        assert len(profile.value) == 20
    stored = parse_profile(profile.file.read_bytes(), name="stored")
    assert stored.top_sites(3) == sites
    whole = parse_profile((tmp_path / "allocations.heapprofile").read_bytes(), name="whole")
    assert whole.total_bytes >= 0.5 * stored.total_bytes


def test_what_is_let_go_is_not_in_the_profile(app: NodeApp, tmp_path: Path) -> None:
    with MemoryProfiler(app, directory=tmp_path) as profiler:
        profile = profiler.profile_during_operation(
            lambda: [app.client.get("/drop") for _ in range(20)], "drop", snapshots=False
        )
    dropped = sum(site.size_bytes for site in profile.allocations.top_sites(50) if site.function == "dropSessions")
    assert dropped < 200_000
    assert profile.heap_growth_bytes < 500_000


def test_snapshots_on_both_sides_show_the_class(app: NodeApp, tmp_path: Path) -> None:
    with MemoryProfiler(app, directory=tmp_path) as profiler:
        profile = profiler.profile_during_operation(lambda: app.client.get("/keep"), "once")
    assert [path.name for path in profile.snapshot_files] == ["once-before.heapsnapshot", "once-after.heapsnapshot"]
    assert profile.snapshots is not None
    before, after = profile.snapshots
    assert after.compare(before).new("Session").count == 1000
    record = profile.record("cli")
    assert {artifact.kind for artifact in record.artifacts} == {"heapprofile", "heapsnapshot"}
    assert all(artifact.size_bytes > 0 for artifact in record.artifacts)
    assert record.growth[0].amount == profile.heap_growth_bytes


def test_what_snapshots_need_is_not_counted_as_growth(
    app: NodeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line ends of all scripts, on old Nodes: 8 MB for a million lines."""
    monkeypatch.setattr(capture, "_LAST_NODE_WITH_QUADRATIC_WRITING", 99)
    app.evaluate("require('vm').runInThisContext('globalThis.long = () => 1;' + '\\n'.repeat(1e6)); 0")
    with MemoryProfiler(app, directory=tmp_path) as profiler:
        profile = profiler.profile_during_operation(lambda: None, "nothing")
    app.evaluate("delete globalThis.long; 0")
    assert abs(profile.heap_growth_bytes) < 1_000_000


def test_operations_of_one_name_keep_a_profile_each(app: NodeApp, tmp_path: Path) -> None:
    with MemoryProfiler(app, directory=tmp_path) as profiler:
        profiles = [
            profiler.profile_during_operation(lambda: app.client.get("/keep"), name, snapshots=False)
            for name in ("keep", "keep", "allocations")
        ]
    names = ["keep.heapprofile", "keep-2.heapprofile", "allocations-operation.heapprofile"]
    assert [profile.file.name for profile in profiles] == names
    for profile in profiles:
        stored = parse_profile(profile.file.read_bytes(), name=profile.file.name)
        assert stored.total_bytes == profile.allocations.total_bytes
    assert {path.name for path in tmp_path.iterdir()} == {*names, "allocations.heapprofile"}


def test_operation_of_a_worker_thread(tmp_path: Path) -> None:
    grow = "for (let i = 0; i < 30000; i++) globalThis.kept.push(new Kept(i)); 0"
    with NodeApp.start(AppSpec(command=str(APPS / "threads.js"))) as app:
        (session,) = [worker for worker in app.inspector.workers() if worker.evaluate("depth") == 2]
        session.evaluate("class Kept { constructor(i) { this.i = { i }; } } globalThis.kept = []; 0")
        with MemoryProfiler(app, directory=tmp_path, worker=session.title) as profiler:
            profile = profiler.profile_during_operation(lambda: session.evaluate(grow), "in the worker")
            with pytest.raises(CaptureError, match=r"called 'nobody'; there are: .*inner"):
                MemoryProfiler(app, directory=tmp_path, worker="nobody").start_profiling()
    assert profile.snapshots is not None
    before, after = profile.snapshots
    assert after.compare(before).new("Kept").count == 30_000
    assert profile.allocations.total_bytes > 500_000
    assert profile.worker_heap_growth_bytes > 500_000 > profile.heap_growth_bytes
    grown = {growth.metric: growth.amount for growth in profile.record().growth}
    assert grown["worker_heap"] == profile.worker_heap_growth_bytes


def test_sampling_survives_a_camera_that_closes(app: NodeApp, tmp_path: Path) -> None:
    with MemoryProfiler(app, directory=tmp_path) as profiler:
        with Camera(app, tmp_path) as camera:
            camera.take_file()
        app.client.get("/keep?n=20000")
        assert any(site.url.endswith("allocates.js") for site in profiler.read_allocations().top_sites(5))


def test_two_profilers_of_one_app_end_each_for_itself(app: NodeApp, tmp_path: Path) -> None:
    outer = MemoryProfiler(app, directory=tmp_path / "outer").start_profiling()
    app.client.get("/keep?n=40000")
    with MemoryProfiler(app, directory=tmp_path / "inner") as inner:
        assert inner.read_allocations().total_bytes < 500_000  # what was there before is not its own
        app.client.get("/keep?n=20000")
    whole = parse_profile((tmp_path / "inner" / "allocations.heapprofile").read_bytes(), name="inner").total_bytes
    app.client.get("/keep?n=20000")
    assert outer.stop_profiling().total_bytes > 2 * whole > 2_000_000
    with pytest.raises(InspectorCommandError):  # nobody samples any more
        app.inspector.call("HeapProfiler.getSamplingProfile")


def test_operations_error_passes_through_and_sampling_ends(app: NodeApp, tmp_path: Path) -> None:
    def fail() -> None:
        raise LookupError("in the operation")

    profiler = MemoryProfiler(app, directory=tmp_path)
    with pytest.raises(LookupError, match="in the operation"), profiler:
        profiler.profile_during_operation(fail, snapshots=False)
    assert not profiler.running
    assert app.evaluate("1") == 1


def test_heapprofile_has_the_fields_devtools_reads(app: NodeApp, tmp_path: Path) -> None:
    profiler = MemoryProfiler(app, directory=tmp_path).start_profiling()
    app.client.get("/keep")
    profiler.stop_profiling()
    document = json.loads((tmp_path / "allocations.heapprofile").read_bytes())
    assert document["head"]["callFrame"]["functionName"] == "(root)"
    assert {"selfSize", "id", "children"} <= set(document["head"])


def test_states(app: NodeApp, tmp_path: Path) -> None:
    profiler = MemoryProfiler(directory=tmp_path)
    with pytest.raises(ConfigError, match="has no app"):
        profiler.profile_during_operation(lambda: None)
    with pytest.raises(CaptureError, match="not running"):
        profiler.stop_profiling()
    profiler.start_profiling(app)
    with pytest.raises(CaptureError, match="started twice"):
        profiler.start_profiling()
    profiler.stop_profiling()
    with pytest.raises(ConfigError, match="at least 1"):
        MemoryProfiler(app, sampling_interval_bytes=0)
