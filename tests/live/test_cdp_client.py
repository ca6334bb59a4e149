"""The websocket driver against a real Node, and against servers that are not one."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support.apps import node_under_test, wait_until

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.cdp.transport import TextTransport, fetch_inspector_urls
from pytest_memory.errors import (
    InspectorClosed,
    InspectorCommandError,
    InspectorError,
    InspectorTimeout,
)
from pytest_memory.node.process import NodeApp

pytestmark = pytest.mark.node

StartApp = Callable[..., NodeApp]


@pytest.fixture
def app(start_app: StartApp) -> NodeApp:
    return start_app("farewell.js")


@pytest.fixture
def inspector(app: NodeApp) -> InspectorClient:
    return app.inspector


# --- commands


def test_a_command_is_answered(inspector: InspectorClient) -> None:
    assert inspector.call("Runtime.getHeapUsage")["usedSize"] > 1e6


def test_a_refusal_carries_nodes_words_and_code(inspector: InspectorClient) -> None:
    with pytest.raises(InspectorCommandError, match=r"Foo\.bar was refused by Node: .*wasn't found") as error:
        inspector.call("Foo.bar")
    assert error.value.code == -32601


def test_commands_from_many_threads_do_not_mix(inspector: InspectorClient) -> None:
    wrong: list[object] = []

    def ask(number: int) -> None:
        for i in range(50):
            if inspector.evaluate(f"{number} * 1000 + {i}") != number * 1000 + i:
                wrong.append((number, i))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_a_submitted_command_is_answered_later(inspector: InspectorClient) -> None:
    slow = inspector.submit(
        "Runtime.evaluate", {"expression": "new Promise(r => { globalThis.finish = r })", "awaitPromise": True}
    )
    assert inspector.evaluate("typeof finish") == "function"
    assert not slow.done()
    inspector.evaluate("finish()")
    assert slow.result(60)["result"]["type"] == "undefined"


def test_a_cancelled_command_is_forgotten(inspector: InspectorClient) -> None:
    slow = inspector.submit(
        "Runtime.evaluate", {"expression": "new Promise(r => setTimeout(r, 50))", "awaitPromise": True}
    )
    assert slow.cancel()
    assert inspector.evaluate("new Promise(r => setTimeout(r, 100, 7))", await_promise=True) == 7


def test_a_command_that_is_not_answered_ends_at_its_deadline(inspector: InspectorClient) -> None:
    began = time.monotonic()
    with pytest.raises(InspectorTimeout, match=r"Runtime\.evaluate was not answered within 0\.2 s"):
        inspector.evaluate("new Promise(() => {})", await_promise=True, timeout_s=0.2)
    assert time.monotonic() - began < 25
    assert inspector.evaluate("'still here'") == "still here"


def test_a_stopped_process_meets_the_deadline_and_may_go_on(app: NodeApp, inspector: InspectorClient) -> None:
    os.kill(app.pid, signal.SIGSTOP)
    try:
        with pytest.raises(InspectorTimeout):
            inspector.call("Runtime.getHeapUsage", timeout_s=0.2)
    finally:
        os.kill(app.pid, signal.SIGCONT)
    assert inspector.call("Runtime.getHeapUsage")["usedSize"] > 0


def test_a_busy_event_loop_is_interrupted(inspector: InspectorClient) -> None:
    busy = "state = 'busy'; const end = Date.now() + 6e4; while (state === 'busy' && Date.now() < end); state = 'over'"
    inspector.evaluate(f"globalThis.state = 'before'; setTimeout(() => {{ {busy} }}); 0")
    assert wait_until(lambda: inspector.evaluate("state") == "busy")
    assert inspector.call("Runtime.getHeapUsage")["usedSize"] > 0
    assert inspector.evaluate("state") == "busy"
    inspector.evaluate("state = 'enough'; 0")
    assert wait_until(lambda: inspector.evaluate("state") == "over")


# --- values


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1.5", 1.5),
        ("undefined", None),
        ("null", None),
        ("({a: [1, 'x', null, true]})", {"a": [1, "x", None, True]}),
        ("'snow \\u2603 \\ud800'", "snow ☃ \ud800"),
        ("12345678901234567890n", 12345678901234567890),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
        ("require('path').sep", "/"),
        ("'x'.repeat(5e6).length", 5_000_000),
    ],
)
def test_values_become_python_data(inspector: InspectorClient, expression: str, value: object) -> None:
    assert inspector.evaluate(expression) == value


def test_not_a_number_and_negative_zero_survive(inspector: InspectorClient) -> None:
    assert math.isnan(inspector.evaluate("NaN"))
    assert math.copysign(1, inspector.evaluate("-0")) == -1


def test_a_value_of_many_megabytes_arrives(inspector: InspectorClient) -> None:
    assert inspector.evaluate("'x'.repeat(3e7)") == "x" * 30_000_000


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("throw new TypeError('no such order')", "TypeError: no such order"),
        ("throw 'a string'", "a string"),
        ("throw undefined", "threw while evaluating"),
        ("(() => {", "SyntaxError"),
        ("Promise.reject(new Error('later'))", "Error: later"),
    ],
)
def test_an_exception_in_the_app_carries_its_message(inspector: InspectorClient, expression: str, said: str) -> None:
    with pytest.raises(InspectorCommandError) as error:
        inspector.evaluate(expression, await_promise=True)
    assert said in error.value.message


def test_require_works_in_an_es_module(start_app: StartApp) -> None:
    app = start_app("hello.mjs")
    assert app.evaluate("typeof require('v8').getHeapStatistics().used_heap_size") == "number"


# --- events


def test_a_snapshot_streams_through_a_callback(inspector: InspectorClient) -> None:
    sizes: list[int] = []
    unsubscribe = inspector.on("HeapProfiler.addHeapSnapshotChunk", lambda params: sizes.append(len(params["chunk"])))
    inspector.call("HeapProfiler.takeHeapSnapshot", {"reportProgress": False}, timeout_s=60)
    total = sum(sizes)
    assert total > 1e6
    unsubscribe()
    unsubscribe()
    inspector.call("HeapProfiler.takeHeapSnapshot", {"reportProgress": False}, timeout_s=60)
    assert sum(sizes) == total


def test_a_callback_may_submit_but_not_wait(inspector: InspectorClient) -> None:
    seen: list[object] = []

    def called(params: dict[str, object]) -> None:
        seen.append(params["payload"])
        inspector.submit("Runtime.evaluate", {"expression": "globalThis.fromCallback = 1"})
        try:
            inspector.call("Runtime.getHeapUsage")
        except RuntimeError as error:
            seen.append(str(error))

    inspector.on("Runtime.bindingCalled", called)
    inspector.call("Runtime.addBinding", {"name": "tell"})
    inspector.evaluate("tell('hi')")
    assert wait_until(lambda: len(seen) == 2)
    assert seen[0] == "hi"
    assert "would wait for itself" in str(seen[1])
    assert wait_until(lambda: inspector.evaluate("globalThis.fromCallback") == 1)


def test_a_failing_callback_is_reported_and_the_reading_goes_on(
    inspector: InspectorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[type[BaseException] | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_type))

    def fail(_: object) -> None:
        raise ZeroDivisionError

    inspector.on("Runtime.bindingCalled", fail)
    inspector.call("Runtime.addBinding", {"name": "tell"})
    inspector.evaluate("tell('hi')")
    assert inspector.evaluate("1") == 1
    assert reported == [ZeroDivisionError]


def test_logged_objects_are_not_kept_twice(inspector: InspectorClient) -> None:
    """Nothing this client does turns the Runtime domain on: it would announce each console call."""
    seen: list[object] = []
    inspector.on("Runtime.consoleAPICalled", seen.append)
    inspector.evaluate("console.log({}); 0")
    inspector.call("Runtime.discardConsoleEntries")
    assert seen == []


# --- workers


def test_worker_threads_are_sessions_of_their_own(start_app: StartApp) -> None:
    inspector = start_app("threads.js").inspector
    workers = inspector.workers()
    assert sorted(worker.evaluate("depth") for worker in workers) == [0, 1, 2]
    assert all(worker.call("Runtime.getHeapUsage")["usedSize"] > 0 for worker in workers)
    assert inspector.workers() == workers
    with pytest.raises(InspectorCommandError, match="no"):
        workers[0].evaluate("throw new Error('no')")


def test_a_worker_streams_its_snapshot(start_app: StartApp) -> None:
    worker = start_app("threads.js").inspector.workers()[0]
    sizes: list[int] = []
    worker.on("HeapProfiler.addHeapSnapshotChunk", lambda params: sizes.append(len(params["chunk"])))
    worker.call("HeapProfiler.takeHeapSnapshot", {"reportProgress": False}, timeout_s=60)
    assert sum(sizes) > 5e5


def test_the_end_of_a_worker_ends_its_commands_and_not_the_app(start_app: StartApp) -> None:
    app = start_app("threads.js")
    workers = app.inspector.workers()
    [first] = [worker for worker in workers if worker.evaluate("depth") == 1]
    waiting = first.submit("Runtime.evaluate", {"expression": "new Promise(() => {})", "awaitPromise": True})
    assert app.client.get("/end").status_code == 200  # terminate() is not held up by our session
    with pytest.raises(InspectorError, match=r"has ended|context was destroyed"):
        waiting.result(60)
    assert wait_until(lambda: first.closed)
    with pytest.raises(InspectorClosed):
        first.evaluate("1")
    assert len(app.inspector.workers()) == 2
    assert app.evaluate("1") == 1


# --- the end


def test_a_closed_client_refuses_commands_and_ends_waiting_ones(inspector: InspectorClient) -> None:
    waiting = inspector.submit("Runtime.evaluate", {"expression": "new Promise(() => {})", "awaitPromise": True})
    with inspector:
        pass
    assert inspector.closed
    with pytest.raises(InspectorClosed, match="closed by this side"):
        waiting.result(60)
    with pytest.raises(InspectorClosed, match="closed by this side"):
        inspector.evaluate("1")
    inspector.close()


def test_two_clients_do_not_disturb_each_other(inspector: InspectorClient) -> None:
    with InspectorClient.connect(inspector.url) as other:
        assert other.evaluate("1") == 1
    assert inspector.evaluate("2") == 2


def test_a_farewell_that_takes_too_long_does_not_hold_up_the_app(app: NodeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_memory.cdp.client.FAREWELL_TIMEOUT_S", 0.2)
    ended: list[str] = []

    def linger() -> None:
        try:
            app.inspector_of(app.pid)._connection.call(  # the connection itself: the handle would reconnect
                "Runtime.evaluate", {"expression": "new Promise(() => {})", "awaitPromise": True}, "", 30
            )
        except InspectorClosed:
            ended.append("cut off")

    app.inspector.on_exit(linger)
    app.client.get("/exit/4")
    assert app.wait(60) == 4
    assert wait_until(lambda: ended == ["cut off"])


def test_a_process_that_began_to_exit_while_we_connected_is_not_a_client_that_never_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Node 20 and older hold the exit up for a client that was never told of it; newer ones close the connection."""
    exits = "process.on('SIGTERM', () => process.exit(5)); setInterval(() => {}, 1000); console.log('ready')"
    command = [node_under_test(), "--inspect=127.0.0.1:0", "-e", exits]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        errors = process.stderr
        assert errors is not None
        url = errors.readline().split()[-1]
        assert process.stdout.readline() == "ready\n"
        open_transport = TextTransport.open

        def open_and_begin_to_exit(ws_url: str, *, timeout_s: float) -> TextTransport:
            transport = open_transport(ws_url, timeout_s=timeout_s)
            process.terminate()
            assert wait_until(lambda: process.poll() is not None or "Waiting for" in errors.readline())
            return transport

        monkeypatch.setattr(TextTransport, "open", open_and_begin_to_exit)
        try:
            with pytest.raises(InspectorClosed):
                InspectorClient.connect(url)
            assert process.wait(60) == 5
        finally:
            process.kill()


