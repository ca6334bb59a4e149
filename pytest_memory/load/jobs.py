"""The jobs of a run: work and settings, split over the load processes.  Floor 2: no I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from pytest_memory import units
from pytest_memory.errors import ConfigError
from pytest_memory.load.compile import Origin, Work
from pytest_memory.load.messages import Job, Part, Socket, Stage, Tls
from pytest_memory.load.plan import Settings
from pytest_memory.load.schedule import share_of
from pytest_memory.load.template import Tokens

MAX_SOCKET_CLIENTS = 1000  # a thread each


def refuse_cut_arrivals(settings: Settings, work: Work) -> None:
    """ConfigError for a rate of sequences that stops after a number of requests: an arrival is a whole sequence."""
    several_steps = any(len(flow.steps) > 1 for flow in work.flows)
    for stage in settings.stages:
        if several_steps and stage.measured and stage.rate_per_s is not None and stage.requests is not None:
            raise ConfigError(
                f"rate is {stage.rate_per_s:g} sequences per second and requests {stage.requests}; expected "
                "iterations= or duration= beside the rate of a sequence",
                slug="config-load",
            )


def refuse_late_abort(settings: Settings, work: Work) -> None:
    """ConfigError for hanging up at a time when the timeout has ended the request already."""
    abort = settings.abort
    if abort is None or abort.at != "time":
        return
    hold_s = min(step.stream.hold_s or 0.0 if step.stream else 0.0 for flow in work.flows for step in flow.steps)
    if abort.after_s > settings.timeout_s + hold_s:
        raise ConfigError(
            f"abort_after is {abort.after_s:g} s and timeout {settings.timeout_s:g} s, which ends a request before; "
            "expected the timeout to be longer",
            slug="config-load",
        )


def split_stages(stages: Sequence[Stage], parts: int, index: int) -> list[Stage]:
    """The stages of process ``index`` of ``parts``: together they are the whole, to the request."""
    split = []
    for stage in stages:
        requests = None if stage.requests is None else share_of(stage.requests, parts, index)
        iterations = None if stage.iterations is None else share_of(stage.iterations, parts, index)
        concurrency = max(1, share_of(stage.concurrency, parts, index))
        split.append(msgspec.structs.replace(stage, requests=requests, iterations=iterations, concurrency=concurrency))
    return split


def worker_count(settings: Settings) -> int:
    """No more processes than connections, requests or iterations; some may have nothing to warm up."""
    fewest = min(
        min(stage.concurrency, stage.requests or stage.concurrency, stage.iterations or stage.concurrency)
        for stage in settings.stages
        if stage.measured
    )
    return max(1, min(settings.workers, fewest))


def refuse_for_scenario(settings: Settings) -> None:
    """ConfigError for what a scenario cannot do."""
    for stage in settings.stages:
        if stage.measured and (stage.rate_per_s is not None or stage.requests is not None):
            raise ConfigError(
                "requests and rate are not for scenarios, which send what they like; expected iterations= or duration=",
                slug="config-load",
            )
    if settings.abort is not None or settings.read_bytes_per_s is not None:
        raise ConfigError(
            "abort_after and slow_read are not for scenarios; leave it to their client", slug="config-load"
        )


def as_locustfile(target: Any) -> Path | None:
    """The locustfile a target names, or None when it is something to send.  ConfigError when there is no such file."""
    if not isinstance(target, Path) and not (isinstance(target, str) and target.endswith(".py")):
        return None
    path = Path(target).absolute()
    if not path.is_file():
        raise ConfigError(f"the locustfile is {str(target)!r}; expected a file", slug="config-load")
    return path


def refuse_for_locust(settings: Settings, work: Work) -> None:
    """ConfigError for what Locust cannot do for us; a locustfile is work without flows."""
    [*before, stage] = settings.stages
    unfit = {
        "warmup or phases": bool(before),
        "rate": stage.rate_per_s is not None,
        "iterations": stage.iterations is not None,
        "abort_after": settings.abort is not None,
        "slow_read": settings.read_bytes_per_s is not None,
        "follow_redirects": settings.max_redirects > 0,
        "keep_connections": settings.keep_connections,
        "events or hold": any(step.stream is not None for flow in work.flows for step in flow.steps),
        "requests with a locustfile": stage.requests is not None and not work.flows,
    }
    for name, used in unfit.items():
        if used:
            raise ConfigError(f"{name} cannot be had from Locust; expected requests= or duration=", slug="config-load")


def make_jobs(
    work: Work,
    settings: Settings,
    *,
    run_id: int,
    addresses: Sequence[tuple[str, int]],
    tls: Tls | None,
    first_number: int,
) -> list[Job]:
    """One job per load process."""
    parts = worker_count(settings)
    return [
        Job(
            id=run_id,
            addresses=list(addresses),
            flows=list(work.flows),
            order=list(work.order),
            names=list(work.names),
            stages=split_stages(settings.stages, parts, index),
            timeout_s=settings.timeout_s,
            interval_s=settings.interval_s,
            first=first_number + index,
            stride=parts,
            worker=index,
            tls=tls,
            keep_alive=settings.keep_alive,
            keep_connections=settings.keep_connections,
            think_time_s=settings.think_time_s,
            abort=settings.abort,
            read_bytes_per_s=settings.read_bytes_per_s,
            max_error_rate=settings.limits.max_error_rate if parts == 1 else None,
            max_redirects=settings.max_redirects,
        )
        for index in range(parts)
    ]


def make_socket_jobs(
    settings: Settings,
    *,
    origin: Origin,
    path: Sequence[Part],
    send: Sequence[str],
    receive: int,
    hold: Any,
    farewell: Sequence[str],
    clean: bool,
    headers: Sequence[list[Part]],
    subprotocols: Sequence[str],
    check: Literal["", "trpc"],
    run_id: int,
    addresses: Sequence[tuple[str, int]],
    tls: Tls | None,
    first_number: int,
) -> list[Socket]:
    """One job of WebSocket connections per load process.  ConfigError for what they cannot do."""
    if any(stage.rate_per_s is not None for stage in settings.stages):
        raise ConfigError("rate is not for WebSockets; expected concurrency= and think_time=", slug="config-load")
    if settings.concurrency > MAX_SOCKET_CLIENTS:
        raise ConfigError(
            f"concurrency is {settings.concurrency}; expected at most {MAX_SOCKET_CLIENTS} WebSocket clients",
            slug="config-load",
        )
    if isinstance(receive, bool) or not isinstance(receive, int) or receive < 0:
        raise ConfigError(f"receive is {receive!r}; expected how many messages to wait for", slug="config-load")
    parts = worker_count(settings)
    scheme = "wss" if origin.scheme == "https" else "ws"
    return [
        Socket(
            id=run_id,
            url=[f"{scheme}://{origin.url.partition('://')[2]}".encode(), *path],
            addresses=list(addresses),
            stages=split_stages(settings.stages, parts, index),
            timeout_s=settings.timeout_s,
            interval_s=settings.interval_s,
            send=[_message_parts(text) for text in send],
            receive=receive,
            hold_s=units.parse_duration(hold, plain_unit="s", what="hold"),
            farewell=[_message_parts(text) for text in farewell],
            clean=clean,
            check=check,
            headers=list(headers),
            subprotocols=list(subprotocols),
            first=first_number + index,
            stride=parts,
            worker=index,
            tls=tls,
            think_time_s=settings.think_time_s,
            max_error_rate=settings.limits.max_error_rate if parts == 1 else None,
        )
        for index in range(parts)
    ]


def _message_parts(text: str) -> list[Part]:
    tokens = Tokens(())
    hidden = cast(str, tokens.hide(text))
    return tokens.cut(hidden.encode("utf-8"), "json" if text.lstrip()[:1] in ("{", "[") else "raw")


def is_private(address: str) -> bool:
    """Whether an address is this machine's or its network's: what may be loaded without being asked twice."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    # "::ffff:8.8.8.8" is 8.8.8.8; older Pythons call all such addresses private.
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback or ip.is_private or ip.is_link_local


def describe(names: Sequence[str], origin: Origin, settings: Settings) -> str:
    """One line that says what a run is."""
    what = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{what} at {origin}, {settings.concurrency} connections"
