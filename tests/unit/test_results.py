"""The result document: a round trip for anything, refusal of what is not one, old files stay readable."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_memory import results
from pytest_memory.errors import ResultFormatError
from pytest_memory.model import (
    Check,
    Environment,
    GcEvent,
    Growth,
    LeakEstimate,
    LoadStats,
    ResultDocument,
    Round,
    RunResult,
    Sample,
    SettledMemory,
    Verdict,
)

DATA = Path(__file__).parent.parent / "data" / "results"

sizes = st.integers(min_value=0, max_value=2**40)
times = st.floats(min_value=0, max_value=1e6).map(lambda value: round(value, 6))
sample = st.builds(
    Sample,
    t_s=times,
    pid=st.integers(1, 99999),
    rss_bytes=st.none() | sizes,
    heap_used_bytes=st.none() | sizes,
    handles=st.none() | st.integers(0, 100),
    blocked=st.booleans(),
)
gc_event = st.builds(
    GcEvent, t_s=times, pid=st.just(7), kind=st.sampled_from(["scavenge", "mark-compact"]), duration_s=times
)
memory = st.builds(
    SettledMemory,
    t_s=times,
    heap_used_bytes=sizes,
    heap_total_bytes=sizes,
    external_bytes=sizes,
    array_buffers_bytes=sizes,
    rss_bytes=sizes,
    handle_kinds=st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=2),
)
result = st.builds(
    RunResult,
    test_id=st.text(max_size=40),
    samples=st.lists(sample, max_size=5).map(tuple),
    gc_events=st.lists(gc_event, max_size=3).map(tuple),
    start_memory=st.none() | memory,
    growth=st.just((Growth(metric="heap_used", start=1.0, end=2.0, units=3),)),
    rounds=st.lists(
        st.builds(
            Round, index=st.just(0), units=st.just(5), errors=st.just(0), start_s=times, end_s=times, memory=memory
        ),
        max_size=2,
    ).map(tuple),
    load=st.just((LoadStats(requests=3, status={"200": 3}),)),
    verdict=st.just(
        Verdict(
            outcome="critical",
            checks=(Check(metric="m", outcome="critical", reason="over-limit", detail={"a": 1, "b": None}),),
            leaks=(
                LeakEstimate(
                    kind="heap", outcome="critical", reason="r", slope=1.5, low=1.0, high=2.0, limit=1.0, shape="linear"
                ),
            ),
        )
    ),
)


@given(st.lists(result, max_size=3, unique_by=lambda found: found.test_id))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(found: list[RunResult]) -> None:
    document = results.make_document(found, Environment(node_version="v24.1.0"), "2026-01-01T00:00:00Z")
    data = results.encode_document(document)
    assert results.decode_document(data, file="f.json") == document


@given(result)
@settings(max_examples=30, deadline=None)
def test_a_payload_is_json_basic(found: RunResult) -> None:
    payload = results.to_payload(found)
    assert results.from_payload(json.loads(json.dumps(payload))) == found


def test_results_are_ordered_so_that_parallel_runs_give_the_same_document() -> None:
    found = [RunResult(test_id=name) for name in "cab"]
    document = results.make_document(found, Environment(), "t")
    assert [entry.test_id for entry in document.results] == ["a", "b", "c"]


def small_document() -> ResultDocument:
    return results.make_document(
        [RunResult(test_id="t", samples=(Sample(t_s=0.5, pid=1, rss_bytes=5),))], Environment(), "2026-01-01T00:00:00Z"
    )


def test_the_schema_accepts_what_is_written() -> None:
    jsonschema.validate(json.loads(results.encode_document(small_document())), results.document_schema())


@pytest.mark.parametrize(
    ("data", "slug", "words"),
    [
        (b"", "result-corrupt", "empty"),
        (b"  \n", "result-corrupt", "empty"),
        (b"{", "result-corrupt", "no result document"),
        (b"[1]", "result-corrupt", "expected an object"),
        (b"\xff\xfe", "result-corrupt", "no result document"),
        (b"{}", "result-corrupt", "'version' is None"),
        (b'{"version": true}', "result-corrupt", "'version' is True"),
        (b'{"version": 0}', "result-corrupt", "'version' is 0"),
        (b'{"version": 99}', "result-newer", "upgrade"),
        (b'{"version": 1}', "result-corrupt", "'results'"),
        (b'{"version": 1, "results": [{}]}', "result-corrupt", "results[0]"),
        (b'{"version": 1, "results": [3]}', "result-corrupt", "results[0]"),
        (b'{"version": 1, "results": [], "environment": 3}', "result-corrupt", "environment"),
        (b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> main\n", "result-conflict-markers", "conflict"),
    ],
)
def test_what_is_no_document_is_refused(data: bytes, slug: str, words: str) -> None:
    with pytest.raises(ResultFormatError) as caught:
        results.decode_document(data, file="f.json")
    assert caught.value.slug == slug
    assert words in str(caught.value)
    assert "f.json" in str(caught.value)


def test_columns_of_different_lengths_are_refused() -> None:
    payload = results.to_payload(small_document().results[0])
    payload["samples"]["pid"] = [1, 2]
    with pytest.raises(ResultFormatError, match="different lengths"):
        results.from_payload(payload)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        results.decode_document(data, file="f.json")
    except ResultFormatError:
        pass


@pytest.mark.parametrize("path", sorted(DATA.glob("*.json")), ids=lambda path: path.name)
def test_every_old_version_is_still_read(path: Path) -> None:
    document = results.decode_document(path.read_bytes(), file=path.name)
    assert document.version == results.RESULT_VERSION
    assert document.results


def test_there_is_an_old_file_of_every_version() -> None:
    versions = {json.loads(path.read_bytes())["version"] for path in DATA.glob("*.json")}
    assert versions == set(range(1, results.RESULT_VERSION + 1))


def test_interval_nothing_bounds_is_null_in_the_file_and_comes_back() -> None:
    estimate = LeakEstimate(
        kind="heap", outcome="inconclusive", reason="too-short", slope=0.0, low=-math.inf, high=math.inf, limit=6.0
    )
    result = RunResult(test_id="a", verdict=Verdict(outcome="inconclusive", leaks=(estimate,)))
    document = results.make_document([result], Environment(), "2026-01-01T00:00:00Z")
    data = results.encode_document(document)
    assert b'"low":null' in data
    assert results.decode_document(data, file="x").results == (result,)
