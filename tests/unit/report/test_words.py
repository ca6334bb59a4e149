from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.model import GcKind, LeakEstimate, MemoryKind, Outcome
from pytest_memory.report import words


@pytest.mark.parametrize(
    ("name", "noun"),
    [
        ("max_heap_growth", "heap"),
        ("health:heap_used", "heap"),
        ("health:heapGrowth", "heap"),
        ("baseline:heap_bytes", "settled heap"),
        ("baseline", "baseline"),
        ("max_rss_growth", "RSS"),
        ("max_external_growth", "external memory"),
        ("max_gc_pause", "longest GC pause"),
        ("max_gc_count", "major GC runs"),
        ("no_leaks:heap", "leak test"),
        ("no_leaks", "leak test"),
        ("max_moon_growth", "moon"),
        ("", "measurement"),
    ],
)
def test_metric_names_are_said_as_nouns(name, noun):
    assert words.metric_of(name).noun == noun


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (61_200_000, "bytes", "61.2 MB"),
        (12.34, "percent", "12 %"),
        (0.3, "percent", "0.3 %"),
        (0.312, "s", "312 ms"),
        (143, "count", "143"),
        (1024, "bytes/request", "1,024 B/request"),
        (3.14, "bytes/request", "3.1 B/request"),
        (250_000, "bytes/job", "250 KB/job"),
        (-0.01, "bytes/request", "0 B/request"),
        (1.0, "handles/request", "1.0 handles/request"),
    ],
)
def test_values_in_their_units(value, unit, text):
    assert words.format_measure(value, unit) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (1009, 1041, "1,009–1,041"),
        (-12, 8, "-12 to 8"),
        (-0.4, 0.31, "-0.4 to 0.3"),
        (0, 0, "0–0"),
        (99_000, 250_000, "99.0 KB–250 KB"),
    ],
)
def test_intervals(low, high, text):
    assert words.format_interval(low, high) == text


def test_spans_say_a_shared_unit_once():
    assert words.format_span(12.1e6, 73.3e6) == "12.1 → 73.3 MB"
    assert words.format_span(999, 73.3e6) == "999 B → 73.3 MB"


@pytest.mark.parametrize(
    ("unit", "count", "text"),
    [
        ("request", 1, "1 request"),
        ("request", 2000, "2,000 requests"),
        ("query", 2, "2 queries"),
        ("batch", 3, "3 batches"),
    ],
)
def test_plurals(unit, count, text):
    assert words.plural(unit, count) == text


def test_every_outcome_kind_and_shape_has_its_word():
    outcomes = set(typing.get_args(Outcome))
    assert set(words.HEALTH_CLASSES) == set(words.HEALTH_MARKS) == outcomes
    assert set(words.MEMORY_KINDS) == set(typing.get_args(MemoryKind))
    assert set(words.GC_KINDS) == set(typing.get_args(GcKind))
    assert set(words.SHAPES) == set(typing.get_args(typing.get_type_hints(LeakEstimate)["shape"]))
    assert len(set(words.HEALTH_MARKS.values())) == len(outcomes), "a mark must tell classes apart without colour"


def test_every_reason_the_judge_gives_is_worded():
    package = Path(words.__file__).parent.parent
    sources = [
        *(package / "judge").glob("*.py"),
        package / "leaktest.py",
        package / "leakrun.py",
        package / "runner.py",
    ]
    text = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    given = re.findall(r'\breason="([a-z-]+)"', text)
    given += re.findall(r'"(?:pass|warning|critical|inconclusive)"\)?, "([a-z]+(?:-[a-z]+)*)"', text)
    given += re.findall(r'"(baseline-[a-z-]+)"', text)
    assert len(given) > 20, "the judge is written otherwise than this test reads it"
    assert sorted(set(given) - set(words.REASONS) - set(words.HEALTH_CLASSES)) == []


def test_an_unknown_reason_is_worded_from_its_own_letters():
    assert words.reason_phrase("moon-was-full") == "moon was full"
    assert words.reason_hint("moon-was-full") == ""


@given(st.text(), st.integers(10, 200))
def test_clean_text_is_printable_on_one_line_and_bounded(text, limit):
    cleaned = words.clean(text, limit)
    assert len(cleaned) <= limit
    assert all(char.isprintable() for char in cleaned)


def test_an_unknown_interval_is_said_so():
    assert words.format_interval(float("-inf"), float("inf")) == "unknown"


def test_the_baseline_table_of_metrics_is_complete():
    from pytest_memory import metrics

    assert {name for name in metrics.NAMES if words.metric_of(f"baseline:{name}").noun == words.spoken(name)} == set()


def test_clean_disarms_terminal_and_bidirectional_controls():
    assert "\x1b" not in words.clean("\x1b[31mred")
    assert "\u202e" not in words.clean("abc\u202edef")
