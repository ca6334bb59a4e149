"""The handle of the app under test: what the ``node_app`` fixture gives, and what monitor and load are built on.

What it is: NodeApp, one face for an app we started (``node.launch``) and for one we attached to (``node.attach``):
where it is, which process it is, its inspector, its output, its end.
What it is not: measuring or loading.  Floor 5.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import psutil

from pytest_memory.cdp.client import DEFAULT_TIMEOUT_S, InspectorClient
from pytest_memory.errors import AppError, ConfigError, InspectorError
from pytest_memory.node.attach import Attachment
from pytest_memory.node.choose import Announcement, ProcessRecord, WorkerThread, assign_roles
from pytest_memory.node.discover import gather_facts
from pytest_memory.node.exits import LAST_BREATH_S, describe_exit
from pytest_memory.node.launch import Launch
from pytest_memory.node.output import AppOutput
from pytest_memory.node.readiness import check_port_free, choose_free_port, wait_ready
from pytest_memory.node.spec import AppSpec

if TYPE_CHECKING:
    import httpx

_PORT_ATTEMPTS = 3  # a free port can be taken by another test between the choice and the listening
_LIST_TIMEOUT_S = 2.0  # a process whose loop is blocked is listed without its worker threads
_LAST_WORDS_TIMEOUT_S = 1.0  # for a wrapper to hand on the status of the app that just ended


class _Backing(Protocol):
    """What a started and an attached app have in common."""

    @property
    def pid(self) -> int: ...
    @property
    def alive(self) -> bool: ...
    @property
    def exit_status(self) -> int | None: ...
    @property
    def output(self) -> AppOutput: ...
    @property
    def announced(self) -> dict[int, Announcement]: ...
    @property
    def inspectors(self) -> dict[int, str]: ...
    def processes(self) -> list[psutil.Process]: ...
    def find_inspector(self, pid: int) -> str: ...
    def wait(self, timeout_s: float) -> int | None: ...
    def stop(self) -> None: ...


class NodeApp:
    """A running Node app.  A context manager that stops it; ``stop`` may be called any number of times."""

    def __init__(self, spec: AppSpec, backing: _Backing, url: str | None) -> None:
        """Not for callers: use ``start`` or ``attach``."""
        self.spec = spec
        self._backing = backing
        self._url = url
        self._lock = threading.RLock()
        self._finding = threading.Lock()
        self._inspectors: dict[int, InspectorClient] = {}
        self._connecting: dict[int, threading.Lock] = {}
        self._lost_inspectors: set[int] = set()
        self._client: httpx.Client | None = None
        self._stopped = False

    @classmethod
    def start(cls, spec: AppSpec) -> NodeApp:
        """Start the app and wait until it is ready.

        Raises ConfigError for a command, directory or node that does not exist, AppError for an app that cannot be
        started, ends at once, is never ready or finds its port taken.  Nothing is left running then.
        """
        if spec.command is None:
            return cls.attach(spec)
        launch, url = _launch(spec, spec.port)
        return cls(spec, launch, url)

    @classmethod
    def attach(cls, spec: AppSpec) -> NodeApp:
        """Attach to a running app; ``stop`` will leave it running.

        Raises AppError[app-not-found] or InspectorError when there is no such process, or it cannot be inspected.
        """
        attachment = Attachment(spec)
        return cls(spec, attachment, attachment.url)

    # --- where and what it is

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, without a slash at the end."""
        if self._url is None:
            raise ConfigError(
                f"the URL of {self.spec.label!r} is not known: it listens on no port, or on several",
                slug="config-app",
                hint="pass url=... beside attach=...",
            )
        return self._url

    @property
    def port(self) -> int:
        """The TCP port of ``url``."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def pid(self) -> int:
        """The process that is the app: the one that listens, behind npm, shells and launchers."""
        return self._backing.pid

    @property
    def processes(self) -> tuple[ProcessRecord, ...]:
        """All living processes of the app with their roles, parents first.

        ``worker_threads`` are filled in for processes whose inspector is connected (the app's own always is).
        """
        facts = gather_facts(self._backing.processes())
        records = assign_roles(facts, self._backing.announced, self.pid, self._backing.inspectors)
        return tuple(dataclasses.replace(r, worker_threads=self._worker_threads(r)) for r in records)

    @property
    def announced_pids(self) -> frozenset[int]:
        """The pids of all Node processes the app has had, those that have ended too; wrappers are none of it.

        Empty for attached apps, of which nobody announces itself."""
        return frozenset(pid for pid, one in self._backing.announced.items() if not one.wrapper)

    def _worker_threads(self, record: ProcessRecord) -> tuple[WorkerThread, ...]:
        try:
            if record.role == "app" and not self._stopped:
                client: InspectorClient | None = self.inspector
            else:
                client = self._inspectors.get(record.pid)
            if client is None or client.closed:
                return ()
            threads = client.workers(timeout_s=_LIST_TIMEOUT_S)
            return tuple(WorkerThread(w.worker_id, w.title, w.url) for w in threads)
        except InspectorError:
            return ()  # it refuses to be inspected, or is ending: the process is listed all the same

    # --- its inside

    @property
    def inspector(self) -> InspectorClient:
        """The connection to the app's own process, made at the first use and kept."""
        return self.inspector_of(self.pid)

    def inspector_of(self, pid: int) -> InspectorClient:
        """The connection to the inspector of one process of the app (a cluster worker, a child).

        Raises InspectorError with the reason when the process has none, AppError[app-died] when the app is gone.
        """
        with self._lock:
            connecting = self._connecting.setdefault(pid, threading.Lock())
        # A lock for each: a process that does not answer keeps nobody from the others.
        with connecting:
            client = self._inspectors.get(pid)
            if client is not None and not client.closed:
                return client
            if self._stopped or not self._backing.alive:
                self.check()
            try:
                with self._finding:
                    url = self._backing.find_inspector(pid)
                connected = InspectorClient.connect(url)
            except InspectorError:
                if client is not None:
                    self._check_last_breath(pid)
                raise
            return self._remember_inspector(pid, connected)

    def _remember_inspector(self, pid: int, client: InspectorClient) -> InspectorClient:
        with self._lock:
            if not self._stopped:
                self._inspectors[pid] = client
                return client
        client.close()
        self.check()  # stopped meanwhile: it says so
        return client

    def _check_last_breath(self, pid: int) -> None:
        """Raise AppError[app-died] when an inspector that answered before is gone because the app is: the kernel closes
        sockets a moment before it takes the process away.  Waited for once: an app may close its inspector and live."""
        if pid == self.pid and pid not in self._lost_inspectors:
            self._lost_inspectors.add(pid)
            self._backing.wait(LAST_BREATH_S)
            self.check()

    def evaluate(self, js: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, await_promise: bool = False) -> Any:
        """Evaluate JavaScript in the app; see InspectorClient.evaluate."""
        return self.inspector.evaluate(js, timeout_s=timeout_s, await_promise=await_promise)

    @property
    def client(self) -> httpx.Client:
        """An httpx.Client whose base URL is the app; closed by ``stop``."""
        with self._lock:
            if self._client is None:
                # Late: httpx takes longer to import than many an app to start.
                import httpx

                # Not through a proxy from the environment: the app is on this machine.
                self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=30.0)
            return self._client

    # --- its outside

    @property
    def output(self) -> AppOutput:
        """The last part of what it printed, stdout and stderr together; empty for an attached app."""
        return self._backing.output

    @property
    def printed_bytes(self) -> int | None:
        """How much it has printed, inspector noise included; None where nobody knows: of an attached app."""
        return self._backing.output.bytes_seen if self.spec.command is not None else None

    @property
    def alive(self) -> bool:
        """Whether the app's process runs."""
        return not self._stopped and self._backing.alive

    @property
    def exit_status(self) -> int | None:
        """None while it runs and for attached apps; -N when it was ended by signal N."""
        return self._backing.exit_status

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the app to end by itself; its exit status, or None when it still runs after ``timeout_s``."""
        return self._backing.wait(timeout_s)

    def check(self) -> None:
        """Return when the app runs; else raise AppError[app-died] with its exit status and last output."""
        if self.alive:
            return
        if self._stopped:
            raise AppError(f"{self.spec.label!r} has been stopped", slug="app-died", exit_status=self.exit_status)
        status = self._backing.wait(_LAST_WORDS_TIMEOUT_S)
        output = self.output.text
        account = describe_exit(status, output)
        raise AppError(
            f"{self.spec.label!r} (pid {self.pid}) {account.what}",
            slug="app-died",
            hint=account.hint,
            exit_status=status,
            output_tail=output,
        )

    # --- its end

    def restart(self) -> None:
        """Stop the app and start it again on the same port: a new process, a new heap, new connections."""
        if self.spec.command is None:
            raise ConfigError(
                f"{self.spec.label!r} was attached to, not started; it cannot be restarted", slug="config-app"
            )
        assert isinstance(self._backing, Launch), "there is a command"
        port = self._backing.port  # what a given url names is perhaps a proxy's
        self.stop()
        launch, url = _launch(self.spec, port)
        with self._lock:
            self._backing, self._url, self._stopped = launch, url, False

    def stop(self) -> None:
        """End the app, gracefully and then by force, with every process it started; or detach from it.

        Raises AppError[app-not-stopped] when a process outlives SIGKILL.
        """
        try:
            with self._lock:
                inspectors, self._inspectors = self._inspectors, {}
                client, self._client = self._client, None
                self._stopped = True
            # Connections first: a process waits for its inspector's clients before it exits.
            for inspector in inspectors.values():
                inspector.close()
            if client is not None:
                client.close()
        finally:  # also when interrupted while a connection is closed
            self._backing.stop()

    def __enter__(self) -> NodeApp:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.alive else f"ended with status {self.exit_status}"
        return f"<NodeApp {self.spec.label!r} {self._url} {state}>"


def _launch(spec: AppSpec, port: int | None) -> tuple[Launch, str]:
    """Start and wait; choose another port when a chosen (not a wished) one was snatched away."""
    for attempt in range(_PORT_ATTEMPTS):
        chosen = port if port is not None else choose_free_port()
        if port is not None:
            check_port_free(port)
        launch = Launch(spec, chosen)
        try:
            host = wait_ready(launch)
        except BaseException as error:
            launch.stop()
            snatched = isinstance(error, AppError) and error.slug == "app-port-taken" and str(chosen) in str(error)
            if port is None and snatched and attempt + 1 < _PORT_ATTEMPTS:
                continue
            raise
        found = f"http://[{host}]:{chosen}" if ":" in host else f"http://{host}:{chosen}"
        return launch, spec.url_at(chosen) or found
    raise AssertionError("unreachable: the last attempt returns or raises")
