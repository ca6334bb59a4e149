"""tRPC calls as requests, and superjson."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest

from pytest_memory.errors import ConfigError
from pytest_memory.load.inspect import trpc_error
from pytest_memory.load.trpc import socket_messages, superjson_encode, trpc_target


def query_of(**fields: Any) -> dict[str, Any]:
    target = trpc_target(**fields)
    assert target.params is not None
    return {key: json.loads(value) if key == "input" else value for key, value in target.params.items()}


def test_a_query() -> None:
    target = trpc_target("post.list", {"page": 1})
    assert (target.url, target.method, target.check) == ("/trpc/post.list", "GET", "trpc")
    assert target.name == "query post.list"
    assert query_of(procedure="post.list", input={"page": 1}) == {"input": {"page": 1}}


def test_no_input_is_no_parameter() -> None:
    assert trpc_target("post.list").params is None


@pytest.mark.parametrize("falsy", [0, False, "", [], {}])
def test_an_empty_input_is_sent(falsy: object) -> None:
    assert query_of(procedure="a", input=falsy) == {"input": falsy}


def test_a_mutation() -> None:
    target = trpc_target("post.add", {"a": 1}, type="mutation", prefix="/api/trpc/", headers={"x": "1"})
    assert (target.url, target.method, target.content) == ("/api/trpc/post.add", "POST", '{"a":1}')
    assert target.headers == {"x": "1", "content-type": "application/json"}


def test_a_header_of_the_users_displaces_that_of_trpc_however_it_is_written() -> None:
    target = trpc_target("a", type="mutation", headers={"Content-Type": "application/json; charset=utf-8"})
    assert target.headers == {"Content-Type": "application/json; charset=utf-8"}


def test_batches() -> None:
    target = trpc_target("a", {"n": 1}, batch=3)
    assert target.url == "/trpc/a,a,a"
    assert query_of(procedure="a", input={"n": 1}, batch=2) == {"batch": "1", "input": {"0": {"n": 1}, "1": {"n": 1}}}
    mixed = trpc_target(["a", "b.c"], [None, 5], type="mutation")
    assert (mixed.url, mixed.params, mixed.content) == ("/trpc/a,b.c", {"batch": "1"}, '{"1":5}')
    assert mixed.name == "mutation a and 1 more"


def test_a_subscription_waits_for_one_event_more() -> None:
    target = trpc_target("ticks", type="subscription", events=3)
    assert target.events == 4
    assert target.headers == {"accept": "text/event-stream"}


def test_socket_messages() -> None:
    begin, end = socket_messages("ticks", {"a": 1}, superjson=True)
    assert json.loads(begin)["params"] == {"path": "ticks", "input": {"json": {"a": 1}}}
    assert json.loads(end)["method"] == "subscription.stop"


@pytest.mark.parametrize(
    "fields",
    [
        {"procedure": "../etc"},
        {"procedure": ""},
        {"procedure": ["a", 5], "input": [1, 2]},
        {"procedure": "a", "type": "call"},
        {"procedure": "a", "batch": 0},
        {"procedure": "a", "batch": True},
        {"procedure": ["a", "b"], "input": [1]},
        {"procedure": [], "input": []},
        {"procedure": ["a", "b"], "input": [1, 2], "batch": 2},
        {"procedure": "a", "type": "subscription", "batch": 2},
        {"procedure": "a", "input": {"when": datetime(2024, 1, 1)}},
        {"procedure": "a", "input": float("nan")},
    ],
)
def test_wrong_calls(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        trpc_target(**fields)


NOON = datetime(2024, 5, 6, 12, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({"a": [1, "x", None, True, 1.5]}, {"json": {"a": [1, "x", None, True, 1.5]}}),
        (NOON, {"json": "2024-05-06T10:00:00.000Z", "meta": {"values": ["Date"]}}),
        (date(2024, 5, 6), {"json": "2024-05-06T00:00:00.000Z", "meta": {"values": ["Date"]}}),
        (
            {"a": {"b": [NOON]}},
            {"json": {"a": {"b": ["2024-05-06T10:00:00.000Z"]}}, "meta": {"values": {"a.b.0": ["Date"]}}},
        ),
        ({"a.b": NOON}, {"json": {"a.b": "2024-05-06T10:00:00.000Z"}, "meta": {"values": {"a\\.b": ["Date"]}}}),
        ({"s": {5}}, {"json": {"s": [5]}, "meta": {"values": {"s": ["set"]}}}),
        (
            {"s": frozenset({NOON})},
            {"json": {"s": ["2024-05-06T10:00:00.000Z"]}, "meta": {"values": {"s": ["set", {"0": ["Date"]}]}}},
        ),
        ({"m": {1: "a"}}, {"json": {"m": [[1, "a"]]}, "meta": {"values": {"m": ["map"]}}}),
        (2**60, {"json": str(2**60), "meta": {"values": ["bigint"]}}),
        (-(2**53 - 1), {"json": -(2**53 - 1)}),
        ([float("inf")], {"json": ["Infinity"], "meta": {"values": {"0": ["number"]}}}),
        (re.compile("a+"), {"json": "/a+/", "meta": {"values": ["regexp"]}}),
    ],
)
def test_superjson(value: Any, encoded: dict[str, Any]) -> None:
    assert superjson_encode(value) == encoded


def test_superjson_refuses_what_it_has_no_form_for() -> None:
    with pytest.raises(ConfigError, match=r"no form for object .* at a\.0"):
        superjson_encode({"a": [object()]})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"result":{"data":{"error":"mine"}}}', None),
        (b'{"error":{"message":"broken","code":-32600}}', "broken"),
        (b'{"error":{"json":{"message":"broken"}}}', "broken"),
        (b'[{"result":{}},{"error":{"message":"second"}}]', "second"),
        (b'{"error":"text"}', "text"),
        (b"not json", None),
        (b"5", None),
    ],
)
def test_error_envelopes(body: bytes, message: str | None) -> None:
    assert trpc_error(body) == message
