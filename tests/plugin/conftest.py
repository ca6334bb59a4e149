"""Projects for the plugin to test: a real Node app, test files made per test, pytest in a process of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.apps import node_under_test

from pytest_memory.errors import ConfigError

QUIET_NEIGHBOURS = ("-p", "no:randomly")  # installed for its own test; everywhere else tests run as written
APPS = Path(__file__).parent.parent / "apps"


class Project:
    """A directory with an app and its memory tests."""

    def __init__(self, pytester: pytest.Pytester, node: str) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.node = node

    def app(self, name: str = "grower.js") -> None:
        """Copy an app of tests/apps in as server.js and name it in the ini file."""
        shutil.copy(APPS / name, self.path / "server.js")
        self.ini("memory_app = server.js", f"memory_node = {self.node}")

    def ini(self, *lines: str) -> None:
        self.pytester.makeini("\n".join(["[pytest]", *lines]) + "\n")

    def test(self, source: str, name: str = "test_memory") -> None:
        self.pytester.makepyfile(**{name: source})

    def run(self, *args: str) -> pytest.RunResult:
        """Run pytest there, in a process of its own."""
        return self.pytester.runpytest_subprocess("-p", "no:cacheprovider", *QUIET_NEIGHBOURS, *args, timeout=300)

    def document(self, name: str = "results.json") -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        return document


@pytest.fixture(scope="session")
def node_binary() -> str:
    try:
        return node_under_test()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture
def bare_project(pytester: pytest.Pytester) -> Project:
    """A project without an app."""
    return Project(pytester, "node")


@pytest.fixture
def project(pytester: pytest.Pytester, node_binary: str) -> Project:
    """A project whose app is tests/apps/grower.js."""
    made = Project(pytester, node_binary)
    made.app()
    return made


@pytest.fixture
def make_project(pytester: pytest.Pytester, node_binary: str) -> Callable[[str], Project]:
    """A project whose app is the named one of tests/apps."""

    def make(app: str) -> Project:
        made = Project(pytester, node_binary)
        made.app(app)
        return made

    return make
