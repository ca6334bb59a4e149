from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import result_factory as factory

from pytest_memory.report import text

RESULTS = (*factory.every_kind(), factory.xss())


@pytest.mark.parametrize("width", [10, 40, 60, 72, 80, 100, 132, 250])
def test_no_line_is_wider_than_the_terminal(width):
    lines = [line for _, line in text.terminal_section(RESULTS, width)]
    assert lines
    assert max(text.cell_width(line) for line in lines) <= max(width, text.MIN_WIDTH)


def test_forty_columns_still_tell_tests_and_numbers():
    lines = [line for _, line in text.terminal_section(RESULTS, 40)]
    assert lines[0].startswith("✖ test_upload")
    assert lines[0].endswith("heap +61.2 MB")


def test_sparklines_need_room():
    assert any("█" in line for _, line in text.terminal_section(RESULTS, 120))
    assert not any("█" in line for _, line in text.terminal_section(RESULTS, 80))


def test_quiet_and_all_passed_says_nothing():
    assert text.terminal_section([factory.healthy()], 80, verbosity=-1) == []
    assert text.terminal_section([factory.leaking()], 80, verbosity=-1)
    assert text.terminal_section([], 80) == []


def test_many_tests_are_shortened_unless_verbose():
    results = [factory.healthy(f"t.py::test_{index}", count=5) for index in range(50)]
    assert len(text.terminal_section(results, 80)) == 12
    assert "40 more" in text.terminal_section(results, 80)[10][1]
    assert len(text.terminal_section(results, 80, verbosity=1)) == 51


def test_every_unhealthy_test_is_shown_up_to_a_bound():
    results = [factory.over_limit(f"t.py::test_{index}", count=5) for index in range(50)]
    assert len(text.terminal_section(results, 80)) == 32


def test_control_characters_of_names_do_not_reach_the_terminal():
    lines = [line for _, line in text.terminal_section([factory.healthy("t.py::t[\x1b[2J\n\u202e]")], 120)]
    assert all(char.isprintable() for line in lines for char in line)


def test_wide_characters_are_counted_by_columns():
    results = [factory.healthy("t.py::test_" + "漢字" * 60)]
    assert all(text.cell_width(line) <= 60 for _, line in text.terminal_section(results, 60))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])), st.integers(1, 60))
def test_fit_fits(value, width):
    assert text.cell_width(text.fit(value, width)) <= max(width, 1)


def test_a_flat_curve_is_drawn_flat():
    assert text.sparkline([100.0, 100.2, 100.1]) == "▁▁▁"
    assert text.sparkline([1, 5, None, 9]) == "▁▅ █"
    assert text.sparkline([]) == ""


@pytest.mark.parametrize("width", [40, 80, 120])
def test_load_text_fits_and_names_errors(width):
    said = text.load_text(factory.load(errors=40), width)
    assert "http-500 × 40" in said
    assert max(text.cell_width(line) for line in said.splitlines()) <= width


def test_what_passed_in_doubt_says_why():
    from dataclasses import replace

    from pytest_memory.judge import combine

    check = next(one for one in factory.compared().verdict.checks if one.reason == "baseline-not-comparable")
    doubtful = replace(factory.compared(), verdict=combine([check]), test_outcome="passed")
    said = " ".join(line for _, line in text.terminal_section([doubtful], 80)[1:-1])
    assert "measured under other conditions than the baseline" in " ".join(said.split())
    failed = replace(doubtful, test_outcome="failed")  # its failure text has said it
    assert len(text.terminal_section([failed], 80)) == 2
