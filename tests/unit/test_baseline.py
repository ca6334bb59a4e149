"""The baseline document: text, typed reading, what is kept, what is refused, what can be compared."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.baseline_factory import MB, elsewhere, load, result

from pytest_memory import baseline, metrics
from pytest_memory.baseline import Baseline, BaselineEntry, Conditions, StoredMetric
from pytest_memory.baseline_update import update_baseline
from pytest_memory.errors import ResultFormatError

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False).map(baseline.round_value)
TEXTS = st.text(max_size=40).filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text))
IDS = st.one_of(TEXTS, st.sampled_from(["t.py::a[x/y]", "t.py::ünï[\u2028]", "t.py::" + "x" * 300]))
EXTRA = st.dictionaries(
    st.sampled_from(["added_later", "zz"]), st.one_of(st.integers(), TEXTS, st.lists(st.integers()))
)


@st.composite
def stored_metrics(draw: st.DrawFn) -> StoredMetric:
    optional = st.none() | NUMBERS
    return StoredMetric(
        value=draw(NUMBERS),
        repeats=tuple(draw(st.lists(NUMBERS, max_size=5))),
        low=draw(optional),
        high=draw(optional),
        earlier_sd=draw(optional),
        earlier_freedom=draw(optional),
        extra=draw(EXTRA),
    )


ENTRIES = st.builds(
    BaselineEntry,
    environment=st.builds(Conditions, node=TEXTS, load=TEXTS, precise=st.booleans(), extra=EXTRA),
    metrics=st.dictionaries(st.sampled_from(metrics.NAMES) | TEXTS, stored_metrics(), max_size=4),
    units=st.integers(0, 10**9),
    extra=EXTRA,
)
BASELINES = st.builds(Baseline, entries=st.dictionaries(IDS, ENTRIES, max_size=4), extra=EXTRA)


@given(BASELINES)
def test_what_is_written_is_what_is_read(document: Baseline) -> None:
    data = baseline.encode_baseline(document)
    assert baseline.decode_baseline(data, file="b.json") == document
    assert baseline.encode_baseline(baseline.decode_baseline(data, file="b.json")) == data


@given(BASELINES)
def test_the_text_is_json_of_the_schema(document: Baseline) -> None:
    value = json.loads(baseline.encode_baseline(document))
    jsonschema.validate(value, baseline.baseline_schema())


@given(st.binary(max_size=200) | BASELINES.map(baseline.encode_baseline), st.data())
def test_damaged_text_is_refused_or_read_never_worse(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data)))
    flipped = bytearray(data[:cut])
    if flipped:
        flipped[draw.draw(st.integers(0, len(flipped) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with contextlib.suppress(ResultFormatError):
        baseline.decode_baseline(bytes(flipped), file="b.json")


def test_one_metric_is_one_line_and_keys_are_sorted() -> None:
    document, _ = update_baseline(baseline.NO_BASELINE, [result("b.py::t"), result("a.py::t")])
    text = baseline.encode_baseline(document).decode()
    assert '        "heap_bytes": {"repeats": [20000000], "value": 20000000},\n' in text
    assert text.index("a.py::t") < text.index("b.py::t")
    assert text.endswith("}\n")


def test_unknown_fields_survive_an_update() -> None:
    first, _ = update_baseline(baseline.NO_BASELINE, [result()])
    raw = json.loads(baseline.encode_baseline(first))
    entry = next(iter(raw["entries"].values()))
    raw["made_by"] = "a later release"
    entry["note"] = {"reviewed": True}
    entry["environment"]["container"] = "debian"
    entry["metrics"]["heap_bytes"]["seen"] = [1, 2]
    entry["metrics"]["a_later_metric"] = {"value": 3}
    again = baseline.decode_baseline(json.dumps(raw).encode(), file="b.json")
    updated, _ = update_baseline(again, [result(heap=20.001 * MB)])
    kept = json.loads(baseline.encode_baseline(updated))
    kept_entry = next(iter(kept["entries"].values()))
    assert kept["made_by"] == "a later release"
    assert kept_entry["note"] == {"reviewed": True}
    assert kept_entry["environment"]["container"] == "debian"
    assert kept_entry["metrics"]["heap_bytes"]["seen"] == [1, 2]
    assert kept_entry["metrics"]["a_later_metric"] == {"value": 3}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (20_123_456, 20_120_000),
        (0.00123456, 0.001235),
        (-51.2345, -51.23),
        (0, 0),
        (7, 7),
        (math.inf, 0),
        (99_999, 100_000),
    ],
)
def test_values_are_stored_with_four_digits(value: float, stored: float) -> None:
    assert baseline.round_value(value) == stored


@given(st.floats(-1e300, 1e300))
def test_rounding_is_stable(value: float) -> None:
    once = baseline.round_value(value)
    assert baseline.round_value(once) == once


def text_of(**changes: Any) -> bytes:
    return json.dumps({"version": 1, "entries": {}, **changes}).encode()


BAD_TEXTS = {
    "empty": b" \n",
    "no-json": b'{"version": 1, "entries": {',
    "no-object": b"[1, 2]",
    "newer": text_of(version=2),
    "no-version": text_of(version="one"),
    "no-entries": b'{"version": 1}',
    "entries-no-object": text_of(entries=[1]),
    "entry-no-object": text_of(entries={"t.py::a": 5}),
    "metrics-no-object": text_of(entries={"t.py::a": {"metrics": [1]}}),
    "value-missing": text_of(entries={"t.py::a": {"metrics": {"heap_bytes": {"repeats": [1]}}}}),
    "value-no-number": text_of(entries={"t.py::a": {"metrics": {"heap_bytes": {"value": "20MB"}}}}),
    "metric-no-object": text_of(entries={"t.py::a": {"metrics": {"heap_bytes": 20}}}),
    "environment-no-object": text_of(entries={"t.py::a": {"environment": "linux"}}),
    "results-of-a-run": b'{"version": 1, "results": []}',
    "merge-conflict": b'{"version": 1,\n<<<<<<< HEAD\n"entries": {}\n=======\n"entries": {}\n>>>>>>> branch\n}',
    "not-utf-8": b'{"version": 1, "entries": {"\xff": {}}}',
}


def test_each_bad_text_has_its_own_message(golden_text: Any) -> None:
    messages = []
    for name, data in BAD_TEXTS.items():
        with pytest.raises(ResultFormatError) as refused:
            baseline.decode_baseline(data, file="baseline.json")
        messages.append(f"--- {name}\n{refused.value}")
    assert len(set(messages)) == len(messages)
    golden_text("baseline_bad_texts.txt", "\n".join(messages) + "\n")


def test_ids_that_utf8_cannot_hold_are_kept_apart() -> None:
    document, _ = update_baseline(baseline.NO_BASELINE, [result("t.py::\udc80"), result("t.py::\udc81")])
    again = baseline.decode_baseline(baseline.encode_baseline(document), file="b.json")
    assert len(again.entries) == 2
    assert again.entry("t.py::\udc80") is not None


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({}, None),
        ({"node_version": "v20.9.0"}, None),
        ({"node_version": "v22.1.0"}, ("node", "20", "22")),
        ({"os": "Linux 5.4.0-1"}, None),
        ({"os": "Darwin 23.1"}, ("os", "linux", "darwin")),
        ({"arch": "aarch64"}, ("arch", "x86_64", "aarch64")),
        ({"cpu": "another"}, None),
        ({"arch": ""}, None),
    ],
)
def test_what_makes_two_runs_incomparable(changes: dict[str, str], differs: tuple[str, str, str] | None) -> None:
    before = baseline.conditions_of(result())
    assert baseline.incomparable(before, baseline.conditions_of(result(environment=elsewhere(**changes)))) == differs


def test_precise_mode_and_load_make_runs_incomparable() -> None:
    before = baseline.conditions_of(result())
    assert baseline.incomparable(before, baseline.conditions_of(result(precise=True))) == ("precise", "false", "true")
    other = baseline.conditions_of(result(loads=[load(concurrency=50)]))
    assert baseline.incomparable(before, other) == (
        "load",
        "GET /orders, 10 connections",
        "GET /orders, 50 connections",
    )
    assert baseline.incomparable(before, baseline.conditions_of(result(loads=[]))) is not None
