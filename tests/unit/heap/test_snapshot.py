"""The parser: what it reads, and everything it must refuse."""

from __future__ import annotations

import json
import mmap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.snapshot_builder import NODE_FIELDS, OLD_NODE_FIELDS, SnapshotBuilder, dump

from pytest_memory.errors import SnapshotFormatError
from pytest_memory.heap import columns as columns_module
from pytest_memory.heap import queries, sections, tables
from pytest_memory.heap import strings as strings_module
from pytest_memory.heap.graph import build_graph
from pytest_memory.heap.sections import SectionReader
from pytest_memory.heap.snapshot import Snapshot, parse_snapshot


def small(**options: Any) -> SnapshotBuilder:
    heap = SnapshotBuilder(**options)
    app = heap.node("object", "App", size=32)
    text = heap.node("string", 'a "quoted" \\ line\nwith \u00e9 and \ud83d', size=24, node_id=2**40 + 1)
    heap.edge(heap.root, "element", 7, app)
    heap.edge(app, "property", "text", text)
    heap.edge(app, "hidden", 9999, text)
    heap.location(app, 42, 10, 4)
    return heap


def columns(snapshot: Snapshot) -> list[list[int]]:
    return [
        array.ravel().tolist()
        for array in (
            snapshot.node_type, snapshot.node_name, snapshot.node_id, snapshot.node_size, snapshot.first_edge,
            snapshot.edge_type, snapshot.edge_name, snapshot.edge_to, snapshot.locations,
        )
    ]  # fmt: skip


def refusal(data: bytes) -> SnapshotFormatError:
    """What ``data`` is refused with, which always says where."""
    with pytest.raises(SnapshotFormatError) as caught:
        parse_snapshot(data, name="b.heapsnapshot")
    assert 0 <= caught.value.byte_offset <= len(data)
    assert caught.value.field != "file"
    return caught.value


@pytest.mark.parametrize("newlines", [False, True])
@pytest.mark.parametrize("fields", [None, OLD_NODE_FIELDS, ("id", "edge_count", "name", "self_size", "type")])
def test_columns_come_from_where_meta_says(newlines: bool, fields: tuple[str, ...] | None) -> None:
    heap = small(newlines=newlines, **({"node_fields": fields} if fields else {}))
    snapshot = parse_snapshot(heap.to_bytes())
    assert snapshot.node_type.tolist() == [9, 3, 2]
    assert snapshot.node_id.tolist() == [1, 3, 2**40 + 1]
    assert snapshot.node_size.tolist() == [0, 32, 24]
    assert snapshot.first_edge.tolist() == [0, 1, 3, 3]
    assert snapshot.edge_to.tolist() == [1, 2, 2]
    assert snapshot.edge_name[2] == 9999
    assert snapshot.locations.tolist() == [[1, 42, 10, 4]]
    assert [snapshot.strings[int(name)] for name in snapshot.node_name] == [node.name for node in heap.nodes]


def test_white_space_between_everything_is_allowed() -> None:
    document = small().to_document()
    loose = json.dumps(document, indent=1).encode()
    assert columns(parse_snapshot(loose)) == columns(parse_snapshot(dump(document)))
    assert columns(parse_snapshot(b"\n " + loose + b"\r\n ")) == columns(parse_snapshot(loose))


@pytest.mark.parametrize("children", [1, 5000], ids=["short", "long"])
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_a_tree_of_traces_is_stepped_over(children: int, cut: bool) -> None:
    """Beyond some kilobytes by a kernel; both find the same end, or that there is none."""
    document = small().to_document()
    document["trace_tree"] = [1, 0, 0, 0, [[number, 1, 2, ']\\"', []] for number in range(children)]]
    text = dump(document)
    if not cut:
        assert parse_snapshot(text).node_count == document["snapshot"]["node_count"]
        return
    with pytest.raises(SnapshotFormatError, match="ends inside 'trace_tree'"):
        parse_snapshot(text[: text.index(b'"samples"') - 2])


