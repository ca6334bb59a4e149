"""Targets become flows of prepared steps; work and settings become jobs."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pytest_memory.errors import ConfigError
from pytest_memory.load.compile import Compiler, Origin, Work, parse_base_url, parse_save
from pytest_memory.load.jobs import is_private, make_jobs, make_socket_jobs, refuse_cut_arrivals
from pytest_memory.load.messages import Save, Slot, Stage, Stream
from pytest_memory.load.plan import Target, parse_options
from pytest_memory.load.template import built_in_values, render_request, written_out

BASE = "http://127.0.0.1:3000"


def compile_one(base_url: str | None = BASE, shared: dict[str, Any] | None = None, **fields: Any) -> Work:
    compiler = Compiler(base_url, **(shared or {}))
    return compiler.work([[Target(**fields)]], [1.0], keep_cookies=False)


def rendered(work: Work, **values: object) -> str:
    step = work.flows[0].steps[0]
    return render_request(step.method, step.head, step.cookies, step.body, {**built_in_values(7), **values}).decode()


def test_a_static_request_is_bytes() -> None:
    work = compile_one(url="/a?b=1")
    assert work.origin == Origin("http", "127.0.0.1", 3000)
    assert work.names == ("GET /a",)
    assert work.order == (0,)
    text = rendered(work)
    assert text.startswith("GET /a?b=1 HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n")
    assert text.endswith("user-agent: pytest-memory\r\n\r\n")


def test_placeholders_are_escaped_for_where_they_stand() -> None:
    work = compile_one(
        url="/i/{uuid}?n={n}",
        json={"quoted": "{uuid}", "bare": "{n:json}"},
        headers={"x-a": "{uuid}"},
        cookies={"c": "{n}"},
    )
    text = rendered(work, uuid='a b"c\r\n')
    assert text.startswith("POST /i/a%20b%22c%0D%0A?n=7 HTTP/1.1\r\n")
    assert '{"quoted":"a b\\"c\\r\\n","bare":7}' in text
    assert '\r\nx-a: a b"c\r\n' in text
    assert "\r\ncookie: c=7\r\n" in text
    body = text.partition("\r\n\r\n")[2]
    assert f"\r\ncontent-length: {len(body)}\r\n" in text


def test_what_every_request_carries_may_have_placeholders() -> None:
    shared = {"headers": {"x-request": "{uuid}", "x-other": "{other}"}, "cookies": {"visitor": "{n}"}}
    text = rendered(compile_one(url="/a", shared=shared), uuid="u-1")
    assert "\r\nx-request: u-1\r\nx-other: {other}\r\n" in text
    assert "\r\ncookie: visitor=7\r\n" in text


def test_a_form_is_escaped_as_a_form() -> None:
    text = rendered(compile_one(url="/f", data={"a": "{uuid}"}), uuid="x & y")
    assert text.endswith("\r\n\r\na=x+%26+y")


def test_saved_values_are_known_to_later_steps_only() -> None:
    first = Target(url="/a", save={"id": "$.id"})
    second = Target(url="/b/{id}")
    work = Compiler(BASE).work([[first, second]], [1.0], keep_cookies=True)
    assert work.flows[0].steps[0].saves == [Save("id", "json", "$.id")]
    assert Slot("id", "url") in work.flows[0].steps[1].head
    with pytest.raises(ConfigError, match=r"placeholder '\{id\}'; expected one of \{n\}, \{uuid\}"):
        Compiler(BASE).work([[second, first]], [1.0], keep_cookies=True)


def test_unknown_names_in_a_body_are_left_alone() -> None:
    assert '{"template":"{name}"}' in rendered(compile_one(url="/a", json={"template": "{name}"}))


def test_shared_parts_go_with_every_request() -> None:
    shared = {"headers": {"x-all": "1"}, "cookies": {"a": "1"}, "auth": ("u", "p")}
    text = rendered(compile_one(shared=shared, url="/a", headers={"x-all": "2"}, cookies={"b": "2"}))
    assert "x-all: 2\r\n" in text
    assert "cookie: a=1; b=2\r\n" in text
    assert "Authorization: Basic dTpw\r\n" in text


@pytest.mark.parametrize("name", ["User-Agent", "ACCEPT-Encoding", "Accept"])
def test_a_header_displaces_a_default_however_it_is_written(name: str) -> None:
    own, shared = compile_one(url="/a", headers={name: "x"}), compile_one(url="/a", shared={"headers": {name: "x"}})
    for text in (rendered(own), rendered(shared)):
        assert [line for line in text.split("\r\n") if line.lower().startswith(name.lower() + ":")] == [f"{name}: x"]


def test_a_targets_header_displaces_a_shared_one_however_it_is_written() -> None:
    shared = {"headers": {"authorization": "Bearer all"}}
    text = rendered(compile_one(shared=shared, url="/a", headers={"Authorization": "Bearer one"}))
    assert text.lower().count("authorization:") == 1
    assert "Authorization: Bearer one\r\n" in text


def test_a_websocket_carries_what_all_requests_do() -> None:
    compiler = Compiler(BASE, headers={"x-all": "1", "x-one": "1"}, cookies={"a": "1"}, auth=("u", "p"))
    assert compiler.socket_headers({"X-One": "2"}) == [
        [b"x-all: 1"],
        [b"X-One: 2"],
        [b"Cookie: a=1"],
        [b"Authorization: Basic dTpw"],
    ]
    assert Compiler(BASE).socket_headers({"Host": "other"}) == [[b"Host: other"]]
    with pytest.raises(ConfigError, match="line break"):
        compiler.socket_headers({"x": "a\r\nb"})


def test_a_websocket_has_placeholders_where_requests_have_them() -> None:
    compiler = Compiler(BASE, headers={"x-all": "{uuid}"}, cookies={"a": "{n}"})
    assert compiler.socket_headers({"x-one": "no {other}, {n}."}) == [
        [b"x-all: ", Slot("uuid", "header")],
        [b"x-one: no {other}, ", Slot("n", "header"), b"."],
        [b"Cookie: a=", Slot("n", "header")],
    ]
    _, path = compiler.socket_origin("/rooms/{n}?id={uuid}")
    assert path == [b"/rooms/", Slot("n", "url"), b"?id=", Slot("uuid", "url")]
    assert written_out(path) == "/rooms/{n}?id={uuid}"
    with pytest.raises(ConfigError, match="placeholder"):
        compiler.socket_origin("/rooms/{room}")


def test_an_httpx_request_is_sent_as_it_is() -> None:
    request = httpx.Request("PUT", f"{BASE}/x?{{n}}", content=b"{n}")
    work = Compiler(None).work([[request]], [1.0], keep_cookies=False)
    assert rendered(work).endswith("\r\n\r\n{n}")
    assert work.names == ("PUT /x",)


def test_a_stream() -> None:
    assert compile_one(url="/s", events=3, hold="2s").flows[0].steps[0].stream == Stream(events=3, hold_s=2.0)


def test_equal_names_share_their_counts() -> None:
    work = Compiler(BASE).work([[Target(url="/a?x=1")], [Target(url="/a?x=2")]], [1, 1], keep_cookies=False)
    assert work.names == ("GET /a",)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "ftp://h/"}, "expected http:// or https://"),
        ({"url": "http:///x"}, "the URL is"),
        ({"url": "/a", "base_url": None}, "there is no base URL"),
        ({"url": "/a", "content": 5}, "cannot be built"),
        ({"url": "/a", "headers": {"x": "a\nb"}}, "line break"),
        ({"url": "/a", "auth": httpx.DigestAuth("u", "p")}, "auth is DigestAuth"),
        ({"url": "/a", "auth": "token"}, "auth is str"),
        ({"url": "/a", "expect": 42}, "expect is 42"),
        ({"url": "/a", "expect": []}, "expect is []"),
        ({"url": "/a", "events": 0}, "events is 0"),
        ({"url": "/a/{id}"}, "has the placeholder"),
        ({"url": "http://h:99999/"}, "99999"),
    ],
)
def test_what_cannot_be_sent_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_one(**fields)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "save"),
    [
        ("$.a[0].b", Save("x", "json", "$.a[0].b")),
        ("json:$", Save("x", "json", "$")),
        ("header:Location", Save("x", "header", "location")),
        (r"regex:id=(\d+)", Save("x", "regex", r"id=(\d+)")),
    ],
)
def test_where_saved_values_come_from(text: str, save: Save) -> None:
    assert parse_save("x", text) == save


@pytest.mark.parametrize(
    ("name", "text"), [("n", "$.a"), ("a b", "$.a"), ("x", "a.b"), ("x", "$a"), ("x", "regex:("), ("x", "header:")]
)
def test_wrong_saves(name: str, text: str) -> None:
    with pytest.raises(ConfigError):
        parse_save(name, text)


@pytest.mark.parametrize("url", ["http://localhost:3000/", "https://[::1]:3000", "http://host"])
def test_base_urls(url: str) -> None:
    assert parse_base_url(url) == url.rstrip("/")


@pytest.mark.parametrize("url", ["localhost:3000", "", "ws://h/", "http://", "http://h:0/", "http://a b/"])
def test_wrong_base_urls(url: str) -> None:
    with pytest.raises(ConfigError):
        parse_base_url(url)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "192.168.1.5", "10.0.0.1", "fe80::1%eth0", "::ffff:127.0.0.1"])
def test_private_addresses(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1", "172.32.0.1", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert not is_private(address)


def test_jobs_share_the_work_to_the_request() -> None:
    settings = parse_options({"requests": 10, "concurrency": 5, "workers": 3, "warmup": 4})
    jobs = make_jobs(
        compile_one(url="/a"), settings, run_id=1, addresses=[("127.0.0.1", 1)], tls=None, first_number=100
    )
    assert [job.stages[1].requests for job in jobs] == [4, 3, 3]
    assert [job.stages[1].concurrency for job in jobs] == [2, 2, 1]
    assert [(job.first, job.stride, job.worker) for job in jobs] == [(100, 3, 0), (101, 3, 1), (102, 3, 2)]


def test_there_are_no_more_processes_than_connections() -> None:
    settings = parse_options({"requests": 10, "concurrency": 2, "workers": 8})
    assert len(make_jobs(compile_one(url="/a"), settings, run_id=1, addresses=[], tls=None, first_number=0)) == 2


def test_a_rate_of_sequences_is_not_cut() -> None:
    work = Compiler(BASE).work([[Target(url="/a"), Target(url="/b")]], [1.0], keep_cookies=True)
    with pytest.raises(ConfigError, match="iterations="):
        refuse_cut_arrivals(parse_options({"rate": 5, "requests": 10}), work)
    refuse_cut_arrivals(parse_options({"rate": 5, "iterations": 10}), work)


def test_websocket_jobs() -> None:
    origin, path = Compiler(BASE).socket_origin("ws://localhost:9/chat?x=1")
    assert (origin, path) == (Origin("http", "localhost", 9), [b"/chat?x=1"])
    [job] = make_socket_jobs(
        parse_options({"requests": 4}),
        origin=origin,
        path=path,
        send=['{"id":"{n}"}', "text {n}"],
        receive=1,
        hold="1s",
        farewell=[],
        clean=True,
        headers=[[b"a: b"]],
        subprotocols=["p"],
        check="",
        run_id=1,
        addresses=[("127.0.0.1", 9)],
        tls=None,
        first_number=0,
    )
    assert job.url == [b"ws://localhost:9", b"/chat?x=1"]
    assert job.send == [[b'{"id":"', Slot("n", "json"), b'"}'], [b"text ", Slot("n", "raw")]]
    assert (job.headers, job.subprotocols, job.hold_s) == ([[b"a: b"]], ["p"], 1.0)
    assert job.stages == [Stage(concurrency=10, requests=4)]
    assert job.addresses == [("127.0.0.1", 9)]
