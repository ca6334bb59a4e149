"""Parsers of single values of settings and markers: text or number in, a checked value out.  Floor 1: no I/O.

Each takes the value and what it is called where it was written, and raises ConfigError for what it cannot be.  Which
setting takes which is `spec`'s table; sizes, durations and rates themselves are `units`'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pytest_memory import units
from pytest_memory.errors import ConfigError


def parse_text(value: object, what: str) -> str:
    """Any non-empty string."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{what} is {value!r}; expected a non-empty text", slug="config-option")
    return value


def parse_count(value: object, what: str) -> int:
    """A whole number of at least 1."""
    try:
        number = int(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else 0
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(
            f"{what} is {value!r}; expected a whole number of at least 1",
            slug="config-unit",
        )
    return number


def check_not_negative(value: int, what: str) -> int:
    """A number of rows or levels of an answer, perhaps none.  From its end, as a slice counts, is none of them."""
    if value < 0:
        raise ConfigError(f"{what} is {value!r}; expected 0 or more", slug="config-option")
    return value


def parse_flag(value: object, what: str) -> bool:
    """true/false, yes/no, on/off, 1/0."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise ConfigError(f"{what} is {value!r}; expected true or false", slug="config-option")


def choice_of(*choices: str) -> Callable[[object, str], str]:
    """The parser of one of these words."""

    def parse_choice(value: object, what: str) -> str:
        if value not in choices:
            raise ConfigError(f"{what} is {value!r}; expected one of {', '.join(choices)}", slug="config-option")
        return str(value)

    return parse_choice


def parse_seconds(value: object, what: str) -> float:
    """A duration, in seconds where it has no unit."""
    return units.parse_duration(value, plain_unit="s", what=what)


def parse_duration_ms(value: object, what: str) -> float:
    """A duration, in milliseconds where it has no unit; the answer in seconds."""
    return units.parse_duration(value, plain_unit="ms", what=what)


def parse_interval(value: object, what: str, *, plain_unit: Literal["s", "ms"] = "s") -> float:
    """Seconds between two samples, ten milliseconds at least."""
    seconds = units.parse_duration(value, plain_unit=plain_unit, what=what)
    if seconds < 0.01:
        raise ConfigError(
            f"{what} is {value!r} ({seconds * 1000:g} ms); expected at least 10 ms",
            slug="config-unit",
            hint="sampling faster than every 10 ms measures the sampler",
        )
    return seconds


def parse_interval_ms(value: object, what: str) -> float:
    """As `parse_interval`, in milliseconds where it has no unit."""
    return parse_interval(value, what, plain_unit="ms")


def parse_growth_limit(value: object, what: str) -> units.Limit:
    """``"50MB"``, ``"10%"`` or ``"200B/request"``: what a window may grow by."""
    limit = units.parse_limit(value, what=what)
    if limit.kind == "bytes_per_unit" and limit.per != "request":
        raise ConfigError(
            f'{what} is {value!r}, a rate per {limit.per}; expected one per request, such as "200B/request": growth '
            "limits count requests alone",
            slug="config-unit",
            hint=f'leak tests count other units: no_leaks("100B/{limit.per}", unit="{limit.per}")',
        )
    return limit


def parse_inspector(value: object, what: str) -> str:
    """What can be attached to: HOST:PORT, a ws:// URL, a pid, the URL of a local app."""
    from pytest_memory.node.spec import parse_attach  # here, for every pytest run of an environment imports this module

    text = parse_text(value, what)
    parse_attach(text, what=what)
    return text


def parse_time_limit(value: object, what: str) -> units.Limit:
    """A duration above zero, in milliseconds where it has no unit; the limit's value in seconds."""
    seconds = units.parse_duration(value, plain_unit="ms", what=what)
    if seconds <= 0:
        raise ConfigError(
            f"{what} is {value!r}; expected a duration greater than zero",
            slug="config-unit",
            hint='every collection takes some time: allow what does not matter, such as "1ms"',
        )
    return units.Limit(kind="bytes", value=seconds, text=str(value))


def parse_count_limit(value: object, what: str) -> units.Limit:
    """A whole number of at least 1, as a limit."""
    number = parse_count(value, what)
    return units.Limit(kind="bytes", value=float(number), text=str(number))


def parse_leak_rate(value: object, what: str) -> units.Limit:
    """``"100B/request"``: what a unit of work may leave behind."""
    return units.parse_rate(value, what=what)
