"""The OPTIONS table and how settings merge.  Floor 1: errors and units; no I/O, no pytest, no argparse.

One row of OPTIONS feeds everything that has an option: the pytest flag, the ini key, the marker, the key in
memory-config.json, the command-line flag and docs/options.md.  To change an option, change its row.

Settings merge by source, weakest first: default < config file < ini < option < marker < call.  Every value
remembers the source it came from, so that a report (and ``pytest-memory config``) can say so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pytest_memory import units
from pytest_memory.errors import ConfigError
from pytest_memory.values import (
    choice_of,
    parse_count,
    parse_count_limit,
    parse_duration_ms,
    parse_flag,
    parse_growth_limit,
    parse_inspector,
    parse_interval,
    parse_interval_ms,
    parse_leak_rate,
    parse_seconds,
    parse_text,
    parse_time_limit,
)

Source = Literal["default", "config file", "ini", "option", "environment", "marker", "call"]
SOURCES: tuple[Source, ...] = ("default", "config file", "ini", "environment", "option", "marker", "call")

FailOn = Literal["warning", "critical", "inconclusive"]
FAIL_ON_CHOICES = ("critical", "warning", "inconclusive")
KEEP_CHOICES = ("failed", "all")
COMPRESSION_CHOICES = ("none", "gzip", "zstd")
SCOPES = ("function", "class", "module", "package", "session")

# Health classes (DESIGN: healthy / warning / critical), in the script suite's own numbers.
HEAP_GROWTH_WARNING_BYTES = 50_000_000
RSS_GROWTH_WARNING_BYTES = 100_000_000
GC_COUNT_WARNING = 100
CRITICAL_FACTOR = 2  # critical begins at twice the warning threshold: 100 MB of heap, as in the suite


# --- the table ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting and every place it can be set from.

    ``name`` gives the pytest flag ``--memory-<name>`` and the ini key ``memory_<name>``; ``marker`` the pytest
    marker whose first argument sets it; ``config_key`` the dotted path in memory-config.json (numbers there are
    milliseconds and bytes); ``cli_flags`` the flags of the command-line tools named in ``tools``.
    """

    name: str
    help: str
    parse: Callable[[object, str], Any]
    default: Any = None
    metavar: str | None = None
    is_flag: bool = False
    in_pytest: bool = True
    marker: str | None = None
    config_key: str | None = None
    config_parse: Callable[[object, str], Any] | None = None
    cli_flags: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    cli_parse: Callable[[object, str], Any] | None = None
    cli_default: Any = None
    choices: tuple[str, ...] = ()

    @property
    def pytest_flag(self) -> str:
        return f"--memory-{self.name.replace('_', '-')}"

    @property
    def ini_key(self) -> str:
        return f"memory_{self.name}"

    @property
    def environment_key(self) -> str:
        return f"PYTEST_MEMORY_{self.name.upper()}"


# Which command-line tools take a flag: those that look at an app, and those of them that judge what they saw.
JUDGING_TOOLS = ("monitor", "baseline", "stress", "analyze")
APP_TOOLS = (*JUDGING_TOOLS, "load", "profile")

