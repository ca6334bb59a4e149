"""The end of an app whose stop is interrupted or fails, on a real Node: nothing is left, nobody is forgotten."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.apps import is_gone, leftovers, marked_processes

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.errors import InspectorError
from pytest_memory.node.process import NodeApp
from pytest_memory.node.spec import AppSpec
from pytest_memory.session import AppPool

pytestmark = pytest.mark.node


def interrupt_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C, or pytest-timeout's signal, in the middle of the next closing of an inspector connection."""
    close = InspectorClient.close
    interrupted: list[InspectorClient] = []

    def close_or_be_interrupted(client: InspectorClient) -> None:
        if not interrupted:
            interrupted.append(client)
            raise KeyboardInterrupt
        close(client)

    monkeypatch.setattr(InspectorClient, "close", close_or_be_interrupted)


def test_an_interruption_while_a_connection_is_closed_leaves_nothing(
    make_spec: Callable[..., AppSpec], private_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = NodeApp.start(make_spec("hello.js"))
    client = app.inspector
    interrupt_once(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        app.stop()
    client.close()
    assert is_gone(app.pid)
    assert marked_processes(str(private_tmp)) == []
    assert leftovers(private_tmp) == []


def test_an_app_whose_stop_fails_keeps_no_other_running(
    make_spec: Callable[..., AppSpec], private_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = AppPool()
    apps = [pool.acquire(make_spec("hello.js"), key) for key in (None, None, "shared")]
    client = apps[-1].inspector  # the newest is stopped first
    interrupt_once(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        pool.release_all()
    client.close()
    assert all(is_gone(app.pid) for app in apps)
    assert marked_processes(str(private_tmp)) == []
    assert leftovers(private_tmp) == []
    pool.release_all()


def test_an_app_whose_stop_was_interrupted_is_stopped_later(
    make_spec: Callable[..., AppSpec], private_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = AppPool()
    app = pool.acquire(make_spec("hello.js"), "shared")
    with monkeypatch.context() as patched:
        patched.setattr(NodeApp, "stop", lambda self: _raise(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            pool.release(app)
    assert app.alive
    pool.release_all()
    assert is_gone(app.pid)
    assert leftovers(private_tmp) == []


def test_a_stranger_under_the_pid_of_an_app_that_ended_is_neither_asked_nor_ended(
    make_spec: Callable[..., AppSpec], private_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = NodeApp.start(make_spec(["exits.js", "0"], ready=None))
    assert app.wait(60) == 0
    with subprocess.Popen(["sleep", "300"]) as stranger:
        try:
            monkeypatch.setattr(app._backing._popen, "pid", stranger.pid)  # type: ignore[attr-defined]
            monkeypatch.setattr(app._backing, "_app", None)
            with pytest.raises(InspectorError, match="has announced no inspector"):
                app._backing.find_inspector(stranger.pid)
            app.stop()
            assert stranger.poll() is None
        finally:
            stranger.kill()
    assert leftovers(private_tmp) == []


def _raise(error: BaseException) -> None:
    raise error
