"""The metrics two runs are compared by, and how each is read from a result.  Floor 1: no files, no decisions.

One row of METRICS feeds the baseline file, the judgement against it, the comparison of two result files, the
history and docs/baseline.md.  The numbers in a row are what is known of the metric before anything was measured
twice; `benchmarks/baseline_noise.py` measures whether they hold.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pytest_memory import units
from pytest_memory.errors import ConfigError
from pytest_memory.model import GcEvent, LeakEstimate, LoadStats, RunResult, Sample, SettledMemory
from pytest_memory.noise import Noise, sd_of_interval

Judged = Literal["always", "advisory", "named"]
MetricUnit = Literal["bytes", "bytes/unit", "count", "s", "1/s"]

# Scavenges follow the allocation rate and incremental steps belong to the mark-compact they prepare.
MAJOR_COLLECTION = "mark-compact"
_HOST = re.compile(r"(?: at)?\s*https?://(?:\[[0-9a-fA-F:]+\]|[^/\s:]+)(?::\d+)?")
_MAX_LOAD_TEXT = 500
_GC_CHECKS = ("health:gc_count", "max_gc_count", "max_gc_pause")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One thing two runs are compared by.

    ``judged``: "always" (a breach fails the test), "advisory" (a breach is a warning unless the test names the
    metric) or "named" (stored, judged only when the test names it).  ``floor`` and ``floor_percent`` are the
    least tolerance, ``noise`` and ``noise_percent`` the standard deviation expected of one measurement; of each
    pair the larger holds.  ``is_change`` metrics cross zero, so percentages alone mean nothing for them."""

    name: str
    unit: MetricUnit
    help: str
    judged: Judged
    floor: float
    floor_percent: float
    noise: float
    noise_percent: float
    is_change: bool = False
    higher_is_worse: bool = True
    needs_same_cpu: bool = False

    def least_tolerance(self, level: float, work: float = 0.0, *, has_interval: bool = False) -> float:
        """The tolerance below which a difference is of no interest, in the metric's unit.

        ``work`` is units done; ``has_interval`` says that the measurement came with an interval of its own, which
        then speaks for its noise."""
        absolute = _LEAST_RATE if has_interval and self.unit == "bytes/unit" else self._absolute(self.floor, work)
        return max(absolute, abs(level) * self.floor_percent / 100)

    def expected_noise(self, level: float, work: float = 0.0) -> Noise:
        """The noise of one measurement, before anything was measured twice."""
        return Noise(max(self._absolute(self.noise, work), abs(level) * self.noise_percent / 100))

    def _absolute(self, size: float, work: float) -> float:
        # A rate's noise is the noise of the bytes it was made from, spread over the units of work.
        if self.unit != "bytes/unit":
            return size
        return max(_LEAST_RATE, size / work) if work > 0 else _LEAST_RATE


_LEAST_RATE = 20.0  # bytes per unit: what rounds of a few thousand requests resolve on a healthy server

METRICS: tuple[Metric, ...] = (
    Metric(
        name="heap_bytes",
        unit="bytes",
        judged="always",
        help="settled JS heap at the end, workers included",
        floor=200e3,
        floor_percent=5,
        noise=30e3,
        noise_percent=0.7,
    ),
    Metric(
        name="heap_growth_bytes",
        unit="bytes",
        judged="always",
        help="settled heap at the end minus at the start, where both runs did the same work",
        floor=256e3,
        floor_percent=10,
        noise=35e3,
        noise_percent=2,
        is_change=True,
    ),
    Metric(
        name="heap_bytes_per_unit",
        unit="bytes/unit",
        judged="always",
        help="heap growth per request (job, iteration), with its interval where rounds were measured",
        floor=256e3,
        floor_percent=10,
        noise=35e3,
        noise_percent=2,
        is_change=True,
    ),
    Metric(
        name="external_bytes",
        unit="bytes",
        judged="always",
        help="settled memory outside the heap that V8 accounts for (Buffers, ArrayBuffers)",
        floor=512e3,
        floor_percent=10,
        noise=60e3,
        noise_percent=1.5,
    ),
    Metric(
        name="rss_bytes",
        unit="bytes",
        judged="advisory",
        help="settled resident memory of all the app's processes",
        floor=12e6,
        floor_percent=10,
        noise=1.5e6,
        noise_percent=2,
    ),
    Metric(
        name="peak_rss_bytes",
        unit="bytes",
        judged="advisory",
        help="highest resident memory seen while the test ran",
        floor=24e6,
        floor_percent=20,
        noise=3e6,
        noise_percent=4,
    ),
    Metric(
        name="gc_count",
        unit="count",
        judged="advisory",
        help="number of mark-compact collections that V8 started itself",
        floor=10,
        floor_percent=50,
        noise=1.5,
        noise_percent=10,
    ),
    Metric(
        name="gc_pause_s",
        unit="s",
        judged="named",
        help="longest garbage collection pause",
        floor=0.010,
        floor_percent=50,
        noise=0.002,
        noise_percent=20,
        needs_same_cpu=True,
    ),
    Metric(
        name="latency_p50_s",
        unit="s",
        judged="named",
        help="median response time of all load",
        floor=0.001,
        floor_percent=25,
        noise=0.0002,
        noise_percent=8,
        needs_same_cpu=True,
    ),
    Metric(
        name="latency_p99_s",
        unit="s",
        judged="named",
        help="99th percentile of the response time, the worst of all load runs",
        floor=0.005,
        floor_percent=50,
        noise=0.001,
        noise_percent=20,
        needs_same_cpu=True,
    ),
    Metric(
        name="rps",
        unit="1/s",
        judged="named",
        help="requests per second over all load",
        floor=0,
        floor_percent=25,
        noise=0,
        noise_percent=8,
        higher_is_worse=False,
        needs_same_cpu=True,
    ),
)
BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}
NAMES: tuple[str, ...] = tuple(BY_NAME)


