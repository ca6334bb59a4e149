"""What moves on a terminal while a command measures, on a pseudo-terminal of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.command import APPS, COMMAND, environment
from support.snapshot_builder import SnapshotBuilder
from support.terminal import on_a_terminal

pytestmark = pytest.mark.node

APP = str(APPS / "allocates.js")
ERASE_LINE = "\x1b[2K"


def drawn(tmp_path: Path, *arguments: str, columns: int = 100) -> list[str]:
    """What the line of a command that measures said, one time after the other."""
    return drawn_by(tmp_path, arguments[0], *arguments, "--app", APP, columns=columns)


def drawn_by(tmp_path: Path, label: str, *arguments: str, columns: int = 100) -> list[str]:
    """What the line that begins with ``label`` said."""
    written = on_a_terminal([*COMMAND, *arguments], cwd=tmp_path, env=environment(), columns=columns)
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-ln-z]", "\n", re.sub(r"\x1b\[[\d;]*m", "", written))
    lines = [line.strip() for line in re.split(r"[\r\n]+", plain)]
    shown = [line for line in lines if re.match(rf"{re.escape(label)}  \d+ s", line)]
    assert shown, written
    assert ERASE_LINE in written[written.rindex(shown[-1]) :], "it is wiped at the end"
    return shown


def test_baseline_shows_phase_elapsed_and_heap(tmp_path: Path) -> None:
    shown = drawn(tmp_path, "baseline", "-n", "100")
    assert any(re.fullmatch(r"baseline  \d+ s  heap [\d.]+ MB  idle again", line) for line in shown), shown


def test_load_shows_what_is_left(tmp_path: Path) -> None:
    shown = drawn(tmp_path, "load", "-d", "3s", "-r", "0")
    assert any(re.match(r"load  \d s, \d s left  +\d+%  [\d,]+ requests, ", line) for line in shown), shown


def test_heap_shows_what_it_is_doing_with_the_file(tmp_path: Path) -> None:
    heap = SnapshotBuilder()
    heap.edge(heap.root, "element", 1, heap.node("object", "Session", size=16))
    (tmp_path / "a.heapsnapshot").write_bytes(heap.to_bytes())
    shown = drawn_by(tmp_path, "a.heapsnapshot", "heap", "a.heapsnapshot")
    stages = "sections|nodes|edges|strings|dominators|retained sizes|classes"
    assert any(re.fullmatch(rf"a\.heapsnapshot  \d+ s  ({stages})( \d+%)?", line) for line in shown), shown


def test_profile_completes_remembers_and_shows_what_lasts(tmp_path: Path) -> None:
    prompt = r"\[\?2004h[\s\S]*memory>"
    typed = [
        (prompt, "sna"),
        (" snapshot ", "\t 'the first'\r"),  # offered below the line
        (prompt, "compare 'the"),
        (" the first ", "\t\r"),
        (prompt, "quit\r"),
    ]
    home = {"XDG_STATE_HOME": str(tmp_path / "state"), "PROMPT_TOOLKIT_NO_CPR": "1"}
    command = [*COMMAND, "profile", "--app", APP, "-o", "kept"]
    written = on_a_terminal(command, cwd=tmp_path, env=environment(**home), columns=100, timeout_s=60, typed=typed)
    (kept,) = (tmp_path / "kept").glob("*.heapsnapshot")
    assert kept.name.startswith("the-first"), written
    assert re.search(r"snapshot the first  \d+ s +(walking the heap|writing) +\d+%", written), written
    history = (tmp_path / "state" / "pytest-memory" / "profile-history").read_text()
    lines = [line[1:] for line in history.splitlines() if line.startswith("+")]
    assert lines == ["snapshot 'the first'", "compare 'the first'", "quit"]


def test_a_narrow_terminal_gets_one_line_that_fits(tmp_path: Path) -> None:
    assert max(map(len, drawn(tmp_path, "load", "-d", "2s", "-r", "0", columns=40))) <= 40
