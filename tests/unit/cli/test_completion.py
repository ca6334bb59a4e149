"""Completion scripts: every command and flag is in them, and the shells accept them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_memory.cli.arguments import COMMANDS, build_parser
from pytest_memory.cli.completion import bash_script, fish_script, read_parser, zsh_script

SCRIPTS = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}


def test_parser_is_read_whole() -> None:
    commands = read_parser(build_parser())
    assert list(commands) == [command.name for command in COMMANDS]
    names = {name for flag in commands["monitor"][1] for name in flag.names}
    assert {"-i", "--interval", "-d", "-o", "-l", "--app", "--pid", "--json"} <= names


@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_command_and_flag_is_offered(shell: str) -> None:
    commands = read_parser(build_parser())
    script = SCRIPTS[shell](commands)
    for name, (_, flags) in commands.items():
        assert name in script
        for flag in flags:
            for spelling in flag.names:
                assert (spelling.lstrip("-") if shell == "fish" else spelling) in script


def run_shell(shell: str, code: str) -> list[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return done.stdout.split()


def write_script(shell: str, tmp_path: Path) -> Path:
    path = tmp_path / f"completion.{shell}"
    path.write_text(SCRIPTS[shell](read_parser(build_parser())))
    return path


def test_bash_completes(tmp_path: Path) -> None:
    path = write_script("bash", tmp_path)
    ask = 'COMP_WORDS=({words}); COMP_CWORD={at}; _pytest_memory; echo "${{COMPREPLY[@]}}"'
    assert run_shell("bash", f"source {path}; {ask.format(words='pytest-memory st', at=1)}") == ["stress"]
    found = run_shell("bash", f"source {path}; {ask.format(words='pytest-memory monitor --max-gc', at=2)}")
    assert found == ["--max-gc-pause", "--max-gc-count"]
    assert run_shell("bash", f"source {path}; {ask.format(words='pytest-memory completion z', at=2)}") == ["zsh"]


def test_zsh_accepts_it(tmp_path: Path) -> None:
    path = write_script("zsh", tmp_path)
    assert run_shell("zsh", f"autoload -U compinit; compinit -D; source {path}; whence -w _pytest_memory") == [
        "_pytest_memory:",
        "function",
    ]


# What zsh's completion gives a function: the words of the line, which of them is completed, and the functions that
# offer something, here replaced by ones that only say what they were given.
IN_COMPLETION = (
    "_describe() { print described }; _arguments() { print arguments ${#@} }; compdef() { print registered $1 };"
)


def test_zsh_offers_something_at_every_tab_when_it_lies_on_fpath(tmp_path: Path) -> None:
    write_script("zsh", tmp_path).rename(tmp_path / "_pytest-memory")
    ask = "words=(pytest-memory st); CURRENT=2; _pytest-memory"
    found = run_shell("zsh", f"{IN_COMPLETION} fpath=({tmp_path}); autoload -U _pytest-memory; {ask}; {ask}")
    assert found == ["described", "described"]
    flags = "words=(pytest-memory completion ''); CURRENT=3; _pytest-memory"
    found = run_shell("zsh", f"{IN_COMPLETION} fpath=({tmp_path}); autoload -U _pytest-memory; {flags}")
    assert found[0] == "arguments"


def test_zsh_registers_it_when_it_is_sourced(tmp_path: Path) -> None:
    path = write_script("zsh", tmp_path)
    for line in (f"source {path}", f"source <(cat {path})", f'eval "$(cat {path})"'):
        assert run_shell("zsh", f"{IN_COMPLETION} {line}") == ["registered", "_pytest_memory"]


def test_zsh_script_ends_by_completing_or_by_registering() -> None:
    """Holds where no zsh is installed."""
    script = zsh_script(read_parser(build_parser()))
    assert script.startswith("#compdef pytest-memory\n")
    ending = script.rpartition("\n}\n")[2]
    called, registered = ending.split("else\n")
    assert called == 'if [ "$funcstack[1]" = "_pytest-memory" ]; then\n  _pytest_memory "$@"\n'
    assert registered == "  compdef _pytest_memory pytest-memory\nfi\n"


def test_fish_completes(tmp_path: Path) -> None:
    path = write_script("fish", tmp_path)
    assert "stress" in run_shell("fish", f"source {path}; complete -C 'pytest-memory st'")
    assert "zsh" in run_shell("fish", f"source {path}; complete -C 'pytest-memory completion z'")
