"""What is read from a result, and what is left out because it was not measured."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.baseline_factory import MB, load, result, settled, slope

from pytest_memory import metrics
from pytest_memory.errors import ConfigError
from pytest_memory.model import Artifact, Note, Round, RunResult, Sample


def test_every_metric_can_be_read() -> None:
    readings = metrics.read_metrics(result())
    assert set(readings) == set(metrics.NAMES)
    assert readings["heap_bytes"].value == 20 * MB
    assert readings["heap_growth_bytes"].value == 0.1 * MB
    assert readings["heap_bytes_per_unit"].value == 50
    assert readings["peak_rss_bytes"].value == 99 * MB
    assert readings["gc_count"].value == 4
    assert readings["gc_pause_s"].value == 0.004
    assert readings["rps"].value == pytest.approx(2000)


def test_nothing_measured_is_nothing_read() -> None:
    assert metrics.read_metrics(RunResult(test_id="t")) == {}


def test_worker_heaps_count() -> None:
    measured = result()
    assert measured.end_memory is not None
    measured = replace(measured, end_memory=replace(measured.end_memory, worker_heap_used_bytes=5 * MB))
    assert metrics.read_metrics(measured)["heap_bytes"].value == 25 * MB


def test_a_leak_test_brings_its_interval() -> None:
    reading = metrics.read_metrics(result(leaks=[slope(3.5, half=2)]))["heap_bytes_per_unit"]
    assert (reading.value, reading.low, reading.high) == (3.5, 1.5, 5.5)


def test_an_interval_that_is_not_known_is_no_reading() -> None:
    short = replace(slope(5000, outcome="inconclusive"), reason="too-short", low=-math.inf, high=math.inf)
    reading = metrics.read_metrics(result(leaks=[short]))["heap_bytes_per_unit"]
    assert (reading.value, reading.low, reading.high) == (50, None, None)  # what was added by the work that was done


@pytest.mark.parametrize(
    "trace",
    [{"notes": (Note(slug="rss-after-snapshot"),)}, {"artifacts": (Artifact(kind="heapsnapshot", path="a"),)}],
)
def test_rss_after_a_snapshot_is_no_reading(trace: dict[str, object]) -> None:
    readings = metrics.read_metrics(result(**trace))
    assert "rss_bytes" not in readings
    assert "peak_rss_bytes" not in readings
    assert "heap_bytes" in readings


def test_peak_adds_up_processes_of_one_tick() -> None:
    ticks = [(0, 1, 10), (0.01, 2, 5), (1, 1, 12), (1.01, 2, 9), (2, 1, 11)]
    samples = tuple(Sample(t_s=t, pid=pid, rss_bytes=rss * MB) for t, pid, rss in ticks)
    assert metrics.read_metrics(replace(result(), samples=samples))["peak_rss_bytes"].value == 21 * MB


def test_units_come_from_rounds_first() -> None:
    rounds = tuple(Round(index=i, units=500, errors=0, start_s=0, end_s=1, memory=settled(MB)) for i in range(6))
    assert metrics.units_of_work(replace(result(), rounds=rounds)) == 3000
    assert metrics.units_of_work(result()) == 2000
    assert metrics.units_of_work(replace(result(), growth=())) == 2000
    warmed = tuple(replace(load, warmup_requests=300) for load in result().load)
    assert metrics.units_of_work(replace(result(), growth=(), load=warmed)) == 2300


def test_load_text_has_no_host_port_or_repetition() -> None:
    texts = ["GET /a at http://127.0.0.1:34567, 10 connections", "GET /a at http://[::1]:8080, 10 connections"]
    loads = [load(description=text) for text in texts]
    assert metrics.load_text(result(loads=loads)) == "GET /a, 10 connections"
    assert metrics.load_text(result(loads=[])) == ""
    faster = replace(load(), rate_per_s=250.0)
    assert metrics.load_text(result(loads=[load(), faster])) == (
        "GET /orders, 10 connections; GET /orders, 10 connections, 250/s"
    )


def test_failed_load_has_no_latency() -> None:
    broken = replace(load(100), errors=100)
    assert not {"latency_p50_s", "latency_p99_s", "rps"} & set(metrics.read_metrics(result(loads=[broken])))


def test_rates_get_more_exact_with_more_work() -> None:
    per_unit = metrics.BY_NAME["heap_bytes_per_unit"]
    assert per_unit.least_tolerance(0, 1000) == 256
    assert per_unit.least_tolerance(0, 10_000) == 25.6
    assert per_unit.least_tolerance(0, 1_000_000) == 20
    assert per_unit.expected_noise(0, 1000).sd == 35


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("rss_bytes", {"rss_bytes": None}),
        (["heap_bytes", "rps"], {"heap_bytes": None, "rps": None}),
        ({"heap_bytes": "5%"}, {"heap_bytes": "5%"}),
    ],
)
def test_named_metrics_parse(value: object, expected: dict[str, str | None]) -> None:
    parsed = metrics.parse_metrics(value, "metrics")
    assert {name: limit.text if limit else None for name, limit in parsed.items()} == expected


@pytest.mark.parametrize("value", [[], {}, 5, None, ["heap_byte"], {"heap_bytes": "5 apples"}, [7]])
def test_wrong_metrics_are_refused(value: object) -> None:
    with pytest.raises(ConfigError):
        metrics.parse_metrics(value, "@pytest.mark.memory_baseline metrics")


def test_a_misspelt_metric_names_its_neighbour() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'heap_bytes'"):
        metrics.parse_metrics("heap_byte", "metrics")
