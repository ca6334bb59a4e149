"""How a run is driven: where it goes, who does it, and what comes back.  Floor 5: resolves names, owns processes.

`load.generator` says what is sent; this sends it, one run at a time.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memory.errors import ConfigError, LoadError
from pytest_memory.load.compile import Origin, Work
from pytest_memory.load.hopeless import JointErrors
from pytest_memory.load.jobs import describe, is_private, make_jobs
from pytest_memory.load.messages import Done, Interval, Job, Socket, Tls
from pytest_memory.load.plan import Settings
from pytest_memory.load.pool import WorkerPool
from pytest_memory.load.progress import LoadProgress
from pytest_memory.load.result import Collector, LoadResult

if TYPE_CHECKING:
    from pytest_memory.load.locust_cluster import LocustRun
    from pytest_memory.load.scenario import ScenarioRun

Progress = Callable[[LoadProgress], None]
Messages = Iterable[tuple[int, "Interval | Done"]]

_HINTS = {
    "connect": "is the app started, and does it listen on this port?",
    "tls": "for a certificate of your own pass verify='ca.pem', or verify=False",
    "timeout": "the port is open to nobody, or a firewall swallows the connection",
}


class Driver:
    """Drives the runs of one generator, from load processes that live until `close`."""

    def __init__(self, *, verify: bool | str | Path, cert: str | tuple[str, str] | None, allow_public: bool) -> None:
        self.results: list[LoadResult] = []
        self.next_number = 0
        self._verify: bool | str = verify if isinstance(verify, bool) else str(Path(verify).resolve())
        self._cert = cert
        self._allow_public = allow_public
        self._pool = WorkerPool()
        self._beside: ScenarioRun | LocustRun | None = None
        self._lock = threading.Lock()
        self._run_id = 0

    @property
    def pids(self) -> list[int]:
        return self._pool.pids

    def drive(
        self,
        origin: Origin,
        names: Sequence[str],
        settings: Settings,
        make: Callable[..., Sequence[Job | Socket]],
        progress: Progress | None,
    ) -> LoadResult:
        """Have jobs done by load processes.  ``make(settings, …)`` makes them, one per process."""
        addresses = self._resolve(origin)
        tls = self.tls(origin)
        with self._one_at_a_time():
            self._run_id += 1
            number = self.next_number
            jobs = make(settings, run_id=self._run_id, addresses=addresses, tls=tls, first_number=number)
            # Closed here and now: an exception that somebody keeps would keep the run open, too, and end it later, in
            # the middle of another one.
            with closing(self._pool.run(jobs)) as messages:
                watched: Messages = messages
                if len(jobs) > 1:
                    watched = self._watch_errors(messages, JointErrors(len(jobs), settings.limits.max_error_rate))
                return self._collect(watched, origin, names, settings, progress)

    def _watch_errors(self, messages: Messages, errors: JointErrors) -> Iterator[tuple[int, Interval | Done]]:
        """Pass messages on, and stop the run when too many requests of all processes fail."""
        for process, message in messages:
            if isinstance(message, Done):
                errors.ended(process)
            elif errors.add(process, message.targets, measured=message.measured):
                self._pool.stop("max-error-rate")
            yield process, message

    def drive_scenario(
        self, run: ScenarioRun, origin: Origin, name: str, settings: Settings, progress: Progress | None
    ) -> LoadResult:
        """Run a scenario, which is not done by load processes."""
        self._resolve(origin)
        with self._one_at_a_time():
            self._beside = run
            try:
                messages = ((0, message) for message in run.messages())
                return self._collect(messages, origin, [name], settings, progress)
            finally:
                run.stop()
                self._beside = None

    def drive_locust(
        self, make: Callable[..., LocustRun], work: Work, settings: Settings, progress: Progress | None
    ) -> LoadResult:
        """Have Locust do it."""
        addresses = self._resolve(work.origin)
        [job] = make_jobs(
            work,
            replace(settings, workers=1),
            run_id=0,
            addresses=addresses,
            # Users of a locustfile have their own ways with certificates.
            tls=self.usable_tls(work.origin) if work.flows else self.tls(work.origin),
            first_number=self.next_number,
        )
        stage = settings.stages[-1]
        spawn_rate = stage.concurrency / stage.ramp_up_s if stage.ramp_up_s else stage.concurrency
        run = make(job, users=stage.concurrency, spawn_rate=spawn_rate)
        with self._one_at_a_time():
            self._beside = run
            try:
                with closing(run.messages()) as reports:
                    messages = ((0, message) for message in reports)
                    return self._collect(messages, work.origin, work.names, settings, progress)
            finally:
                self._beside = None

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise LoadError(
                "a run of this LoadGenerator is still under way; expected one at a time",
                slug="load-failed",
                hint="a second LoadGenerator can run beside it",
            )
        try:
            yield
        finally:
            self._lock.release()

    def _collect(
        self, messages: Messages, origin: Origin, names: Sequence[str], settings: Settings, progress: Progress | None
    ) -> LoadResult:
        """The result of what is reported."""
        collector = Collector(names, settings)
        where: LoadProgress | None = None
        try:
            for process, message in messages:
                if isinstance(message, Interval):
                    where = collector.add(process, message)
                    if progress is not None:
                        progress(where)
                    continue
                if message.failure is not None:
                    kind, detail = message.failure
                    raise LoadError(f"{origin} cannot be loaded: {detail}", slug="load-target", hint=_HINTS.get(kind))
                self.next_number = max(self.next_number, message.next_number)
                collector.finish(message)
        finally:
            if progress is not None and where is not None:
                progress(replace(where, ended=True))
        return self.take_result(collector.result(describe(names, origin, settings)), settings)

    def take_result(self, result: LoadResult, settings: Settings) -> LoadResult:
        """Keep a result and hold it against its limits."""
        self.results.append(result)
        result.check(settings.limits)
        return result

    def _resolve(self, origin: Origin) -> list[tuple[str, int]]:
        try:
            found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise LoadError(
                f"the host {origin.host!r} of {origin} cannot be found: {error}", slug="load-target"
            ) from error
        addresses = list(dict.fromkeys((str(info[4][0]), origin.port) for info in found))
        public = [address for address, _ in addresses if not is_private(address)]
        if public and not self._allow_public:
            raise ConfigError(
                f"{origin} is {public[0]}, a public address; expected this machine or a private network",
                slug="config-public-target",
                hint="if it is yours to load, say allow_public=True",
            )
        return addresses

    def tls(self, origin: Origin) -> Tls | None:
        """How to talk TLS to an origin; None when it does not."""
        if origin.scheme != "https":
            return None
        cert, key = self._cert if isinstance(self._cert, tuple) else (self._cert, None)
        return Tls(
            server_name=origin.host,
            verify=self._verify is not False,
            ca_file=None if isinstance(self._verify, bool) else self._verify,
            client_cert=None if cert is None else str(Path(cert).resolve()),
            client_key=None if key is None else str(Path(key).resolve()),
        )

    def usable_tls(self, origin: Origin) -> Tls | None:
        """As `tls`, for who cannot report that a certificate file is of no use: LoadError here and now."""
        from pytest_memory.load.tls import make_tls_context

        tls = self.tls(origin)
        if tls is None:
            return None
        try:
            make_tls_context(tls)
        except OSError as error:  # includes ssl.SSLError
            files = ", ".join(file for file in (tls.ca_file, tls.client_cert, tls.client_key) if file is not None)
            raise LoadError(
                f"{origin} cannot be loaded: the certificates in {files} cannot be used: {error}",
                slug="load-target",
                hint=_HINTS["tls"],
            ) from error
        return tls

    def refuse_public(self, origin: Origin) -> None:
        """ConfigError for an origin that may not be loaded; one that cannot be found is left to who connects."""
        with suppress(LoadError):
            self._resolve(origin)

    def stop(self) -> None:
        """Stop the run that is under way.  May be called from any thread."""
        self._pool.stop()
        if self._beside is not None:
            self._beside.stop()

    def close(self) -> None:
        """End the load processes."""
        self._pool.close()
