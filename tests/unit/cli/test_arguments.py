"""The parser: every setting of the table has its flag, defaults are the script suite's, help is instant and light."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import PACKAGE_ROOT, environment

from pytest_memory import spec
from pytest_memory.cli.arguments import COMMANDS, build_parser
from pytest_memory.cli.front import main

HEAVY = ("numpy", "numba", "rich", "httpx", "plotly", "psutil", "websocket", "prompt_toolkit", "msgspec", "jinja2")


def test_every_setting_of_a_tool_has_its_flag() -> None:
    parser = build_parser()
    for option in spec.OPTIONS:
        for tool in option.tools:
            extra = ["--base", "x"] if tool == "ab" else []
            for flag in option.cli_flags:
                arguments = parser.parse_args([tool, flag, "7", *extra])
                assert getattr(arguments, f"setting_{option.name}") == "7", (tool, flag)


def test_every_tool_of_the_table_is_a_command() -> None:
    assert {tool for option in spec.OPTIONS for tool in option.tools} <= {command.name for command in COMMANDS}


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_has_json_and_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([command, "--help"])
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "monitor -i 500 -d 300000 -o results.json -l monitor.log",
        "load -u http://localhost:3000 -c 20 -d 120000 -r 5000",
        "profile -o snapshots",
        "profile -c a.heapsnapshot b.heapsnapshot",
        "baseline -o my-baseline.json -c previous.json",
        "report -i results -o report.html",
        "stress --app server.js --max-heap-growth 50MB",
        "analyze --pid 4711 -o memory-analysis",
        "heap a.heapsnapshot",
        "diff a.heapsnapshot b.heapsnapshot",
        "ab --base main -- -k orders",
    ],
)
def test_documented_lines_parse(line: str) -> None:
    assert build_parser().parse_args(line.split()).command == line.split()[0]


@pytest.mark.parametrize("line", ["monitr", "heap", "diff a", "profile -c a", "ab", "completion tcsh", "load -n many"])
def test_wrong_lines_are_usage_errors(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(line.split())
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("load --concurency 3", "unrecognized arguments: --concurency 3\n  hint: did you mean '--concurrency'?"),
        ("load --durration=3", "did you mean '--duration'?"),
        ("monitor -Q", "hint: pytest-memory monitor --help names what it takes"),
        ("report there", "unrecognized arguments: there"),
    ],
)
def test_an_unknown_flag_is_told_by_its_command_in_two_lines(
    line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(line.split())
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith(f"pytest-memory {line.split()[0]}: error: ")
    assert error.count("\n") == 2


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("load --json -n many", "pytest-memory load: argument -n/--requests: invalid int value: 'many'", "--help"),
        (
            "load --concurency 3 --json",
            "pytest-memory load: unrecognized arguments: --concurency 3",
            "'--concurrency'?",
        ),
        ("monitr --json", "pytest-memory: argument COMMAND: invalid choice: 'monitr'", "pytest-memory --help"),
    ],
)
def test_a_wrong_line_that_asks_for_json_gets_json(
    line: str, message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(line.split())
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert error["slug"] == "config-option"
    assert error["message"].startswith(message)
    assert hint in error["hint"]
    assert "error: " in err


@pytest.mark.parametrize("line", ["load -n many", "ab --rounds many -- --json"])
def test_a_wrong_line_prints_nothing_else_on_stdout(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(line.split())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("line", ["heap no.heapsnapshot", "heap no.heapprofile --strings", "diff no.a no.b"])
@pytest.mark.parametrize("top", ["-1", "0"])
def test_a_table_of_no_rows_is_a_usage_error_before_a_file_is_read(
    line: str, top: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.split(), "--top", top]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"pytest-memory: ConfigError[config-option]: --top is {top}; expected at least 1",
        "  hint: it says how many rows a table has",
    ]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from pytest_memory.cli.front import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE_ROOT, env=environment(), check=True
    )
    assert done.stderr.strip() == "[]"


def test_no_command_prints_help_and_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest_memory"],
        capture_output=True,
        text=True,
        cwd=PACKAGE_ROOT,
        env=environment(),
        check=False,
    )
    assert done.returncode == 2
    assert "monitor" in done.stdout


# The interpreter, and what of the standard library any command line of argparse and dataclasses begins with.
LEAST = ("-c", "import argparse, dataclasses, typing")
HELP = ("-m", "pytest_memory", "--help")
# The bar is 150 ms, where LEAST takes 50 ms; measured: 1.9 times as much.  An import of numpy or httpx goes beyond it.
MOST = 3.0


def cpu_s(arguments: tuple[str, ...], pycache: Path) -> float:
    """CPU time of one start, which a busy machine stretches less than time on the clock."""
    resource = pytest.importorskip("resource", reason="Windows counts the time of children otherwise")
    # Bytecode is written and used, as that of an installed package is.
    told = {name: value for name, value in environment().items() if name != "PYTHONDONTWRITEBYTECODE"}
    told["PYTHONPYCACHEPREFIX"] = str(pycache)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, cwd=PACKAGE_ROOT, env=told, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return float(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def test_help_costs_little_more_than_the_interpreter_does(tmp_path: Path) -> None:
    for arguments in (LEAST, HELP):
        cpu_s(arguments, tmp_path)
    pairs = [(cpu_s(LEAST, tmp_path), cpu_s(HELP, tmp_path)) for _ in range(7)]
    least_s, help_s = (statistics.median(times) for times in zip(*pairs))
    assert help_s <= MOST * least_s, f"{help_s * 1000:.0f} ms of CPU time, {help_s / least_s:.1f} times {LEAST[1]!r}"
