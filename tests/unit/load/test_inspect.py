"""What is taken out of responses."""

from __future__ import annotations

import pytest

from pytest_memory.load.histogram import cell_of
from pytest_memory.load.inspect import ResponseRejected, absorb_cookies, look_up, redirect_target, save_values
from pytest_memory.load.messages import Save
from pytest_memory.load.wire import FullReader

DOCUMENT = {"a": [{"b": 1}, {"b": None}], "c d": {"e-f": "x"}, "$g": 2}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", DOCUMENT),
        ("$.a[0].b", 1),
        ("$.a[1].b", None),
        ("$.a[7].b", None),
        ("$.a.b", None),
        ("$['c d'].e-f", "x"),
        ('$["c d"]["e-f"]', "x"),
        ("$.$g", 2),
        ("$.x.y", None),
    ],
)
def test_paths(path: str, found: object) -> None:
    assert look_up(DOCUMENT, path) == found


@pytest.mark.parametrize("path", ["", "a", "$a", "$.", "$[x]", "$.a[", "$..a"])
def test_wrong_paths(path: str) -> None:
    with pytest.raises(ValueError):
        look_up(DOCUMENT, path)


def reader(head: str, body: str = "") -> FullReader:
    made = FullReader()
    made.feed(f"HTTP/1.1 200 OK\r\n{head}content-length: {len(body)}\r\n\r\n{body}".encode())
    return made


def test_saving() -> None:
    response = reader("Location: /x\r\n", '{"id": 7, "word": "token"}')
    saves = [
        Save("a", "json", "$.id"),
        Save("b", "header", "location"),
        Save("c", "regex", "t(.)k"),
        Save("d", "regex", "ken"),
    ]
    assert save_values(saves, response) == {"a": 7, "b": "/x", "c": "o", "d": "ken"}


@pytest.mark.parametrize("save", [Save("a", "json", "$.no"), Save("a", "header", "no"), Save("a", "regex", "no")])
def test_a_value_that_is_not_there(save: Save) -> None:
    with pytest.raises(ResponseRejected, match=r"for \{a\} is not in the response"):
        save_values([save], reader("", "{}"))


def test_a_body_that_is_not_json() -> None:
    with pytest.raises(ResponseRejected, match="is not JSON"):
        save_values([Save("a", "json", "$.no")], reader("", "<html>"))


def test_cookies_come_and_go() -> None:
    jar = {"old": "1", "gone": "1"}
    absorb_cookies(
        jar,
        reader(
            "Set-Cookie: a=b=c; Path=/\r\nSet-Cookie: old=; x\r\nSet-Cookie: gone=x; Max-Age=0\r\nSet-Cookie: k=v\r\n"
        ),
    )
    assert jar == {"a": "b=c", "k": "v"}


REQUEST = b"POST /a/b?x=1 HTTP/1.1\r\nHost: h:1\r\nContent-Type: a/b\r\nX: y\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("status", "location", "first", "body"),
    [
        (302, "/c", b"GET /c HTTP/1.1", b""),
        (303, "c?y=2", b"GET /a/c?y=2 HTTP/1.1", b""),
        (307, "http://h:1/d e", b"POST /d%20e HTTP/1.1", b"ok"),
        (308, "?z", b"POST /a/b?z HTTP/1.1", b"ok"),
        (301, "/ü", b"GET /%C3%BC HTTP/1.1", b""),
        (302, "/c?q=a b%20c&d[]=ü", b"GET /c?q=a%20b%20c&d[]=%C3%BC HTTP/1.1", b""),
    ],
)
def test_redirects(status: int, location: str, first: bytes, body: bytes) -> None:
    method, head, sent = redirect_target(status, location, REQUEST)
    assert method.encode() == first.split()[0]
    assert head.startswith(first + b"\r\nHost: h:1\r\n")
    assert sent == body
    assert (b"Content-Type" in head) is bool(body)
    assert b"content-length" not in head
    assert head.endswith(b"\r\nX: y\r\n")


@pytest.mark.parametrize("location", ["http://other/", "//other/x", "http://h:2/"])
def test_other_hosts_are_not_followed(location: str) -> None:
    with pytest.raises(ResponseRejected, match="another host"):
        redirect_target(302, location, REQUEST)


def test_a_location_that_is_no_url_is_an_error() -> None:
    with pytest.raises(ResponseRejected, match="is no URL") as caught:
        redirect_target(302, "http://[bad/", REQUEST)
    assert caught.value.kind == "redirect"


def test_a_redirect_of_a_redirect_goes_on_from_what_was_sent_last() -> None:
    """POST, 303, 308: what is kept is the GET, not the POST it began with."""
    _, head, body = redirect_target(303, "/b", REQUEST)
    method, head, body = redirect_target(308, "/c", head + b"\r\n" + body)
    assert (method, head.split(b"\r\n")[0], body) == ("GET", b"GET /c HTTP/1.1", b"")


def test_cookies_are_left_to_who_keeps_them() -> None:
    _, head, _ = redirect_target(302, "/b", REQUEST.replace(b"X: y", b"cookie: a=1"))
    assert b"cookie" not in head


def test_the_hot_path_counts_as_the_histogram_does() -> None:
    """`load.client` has `cell_of` inline: the same lines, held together here."""
    for value in (0, 1, 2047, 2048, 4095, 4096, 123_456, 10**9, 3600 * 10**9):
        cell = value
        if cell >= 2048:
            shift = cell.bit_length() - 11
            cell = (shift << 10) + (cell >> shift)
        assert cell == cell_of(value)