OPTIONS: tuple[Option, ...] = (
    # the app
    Option(
        name="app",
        metavar="COMMAND|URL",
        parse=parse_text,
        cli_flags=("--app",),
        tools=APP_TOOLS,
        help='the app under test: a script, a command ("npm start") or the URL of an app already running',
    ),
    Option(
        name="inspector",
        metavar="HOST:PORT|ws://…",
        parse=parse_inspector,
        cli_flags=("--inspector",),
        tools=APP_TOOLS,
        help="attach to the inspector of an app already running instead of starting one",
    ),
    Option(
        name="app_scope",
        metavar="SCOPE",
        parse=choice_of(*SCOPES),
        choices=SCOPES,
        default="function",
        help="how long one app process lives: function (a fresh process a test, the cleanest), module or session",
    ),
    Option(
        name="node",
        metavar="PATH",
        parse=parse_text,
        cli_flags=("--node",),
        tools=APP_TOOLS,
        help="the Node.js binary (default: node on PATH, else the one of the 'node' extra)",
    ),
    # limits
    Option(
        name="max_heap_growth",
        metavar="LIMIT",
        parse=parse_growth_limit,
        marker="max_heap_growth",
        cli_flags=("--max-heap-growth",),
        tools=JUDGING_TOOLS,
        help='limit of settled heap growth: "50MB", "10%%" or "200B/request"',
    ),
    Option(
        name="max_rss_growth",
        metavar="LIMIT",
        parse=parse_growth_limit,
        marker="max_rss_growth",
        cli_flags=("--max-rss-growth",),
        tools=JUDGING_TOOLS,
        help="limit of settled RSS growth of the app's processes",
    ),
    Option(
        name="max_external_growth",
        metavar="LIMIT",
        parse=parse_growth_limit,
        marker="max_external_growth",
        cli_flags=("--max-external-growth",),
        tools=JUDGING_TOOLS,
        help="limit of settled growth of external memory (Buffers, ArrayBuffers)",
    ),
    Option(
        name="max_gc_pause",
        metavar="DURATION",
        parse=parse_time_limit,
        marker="max_gc_pause",
        cli_flags=("--max-gc-pause",),
        tools=JUDGING_TOOLS,
        help='limit of the longest garbage collection pause: "50ms"',
    ),
    Option(
        name="max_gc_count",
        metavar="N",
        parse=parse_count_limit,
        marker="max_gc_count",
        cli_flags=("--max-gc-count",),
        tools=JUDGING_TOOLS,
        help="limit of the number of major garbage collections",
    ),
    Option(
        name="no_leaks",
        metavar="RATE",
        parse=parse_leak_rate,
        marker="no_leaks",
        cli_flags=("--no-leaks",),
        tools=("stress", "analyze"),
        help='limit of growth per unit of work in leak tests: "100B/request"',
    ),
    # health classes
    Option(
        name="heap_growth_warning",
        metavar="SIZE",
        parse=lambda v, w: units.parse_size(v, what=w),
        default=HEAP_GROWTH_WARNING_BYTES,
        config_key="monitor.thresholds.heapGrowth",
        help="heap growth from which a test without a limit of its own is a warning; twice that is critical, "
        "unless a leak test judged the heap",
    ),
    Option(
        name="rss_growth_warning",
        metavar="SIZE",
        parse=lambda v, w: units.parse_size(v, what=w),
        default=RSS_GROWTH_WARNING_BYTES,
        config_key="monitor.thresholds.rssGrowth",
        help="RSS growth from which a test without a limit of its own is a warning",
    ),
    Option(
        name="gc_count_warning",
        metavar="N",
        parse=parse_count,
        default=GC_COUNT_WARNING,
        config_key="monitor.thresholds.gcFrequency",
        help="number of major collections from which a test without a limit of its own is a warning",
    ),
    # measuring
    Option(
        name="interval",
        metavar="DURATION",
        parse=parse_interval,
        default=1.0,
        config_key="monitor.interval",
        config_parse=parse_interval_ms,
        cli_flags=("-i", "--interval"),
        tools=("monitor", "stress", "analyze"),
        cli_parse=parse_interval_ms,
        help="time between two samples, at least 10 ms",
    ),
    Option(
        name="duration",
        metavar="DURATION",
        parse=parse_seconds,
        default=60.0,
        config_key="monitor.duration",
        config_parse=parse_duration_ms,
        cli_flags=("-d", "--duration"),
        tools=("monitor",),
        cli_parse=parse_duration_ms,
        help="how long a monitor runs that nobody stops",
    ),
    # load
    Option(
        name="load_concurrency",
        metavar="N",
        parse=parse_count,
        default=10,
        config_key="loadTest.concurrency",
        cli_flags=("-c", "--concurrency"),
        tools=("load", "stress", "analyze"),
        help="connections that send requests at the same time, where a call does not say",
    ),
    Option(
        name="load_duration",
        metavar="DURATION",
        parse=parse_seconds,
        default=60.0,
        config_key="loadTest.duration",
        config_parse=parse_duration_ms,
        cli_flags=("-d", "--duration"),
        tools=("load", "stress", "analyze"),
        cli_parse=parse_duration_ms,
        help="how long a load run lasts, where a call says neither duration nor requests",
    ),
    Option(
        name="load_ramp_up",
        metavar="DURATION",
        parse=parse_seconds,
        default=0.0,
        cli_default=5.0,
        config_key="loadTest.rampUp",
        config_parse=parse_duration_ms,
        cli_flags=("-r", "--ramp-up"),
        tools=("load", "stress", "analyze"),
        cli_parse=parse_duration_ms,
        help="time over which the connections are started one by one",
    ),
    # verdict and baseline
    Option(
        name="fail_on",
        metavar="LEVEL",
        parse=choice_of(*FAIL_ON_CHOICES),
        choices=FAIL_ON_CHOICES,
        default="critical",
        cli_flags=("--fail-on",),
        tools=JUDGING_TOOLS,
        help="what fails besides a broken limit: nothing more (critical), also a warning, or also what is inconclusive",
    ),
    Option(
        name="baseline",
        metavar="FILE",
        parse=parse_text,
        help="compare with this baseline file, fail on a breach",
    ),
    Option(
        name="baseline_update",
        parse=parse_flag,
        default=False,
        is_flag=True,
        help="store what was measured in the baseline file (only the tests that ran)",
    ),
    Option(
        name="baseline_prune",
        parse=parse_flag,
        default=False,
        is_flag=True,
        help="remove entries of tests that no longer exist from the baseline file",
    ),
    Option(
        name="baseline_ref",
        metavar="GITREF",
        parse=parse_text,
        help="read the baseline file from this git commit or branch instead of the working tree",
    ),
    Option(
        name="baseline_tolerance",
        metavar="LIMIT",
        parse=parse_growth_limit,
        marker="memory_baseline",
        help='how far above its baseline a test may be ("10%%"; default: derived from the measured noise)',
    ),
    # files
    Option(
        name="config",
        metavar="FILE",
        parse=parse_text,
        cli_flags=("--config",),
        tools=(*APP_TOOLS, "config"),
        help="settings file (default: memory-config.json, if any)",
    ),
    Option(name="results", metavar="DIR", parse=parse_text, help="keep results, and snapshots of failures, here"),
    Option(
        name="keep_snapshots",
        metavar="WHICH",
        parse=choice_of(*KEEP_CHOICES),
        choices=KEEP_CHOICES,
        default="failed",
        help="which tests' heap snapshots are kept in the results directory: those of failed tests, or of all",
    ),
    Option(
        name="snapshot_compression",
        metavar="HOW",
        parse=choice_of(*COMPRESSION_CHOICES),
        choices=COMPRESSION_CHOICES,
        default="none",
        cli_flags=("--compress",),
        tools=("profile",),
        help="compress the heap snapshots that are kept: none, gzip, or zstd (the 'zstd' extra)",
    ),
    Option(name="json", metavar="FILE", parse=parse_text, help="write the results as one JSON document"),
    Option(
        name="report",
        metavar="FILE.html",
        parse=parse_text,
        cli_flags=("--report",),
        tools=("monitor", "load", "baseline", "stress"),
        help="write a standalone HTML report",
    ),
    Option(
        name="comment",
        metavar="FILE.md",
        parse=parse_text,
        help="write a Markdown file for a pull request comment",
    ),
    Option(
        name="benchmark",
        metavar="FILE.json",
        parse=parse_text,
        help="write the numbers for github-action-benchmark (customSmallerIsBetter)",
    ),
    Option(
        name="explain",
        parse=parse_flag,
        default=True,
        help="take snapshots after a leak was found, to name what grows and who holds it (true or false)",
        metavar="BOOL",
    ),
    Option(
        name="disable",
        parse=parse_flag,
        default=False,
        is_flag=True,
        help="do not measure: tests that need an app's memory are skipped, saying so",
    ),
)

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}
BY_MARKER: dict[str, Option] = {option.marker: option for option in OPTIONS if option.marker}
BY_CONFIG_KEY: dict[str, Option] = {option.config_key: option for option in OPTIONS if option.config_key}
LIMITS: tuple[str, ...] = (
    "max_heap_growth",
    "max_rss_growth",
    "max_external_growth",
    "max_gc_pause",
    "max_gc_count",
)
ENVIRONMENT_PREFIX = "PYTEST_MEMORY_"


