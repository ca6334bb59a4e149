"""The arguments of every command, as an argparse parser.  Floor 7: builds, runs nothing.

Flags of settings come from the OPTIONS table (``cli_flags`` and ``tools`` of a row); what is a command's own, such
as its files, is added here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from pytest_memory import spec

DEFAULT_URL = "http://localhost:3000"
EXIT_CODES = "exit status: 0 fine, 1 a limit is broken, 2 usage, 3 could not measure, 4 inconclusive"

# Shown with the app's other flags, not among the settings.
_TARGET_SETTINGS = ("app", "inspector", "node")

_Adder = Callable[[argparse.ArgumentParser], None]


@dataclass(frozen=True, slots=True)
class Command:
    """One command: ``module`` of this package has its ``run(arguments, context)``."""

    name: str
    module: str
    help: str
    add: _Adder
    epilog: str = ""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a line on stdout too, as JSON, when the line asks for that."""

    _as_json = False

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse's; remembers whether the line has ``--json``."""
        words = sys.argv[1:] if args is None else list(args)
        self._as_json = "--json" in words[: words.index("--") if "--" in words else None]
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """As argparse's: the usage, the message, status 2."""
        self.print_json(message, f"{self.prog} --help names what it takes")
        super().error(message)

    def print_json(self, message: str, hint: str) -> None:
        """The error for programs, in the form in which every command's errors are printed."""
        if self._as_json:
            import json  # only a mistake needs it

            error = {"slug": "config-option", "message": f"{self.prog}: {message}", "hint": hint}
            self._print_message(json.dumps({"error": error}, ensure_ascii=False, indent=2) + "\n", sys.stdout)


