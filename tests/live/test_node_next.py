"""Next.js itself: installed from the registry, built, and found behind its launchers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_memory.node.process import NodeApp

pytestmark = [pytest.mark.node, pytest.mark.npm, pytest.mark.slow]

PACKAGES = ["next@15", "react@19", "react-dom@19"]


@pytest.fixture(scope="session")
def next_app(tmp_path_factory: pytest.TempPathFactory, node_major: int) -> Path:
    """A built Next.js app with one page and one API route."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    if node_major < 20:
        pytest.skip("Next.js 15's own dependencies have left Node 18")
    directory = tmp_path_factory.mktemp("next")
    (directory / "package.json").write_text(json.dumps({"private": True, "scripts": {"start": "next start"}}))
    (directory / "pages" / "api").mkdir(parents=True)
    (directory / "pages" / "index.js").write_text("export default function Page() { return <p>hello</p> }\n")
    (directory / "pages" / "api" / "pid.js").write_text("export default (_, answer) => answer.json(process.pid)\n")
    install = ["npm", "install", "--no-audit", "--no-fund", *PACKAGES]
    installed = subprocess.run(install, cwd=directory, capture_output=True, text=True, timeout=600)
    if installed.returncode != 0:
        pytest.skip(f"npm could not install Next.js: {installed.stderr[-300:]}")
    subprocess.run(["npx", "next", "build"], cwd=directory, check=True, capture_output=True, timeout=600)
    return directory


@pytest.mark.parametrize("command", ["npx next start", "npm start", "npx next start -p {port}"])
def test_the_server_is_found_behind_next_start(start_app: Callable[..., NodeApp], next_app: Path, command: str) -> None:
    app = start_app(command, cwd=str(next_app), ready="/", ready_timeout_s=120, env={"NEXT_TELEMETRY_DISABLED": "1"})
    assert app.client.get("/api/pid").json() == app.pid == app.evaluate("process.pid")
    assert {record.role for record in app.processes} == {"app", "wrapper"}


def test_the_server_is_found_behind_next_dev(start_app: Callable[..., NodeApp], next_app: Path) -> None:
    app = start_app("npx next dev", cwd=str(next_app), ready="/", ready_timeout_s=300)
    assert app.evaluate("process.argv[1]").endswith("start-server.js")
    assert app.client.get("/api/pid", timeout=120).status_code == 200
