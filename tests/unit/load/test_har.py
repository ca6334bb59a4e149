"""Recordings as targets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_memory.errors import LoadError
from pytest_memory.load.har import har_targets


def har(*requests: dict[str, Any]) -> str:
    return json.dumps({"log": {"entries": [{"request": request} for request in requests]}})


def test_requests_of_the_first_origin_in_order() -> None:
    targets = har_targets(
        har(
            {"url": "data:text/plain,x"},
            {"url": "https://shop.example/a?x=1#y", "method": "get"},
            {"url": "https://cdn.example/b"},
            {"url": "https://shop.example/c", "method": "DELETE"},
        ),
        "http://127.0.0.1:1",
    )
    assert [(target.method, target.url) for target in targets] == [("GET", "/a?x=1"), ("DELETE", "/c")]
    assert targets[0].name == "GET /a"


def test_without_a_base_url_they_go_where_they_went() -> None:
    [target] = har_targets(har({"url": "http://127.0.0.1:5/a"}), None)
    assert target.url == "http://127.0.0.1:5/a"


def test_what_belongs_to_the_connection_is_left_out() -> None:
    headers = {
        "Host": "x",
        ":method": "GET",
        "Connection": "x",
        "If-None-Match": "x",
        "Accept": "a/b",
        "Accept-Encoding": "gzip, deflate, br;q=0.5, zstd",
        "Cookie": "x",
    }
    [target] = har_targets(
        har(
            {
                "url": "http://h/",
                "headers": [{"name": name, "value": value} for name, value in headers.items()],
                "cookies": [{"name": "c", "value": "1"}],
            }
        ),
        None,
    )
    assert target.headers == {"accept": "a/b", "accept-encoding": "gzip, deflate"}
    assert target.cookies == {"c": "1"}


@pytest.mark.parametrize(
    ("post", "content"),
    [
        ({"text": "é"}, "é".encode()),
        ({"text": "AAH/", "encoding": "base64"}, b"\x00\x01\xff"),
        ({"params": []}, None),
        (None, None),
    ],
)
def test_bodies(post: Any, content: bytes | None) -> None:
    [target] = har_targets(har({"url": "http://h/", "method": "POST", "postData": post}), None)
    assert target.content == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a HAR recording"),
        ("[]", "is not a HAR recording"),
        ('{"log": {}}', "is not a HAR recording"),
        ('{"log": {"entries": {}}}', "entries is not a list"),
        ('{"log": {"entries": []}}', "no HTTP request"),
        ('{"log": {"entries": [5]}}', "no request URL in entry 0"),
        ('{"log": {"entries": [{"request": {}}]}}', "no request URL in entry 0"),
        (har({"url": "http://[bad/"}), "the request URL 'http://\\[bad/' in entry 0, which is none"),
        (har({"url": "http://h/", "postData": {"text": "%%", "encoding": "base64"}}), "not base64"),
        ("[" * 100_000, "is not a HAR recording"),
    ],
)
def test_what_is_no_recording(text: str, message: str) -> None:
    with pytest.raises(LoadError, match=message) as caught:
        har_targets(text, None, where="'x.har'")
    assert caught.value.slug == "load-har"
    assert "'x.har'" in str(caught.value)
