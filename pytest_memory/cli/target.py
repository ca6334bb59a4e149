"""Which app a command is about, and what is asked of it.  Floor 7: arguments → AppSpec → NodeApp, and paths."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from pytest_memory.cli.arguments import DEFAULT_URL
from pytest_memory.errors import AppError, ConfigError
from pytest_memory.node.spec import AppSpec

if TYPE_CHECKING:
    from pytest_memory.load.generator import LoadGenerator
    from pytest_memory.load.result import LoadResult
    from pytest_memory.node.process import NodeApp
    from pytest_memory.spec import Settings


def app_spec(arguments: argparse.Namespace, settings: Settings) -> AppSpec:
    """What to start or attach to.  Raises ConfigError when more than one is named."""
    command, inspector, base_url = named_app(arguments, settings)
    if command and not _is_url(command):
        return AppSpec(
            command=command,
            cwd=arguments.cwd,
            node=settings["node"],
            port=arguments.port,
            ready=arguments.ready or "tcp",
        )
    if arguments.pid is not None:
        return AppSpec(attach=arguments.pid, url=base_url)
    if inspector:
        return AppSpec(attach=inspector, url=base_url)
    url = base_url or (split_url(command)[0] if command else split_url(DEFAULT_URL)[0])
    return AppSpec(attach=url, url=url)


def named_app(arguments: argparse.Namespace, settings: Settings) -> tuple[str | None, str | None, str | None]:
    """The app's command (or URL), its inspector, and where load goes, as far as each is named.

    ``-u`` beside --pid or --inspector says where that app serves; beside --app it would be another app.  Raises
    ConfigError when more than one app is named."""
    command, inspector = settings["app"], settings["inspector"]
    base_url = split_url(arguments.url)[0] if arguments.url else None
    flagged = {name for name in ("app", "inspector") if settings.source(name) == "option"}
    if flagged or arguments.pid is not None or base_url:
        # What the line says stands; the app that files or the environment name is for when it says nothing.
        command = command if "app" in flagged else None
        inspector = inspector if "inspector" in flagged else None
    named = {"--app": command, "--pid": arguments.pid, "--inspector": inspector}
    chosen = [flag for flag, value in named.items() if value is not None]
    if len(chosen) > 1:
        raise ConfigError(f"{' and '.join(chosen)} were both given; expected one app", slug="config-app")
    if command and base_url and not (_is_url(command) and split_url(command)[0] == base_url):
        raise ConfigError(
            f"--app {command!r} and -u {arguments.url!r} were both given; expected one app",
            slug="config-app",
            hint="--app starts the app and knows its address: -p PATH says what is asked of it; -u names one that runs",
        )
    return command, inspector, base_url


def _is_url(command: object) -> bool:
    return str(command).startswith(("http://", "https://"))


@contextlib.contextmanager
def open_app(arguments: argparse.Namespace, settings: Settings) -> Iterator[NodeApp]:
    """The app, started or attached to; stopped or detached from at the end."""
    spec = app_spec(arguments, settings)
    from pytest_memory.node.process import NodeApp

    try:
        started = NodeApp.start(spec)
    except AppError as error:
        if error.slug == "app-not-found" and spec.attach == DEFAULT_URL and not arguments.url:
            error.hint = "no app was named: start one with --app COMMAND, or name one with -u, --pid or --inspector"
        raise
    with started as app:
        yield app


def split_url(url: str) -> tuple[str, str]:
    """``"http://host:3000/api?x=1"`` → ``("http://host:3000", "/api?x=1")``.  Raises ConfigError for no URL."""
    text = url if "://" in url else f"http://{url}"
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(f"the URL is {url!r}; expected one such as {DEFAULT_URL!r}", slug="config-load")
    path = urlunsplit(("", "", parts.path, parts.query, ""))
    return f"{parts.scheme}://{parts.netloc}", path


def requested(arguments: argparse.Namespace) -> list[str]:
    """What to ask for: the paths, the path of the URL, else "/"."""
    paths: list[str] = list(arguments.path or ())
    if not paths and arguments.url:
        path = split_url(arguments.url)[1]
        paths = [path] if path else []
    return paths or ["/"]


def make_generator(arguments: argparse.Namespace, settings: Settings, base_url: str) -> LoadGenerator:
    """A load generator for this app with the command's headers."""
    from pytest_memory.load.generator import LoadGenerator

    return LoadGenerator(
        base_url,
        headers=_parse_headers(arguments.header or ()),
        allow_public=arguments.allow_public,
        concurrency=settings["load_concurrency"],
    )


Send = Callable[..., "LoadResult"]
"""Sends load with the options of a run: ``send(requests=100)``."""


def operations(arguments: argparse.Namespace, generator: LoadGenerator) -> list[tuple[str, Send]]:
    """Everything that is asked for, one by one: its name and a function that sends it."""
    if arguments.trpc:
        return [(arguments.trpc, _procedure(arguments, generator))]
    from pytest_memory.load.plan import Target

    body = _body(arguments.data)
    targets = [Target(url=path, **body) for path in requested(arguments)]
    return [(target.url, functools.partial(generator.run, target)) for target in targets]


def workload(arguments: argparse.Namespace, generator: LoadGenerator) -> Send:
    """Everything that is asked for, side by side in equal shares."""
    if arguments.trpc:
        return _procedure(arguments, generator)
    from pytest_memory.load.plan import Target

    body = _body(arguments.data)
    targets = [Target(url=path, **body) for path in requested(arguments)]
    if len(targets) == 1:
        return functools.partial(generator.run, targets[0])
    return functools.partial(generator.mix, targets)


def _procedure(arguments: argparse.Namespace, generator: LoadGenerator) -> Send:
    sent = _parse_json(arguments.input, "--input") if arguments.input is not None else None
    return functools.partial(
        generator.trpc, arguments.trpc, sent, type=arguments.trpc_type, prefix=arguments.trpc_prefix
    )


def _parse_headers(headers: list[str] | tuple[str, ...]) -> dict[str, str]:
    parsed = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise ConfigError(f"-H is {header!r}; expected 'Name: value'", slug="config-load")
        parsed[name.strip()] = value.strip()
    return parsed


def _body(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        return {"json": json.loads(text)}
    except ValueError:
        return {"content": text}


def _parse_json(text: str, flag: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{flag} is {text!r}; expected JSON ({error})", slug="config-load") from None
