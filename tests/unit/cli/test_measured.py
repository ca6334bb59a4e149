"""Verdicts as exit statuses, results as text that fits, files checked before anything is measured."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest

from pytest_memory.cli.arguments import build_parser
from pytest_memory.cli.baseline import max_status
from pytest_memory.cli.front import Context
from pytest_memory.cli.measured import (
    check_outputs,
    exit_status,
    finish,
    show_result,
    show_results,
    total_load,
)
from pytest_memory.cli.output import Output
from pytest_memory.cli.settings import merge
from pytest_memory.errors import StoreError
from pytest_memory.model import Growth, Latency, LoadStats, Outcome, RunResult, Verdict
from pytest_memory.store import read_document


def make_context(tmp_path: Path, *words: str, out: io.StringIO | None = None) -> tuple[argparse.Namespace, Context]:
    arguments = build_parser().parse_args(["monitor", *words])
    output = Output(as_json=arguments.as_json, out=out or io.StringIO(), err=io.StringIO())
    return arguments, Context(output, merge(arguments, tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("outcome", "fail_on", "status"),
    [
        ("pass", "warning", 0),
        ("warning", "critical", 0),
        ("warning", "warning", 1),
        ("critical", "critical", 1),
        ("critical", "inconclusive", 1),
        ("not-measured", "critical", 3),
        ("inconclusive", "critical", 4),
        ("inconclusive", "inconclusive", 4),
    ],
)
def test_exit_status(outcome: Outcome, fail_on: str, status: int) -> None:
    assert exit_status(outcome, fail_on) == status


def test_worse_of_two_statuses() -> None:
    assert [max_status(0, 4), max_status(4, 1), max_status(3, 4), max_status(0, 0)] == [4, 1, 3, 0]


def example(outcome: Outcome = "pass") -> RunResult:
    growth = tuple(Growth(metric=name, start=1e6, end=2e6, units=100) for name in ("heap_used", "external", "rss"))
    return RunResult(test_id="monitor", verdict=Verdict(outcome=outcome), growth=growth)


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_result_fits_the_terminal(columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    show_result(make_context(tmp_path, out=out)[1], example())
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    table = [line for line in lines if line.startswith("external")]
    assert table
    assert "+1.00 MB" in table[0]  # what grew and how much stays, however narrow


def test_outputs_are_written_and_read_back(tmp_path: Path) -> None:
    arguments, context = make_context(tmp_path, "-o", str(tmp_path / "new" / "r.json"))
    assert finish(context, [example()], arguments.output) == 0
    assert read_document(tmp_path / "new" / "r.json").results[0].test_id == "monitor"


def test_json_is_the_stored_document(tmp_path: Path) -> None:
    out = io.StringIO()
    arguments, context = make_context(tmp_path, "--json", out=out)
    finish(context, [example("critical")], arguments.output)
    (tmp_path / "r.json").write_text(out.getvalue())
    assert read_document(tmp_path / "r.json").results[0].verdict.outcome == "critical"


def test_json_with_more_keys_is_still_a_stored_document(tmp_path: Path) -> None:
    out = io.StringIO()
    context = make_context(tmp_path, "--json", out=out)[1]
    show_results(context, [example("critical")], comparison={"worse": 1, "low": float("-inf")}, version="not ours")
    document = json.loads(out.getvalue())
    assert document["comparison"] == {"worse": 1, "low": None}
    (tmp_path / "r.json").write_text(out.getvalue())
    assert read_document(tmp_path / "r.json").results == (example("critical"),)


def test_unwritable_outputs_are_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    context = make_context(tmp_path)[1]
    for name in ("file/below.json", ""):
        with pytest.raises(StoreError, match="could not be written"):
            check_outputs(context, str(tmp_path / name))
    check_outputs(context, None, str(tmp_path / "fine.json"))
    assert not (tmp_path / "fine.json").exists()


def test_loads_are_summed_without_percentiles() -> None:
    latency = Latency(count=10, p50_s=1)
    one = LoadStats(requests=10, errors=1, dropped=3, duration_s=1.0, concurrency=5, latency=latency)
    assert total_load([one]) is one
    total = total_load([one, one])
    assert (total.requests, total.errors, total.duration_s, total.latency.count) == (20, 2, 2.0, 0)
    assert total.dropped == 6
