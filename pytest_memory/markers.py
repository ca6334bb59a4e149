"""The markers of the plugin: what each takes, and the check of one as the test author wrote it.  Floor 1: no pytest.

Limits are options that happen to be set by a marker, so their values are parsed by `spec`; what markers take beyond
a value stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_memory.errors import ConfigError
from pytest_memory.spec import BY_MARKER, SCOPES, parse_option, suggest
from pytest_memory.values import parse_count, parse_seconds

NODE_APP_KEYWORDS: dict[str, str] = {
    "cwd": "directory to start in (default: that of the test file)",
    "env": "environment variables to add",
    "node": "the Node.js binary",
    "node_options": "options of Node itself, such as --max-old-space-size=256",
    "port": "a fixed port (default: a free one, passed as PORT and {port})",
    "ready": 'how to know it is up: a path answering below 500, "log:REGEX", "tcp" or None',
    "ready_timeout": "how long to wait for it (default 30 s)",
    "stop_timeout": "how long SIGTERM may take before SIGKILL (default 5 s)",
    "precise": "switch V8's optimising compilers off, as leak tests do",
    "url": "the URL it serves, where it is not http://127.0.0.1:PORT",
    "inspector": "attach to this inspector (HOST:PORT or ws://…) instead of starting an app",
    "pid": "attach to this process instead of starting an app",
    "scope": "function, class, module or session: how long the process lives, for tests that start it alike (no_leaks "
    "adds flags)",
}

NO_LEAKS_KEYWORDS: dict[str, str] = {
    "unit": 'what is counted: "request" (default), "job", "iteration" …',
    "rounds": "the least number of rounds",
    "max_rounds": "the most rounds before it is inconclusive",
    "max_duration": "the longest it may take before it is inconclusive",
    "precise": "False to keep V8's optimising compilers on",
    "kinds": "the kinds of memory to judge (default: all)",
}

BASELINE_KEYWORDS: dict[str, str] = {
    "metrics": 'the metrics to compare: names, or {"rss_bytes": "15%"} with tolerances (default: the usual ones)'
}

MARKER_HELP: tuple[tuple[str, str], ...] = (
    ("node_app(command, *, cwd, env, node_options, port, ready, …)", "how to start, or attach to, the app under test"),
    ('max_heap_growth("50MB" | "10%" | "200B/request")', "fail when the settled heap grew more"),
    ('max_rss_growth("100MB" | …)', "fail when the settled RSS grew more"),
    ('max_external_growth("20MB" | …)', "fail when settled external memory (Buffers) grew more"),
    ('max_gc_pause("50ms")', "fail when one garbage collection paused the app longer"),
    ("max_gc_count(100)", "fail when there were more major garbage collections"),
    ('no_leaks("100B/request", *, unit, rounds, …)', "fail when a leak test finds memory growing faster"),
    ('memory_baseline("10%", *, metrics)', "how far above its baseline this test may be"),
)

_MARKER_KEYWORDS: dict[str, dict[str, str]] = {
    "node_app": NODE_APP_KEYWORDS,
    "no_leaks": NO_LEAKS_KEYWORDS,
    "memory_baseline": BASELINE_KEYWORDS,
}
MARKERS: tuple[str, ...] = ("node_app", *BY_MARKER)


def check_marker(name: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Any:
    """Parse one marker; returns the value of its first argument (None where it has none).

    Raises ConfigError (slug config-marker or config-unit) for wrong values, unknown keywords and wrong counts."""
    known = _MARKER_KEYWORDS.get(name, {})
    for keyword in kwargs:
        if keyword not in known:
            hint = suggest(keyword, known, "it takes") if known else "it takes no keyword"
            raise ConfigError(
                f"@pytest.mark.{name} has no keyword {keyword!r}",
                slug="config-marker",
                hint=hint,
            )
    if len(args) > 1:
        raise ConfigError(f"@pytest.mark.{name} has {len(args)} arguments {args!r}; expected one", slug="config-marker")
    if name == "node_app":
        return _check_node_app(args, kwargs)
    if name == "no_leaks":
        _check_no_leaks(kwargs)
    if name == "memory_baseline" and "metrics" in kwargs:
        from pytest_memory import metrics  # here, for every pytest run of an environment imports this module

        metrics.parse_metrics(kwargs["metrics"], "@pytest.mark.memory_baseline metrics")
    if not args:
        if name in ("no_leaks", "memory_baseline"):
            return None
        raise ConfigError(f"@pytest.mark.{name} has no argument; expected a limit", slug="config-marker")
    return parse_option(BY_MARKER[name].name, args[0], "marker")


def _check_node_app(args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
    if not args and not {"inspector", "pid", "url"} & set(kwargs):
        raise ConfigError(
            "@pytest.mark.node_app has no argument; expected a command, or one of inspector=, pid=, url=",
            slug="config-marker",
            hint='for example @pytest.mark.node_app("server.js", ready="/health")',
        )
    command = args[0] if args else None
    if command is not None and not (
        (isinstance(command, str) and command.strip())
        or (isinstance(command, (list, tuple)) and command and all(isinstance(part, str) for part in command))
    ):
        raise ConfigError(
            f"@pytest.mark.node_app is {command!r}; expected a script, a command or a list of arguments",
            slug="config-marker",
        )
    for keyword in ("ready_timeout", "stop_timeout"):
        if keyword in kwargs:
            parse_seconds(kwargs[keyword], f"@pytest.mark.node_app {keyword}")
    if kwargs.get("scope", "function") not in SCOPES:
        raise ConfigError(
            f"@pytest.mark.node_app scope is {kwargs['scope']!r}; expected one of {', '.join(SCOPES)}",
            slug="config-marker",
        )
    return command


def _check_no_leaks(kwargs: Mapping[str, object]) -> None:
    for keyword in ("rounds", "max_rounds"):
        if keyword in kwargs:
            parse_count(kwargs[keyword], f"@pytest.mark.no_leaks {keyword}")
    if "max_duration" in kwargs and parse_seconds(kwargs["max_duration"], "@pytest.mark.no_leaks max_duration") <= 0:
        raise _wrong_keyword("max_duration", kwargs["max_duration"], "a duration greater than zero")
    from pytest_memory.model import JUDGED_KINDS  # here, for every pytest run of an environment imports this module

    unit = kwargs.get("unit", "request")
    if not isinstance(unit, str) or not unit.strip():
        raise _wrong_keyword("unit", unit, 'a word such as "job"')
    if not isinstance(kwargs.get("precise", True), bool):
        raise _wrong_keyword("precise", kwargs["precise"], "True or False")
    kinds = kwargs.get("kinds", JUDGED_KINDS)
    if isinstance(kinds, str) or not isinstance(kinds, Iterable) or not set(kinds) <= set(JUDGED_KINDS):
        raise _wrong_keyword("kinds", kinds, f"a list of some of {', '.join(JUDGED_KINDS)}")


def _wrong_keyword(keyword: str, value: object, expected: str) -> ConfigError:
    return ConfigError(
        f"@pytest.mark.no_leaks {keyword} is {value!r}; expected {expected}",
        slug="config-marker",
        hint=f"{keyword}: {NO_LEAKS_KEYWORDS[keyword]}",
    )
