"""The interactive profiler without an app: words, completion, errors.  What it measures is tested live."""

from __future__ import annotations

import io
from typing import Any

import pytest

from pytest_memory.cli.output import Output
from pytest_memory.errors import ConfigError
from pytest_memory.interactive import Quit, Shell


def make_shell() -> tuple[Shell, io.StringIO]:
    out = io.StringIO()
    nobody: Any = None  # commands that need no app are tried only
    return Shell(nobody, Output(out=out, err=io.StringIO())), out


def test_help_lists_every_command() -> None:
    shell, out = make_shell()
    shell.execute("help")
    assert all(name in out.getvalue() for name in shell.command_names)


@pytest.mark.parametrize("line", ["quit", "exit", "  QUIT  ", "q"])
def test_quit(line: str) -> None:
    with pytest.raises(Quit):
        make_shell()[0].execute(line)


@pytest.mark.parametrize("line", ["", "   ", "# only a comment"])
def test_nothing_to_do(line: str) -> None:
    make_shell()[0].execute(line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("snapsot", "did you mean 'snapshot'"),
        ("frobnicate", "'help' lists them"),
        ("s", "unknown command 's'"),
        ("compare", "expected two"),
        ("compare a", "takes two snapshots"),
        ("compare a b", "there is no snapshot 'a'"),
        ("top", "there is no snapshot yet"),
        ("class", "takes the name of a class"),
        ("retainers a b", "got 2 words"),
        ('class "open', "balanced quotes"),
        ("watch soon", "watch is 'soon'"),
    ],
)
def test_wrong_lines(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_shell()[0].execute(line)
    assert message in str(caught.value)


def test_completion() -> None:
    shell, _ = make_shell()
    assert "snapshot" in shell.words_for("sna")
    shell.snapshots["before"] = object()  # type: ignore[assignment]
    assert shell.words_for("compare be") == ["before"]
    assert shell.words_for("cl Ses") == []


def test_list_without_snapshots() -> None:
    shell, out = make_shell()
    shell.execute("list")
    assert out.getvalue() == "no snapshot yet\n"
