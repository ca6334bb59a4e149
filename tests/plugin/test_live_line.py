"""The live line of a load run: on a terminal, in a log under -s, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.node

LOADED = """
    def test_it(load_generator):
        result = load_generator.run("/", duration="700ms", rate=100, concurrency=2, interval="100ms")
        print("through with", result.requests)
"""
# Cursor saved; what does not fit cut off; the cursor back where pytest left it.
BEFORE, AFTER = "\x1b7\x1b[?7l", "\x1b[K\x1b[?7h\x1b8"


def on_a_terminal(project: Any, *args: str) -> str:
    """What pytest writes to a terminal."""
    pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals of this kind")
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *args]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, cwd=project.path, stdin=its, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        written = b""
        try:
            while piece := os.read(ours, 65536):
                written += piece
        except OSError:  # Linux: nobody is left on the other side
            pass
        finally:
            os.close(ours)
            process.wait(60)
    return written.decode()


@pytest.mark.parametrize("args", [(), ("-s",), ("-v",)])
def test_a_terminal_shows_the_run_behind_the_test_and_erases_it(project: Any, args: tuple[str, ...]) -> None:
    project.test(LOADED)

    written = on_a_terminal(project, *args)

    shown = [piece.partition(AFTER)[0] for piece in written.split(BEFORE)[1:]]
    assert len(shown) >= 3
    assert all(text.startswith("  load ") and "requests, " in text for text in shown[:-1])
    assert shown[-1] == ""  # the run is over: nothing stays behind
    assert "1 passed" in written
    assert BEFORE not in written.partition("through with")[2]


def test_a_log_gets_a_plain_line_with_s(project: Any) -> None:
    project.test(LOADED)

    lines = [line for line in project.run("-s").outlines if line.startswith("load ")]

    assert len(lines) == 1
    assert "requests, " in lines[0]
    assert "\x1b" not in lines[0]


@pytest.mark.parametrize("args", [(), ("-s", "-q"), ("-n1",)])
def test_elsewhere_nothing_is_written(project: Any, args: tuple[str, ...]) -> None:
    project.test(LOADED)

    result = project.run(*args)

    result.assert_outcomes(passed=1)
    assert "requests, " not in result.stdout.str()
