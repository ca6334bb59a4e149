"""Where a measurement is made: Node, V8, OS, CPU, commit.  Floor 5: asks the system, decides nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata

from pytest_memory.model import Environment

_GIT_TIMEOUT_S = 5.0
# Services that run tests and say so in the environment, most specific first.
_CI_VARIABLES = (
    ("GITHUB_ACTIONS", "github"),
    ("GITLAB_CI", "gitlab"),
    ("BUILDKITE", "buildkite"),
    ("CIRCLECI", "circleci"),
    ("JENKINS_URL", "jenkins"),
    ("TF_BUILD", "azure"),
    ("CI", "ci"),
)


def describe(*, node_version: str = "", v8_version: str = "", worker_count: int = 0) -> Environment:
    """This machine, this Python, and the Node it is told of.  What cannot be found out is left empty."""
    return Environment(
        node_version=node_version,
        v8_version=v8_version,
        os=f"{platform.system()} {platform.release()}",
        arch=platform.machine(),
        cpu=_cpu_model(),
        cpu_count=os.cpu_count() or 0,
        memory_bytes=_memory_bytes(),
        python_version=platform.python_version(),
        plugin_version=_version("pytest-memory"),
        pytest_version=_version("pytest"),
        worker_count=worker_count,
        commit=_commit(os.getcwd()),
        ci=next((name for variable, name in _CI_VARIABLES if os.environ.get(variable)), ""),
    )


@cache
def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


@cache
def _cpu_model() -> str:
    if sys.platform == "linux":
        try:
            with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
                for line in file:
                    if line.startswith("model name"):
                        return line.partition(":")[2].strip()
        except OSError:
            pass  # a container without /proc: the architecture has to do
    return platform.processor() or platform.machine()


@cache
def _memory_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


@cache
def _commit(directory: str) -> str:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
