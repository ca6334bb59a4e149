"""The camera on real Node processes: whole files, refused ones, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_memory.errors import AppError, CaptureError, ConfigError, InspectorTimeout, PytestMemoryWarning
from pytest_memory.heap import capture, headroom
from pytest_memory.heap.capture import Camera
from pytest_memory.node.process import NodeApp
from pytest_memory.node.spec import AppSpec

pytestmark = pytest.mark.node

APPS = Path(__file__).parents[1] / "apps"


@pytest.fixture(scope="module")
def app() -> Iterator[NodeApp]:
    with NodeApp.start(AppSpec(command=str(APPS / "threads.js"))) as started:
        yield started


def read_ids(path: Path) -> dict[int, str]:
    """Object id → name, of plain objects and closures: an oracle that knows only JSON."""
    document = json.loads(path.read_bytes())
    meta = document["snapshot"]["meta"]
    fields, types = meta["node_fields"], meta["node_types"][0]
    width, nodes, strings = len(fields), document["nodes"], document["strings"]
    kind, name, id_ = fields.index("type"), fields.index("name"), fields.index("id")
    return {
        nodes[at + id_]: strings[nodes[at + name]]
        for at in range(0, len(nodes), width)
        if types[nodes[at + kind]] in ("object", "closure")
    }


def test_snapshot_is_one_whole_json_document(app: NodeApp, tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    with Camera(app, tmp_path, progress=lambda what, share: seen.append((what, share))) as camera:
        path = camera.take_file("before")
    assert path == tmp_path / "before.heapsnapshot"
    document = json.loads(path.read_bytes())
    assert document["snapshot"]["node_count"] * len(document["snapshot"]["meta"]["node_fields"]) == len(
        document["nodes"]
    )
    assert {what for what, _ in seen} == {"walking the heap", "writing"}
    assert all(0 <= share <= 1 for _, share in seen)
    assert list(tmp_path.iterdir()) == [path]


def test_ids_of_two_snapshots_of_one_camera_agree(app: NodeApp, tmp_path: Path) -> None:
    with Camera(app, tmp_path) as camera:
        before = read_ids(camera.take_file())
        app.evaluate("class Kept {}; globalThis.kept = Array.from({length: 100}, () => new Kept()); 1")
        after = read_ids(camera.take_file())
        app.evaluate("delete globalThis.kept")
    assert camera.paths[1].name == "snapshot-2.heapsnapshot"
    new = [name for id_, name in after.items() if id_ not in before]
    assert 100 <= new.count("Kept") <= 102  # the class and its prototype bear its name, too
    assert len(before.keys() & after.keys()) > 0.95 * len(before)


def test_what_only_the_console_keeps_is_not_in_the_snapshot(app: NodeApp, tmp_path: Path) -> None:
    app.inspector  # noqa: B018 - the console keeps objects for whoever is connected
    app.evaluate("for (let i = 0; i < 50; i++) console.log(new (class Logged { constructor() { this.i = i; } })()); 1")
    with Camera(app, tmp_path) as camera:
        names = list(read_ids(camera.take_file()).values())
    assert names.count("Logged") <= 1


def test_worker_thread_has_a_snapshot_of_its_own(app: NodeApp, tmp_path: Path) -> None:
    with Camera(app, tmp_path) as camera:
        path = camera.take_file("worker", worker="second")
        assert "workerData" in path.read_text(errors="surrogatepass")
        with pytest.raises(CaptureError, match="no worker threads of the app are called 'third'") as caught:
            camera.take_file("none", worker="third")
    assert caught.value.slug == "capture-worker"
    assert all(title in caught.value.message for title in ("'[worker 1] first'", "'[worker 2] second'", "inner'"))


def test_a_worker_thread_is_named_as_the_app_lists_it(app: NodeApp, tmp_path: Path) -> None:
    (record,) = app.processes
    with Camera(app, tmp_path) as camera:
        for thread in record.worker_threads:
            (session,) = [one for one in app.inspector.workers() if one.worker_id == thread.worker_id]
            mark = f"Marked{thread.worker_id}"
            session.evaluate(f"class {mark} {{}}; globalThis.mark = new {mark}(); 0")
            for worker in (thread, session, thread.worker_id, thread.title):
                assert mark in read_ids(camera.take_file(worker=worker)).values()


def test_a_name_that_several_worker_threads_bear_is_refused(app: NodeApp, tmp_path: Path) -> None:
    url = app.inspector.workers()[0].url
    with (
        Camera(app, tmp_path) as camera,
        pytest.raises(CaptureError, match="3 worker threads"),
    ):
        camera.take_file(worker=url)
    assert list(tmp_path.iterdir()) == []


def test_names_become_safe_file_names(app: NodeApp, tmp_path: Path) -> None:
    with Camera(app, tmp_path) as camera:
        path = camera.take_file("tests/a.py::b[../x]")
    assert path.parent == tmp_path
    assert path.name.startswith("tests-a.py-b")


def test_closed_camera_refuses_and_lets_v8_stop_tracking(app: NodeApp, tmp_path: Path) -> None:
    camera = Camera(app, tmp_path)
    camera.take_file()
    camera.close()
    camera.close()
    assert app.evaluate("1 + 1") == 2
    for ask in (camera.take_file, camera.prepare):
        with pytest.raises(CaptureError, match="closed camera"):
            ask()


@pytest.mark.parametrize("worker", [None, "second"])
def test_another_camera_that_closes_leaves_the_ids_to_those_still_open(
    app: NodeApp, tmp_path: Path, worker: str | None
) -> None:
    """As the explanation of a leak does while the test's own camera is open."""
    with Camera(app, tmp_path) as camera:
        before = camera.take("before", worker=worker)
        with Camera(app, tmp_path) as other:
            other.take_file("other", worker=worker)
        other.close()
        after = camera.take("after", worker=worker)
    assert after.compare(before).by_id


