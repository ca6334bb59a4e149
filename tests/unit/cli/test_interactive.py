"""The interactive profiler without an app: words, completion, errors.  What it measures is tested live."""

from __future__ import annotations

import fnmatch
import io
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from pytest_memory.cli.output import Output
from pytest_memory.errors import ConfigError
from pytest_memory.heap.queries import ClassRow
from pytest_memory.interactive import Quit, Shell, make_completer
from pytest_memory.store import file_stem, free_path


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


class Analysed:
    """Stands for a snapshot: answers with classes of these names, as ``HeapSnapshot.classes`` does."""

    name = "a"

    def __init__(self, *names: str) -> None:
        self.names = names

    def classes(self, pattern: str | None = None) -> tuple[ClassRow, ...]:
        return tuple(
            ClassRow(name=name, count=1, size_bytes=8, retained_bytes=8)
            for name in self.names
            if pattern in (None, name)
        )

    def largest_objects(self, pattern: str, *, limit: int) -> tuple[()]:
        return ()


def completed_lines(shell: Shell, line: str) -> list[str]:
    """The lines that a person gets to choose from at the prompt, with the cursor at the end."""
    document = Document(line)
    choices = make_completer(shell).get_completions(document, CompleteEvent(completion_requested=True))
    return [line[: len(line) + choice.start_position] + choice.text for choice in choices]


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("cla", ["class"]),
        ("class Se", ["class Session"]),
        ("class (comp", ["class '(compiled code)'"]),
        ("class (compiled c", ["class '(compiled code)'"]),
        ("class '(compiled c", ["class '(compiled code)'"]),
        ('retainers  "system / ', ["retainers  'system / Context'"]),
        ("cl system / Con", ["cl 'system / Context'"]),
        ("CLASS it's", ["""CLASS 'it'"'"'s'"""]),
        ("class nothing", []),
        ("class code", []),
        ("compare a a-", ["compare a a-2"]),
        ("compare a", ["compare a", "compare a-2"]),
        ("compare vor", ["compare 'vor dem'"]),
        ("compare 'vor d", ["compare 'vor dem'"]),
        ('compare a "vor d', ["compare a 'vor dem'"]),
        ("compare 'vor dem' a-", ["compare 'vor dem' a-2"]),
        ("top ", []),
    ],
)
def test_completed_lines(line: str, lines: list[str]) -> None:
    shell, _ = make_shell()
    classes: Any = Analysed("Session", "(compiled code)", "system / Context", "it's")
    shell.snapshots.update({"a": classes, "a-2": classes, "vor dem": classes})
    shell.execute("top")
    assert completed_lines(shell, line) == lines


def test_every_completed_class_can_be_executed() -> None:
    shell, out = make_shell()
    names = ("Session", "(compiled code)", "system / Context", "it's", "#private", 'a "quoted" one', "{id, user}")
    classes: Any = Analysed(*names)
    shell.snapshots["a"] = classes
    shell.execute("top")
    lines = completed_lines(shell, "class ")
    assert len(lines) == len(names)
    for line, name in zip(lines, names):
        out.truncate(out.seek(0))
        shell.execute(line)
        assert name in out.getvalue()


def test_compare_takes_the_last_two_of_one_heap() -> None:
    shell, _ = make_shell()
    compared: list[tuple[str, str]] = []

    class Taken(Analysed):
        def compare(self, before: Any) -> Any:
            compared.append((before.names[0], self.names[0]))
            raise ConfigError("seen enough")

    for name, heap in (("a", "1"), ("main", ""), ("b", "1"), ("c", "2")):
        taken: Any = Taken(name)
        shell.snapshots[name], shell._heap_of[name] = taken, heap
    with pytest.raises(ConfigError, match="there are 1 snapshots of one heap"):
        shell.execute("compare")
    del shell.snapshots["c"]
    with pytest.raises(ConfigError, match="seen enough"):
        shell.execute("compare")
    assert compared == [("a", "b")]


class Directory:
    """Stands for a profiler: its camera takes files of the names wanted, or ``-2``, ``-3``, … behind what is there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.camera = self

    def take(self, name: str, *, worker: Any) -> Any:
        path = free_path(self._directory, file_stem(name), ".heapsnapshot")
        path.write_bytes(b"{}")
        return Taken(path)


class Taken:
    compared: list[tuple[str, str]]

    def __init__(self, path: Path) -> None:
        self.path = path

    def compare(self, before: Taken) -> Any:
        Taken.compared.append((before.path.name, self.path.name))
        raise ConfigError("seen enough")


@pytest.fixture
def taking(tmp_path: Path) -> tuple[Shell, io.StringIO]:
    (tmp_path / "a.heapsnapshot").write_bytes(b"of an earlier session")
    Taken.compared = []
    profiler: Any = Directory(tmp_path)
    out = io.StringIO()
    return Shell(profiler, Output(out=out, err=io.StringIO())), out


@pytest.mark.parametrize(
    ("lines", "compared"),
    [
        (("a", "b"), {"a b": "a-2 b", "a-2 b": "a-2 b", "a.heapsnapshot b": "a-2 b"}),
        (("'vor dem'", "after"), {"'vor dem' after": "vor-dem-* after"}),
        # Of a name typed twice the first keeps it, and the second has its file's.
        (("a", "a"), {"a a-3": "a-2 a-3"}),
        (("a", "a-2", "a"), {"a a-2": "a-2 a-2-2", "a a-3": "a-2 a-3"}),
        (("b.heapsnapshot", "''"), {"b snapshot-2": "b snapshot-2"}),
    ],
)
def test_a_snapshot_is_known_by_the_name_typed(
    taking: tuple[Shell, io.StringIO], lines: tuple[str, ...], compared: dict[str, str]
) -> None:
    shell, _ = taking
    for line in lines:
        shell.execute(f"snapshot {line}")
    for line, files in compared.items():
        with pytest.raises(ConfigError, match="seen enough"):
            shell.execute(f"compare {line}")
        for name, wanted in zip(Taken.compared[-1], files.split(), strict=True):
            assert fnmatch.fnmatchcase(name, f"{wanted}.heapsnapshot")


def test_where_the_name_is_not_the_files_it_is_said(taking: tuple[Shell, io.StringIO]) -> None:
    shell, out = taking
    for line in ("snapshot a", "snapshot b", "snapshot b"):
        shell.execute(line)
    said = [line.partition(".heapsnapshot")[2].partition(", ")[2] for line in out.getvalue().splitlines()]
    assert said == ["called 'a' here", "", ""]


def test_list_without_snapshots() -> None:
    shell, out = make_shell()
    shell.execute("list")
    assert out.getvalue() == "no snapshot yet\n"
