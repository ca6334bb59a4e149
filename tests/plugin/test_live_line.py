"""The live line: of all that lasts on a terminal, of load runs in a log under -s, and nowhere else."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import pytest
from support.terminal import on_a_terminal

pytestmark = pytest.mark.node

LOADED = """
    def test_it(load_generator):
        result = load_generator.run("/", duration="700ms", rate=100, concurrency=2, interval="100ms")
        print("through with", result.requests)
"""
MEASURED = """
    import time

    def test_it(memory_monitor, load_generator, heap_snapshot):
        memory_monitor.leak_test(lambda: load_generator.run("/", requests=50), max_duration=3, max_rounds=6)
        heap_snapshot("half way")
        with memory_monitor.phase("idle"):
            time.sleep(0.7)
        time.sleep(0.7)
"""
LEAK_TEST = """
    def test_it(memory_monitor):
        memory_monitor.leak_test("[1, 2, 3].map(String)", max_duration=1, max_rounds=3)
"""
LARGE = """
    def test_it(node_app, heap_snapshot):
        node_app.evaluate("globalThis.kept = Array.from({ length: 300_000 }, (_, i) => ({ i: [i] })); 0")
        heap_snapshot("large")
"""
SKIPPED = """
    import time
    import pytest

    def test_it(memory_monitor):
        time.sleep(0.7)
        pytest.skip("that is enough")

    def test_other():
        time.sleep(0.7)
"""
# Cursor saved; what does not fit cut off; the cursor back where pytest left it.
BEFORE, AFTER = "\x1b7\x1b[?7l", "\x1b[K\x1b[?7h\x1b8"


def run_on_a_terminal(project: Any, *args: str, columns: int = 0) -> str:
    """What pytest writes to a terminal."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *args]
    return on_a_terminal(command, cwd=project.path, env=dict(os.environ), columns=columns)


def shown_in(written: str) -> list[str]:
    """What the line said, one time after the other."""
    return [piece.partition(AFTER)[0] for piece in written.split(BEFORE)[1:]]


@pytest.mark.parametrize("args", [(), ("-s",), ("-v",)])
def test_a_terminal_shows_the_run_behind_the_test_and_erases_it(project: Any, args: tuple[str, ...]) -> None:
    project.test(LOADED)

    written = run_on_a_terminal(project, *args)

    shown = shown_in(written)
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


def test_a_terminal_shows_phase_elapsed_remaining_and_heap_of_what_lasts(project: Any) -> None:
    project.ini("memory_app = server.js", f"memory_node = {project.node}", "memory_interval = 100ms")
    project.test(MEASURED)

    written = run_on_a_terminal(project, columns=90)

    shown = shown_in(written)
    text = "\n".join(shown)
    assert re.search(r"^  leak test, round \d  \d s, at most \d s left  heap [\d.]+ MB$", text, re.MULTILINE)
    assert re.search(r"^  idle  \d s  heap [\d.]+ MB$", text, re.MULTILINE)
    assert re.search(r"^  measuring  \d s  heap [\d.]+ MB$", text, re.MULTILINE)
    assert shown[-1] == ""
    (line,) = [line for line in written.split("\n") if BEFORE in line]
    assert all(len("test_memory.py ") + len(text) <= 90 for text in shown)
    assert re.search(r"[.mMF] +\S*\[100%\]", line.rpartition(AFTER)[2]), "pytest goes on where it was"


def test_a_terminal_shows_how_far_a_large_snapshot_is(project: Any) -> None:
    project.test(LARGE)

    shown = shown_in(run_on_a_terminal(project, columns=90))

    told = [re.fullmatch(r"  snapshot large, (walking the heap|writing) (\d+)%  \d+ s", text) for text in shown]
    assert len({match[0] for match in told if match}) >= 2, shown


def test_a_narrow_terminal_gets_a_line_that_fits(project: Any) -> None:
    project.test(MEASURED)

    shown = shown_in(run_on_a_terminal(project, columns=44))

    assert max(len("test_memory.py ") + len(text) for text in shown) < 44
    assert any(text.startswith("  leak test, round") for text in shown)


def test_the_line_is_gone_before_pytest_goes_on_however_the_test_ends(project: Any) -> None:
    project.test(SKIPPED)

    written = run_on_a_terminal(project, "-v", columns=100)

    skipped = written.index("SKIPPED")
    assert any(shown_in(written[:skipped]))
    assert shown_in(written[:skipped])[-1] == ""
    assert BEFORE not in written[skipped:], "a test that measures nothing has no line"


@pytest.mark.parametrize("args", [("-s",), ("--capture=tee-sys",), ("-o", "log_cli=true")])
def test_what_the_test_prints_or_logs_itself_meets_no_line(project: Any, args: tuple[str, ...]) -> None:
    project.test(LEAK_TEST)

    assert BEFORE not in run_on_a_terminal(project, *args, columns=100)


@pytest.mark.parametrize("args", [("-q",), ("-n1",), ("-p", "no:terminal")])
def test_a_terminal_stays_silent_when_nobody_asked_for_more(project: Any, args: tuple[str, ...]) -> None:
    project.test(LEAK_TEST)

    assert BEFORE not in run_on_a_terminal(project, *args)


@pytest.mark.parametrize("args", [(), ("-s",), ("-v",)])
def test_a_log_gets_nothing_of_leak_tests(project: Any, args: tuple[str, ...]) -> None:
    project.test(LEAK_TEST)

    output = project.run(*args).stdout.str()

    assert "leak test, " not in output
    assert "\x1b7" not in output
