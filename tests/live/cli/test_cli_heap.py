"""heap, diff and profile on snapshots of a real app."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import APPS, COMMAND, environment, run_app, run_command

from pytest_memory import store
from pytest_memory.heap.archive import compress_file
from pytest_memory.heap.profiler import MemoryProfiler
from pytest_memory.node.process import NodeApp
from pytest_memory.node.spec import AppSpec

pytestmark = pytest.mark.node

APP = APPS / "allocates.js"


@pytest.fixture(scope="module")
def running() -> Iterator[NodeApp]:
    with NodeApp.start(AppSpec(command=str(APP), ready="/")) as app:
        yield app


@pytest.fixture(scope="module")
def taken(running: NodeApp, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two snapshots, 3,000 sessions apart, and the allocation profile between them."""
    directory = tmp_path_factory.mktemp("taken")
    with MemoryProfiler(running, directory=directory) as profiler:
        profiler.camera.take_file("a")
        for _ in range(3):
            running.client.get("/keep")
        profiler.camera.take_file("b")
    return directory


def test_heap(taken: Path) -> None:
    done = run_command("heap", "b.heapsnapshot", "--top", "10", cwd=taken)
    assert done.returncode == 0, done.stderr
    for words in ("classes by retained size", "largest objects", "largest collections", "total"):
        assert words in done.stdout


def test_heap_class_strings_and_json(taken: Path) -> None:
    done = run_command("heap", "b.heapsnapshot", "--class", "Session", cwd=taken)
    assert done.returncode == 0, done.stderr
    assert "sessions : Map" in done.stdout
    strings = run_command("heap", "b.heapsnapshot", "--strings", cwd=taken)
    assert "wasted" in strings.stdout
    document = json.loads(run_command("heap", "b.heapsnapshot", "--json", cwd=taken).stdout)
    assert document["statistics"]["total_bytes"] > 1_000_000


def test_heap_of_a_compressed_snapshot_and_of_a_profile(taken: Path, tmp_path: Path) -> None:
    copy = tmp_path / "b.heapsnapshot"
    copy.write_bytes((taken / "b.heapsnapshot").read_bytes())
    (tmp_path / "gzip").mkdir()
    zipped = compress_file(Path(shutil.copy(copy, tmp_path / "gzip")), "gzip")
    packed = compress_file(copy, "zstd")
    assert packed.stat().st_size < (taken / "b.heapsnapshot").stat().st_size / 4
    for file in (zipped, packed):
        done = run_command("heap", file, "--json", cwd=tmp_path)
        assert json.loads(done.stdout)["statistics"]["total_bytes"] > 1_000_000
    done = run_command("diff", taken / "a.heapsnapshot", packed, "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == json.loads(
        run_command("diff", taken / "a.heapsnapshot", taken / "b.heapsnapshot", "--json", cwd=tmp_path).stdout
    )
    profile = run_command("heap", taken / "allocations.heapprofile", cwd=tmp_path)
    assert profile.returncode == 0
    assert "Session" in profile.stdout or "keepSessions" in profile.stdout


def test_heap_of_what_is_none(taken: Path, tmp_path: Path) -> None:
    (tmp_path / "x.heapsnapshot").write_bytes((taken / "a.heapsnapshot").read_bytes()[:100_000])
    (tmp_path / "x.heapprofile").write_text("{}")
    for name, status in (("x.heapsnapshot", 3), ("x.heapprofile", 3), ("missing.heapsnapshot", 2)):
        done = run_command("heap", name, cwd=tmp_path)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
    assert run_command("heap", taken / "a.heapsnapshot", "--class", "Nowhere", cwd=tmp_path).returncode == 2


