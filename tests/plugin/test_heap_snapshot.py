"""The heap_snapshot fixture on a real app: what it answers, what is kept of it and where, what it leaves behind."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.apps import is_gone

import pytest_memory.heap.kernels_ready  # noqa: F401 - pytester forgets what a test imports; numpy bears one import
from pytest_memory.heap import HeapSnapshot

pytestmark = pytest.mark.node

TEST = """
    def test_sessions(node_app, heap_snapshot):
        before = heap_snapshot("before")
        node_app.client.get("/keep?n=25")
        after = heap_snapshot("after")
        assert after.compare(before).new("Session").count == {expected}
"""
KEPT = "memory-results/snapshots"


@pytest.fixture
def allocating(make_project: Callable[[str], Any]) -> Any:
    return make_project("allocates.js")


def kept_files(project: Any) -> list[Path]:
    return sorted((project.path / KEPT).glob("*/*"))


def test_before_and_after_are_compared_object_by_object(allocating: Any) -> None:
    allocating.test("""
        def test_sessions(node_app, heap_snapshot):
            before = heap_snapshot("before")
            node_app.client.get("/keep?n=25")
            middle = heap_snapshot()
            node_app.client.get("/forget")
            after = heap_snapshot("after")
            kept = middle.compare(before)
            assert kept.new("Session").count == 25
            assert kept.new("Sess*").size_bytes > 25 * 16
            assert kept.deleted("Session").count == 0
            assert "Session" in kept.table()
            gone = after.compare(middle)
            assert (gone.new("Session").count, gone.deleted("Session").count) == (0, 25)
            (path, *_) = middle.retainer_paths("Session")
            assert path.count == 25 and ("sessions", "Map") in path.steps
    """)
    allocating.run("--memory-results=memory-results").assert_outcomes(passed=1)
    assert kept_files(allocating) == []


def test_worker_threads_have_heaps_of_their_own(make_project: Callable[[str], Any]) -> None:
    project = make_project("threads.js")
    project.test("""
        import pytest

        from pytest_memory.errors import CaptureError

        def test_one_worker_grows(node_app, heap_snapshot):
            (process,) = node_app.processes
            (second,) = [thread for thread in process.worker_threads if thread.title.endswith(" second")]
            (inside,) = [one for one in node_app.inspector.workers() if one.worker_id == second.worker_id]
            inside.evaluate("class Kept {}; globalThis.kept = []; 0")
            before = heap_snapshot("second-before", worker="second")
            main_before = heap_snapshot("main-before")
            inside.evaluate("for (let i = 0; i < 50; i++) kept.push(new Kept()); 0")
            after = heap_snapshot("second-after", worker=second, pid=process.pid)
            main_after = heap_snapshot("main-after")
            assert after.compare(before).new("Kept").count == 50
            assert main_after.compare(main_before).new("Kept").count == 0

        def test_an_unknown_worker(node_app, heap_snapshot):
            with pytest.raises(CaptureError) as caught:
                heap_snapshot("none", worker="third")
            assert "'third'; there are: " in str(caught.value)
            for name in ("first", "second", "inner"):
                assert f"] {name}' (id '" in str(caught.value)
    """)
    project.run().assert_outcomes(passed=2)


def test_a_failed_test_keeps_its_snapshots_and_says_where(allocating: Any) -> None:
    allocating.test(TEST.format(expected=26))
    result = allocating.run("--memory-results=memory-results")
    result.assert_outcomes(failed=1)
    after, before = kept_files(allocating)
    assert (after.name, before.name) == ("after.heapsnapshot", "before.heapsnapshot")
    result.stdout.fnmatch_lines(["*Heap snapshots*", f"*{KEPT}/*/before.heapsnapshot", f"*{KEPT}/*/after.heapsnapshot"])
    assert HeapSnapshot.load(after).compare(HeapSnapshot.load(before)).new("Session").count == 25


def test_nothing_is_kept_without_a_results_directory(allocating: Any, tmp_path_factory: Any) -> None:
    temporary = tmp_path_factory.mktemp("tmp")
    allocating.pytester._monkeypatch.setenv("TMPDIR", str(temporary))
    allocating.test(TEST.format(expected=26))
    result = allocating.run()
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*Heap snapshots*")
    assert list(allocating.path.rglob("*.heapsnapshot*")) == []
    assert list(temporary.rglob("*.heapsnapshot*")) == []


ZSTD = any(importlib.util.find_spec(name) for name in ("zstandard", "pyzstd", "compression"))
needs_zstd = pytest.mark.skipif(not ZSTD, reason="no Python module for zstd is installed")


@pytest.mark.parametrize(("how", "suffix"), [("gzip", ".gz"), pytest.param("zstd", ".zst", marks=needs_zstd)])
def test_snapshots_of_passing_tests_are_kept_and_compressed_on_request(allocating: Any, how: str, suffix: str) -> None:
    allocating.test(TEST.format(expected=25))
    allocating.run(
        "--memory-results=memory-results", "--memory-keep-snapshots=all", f"--memory-snapshot-compression={how}"
    ).assert_outcomes(passed=1)
    after, before = kept_files(allocating)
    assert (after.name, before.name) == (f"after.heapsnapshot{suffix}", f"before.heapsnapshot{suffix}")
    assert HeapSnapshot.load(after).compare(HeapSnapshot.load(before)).new("Session").count == 25


def test_what_an_earlier_run_kept_stays(allocating: Any) -> None:
    allocating.test(TEST.format(expected=26))
    for how in ("none", "gzip", "gzip", "none"):
        allocating.run("--memory-results=memory-results", f"--memory-snapshot-compression={how}")
    after = ("after-2.heapsnapshot.gz", "after-3.heapsnapshot.gz", "after-4.heapsnapshot", "after.heapsnapshot")
    before = tuple(name.replace("after", "before") for name in after)
    assert tuple(file.name for file in kept_files(allocating)) == (*after, *before)


def test_a_broken_limit_names_the_compressed_files_in_its_result(allocating: Any) -> None:
    allocating.test("""
        import pytest

        @pytest.mark.max_heap_growth("100KB")
        def test_sessions(node_app, memory_monitor, heap_snapshot):
            heap_snapshot("before")
            node_app.client.get("/keep?n=20000")
    """)
    result = allocating.run(
        "--memory-results=memory-results", "--memory-snapshot-compression=gzip", "--memory-json=results.json"
    )
    result.assert_outcomes(failed=1)
    (file,) = kept_files(allocating)
    assert file.name == "before.heapsnapshot.gz"
    (measured,) = allocating.document()["results"]
    (artifact,) = measured["artifacts"]
    assert (Path(artifact["path"]), artifact["size_bytes"]) == (file, file.stat().st_size)
    result.stdout.fnmatch_lines(["*before.heapsnapshot.gz*"])


def test_snapshots_of_a_leak_found_do_not_take_the_place_of_the_tests_own(allocating: Any) -> None:
    allocating.test("""
        import pytest

        @pytest.mark.no_leaks("100B/request")
        def test_sessions(memory_monitor, load_generator, heap_snapshot):
            heap_snapshot("before")
            memory_monitor.leak_test(lambda: load_generator.run("/keep?n=1", requests=500, concurrency=2))
    """)
    result = allocating.run("--memory-results=memory-results", "--memory-snapshot-compression=gzip")
    result.assert_outcomes(failed=1)
    names = [file.name for file in kept_files(allocating)]
    assert names == ["before.heapsnapshot.gz", "leak-after.heapsnapshot.gz", "leak-before.heapsnapshot.gz"]


def test_an_unknown_compression_is_a_usage_error(allocating: Any) -> None:
    allocating.test(TEST.format(expected=25))
    result = allocating.run("--memory-snapshot-compression=rar")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--memory-snapshot-compression*'rar'*none, gzip, zstd*"])


def test_kernels_compile_in_the_background_and_nothing_is_left_running(
    allocating: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cold"))
    allocating.test("""
        import pathlib

        import psutil

        def test_it(node_app, heap_snapshot):
            heap_snapshot("before")
            children = psutil.Process().children(recursive=True)
            compiling = [child.pid for child in children if "kernels_ready" in " ".join(child.cmdline())]
            pathlib.Path("pids").write_text(" ".join(map(str, compiling)))
            pathlib.Path("all").write_text(" ".join(str(child.pid) for child in children))
    """)
    allocating.run().assert_outcomes(passed=1)
    compiling = (allocating.path / "pids").read_text().split()
    assert compiling, "one process, and soon its fork"
    assert all(is_gone(int(pid)) for pid in compiling)
    assert all(is_gone(int(pid)) for pid in (allocating.path / "all").read_text().split())
