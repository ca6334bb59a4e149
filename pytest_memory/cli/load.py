"""``pytest-memory load``: send load to an app and say what came back.  Floor 7."""

from __future__ import annotations

import argparse
import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_memory.cli.arguments import DEFAULT_URL
from pytest_memory.cli.front import Context
from pytest_memory.cli.live import ProgressLine
from pytest_memory.cli.measured import check_outputs, ending_early, exit_status, show_results, write_outputs
from pytest_memory.cli.target import make_generator, named_app, open_app, split_url, workload
from pytest_memory.errors import ConfigError

if TYPE_CHECKING:
    from pytest_memory.load.generator import LoadGenerator
    from pytest_memory.load.result import LoadResult
    from pytest_memory.model import RunResult

_POLL_S = 0.1


def run(arguments: argparse.Namespace, context: Context) -> int:
    settings = context.merged.settings
    check_outputs(context, arguments.output)
    from pytest_memory.load.result import LoadLimitError

    broken = ""
    with (
        _destination(arguments, context) as (base_url, name),
        make_generator(arguments, settings, base_url) as generator,
        ProgressLine(context.output, "load") as progress,
    ):
        options = _run_options(arguments, context) | {"progress": progress.say_load}
        try:
            result = drive(generator, arguments, options)
        except LoadLimitError as error:
            result, broken = error.result, error.message
    record = _record(result, name, arguments.max_error_rate)
    _show(context, result, record, broken)
    write_outputs(context, [record], arguments.output)
    return exit_status(record.verdict.outcome, "critical")


def drive(generator: LoadGenerator, arguments: argparse.Namespace, options: dict[str, Any]) -> LoadResult:
    """Run to the end, or to the first Ctrl-C; what was sent until then is the result."""
    from pytest_memory.load.generator import LoadRun

    send = workload(arguments, generator)
    over = threading.Event()
    with ending_early(over.set):
        run = LoadRun(generator, lambda: send(**options))
        while run.running:
            if over.wait(_POLL_S):
                return run.stop()
        return run.wait()


@contextlib.contextmanager
def _destination(arguments: argparse.Namespace, context: Context) -> Iterator[tuple[str, str]]:
    """Where to send, ``-u`` or an app started or found for the purpose, and what results call it.

    A started app is called by its command: it has another port each time, and runs are to be compared."""
    settings = context.merged.settings
    named_app(arguments, settings)  # two apps are refused, whichever of them would get the load
    if arguments.url or not (settings["app"] or settings["inspector"] or arguments.pid):
        base_url = split_url(arguments.url or DEFAULT_URL)[0]
        yield base_url, base_url
        return
    with open_app(arguments, settings) as app:
        yield app.url, app.url if app.spec.command is None else app.spec.label


def _run_options(arguments: argparse.Namespace, context: Context) -> dict[str, Any]:
    settings = context.merged.settings
    options: dict[str, Any] = {"concurrency": settings["load_concurrency"]}
    if arguments.requests is not None:
        if arguments.requests < 1:
            raise ConfigError(f"-n is {arguments.requests}; expected at least 1", slug="config-load")
        options["requests"] = arguments.requests
        ramps = settings.source("load_ramp_up") != "default"
    else:
        options["duration"] = settings["load_duration"]
        ramps = True
    if ramps:
        # A ramp longer than the run would never reach the connections that were asked for.  One named in this command
        # is refused for that; one that a file or the defaults have for all runs is shortened.
        shortened = arguments.requests is None and settings.source("load_ramp_up") != "option"
        longest = settings["load_duration"] / 2 if shortened else float("inf")
        options["ramp_up"] = min(settings["load_ramp_up"], longest)
    for name in ("rate", "max_error_rate"):
        if getattr(arguments, name) is not None:
            options[name] = getattr(arguments, name)
    return options


def _record(result: LoadResult, name: str, max_error_rate: float | None) -> RunResult:
    from pytest_memory import judge
    from pytest_memory.judge.load import MAX_ERROR_RATE, judge_load
    from pytest_memory.model import RunResult
    from pytest_memory.store import now_text

    checks = judge_load([result.stats], MAX_ERROR_RATE if max_error_rate is None else max_error_rate)
    return RunResult(
        test_id=f"load {name}",
        tool="load",
        started_at=now_text(),
        duration_s=round(result.duration_s, 3),
        load=(result.stats,),
        verdict=judge.combine(checks),
    )


def _show(context: Context, result: LoadResult, record: RunResult, broken: str) -> None:
    from pytest_memory.report import view
    from pytest_memory.report.text import wrap

    output = context.output
    reason = broken or view.verdict_line(record)
    if output.as_json:
        show_results(context, [record], **result.to_dict(), outcome=record.verdict.outcome, reason=reason)
        return
    for line in str(result).split("\n"):
        output.lines(wrap(line, output.width))
    if record.verdict.outcome != "pass":
        output.wrapped(reason, "red bold")
