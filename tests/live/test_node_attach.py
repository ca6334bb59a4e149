"""Attaching to Node processes that somebody else started."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import psutil
import pytest
from support.apps import APPS, choose_adjacent_ports, wait_until

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.cdp.transport import fetch_inspector_urls
from pytest_memory.errors import AppError, ConfigError, InspectorError, PytestMemoryWarning
from pytest_memory.node.attach import find_or_open_inspector
from pytest_memory.node.discover import listening_ports
from pytest_memory.node.process import NodeApp
from pytest_memory.node.readiness import choose_free_port
from pytest_memory.node.spec import AppSpec

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("default_inspector_port")]


@dataclass
class Foreign:
    """A Node server that was started without this package."""

    popen: subprocess.Popen[bytes]
    port: int

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def run_foreign(node: str) -> Iterator[Callable[..., Foreign]]:
    started: list[Foreign] = []

    def run(script: str = "hello.js", *flags: str) -> Foreign:
        port = choose_free_port()
        popen = subprocess.Popen(
            [node, *flags, script], cwd=APPS, env={"PORT": str(port)}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        foreign = Foreign(popen, port)
        started.append(foreign)
        assert wait_until(lambda: port in listening_ports(psutil.Process(popen.pid)))
        return foreign

    yield run
    for foreign in started:
        family = psutil.Process(foreign.pid).children(recursive=True) if foreign.popen.poll() is None else []
        foreign.popen.kill()
        for process in family:  # nobody else ends them: the app is not ours
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        foreign.popen.communicate()


@pytest.fixture
def attach() -> Iterator[Callable[..., NodeApp]]:
    attached: list[NodeApp] = []

    def do(target: str | int, **fields: object) -> NodeApp:
        app = NodeApp.start(AppSpec(attach=target, **fields))  # type: ignore[arg-type]
        attached.append(app)
        return app

    yield do
    for app in attached:
        app.stop()


RunForeign = Callable[..., Foreign]
Attach = Callable[..., NodeApp]


def inspector_url(foreign: Foreign) -> str:
    """The inspector URL a process started with --inspect prints."""
    assert foreign.popen.stderr is not None
    match = re.search(rb"ws://\S+", foreign.popen.stderr.readline())
    assert match is not None
    return match[0].decode()


def test_by_pid_opens_an_inspector_and_closes_it_again(run_foreign: RunForeign, attach: Attach) -> None:
    foreign = run_foreign()
    app = attach(foreign.pid)
    assert app.evaluate("process.pid") == app.pid == foreign.pid
    assert app.url == foreign.url
    assert [record.role for record in app.processes] == ["app"]
    assert len(listening_ports(psutil.Process(foreign.pid))) == 2
    app.stop()
    assert wait_until(lambda: listening_ports(psutil.Process(foreign.pid)) == {foreign.port})
    assert httpx.get(foreign.url, trust_env=False).text == "hello\n"


def test_by_the_url_it_serves(run_foreign: RunForeign, attach: Attach) -> None:
    foreign = run_foreign()
    app = attach(foreign.url + "/")
    assert app.pid == foreign.pid
    assert app.client.get("/").text == "hello\n"
    assert app.evaluate("process.pid") == foreign.pid


def test_a_url_of_another_machine_is_not_taken_for_the_local_app_on_that_port(
    run_foreign: RunForeign, attach: Attach
) -> None:
    foreign = run_foreign()
    for host, found in (("192.0.2.7", "is no address of this machine"), ("no-such-host.invalid", "has no address")):
        with pytest.raises(AppError, match=f"cannot be measured from here: {host} {found}") as error:
            attach(f"http://{host}:{foreign.port}")
        assert error.value.slug == "app-not-found"
        assert "--memory-inspector=HOST:PORT" in str(error.value.hint)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_by_the_address_of_its_inspector(run_foreign: RunForeign, attach: Attach, host: str) -> None:
    foreign = run_foreign("hello.js", "--inspect=127.0.0.1:0")
    port = inspector_url(foreign).split(":")[2].split("/")[0]
    app = attach(f"{host}:{port}")
    assert app.pid == foreign.pid
    assert app.url == foreign.url
    app.stop()
    assert int(port) in listening_ports(psutil.Process(foreign.pid))  # not ours to close


def test_by_the_ws_url_of_its_inspector(run_foreign: RunForeign, attach: Attach) -> None:
    foreign = run_foreign("hello.js", "--inspect=127.0.0.1:0", "--inspect-publish-uid=stderr")
    app = attach(inspector_url(foreign), url="http://127.0.0.1:1/base")
    assert app.pid == foreign.pid
    assert app.url == "http://127.0.0.1:1/base"


def pretend(foreign: Foreign, pid: int) -> str:
    """Have a foreign app speak as one in a container does, whose pid is another process's here; its inspector."""
    address = inspector_url(foreign).removeprefix("ws://").partition("/")[0]
    with InspectorClient.connect(fetch_inspector_urls(*_host_port(address), timeout_s=2.0)[0]) as client:
        client.evaluate(
            f"Object.defineProperty(process, 'pid', {{ value: {pid} }}); process.uptime = () => 1000;"
            "Object.defineProperty(performance, 'timeOrigin', { value: 0 }); 0"
        )
    return address


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.partition(":")
    return host, int(port)


