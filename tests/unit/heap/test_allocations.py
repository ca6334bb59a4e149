"""Allocation profiles: aggregation by function, windows of time, the stored form, broken input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.errors import ConfigError, SnapshotFormatError
from pytest_memory.heap.allocations import AllocationProfile, parse_profile


def node(
    id_: int, name: str, size: int, *children: dict[str, Any], url: str = "app.js", line: int = 4
) -> dict[str, Any]:
    call = {"functionName": name, "scriptId": "1", "url": url, "lineNumber": line, "columnNumber": 2}
    return {"callFrame": call, "selfSize": size, "id": id_, "children": list(children)}


def root(*children: dict[str, Any]) -> dict[str, Any]:
    return node(1, "(root)", 0, *children, url="", line=-1)


def example() -> AllocationProfile:
    head = root(
        node(2, "handle", 100, node(3, "keep", 4000), node(4, "Map.set", 500, url="", line=-1)),
        node(5, "timer", 0, node(6, "keep", 1000)),
        node(7, "idle", 0),
    )
    samples = [
        {"size": 100, "nodeId": 2, "ordinal": 1},
        {"size": 3000, "nodeId": 3, "ordinal": 2},
        {"size": 1000, "nodeId": 3, "ordinal": 5},
        {"size": 500, "nodeId": 4, "ordinal": 6},
        {"size": 1000, "nodeId": 6, "ordinal": 7},
    ]
    return AllocationProfile({"head": head, "samples": samples})


def test_sites_are_summed_over_stacks_largest_first() -> None:
    sites = example().top_sites()
    assert [(site.function, site.size_bytes, site.samples) for site in sites] == [
        ("keep", 5000, 3),
        ("Map.set", 500, 1),
        ("handle", 100, 1),
    ]
    assert sites[0].location == "app.js:5:3"
    assert sites[0].callers == ("handle",)
    assert sites[1].location == ""
    assert example().top_sites(1) == sites[:1]


def test_fewer_sites_than_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="limit is -1; expected 0 or more"):
        example().top_sites(-1)


def test_since_keeps_what_came_later() -> None:
    late = example().since(2)
    assert late.total_bytes == 2500
    assert [(site.function, site.size_bytes) for site in late.top_sites()] == [("keep", 2000), ("Map.set", 500)]
    assert example().since(example().last_ordinal).top_sites() == ()


def test_stored_form_reads_back_and_drops_empty_branches() -> None:
    data = example().encode()
    again = parse_profile(data, name="a.heapprofile")
    assert again.total_bytes == example().total_bytes == 5600
    assert again.top_sites() == example().top_sites()
    assert b"idle" not in data
    assert set(json.loads(data)) == {"head", "samples"}


def test_stack_deeper_than_pythons() -> None:
    deepest = node(1, "leaf", 7)
    for id_ in range(2, 5000):
        deepest = node(id_, "recurse", 0, deepest)
    profile = AllocationProfile({"head": root(deepest)})
    assert profile.total_bytes == 7
    assert len(profile.top_sites()[0].callers) == 4998


def test_anonymous_functions_have_a_name() -> None:
    assert AllocationProfile({"head": root(node(2, "", 5))}).top_sites()[0].function == "(anonymous)"


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "head"),
        ({"head": 3}, "head"),
        ({"head": {"id": 1}}, "head.selfSize"),
        ({"head": root(), "samples": [{"size": 1}]}, "samples[0].nodeId"),
        ({"nodes": [], "startTime": 1}, "head"),
    ],
)
def test_something_else_is_refused(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(SnapshotFormatError, match="no sampling heap profile") as caught:
        AllocationProfile(payload)
    assert (caught.value.byte_offset, caught.value.field) == (0, field)


@pytest.mark.parametrize(
    ("data", "slug", "place"),
    [
        (b"", "snapshot-truncated", 0),
        (b"[1]", "snapshot-format", 0),
        (b"{}", "snapshot-format", 0),
        ('{"ä": x'.encode(), "snapshot-format", 7),
        (b'{"head": "\xff"}', "snapshot-format", 10),
        (b"[" * 200_000, "snapshot-format", 0),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_place(data: bytes, slug: str, place: int) -> None:
    with pytest.raises(SnapshotFormatError) as caught:
        parse_profile(data, name="x")
    assert (caught.value.slug, caught.value.byte_offset, caught.value.field) == (slug, place, "head")


def damaged(path: str, value: Any) -> dict[str, Any]:
    """A profile with this value at ``path`` ("head children 1 id"), or without it (``...``)."""
    payload = json.loads(example().encode())
    *owners, last = [int(key) if key.isdecimal() else key for key in path.split()]
    place = payload
    for key in owners:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return payload


@pytest.mark.parametrize(
    ("path", "value", "field", "begins_with"),
    [
        ("head children 1 id", "five", "head.children[1].id", b'"five"'),
        ("head children 0 children 1 selfSize", ..., "head.children[0].children[1].selfSize", b'{"callFrame"'),
        ("head children 0 selfSize", float("inf"), "head.children[0].selfSize", b"Infinity"),
        ("head callFrame lineNumber", [1], "head.callFrame.lineNumber", b"[1]"),
        ("head callFrame functionName", ..., "head.callFrame.functionName", b'{"scriptId"'),
        ("head children 1 children", None, "head.children[1].children", b"null"),
        ("head children 1", "é", "head.children[1]", '"é"'.encode()),
        ("samples 3 nodeId", ..., "samples[3].nodeId", b'{"size"'),
        ("samples 2", 7, "samples[2]", b"7"),
        ("samples", {}, "samples", b"{}"),
        ("head", ..., "head", b'{"samples"'),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_refusal_says_which_byte_and_field_is_wrong(
    path: str, value: Any, field: str, begins_with: bytes, indent: int | None, encoding: str
) -> None:
    payload = damaged(path, value)
    if "head" in payload:
        payload["head"] = {"note": "äöü", **payload["head"]}  # a byte is no character
    text = json.dumps(payload, ensure_ascii=False, indent=indent)
    data = text.encode(encoding)
    with pytest.raises(SnapshotFormatError, match="no sampling heap profile") as caught:
        parse_profile(data, name="x")
    assert caught.value.field == field
    assert caught.value.byte_offset is not None
    there = data[caught.value.byte_offset :].decode("utf-16-le" if encoding == "utf-16" else "utf-8")
    assert "".join(there.split()).startswith(begins_with.decode())
    assert f"at byte {caught.value.byte_offset:,}" in str(caught.value)


def test_a_fault_deeper_than_pythons_stack_is_found() -> None:
    deepest = node(1, "leaf", 7)
    del deepest["selfSize"]
    for id_ in range(2, 5000):
        deepest = node(id_, "recurse", 0, deepest)
    with pytest.raises(SnapshotFormatError) as caught:
        AllocationProfile({"head": root(deepest)})
    assert caught.value.field is not None
    assert caught.value.field.count("children[0]") == 4999


def test_no_json_says_where() -> None:
    with pytest.raises(SnapshotFormatError, match="at byte 10") as caught:
        parse_profile('{"é": 1, oops'.encode(), name="x")
    assert caught.value.byte_offset == 10


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(SnapshotFormatError) as caught:
        parse_profile(data, name="x")
    assert 0 <= caught.value.byte_offset <= len(data)


@given(st.data())
def test_truncation_is_refused(data: st.DataObject) -> None:
    whole = example().encode()
    with pytest.raises(SnapshotFormatError):
        parse_profile(whole[: data.draw(st.integers(0, len(whole) - 1))], name="x")
