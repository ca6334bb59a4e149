"""pnpm and yarn themselves, installed from the registry: the app is found behind each.  npm is everywhere else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

import pytest
from support.apps import APPS

from pytest_memory.node.process import NodeApp

pytestmark = [pytest.mark.node, pytest.mark.npm]

PACKAGES = ["pnpm@9", "yarn@1"]  # run on every Node tested here


@pytest.fixture(scope="session")
def managers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory their commands are in."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    directory = tmp_path_factory.mktemp("managers")
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(directory), *PACKAGES]
    installed = subprocess.run(install, capture_output=True, text=True, timeout=300)
    if installed.returncode != 0:
        pytest.skip(f"npm could not install {' and '.join(PACKAGES)}: {installed.stderr[-300:]}")
    return str(directory / "node_modules" / ".bin")


@pytest.mark.parametrize("command", ["pnpm start", "pnpm run chained", "yarn start", "yarn run chained"])
def test_the_app_is_found_behind_a_package_manager(
    start_app: Callable[..., NodeApp], managers: str, node: str, command: str
) -> None:
    path = os.pathsep.join([managers, os.path.dirname(node), os.environ["PATH"]])
    app = start_app(command, cwd=str(APPS / "npm-app"), ready="/", env={"PATH": path})
    assert app.evaluate("process.pid") == app.pid
    assert app.evaluate("process.argv[1]").endswith("server.js")
    assert app.client.get("/").status_code == 200
    assert {record.role for record in app.processes} == {"app", "wrapper"}