def test_the_last_camera_lets_v8_stop_tracking(app: NodeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    client = app.inspector
    call = client.call

    def note(method: str, *args: Any, **named: Any) -> Any:
        said.append(method)
        return call(method, *args, **named)

    monkeypatch.setattr(client, "call", note)
    with Camera(app, tmp_path) as camera:
        camera.take_file()
        with Camera(client, tmp_path) as other:
            other.take_file()
            Camera(app, tmp_path).close()  # took nothing, so it relies on nothing
        assert "HeapProfiler.disable" not in said
    assert said.count("HeapProfiler.disable") == 1


def test_too_little_memory_refuses_with_figures(app: NodeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little = headroom.MemoryRoom(1_000_000, "the container's limit of 64 MB")
    monkeypatch.setattr(headroom, "read_memory_room", lambda _pid: little)
    with Camera(app, tmp_path) as camera:
        with pytest.raises(CaptureError, match=r"1\.00 MB are left by the container's limit of 64 MB") as caught:
            camera.take_file()
        assert caught.value.slug == "capture-headroom"
        camera.on_low_memory = "warn"
        with pytest.warns(PytestMemoryWarning, match="takes about"):
            assert camera.take_file().is_file()
        camera.on_low_memory = "ignore"
        assert camera.take_file().is_file()


def test_unknown_policy_is_refused(app: NodeApp, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="on_low_memory is 'maybe'"):
        Camera(app, tmp_path, on_low_memory="maybe")  # type: ignore[arg-type]


def test_too_little_disk_refuses(app: NodeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headroom, "read_disk_room", lambda _directory: 1000)
    with Camera(app, tmp_path) as camera, pytest.raises(CaptureError, match=r"1\.00 KB are free") as caught:
        camera.take_file()
    assert caught.value.slug == "capture-disk"


def test_disk_full_while_writing_leaves_no_file(app: NodeApp, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Camera(app, tmp_path) as camera:
        # The system refuses to let a file grow beyond 1 MB, as it would on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        try:
            with pytest.raises(CaptureError, match="could not be written: File too large") as caught:
                camera.take_file("full")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert caught.value.slug == "capture-disk"
        assert not list(tmp_path.iterdir())
        assert read_ids(camera.take_file("again"))


def test_a_name_that_is_taken_meanwhile_is_left_to_whoever_took_it(app: NodeApp, tmp_path: Path) -> None:
    """As with two processes of one directory: both begin before one of them has its file."""
    other = tmp_path / "same.heapsnapshot"

    def take_the_name(_what: str, _share: float) -> None:
        other.write_bytes(b"another's")

    with Camera(app, tmp_path, progress=take_the_name) as camera:
        path = camera.take_file("same")
    assert path.name == "same-2.heapsnapshot"
    assert read_ids(path)
    assert other.read_bytes() == b"another's"
    assert sorted(tmp_path.iterdir()) == sorted([path, other])
    assert camera.paths == [path]


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_a_name_is_taken_by_what_was_kept_compressed(app: NodeApp, tmp_path: Path, packed: str) -> None:
    (tmp_path / f"same.heapsnapshot{packed}").write_bytes(b"an earlier run's")
    with Camera(app, tmp_path) as camera:
        assert camera.take_file("same").name == "same-2.heapsnapshot"


def test_what_a_killed_run_left_behind_is_in_nobodys_way(app: NodeApp, tmp_path: Path) -> None:
    """In containers every run has the same process id."""
    left = tmp_path / f".again.heapsnapshot.{os.getpid()}.part"
    left.write_bytes(b"half")
    with Camera(app, tmp_path) as camera:
        path = camera.take_file("again")
    assert sorted(tmp_path.iterdir()) == sorted([left, path])
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_directory_that_cannot_be_made(app: NodeApp, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Camera(app, tmp_path / "file" / "below") as camera, pytest.raises(CaptureError, match="could not be written"):
        camera.take_file()


def test_progress_that_raises_ends_the_snapshot_cleanly(app: NodeApp, tmp_path: Path) -> None:
    def stumble(_what: str, _share: float) -> None:
        raise LookupError("stumbled")

    with Camera(app, tmp_path, progress=stumble) as camera:
        with pytest.raises(LookupError, match="stumbled"):
            camera.take_file()
        assert not list(tmp_path.iterdir())
        camera.progress = None
        assert read_ids(camera.take_file())


def test_deadline(tmp_path: Path) -> None:
    with NodeApp.start(AppSpec(command=str(APPS / "hello.js"))) as app:
        with Camera(app, tmp_path, timeout_s=0.001) as camera:
            with pytest.raises(CaptureError, match="was not finished within") as caught:
                camera.take_file()
            assert caught.value.slug == "capture-timeout"
        assert not list(tmp_path.iterdir())


def test_preparing_that_failed_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "_LAST_NODE_WITH_QUADRATIC_WRITING", 99)
    with NodeApp.start(AppSpec(command=str(APPS / "hello.js"))) as app, Camera(app, tmp_path) as camera:
        with monkeypatch.context() as hurry:
            hurry.setattr(capture, "_DEBUGGER_TIMEOUT_S", 0.0)
            with pytest.raises(InspectorTimeout, match=r"Debugger\.enable"):
                camera.take_file()
        assert read_ids(camera.take_file())
        # Node has carried out what nobody waited for: that it is off again shows that it was done to the end.
        scripts: list[object] = []
        app.inspector.on("Debugger.scriptParsed", scripts.append)
        assert app.evaluate("new Function('return 7')()") == 7
        assert scripts == []


def test_app_that_dies_while_it_is_looked_at(tmp_path: Path) -> None:
    with NodeApp.start(AppSpec(command=str(APPS / "hello.js"))) as app:

        def kill(_what: str, _share: float) -> None:
            os.kill(app.pid, signal.SIGKILL)

        with Camera(app, tmp_path, progress=kill) as camera:
            with pytest.raises(AppError, match="while snapshot 'last' was taken") as caught:
                camera.take_file("last")
            assert caught.value.exit_status == -9
        assert not list(tmp_path.iterdir())


def test_restarted_app_is_said_to_have_lost_its_ids(tmp_path: Path) -> None:
    with NodeApp.start(AppSpec(command=str(APPS / "hello.js"))) as app, Camera(app, tmp_path) as camera:
        camera.take_file()
        app.restart()
        with pytest.warns(PytestMemoryWarning, match="cannot be compared"):
            camera.take_file()


def test_camera_of_a_bare_connection(app: NodeApp, tmp_path: Path) -> None:
    with Camera(app.inspector, tmp_path) as camera:
        assert read_ids(camera.take_file("bare"))