def parse_metrics(value: object, what: str) -> dict[str, units.Limit | None]:
    """The metrics a test names: ``"rss_bytes"``, a list of names, or ``{"rss_bytes": "15%"}`` with tolerances.

    Raises ConfigError (config-marker) for an unknown name, naming the nearest known one, and for a tolerance that
    is no limit."""
    named: Mapping[object, object]
    if isinstance(value, Mapping):
        named = value
    elif isinstance(value, str):
        named = {value: None}
    elif isinstance(value, (list, tuple, set, frozenset)):
        named = dict.fromkeys(value)
    else:
        named = {}
    if not named:
        raise ConfigError(
            f"{what} is {value!r}; expected names of metrics, or a dict of name and tolerance",
            slug="config-marker",
            hint=f"the metrics are {', '.join(NAMES)}",
        )
    parsed: dict[str, units.Limit | None] = {}
    for name, tolerance in named.items():
        if not isinstance(name, str) or name not in BY_NAME:
            close = difflib.get_close_matches(str(name), NAMES, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the metrics are {', '.join(NAMES)}"
            raise ConfigError(f"{what} names {name!r}; expected a metric", slug="config-marker", hint=hint)
        parsed[name] = None if tolerance is None else units.parse_limit(tolerance, what=f"{what}[{name!r}]")
    return parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One metric of one run; ``low``..``high`` is its own 95 % interval, where the measurement has one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def has_interval(self) -> bool:
        return self.low is not None and self.high is not None

    def own_noise(self) -> float | None:
        """The standard deviation behind the interval, or None where there is no interval."""
        return None if self.low is None or self.high is None else sd_of_interval(self.low, self.high)


def read_metrics(result: RunResult) -> dict[str, Reading]:
    """Every metric that ``result`` holds, by name; what was not measured is absent, never zero."""
    readings: dict[str, Reading] = {}
    for reader in _READERS:
        readings.update(reader(result))
    return readings


def units_of_work(result: RunResult) -> int:
    """Requests (jobs, iterations) done between the two settled readings; 0 when nobody counted."""
    counted = sum(round_.units for round_ in result.rounds)
    counted = counted or max((growth.units for growth in result.growth), default=0)
    return counted or sum(load.sent for load in result.load)


def level_growth(name: str, result: RunResult) -> float | None:
    """By how much a settled level (heap_bytes, external_bytes) grew in the window; None for any other metric, and where
    there is no reading at the start."""
    start, end = result.start_memory, result.end_memory
    read = _LEVELS.get(name)
    return None if read is None or start is None or end is None else read(end) - read(start)


def load_text(result: RunResult) -> str:
    """What load the app got, without hosts and ports: the same text means the same load."""
    return "; ".join(dict.fromkeys(_one_load_text(load) for load in result.load))[:_MAX_LOAD_TEXT]


def _one_load_text(load: LoadStats) -> str:
    texts = [_HOST.sub("", load.description).strip()]
    if load.concurrency and "connections" not in texts[0]:
        texts.append(f"{load.concurrency} connections")
    if load.rate_per_s:
        texts.append(f"{load.rate_per_s:g}/s")
    return ", ".join(text for text in texts if text)


def _read_settled(result: RunResult) -> dict[str, Reading]:
    end = result.end_memory
    if end is None:
        return {}
    readings = {"heap_bytes": Reading(value=_heap(end)), "external_bytes": Reading(value=end.external_bytes)}
    if end.rss_bytes and not _snapshot_taken(result):
        readings["rss_bytes"] = Reading(value=end.rss_bytes)
    return readings


def _snapshot_taken(result: RunResult) -> bool:
    # Writing a heap snapshot swells the process for good: RSS after one says nothing about the app.
    noted = any(note.slug == "rss-after-snapshot" for note in result.notes)
    return noted or any(artifact.kind == "heapsnapshot" for artifact in result.artifacts)


def _read_growth(result: RunResult) -> dict[str, Reading]:
    start, end = result.start_memory, result.end_memory
    if start is None or end is None:
        return {}
    amount = _heap(end) - _heap(start)
    readings = {"heap_growth_bytes": Reading(value=amount)}
    work = units_of_work(result)
    if work:
        readings["heap_bytes_per_unit"] = Reading(value=amount / work)
    for leak in result.verdict.leaks:
        if leak.kind == "heap" and leak.rounds and _is_known(leak):
            readings["heap_bytes_per_unit"] = _slope(leak)
    return readings


def _is_known(leak: LeakEstimate) -> bool:
    # After too little work the slope may be anything: within such an interval every change would be chance.
    return all(map(math.isfinite, (leak.slope, leak.low, leak.high)))


def _slope(leak: LeakEstimate) -> Reading:
    return Reading(value=leak.slope, low=leak.low, high=leak.high)


def _read_peak(result: RunResult) -> dict[str, Reading]:
    if _snapshot_taken(result):
        return {}
    peaks = [peak for peak in (round_.peak_rss_bytes for round_ in result.rounds) if peak is not None]
    peaks.extend(_tick_totals(result.samples))
    return {"peak_rss_bytes": Reading(value=max(peaks))} if peaks else {}


def _tick_totals(samples: Iterable[Sample]) -> list[int]:
    """RSS of all processes together, one sum a sampling tick (no process comes twice in a tick)."""
    totals: list[int] = []
    tick: dict[int, int] = {}
    for sample in samples:
        if sample.rss_bytes is None:
            continue
        if sample.pid in tick:
            totals.append(sum(tick.values()))
            tick = {}
        tick[sample.pid] = sample.rss_bytes
    return [*totals, sum(tick.values())] if tick else totals


def _read_gc(result: RunResult) -> dict[str, Reading]:
    if not _gc_observed(result):
        return {}
    return {
        "gc_count": Reading(value=_major_count(result.gc_events)),
        "gc_pause_s": Reading(value=max((event.duration_s for event in result.gc_events), default=0.0)),
    }


def _gc_observed(result: RunResult) -> bool:
    if any(note.slug == "gc-dropped" for note in result.notes):
        return False  # there may have been more than are known
    # No event at all may mean that nobody watched; a judged count says that somebody did and saw none.
    judged = any(check.metric in _GC_CHECKS and check.measured is not None for check in result.verdict.checks)
    return judged or bool(result.gc_events)


def _major_count(events: Iterable[GcEvent]) -> int:
    return sum(1 for event in events if event.kind == MAJOR_COLLECTION)


def _read_load(result: RunResult) -> dict[str, Reading]:
    loads = [load for load in result.load if load.requests > load.errors and load.latency.count]
    if not loads:
        return {}
    requests = sum(load.requests for load in loads)
    readings = {
        "latency_p50_s": Reading(value=sum(load.latency.p50_s * load.requests for load in loads) / requests),
        "latency_p99_s": Reading(value=max(load.latency.p99_s for load in loads)),
    }
    duration_s = sum(load.duration_s for load in loads)
    if duration_s > 0:
        readings["rps"] = Reading(value=requests / duration_s)
    return readings


def _heap(memory: SettledMemory) -> int:
    return memory.heap_used_bytes + memory.worker_heap_used_bytes


_LEVELS: Mapping[str, Callable[[SettledMemory], float]] = {
    "heap_bytes": _heap,
    "external_bytes": lambda memory: memory.external_bytes,
}
_READERS: tuple[Callable[[RunResult], dict[str, Reading]], ...] = (
    _read_settled,
    _read_growth,
    _read_peak,
    _read_gc,
    _read_load,
)
