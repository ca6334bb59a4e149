"""The ends of pytest that run no fixture: the app must not outlive them.

Each test runs a Python of its own that starts an app, reports its pids and then ends, or is ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.apps import APPS, is_gone, leftovers, marked_processes, wait_until

from pytest_memory.node import launch
from pytest_memory.node.process import NodeApp
from pytest_memory.node.spec import AppSpec

pytestmark = pytest.mark.node

REPOSITORY = Path(__file__).parent.parent.parent

PROLOGUE = """
import json, os, signal, sys, threading, time
from pytest_memory.node.process import NodeApp
from pytest_memory.node.spec import AppSpec
# Ctrl-C works here even where the tests themselves run in the background of a shell, which turns it off; nohup does
# that to the end of a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
def report(app, **more):
    pids = app.client.get("/").json() | {"app": app.pid} | more
    print(json.dumps(pids), flush=True)
spec = AppSpec(command=sys.argv[1], cwd=sys.argv[2], node=sys.argv[3])
"""


@pytest.fixture
def run_starter(node: str, private_tmp: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run the prologue and some more code; afterwards nothing may be left of it."""
    starters: list[subprocess.Popen[str]] = []

    def run(code: str, app: str = "family.js") -> subprocess.Popen[str]:
        starter = subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + textwrap.dedent(code), app, str(APPS), node],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        starters.append(starter)
        return starter

    yield run
    for starter in starters:
        starter.kill()
        starter.communicate()
    assert wait_until(lambda: not marked_processes(str(private_tmp)) and not leftovers(private_tmp))
    assert wait_until(lambda: not guardians(private_tmp))


def guardians(private_tmp: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if any(word.startswith(str(private_tmp)) for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def read_pids(starter: subprocess.Popen[str]) -> dict[str, int]:
    assert starter.stdout is not None
    line = starter.stdout.readline()
    if not line:
        pytest.fail(f"the starter said nothing: {starter.communicate()[1]}")
    return dict(json.loads(line))


def all_gone(pids: dict[str, int]) -> bool:
    return wait_until(lambda: all(is_gone(pid) for pid in pids.values()))


RunStarter = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_killed_starter_leaves_nothing(run_starter: RunStarter, number: signal.Signals) -> None:
    starter = run_starter("app = NodeApp.start(spec); app.evaluate('1'); report(app); time.sleep(300)")
    pids = read_pids(starter)
    starter.send_signal(number)
    assert all_gone(pids)


def test_os_exit_leaves_nothing(run_starter: RunStarter) -> None:
    pids = read_pids(run_starter("app = NodeApp.start(spec); report(app); os._exit(0)"))
    assert all_gone(pids)


def test_an_app_nobody_stopped_goes_with_the_interpreter(run_starter: RunStarter) -> None:
    starter = run_starter("app = NodeApp.start(spec); report(app)")
    pids = read_pids(starter)
    assert starter.wait(120) == 0
    assert all_gone(pids)


def test_an_app_that_ignores_sigterm_goes_too(run_starter: RunStarter) -> None:
    code = "app = NodeApp.start(spec); print(json.dumps({'app': app.pid}), flush=True); time.sleep(300)"
    starter = run_starter(code, app="stubborn.js")
    pids = read_pids(starter)
    starter.kill()
    assert all_gone(pids)


def test_a_forked_child_that_holds_the_pipe_does_not_keep_the_app(run_starter: RunStarter) -> None:
    starter = run_starter(
        """
        app = NodeApp.start(spec)
        child = os.fork()
        if child == 0:
            time.sleep(300)
            os._exit(0)
        report(app, holder=child)
        time.sleep(300)
        """
    )
    pids = read_pids(starter)
    holder = pids.pop("holder")
    starter.kill()
    try:
        assert all_gone(pids)
    finally:
        os.kill(holder, signal.SIGKILL)


def test_an_app_started_by_a_thread_outlives_the_thread(run_starter: RunStarter) -> None:
    starter = run_starter(
        """
        apps = []
        thread = threading.Thread(target=lambda: apps.append(NodeApp.start(spec)))
        thread.start(); thread.join()
        time.sleep(0.3)
        with apps[0] as app:
            app.check()
            report(app)
        """
    )
    assert all_gone(read_pids(starter))
    assert starter.wait(120) == 0


def test_ctrl_c_in_the_middle_of_the_start_leaves_nothing(run_starter: RunStarter) -> None:
    starter = run_starter(
        """
        threading.Timer(1.0, os.kill, [os.getpid(), signal.SIGINT]).start()
        try:
            NodeApp.start(spec)
        except KeyboardInterrupt:
            print(json.dumps({}), flush=True)
        """,
        app="never-ready.js",
    )
    assert read_pids(starter) == {}
    assert starter.wait(120) == 0


def test_a_second_ctrl_c_during_the_stop_leaves_nothing(run_starter: RunStarter) -> None:
    starter = run_starter(
        """
        app = NodeApp.start(spec)
        threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
        try:
            app.stop()
        except KeyboardInterrupt:
            print(json.dumps({"app": app.pid}), flush=True)
        """,
        app="stubborn.js",
    )
    assert all_gone(read_pids(starter))
    assert starter.wait(120) == 0


def test_a_stopped_app_leaves_no_guardian(run_starter: RunStarter, private_tmp: Path) -> None:
    starter = run_starter("app = NodeApp.start(spec); report(app); app.stop(); print('stopped', flush=True); input()")
    read_pids(starter)
    assert starter.stdout is not None
    assert starter.stdout.readline() == "stopped\n"
    assert guardians(private_tmp) == []


def test_an_interruption_between_fork_and_bookkeeping_leaves_nothing(
    make_spec: Callable[..., AppSpec], private_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "ProcessTree", interrupt)
    with pytest.raises(KeyboardInterrupt):
        NodeApp.start(make_spec("stubborn.js"))
    assert marked_processes(str(private_tmp)) == []
    assert leftovers(private_tmp) == []
