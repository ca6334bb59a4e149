"""What is asked of the operating system, of real processes and sockets."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from pytest_memory.node.discover import is_node_process


@pytest.mark.parametrize(
    ("name", "runs_node"),
    [
        ("node", True),
        ("nodejs", True),
        ("node-22", True),
        ("node20", True),
        ("nodejs-18", True),
        ("nodemon", False),
        ("node-gyp", False),
    ],
)
def test_node_is_known_by_the_names_distributions_give_it(tmp_path: Path, name: str, runs_node: bool) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    shutil.copy(sleep, tmp_path / name)
    with subprocess.Popen(["sleep", "300"], executable=tmp_path / name) as popen:
        try:
            assert is_node_process(psutil.Process(popen.pid)) == runs_node
        finally:
            popen.kill()