# --- what is not an inspector


@contextmanager
def serve_once(answer: bytes) -> Iterator[int]:
    """A server that reads a request, answers these bytes and hangs up; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(60)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "127.0.0.1:9229", "ws://", "ws://[::1", "ws://h:99999/x"])
def test_an_address_that_is_none_is_shown(url: str) -> None:
    with pytest.raises(InspectorError, match="expected ws://HOST:PORT/UUID") as error:
        InspectorClient.connect(url)
    assert repr(url) in error.value.message


def test_nobody_listening_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(InspectorError) as error:
        InspectorClient.connect(f"ws://127.0.0.1:{port}/x", timeout_s=30)
    assert error.value.slug == "inspector-unreachable"
    with pytest.raises(InspectorError) as error:
        fetch_inspector_urls("127.0.0.1", port, timeout_s=30)
    assert error.value.slug == "inspector-unreachable"


def test_a_wrong_uuid_is_refused(inspector: InspectorClient) -> None:
    with pytest.raises(InspectorError) as error:
        InspectorClient.connect(inspector.url[:-4] + "0000")
    assert error.value.slug == "inspector-refused"


def test_a_hidden_list_is_refused_with_a_hint(inspector: InspectorClient) -> None:
    port = int(inspector.url.split(":")[2].split("/")[0])
    with pytest.raises(InspectorError, match="HTTP status 404") as error:
        fetch_inspector_urls("127.0.0.1", port, timeout_s=30)
    assert "--inspect-publish-uid" in str(error.value.hint)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"HTTP/1.1 101 Hm\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"],
)
def test_another_server_is_refused(answer: bytes) -> None:
    with serve_once(answer) as port, pytest.raises(InspectorError) as error:
        InspectorClient.connect(f"ws://127.0.0.1:{port}/x", timeout_s=30)
    assert error.value.slug == "inspector-refused"
    with serve_once(answer) as port, pytest.raises(InspectorError) as error:
        fetch_inspector_urls("127.0.0.1", port, timeout_s=30)
    assert error.value.slug == "inspector-refused"


def test_a_silent_server_is_refused_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(InspectorError, match="timed out") as error:
            InspectorClient.connect(f"ws://127.0.0.1:{server.getsockname()[1]}/x", timeout_s=0.3)
    assert error.value.slug == "inspector-refused"
