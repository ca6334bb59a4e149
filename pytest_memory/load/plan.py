"""What is sent and when: targets, the options of a run, and the job a load process gets.  Floor 2: no I/O.

A run's options arrive as the user wrote them ("30s", 0.01, "64KB") and leave as one frozen `Settings`; anything
wrong is a ConfigError that names the option.  Nothing here knows a socket, a clock or a process.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from pytest_memory import units
from pytest_memory.errors import ConfigError
from pytest_memory.load.messages import Abort, Stage

if TYPE_CHECKING:
    from pytest_memory.load.progress import LoadProgress

Duration = str | float

DEFAULT_CONCURRENCY = 10
DEFAULT_DURATION_S = 10.0
DEFAULT_TIMEOUT_S = 10.0
# One process can hold more, but file descriptors and a fair latency end about here; use workers=.
MAX_CONCURRENCY = 10_000
MAX_REQUESTS = 10**12
MAX_RATE_PER_S = 1e6
MAX_WORKERS = 64
SERIES_POINTS = 60  # how many points a run of known duration aims for
MAX_REDIRECTS = 10


class RunOptions(TypedDict, total=False):
    """The options every kind of run takes.

    ``requests`` (exactly so many end), ``iterations`` (of a sequence or scenario, each whole) or ``duration``;
    ``concurrency`` connections; ``ramp_up`` until all of them run (or until ``rate`` is reached); ``rate`` arrivals
    per second, whether or not earlier ones were answered; ``think_time`` between a client's requests, one duration
    or (least, most); ``warmup`` requests (int) or time (str) beforehand, not in the result; ``timeout`` per
    request; ``phases``, a list of dicts with the first five.

    ``abort_after`` makes ``abort_share`` of the clients hang up: after a time ("50ms"), after a size of response
    ("64KB"), at its first byte ("response") or in the middle of the request ("request", silent for ``abort_hold``
    first).  ``keep_alive`` False opens a connection per request; ``slow_read`` is a size read per second;
    ``keep_connections`` leaves them open for the next run.

    ``max_error_rate`` (0..1) stops a run early and fails it, ``max_p50`` … ``max_p999``, ``max_latency`` and
    ``min_rps`` fail it at its end.  ``workers`` processes share the work.  ``progress`` is called about once a
    second and once at the end; ``interval`` is the grain of the time series.
    """

    requests: int | None
    iterations: int | None
    duration: Duration | None
    concurrency: int
    ramp_up: Duration
    rate: float | None
    think_time: Duration | tuple[Duration, Duration] | None
    warmup: int | str | None
    timeout: Duration
    phases: Sequence[Mapping[str, Any]] | None
    abort_after: Duration | None
    abort_share: float
    abort_hold: Duration
    keep_alive: bool
    keep_connections: bool
    slow_read: str | int | None
    follow_redirects: bool | int
    max_error_rate: float | None
    max_p50: Duration | None
    max_p75: Duration | None
    max_p90: Duration | None
    max_p95: Duration | None
    max_p99: Duration | None
    max_p999: Duration | None
    max_latency: Duration | None
    min_rps: float | None
    workers: int
    interval: Duration | None
    progress: Callable[[LoadProgress], None] | None


LIMIT_OPTIONS = ("max_p50", "max_p75", "max_p90", "max_p95", "max_p99", "max_p999", "max_latency")
OPTION_NAMES = tuple(RunOptions.__annotations__)
_PHASE_OPTIONS = ("requests", "iterations", "duration", "concurrency", "ramp_up", "rate")


@dataclass(frozen=True, kw_only=True)
class Target:
    """One request to send: what ``httpx.Request`` takes, and what is done with the answer.

    ``url`` is a path on the generator's base URL, a whole URL, or "POST /path".  ``save`` takes values for later
    steps of a sequence: ``{"token": "json:$.token"}``, ``"header:location"`` or ``"regex:id=(\\d+)"``; a bare
    ``"$.token"`` is a JSON path.  ``expect`` is the status (or statuses) that count as success; by default all
    below 400.  ``weight`` is its share of a mix; ``name`` is what results call it.
    """

    url: str
    method: str | None = None
    headers: Mapping[str, str] | None = None
    params: Mapping[str, Any] | None = None
    json: Any = None
    data: Mapping[str, Any] | None = None
    content: bytes | str | None = None
    files: Any = None
    cookies: Mapping[str, str] | None = None
    auth: Any = None
    save: Mapping[str, str] = field(default_factory=dict)
    expect: int | Sequence[int] | None = None
    name: str | None = None
    weight: float = 1.0
    check: Literal["", "trpc"] = ""
    events: int | None = None
    hold: Duration | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.url, str) or not self.url.strip():
            raise ConfigError(
                f"the target is {self.url!r}; expected a path such as '/api' or a URL", slug="config-load"
            )
        if isinstance(self.weight, bool) or not math.isfinite(self.weight) or self.weight <= 0:
            raise ConfigError(
                f"weight of {self.url!r} is {self.weight!r}; expected a number above 0", slug="config-load"
            )

    def split_url(self) -> tuple[str, str]:
        """Method and URL: "POST /path" names both."""
        first, _, rest = self.url.strip().partition(" ")
        if rest and first.isalpha() and first.isupper():
            return (self.method or first).upper(), rest.strip()
        default = (
            "POST" if any(part is not None for part in (self.json, self.data, self.content, self.files)) else "GET"
        )
        return (self.method or default).upper(), self.url.strip()


def merge_headers(*layers: Mapping[str, str]) -> dict[str, str]:
    """Headers over headers: a later one displaces an earlier one however either is capitalised."""
    merged: dict[str, tuple[str, str]] = {}
    for layer in layers:
        merged.update({name.lower(): (name, value) for name, value in layer.items()})
    return dict(merged.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run must keep to, and how the user wrote it: ``{"max_p99": (0.2, "200ms")}``."""

    latency: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    max_error_rate: float | None = None
    min_rps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of one run, parsed and checked."""

    stages: tuple[Stage, ...]
    timeout_s: float = DEFAULT_TIMEOUT_S
    interval_s: float = 1.0
    think_time_s: tuple[float, float] | None = None
    abort: Abort | None = None
    keep_alive: bool = True
    keep_connections: bool = False
    read_bytes_per_s: float | None = None
    max_redirects: int = 0
    limits: Limits = field(default_factory=Limits)
    workers: int = 1

    @property
    def concurrency(self) -> int:
        return max(stage.concurrency for stage in self.stages)

    @property
    def rate_per_s(self) -> float | None:
        return next((stage.rate_per_s for stage in reversed(self.stages) if stage.measured), None)

    @property
    def planned_requests(self) -> int | None:
        """How many measured requests there will be, when that is known."""
        counts = [stage.requests for stage in self.stages if stage.measured]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def planned_duration_s(self) -> float | None:
        """How long the measured stages last, when that is known."""
        durations = [stage.duration_s for stage in self.stages if stage.measured]
        return None if None in durations else sum(duration for duration in durations if duration is not None)


# --- parsing ----------------------------------------------------------------------------------------------------


def parse_options(options: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Settings:
    """Parse a run's options over a generator's defaults.  ConfigError names what is wrong.

    ``requests`` in a call displaces a default ``duration`` and the other way round; both in one call stop at
    whichever comes first.
    """
    refuse_unknown(options, OPTION_NAMES)
    given = {key: value for key, value in options.items() if value is not None}
    merged = {**_displaced(defaults or {}, given), **given}
    stages = _parse_stages(merged)
    # "warmup" is the only option whose whole numbers are not durations.
    warmup = merged.get("warmup")
    if warmup is not None and warmup != 0:
        stages = (_warmup_stage(warmup, stages[0]), *stages)
    return Settings(
        stages=stages,
        timeout_s=_positive_duration(merged.get("timeout", DEFAULT_TIMEOUT_S), "timeout"),
        interval_s=_interval_s(merged.get("interval"), stages),
        think_time_s=_think_time_s(merged.get("think_time")),
        abort=_parse_abort(merged),
        keep_alive=_flag(merged, "keep_alive", True),
        keep_connections=_flag(merged, "keep_connections", False),
        read_bytes_per_s=_read_rate(merged.get("slow_read")),
        max_redirects=_redirects(merged.get("follow_redirects", False)),
        limits=_parse_limits(merged),
        workers=_whole(merged.get("workers", 1), "workers", MAX_WORKERS),
    )


def refuse_unknown(options: Mapping[str, Any], known: Sequence[str]) -> None:
    """ConfigError for a name that is not in ``known``, with the one that was probably meant."""
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"{name!r} is not an option of a load run; expected one of {', '.join(known)}",
                slug="config-load",
                hint=f"did you mean {close[0]!r}?" if close else None,
            )


def _displaced(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in defaults.items() if value is not None}
    if given.keys() & {"requests", "iterations", "duration", "phases"}:
        for key in ("requests", "iterations", "duration", "phases"):
            kept.pop(key, None)
    if "phases" in given:
        kept.pop("ramp_up", None)
    return kept


def _parse_stages(merged: Mapping[str, Any]) -> tuple[Stage, ...]:
    phases = merged.get("phases")
    if phases is None:
        return (_parse_stage(merged, where=""),)
    clash = [key for key in ("requests", "iterations", "duration", "ramp_up") if key in merged]
    if clash or isinstance(phases, (str, Mapping)) or not phases:
        raise ConfigError(
            f"phases is {phases!r}"
            + (f" beside {', '.join(clash)}" if clash else "")
            + "; expected a list of dicts such "
            'as {"duration": "10s", "concurrency": 5} that say it all',
            slug="config-load",
        )
    base = {key: merged[key] for key in ("concurrency", "rate") if key in merged}
    stages = []
    for index, phase in enumerate(phases):
        refuse_unknown(phase, _PHASE_OPTIONS)
        stages.append(_parse_stage({**base, **phase}, where=f"phases[{index}]."))
    return tuple(stages)


def _parse_stage(options: Mapping[str, Any], where: str) -> Stage:
    requests, iterations, duration = options.get("requests"), options.get("iterations"), options.get("duration")
    if requests is not None and iterations is not None:
        raise ConfigError(
            f"{where}requests is {requests!r} and {where}iterations {iterations!r}; expected one of them",
            slug="config-load",
        )
    duration_s = None if duration is None else _positive_duration(duration, f"{where}duration")
    if requests is None and iterations is None and duration is None:
        duration_s = DEFAULT_DURATION_S
    ramp_up_s = units.parse_duration(options.get("ramp_up", 0.0), plain_unit="s", what=f"{where}ramp_up")
    if duration_s is not None and ramp_up_s > duration_s:
        raise ConfigError(
            f"{where}ramp_up is {options.get('ramp_up')!r}, longer than the duration {duration!r} it is part of",
            slug="config-load",
        )
    rate = options.get("rate")
    return Stage(
        concurrency=_whole(options.get("concurrency", DEFAULT_CONCURRENCY), f"{where}concurrency", MAX_CONCURRENCY),
        requests=None if requests is None else _whole(requests, f"{where}requests", MAX_REQUESTS),
        iterations=None if iterations is None else _whole(iterations, f"{where}iterations", MAX_REQUESTS),
        duration_s=duration_s,
        rate_per_s=None if rate is None else _number(rate, f"{where}rate", 1e-6, MAX_RATE_PER_S),
        ramp_up_s=ramp_up_s,
    )


def _warmup_stage(warmup: object, first: Stage) -> Stage:
    """A stage before the first, at its concurrency, that does not count."""
    if isinstance(warmup, bool) or not isinstance(warmup, (int, str)):
        raise ConfigError(
            f"warmup is {warmup!r}; expected a number of requests (200) or a time ('2s')", slug="config-load"
        )
    if isinstance(warmup, str) and not warmup.strip().isdigit():
        duration_s = _positive_duration(warmup, "warmup")
        return Stage(concurrency=first.concurrency, duration_s=duration_s, measured=False)
    requests = _whole(int(warmup), "warmup", MAX_REQUESTS)
    return Stage(concurrency=min(first.concurrency, requests), requests=requests, measured=False)


def _parse_abort(merged: Mapping[str, Any]) -> Abort | None:
    after = merged.get("abort_after")
    if after is None:
        return None
    share = _number(merged.get("abort_share", 1.0), "abort_share", 0.0, 1.0)
    hold_s = units.parse_duration(merged.get("abort_hold", 0.0), plain_unit="s", what="abort_hold")
    if after == "request":
        return Abort(share=share, at="request", after_s=hold_s)
    if after == "response":
        return Abort(share=share, at="response")
    if isinstance(after, str) and after.strip().lower().endswith("b"):
        return Abort(share=share, at="bytes", after_bytes=max(1, units.parse_size(after, what="abort_after")))
    return Abort(share=share, at="time", after_s=_positive_duration(after, "abort_after"))


def _parse_limits(merged: Mapping[str, Any]) -> Limits:
    rate, rps = merged.get("max_error_rate"), merged.get("min_rps")
    return Limits(
        latency={
            name: (_positive_duration(merged[name], name), str(merged[name]))
            for name in LIMIT_OPTIONS
            if name in merged
        },
        max_error_rate=None if rate is None else _number(rate, "max_error_rate", 0.0, 1.0),
        min_rps=None if rps is None else _number(rps, "min_rps", 0.0, MAX_RATE_PER_S),
    )


def _positive_duration(value: Any, what: str) -> float:
    seconds = units.parse_duration(value, plain_unit="s", what=what)
    if seconds <= 0:
        raise ConfigError(f"{what} is {value!r}; expected a duration above zero", slug="config-load")
    return seconds


def _think_time_s(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2:
        raise ConfigError(f"think_time is {value!r}; expected a duration or (least, most)", slug="config-load")
    least, most = (units.parse_duration(one, plain_unit="s", what="think_time") for one in both)
    if least > most:
        raise ConfigError(f"think_time is {value!r}; expected (least, most) in this order", slug="config-load")
    return (least, most) if most > 0 else None


def _interval_s(value: Any, stages: Sequence[Stage]) -> float:
    if value is not None:
        return max(0.05, _positive_duration(value, "interval"))
    durations = [stage.duration_s for stage in stages if stage.measured]
    if None in durations:
        return 1.0
    return min(10.0, max(0.2, sum(duration or 0.0 for duration in durations) / SERIES_POINTS))


def _read_rate(value: Any) -> float | None:
    if value is None:
        return None
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and text.lower().endswith("/s"):
        text = text[:-2].strip()
    size = units.parse_size(text, what="slow_read")
    if size <= 0:
        raise ConfigError(f"slow_read is {value!r}; expected a size per second such as '10KB'", slug="config-load")
    return float(size)


def _redirects(value: Any) -> int:
    if isinstance(value, bool):
        return MAX_REDIRECTS if value else 0
    return _whole(value, "follow_redirects", 100)


def _flag(merged: Mapping[str, Any], name: str, default: bool) -> bool:
    value = merged.get(name, default)
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; expected True or False", slug="config-load")
    return value


def _whole(value: Any, what: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigError(f"{what} is {value!r}; expected a whole number from 1 to {most:,}", slug="config-load")
    return value


def _number(value: Any, what: str, least: float, most: float) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not least <= value <= most:
        raise ConfigError(f"{what} is {value!r}; expected a number from {least:g} to {most:,.0f}", slug="config-load")
    return float(value)


TARGET_OPTIONS = tuple(part.name for part in fields(Target) if part.name != "url")
