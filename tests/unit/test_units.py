"""One grammar for sizes, durations and limits: what it takes, what it refuses, what it prints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory import units
from pytest_memory.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("50MB", 50_000_000),
        ("50 mb", 50_000_000),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("1.5 GiB", 1_610_612_736),
        ("0", 0),
        ("52428800", 52_428_800),
        (52_428_800, 52_428_800),
        ("1_000 B", 1000),
    ],
)
def test_sizes_are_read(text: str | int, size_bytes: int) -> None:
    assert units.parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "64 MBananas",
        "",
        " ",
        "MB",
        "-5MB",
        "1.5.2MB",
        "1e9",
        "nan",
        "inf",
        "5 M",
        "5%",
        "5MB/request",
        None,
        True,
        [],
        -1,
    ],
)
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ConfigError) as caught:
        units.parse_size(text)  # type: ignore[arg-type]
    assert repr(text) in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize(("value", "expected_s"), [("250ms", 0.25), ("30s", 30), ("1.5m", 90), ("2 h", 7200)])
def test_durations_are_read(value: str, expected_s: float) -> None:
    assert units.parse_duration(value, plain_unit="s") == pytest.approx(expected_s)


def test_a_plain_number_is_seconds_in_python_and_milliseconds_on_the_command_line() -> None:
    assert units.parse_duration(60, plain_unit="s") == 60
    assert units.parse_duration("60000", plain_unit="ms") == 60


@pytest.mark.parametrize("value", ["soon", "-1s", "1 week", float("nan"), float("inf"), "99999h", True, None])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ConfigError):
        units.parse_duration(value, plain_unit="s")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "kind", "value", "per"),
    [
        ("50MB", "bytes", 50e6, None),
        ("10%", "percent", 10.0, None),
        ("0.5 %", "percent", 0.5, None),
        ("200B/request", "bytes_per_unit", 200.0, "request"),
        ("1 KiB / Job", "bytes_per_unit", 1024.0, "job"),
    ],
)
def test_limits_are_read(text: str, kind: str, value: float, per: str | None) -> None:
    limit = units.parse_limit(text)
    assert (limit.kind, limit.value, limit.per, str(limit)) == (kind, value, per, text)


@pytest.mark.parametrize("text", ["0", "0%", "0B/request", "64 MBananas", "-5%", "5B/", "5/request", "5MB/2", ""])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        units.parse_limit(text)


def test_a_rate_must_be_a_rate() -> None:
    with pytest.raises(ConfigError, match="bytes per unit of work"):
        units.parse_rate("50MB")


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_never_anything_else(text: str) -> None:
    for parse in (
        units.parse_size,
        units.parse_limit,
        units.parse_rate,
        lambda value: units.parse_duration(value, plain_unit="s"),
    ):
        try:
            parse(text)
        except ConfigError:
            pass


@given(st.integers(min_value=0, max_value=2**53))
def test_a_formatted_size_reads_back_within_its_three_digits(size_bytes: int) -> None:
    read = units.parse_size(units.format_size(size_bytes))
    assert read == pytest.approx(size_bytes, rel=0.0051, abs=0.5)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (12.5, "12.5 B"),
        (1000, "1.00 KB"),
        (999_950, "1.00 MB"),
        (-61_200_000, "-61.2 MB"),
        (123_456_789, "123 MB"),
        (2_500_000_000, "2.50 GB"),
    ],
)
def test_sizes_are_printed(size_bytes: float, text: str) -> None:
    assert units.format_size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12.3 ms"), (0.9999, "1.00 s"), (59.7, "1 min"), (75, "1 min 15 s"), (3600, "1 h"), (-2, "-2.00 s")],
)
def test_durations_are_printed(seconds: float, text: str) -> None:
    assert units.format_duration(seconds) == text
