"""Waiting until a started app serves: the probes, the patience, and what to say when it does not.

What it is: one bounded wait per kind of readiness; and ports, free or taken.
What it is not: the start itself (``node.launch``).  Floor 5.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import random
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final

from pytest_memory.errors import AppError
from pytest_memory.node.discover import describe, port_owner
from pytest_memory.node.exits import describe_exit
from pytest_memory.node.launch import Launch
from pytest_memory.node.spec import Ready, parse_ready
from pytest_memory.units import format_duration

LOOPBACKS: Final = ("127.0.0.1", "::1")
"""Where an app of this machine may be reached: Node's ``listen(port, "localhost")`` can mean either."""

_POLL_S = 0.01
_CONNECT_TIMEOUT_S = 0.5
_ANSWER_TIMEOUT_S = 5.0  # the first request of a framework compiles the page
_ANNOUNCE_TIMEOUT_S = 5.0  # with nothing to wait for, node at least starts within this, or cannot say so
_SETTLE_S = 0.5
_APP_PORTS: Final = (15_000, 32_000)  # Linux gives connections 32768 and up


def wait_ready(launch: Launch) -> str:
    """Wait until the app is ready and settle which process it is; return the host it is reached at.

    Raises AppError: [app-exited] when it ended first, [app-port-taken] when another program holds its port,
    [app-not-ready] after ``spec.ready_timeout_s``.
    """
    ready = parse_ready(launch.spec.ready)
    deadline = time.monotonic() + launch.spec.ready_timeout_s
    if ready is None:
        _wait_announced(launch, min(deadline, time.monotonic() + _ANNOUNCE_TIMEOUT_S))
        return LOOPBACKS[0]
    probe = _probe_for(launch, ready, deadline)
    while (host := probe()) is None:
        if _is_over(launch):
            raise exited_error(launch, f"before it was ready ({ready})")
        if time.monotonic() > deadline:
            raise _not_ready(launch, ready)
        time.sleep(_POLL_S)
    if ready.kind == "log":
        _wait_owner(launch)
    else:
        _check_owner(launch)
    launch.identify_app()
    return host


def _wait_announced(launch: Launch, deadline: float) -> None:
    while not any(not a.wrapper for a in launch.announced.values()):
        if _is_over(launch) or time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    launch.identify_app()


def _wait_owner(launch: Launch) -> None:
    """Give the app a moment to listen where several processes may be it: a launcher goes before what it launches."""
    deadline = time.monotonic() + _SETTLE_S
    while not launch.owners() and len(launch.candidates()) > 1 and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _is_over(launch: Launch) -> bool:
    """Whether nothing of the app runs: a shell may end and leave its server, which has not announced itself yet."""
    return launch.exit_status is not None and not launch.processes() and not launch.find_escaped()


def _probe_for(launch: Launch, ready: Ready, deadline: float) -> Callable[[], str | None]:
    if ready.kind == "log":
        found = launch.output.watch(ready.value)
        return lambda: (find_host(launch.port) or LOOPBACKS[0]) if found.is_set() else None
    if ready.kind == "tcp":
        return lambda: find_host(launch.port)

    def probe_path() -> str | None:
        host = find_host(launch.port)
        timeout_s = min(_ANSWER_TIMEOUT_S, max(_POLL_S, deadline - time.monotonic()))
        tls = (launch.spec.url or "").startswith("https:")
        return host if host is not None and _answers(host, launch.port, ready.value, timeout_s, tls=tls) else None

    return probe_path


def find_host(port: int) -> str | None:
    """The loopback address that accepts connections on the port, or None."""
    for host in LOOPBACKS:
        if _accepts(host, port):
            # A socket for both that was opened between two looks is reached at the first, now as after a restart.
            return next(one for one in LOOPBACKS if one == host or _accepts(one, port))
    return None


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _answers(host: str, port: int, path: str, timeout_s: float, *, tls: bool) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whether it is up, not whether to trust it
        connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def choose_free_port() -> int:
    """A TCP port that is free on both loopback addresses at this moment."""
    for attempt in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as four:
            # Below those the system gives to connections: such a one could be taken before the app listens on it.
            wanted = random.SystemRandom().randrange(*_APP_PORTS) if attempt < 50 else 0
            with contextlib.suppress(OSError):
                four.bind((LOOPBACKS[0], wanted))
                port = int(four.getsockname()[1])
                if _is_free_on_six(port):
                    return port
    raise AppError("no TCP port is free on this machine", slug="app-port-taken")


def _is_free_on_six(port: int) -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as six:
            six.bind((LOOPBACKS[1], port))
    except OSError as error:
        return error.errno != errno.EADDRINUSE  # else there is no IPv6
    return True


def check_port_free(port: int) -> None:
    """Raise AppError[app-port-taken] when something already answers on the port the app is meant to get."""
    if find_host(port) is None:
        return
    owner = port_owner(port)
    raise AppError(
        f"port {port} is taken" + (f" by {describe(owner)}" if owner else ""),
        slug="app-port-taken",
        hint="stop it, give another port, or none: then a free one is chosen and passed as PORT",
    )


def _check_owner(launch: Launch) -> None:
    """Whoever answered must be the app: measuring one server while loading another would be a silent lie."""
    if launch.owners():
        return
    owner = port_owner(launch.port)
    if owner is not None and owner.pid not in {process.pid for process in launch.processes()}:
        raise AppError(
            f"port {launch.port} is answered by {describe(owner)}, which is not part of {launch.spec.label!r}",
            slug="app-port-taken",
            output_tail=launch.output.text,
        )


def exited_error(launch: Launch, when: str, *, hint: str | None = None) -> AppError:
    """The error for an app that ended: with its true status, its last words, and what they mean."""
    status = launch.wait(_SETTLE_S)
    output = launch.output.text
    account = describe_exit(status, output)
    taken = "EADDRINUSE" in output
    return AppError(
        f"{launch.spec.label!r} {account.what}, {when}",
        slug="app-port-taken" if taken else "app-exited",
        hint=account.hint or hint or "its last output says why; started by hand with the same command it should run on",
        exit_status=status,
        output_tail=output,
    )


def _not_ready(launch: Launch, ready: Ready) -> AppError:
    others = sorted(launch.other_ports())
    within = format_duration(launch.spec.ready_timeout_s)
    hint = f"raise ready_timeout (now {within}), or change ready"
    if others and ready.kind != "log":
        listed = ", ".join(str(port) for port in others)
        hint = f"it listens on {listed}: let it listen on process.env.PORT, or pass port={others[0]}"
    if launch.exit_status is not None:
        running = ", ".join(describe(process) for process in launch.processes()) or "nothing of it"
        when = f"before it was ready ({ready}); after {within} {running} still ran"
        return exited_error(launch, when, hint=hint if others else None)
    waited = {"path": f"GET http://127.0.0.1:{launch.port}{ready.value} did not answer with a status below 500"}
    waited |= {"tcp": f"nothing listens on port {launch.port}", "log": f"no output matches {ready.value!r}"}
    return AppError(
        f"{launch.spec.label!r} was not ready within {within}: "
        f"{waited[ready.kind]}; it is still running (pid {launch.root_pid})",
        slug="app-not-ready",
        hint=hint,
        output_tail=launch.output.text,
    )
