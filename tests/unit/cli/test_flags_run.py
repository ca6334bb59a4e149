"""The reader of the tests' own source credits a command with what that command is given, and with nothing else."""

from __future__ import annotations

from pathlib import Path

from support.flags_run import words_run

TESTS = """
SHORT = {"load": ("-d", "1"), "stress": ("-r", "0")}
MORE = ("--json",)

def started(port):
    how = ("--port", port)
    return ("--app", *how)

@pytest.mark.parametrize("command", ["load", "stress"])
def test_both(command, tmp_path):
    note = "--never"
    more = {"load": ("--rate", "5"), "stress": ("--no-leaks", "1B")}[command]
    run_command(command, *started(4), *more, *SHORT[command], cwd=tmp_path)

def test_two(tmp_path):
    def measure(*flags):
        return run_command("monitor", *flags)
    measure("-i", "5")
    run_command("report", *MORE, "-o" if tmp_path else "-x")
    assert "--hidden" not in run_command("heap", "a").stdout
"""


def test_words_are_those_of_the_command_that_is_run(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    assert words_run([tmp_path / "test_it.py"]) == {
        "load": {"--app", "--port", "--rate", "5", "-d", "1"},
        "stress": {"--app", "--port", "--no-leaks", "1B", "-r", "0"},
        "monitor": {"-i", "5"},
        "report": {"--json", "-o", "-x"},
        "heap": {"a"},
    }
