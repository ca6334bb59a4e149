"""Where a measurement was made: each field against what the system says of itself another way."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from pytest_memory import environment


def said_by(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="compares with what Linux's own commands say")
def test_each_field_is_what_the_system_says() -> None:
    described = environment.describe(node_version="v20.1.0", v8_version="11.3", worker_count=3)
    assert described.os == said_by("uname", "-sr")
    assert described.arch == said_by("uname", "-m")
    assert described.cpu_count == os.cpu_count()
    cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    assert described.cpu
    assert described.cpu in cpus or "model name" not in cpus
    assert described.memory_bytes == psutil.virtual_memory().total
    assert f"Python {described.python_version}" == said_by(sys.executable, "--version")
    assert described.plugin_version == metadata.version("pytest-memory")
    assert described.pytest_version == pytest.__version__
    assert (described.node_version, described.v8_version, described.worker_count) == ("v20.1.0", "11.3", 3)


def test_the_commit_is_the_checkouts_and_none_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    elsewhere, checkout = tmp_path / "elsewhere", tmp_path / "checkout"
    elsewhere.mkdir()
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    said_by("git", "init", "-q", str(checkout))
    said_by("git", "-C", str(checkout), *author, "commit", "-q", "--allow-empty", "-m", "one")
    monkeypatch.chdir(elsewhere)
    assert environment.describe().commit == ""
    monkeypatch.chdir(checkout)
    assert environment.describe().commit == said_by("git", "rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("variables", "service"),
    [
        ({}, ""),
        ({"CI": "true"}, "ci"),
        ({"CI": "true", "GITHUB_ACTIONS": "true"}, "github"),
        ({"GITLAB_CI": "1"}, "gitlab"),
    ],
)
def test_the_service_that_runs_the_tests_is_named(
    variables: dict[str, str], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, _ in environment._CI_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment.describe().ci == service