# --- merging --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """One merged value and the source that had the last word."""

    value: Any
    source: Source


class Settings:
    """All settings, merged.  ``settings["interval"]`` is the value, ``settings.source("interval")`` who set it."""

    __slots__ = ("_settings",)

    def __init__(self, settings: Mapping[str, Setting]) -> None:
        self._settings = dict(settings)

    def __getitem__(self, name: str) -> Any:
        return self._settings[name].value

    def source(self, name: str) -> Source:
        return self._settings[name].source

    def items(self) -> Iterable[tuple[str, Setting]]:
        return self._settings.items()

    def override(self, source: Source, values: Mapping[str, object]) -> Settings:
        """A copy in which ``values`` (raw, not yet parsed) of a stronger source win."""
        merged = dict(self._settings)
        for name, raw in values.items():
            if raw is not None:
                merged[name] = Setting(parse_option(name, raw, source), source)
        return Settings(merged)


def parse_option(name: str, raw: object, source: Source) -> Any:
    """Parse one raw value of the named option as ``source`` writes it."""
    option = BY_NAME[name]
    what = describe_place(option, source)
    if source == "config file" and option.config_parse is not None:
        return option.config_parse(raw, what)
    return option.parse(raw, what)


def describe_place(option: Option, source: Source) -> str:
    """Where the user wrote it, in the user's words: ``--memory-interval``, ``@pytest.mark.max_heap_growth`` …"""
    if source == "option":
        return option.pytest_flag
    if source == "marker" and option.marker:
        return f"@pytest.mark.{option.marker}"
    if source == "config file" and option.config_key:
        return option.config_key
    if source == "environment":
        return option.environment_key
    if source == "ini":
        return option.ini_key
    return option.name