class _CommandParser(_Parser):
    """The parser of one command: what it does not know is its own error, not that of the whole program."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse's, but ends the process with status 2 and the flag that may be meant when any is unknown."""
        known, unknown = super().parse_known_args(args, namespace)  # type: ignore[no-untyped-call]
        if unknown:
            import difflib  # only a mistake needs it

            meant = difflib.get_close_matches(unknown[0].partition("=")[0], self._option_string_actions, n=1)
            hint = f"did you mean {meant[0]!r}?" if meant else f"{self.prog} --help names what it takes"
            message = f"unrecognized arguments: {' '.join(unknown)}"
            self.print_json(message, hint)
            # Its usage, a screen long, would only hide this.
            self.exit(2, f"{self.prog}: error: {message}\n  hint: {hint}\n")
        return known, unknown


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``pytest-memory``."""
    parser = _Parser(
        prog="pytest-memory",
        description="Memory analysis of Node.js apps: monitor, profile, load, baseline, report.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=_CommandParser)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.help,
            description=command.help[0].upper() + command.help[1:] + ".",
            epilog=command.epilog or None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(module=command.module)
        command.add(sub)
        add_settings(sub, command.name)
        sub.add_argument("--json", action="store_true", dest="as_json", help="print the result as JSON, nothing else")
    return parser


def add_settings(parser: argparse.ArgumentParser, tool: str) -> None:
    """The flags of the settings this tool takes.  Values stay text: `cli.settings` parses, so that errors are ours."""
    group = parser.add_argument_group("settings")
    for option in spec.OPTIONS:
        if tool in option.tools and option.name not in _TARGET_SETTINGS:
            _add_setting(group, option)


def _add_setting(group: argparse._ArgumentGroup, option: spec.Option) -> None:
    group.add_argument(
        *option.cli_flags,
        dest=f"setting_{option.name}",
        metavar=option.metavar,
        help=f"{option.help}{_default_text(option)}",
    )


def _default_text(option: spec.Option) -> str:
    default = option.default if option.cli_default is None else option.cli_default
    if default is None or default is False or default == "":
        return ""
    if option.cli_parse is not None:
        return f" (default: {default:g}s; a plain number is milliseconds)"
    return f" (default: {default})"


# --- what several commands take -------------------------------------------------------------------------------


def _add_target(parser: argparse.ArgumentParser, *, default: str = DEFAULT_URL) -> None:
    group = parser.add_argument_group("the app (one of --app, --pid, --inspector, -u)")
    for name in _TARGET_SETTINGS:
        _add_setting(group, spec.BY_NAME[name])
    group.add_argument("--pid", type=int, metavar="PID", help="attach to this process")
    group.add_argument("-u", "--url", metavar="URL", help=f"the running app's URL (default: {default})")
    group.add_argument("--cwd", metavar="DIR", help="directory to start --app in")
    group.add_argument("--port", type=int, metavar="N", help="port for --app, passed as PORT (default: a free one)")
    group.add_argument(
        "--ready", metavar="HOW", help='when --app is up: a path, "log:REGEX" or "tcp" (default: its port accepts)'
    )


def _add_requests(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("requests")
    group.add_argument(
        "-p", "--path", action="append", metavar="PATH", help='what is asked for, repeatable: "/api", "POST /api"'
    )
    group.add_argument("-H", "--header", action="append", metavar="'K: V'", help="a header, repeatable")
    group.add_argument("--data", metavar="TEXT", help="the body of every request (JSON text is sent as JSON)")
    group.add_argument("--trpc", metavar="PROCEDURE", help='call this tRPC procedure ("order.list") in place of a path')
    group.add_argument(
        "--trpc-type", choices=("query", "mutation"), default="query", help="what the procedure is (default: query)"
    )
    group.add_argument(
        "--trpc-prefix", metavar="PATH", default="/trpc", help='where tRPC is mounted (default: /trpc; "/api/trpc")'
    )
    group.add_argument("--input", metavar="JSON", help="the procedure's input")
    group.add_argument("--allow-public", action="store_true", help="load a host that is not on a private network")


def _add_output(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    shown = f" (default: {default})" if default else ""
    parser.add_argument("-o", "--output", metavar="FILE", default=default, help=f"write the results as JSON{shown}")


# --- the commands ---------------------------------------------------------------------------------------------


def _add_monitor(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    parser.add_argument("-l", "--log", metavar="FILE", help="write a line a sample, as they are taken")
    _add_target(parser)


def _add_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="DIR", default="memory-profiles", help="where files go (default: memory-profiles)"
    )
    parser.add_argument(
        "-c", "--compare", nargs=2, metavar=("BEFORE", "AFTER"), help="compare two snapshots in place of profiling"
    )
    _add_target(parser)


def _add_load(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    parser.add_argument("-n", "--requests", type=int, metavar="N", help="end after exactly N requests, not a time")
    parser.add_argument("--rate", type=float, metavar="N", help="N arrivals a second, however slow the answers")
    parser.add_argument(
        "--max-error-rate", type=float, metavar="SHARE", help="fail when more of the requests fail (0..1)"
    )
    _add_target(parser)
    _add_requests(parser)


def _add_baseline(parser: argparse.ArgumentParser) -> None:
    _add_output(parser, "memory-baseline-steps.json")
    parser.add_argument("-c", "--compare", metavar="PREVIOUS", help="compare with the file of an earlier run")
    parser.add_argument("-n", "--requests", type=int, default=500, metavar="N", help="requests a step (default: 500)")
    _add_target(parser)
    _add_requests(parser)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", "--input", metavar="DIR", default=".", help="results to show: a directory or a file")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="memory-analysis-report.html",
        help="the report (default: memory-analysis-report.html)",
    )


def _add_stress(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    _add_target(parser)
    _add_requests(parser)


def _add_analyze(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="DIR", default="memory-analysis", help="one directory of results (memory-analysis)"
    )
    parser.add_argument("-n", "--requests", type=int, default=500, metavar="N", help="requests a step (default: 500)")
    _add_target(parser)
    _add_requests(parser)


def _add_heap(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .heapsnapshot (also .gz, .zst) or .heapprofile")
    parser.add_argument("--top", type=int, default=20, metavar="N", help="rows a table (default: 20)")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="who holds the objects of this class")
    parser.add_argument("--strings", action="store_true", help="strings kept more than once, by wasted bytes")


def _add_diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="BEFORE", help="the earlier snapshot")
    parser.add_argument("after", metavar="AFTER", help="the later one")
    parser.add_argument("--baseline", metavar="FILE", help="an even earlier one: leave out what it already held")
    parser.add_argument("--top", type=int, default=20, metavar="N", help="rows (default: 20)")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="BEFORE", help="the earlier result file")
    parser.add_argument("after", metavar="AFTER", help="the later one")


def _add_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", nargs="?", help="where runs are kept (default: memory_results)")
    parser.add_argument("--test", metavar="TEXT", default="", help="only tests whose id has this text")
    parser.add_argument("--metric", metavar="NAME", default="", help="only this metric")


def _add_ab(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", metavar="REF", required=True, help="the commit or branch to compare with")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each side (default: 3)")
    parser.add_argument("--prepare", metavar="COMMAND", help='run once in the base\'s checkout ("npm ci")')
    parser.add_argument("pytest_arguments", nargs="*", metavar="PYTEST-ARGUMENT", help="given to pytest, after --")


def _add_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", nargs="?", default=".", help="the app's directory (default: .)")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of memory-config.json")


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell to write a script for")


COMMANDS: tuple[Command, ...] = (
    Command("monitor", "monitor", "watch an app's memory, live, and judge its growth", _add_monitor, EXIT_CODES),
    Command("profile", "profile", "take and compare heap snapshots of a live app, interactively", _add_profile),
    Command("load", "load", "send load to an app and measure its answers", _add_load),
    Command("baseline", "baseline", "measure memory step by step: idle, each operation, idle again", _add_baseline),
    Command("report", "report", "make one HTML report of results", _add_report),
    Command("stress", "stress", "load an app in rounds, watch its memory and judge whether it leaks", _add_stress),
    Command("analyze", "analyze", "baseline, stress, snapshots, comparison and report in one go", _add_analyze),
    Command("heap", "heap", "say what a heap snapshot holds", _add_heap),
    Command("diff", "diff", "compare two heap snapshots, class by class", _add_diff),
    Command("compare", "compare", "compare two result files, test by test", _add_compare),
    Command("history", "history", "show measurements over runs, and the commits where they changed", _add_history),
    Command("ab", "ab", "run the tests of a base commit and of the working tree in turns", _add_ab),
    Command("init", "init", "write a first test, a config and a CI workflow for the app found here", _add_init),
    Command("config", "config", "print the settings and where each came from", _add_config),
    Command("completion", "completion", "print a completion script for a shell", _add_completion),
)