def test_a_short_value_that_is_not_json_has_its_end_all_the_same() -> None:
    text = small().to_bytes().replace(b'"trace_tree":[]', b'"trace_tree":[[nothing]]')
    assert parse_snapshot(text).node_count


def test_sections_of_a_newer_version_are_stepped_over() -> None:
    document = small().to_document()
    newer = {"snapshot": document.pop("snapshot"), "extra": {"a": ["]", {"b": "}"}]}, **document, "scopes": [1, [2]]}
    assert columns(parse_snapshot(dump(newer))) == columns(parse_snapshot(small().to_bytes()))


@pytest.mark.parametrize("stretch_bytes", [1, 7, 64])
def test_stretches_join_without_a_seam(monkeypatch: pytest.MonkeyPatch, stretch_bytes: int) -> None:
    heap = SnapshotBuilder(newlines=stretch_bytes == 7)
    for number in range(200):
        node = heap.node("object", f"Class{number % 5}", size=number**4)
        heap.edge(heap.root, "element", number, node)
        heap.edge(node, "property", "self", node)
    whole = columns(parse_snapshot(heap.to_bytes()))
    monkeypatch.setattr(sections, "_STRETCH_BYTES", stretch_bytes)
    assert columns(parse_snapshot(heap.to_bytes())) == whole


@pytest.mark.parametrize(
    ("path", "value", "stage"),
    [
        ("snapshot.node_count", 0, "sections"),
        ("nodes.0", 15, "nodes"),
        ("edges.0", 7, "edges"),
        ("strings.1", 5, "strings"),
    ],
)
def test_the_stage_that_is_told_is_the_one_under_way(path: str, value: Any, stage: str) -> None:
    told: list[str] = []
    with pytest.raises(SnapshotFormatError):
        parse_snapshot(change_document(path, value), progress=lambda what, _share: told.append(what))
    assert told[-1] == stage


def test_stages_begin_at_nothing_and_tell_every_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "_STRETCH_BYTES", 64)
    heap = SnapshotBuilder()
    for number in range(50):
        heap.edge(heap.root, "element", number, heap.node("object", "Thing"))
    shares: dict[str, list[float]] = {}
    parse_snapshot(heap.to_bytes(), progress=lambda what, share: shares.setdefault(what, []).append(share))
    assert list(shares) == ["sections", "nodes", "edges", "strings"]
    assert shares["sections"] == shares["strings"] == [0.0]
    for stage in ("nodes", "edges"):
        assert shares[stage][0] == 0.0
        assert shares[stage][-1] == 1.0
        assert len(shares[stage]) > 5
        assert shares[stage] == sorted(shares[stage])


def test_more_rows_than_a_block_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "_ROWS_PER_BLOCK", 3)
    assert columns(parse_snapshot(small().to_bytes())) == columns(parse_snapshot(small().to_bytes()))


def test_the_cut_file_is_refused_wherever_it_ends() -> None:
    data = small(newlines=True).to_bytes()
    for stop in range(len(data)):
        error = refusal(data[:stop])
        assert error.byte_offset <= stop
        assert error.slug in ("snapshot-truncated", "snapshot-not-a-snapshot") or stop < 20, error


def test_a_cut_file_says_where_and_what_is_missing() -> None:
    data = small().to_bytes()
    inside = data.index(b'"edges"') + 12
    error = refusal(data[:inside])
    assert error.slug == "snapshot-truncated"
    assert (error.byte_offset, error.field) == (inside, "edges")
    assert f"'b.heapsnapshot' ends inside 'edges' at byte {inside:,}" in str(error)
    assert "still being written" in str(error)