def test_diff_and_profile_compare(taken: Path) -> None:
    done = run_command("diff", "a.heapsnapshot", "b.heapsnapshot", cwd=taken)
    assert done.returncode == 0, done.stderr
    assert "Session" in done.stdout
    assert "3,000" in done.stdout
    same = run_command("profile", "-c", "a.heapsnapshot", "b.heapsnapshot", "--json", cwd=taken)
    classes = {row["name"]: row for row in json.loads(same.stdout)["classes"]}
    assert classes["Session"]["new"] == 3000
    third = run_command("diff", "a.heapsnapshot", "b.heapsnapshot", "--baseline", "a.heapsnapshot", cwd=taken)
    assert third.returncode == 0, third.stderr
    short = run_command("diff", "a.heapsnapshot", "b.heapsnapshot", "--top", "1", cwd=taken)
    assert len(short.stdout.splitlines()) < len(done.stdout.splitlines())


def test_closed_pipe_is_no_error(taken: Path) -> None:
    command = " ".join(COMMAND)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} heap b.heapsnapshot | head -1"],
        cwd=taken,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


# --- profile ------------------------------------------------------------------------------------------------------

SESSION = """
# a comment
help
snapshot before
evaluate this
gc
snapshot after
compare
compare before after
compare before never
top 5
class Object
retainers Object
retainers @1x
class Nowhere
sites
watch 1
list
snapshot "after"
unbalanced '
quit
never reached
"""


def test_profile_over_a_pipe(tmp_path: Path) -> None:
    with run_app(APP) as app:
        done = run_command("profile", "--pid", str(app.pid), "-o", "kept", cwd=tmp_path, stdin=SESSION)
        assert app.serves()
    assert done.returncode == 0, done.stderr
    assert "take a heap snapshot" in done.stdout
    assert "kept/before.heapsnapshot" in done.stdout
    assert "freed" in done.stdout
    assert "never reached" not in done.stdout + done.stderr
    for problem in ("unknown command 'evaluate'", "no snapshot 'never'", "'Nowhere'", "balanced quotes"):
        assert problem in done.stderr
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {
        "before.heapsnapshot",
        "after.heapsnapshot",
        "after-2.heapsnapshot",
        "allocations.heapprofile",
        "profile.json",
    }
    reported = run_command("report", "-i", "kept", cwd=tmp_path)
    assert reported.returncode == 0, reported.stderr
    assert reported.stdout.startswith("1 test: 1 not judged")
    (result,) = store.read_document(tmp_path / "kept" / "profile.json").results
    assert result.heap_tree[0].retained_bytes > 1_000_000
    assert {artifact.kind for artifact in result.artifacts} == {"heapsnapshot", "heapprofile"}
    assert 'data-figure="treemap"' in (tmp_path / "memory-analysis-report.html").read_text()


def test_profile_of_worker_threads_over_a_pipe(tmp_path: Path) -> None:
    lines = "workers\nsnapshot a second\nsnapshot main\nsnapshot b second\ncompare\nsnapshot c third\nsnapshot d e f\n"
    done = run_command("profile", "--app", APPS / "threads.js", "-o", "kept", cwd=tmp_path, stdin=lines)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("first", "second", "inner"):
        assert f"] {name}  heap " in done.stdout
    assert "do not share object ids" not in done.stdout  # a and b, not main and b
    assert "'third'; there are: " in done.stderr
    assert "got 3 words" in done.stderr
    names = {path.stem for path in (tmp_path / "kept").glob("*.heapsnapshot")}
    assert names == {"a", "main", "b"}


def test_profile_started_app_compressed_as_json(tmp_path: Path) -> None:
    done = run_command(
        "profile", "--app", APP, "-o", "kept", "--compress", "gzip", "--json", cwd=tmp_path, stdin="snapshot a\n"
    )
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)["files"]
    assert [Path(file["path"]).name for file in files] == ["a.heapsnapshot.gz", "allocations.heapprofile"]
    assert all((tmp_path / file["path"]).stat().st_size == file["size_bytes"] for file in files)


def test_profile_of_an_app_that_dies(tmp_path: Path) -> None:
    app = tmp_path / "short.js"
    app.write_text("require('http').createServer().listen(process.env.PORT); setTimeout(() => process.exit(7), 1500);")
    done = run_command("profile", "--app", app, cwd=tmp_path, stdin="watch 5\ngc\ntop\n")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "status 7" in done.stderr
    assert "Traceback" not in done.stderr
