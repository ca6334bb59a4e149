"""Sizes, durations, rates and limits: one grammar to parse them, one set of short forms to print them.

Floor 0: imports only errors.  Every parser matches the whole text; what does not match is a ConfigError that
shows the value and what was expected.  ``KB`` is 1000 bytes and ``KiB`` 1024; a value remembers the text the
user wrote, so reports repeat the user's own words.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from pytest_memory.errors import ConfigError

_SIZE_FACTOR = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_DURATION_FACTOR_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_NUMBER = r"(?P<number>\d+(?:_\d+)*(?:\.\d+)?)"
_SIZE = _NUMBER + r"\s*(?P<unit>[KMGT]?i?B)"
_RATE = _SIZE + r"\s*/\s*(?P<per>[A-Za-z][A-Za-z_-]{0,31})"
_PERCENT = _NUMBER + r"\s*%"
_DURATION = _NUMBER + r"\s*(?P<unit>us|ms|s|min|m|h)"

# Nobody's heap, file or wait is larger; beyond it a typo is likelier than a wish, and floats lose bytes.
MAX_SIZE_BYTES = 2**53
MAX_DURATION_S = 30 * 24 * 3600.0

LimitKind = Literal["bytes", "percent", "bytes_per_unit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """An upper bound on growth: bytes, percent of the start, or bytes per unit of work.

    ``value`` is in bytes, percent or bytes/unit as ``kind`` says; ``text`` is what the user wrote; ``per`` is
    the unit of work of a rate ("request", "job").
    """

    kind: LimitKind
    value: float
    text: str
    per: str | None = None

    def __str__(self) -> str:
        return self.text


def _match(pattern: str, text: str) -> re.Match[str] | None:
    # Compiled when first needed: every pytest run of an environment imports this module, few parse a size.
    return re.fullmatch(pattern, text, re.IGNORECASE)


def _number(match: re.Match[str]) -> float:
    return float(match["number"].replace("_", ""))


def _refuse(text: object, expected: str, what: str, hint: str | None = None) -> ConfigError:
    return ConfigError(f"{what} is {text!r}; expected {expected}", slug="config-unit", hint=hint)


def parse_size(text: object, *, what: str = "size") -> int:
    """Parse ``"50MB"``, ``"1.5 GiB"`` or a plain number of bytes into bytes.

    Raises ConfigError for anything else, for negative values and for values beyond 2**53.
    """
    expected = 'a size such as "50MB", "64 KiB" or a number of bytes'
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise _refuse(text, expected, what)
    if isinstance(text, (int, float)):
        if not math.isfinite(text) or text < 0 or text > MAX_SIZE_BYTES:
            raise _refuse(text, expected, what)
        return int(text)
    stripped = text.strip()
    if plain := _match(_NUMBER, stripped):
        size = _number(plain)
    elif match := _match(_SIZE, stripped):
        size = _number(match) * _SIZE_FACTOR[match["unit"].lower()]
    else:
        raise _refuse(text, expected, what, "units are B, KB, MB, GB (powers of 1000) and KiB, MiB, GiB (1024)")
    if size > MAX_SIZE_BYTES:
        raise _refuse(text, f"at most {format_size(MAX_SIZE_BYTES)}", what)
    return round(size)


def parse_duration(text: object, *, plain_unit: Literal["s", "ms"], what: str = "duration") -> float:
    """Parse ``"30s"``, ``"250ms"``, ``"1.5m"`` into seconds.

    A number without a unit means ``plain_unit``: seconds in Python, milliseconds on the command line and in
    memory-config.json, as in the script suite whose flags the CLI carries over.
    """
    expected = 'a positive duration such as "30s", "250ms" or "2m"'
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise _refuse(text, expected, what)
    factor = 1.0 if plain_unit == "s" else 1e-3
    if isinstance(text, (int, float)):
        seconds = float(text) * factor
    else:
        stripped = text.strip()
        if plain := _match(_NUMBER, stripped):
            seconds = _number(plain) * factor
        elif match := _match(_DURATION, stripped):
            seconds = _number(match) * _DURATION_FACTOR_S[match["unit"].lower()]
        else:
            raise _refuse(text, expected, what, "units are ms, s, m and h")
    if not math.isfinite(seconds) or seconds < 0 or seconds > MAX_DURATION_S:
        raise _refuse(text, f"{expected}, at most 30 days", what)
    return seconds


def parse_limit(text: object, *, what: str = "limit") -> Limit:
    """Parse ``"50MB"``, ``"10%"`` or ``"200B/request"`` into a Limit greater than zero."""
    expected = 'a size "50MB", a percentage "10%" or a rate "200B/request", greater than zero'
    if isinstance(text, str):
        stripped = text.strip()
        if match := _match(_PERCENT, stripped):
            limit = Limit(kind="percent", value=_number(match), text=stripped)
        elif match := _match(_RATE, stripped):
            value = _number(match) * _SIZE_FACTOR[match["unit"].lower()]
            limit = Limit(kind="bytes_per_unit", value=value, text=stripped, per=match["per"].lower())
        else:
            try:
                limit = Limit(kind="bytes", value=float(parse_size(stripped)), text=stripped)
            except ConfigError as error:
                raise _refuse(text, expected, what, error.hint) from None
    else:
        try:
            size = parse_size(text)
        except ConfigError:
            raise _refuse(text, expected, what) from None
        limit = Limit(kind="bytes", value=float(size), text=format_size(size))
    if not 0 < limit.value <= MAX_SIZE_BYTES:
        none = "no heap stands still to the byte: allow what does not matter, such as 1MB"
        raise _refuse(text, expected, what, none if limit.value <= 0 else None)
    return limit


def parse_rate(text: object, *, what: str = "rate") -> Limit:
    """Parse ``"100B/request"`` into a Limit of kind ``bytes_per_unit``; anything else is a ConfigError."""
    expected = 'bytes per unit of work, such as "100B/request"'
    if not isinstance(text, str) or not _match(_RATE, text.strip()):
        raise _refuse(text, expected, what)
    return parse_limit(text, what=what)


def format_size(size_bytes: float) -> str:
    """``1_234_567`` → ``"1.23 MB"``; powers of 1000, three significant digits, exact below 1000 bytes."""
    sign = "-" if size_bytes < 0 else ""
    magnitude = abs(size_bytes)
    for factor, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        # 999_950 would round up to "1000 KB": hand it to the next unit instead.
        if magnitude >= factor * 0.9995:
            return f"{sign}{_three_digits(magnitude / factor)} {unit}"
    return f"{sign}{magnitude:.0f} B" if magnitude >= 100 or magnitude == int(magnitude) else f"{sign}{magnitude:.1f} B"


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def format_duration(seconds: float) -> str:
    """``0.0123`` → ``"12.3 ms"``, ``75`` → ``"1 min 15 s"``."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if seconds < 0.9995:
        return f"{_three_digits(seconds * 1000)} ms"
    if seconds < 59.5:
        return f"{_three_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def format_count(value: int) -> str:
    """``1234567`` → ``"1,234,567"``."""
    return f"{value:,}"
