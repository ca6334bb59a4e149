"""AppSpec: what is accepted, what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.errors import ConfigError
from pytest_memory.node.spec import AppSpec, AttachTarget, Ready, parse_attach, parse_ready


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("server.js", ("server.js",)),
        ("npm run start", ("npm", "run", "start")),
        ("npx next start -p {port}", ("npx", "next", "start", "-p", "3000")),
        (["server.js", '{"a": {port}}', "two words"], ("server.js", '{"a": 3000}', "two words")),
        ('node "my server.js"', ("node", "my server.js")),
        ("A=1 node x.js", ("/bin/sh", "-c", "A=1 node x.js")),
        ("npm run build && npm start -- -p {port}", ("/bin/sh", "-c", "npm run build && npm start -- -p 3000")),
        (["sh", "-c", "a && b"], ("sh", "-c", "a && b")),
    ],
)
def test_a_command_becomes_arguments(command: Any, argv: tuple[str, ...]) -> None:
    assert AppSpec(command=command).argv(3000) == argv


def test_fields_are_normalised() -> None:
    spec = AppSpec(command=["a.js"], env={"N": 3, "X": None}, node_options="--a --b='c d'")  # type: ignore[dict-item]
    assert spec.command == ("a.js",)
    assert spec.env == {"N": "3", "X": None}
    assert spec.node_options == ("--a", "--b=c d")
    assert spec == AppSpec(command=("a.js",), env={"N": "3", "X": None}, node_options=["--a", "--b=c d"])


def test_a_port_of_the_environment_is_the_port() -> None:
    assert AppSpec(command="a.js", env={"PORT": "3000"}).port == 3000
    assert AppSpec(command="a.js", env={"PORT": "3000"}, port=3000).port == 3000
    assert AppSpec(command="a.js", env={"PORT": "/run/app.sock"}).port is None
    assert AppSpec(command="a.js", env={"PORT": None}).port is None


def test_a_label_is_what_the_user_wrote() -> None:
    assert AppSpec(command="npm run x").label == "npm run x"
    assert AppSpec(command=["a b.js", "{port}"]).label == "'a b.js' '{port}'"
    assert AppSpec(attach=4711).label == "4711"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "app is None; expected either a command"),
        ({"command": "a.js", "attach": 1}, "app is 'a.js'; expected either a command"),
        ({"command": ""}, "app is ''; expected a script"),
        ({"command": "   "}, "app is '   '"),
        ({"command": []}, "app is []"),
        ({"command": [""]}, "app is ['']"),
        ({"command": 7}, "app is 7"),
        ({"command": ["a.js", 7]}, "app is ['a.js', 7]"),
        ({"command": "node 'a.js"}, "balanced quotes"),
        ({"command": ["a\0.js"]}, "without NUL"),
        ({"command": "node --inspect-brk a.js"}, "wait for a debugger"),
        ({"command": "a.js", "node_options": ["--inspect-wait"]}, "wait for a debugger"),
        ({"command": "a.js", "node_options": ["a"]}, "node_options is ['a']"),
        ({"command": "a.js", "node_options": 7}, "node_options is 7"),
        ({"command": "a.js", "env": ["A=1"]}, "env is ['A=1']"),
        ({"command": "a.js", "env": {"A=": "1"}}, "env is 'A='"),
        ({"command": "a.js", "env": {"A": True}}, "env['A'] is True"),
        ({"command": "a.js", "env": {"A": "\0"}}, "env['A'] is '\\x00'"),
        ({"command": "a.js", "port": 0}, "port is 0; expected an integer from 1 to 65535"),
        ({"command": "a.js", "port": 65536}, "port is 65536"),
        ({"command": "a.js", "port": "3000"}, "port is '3000'"),
        ({"command": "a.js", "port": 4000, "env": {"PORT": 3000}}, "port is 4000; expected the PORT of env, 3000"),
        ({"command": "a.js", "env": {"PORT": 0}}, "port is 0"),
        ({"command": "a.js", "port": True}, "port is True"),
        ({"command": "a.js", "ready": "health"}, "ready is 'health'; expected a path"),
        ({"command": "a.js", "ready": "log:"}, "ready is 'log:'"),
        ({"command": "a.js", "ready": "log:("}, "a regular expression after log:"),
        ({"command": "a.js", "ready": 5}, "ready is 5"),
        ({"command": "a.js", "ready_timeout_s": 0}, "ready_timeout is 0; expected a number of seconds"),
        ({"command": "a.js", "ready_timeout_s": float("nan")}, "ready_timeout is nan"),
        ({"command": "a.js", "stop_timeout_s": -1}, "stop_timeout is -1"),
        ({"command": "a.js", "stop_timeout_s": "5s"}, "stop_timeout is '5s'"),
        ({"attach": "nonsense"}, "what to attach to is 'nonsense'; expected a pid"),
        ({"attach": 0}, "what to attach to is 0"),
        ({"attach": -5}, "what to attach to is -5"),
        ({"attach": True}, "what to attach to is True"),
        ({"attach": "127.0.0.1:0"}, "what to attach to is '127.0.0.1:0'"),
        ({"attach": "127.0.0.1:99999"}, "what to attach to is '127.0.0.1:99999'"),
        ({"attach": "http://"}, "what to attach to is 'http://'"),
        ({"attach": "ws://"}, "what to attach to is 'ws://'"),
        ({"attach": "http://[::1"}, "what to attach to is 'http://[::1'"),
        ({"attach": 1, "url": "localhost:3000"}, "url is 'localhost:3000'; expected a URL"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_value(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        AppSpec(**fields)
    assert said in error.value.message
    assert error.value.slug == "config-app"
    assert error.value.hint


@pytest.mark.parametrize(
    ("text", "ready", "shown"),
    [
        ("/", Ready("path", "/"), "GET /"),
        ("/health?deep=1", Ready("path", "/health?deep=1"), "GET /health?deep=1"),
        ("log:ready on", Ready("log", "ready on"), "output matching 'ready on'"),
        ("tcp", Ready("tcp"), "its port"),
    ],
)
def test_readiness_is_parsed_and_shown(text: str, ready: Ready, shown: str) -> None:
    assert parse_ready(text) == ready
    assert str(ready) == shown


@pytest.mark.parametrize(
    ("target", "kind", "host_port"),
    [
        ("127.0.0.1:9229", "address", ("127.0.0.1", 9229)),
        ("[::1]:9229", "address", ("::1", 9229)),
        ("my-host.example:9229", "address", ("my-host.example", 9229)),
        ("ws://127.0.0.1:9229/abc", "ws", ("127.0.0.1", 9229)),
        ("http://localhost:3000/x", "url", ("localhost", 3000)),
        ("https://localhost", "url", ("localhost", 443)),
        (" 4711 ", "pid", None),
        (4711, "pid", None),
    ],
)
def test_attach_targets_are_told_apart(target: str | int, kind: str, host_port: tuple[str, int] | None) -> None:
    parsed = parse_attach(target)
    assert parsed.kind == kind
    if host_port is not None:
        assert parsed.host_port == host_port


@given(st.text(max_size=40) | st.integers())
def test_any_target_is_parsed_or_refused(target: str | int) -> None:
    try:
        parsed = parse_attach(target)
    except ConfigError:
        return
    assert isinstance(parsed, AttachTarget)


@given(st.text(max_size=40))
def test_any_command_line_is_accepted_or_refused(text: str) -> None:
    try:
        argv = AppSpec(command=text).argv(1)
    except ConfigError:
        return
    assert argv
    assert all(isinstance(word, str) for word in argv)
