"""docs/cli.md names every command and every flag."""

from __future__ import annotations

import pytest
from support.command import PACKAGE_ROOT

from pytest_memory.cli.arguments import build_parser
from pytest_memory.cli.completion import read_parser

PAGE = PACKAGE_ROOT / "docs" / "cli.md"
COMMANDS = read_parser(build_parser())


@pytest.mark.parametrize("command", COMMANDS)
def test_command_and_its_flags_are_documented(command: str) -> None:
    text = PAGE.read_text()
    assert command in text
    missing = [
        flag.names
        for flag in COMMANDS[command][1]
        if flag.names and flag.names != ("-h", "--help") and not any(f"{name}" in text for name in flag.names)
    ]
    assert missing == []