@pytest.mark.parametrize(
    ("data", "slug", "words"),
    [
        (b"", "snapshot-truncated", "is empty"),
        (b"   \n", "snapshot-not-a-snapshot", "no heap snapshot"),
        (b"[1,2,3]", "snapshot-not-a-snapshot", "no heap snapshot"),
        (b'{"nodes":[{"id":1,"callFrame":{}}],"startTime":1}', "snapshot-not-a-snapshot", "CPU profile"),
        (b'{"head":{"callFrame":{"functionName":""}},"samples":[]}', "snapshot-not-a-snapshot", ".heapprofile"),
        (b'{"traceEvents":[{"pid":1,"tid":1}]}', "snapshot-not-a-snapshot", "trace"),
        (b"\x1f\x8b\x08\x00abc", "snapshot-not-a-snapshot", "gzip"),
        (b"\x28\xb5\x2f\xfdabc", "snapshot-not-a-snapshot", "zstd"),
        (b"\x7fELF" + bytes(100), "snapshot-not-a-snapshot", "no heap snapshot"),
        (b"<html><body>not found</body></html>", "snapshot-not-a-snapshot", "no heap snapshot"),
    ],
)  # fmt: skip
def test_other_files_are_told_apart(data: bytes, slug: str, words: str) -> None:
    error = refusal(data)
    assert error.slug == slug
    assert (error.byte_offset, error.field) == (len(data) - len(data.lstrip()), "snapshot")
    assert words in str(error)


def change_document(path: str, value: Any) -> bytes:
    """The small snapshot with one thing in it changed; ``path`` like "snapshot.meta.node_fields"."""
    document = small().to_document()
    *way, last = path.split(".")
    inner: Any = document
    for key in way:
        inner = inner[int(key)] if key.isdigit() else inner[key]
    if value is None:
        del inner[last]
    else:
        inner[int(last) if last.isdigit() else last] = value
    return dump(document)


