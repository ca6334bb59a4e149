"""``pytest-memory config``: the merged settings and where each came from.  Floor 7."""

from __future__ import annotations

import argparse

from pytest_memory import spec
from pytest_memory.cli.front import EXIT_FINE, Context
from pytest_memory.units import Limit, format_size

_SIZES = ("heap_growth_warning", "rss_growth_warning")


def run(arguments: argparse.Namespace, context: Context) -> int:
    import json

    if arguments.schema:
        context.output.raw(json.dumps(spec.config_schema(), indent=2) + "\n")
        return EXIT_FINE
    settings, origins = context.merged.settings, context.merged.origins
    rows = [(name, setting.value, setting.source, origins.get(name, "")) for name, setting in settings.items()]
    context.output.json(
        {
            name: {"value": _plain(value), "source": source}
            | ({"from": origin} if origin else {})
            | ({"in_tools": tools} if (tools := _in_tools(name, source)) else {})
            for name, value, source, origin in rows
        }
    )
    names = max(len(name) for name, *_ in rows)
    values = max(len(_text(name, value)) for name, value, *_ in rows)
    for name, value, source, origin in rows:
        line = f"{name:<{names}}  {_text(name, value):<{values}}  {origin or source}{_tools_text(name, source)}"
        context.output.line(line.rstrip(), "" if source != "default" else "dim")
    return EXIT_FINE


def _in_tools(name: str, source: str) -> dict[str, object]:
    """The default of each command that has another one than pytest, as long as it is the default that holds."""
    option = spec.BY_NAME[name]
    return (
        dict.fromkeys(option.tools, option.cli_default)
        if source == "default" and option.cli_default is not None
        else {}
    )


def _tools_text(name: str, source: str) -> str:
    """``" in pytest, 5 s in load, stress and analyze"``, or nothing."""
    tools = _in_tools(name, source)
    if not tools:
        return ""
    *others, last = tools
    where = f"{', '.join(others)} and {last}" if others else last
    return f" in pytest, {_text(name, tools[last])} in {where}"


def _plain(value: object) -> object:
    return value.text if isinstance(value, Limit) else value


def _text(name: str, value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g} s"  # the only numbers with a fraction are durations
    return format_size(value) if name in _SIZES and isinstance(value, int) else str(value)
