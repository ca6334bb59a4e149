"""Printing: colour only where it is wanted, JSON alone under --json, and no complaint when the reader has gone."""

from __future__ import annotations

import io
import json
import math
import os

import pytest

from pytest_memory.cli.output import Output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)


def printed(style: str, out: io.StringIO) -> str:
    Output(out=out, err=io.StringIO()).line("text", style)
    return out.getvalue()


def test_colour_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed("red bold", Terminal()) == "\x1b[31;1mtext\x1b[0m\n"
    assert printed("red bold", io.StringIO()) == "text\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed("red bold", Terminal()) == "text\n"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert printed("red bold", Terminal()) == "text\n"


def test_json_leaves_stdout_to_one_document() -> None:
    out = Terminal()
    output = Output(as_json=True, out=out, err=io.StringIO())
    output.line("a sentence")
    output.wrapped("another")
    output.json({"ü": 1})
    assert json.loads(out.getvalue()) == {"ü": 1}
    assert "\x1b" not in out.getvalue()


def test_what_is_no_number_in_json_is_null() -> None:
    """As the unknown interval of a leak test that was too short, in `history`, `compare` and `ab`."""
    out = io.StringIO()
    unknown = {"low": -math.inf, "points": [({"high": math.inf}, math.nan, 1.5)], "n": 2, "on": True}
    Output(as_json=True, out=out, err=io.StringIO()).json(unknown)
    expected = {"low": None, "points": [[{"high": None}, None, 1.5]], "n": 2, "on": True}
    assert json.loads(out.getvalue(), parse_constant=pytest.fail) == expected


def test_json_is_silent_without_the_flag() -> None:
    out = io.StringIO()
    Output(out=out, err=io.StringIO()).json({"a": 1})
    assert out.getvalue() == ""


def test_width_of_a_file_is_wide_and_of_a_narrow_terminal_at_least_40(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Output(out=io.StringIO(), err=io.StringIO()).width == 160
    monkeypatch.setenv("COLUMNS", "20")
    assert Output(out=Terminal(), err=io.StringIO()).width == 40


def test_wrapped_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = Terminal()
    Output(out=out, err=io.StringIO()).wrapped("word " * 30)
    assert max(map(len, out.getvalue().splitlines())) <= 40


def test_closed_pipe_silences_the_output() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as out:
        output = Output(out=out, err=io.StringIO())
        for _ in range(3):
            output.line("x" * 100_000)
            output.flush()


def test_characters_the_terminal_cannot_show_are_replaced() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    Output(out=out, err=io.StringIO()).line("▁▂▃ → ok")
    out.flush()
    assert raw.getvalue() == b"??? ? ok\n"
