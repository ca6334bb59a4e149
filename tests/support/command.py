"""Running the command line as a person does: a process of its own, with a deadline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGE_ROOT = Path(__file__).parents[2]
APPS = Path(__file__).parents[1] / "apps"
COMMAND = (sys.executable, "-m", "pytest_memory")


def environment(**more: str) -> dict[str, str]:
    """Ours, without what would change the tool's defaults."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COLUMNS"))}
    return {**kept, "PYTHONPATH": str(PACKAGE_ROOT), **more}


def run_command(
    *arguments: str | Path,
    cwd: Path,
    stdin: str = "",
    timeout_s: float = 120.0,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """``pytest-memory ARGUMENTS``; both outputs as text."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment(**(env or {})),
        check=False,
    )
