"""`HeapSnapshot` on snapshots of a real Node: what the app did is what the analysis finds."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_memory.errors import SnapshotFormatError
from pytest_memory.heap import HeapComparison, HeapSnapshot
from pytest_memory.heap.tables import path_line

APP = Path(__file__).parent.parent / "apps" / "heap-growth.js"
SUBCLASSES = APP.with_name("heap-subclasses.js")
DEADLINE_S = 120.0
PROTOTYPE = 1
"""V8 calls Session.prototype a Session too."""

pytestmark = pytest.mark.node


def take(directory: Path, node: str) -> list[HeapSnapshot]:
    subprocess.run([node, str(APP), f"{directory}/"], check=True, timeout=DEADLINE_S)
    return [HeapSnapshot.load(directory / f"{number}.heapsnapshot") for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory, node: str) -> list[HeapSnapshot]:
    return take(tmp_path_factory.mktemp("heap"), node)


@pytest.fixture(scope="module")
def comparison(snapshots: list[HeapSnapshot]) -> HeapComparison:
    return snapshots[1].compare(snapshots[0])


def test_counts_are_what_the_app_allocated(snapshots: list[HeapSnapshot]) -> None:
    counts = [snapshot.count("Session") - PROTOTYPE for snapshot in snapshots]
    assert counts == [100, 550, 450]
    assert snapshots[0].objects("Session").count == 100 + PROTOTYPE


def test_new_deleted_and_kept(comparison: HeapComparison) -> None:
    assert comparison.by_id
    assert comparison.new("Session").count == 500
    assert comparison.deleted("Sess*").count == 50
    assert comparison.kept("Session").count == 50 + PROTOTYPE
    assert comparison.new("Session").retained_bytes > comparison.new("Session").size_bytes > 0


def test_records_and_table(comparison: HeapComparison) -> None:
    (delta,) = comparison.class_deltas("Session")
    assert (delta.count_delta, delta.new, delta.deleted, delta.count_after) == (450, 500, 50, 550 + PROTOTYPE)
    assert "Session" in str(comparison)
    json.dumps(comparison.to_dict(units=500))


def test_who_holds_them(comparison: HeapComparison) -> None:
    lines = [path_line(path) for path in comparison.paths("Session")]
    assert lines[0] == "500 × (global) → store : Object → sessions : Map → table[] → Session"


def test_the_three_snapshot_method(snapshots: list[HeapSnapshot]) -> None:
    stayed = snapshots[2].compare(snapshots[0], middle=snapshots[1])
    assert stayed.new("Session").count == 300


TWO_RUNS = """
class Session { constructor(i) { this.i = { i }; } }
class Other { constructor(i) { this.v = [i]; } }
const kept = globalThis.kept = [];
for (let i = 0; i < 1000; i++) kept.push(new Session(i));
for (let i = 0; i < 1000; i++) kept.push(new Other(i));
for (let i = 0; i < +process.argv[2]; i++) kept.push(new Session(i));
require('v8').writeHeapSnapshot(process.argv[1]);
"""


@pytest.mark.parametrize("more", [1, 5])
def test_two_runs_of_one_script_are_no_single_process(tmp_path: Path, node: str, more: int) -> None:
    for count in (0, more):
        command = [node, "-e", TWO_RUNS, str(tmp_path / f"{count}.heapsnapshot"), str(count)]
        subprocess.run(command, check=True, timeout=DEADLINE_S)
    before, after = (HeapSnapshot.load(tmp_path / f"{count}.heapsnapshot") for count in (0, more))
    comparison = after.compare(before)
    (delta,) = comparison.class_deltas("Session")
    assert delta.count_delta == more
    assert delta.new - delta.deleted == more
    assert comparison.new("Session").count == delta.new >= more
    assert comparison.deleted("Session").count == delta.deleted


def test_findings_name_the_culprits(comparison: HeapComparison) -> None:
    found = {(finding.slug, finding.subject): finding for finding in comparison.findings(units=500)}
    session = found["growing-class", "Session"]
    assert session.severity == "critical"
    assert session.location is not None
    assert "heap-growth.js:8:" in session.location
    for subject in ("sessions : Map", "seen : Set", "log : Array", "cache : Object"):
        assert ("growing-collection", subject) in found, sorted(found)
    assert found["growing-collection", "seen : Set"].evidence["length_after"] == 600
    assert ("growing-shape", "{visitor}") in found
    listener = found["listener", "onChange"]
    assert listener.location is not None
    assert "heap-growth.js:21:" in listener.location


SPARSE_AND_EMOJI = """
class Kept {}
const sparse = [];
for (const index of [7, 3000000000, 4294967290]) sparse[index] = new Kept();
const flat = (text) => text.split('').join('');
const emoji = [];
for (const end of ['a', 'b']) emoji.push(flat('\\u{1F600}'.repeat(2000) + end));
for (let i = 0; i < 2; i++) emoji.push(flat('short \\u{1F600}'));
globalThis.app = { sparse, emoji, list: Array.from({ length: 900 }, () => new Kept()) };
require('v8').writeHeapSnapshot(process.argv[1]);
"""


def test_sparse_arrays_and_emoji(tmp_path: Path, node: str) -> None:
    file = tmp_path / "a.heapsnapshot"
    subprocess.run([node, "-e", SPARSE_AND_EMOJI, str(file)], check=True, timeout=DEADLINE_S)
    snapshot = HeapSnapshot.load(file)
    assert 903 <= snapshot.count("Kept") <= 903 + PROTOTYPE
    lines = [path_line(path) for one in snapshot.objects("Kept").ids for path in snapshot.retainer_paths(one)]
    for index in (7, 3_000_000_000, 4_294_967_290):
        assert any(line.endswith(f"sparse : Array → [{index}] → Kept") for line in lines)
    assert 900 in {row.length for row in snapshot.largest_collections(limit=30)}
    found = snapshot.find_strings("short \U0001f600")
    assert [row.truncated for row in found if row.count > 1] == [False]
    longest = max(snapshot.duplicate_strings(limit=100), key=lambda row: row.size_bytes // row.count)
    assert longest.truncated  # they differ behind what V8 writes of them


def test_subclasses_of_collections_are_counted_as_what_they_are(tmp_path: Path, node: str) -> None:
    subprocess.run([node, str(SUBCLASSES), f"{tmp_path}/"], check=True, timeout=DEADLINE_S)
    before, after = (HeapSnapshot.load(tmp_path / f"{number}.heapsnapshot") for number in (1, 2))
    lengths = {row.container.name: row.length for row in after.largest_collections(limit=10)}
    expected = {"SessionStore": 3000, "TagBag": 2000, "Recent": 1000, "FewLeft": 700}
    assert expected.items() <= lengths.items(), lengths
    assert lengths.get("WeakNotes", 0) <= 1
    found = {finding.subject: finding for finding in after.compare(before).findings(units=500)}
    (store,) = (finding for subject, finding in found.items() if "SessionStore" in subject)
    assert store.slug == "growing-collection"
    assert store.evidence["length_after"] == 3000


def test_what_nothing_grew_in_has_no_findings(snapshots: list[HeapSnapshot]) -> None:
    assert snapshots[0].compare(snapshots[0]).findings() == ()


def test_questions_to_one_snapshot(snapshots: list[HeapSnapshot]) -> None:
    after = snapshots[1]
    document = after.to_dict()
    json.dumps(document)
    assert document["statistics"]["total_bytes"] == after.total_bytes
    lengths = {row.length for row in after.largest_collections(limit=30)}
    assert {550, 600} <= lengths
    assert any(row.text.startswith("copy of a text") for row in after.find_strings("copy of a text"))
    assert after.dominator_tree()[0].node.retained_bytes + 0 <= after.total_bytes
    assert "Session" in str(HeapSnapshot.load(after.path)) or after.classes("Session")
    one = after.objects("Session").ids[0]
    assert path_line(after.retainer_paths(one)[0]).endswith("Session")
    assert after.retainer_paths(4) == ()


def test_progress_is_told(snapshots: list[HeapSnapshot]) -> None:
    told: dict[str, float] = {}
    again = HeapSnapshot.load(snapshots[0].path).analyse(lambda what, share: told.setdefault(what, share))
    assert list(told) == ["sections", "nodes", "edges", "strings", "dominators", "retained sizes", "classes"]
    assert set(told.values()) == {0.0}
    assert "analysed" in repr(again)


def test_a_deleted_file_can_still_be_asked(snapshots: list[HeapSnapshot], tmp_path: Path) -> None:
    copy = shutil.copy(snapshots[0].path, tmp_path)
    loaded = HeapSnapshot.load(copy)
    os.unlink(copy)
    assert loaded.count("Session") == 100 + PROTOTYPE


def test_a_compressed_file_is_unpacked(snapshots: list[HeapSnapshot], tmp_path: Path) -> None:
    packed = tmp_path / "1.heapsnapshot.gz"
    packed.write_bytes(gzip.compress(snapshots[0].path.read_bytes(), 1))
    assert HeapSnapshot.load(packed).count("Session") == 100 + PROTOTYPE
    packed.write_bytes(packed.read_bytes()[:1000])
    with pytest.raises(SnapshotFormatError, match=r"could not be unpacked.*expected a gzip file"):
        HeapSnapshot.load(packed)


def test_bad_files_are_named(snapshots: list[HeapSnapshot], tmp_path: Path) -> None:
    empty = tmp_path / "empty.heapsnapshot"
    empty.touch()
    with pytest.raises(SnapshotFormatError, match=r"'empty\.heapsnapshot' is empty"):
        HeapSnapshot.load(empty)
    cut = tmp_path / "cut.heapsnapshot"
    whole = snapshots[0].path.read_bytes()
    for share in (0.01, 0.3, 0.6, 0.9, 0.9999):
        cut.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(SnapshotFormatError) as caught:
            HeapSnapshot.load(cut).analyse()
        assert caught.value.slug == "snapshot-truncated"
    with pytest.raises(FileNotFoundError):
        HeapSnapshot.load(tmp_path / "absent.heapsnapshot")


def test_importing_the_front_loads_neither_numpy_nor_numba() -> None:
    code = "import sys, pytest_memory.heap; print([m for m in ('numpy', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.stdout.strip() == "[]"


def test_kernels_are_compiled_without_a_writable_place(tmp_path: Path) -> None:
    """A kernel module in a directory nobody may write, and no home: compiled in memory, the same answer."""
    code = (
        "import numba.core.caching as c\n"
        "c.CacheImpl._locator_classes = []\n"
        "from pytest_memory.heap.jit import kernel\n"
        "@kernel('int64(int64)')\n"
        "def double(x): return 2 * x\n"
        "print(double(21))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S, cwd=tmp_path
    )
    assert (done.stdout.strip(), done.stderr) == ("42", "")
