"""What a run came to: collecting the reports of load processes, and the result that compares and prints well.

Floor 2: no I/O.  `Collector` merges intervals as they come; its size depends on the length of the run in
intervals (thinned to `MAX_POINTS`) and on the spread of latencies, never on the number of requests.
"""

from __future__ import annotations

import http
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pytest_memory.errors import LoadError
from pytest_memory.load import histogram
from pytest_memory.load.messages import Done, Interval
from pytest_memory.load.plan import Limits, Settings
from pytest_memory.load.progress import LoadProgress
from pytest_memory.model import Latency, LoadPoint, LoadStats, TargetStats
from pytest_memory.units import format_count, format_duration, format_size

# A day-long run in 1 s intervals has 86,400 of them; a figure shows a few hundred.
MAX_POINTS = 600
# Above this share of a core the load process itself may be what is slow.
CLIENT_BUSY_SHARE = 0.95


@dataclass
class _Totals:
    """Counts of one target over the whole run."""

    requests: int = 0
    errors: int = 0
    cells: histogram.Cells = field(default_factory=dict)


class Collector:
    """Merges the `Interval`s of all processes of a run."""

    def __init__(self, names: Sequence[str], settings: Settings) -> None:
        self._names = names
        self._settings = settings
        self._targets = {name: _Totals() for name in names}
        self._counts: Counter[str] = Counter()
        self._status: Counter[int] = Counter()
        self._errors: Counter[str] = Counter()
        self._first_error: str | None = None
        self._warmup_requests = 0
        self._interval_s = settings.interval_s
        self._points: dict[int, _Point] = {}
        self._done: list[Done] = []

    @property
    def requests(self) -> int:
        return sum(target.requests for target in self._targets.values())

    def add(self, process: int, message: Interval) -> LoadProgress:
        """Take one report in; returns where the run is now."""
        requests = sum(counts.requests for counts in message.targets)
        if not message.measured:
            self._warmup_requests += requests
            return LoadProgress(
                t_s=0, requests=self._warmup_requests, errors=0, active=message.active, rps=0, p99_s=0, warming_up=True
            )
        point = self._point_at(message.t_s)
        for name, counts in zip(message.names or self._names, message.targets):
            total = self._targets.setdefault(name, _Totals())
            total.requests += counts.requests
            total.errors += counts.errors
            histogram.merge(total.cells, counts.cells)
            histogram.merge(point.cells, counts.cells)
            point.requests += counts.requests
            point.errors += counts.errors
        point.active[process, message.worker] = message.active
        for name in ("aborted", "dropped", "retried", "bytes_sent", "bytes_received"):
            self._counts[name] += getattr(message, name)
        self._status.update(message.status)
        self._errors.update(message.errors_by_kind)
        self._first_error = self._first_error or message.first_error
        return self._progress(message.t_s, point)

    def finish(self, done: Done) -> None:
        """A process is through with its job."""
        self._done.append(done)

    def _point_at(self, t_s: float) -> _Point:
        # An interval's report comes a little after the interval: it belongs to the one that just ended.
        index = max(0, round(t_s / self._interval_s + 0.25) - 1) if t_s else 0
        if index >= MAX_POINTS:
            self._thin()
            return self._point_at(t_s)
        return self._points.setdefault(index, _Point())

    def _thin(self) -> None:
        """Join neighbouring intervals: half as many, twice as long."""
        self._interval_s *= 2
        joined: dict[int, _Point] = {}
        for index in sorted(self._points):
            joined.setdefault(index // 2, _Point()).join(self._points[index])
        self._points = joined

    def _progress(self, t_s: float, point: _Point) -> LoadProgress:
        requests = self.requests
        share = None
        if (planned := self._settings.planned_requests) is not None:
            share = min(1.0, requests / planned)
        elif (planned_s := self._settings.planned_duration_s) is not None:
            share = min(1.0, t_s / planned_s)
        return LoadProgress(
            t_s=t_s,
            requests=requests,
            errors=sum(target.errors for target in self._targets.values()),
            active=sum(point.active.values()),
            rps=requests / t_s if t_s > 0 else 0.0,
            p99_s=histogram.percentiles_s(point.cells, [99])[0],
            share=share,
        )

    def result(self, description: str = "") -> LoadResult:
        """The result of the whole run."""
        cells: histogram.Cells = {}
        for target in self._targets.values():
            histogram.merge(cells, target.cells)
        duration_s = max((done.duration_s for done in self._done), default=0.0)
        # What was spent on waiting does not make it slow.
        busiest_s = max((done.cpu_s - done.polled_s for done in self._done), default=0.0)
        stats = LoadStats(
            requests=self.requests,
            errors=sum(target.errors for target in self._targets.values()),
            aborted=self._counts["aborted"],
            dropped=self._counts["dropped"],
            retried=self._counts["retried"],
            warmup_requests=self._warmup_requests,
            duration_s=duration_s,
            bytes_sent=self._counts["bytes_sent"],
            bytes_received=self._counts["bytes_received"],
            status={str(code): count for code, count in sorted(self._status.items())},
            errors_by_kind=dict(sorted(self._errors.items())),
            first_error=self._first_error,
            latency=histogram.summarise(cells),
            targets=tuple(self._target_stats()),
            series=tuple(
                self._points[index].finished((index + 1) * self._interval_s) for index in sorted(self._points)
            ),
            concurrency=self._settings.concurrency,
            rate_per_s=self._settings.rate_per_s,
            stopped_early=self._stopped_early(),
            description=description,
            client_cpu_s=sum(done.cpu_s for done in self._done),
            client_busy=min(1.0, max(0.0, busiest_s) / duration_s) if duration_s > 0 else 0.0,
        )
        return LoadResult(stats, cells)

    def _stopped_early(self) -> str | None:
        reasons = [done.stopped_early for done in self._done if done.stopped_early]
        # Processes may have found different reasons at once; of this one it hangs whether a limit is broken.
        return "max-error-rate" if "max-error-rate" in reasons else next(iter(reasons), None)

    def _target_stats(self) -> Iterable[TargetStats]:
        for name, target in self._targets.items():
            yield TargetStats(
                name=name,
                requests=target.requests,
                errors=target.errors,
                latency=histogram.summarise(target.cells),
            )


@dataclass
class _Point:
    """One interval while it is being collected."""

    requests: int = 0
    errors: int = 0
    cells: histogram.Cells = field(default_factory=dict)
    active: dict[tuple[int, int], int] = field(default_factory=dict)

    def join(self, other: _Point) -> None:
        self.requests += other.requests
        self.errors += other.errors
        histogram.merge(self.cells, other.cells)
        self.active.update(other.active)

    def finished(self, t_s: float) -> LoadPoint:
        p50_s, p99_s = histogram.percentiles_s(self.cells, (50, 99))
        return LoadPoint(
            t_s=t_s,
            requests=self.requests,
            errors=self.errors,
            p50_s=p50_s,
            p99_s=p99_s,
            active=sum(self.active.values()),
        )


class LoadLimitError(LoadError):
    """A run broke a limit it was given.  ``result`` is what it came to."""

    slugs = ("load-limit",)

    def __init__(self, message: str, result: LoadResult) -> None:
        super().__init__(message, slug="load-limit")
        self.result = result


class LoadResult:
    """What a run sent and got back.

    ``stats`` is the record that is stored; its fields and the usual percentiles (``p99_s``, …) can be read from
    the result itself.  Prints as a table; ``compare`` sets it beside an earlier result.
    """

    def __init__(self, stats: LoadStats, cells: Mapping[int, int] | None = None) -> None:
        self.stats = stats
        self._cells = dict(cells or {})

    @property
    def requests(self) -> int:
        """Requests that ended, in whatever way."""
        return self.stats.requests

    @property
    def errors(self) -> int:
        """How many of them failed."""
        return self.stats.errors

    @property
    def aborted(self) -> int:
        """How many were hung up on, on purpose."""
        return self.stats.aborted

    @property
    def dropped(self) -> int:
        """Arrivals nobody was free for."""
        return self.stats.dropped

    @property
    def duration_s(self) -> float:
        """From the first request to the last response."""
        return self.stats.duration_s

    @property
    def rps(self) -> float:
        """Requests per second."""
        return self.stats.rps

    @property
    def error_rate(self) -> float:
        """Share of requests that failed, 0..1."""
        return self.stats.error_rate

    @property
    def status(self) -> dict[str, int]:
        """Responses by status."""
        return self.stats.status

    @property
    def errors_by_kind(self) -> dict[str, int]:
        """Failed requests by what went wrong."""
        return self.stats.errors_by_kind

    @property
    def first_error(self) -> str | None:
        """The first thing that went wrong, in words."""
        return self.stats.first_error

    @property
    def stopped_early(self) -> str | None:
        """Why the run ended early, or None."""
        return self.stats.stopped_early

    @property
    def latency(self) -> Latency:
        """Percentiles of response time."""
        return self.stats.latency

    @property
    def p50_s(self) -> float:
        """Median response time in seconds."""
        return self.stats.latency.p50_s

    @property
    def p75_s(self) -> float:
        """75th percentile of response time in seconds."""
        return self.stats.latency.p75_s

    @property
    def p90_s(self) -> float:
        """90th percentile of response time in seconds."""
        return self.stats.latency.p90_s

    @property
    def p95_s(self) -> float:
        """95th percentile of response time in seconds."""
        return self.stats.latency.p95_s

    @property
    def p99_s(self) -> float:
        """99th percentile of response time in seconds."""
        return self.stats.latency.p99_s

    @property
    def p999_s(self) -> float:
        """99.9th percentile of response time in seconds."""
        return self.stats.latency.p999_s

    @property
    def max_s(self) -> float:
        """The slowest response in seconds."""
        return self.stats.latency.max_s

    @property
    def ok(self) -> bool:
        """Whether all that was asked for was sent, and nothing failed."""
        stats = self.stats
        return stats.requests > 0 and not stats.errors and not stats.dropped and stats.stopped_early is None

    def percentile_s(self, percentile: float) -> float:
        """Response time in seconds at any percentile (0..100)."""
        return histogram.percentiles_s(self._cells, [percentile])[0]

    def target(self, name: str) -> TargetStats:
        """What one target received; KeyError names those there are."""
        for one in self.stats.targets:
            if one.name == name:
                return one
        raise KeyError(f"no target {name!r}; there are {', '.join(repr(one.name) for one in self.stats.targets)}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-basic: what `to_json` writes."""
        document = msgspec.to_builtins(self.stats)
        assert isinstance(document, dict)
        return {**document, "rps": self.stats.rps, "error_rate": self.stats.error_rate}

    def to_json(self) -> str:
        """The whole result as JSON."""
        return msgspec.json.format(msgspec.json.encode(self.to_dict())).decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoadResult) and self.stats == other.stats

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        stats = self.stats
        p99 = format_duration(stats.latency.p99_s)
        dropped = f"{stats.dropped} arrivals dropped, " if stats.dropped else ""
        return f"<LoadResult {stats.requests} requests, {stats.errors} errors, {dropped}{stats.rps:.0f}/s, p99 {p99}>"

    def __str__(self) -> str:
        return "\n".join(summary_lines(self.stats))

    def compare(self, earlier: LoadResult) -> str:
        """A table of this result beside an earlier one, with the change of each figure."""
        rows = [("", "earlier", "now", "change")]
        for label, value_of, shown in _COMPARED:
            before, now = value_of(earlier.stats), value_of(self.stats)
            change = f"{(now - before) / before:+.1%}" if before else ("same" if now == before else "new")
            rows.append((label, shown(before), shown(now), change))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(
            f"{row[0]:<{widths[0]}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:]))
            for row in rows
        )

    def check(self, limits: Limits) -> None:
        """Raise LoadLimitError when a limit is broken."""
        if broken := broken_limits(self.stats, limits):
            raise LoadLimitError("; ".join(broken), self)


_COMPARED: tuple[tuple[str, Callable[[LoadStats], float], Callable[[float], str]], ...] = (
    ("requests", lambda stats: stats.requests, lambda value: format_count(int(value))),
    ("requests/s", lambda stats: stats.rps, lambda value: f"{value:,.0f}"),
    ("errors", lambda stats: stats.error_rate, lambda value: f"{value:.2%}"),
    ("p50", lambda stats: stats.latency.p50_s, format_duration),
    ("p90", lambda stats: stats.latency.p90_s, format_duration),
    ("p99", lambda stats: stats.latency.p99_s, format_duration),
    ("p99.9", lambda stats: stats.latency.p999_s, format_duration),
    ("max", lambda stats: stats.latency.max_s, format_duration),
)


def broken_limits(stats: LoadStats, limits: Limits) -> list[str]:
    """A sentence for each limit that is broken; nothing measured breaks every limit."""
    broken = []
    for name, (limit_s, text) in limits.latency.items():
        field_name = "max_s" if name == "max_latency" else f"{name.removeprefix('max_')}_s"
        measured_s: float = getattr(stats.latency, field_name)
        if not stats.latency.count:
            broken.append(f"no response time was measured; {name} allows {text}")
        elif measured_s > limit_s:
            broken.append(f"{name.removeprefix('max_')} is {format_duration(measured_s)}; {name} allows {text}")
    if limits.max_error_rate is not None and (stats.error_rate > limits.max_error_rate or not stats.requests):
        broken.append(
            f"{stats.error_rate:.2%} of {format_count(stats.requests)} requests failed (first: {stats.first_error}); "
            f"max_error_rate allows {limits.max_error_rate:.2%}"
        )
    elif limits.max_error_rate is not None and stats.stopped_early == "max-error-rate":
        # What was under way then may end well: the share that ended the run is not the one it came to.
        broken.append(
            f"too many requests failed (first: {stats.first_error}), so the run was stopped; with those then under way "
            f"it is {stats.error_rate:.2%} of {format_count(stats.requests)}; "
            f"max_error_rate allows {limits.max_error_rate:.2%} at any time"
        )
    if limits.min_rps is not None and stats.rps < limits.min_rps:
        broken.append(f"{stats.rps:,.0f} requests/s; min_rps asks for {limits.min_rps:,.0f}")
    return broken


def summary_lines(stats: LoadStats) -> list[str]:
    """A result as a few lines of text."""
    latency = stats.latency
    lines = [
        f"{format_count(stats.requests)} requests in {format_duration(stats.duration_s)}, {stats.rps:,.0f}/s, "
        f"{_load_of(stats)}",
        _latency_line("latency", latency),
        f"{format_size(stats.bytes_received)} received, {format_size(stats.bytes_sent)} sent",
    ]
    if stats.status:
        lines.append("status  " + ", ".join(f"{_phrase(code)}: {format_count(n)}" for code, n in stats.status.items()))
    lines.append(_errors_line(stats))
    extras = [
        f"{format_count(count)} {what}"
        for count, what in (
            (stats.aborted, "hung up on purpose"),
            (stats.dropped, "arrivals dropped"),
            (stats.retried, "retried on a new connection"),
            (stats.warmup_requests, "before it to warm up"),
        )
        if count
    ]
    if extras:
        lines.append(", ".join(extras))
    if stats.stopped_early:
        lines.append(f"stopped early: {stats.stopped_early}")
    if stats.client_busy > CLIENT_BUSY_SHARE:
        lines.append(f"the load process was busy {stats.client_busy:.0%} of the time: it may be what was slow")
    if len(stats.targets) > 1:
        lines.extend(
            f"  {target.name}: {format_count(target.requests)} requests, {format_count(target.errors)} errors, "
            f"p50 {format_duration(target.latency.p50_s)}, p99 {format_duration(target.latency.p99_s)}"
            for target in stats.targets
        )
    return lines


def _load_of(stats: LoadStats) -> str:
    rate = f"{stats.rate_per_s:g} arrivals/s over " if stats.rate_per_s else ""
    return f"{rate}{stats.concurrency} connection{'s' if stats.concurrency != 1 else ''}"


def _latency_line(label: str, latency: Latency) -> str:
    if not latency.count:
        return f"{label}  not measured"
    marks = [("p50", latency.p50_s), ("p75", latency.p75_s), ("p90", latency.p90_s), ("p95", latency.p95_s)]
    marks += [("p99", latency.p99_s), ("p99.9", latency.p999_s), ("max", latency.max_s)]
    return f"{label}  " + "  ".join(f"{name} {format_duration(value)}" for name, value in marks)


def _errors_line(stats: LoadStats) -> str:
    if not stats.errors:
        return "no errors"
    kinds = ", ".join(f"{kind}: {format_count(count)}" for kind, count in stats.errors_by_kind.items())
    first = f"; first: {stats.first_error}" if stats.first_error else ""
    return f"{format_count(stats.errors)} errors ({stats.error_rate:.2%})  {kinds}{first}"


def _phrase(code: str) -> str:
    try:
        return f"{code} {http.HTTPStatus(int(code)).phrase}"
    except ValueError:
        return code