def test_the_pid_an_app_has_in_its_container_is_not_taken_for_ours(run_foreign: RunForeign, attach: Attach) -> None:
    other = run_foreign()
    for pid in (1, other.pid, 2**22 + 1):
        address = pretend(run_foreign("hello.js", "--inspect=127.0.0.1:0"), pid)
        with pytest.raises(AppError, match=f"is pid {pid} where it runs, and") as error:
            attach(address)
        assert error.value.slug == "app-not-found"
        assert "in its container" in str(error.value.hint)


def test_a_local_app_is_known_by_its_start_or_by_its_port(
    run_foreign: RunForeign, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its port where a shell became node long after it was started; by its start where ports cannot be seen."""
    foreign = run_foreign("hello.js", "--inspect=127.0.0.1:0")
    url = inspector_url(foreign)
    with monkeypatch.context() as patched:
        patched.setattr("pytest_memory.node.attach._START_TOLERANCE_S", -1.0)
        assert attach(url).pid == foreign.pid
    monkeypatch.setattr("pytest_memory.node.attach.listening_ports", lambda process: set())
    assert attach(url).pid == foreign.pid


def test_by_pid_uses_an_inspector_that_is_already_open(run_foreign: RunForeign, attach: Attach) -> None:
    foreign = run_foreign("hello.js", f"--inspect=127.0.0.1:{choose_free_port()}")
    ports = listening_ports(psutil.Process(foreign.pid))
    attach(foreign.pid).stop()
    assert listening_ports(psutil.Process(foreign.pid)) == ports


def test_precise_mode_can_be_set_later(run_foreign: RunForeign, attach: Attach) -> None:
    app = attach(run_foreign().pid, precise=True)
    assert app.evaluate("(() => { let sum = 0; for (let i = 0; i < 1e5; i++) sum += i; return sum })()") == 4999950000


def test_an_attached_app_is_not_restarted_or_ended(run_foreign: RunForeign, attach: Attach) -> None:
    foreign = run_foreign()
    app = attach(foreign.pid)
    with pytest.raises(ConfigError, match="cannot be restarted"):
        app.restart()
    app.stop()
    assert foreign.popen.poll() is None


def test_an_attached_app_that_dies_is_reported(run_foreign: RunForeign, attach: Attach) -> None:
    foreign = run_foreign()
    app = attach(foreign.pid)
    foreign.popen.kill()
    foreign.popen.wait()
    assert not app.alive
    with pytest.raises(AppError, match="ended with an unknown status") as error:
        app.check()
    assert error.value.slug == "app-died"


def test_the_status_of_an_attached_app_is_left_to_its_parent(run_foreign: RunForeign, attach: Attach) -> None:
    """Which is this process."""
    foreign = run_foreign()
    app = attach(foreign.pid)
    assert app.wait(0.05) is None
    assert app.alive
    foreign.popen.kill()
    assert app.wait(60) is None
    assert not app.alive
    assert foreign.popen.wait() == -signal.SIGKILL


def test_the_workers_of_an_attached_cluster_can_be_asked(run_foreign: RunForeign, attach: Attach) -> None:
    foreign = run_foreign("cluster.js")
    assert wait_until(lambda: httpx.get(foreign.url, trust_env=False).status_code == 200)
    app = attach(foreign.pid)
    workers = [record.pid for record in app.processes if record.role == "cluster-worker" and record.inspector_url]
    assert len(workers) == 2
    for pid in workers:
        assert app.inspector_of(pid).evaluate("process.pid") == pid


def run_inspected_cluster(run_foreign: RunForeign, inspector_port: int) -> tuple[Foreign, list[psutil.Process]]:
    """A cluster whose primary has its inspector at this port, and its workers, which node gives the two ports after."""
    foreign = run_foreign("cluster.js", f"--inspect=127.0.0.1:{inspector_port}")
    primary = psutil.Process(foreign.pid)
    assert wait_until(lambda: len(primary.children()) == 2)
    workers = sorted(primary.children(), key=inspect_port)
    assert [inspect_port(worker) for worker in workers] == [inspector_port + 1, inspector_port + 2]
    return foreign, workers


def inspect_port(worker: psutil.Process) -> int:
    """The port node has told a cluster worker to inspect at."""
    assert wait_until(lambda: "NODE_UNIQUE_ID" in worker.environ() and len(worker.cmdline()) > 1)
    return next(int(word.split("=")[1]) for word in worker.cmdline() if word.startswith("--inspect-port="))


def test_the_workers_of_an_inspected_cluster_are_found_where_they_are(run_foreign: RunForeign, attach: Attach) -> None:
    # A worker whose port is taken goes on without an inspector: all three have to be free.
    foreign, workers = run_inspected_cluster(run_foreign, choose_adjacent_ports(3))
    assert wait_until(lambda: all(len(listening_ports(worker)) == 1 for worker in workers))
    app = attach(foreign.pid)
    asked = [record.pid for record in app.processes if record.role == "cluster-worker"]
    assert sorted(asked) == sorted(worker.pid for worker in workers)
    assert [app.inspector_of(pid).evaluate("process.pid") for pid in asked] == asked


def test_a_worker_whose_inspector_port_is_taken_says_by_whom(
    run_foreign: RunForeign, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_memory.node.attach._SIGNAL_TIMEOUT_S", 0.5)
    port = choose_adjacent_ports(3)
    with socket.create_server(("127.0.0.1", port + 1)):
        foreign, (without, other) = run_inspected_cluster(run_foreign, port)
        assert wait_until(lambda: listening_ports(other) == {port + 2})
        app = attach(foreign.pid)
        with pytest.raises(InspectorError, match="opened no inspector") as error:
            app.inspector_of(without.pid)
        assert f"port {port + 1}, which SIGUSR1 opens, is taken by pid {os.getpid()}" in str(error.value.hint)
        assert app.inspector_of(other.pid).evaluate("process.pid") == other.pid


def test_children_of_an_attached_app_are_not_signalled(run_foreign: RunForeign, attach: Attach) -> None:
    app = attach(run_foreign("family.js").pid)
    children = [record for record in app.processes if record.role == "child"]
    assert children
    for record in children * 2:
        with pytest.raises(InspectorError, match="has no inspector open"):
            app.inspector_of(record.pid)


def test_a_sigusr1_handler_that_swallows_is_an_error_with_a_hint(
    run_foreign: RunForeign, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_memory.node.attach._SIGNAL_TIMEOUT_S", 0.5)
    foreign = run_foreign("sigusr1.js")
    with pytest.raises(InspectorError, match="opened no inspector") as error:
        attach(foreign.pid)
    assert "SIGUSR1 handler" in str(error.value.hint)
    assert foreign.popen.poll() is None


def test_a_taken_inspector_port_names_its_holder(
    run_foreign: RunForeign, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_memory.node.attach._SIGNAL_TIMEOUT_S", 0.5)
    foreign = run_foreign()
    with socket.create_server(("127.0.0.1", 9229)), pytest.raises(InspectorError) as error:
        attach(foreign.pid)
    assert "port 9229, which SIGUSR1 opens, is taken by pid" in str(error.value.hint)


def test_a_process_that_does_not_catch_the_signal_is_left_alone(
    run_foreign: RunForeign, attach: Attach, node_major: int
) -> None:
    if node_major < 22:
        pytest.skip("--disable-sigusr1 came with Node 22")
    foreign = run_foreign("hello.js", "--disable-sigusr1")
    with pytest.raises(InspectorError, match="does not listen to SIGUSR1"):
        attach(foreign.pid)
    assert foreign.popen.poll() is None


def test_a_process_that_is_not_node_is_left_alone(attach: Attach) -> None:
    with subprocess.Popen(["sleep", "60"]) as sleep:
        try:
            with pytest.raises(InspectorError, match="does not run node"):
                attach(sleep.pid)
            assert sleep.poll() is None
        finally:
            sleep.send_signal(signal.SIGKILL)


def test_nothing_at_the_target_is_an_error(attach: Attach) -> None:
    port = choose_free_port()
    with pytest.raises(InspectorError) as unreachable:
        attach(f"127.0.0.1:{port}")
    assert unreachable.value.slug == "inspector-unreachable"
    with pytest.raises(AppError, match="there is no process") as gone:
        attach(2**22 + 1)
    assert gone.value.slug == "app-not-found"
    with pytest.raises(AppError, match="no process of this machine"):
        attach(f"http://127.0.0.1:{port}")


def test_a_url_of_something_else_than_node_is_an_error(attach: Attach) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(InspectorError, match="does not run node"):
            attach(f"http://127.0.0.1:{server.getsockname()[1]}")


def test_an_inspector_beyond_this_machine_is_warned_of(run_foreign: RunForeign, attach: Attach) -> None:
    own_address = next(
        (a.address for addresses in psutil.net_if_addrs().values() for a in addresses
         if a.family == socket.AF_INET and not a.address.startswith("127.")), None
    )  # fmt: skip
    if own_address is None:
        pytest.skip("this machine has no address but loopback")
    foreign = run_foreign("hello.js", f"--inspect={own_address}:0")
    port = inspector_url(foreign).rsplit(":", 1)[1].split("/")[0]
    with pytest.warns(PytestMemoryWarning, match="reachable beyond this machine"):
        app = attach(f"{own_address}:{port}")
    assert app.pid == foreign.pid


def test_an_inspector_on_an_unusual_port_is_found(
    run_foreign: RunForeign, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_memory.node.attach._SIGNAL_TIMEOUT_S", 0.5)
    foreign = run_foreign()
    first = attach(foreign.pid)  # opens it, and moves it to a random port, where no flag tells of it
    assert attach(foreign.pid).evaluate("process.pid") == first.pid


def test_a_server_that_never_ends_its_answer_is_not_waited_for() -> None:
    """Asked whether it is an inspector: a socket's own timeout would begin anew with each byte."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
                while not ended.wait(0.05):
                    connection.sendall(b" ")

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        with pytest.raises(InspectorError, match="no list of inspectors"):
            fetch_inspector_urls("127.0.0.1", listening.getsockname()[1], timeout_s=0.5)
        ended.set()
        thread.join()
    assert time.monotonic() - began < 30  # for ever, without a deadline for the whole of it


def test_an_inspector_opened_for_an_attachment_that_fails_is_closed(run_foreign: RunForeign) -> None:
    foreign = run_foreign()
    process = psutil.Process(foreign.pid)
    before = listening_ports(process)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_memory.node.attach._PRECISE", "throw new Error('not today')")
        with pytest.raises(InspectorError, match="not today"):
            NodeApp.start(AppSpec(attach=foreign.pid, precise=True))
    assert wait_until(lambda: listening_ports(process) == before)


def test_an_unknown_url_is_asked_for(run_foreign: RunForeign, attach: Attach) -> None:
    foreign = run_foreign("hello.js", "--inspect=127.0.0.1:0")
    attach(foreign.pid).evaluate("require('http').createServer((_, answer) => answer.end()).listen(0, '127.0.0.1'); 0")
    again = attach(foreign.pid)
    with pytest.raises(ConfigError, match="is not known") as error:
        _ = again.url
    assert "url=" in str(error.value.hint)


def test_an_open_inspector_is_found_without_a_signal(run_foreign: RunForeign) -> None:
    foreign = run_foreign("sigusr1.js", "--inspect=127.0.0.1:0")
    url, opened = find_or_open_inspector(psutil.Process(foreign.pid))
    assert url == inspector_url(foreign)
    assert not opened
