"""Which app is meant, and what is asked of it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from pytest_memory.cli.arguments import build_parser
from pytest_memory.cli.settings import merge
from pytest_memory.cli.target import app_spec, make_generator, operations, requested, split_url, workload
from pytest_memory.errors import ConfigError
from pytest_memory.node.spec import AppSpec
from pytest_memory.spec import Settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTEST_MEMORY_APP", raising=False)


def parsed(*words: str) -> tuple[argparse.Namespace, Settings]:
    arguments = build_parser().parse_args(words)
    return arguments, merge(arguments, Path.cwd()).settings


def spec_of(*words: str) -> AppSpec:
    return app_spec(*parsed(*words))


def test_command_is_started() -> None:
    found = spec_of("monitor", "--app", "npm start", "--cwd", "web", "--port", "4000", "--ready", "/health")
    assert (found.command, found.cwd, found.port, found.ready) == ("npm start", "web", 4000, "/health")


@pytest.mark.parametrize(
    ("words", "attach", "url"),
    [
        (("--pid", "4711"), 4711, None),
        (("--pid", "4711", "-u", "http://localhost:8080/api"), 4711, "http://localhost:8080"),
        (("--inspector", "127.0.0.1:9229"), "127.0.0.1:9229", None),
        (("-u", "http://localhost:8080/x"), "http://localhost:8080", "http://localhost:8080"),
        (("-u", "localhost:8080"), "http://localhost:8080", "http://localhost:8080"),
        (("--app", "http://localhost:8080"), "http://localhost:8080", "http://localhost:8080"),
        (
            ("--app", "http://localhost:8080", "-u", "localhost:8080/x"),
            "http://localhost:8080",
            "http://localhost:8080",
        ),
        ((), "http://localhost:3000", "http://localhost:3000"),
    ],
)
def test_running_app_is_attached_to(words: tuple[str, ...], attach: str | int, url: str | None) -> None:
    found = spec_of("monitor", *words)
    assert (found.attach, found.url) == (attach, url)


@pytest.mark.parametrize(
    "words",
    [
        ("--app", "server.js", "--pid", "1"),
        ("--pid", "1", "--inspector", "127.0.0.1:9229"),
        ("--app", "server.js", "--inspector", "127.0.0.1:9229"),
        ("--app", "server.js", "-u", "http://localhost:8080"),
        ("--app", "server.js", "-u", "http://localhost:8080/api"),
        ("--app", "http://localhost:8080", "-u", "http://localhost:9090"),
    ],
)
def test_two_apps_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="expected one app"):
        spec_of("monitor", *words)


def test_a_flag_wins_over_the_environments_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_MEMORY_APP", "server.js")
    assert spec_of("monitor").command == "server.js"
    assert spec_of("monitor", "--pid", "7").attach == 7
    assert spec_of("monitor", "-u", "http://localhost:9").attach == "http://localhost:9"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://localhost:3000", ("http://localhost:3000", "")),
        ("http://localhost:3000/", ("http://localhost:3000", "/")),
        ("https://[::1]:3000/a/b?x=1#y", ("https://[::1]:3000", "/a/b?x=1")),
        ("localhost:3000/a", ("http://localhost:3000", "/a")),
    ],
)
def test_split_url(url: str, parts: tuple[str, str]) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize("url", ["ftp://x", "http://", "/path"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ConfigError, match="expected one such as"):
        split_url(url)


def test_what_is_asked_for() -> None:
    assert requested(parsed("load")[0]) == ["/"]
    assert requested(parsed("load", "-u", "http://localhost:3000/a?b=1")[0]) == ["/a?b=1"]
    assert requested(parsed("load", "-u", "http://localhost:3000/a", "-p", "/b", "-p", "POST /c")[0]) == [
        "/b",
        "POST /c",
    ]


def test_operations_have_names() -> None:
    arguments, settings = parsed("baseline", "-p", "/a", "-p", "POST /b", "--data", '{"x": 1}', "-H", "A: b")
    with make_generator(arguments, settings, "http://127.0.0.1:1") as generator:
        assert [name for name, _ in operations(arguments, generator)] == ["/a", "POST /b"]
        assert callable(workload(arguments, generator))
    arguments, settings = parsed("baseline", "--trpc", "order.list", "--input", '{"page": 1}')
    with make_generator(arguments, settings, "http://127.0.0.1:1") as generator:
        assert [name for name, _ in operations(arguments, generator)] == ["order.list"]


@pytest.mark.parametrize(
    ("words", "message"), [(("-H", "nothing"), "expected 'Name: value'"), (("--trpc", "a", "--input", "{"), "--input")]
)
def test_wrong_requests(words: tuple[str, ...], message: str) -> None:
    arguments, settings = parsed("load", *words)
    with pytest.raises(ConfigError, match=message):
        operations(arguments, make_generator(arguments, settings, "http://127.0.0.1:1"))
