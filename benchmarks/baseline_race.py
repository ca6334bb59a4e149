"""Two pytest processes that update one baseline at the same moment, and one that is killed while it does.

    python benchmarks/baseline_race.py --runs 50 --kills 20

Each run starts two pytest processes, each with a test of its own that measures a real Node app, and holds both at
the end of their sessions until the other has got there, so that they update the file together.  Nothing may be
lost: not the other's entry, and none of the runs before.  Each kill starts one such process and kills it within
some milliseconds of the moment it begins to update; the file must be whole, with every earlier entry, and the next
update must not be held up.  Exit status 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from pytest_memory import baseline_file

BARRIER_TIMEOUT_S = 120.0
RUN_TIMEOUT_S = 180.0
LONGEST_KILL_DELAY_S = 0.025  # reading, changing, writing and syncing a small file takes some milliseconds

SERVER = "require('node:http').createServer((_, r) => r.end('ok')).listen(Number(process.env.PORT), '127.0.0.1');\n"
TEST = """\
import os, pytest

@pytest.mark.parametrize("number", [os.environ["NUMBER"]])
def test_it(node_app, memory_monitor, number):
    node_app.client.get("/")
"""
# Says that it has got to the end of its session, and waits for leave to go on.
CONFTEST = """\
import os, pathlib, time, pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    pathlib.Path(os.environ["HERE"]).touch()
    leave, deadline = pathlib.Path(os.environ["LEAVE"]), time.monotonic() + 120
    while not leave.exists() and time.monotonic() < deadline:
        time.sleep(0.0005)
    return (yield)
"""


class Project:
    """A directory with an app, two test files and one baseline."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.baseline = directory / "baseline.json"
        (directory / "server.js").write_text(SERVER)
        (directory / "pytest.ini").write_text("[pytest]\nmemory_app = server.js\naddopts = -q -p no:cacheprovider\n")
        (directory / "conftest.py").write_text(CONFTEST)
        for name in ("a", "b"):
            (directory / f"test_{name}.py").write_text(TEST)

    def entries(self) -> set[str]:
        return set(baseline_file.load(self.baseline).entries)

    def start(self, name: str, number: int) -> subprocess.Popen[bytes]:
        """A pytest process that measures one test, then waits for `let_go`."""
        environment = {"NUMBER": str(number), "HERE": str(self._here(name)), "LEAVE": str(self._leave)}
        options = ["--memory-baseline=baseline.json", "--memory-baseline-update"]
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", f"test_{name}.py", *options],
            cwd=self.directory,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def let_go(self, names: str) -> None:
        """Let every process go on at once, when all have got there."""
        deadline = time.monotonic() + BARRIER_TIMEOUT_S
        while not all(self._here(name).exists() for name in names):
            if time.monotonic() > deadline:
                raise SystemExit(f"a pytest process did not get to its end within {BARRIER_TIMEOUT_S:g} s")
            time.sleep(0.01)
        self._leave.touch()

    def clear(self) -> None:
        for file in (self._leave, self._here("a"), self._here("b")):
            file.unlink(missing_ok=True)

    @property
    def _leave(self) -> Path:
        return self.directory / "leave"

    def _here(self, name: str) -> Path:
        return self.directory / f"here-{name}"


def test_id(name: str, number: int) -> str:
    return f"test_{name}.py::test_it[{number}]"


def race(project: Project, number: int) -> bool:
    """Two at once; whether both entries are there and none is lost."""
    expected = project.entries() | {test_id("a", number), test_id("b", number)}
    processes = [project.start(name, number) for name in ("a", "b")]
    project.let_go("ab")
    ended_well = [process.wait(RUN_TIMEOUT_S) for process in processes] == [0, 0]
    project.clear()
    return ended_well and project.entries() == expected


def kill(project: Project, number: int, delay_s: float) -> str:
    """One killed ``delay_s`` after it began to update: "before" or "after" the new file stood, or "lost"."""
    before = project.entries()
    process = project.start("a", number)
    project.let_go("a")
    time.sleep(delay_s)
    process.kill()
    process.wait(RUN_TIMEOUT_S)
    project.clear()
    after = project.entries()  # raises when the file is not whole
    if not before <= after <= before | {test_id("a", number)}:
        return "lost"
    return "before" if after == before else "after"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=50, help="updates of two at once (default 50)")
    parser.add_argument("--kills", type=int, default=20, help="processes killed while they update (default 20)")
    arguments = parser.parse_args()
    delays = random.Random(5)
    kills: Counter[str] = Counter()
    whole = 0
    with tempfile.TemporaryDirectory(prefix="baseline-race-") as directory:
        project = Project(Path(directory))
        for number in range(arguments.runs):
            whole += race(project, number)
        for number in range(arguments.kills):
            kills[kill(project, arguments.runs + number, delays.uniform(0, LONGEST_KILL_DELAY_S))] += 1
        unlocked = not arguments.kills or race(project, arguments.runs + arguments.kills)
    print(f"two updates at once: nothing lost in {whole} of {arguments.runs}")
    print(
        f"killed while updating: the file was whole in {kills['before'] + kills['after']} of {arguments.kills} "
        f"({kills['before']} before the new one stood, {kills['after']} after); "
        f"the next update {'was not held up' if unlocked else 'WAS HELD UP'}"
    )
    return 0 if whole == arguments.runs and not kills["lost"] and unlocked else 1


if __name__ == "__main__":
    sys.exit(main())
