"""The baseline file on a real disk and in real git: bad input, two writers at once, killed writers, full disks."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.baseline_factory import MB, result

from pytest_memory import baseline_file, store
from pytest_memory.baseline import decode_baseline
from pytest_memory.errors import PytestMemoryError, ResultFormatError, StoreError

SUPPORT = Path(__file__).parent.parent
LONG_ID = "tests/test_ü.py::test_[" + "x" * 300 + "]"
WRITER = """
import sys
from pytest_memory import baseline_file
from support.baseline_factory import result
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for index in range(count):
    baseline_file.update(path, [result(f"{name}.py::test_{index}")])
"""


def start_writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def go(writer: subprocess.Popen[str]) -> None:
    assert writer.stdin is not None
    writer.stdin.write("\n")
    writer.stdin.flush()


def end(writer: subprocess.Popen[str]) -> int:
    with writer:
        return writer.wait(60)


# --- reading and writing ---


def test_no_file_is_an_empty_baseline(tmp_path: Path) -> None:
    loaded = baseline_file.load(tmp_path / "no" / "baseline.json")
    assert not loaded.stored
    assert loaded.entries == {}


@pytest.mark.parametrize("test_id", ["t.py::a[x/y-\\]", "t.py::ünï[日本\n]", LONG_ID, 't.py::"q"', "t.py::\udc80"])
def test_awkward_ids_are_found_again(tmp_path: Path, test_id: str) -> None:
    path = tmp_path / "baseline.json"
    summary = baseline_file.update(path, [result(test_id)])
    assert summary.added == (test_id,)
    assert summary.created
    assert baseline_file.load(path).entry(test_id) is not None


def test_an_update_of_nothing_new_leaves_the_file_untouched(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    baseline_file.update(path, [result()])
    before = path.stat()
    summary = baseline_file.update(path, [result("t.py::broken", converged=False)])
    assert path.stat().st_ino == before.st_ino
    assert summary.skipped == (("t.py::broken", "not-settled"),)


def test_nothing_to_store_creates_no_file(tmp_path: Path) -> None:
    summary = baseline_file.update(tmp_path / "baseline.json", [])
    assert not (tmp_path / "baseline.json").exists()
    assert not summary.created


def test_a_linked_baseline_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    baseline_file.update(real, [result("a.py::t")])
    link.symlink_to(real)
    baseline_file.update(link, [result("b.py::t")])
    assert link.is_symlink()
    assert set(baseline_file.load(real).entries) == {"a.py::t", "b.py::t"}


def test_an_update_keeps_a_corrupt_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_bytes(b"{broken")
    with pytest.raises(ResultFormatError):
        baseline_file.update(path, [result()])
    assert path.read_bytes() == b"{broken"


def test_shards_are_put_together(tmp_path: Path) -> None:
    path, shards = tmp_path / "baseline.json", [tmp_path / "1.json", tmp_path / "2.json"]
    baseline_file.update(path, [result("kept.py::t"), result("a.py::t", heap=10 * MB)])
    baseline_file.update(shards[0], [result("a.py::t")])
    baseline_file.update(shards[1], [result("b.py::t")])
    merged = baseline_file.merge(path, shards)
    assert set(merged.entries) == {"kept.py::t", "a.py::t", "b.py::t"}
    assert baseline_file.load(path) == merged
    assert merged.entries["a.py::t"].metrics["heap_bytes"].value == 20 * MB
    with pytest.raises(ResultFormatError, match="No such file"):
        baseline_file.merge(path, [tmp_path / "3.json"])


# --- more than one writer ---


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    """Two real processes, 50 updates each, interleaved by the lock alone."""
    path = tmp_path / "baseline.json"
    writers = [start_writer(path, name, 50) for name in ("a", "b")]
    for writer in writers:
        go(writer)
    assert [end(writer) for writer in writers] == [0, 0]
    expected = {f"{name}.py::test_{index}" for name in "ab" for index in range(50)}
    assert set(baseline_file.load(path).entries) == expected


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    """Killed again and again at random moments, the file is whole each time and the next writer is not held up."""
    path = tmp_path / "baseline.json"
    baseline_file.update(path, [result(f"kept.py::test_{index}") for index in range(200)])
    generator = random.Random(11)
    seen = 200
    for number in range(12):
        writer = start_writer(path, f"killed{number}", 10_000)
        go(writer)
        time.sleep(generator.uniform(0.0, 0.08))  # any moment will do: this is the moment
        writer.send_signal(signal.SIGKILL)
        end(writer)
        entries = decode_baseline(path.read_bytes(), file="baseline.json").entries
        assert len(entries) >= seen
        seen = len(entries)
        baseline_file.update(path, [result("next.py::test")], lock_timeout_s=5)
    assert "next.py::test" in baseline_file.load(path).entries


def test_a_lock_held_for_too_long_is_said(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    with store.locked(path), pytest.raises(StoreError, match="stayed locked") as refused:
        baseline_file.update(path, [result()], lock_timeout_s=0.1)
    assert refused.value.slug == "store-lock"


# --- bad places ---


def refuse_directory(tmp_path: Path) -> None:
    (tmp_path / "baseline.json").mkdir()
    baseline_file.load(tmp_path / "baseline.json")


def refuse_no_read_permission(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    baseline_file.update(path, [result()])
    as_nobody("baseline_file.load(PATH)", path, mode=0o000)


def refuse_no_write_permission(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    baseline_file.update(path, [result()])
    tmp_path.chmod(0o555)
    as_nobody("baseline_file.update(PATH, [result('new.py::t')])", path, mode=0o444)


def refuse_missing_target(tmp_path: Path) -> None:
    (tmp_path / "baseline.json").symlink_to(tmp_path / "gone.json")
    baseline_file.load(tmp_path / "baseline.json")


def refuse_file_as_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    baseline_file.update(tmp_path / "file" / "baseline.json", [result()])


def as_nobody(expression: str, path: Path, *, mode: int) -> None:
    """Evaluate in a child that is not root (for whom every file is readable), and raise what it raised."""
    path.chmod(mode)
    for parent in path.parents[:-1]:
        if (
            os.access(parent, os.W_OK)
            and parent.stat().st_uid == os.getuid()
            and parent.stat().st_mode & 0o055 != 0o055
        ):
            parent.chmod(parent.stat().st_mode | 0o055)
    script = (
        "import os, pickle, sys\n"
        "from pathlib import Path\n"
        "from pytest_memory import baseline_file\n"
        "from support.baseline_factory import result\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        f"PATH = Path({str(path)!r})\n"
        "try:\n"
        f"    {expression}\n"
        "except Exception as error:\n"
        "    sys.stdout.buffer.write(pickle.dumps(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    import pickle

    raise pickle.loads(done.stdout)


BAD_PLACES: dict[str, Callable[[Path], None]] = {
    "directory": refuse_directory,
    "no-read-permission": refuse_no_read_permission,
    "no-write-permission": refuse_no_write_permission,
    "missing-target": refuse_missing_target,
    "file-as-directory": refuse_file_as_directory,
}


def test_each_bad_place_has_its_own_message(tmp_path: Path, golden_text: Callable[[str, str], None]) -> None:
    messages = []
    for name, refuse in BAD_PLACES.items():
        place = tmp_path / name
        place.mkdir()
        with pytest.raises((StoreError, ResultFormatError)) as refused:
            refuse(place)
        place.chmod(0o755)
        messages.append(f"--- {name}\n{refused.value}".replace(str(place), "DIR"))
    golden_text("baseline_bad_places.txt", "\n".join(messages) + "\n")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    done = subprocess.run([mount or "false", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_said_and_the_old_file_stands(tiny_disk: Path) -> None:
    path = tiny_disk / "baseline.json"
    baseline_file.update(path, [result("old.py::t")])
    before = path.read_bytes()
    with pytest.raises(StoreError, match="No space left on device") as refused:
        baseline_file.update(path, [result(f"new.py::{index}") for index in range(200)])
    assert refused.value.slug == "store-write"
    assert path.read_bytes() == before
    assert [name for name in os.listdir(tiny_disk) if name.endswith(".part")] == []


# --- git refs ---


def git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """``main`` has a baseline of one entry in ``app/``; the working tree has loosened it."""
    root = tmp_path / "repository"
    (root / "app").mkdir(parents=True)
    git(root, "init")
    (root / "readme").write_text("first")
    git(root, "add", ".")
    git(root, "commit", "-m", "no baseline yet")
    git(root, "tag", "before")
    baseline_file.update(root / "app" / "baseline.json", [result("a.py::t", heap=20 * MB)])
    git(root, "add", "app/baseline.json")
    git(root, "commit", "-m", "baseline")
    git(root, "checkout", "-b", "pull-request")
    baseline_file.update(root / "app" / "baseline.json", [result("a.py::t", heap=90 * MB)])
    git(root, "commit", "-am", "loosen it")
    return root


def test_a_ref_reads_the_baseline_a_pull_request_cannot_loosen(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = repository / "app" / "baseline.json"

    def heap(ref: str | None, path: Path = path) -> float:
        return baseline_file.load(path, ref).entries["a.py::t"].metrics["heap_bytes"].value

    assert heap(None) == 90 * MB
    assert heap("main") == 20 * MB
    assert heap("HEAD~1") == 20 * MB
    monkeypatch.chdir(repository / "app")
    assert heap("main", Path("baseline.json")) == 20 * MB
    monkeypatch.chdir(repository)
    assert heap("main", Path("app/baseline.json")) == 20 * MB


def test_a_ref_without_the_file_is_a_first_run(repository: Path) -> None:
    assert not baseline_file.load(repository / "app" / "baseline.json", "before").stored
    assert not baseline_file.load(repository / "other" / "dir" / "baseline.json", "main").stored


def test_a_ref_reads_from_a_worktree_and_a_subdirectory_link(repository: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(repository)
    assert baseline_file.load(link / "app" / "baseline.json", "main").stored


def test_each_bad_ref_has_its_own_message(
    repository: Path, tmp_path: Path, golden_text: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = repository / "app" / "baseline.json"
    clone = tmp_path / "shallow"
    git(tmp_path, "clone", "--depth=1", "--branch=pull-request", f"file://{repository}", str(clone))
    (repository / "corrupt.json").write_text("{")
    git(repository, "add", "corrupt.json")
    git(repository, "commit", "-m", "corrupt")
    outside = tmp_path / "outside"
    outside.mkdir()
    (repository / "link.json").symlink_to("app/baseline.json")
    cases: dict[str, tuple[Path, str]] = {
        "unknown-ref": (inside, "origin/nowhere"),
        "option-as-ref": (inside, "--output=/tmp/x"),
        "empty-ref": (inside, ""),
        "shallow-clone": (clone / "app" / "baseline.json", "origin/main"),
        "no-repository": (outside / "baseline.json", "main"),
        "directory-at-ref": (repository / "app", "main"),
        "corrupt-at-ref": (repository / "corrupt.json", "HEAD"),
    }
    messages = []
    for name, (path, ref) in cases.items():
        with pytest.raises(PytestMemoryError) as refused:
            baseline_file.load(path, ref)
        messages.append(f"--- {name}\n{refused.value}".replace(str(tmp_path), "DIR"))
    monkeypatch.setenv("PATH", str(outside))
    with pytest.raises(StoreError) as refused:
        baseline_file.load(inside, "main")
    messages.append(f"--- no-git\n{refused.value}")
    golden_text("baseline_bad_refs.txt", "\n".join(messages) + "\n")
