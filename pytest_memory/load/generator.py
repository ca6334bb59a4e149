"""LoadGenerator: loads an app from processes of its own, and says what came of it.  Floor 5.

This is the front of the engine: it turns calls into work (`load.compile`) and has it done (`load.driver`).  It is
usable without pytest.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_memory.errors import ConfigError, LoadError
from pytest_memory.load.compile import Compiler, Work, parse_base_url
from pytest_memory.load.driver import Driver, Progress
from pytest_memory.load.har import har_targets
from pytest_memory.load.jobs import (
    as_locustfile,
    make_jobs,
    make_socket_jobs,
    refuse_cut_arrivals,
    refuse_for_locust,
    refuse_for_scenario,
    refuse_late_abort,
)
from pytest_memory.load.plan import (
    OPTION_NAMES,
    Duration,
    Settings,
    Target,
    merge_headers,
    parse_options,
    refuse_unknown,
)
from pytest_memory.load.result import LoadResult
from pytest_memory.load.template import written_out
from pytest_memory.load.trpc import CallType, socket_messages, trpc_target

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Unpack

    from pytest_memory.load.plan import RunOptions


class LoadGenerator:
    """Sends load to an app and measures its answers.

    ``base_url`` is where paths are resolved against.  ``headers``, ``cookies`` and ``auth`` go with every request;
    all other keywords are defaults for the options of `run`.  ``verify`` is False, or a file of authorities, for
    TLS; ``cert`` a client certificate (file, or (file, key file)).  A host that is neither this machine nor on a
    private network needs ``allow_public=True``, so that nobody loads a stranger by a typo.

    Its load processes live until `close` (or the end of a ``with`` block), so that short runs are cheap.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        auth: Any = None,
        verify: bool | str | Path = True,
        cert: str | tuple[str, str] | None = None,
        allow_public: bool = False,
        **defaults: Unpack[RunOptions],
    ) -> None:
        refuse_unknown(defaults, OPTION_NAMES)
        parse_options({}, defaults)
        self.base_url = None if base_url is None else parse_base_url(base_url)
        self._shared: dict[str, Any] = {"headers": headers, "cookies": cookies, "auth": auth}
        self._driver = Driver(verify=verify, cert=cert, allow_public=allow_public)
        self._defaults = defaults
        self.background_runs: list[LoadRun] = []

    # --- what to send ---------------------------------------------------------------------------------------------

    def run(
        self,
        target: str | Target | httpx.Request,
        *,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        data: Mapping[str, Any] | None = None,
        content: bytes | str | None = None,
        files: Any = None,
        cookies: Mapping[str, str] | None = None,
        auth: Any = None,
        expect: int | Sequence[int] | None = None,
        name: str | None = None,
        **options: Unpack[RunOptions],
    ) -> LoadResult:
        """Send one request again and again, and return what came of it.

        ``target`` is a path ("/api", "POST /api"), a URL, a `Target` or an ``httpx.Request``; the other named
        parameters are those of a request and ``options`` those of a run (see `RunOptions`): ``requests=5000``
        means that exactly 5,000 requests have ended, each response read to its end, when this returns.

        Raises ConfigError for what cannot be sent, LoadError when nothing answers at all or a limit is broken.
        """
        if isinstance(target, str):
            target = Target(
                url=target,
                method=method,
                headers=headers,
                params=params,
                json=json,
                data=data,
                content=content,
                files=files,
                cookies=cookies,
                auth=auth,
                expect=expect,
                name=name,
            )
        elif any(part is not None for part in (method, headers, params, json, data, content, files, cookies, auth)):
            raise ConfigError(
                f"run() got a {type(target).__name__} and parts of a request beside it; expected one or the other",
                slug="config-load",
            )
        return self._run_flows([[target]], [1.0], options)

    def trpc(
        self,
        procedure: str | Sequence[str],
        input: Any = None,
        *,
        type: CallType = "query",
        prefix: str = "/trpc",
        batch: int = 1,
        superjson: bool = False,
        events: int = 1,
        hold: Duration | None = None,
        transport: Literal["sse", "websocket"] = "sse",
        headers: Mapping[str, str] | None = None,
        **options: Unpack[RunOptions],
    ) -> LoadResult:
        """Call a tRPC procedure: ``trpc("post.list", {"page": 1}, requests=500)``.

        ``type`` is "query", "mutation" or "subscription"; ``batch`` calls go into one request (a list of
        procedures with a list of inputs makes a batch of different ones); ``superjson`` encodes the input for that
        transformer.  A subscription is left after ``events`` of its events, over server-sent events (tRPC 11) or
        a WebSocket.  An error envelope counts as an error, whatever the status.
        """
        if type == "subscription" and transport == "websocket":
            if not isinstance(procedure, str):
                raise ConfigError(f"subscriptions cannot be batched: {list(procedure)!r}", slug="config-load")
            begin, end = socket_messages(procedure, input, superjson=superjson)
            return self.websocket(
                prefix,
                send=[begin],
                receive=events + 1,
                hold=hold or 0,
                farewell=[end],
                check="trpc",
                headers=headers,
                **options,
            )
        target = trpc_target(
            procedure,
            input,
            type=type,
            prefix=prefix,
            batch=batch,
            superjson=superjson,
            events=events,
            hold=hold,
            headers=headers,
        )
        return self._run_flows([[target]], [1.0], options)

    def mix(
        self,
        targets: Mapping[str, float] | Sequence[str | Target | Sequence[str | Target]],
        **options: Unpack[RunOptions],
    ) -> LoadResult:
        """Send several targets side by side, each in its share: ``mix({"/list": 3, "POST /add": 1})``.

        In a list the shares are the ``weight`` of each `Target`; a list within it is a sequence (its first
        target's weight counts).  The order is fixed and even, so that equal runs are equal."""
        if isinstance(targets, Mapping):
            targets = [Target(url=url, weight=weight) for url, weight in targets.items()]
        flows = [_as_flow(one) for one in targets]
        if not flows or not all(flows):
            raise ConfigError(f"the mix is {targets!r}; expected at least one target", slug="config-load")
        return self._run_flows(flows, [flow[0].weight for flow in flows], options)

    def sequence(self, *steps: str | Target, keep_cookies: bool = True, **options: Unpack[RunOptions]) -> LoadResult:
        """Send steps one after the other, as one client would: log in, look, buy.

        A step uses what earlier ones saved: ``Target(url="POST /login", json=…, save={"token": "$.token"})``, then
        ``Target(url="/me", headers={"authorization": "Bearer {token}"})``; ``{n}`` and ``{uuid}`` stay the same
        throughout.  Cookies set on the way are sent back.  ``requests`` counts each step (the last sequences may be
        cut short), ``iterations`` counts whole sequences.  After a failed step the client begins again.
        """
        if not steps:
            raise ConfigError("the sequence has no steps; expected at least one", slug="config-load")
        return self._run_flows([[_as_target(step) for step in steps]], [1.0], options, keep_cookies=keep_cookies)

    def har(
        self, path: str | Path, *, order: Literal["sequence", "mix"] = "sequence", **options: Unpack[RunOptions]
    ) -> LoadResult:
        """Replay the requests of a HAR recording that went to its first origin, against the base URL.

        As a "sequence" each client sends them in their order; as a "mix" they are sent side by side.
        """
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise LoadError(f"the HAR file {str(path)!r} cannot be read: {error}", slug="load-har") from error
        targets = har_targets(text, self.base_url, where=f"the HAR file {str(path)!r}")
        return self.sequence(*targets, **options) if order == "sequence" else self.mix(targets, **options)

    def sse(
        self,
        path: str,
        *,
        events: int | None = None,
        hold: Duration | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Unpack[RunOptions],
    ) -> LoadResult:
        """Subscribe to server-sent events and leave, over and over: after ``events`` of them or after ``hold``.

        Latency is the time until the client had seen enough.  An ended stream that gave fewer events is an error."""
        if events is None and hold is None:
            events = 1
        headers = merge_headers({"accept": "text/event-stream"}, headers or {})
        target = Target(url=path, headers=headers, events=events, hold=hold)
        return self._run_flows([[target]], [1.0], options)

    def websocket(
        self,
        path: str,
        *,
        send: Sequence[str] = (),
        receive: int = 0,
        hold: Duration = 0.0,
        farewell: Sequence[str] = (),
        clean: bool = True,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        check: Literal["", "trpc"] = "",
        **options: Unpack[RunOptions],
    ) -> LoadResult:
        """Open WebSockets and leave, over and over.  A request, or iteration, is one connection.

        Each sends the messages ``send``, waits for ``receive`` messages, stays for ``hold``, sends ``farewell`` and
        closes; with ``clean`` False it just drops the connection.  ``{n}`` and ``{uuid}`` in path, headers and
        messages are those of the connection.  Latency is the time until the last awaited message (or the handshake)
        was there, and ``timeout`` is how long that may take, whatever else arrives.  A redirect is an error.
        """
        settings = parse_options(options, self._defaults)
        compiler = self._compiler(settings)
        lines = compiler.socket_headers(headers or {})
        origin, parts = compiler.socket_origin(path)
        make = partial(
            make_socket_jobs,
            origin=origin,
            path=parts,
            send=send,
            receive=receive,
            hold=hold,
            farewell=farewell,
            clean=clean,
            headers=lines,
            subprotocols=subprotocols,
            check=check,
        )
        return self._driver.drive(origin, [f"WS {written_out(parts)}"], settings, make, self._progress(options))

    def half_open(
        self, path: str, *, connections: int = 10, hold: Duration = "5s", **options: Unpack[RunOptions]
    ) -> LoadResult:
        """Open connections that send half a request, stay silent for ``hold`` and hang up."""
        merged = {"concurrency": connections, "requests": connections, **options}
        return self.run(path, **{**merged, "abort_after": "request", "abort_hold": hold})  # type: ignore[arg-type]

    def burst(self, path: str, *, size: int = 100, times: int = 1, **options: Unpack[RunOptions]) -> LoadResult:
        """Send ``size`` requests at the same moment, each on a connection of its own; ``times`` over."""
        phases = [{"requests": size, "concurrency": size}] * times
        return self.run(path, **{"keep_alive": False, **options, "phases": phases})  # type: ignore[arg-type]

    def scenario(
        self, scenario: Callable[..., Awaitable[object]], *, name: str | None = None, **options: Unpack[RunOptions]
    ) -> LoadResult:
        """Run an async function as ``concurrency`` users: ``async def visit(client, n): await client.get("/")``.

        ``client`` is an ``httpx.AsyncClient`` on the base URL, new for each of the ``iterations`` (or for as long as
        the ``duration`` lasts); the optional ``n`` is the number of the visit.  Each request the client makes is
        counted; an exception is an error.  It runs in a thread of this process, at the speed of httpx.
        """
        from pytest_memory.load.scenario import ScenarioRun

        settings = parse_options(options, self._defaults)
        refuse_for_scenario(settings)
        label = name or str(getattr(scenario, "__name__", "scenario"))
        origin = self._compiler(settings).origin
        run = ScenarioRun(
            scenario,
            settings,
            base_url=self.base_url,
            shared=self._shared,
            tls=self._driver.usable_tls(origin),
            refuse_public=self._driver.refuse_public,
            first_number=self._driver.next_number,
        )
        return self._driver.drive_scenario(run, origin, label, settings, self._progress(options))

    def locust(
        self,
        target: str | Target | Sequence[str | Target] | Path,
        *,
        local_workers: int = 2,
        remote_workers: int = 0,
        bind_host: str = "127.0.0.1",
        bind_port: int = 0,
        **options: Unpack[RunOptions],
    ) -> LoadResult:
        """Load from several processes or machines with Locust (extra ``locust``): it drives, the result is ours.

        ``target`` is what `run` or `sequence` takes, or a locustfile (a Path, or a text ending in ".py") whose users
        do what they do.  ``local_workers`` are started here; for ``remote_workers`` bind to an address they can
        reach, and on each other host run ``locust -f $(python -m pytest_memory.load.locust_path) --worker
        --master-host HOST --master-port PORT`` (with a locustfile of your own: ``-f yours.py,$(… --bridge)``).

        Of the options of a run ``requests`` (not with a locustfile), ``duration``, ``concurrency``, ``ramp_up``,
        ``think_time``, ``timeout``, the limits, ``interval`` and ``progress`` hold.
        """
        from pytest_memory.load.locust_cluster import Cluster, LocustRun

        settings = parse_options(options, self._defaults)
        compiler = self._compiler(settings)
        locustfile = as_locustfile(target)
        if locustfile is None:
            work = compiler.work([_as_flow(target)], [1.0], keep_cookies=not isinstance(target, (str, Target)))  # type: ignore[arg-type]
        else:
            work = Work(compiler.origin, (), (), ())
        refuse_for_locust(settings, work)
        cluster = Cluster(
            concurrency=settings.concurrency,
            local_workers=local_workers,
            remote_workers=remote_workers,
            bind_host=bind_host,
            bind_port=bind_port,
            locustfile=locustfile,
            host=work.origin.url,
        )
        run = partial(LocustRun, cluster)
        return self._driver.drive_locust(run, work, settings, self._progress(options))

    def start(self, target: str | Target | httpx.Request | Callable[[], LoadResult], **options: Any) -> LoadRun:
        """`run` in the background: returns at once with a handle to wait for it, or to stop it.

        Any other kind of run is given as a function: ``start(lambda: load.trpc("post.list", duration="1m"))``.
        """
        if callable(target):
            return LoadRun(self, target)
        return LoadRun(self, partial(self.run, target, **options))

    # --- how it is sent -------------------------------------------------------------------------------------------

    def _compiler(self, settings: Settings) -> Compiler:
        return Compiler(self.base_url, keep_alive=settings.keep_alive, **self._shared)

    def _progress(self, options: Mapping[str, Any]) -> Progress | None:
        progress: Progress | None = options.get("progress") or self._defaults.get("progress")
        return progress

    def _run_flows(
        self,
        flows: Sequence[Sequence[Target | httpx.Request]],
        weights: Sequence[float],
        options: Mapping[str, Any],
        *,
        keep_cookies: bool = False,
    ) -> LoadResult:
        settings = parse_options(options, self._defaults)
        work = self._compiler(settings).work(flows, weights, keep_cookies=keep_cookies)
        refuse_cut_arrivals(settings, work)
        refuse_late_abort(settings, work)
        make = partial(make_jobs, work)
        return self._driver.drive(work.origin, work.names, settings, make, self._progress(options))

    # --- its life -------------------------------------------------------------------------------------------------

    @property
    def results(self) -> list[LoadResult]:
        """What all runs came to, in their order; those that broke a limit too."""
        return self._driver.results

    @property
    def worker_pids(self) -> list[int]:
        """The processes that load: nobody should mistake them for the app's."""
        return self._driver.pids

    def stop(self) -> None:
        """Stop the run that is under way (from another thread): answers are awaited, what is held is left."""
        self._driver.stop()

    def close(self) -> None:
        """End the load processes, and with them the connections that were kept."""
        self._driver.close()

    def __enter__(self) -> LoadGenerator:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class LoadRun:
    """A run in the background.  ``wait`` returns its result, or raises what the run raised."""

    def __init__(self, generator: LoadGenerator, run: Callable[[], LoadResult]) -> None:
        self._generator = generator
        self._awaited = False
        self._outcome: LoadResult | BaseException | None = None
        self._thread = threading.Thread(target=self._carry_out, args=(run,), name="pytest-memory-load", daemon=True)
        generator.background_runs.append(self)
        self._thread.start()

    def _carry_out(self, run: Callable[[], LoadResult]) -> None:
        try:
            self._outcome = run()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._outcome = error

    @property
    def running(self) -> bool:
        """Whether the run has not ended yet."""
        return self._thread.is_alive()

    @property
    def unseen_error(self) -> BaseException | None:
        """What the run raised, while nobody has waited for it: nobody else will tell."""
        return self._outcome if isinstance(self._outcome, BaseException) and not self._awaited else None

    def stop(self) -> LoadResult:
        """Start nothing new, await what is under way, and return the result so far."""
        while self._thread.is_alive():
            # Again and again: the first request to stop may come before the run has begun.
            self._generator.stop()
            self._thread.join(0.05)
        return self.wait()

    def wait(self, timeout_s: float | None = None) -> LoadResult:
        """The result, once there is one; LoadError when that takes longer than ``timeout_s``."""
        self._thread.join(timeout_s)
        self._awaited = not self._thread.is_alive()
        if isinstance(self._outcome, LoadResult):
            return self._outcome
        if self._outcome is None:
            raise LoadError(f"the run has not ended within {timeout_s} s; expected it to", slug="load-failed")
        raise self._outcome


def _as_target(one: str | Target) -> Target:
    return Target(url=one) if isinstance(one, str) else one


def _as_flow(one: str | Target | Sequence[str | Target]) -> list[Target]:
    return [_as_target(one)] if isinstance(one, (str, Target)) else [_as_target(step) for step in one]
