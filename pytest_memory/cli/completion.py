"""``pytest-memory completion SHELL``: a completion script made from the parser.  Floor 7."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_memory.cli.arguments import build_parser
from pytest_memory.cli.front import EXIT_FINE, Context


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of one command: its spellings, its help, and what may follow ("" for nothing, "file", or words)."""

    names: tuple[str, ...]
    help: str
    takes: str
    choices: tuple[str, ...] = ()


def run(arguments: argparse.Namespace, context: Context) -> int:
    make = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}[arguments.shell]
    script = make(read_parser(build_parser()))
    if context.output.as_json:
        context.output.json({"shell": arguments.shell, "script": script})
    else:
        context.output.raw(script)
    return EXIT_FINE


def read_parser(parser: argparse.ArgumentParser) -> dict[str, tuple[str, list[Flag]]]:
    """Command → (help, flags), as the parser has them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return {name: (helps.get(name, ""), list(_flags(sub))) for name, sub in action.choices.items()}
    return {}


def _flags(parser: argparse.ArgumentParser) -> Iterator[Flag]:
    for action in parser._actions:
        choices = tuple(str(choice) for choice in action.choices or ())
        takes = "" if action.nargs == 0 else "words" if choices else "file"
        help_text = (action.help or "").replace("%%", "%")
        yield Flag(tuple(action.option_strings), help_text, takes, choices)


def bash_script(commands: dict[str, tuple[str, list[Flag]]]) -> str:
    """For ``eval "$(pytest-memory completion bash)"``."""
    cases = []
    for name, (_, flags) in commands.items():
        words = " ".join(spelling for flag in flags for spelling in flag.names)
        positional = " ".join(choice for flag in flags if not flag.names for choice in flag.choices)
        cases.append(f"    {name}) words={shlex.quote(' '.join(filter(None, (words, positional))))} ;;")
    return "\n".join(
        [
            "_pytest_memory() {",
            '  local current="${COMP_WORDS[COMP_CWORD]}" words=""',
            '  if [ "$COMP_CWORD" -eq 1 ]; then',
            f'    COMPREPLY=($(compgen -W {shlex.quote(" ".join(commands))} -- "$current"))',
            "    return",
            "  fi",
            '  case "${COMP_WORDS[1]}" in',
            *cases,
            "  esac",
            '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "}",
            "complete -o default -F _pytest_memory pytest-memory",
            "",
        ]
    )


# A file of $fpath is the body of a function named like it, run at each Tab: it has to complete itself.  Where the
# script is sourced, $funcstack begins with the sourced file, and the function is registered for later.
_ZSH_ENDING = (
    'if [ "$funcstack[1]" = "_pytest-memory" ]; then',
    '  _pytest_memory "$@"',
    "else",
    "  compdef _pytest_memory pytest-memory",
    "fi",
)


def zsh_script(commands: dict[str, tuple[str, list[Flag]]]) -> str:
    """For a file ``_pytest-memory`` on $fpath, or ``source <(pytest-memory completion zsh)``."""
    lines = ["#compdef pytest-memory", "_pytest_memory() {", "  local -a commands", "  commands=("]
    lines += [f"    {_zsh_quoted(f'{name}:{help_text}')}" for name, (help_text, _) in commands.items()]
    lines += ["  )", "  if (( CURRENT == 2 )); then", "    _describe command commands", "    return", "  fi"]
    lines += ["  case $words[2] in"]
    for name, (_, flags) in commands.items():
        lines.append(f"    {name})")
        specs = [_zsh_quoted(_zsh_spec(spelling, flag)) for flag in flags for spelling in flag.names]
        positional = [flag for flag in flags if not flag.names]
        if positional and positional[0].choices:
            specs.append(_zsh_quoted(f"*:{name}:({' '.join(positional[0].choices)})"))
        else:
            specs.append("'*:file:_files'")
        lines.append(f"      _arguments {' '.join(specs)} ;;")
    lines += ["  esac", "}", *_ZSH_ENDING, ""]
    return "\n".join(lines)


def _zsh_spec(spelling: str, flag: Flag) -> str:
    text = flag.help.replace("[", "(").replace("]", ")").replace(":", " ")
    value = {"": "", "words": f":value:({' '.join(flag.choices)})", "file": ":value:_files"}[flag.takes]
    return f"{spelling}[{text}]{value}"


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def fish_script(commands: dict[str, tuple[str, list[Flag]]]) -> str:
    """For ``pytest-memory completion fish | source``."""
    lines = []
    for name, (help_text, flags) in commands.items():
        lines.append(f"complete -c pytest-memory -n __fish_use_subcommand -f -a {name} -d {_fish_quoted(help_text)}")
        seen = f"'__fish_seen_subcommand_from {name}'"
        for flag in flags:
            lines.append(f"complete -c pytest-memory -n {seen} {_fish_flag(flag)}")
    return "\n".join([*lines, ""])


def _fish_flag(flag: Flag) -> str:
    parts = [f"-l {spelling[2:]}" if spelling.startswith("--") else f"-s {spelling[1:]}" for spelling in flag.names]
    if flag.choices:
        parts.append(f"{'-x' if flag.names else '-f'} -a {_fish_quoted(' '.join(flag.choices))}")
    elif flag.takes and flag.names:
        parts.append("-r")
    return " ".join([*parts, f"-d {_fish_quoted(flag.help)}"])


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
