"""Fixtures of the tests that start a real Node.

``PYTEST_MEMORY_TEST_NODE`` names the node binary to test with; without it, the one the package itself would find.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.apps import APPS, leftovers, marked_processes, node_under_test, wait_until

from pytest_memory.errors import ConfigError
from pytest_memory.node.process import NodeApp
from pytest_memory.node.spec import AppSpec


@pytest.fixture(scope="session")
def node() -> str:
    """Path of the node binary under test."""
    try:
        return node_under_test()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def node_major(node: str) -> int:
    """20 for v20.11.1."""
    return int(subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout[1:].split(".")[0])


@pytest.fixture
def private_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of this test alone, in which started apps make theirs."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture
def make_spec(node: str) -> Callable[..., AppSpec]:
    """AppSpec for an app of tests/apps, on the node under test."""

    def make(command: object = None, **fields: object) -> AppSpec:
        if command is not None:
            fields.setdefault("cwd", str(APPS))
            fields.setdefault("node", node)
        return AppSpec(command=command, **fields)  # type: ignore[arg-type]

    return make


@pytest.fixture
def start_app(make_spec: Callable[..., AppSpec], private_tmp: Path) -> Iterator[Callable[..., NodeApp]]:
    """Start an app of tests/apps; afterwards it is stopped, and nothing of it may be left."""
    apps: list[NodeApp] = []

    def start(command: object = None, **fields: object) -> NodeApp:
        app = NodeApp.start(make_spec(command, **fields))
        apps.append(app)
        return app

    yield start
    for app in apps:
        app.stop()
    assert wait_until(lambda: not marked_processes(str(private_tmp)), 10.0), marked_processes(str(private_tmp))
    assert leftovers(private_tmp) == []


@pytest.fixture
def default_inspector_port() -> Iterator[None]:
    """Port 9229, which SIGUSR1 opens, for this test alone, whatever runs beside it."""
    with open(os.path.join(tempfile.gettempdir(), f"port-9229-{os.getuid()}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