@pytest.mark.parametrize(
    ("path", "value", "slug", "field"),
    [
        ("snapshot.meta", None, "snapshot-format", "snapshot"),
        ("snapshot.meta.node_fields", ["type", "name"], "snapshot-format", "snapshot"),
        ("snapshot.meta.node_fields", 5, "snapshot-format", "snapshot"),
        ("snapshot.meta.node_types", [], "snapshot-format", "snapshot"),
        ("snapshot.meta.node_types.0", "hidden,array,string", "snapshot-format", "snapshot"),
        ("snapshot.meta.edge_types.0", "abcdefgh", "snapshot-format", "snapshot"),
        ("snapshot.meta.node_fields", [*NODE_FIELDS, *"abc" * 20], "snapshot-counts", "snapshot"),
        ("snapshot.meta.edge_fields", ["type", "name_or_index", "to_node", *"abc" * 21], "snapshot-counts", "snapshot"),
        ("snapshot.meta.location_fields", [*"abc" * 22], "snapshot-counts", "snapshot"),
        ("snapshot.extra_native_bytes", 10**400, "snapshot-counts", "snapshot"),
        ("snapshot.extra_native_bytes", 2**62, "snapshot-counts", "snapshot"),
        ("snapshot.meta.edge_fields", ["type", "to_node"], "snapshot-format", "snapshot"),
        ("snapshot.node_count", None, "snapshot-format", "snapshot"),
        ("snapshot.node_count", "3", "snapshot-counts", "snapshot"),
        ("snapshot.node_count", -3, "snapshot-counts", "snapshot"),
        ("snapshot.node_count", 1.5, "snapshot-counts", "snapshot"),
        ("snapshot.node_count", 0, "snapshot-counts", "snapshot"),
        ("snapshot.node_count", 10**15, "snapshot-counts", "snapshot"),
        ("snapshot.node_count", 2**31 - 1, "snapshot-counts", "snapshot"),
        ("snapshot.node_count", 4, "snapshot-counts", "nodes"),
        ("snapshot.node_count", 2, "snapshot-counts", "nodes"),
        ("snapshot.edge_count", 2, "snapshot-counts", "edges"),
        ("snapshot.edge_count", 4, "snapshot-counts", "edges"),
        ("snapshot.root_index", 600, "snapshot-counts", "snapshot"),
        ("nodes", None, "snapshot-format", "nodes"),
        ("edges", None, "snapshot-format", "edges"),
        ("nodes", {}, "snapshot-format", "nodes"),
        ("nodes", [], "snapshot-counts", "nodes"),
        ("nodes.0", 15, "snapshot-index", "nodes"),
        ("nodes.1", 99, "snapshot-index", "nodes"),
        ("nodes.1", 2**31, "snapshot-index", "nodes"),
        ("nodes.4", 2, "snapshot-counts", "edge_count"),
        ("nodes.4", 2**31 - 1, "snapshot-counts", "edge_count"),
        *((f"nodes.{field}", -1, "snapshot-index", "nodes") for field in range(6)),
        ("nodes.3", 1.5, "snapshot-format", "nodes"),
        ("nodes.3", "1", "snapshot-format", "nodes"),
        ("nodes.3", [1], "snapshot-format", "nodes"),
        ("nodes.3", 10**19, "snapshot-format", "nodes"),
        ("edges.0", 7, "snapshot-index", "edges"),
        ("edges.2", 7, "snapshot-index", "edges"),
        ("edges.2", 18, "snapshot-index", "edges"),
        ("edges.2", 10**17, "snapshot-index", "edges"),
        ("edges.4", 99, "snapshot-index", "edges"),
        ("edges.4", 2**32 - 1, "snapshot-index", "edges"),
        ("edges.4", -1, "snapshot-index", "edges"),
        ("edges.0", -1, "snapshot-index", "edges"),
        ("edges.1", -(2**31) - 1, "snapshot-index", "edges"),
        ("edges.2", -6, "snapshot-index", "edges"),
        ("edges.1", 2**32, "snapshot-index", "edges"),
        ("locations.0", 5, "snapshot-index", "locations"),
        ("locations.0", 6 * 3, "snapshot-index", "locations"),
        ("locations.0", -6, "snapshot-index", "locations"),
        ("locations.1", 2**32, "snapshot-index", "locations"),
        ("locations.2", -(2**31) - 1, "snapshot-index", "locations"),
        ("locations", [1, 2, 3], "snapshot-counts", "locations"),
        ("strings", {}, "snapshot-format", "strings"),
        ("strings", ["a", 5], "snapshot-format", "strings"),
        ("strings", [], "snapshot-index", "nodes"),
    ],
)
def test_a_lie_in_the_file_is_named(path: str, value: Any, slug: str, field: str) -> None:
    error = refusal(change_document(path, value))
    assert (error.slug, error.field) == (slug, field), error


@pytest.mark.parametrize("written", [-1, 2**32 - 1])
def test_a_place_that_v8_does_not_know_is_no_place(written: int) -> None:
    heap = SnapshotBuilder()
    for place in ((written, written, written), (7, written, written), (7, 3, 5)):
        node = heap.node("object", "Session", size=8)
        heap.edge(heap.root, "element", node, node)
        heap.location(node, *place)
    graph = build_graph(parse_snapshot(heap.to_bytes()))
    assert graph.snapshot.locations[:, 1:].tolist() == [[-1, -1, -1], [7, -1, -1], [7, 3, 5]]
    rows = {(row.script_id, row.line, row.column): row.count for row in queries.class_rows(graph, "Session")}
    assert rows == {(-1, -1, -1): 1, (7, -1, -1): 1, (7, 3, 5): 1}


def test_a_bad_value_is_found_at_its_byte() -> None:
    data = change_document("edges.5", 13)
    error = refusal(data)
    assert data[error.byte_offset :].startswith(b"13,")
    assert "to_node 13; expected a multiple of 6 below 18" in str(error)


def test_something_behind_the_end_is_refused() -> None:
    assert refusal(small().to_bytes() + b"x").slug == "snapshot-format"
    assert refusal(small().to_bytes() + small().to_bytes()).slug == "snapshot-format"