def default_settings() -> Settings:
    """What holds when nobody says anything."""
    return Settings({option.name: Setting(option.default, "default") for option in OPTIONS})


def merge_settings(layers: Mapping[Source, Mapping[str, object]]) -> Settings:
    """Merge raw values by source, weakest source first, whatever the order of ``layers``.

    Raises ConfigError for the first value that does not parse."""
    settings = default_settings()
    for source in SOURCES:
        settings = settings.override(source, layers.get(source, {}))
    return settings


def environment_values(environ: Mapping[str, str]) -> dict[str, object]:
    """The settings among the environment variables: ``PYTEST_MEMORY_INTERVAL=500ms``."""
    return {
        option.name: environ[option.environment_key]
        for option in OPTIONS
        if environ.get(option.environment_key, "") != ""
    }


# --- memory-config.json ---------------------------------------------------------------------------------------


def parse_config_text(text: str, file: str) -> dict[str, object]:
    """The raw values in the text of a memory-config.json, by option name.

    Raises ConfigError (slug config-file) for text that is no JSON object, and for an unknown key, naming the
    nearest known one.  Times are milliseconds and sizes bytes, as the script suite writes them."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"{file} is no JSON: {error}; expected an object with the keys monitor and loadTest", slug="config-file"
        ) from None
    values: dict[str, object] = {}
    _collect_config(document, "", file, values)
    return values


def _collect_config(node: object, path: str, file: str, values: dict[str, object]) -> None:
    if not isinstance(node, dict):
        raise ConfigError(f"{path or 'the document'} in {file} is {node!r}; expected an object", slug="config-file")
    for key, value in node.items():
        dotted = f"{path}.{key}" if path else key
        if key == "$schema" and not path:
            continue
        option = BY_CONFIG_KEY.get(dotted)
        if option is not None:
            parse_option(option.name, value, "config file")  # refuse here, where the file's name is known
            values[option.name] = value
        elif any(known.startswith(dotted + ".") for known in BY_CONFIG_KEY):
            _collect_config(value, dotted, file, values)
        else:
            raise ConfigError(
                f"unknown key {dotted!r} in {file}",
                slug="config-file",
                hint=suggest(dotted, _config_keys(), "known keys are"),
            )


def _config_keys() -> list[str]:
    keys = set(BY_CONFIG_KEY)
    for dotted in BY_CONFIG_KEY:
        parts = dotted.split(".")
        keys.update(".".join(parts[:length]) for length in range(1, len(parts)))
    return sorted(keys)


def suggest(word: str, known: Iterable[str], otherwise: str) -> str:
    """A hint for an unknown word: the nearest known one, or all of them after ``otherwise``."""
    import difflib  # only a mistake needs it

    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"{otherwise} {', '.join(known)}"


def config_schema() -> dict[str, Any]:
    """The JSON Schema of memory-config.json, made from the table."""
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "memory-config.json",
        "description": "Settings of pytest-memory; times in milliseconds, sizes in bytes",
        "type": "object",
        "additionalProperties": False,
        "properties": {"$schema": {"type": "string"}},
    }
    for dotted, option in BY_CONFIG_KEY.items():
        node = schema
        *parents, leaf = dotted.split(".")
        for part in parents:
            node = node["properties"].setdefault(
                part, {"type": "object", "additionalProperties": False, "properties": {}}
            )
        node["properties"][leaf] = {"type": "number", "minimum": 0, "description": option.help.replace("%%", "%")}
    return schema