def test_sizes_that_no_machine_has_are_refused_before_they_wrap() -> None:
    heap = SnapshotBuilder()
    for number in range(12):
        heap.edge(heap.root, "element", number, heap.node("object", "Large", size=10**18 - 1))
    data = heap.to_bytes()
    error = refusal(data)
    assert (error.slug, error.field) == ("snapshot-counts", "self_size")
    assert error.byte_offset == data.index(b'"nodes":') + len(b'"nodes":')
    assert "1.2e+19 bytes together" in str(error)


def test_the_largest_sizes_that_are_read_add_up() -> None:
    heap = SnapshotBuilder()
    for number in range(4):
        heap.edge(heap.root, "element", number, heap.node("object", "Large", size=10**18 - 1))
    document = heap.to_document()
    document["snapshot"]["extra_native_bytes"] = 2**62 - 1
    graph = build_graph(parse_snapshot(dump(document)))
    assert graph.total_bytes == 4 * (10**18 - 1) + 2**62 - 1
    assert "native" in tables.statistics_table(queries.statistics(graph))


@pytest.mark.parametrize("again", ["strings", "nodes", "newer"])
def test_a_section_that_comes_again_behind_the_strings_is_refused(again: str) -> None:
    data = small().to_bytes()[:-1] + b',"newer":[]'
    error = refusal(data + b',"' + again.encode() + b'":[1]}')
    assert (error.slug, error.field, error.byte_offset) == ("snapshot-format", again, len(data) + 1)
    assert "this section was there before" in str(error)


def test_a_string_that_cannot_be_decoded_says_so_when_asked_for() -> None:
    data = small().to_bytes().replace(b'"App"', b'"A\\u12"')
    snapshot = parse_snapshot(data)
    with pytest.raises(SnapshotFormatError, match="cannot be decoded") as caught:
        snapshot.strings[int(snapshot.node_name[1])]
    assert caught.value.field == "strings"


def test_strings_are_found_by_their_bytes() -> None:
    strings = parse_snapshot(small().to_bytes()).strings
    assert strings[strings.find("App")] == "App"
    assert strings.find("Ap") == -1


@given(st.lists(st.text("ab0", max_size=3), max_size=12), st.text("ab0", max_size=3), st.sampled_from([1, 2, 1 << 16]))
def test_a_string_is_found_as_one_by_one(texts: list[str], wanted: str, block: int) -> None:
    heap = SnapshotBuilder()
    for text in texts:
        heap.edge(heap.root, "element", 1, heap.node("string", text))
    strings = parse_snapshot(heap.to_bytes()).strings
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(strings_module, "_FIND_BLOCK", block)
        found = strings.find(wanted)
    assert found == next((index for index in range(len(strings)) if strings[index] == wanted), -1)


def test_many_strings_of_one_length_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heap with millions of times as text: "the_hole", which it may not have, is as long as some."""
    heap = SnapshotBuilder()
    for number in range(5000):
        heap.edge(heap.root, "element", number, heap.node("string", f"{number:08}"))
    strings = parse_snapshot(heap.to_bytes()).strings
    found = strings.find("00004000")
    assert strings[found] == "00004000"
    monkeypatch.setattr(strings_module.Strings, "raw", None)
    assert strings.find("the_hole") == -1
    assert strings.find("00004000") == found


class Searched(bytes):
    """Counts how often it is searched."""

    searches = 0

    def find(self, *where: Any) -> int:
        self.searches += 1
        return super().find(*where)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([-(2**31), -1, 0, 4, 5, 2**31 - 1]))))
def test_the_first_edge_without_a_name_is_found(edges: list[tuple[int, int]]) -> None:
    types, names = np.array([kind for kind, _ in edges], np.uint8), np.array([name for _, name in edges], np.int32)
    bad = [at for at, (kind, name) in enumerate(edges) if kind != 1 and not 0 <= name < 5]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns_module, "_AT_ONCE", 3)
        found = columns_module.first_bad_name(types, names, np.array([1, 0, 1], np.uint8), 5)
    assert found == (bad[0] if bad else -1)


def test_a_bad_name_is_found_without_counting_all_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "_STRETCH_BYTES", 64)
    heap = small()
    for _ in range(297):
        heap.edge(heap.root, "property", "text", 1)
    searches = []
    for edge in (0, 1, 150, 298, 299):
        document = heap.to_document()
        document["edges"][3 * edge : 3 * edge + 2] = 2, 7777
        text = Searched(dump(document))
        with pytest.raises(SnapshotFormatError, match=f"name 7,777; .* in row {edge} of 'edges'") as caught:
            parse_snapshot(text)
        assert caught.value.byte_offset == text.index(b",7777,") + 1
        searches.append(text.searches)
    assert max(searches) - searches[0] <= 64, "no more than the numbers of one stretch"


def test_space_is_skipped_at_once_and_commas_are_found_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte of blanks, one look at a time, takes minutes."""

    class Looks:
        def __getitem__(self, at: object) -> int:
            raise AssertionError(f"looked at byte {at}")

    text = b"[1," + b" " * 1000 + b"2" + b" " * 1000 + b"]"
    with ThreadPoolExecutor(1) as pool:
        reader = SectionReader(text, "a", pool, lambda _start, _stop: None)
        monkeypatch.setattr(sections, "_STRETCH_BYTES", 500)
        section = reader._flat_array("nodes", 0)
        monkeypatch.setattr(reader, "view", Looks())
        assert reader.skip_space(3) == 1003
        assert reader.skip_space(len(text)) == len(text)
        assert [(part.start, part.stop) for part in reader._plan(section, 1, 2)] == [(1, 3), (3, len(text))]


MORE_ROWS = (b"1099511627777", b"1,1,1,1,1,1,1")
FEWER_ROWS = (b"9,1,1,0,1,0,", b" " * 12)


@pytest.mark.parametrize(("then", "now"), [MORE_ROWS, FEWER_ROWS])
def test_rows_that_were_not_counted_are_not_stored(tmp_path: Path, then: bytes, now: bytes) -> None:
    """Another process writes to the file between counting its numbers and reading them."""
    file = tmp_path / "a.heapsnapshot"
    before = small().to_bytes()
    file.write_bytes(before)

    def rewrite(what: str, _share: float) -> None:
        if what == "nodes":
            with file.open("r+b") as stream:
                stream.seek(before.index(then))
                stream.write(now)

    with file.open("rb") as stream:
        text = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    with pytest.raises(SnapshotFormatError, match=r"rows of 'nodes' up to byte [\d,]+; 3 were counted") as caught:
        parse_snapshot(text, progress=rewrite)
    assert (caught.value.slug, caught.value.field) == ("snapshot-changed", "nodes")


SMALL = small(newlines=True).to_bytes()


@settings(max_examples=300)
@given(st.data())
def test_mutated_files_are_read_or_refused(data: st.DataObject) -> None:
    """Whatever happens to the bytes: an answer that holds together, or SnapshotFormatError."""
    mutated = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        stop = at + data.draw(st.integers(0, 6))
        mutated[at:stop] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"9", b",", b"]", b'"', b"99999999999", b"0"])
        )
    try:
        snapshot = parse_snapshot(bytes(mutated))
        graph = build_graph(snapshot)
        pie = queries.statistics(graph)
    except SnapshotFormatError:
        return
    assert 0 <= pie.native_bytes <= pie.total_bytes
    assert np.all(graph.retained >= graph.size)
    assert sum(row.size_bytes for row in queries.class_rows(graph)) <= graph.total_bytes
    assert snapshot.first_edge[-1] == snapshot.edge_count
    assert np.all(snapshot.edge_to < snapshot.node_count)
    assert np.all(snapshot.node_name < len(snapshot.strings))
    assert np.all(snapshot.node_type < len(snapshot.header.node_types))
