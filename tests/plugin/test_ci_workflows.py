"""The workflows in docs/ci are valid, name only what exists, and their commands run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_memory import spec

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted((ROOT / "docs" / "ci").glob("*.yml"))
PAGES = [ROOT / "docs" / name for name in ("ci.md", "baseline.md")]
FLAGS = {option.pytest_flag for option in spec.OPTIONS}


def steps(name: str) -> Iterator[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "docs" / "ci" / name).read_text(encoding="utf-8"))
    for job in document["jobs"].values():
        yield from job["steps"]


def script(name: str, words: str) -> str:
    """The ``run`` of the step whose name has these words."""
    (found,) = [step["run"] for step in steps(name) if words in step.get("name", "")]
    return str(found)


def gitlab_script() -> str:
    job = yaml.safe_load((ROOT / "docs" / "ci" / "gitlab-ci.yml").read_text(encoding="utf-8"))["memory"]
    return "set -e\n" + "\n".join([*job["script"], *job["after_script"]])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_valid_yaml_with_what_its_service_needs(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name.startswith("github"):
        # YAML 1.1 reads the key `on` as true.
        assert {"name", True, "permissions", "jobs"} <= set(document)
        for step in steps(path.name):
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/checkout@v4"))
    else:
        assert {"image", "script", "cache", "artifacts", "rules"} <= set(document["memory"])


@pytest.mark.parametrize("path", [*WORKFLOWS, *PAGES], ids=lambda path: path.name)
def test_every_option_named_exists(path: Path) -> None:
    named = set(re.findall(r"--memory-[a-z-]+", path.read_text(encoding="utf-8")))
    assert named <= FLAGS


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_line_named_parses(path: Path) -> None:
    from pytest_memory.cli import arguments

    lines = re.findall(r"^pytest-memory (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    for line in lines:
        arguments.build_parser().parse_args(shlex.split(line))


def git(directory: Path, *words: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *words], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, node_binary: str) -> Path:
    """A shallow checkout of a pull request's branch, as CI services make it."""
    origin = tmp_path / "origin"
    tests = origin / "tests" / "memory"
    tests.mkdir(parents=True)
    (origin / "server.js").write_text((ROOT / "tests" / "apps" / "grower.js").read_text(encoding="utf-8"))
    (origin / "pytest.ini").write_text(
        f"[pytest]\nmemory_app = {origin.parent}/work/server.js\nmemory_node = {node_binary}\n"
    )
    (tests / "test_grows.py").write_text(
        "def test_it(node_app, memory_monitor):\n    node_app.client.get('/grow', params={'bytes': 100_000})\n"
    )
    git(origin, "init")
    git(origin, "add", ".")
    git(origin, "commit", "-m", "base")
    git(origin, "checkout", "-b", "feature")
    git(tmp_path, "clone", "--depth=1", "--branch=feature", f"file://{origin}", "work")
    return tmp_path / "work"


def run_script(text: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", text],
        cwd=directory,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTEST_ADDOPTS": "-p no:randomly -p no:cacheprovider",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def set_baseline(origin: Path, checkout: Path) -> None:
    """Give the base branch the baseline that was just measured in the checkout."""
    git(origin, "checkout", "main")
    (origin / "memory-baseline.json").write_bytes((checkout / "memory-baseline.json").read_bytes())
    git(origin, "add", "memory-baseline.json")
    git(origin, "commit", "-m", "baseline")
    (checkout / "memory-baseline.json").unlink()


@pytest.mark.node
def test_the_commands_of_both_services_run_and_find_a_breach(checkout: Path, tmp_path: Path) -> None:
    measured = run_script(script("github-baseline.yml", "three times"), checkout)
    assert measured.returncode == 0, measured.stdout + measured.stderr
    set_baseline(tmp_path / "origin", checkout)
    summary = tmp_path / "summary.md"
    github = {"GITHUB_ACTIONS": "true", "GITHUB_BASE_REF": "main", "GITHUB_STEP_SUMMARY": str(summary)}
    pull_request = script("github-actions.yml", "base branch's baseline")

    fine = run_script(pull_request, checkout, **github)
    assert fine.returncode == 0, fine.stdout + fine.stderr
    assert summary.read_text(encoding="utf-8")
    kept = {path.name for path in (checkout / "memory-results").iterdir()}
    assert {"results.json", "report.html", "junit.xml"} <= kept

    test = checkout / "tests" / "memory" / "test_grows.py"
    test.write_text(test.read_text().replace("100_000", "3_000_000"))
    breached = run_script(pull_request, checkout, **github)
    assert breached.returncode == 1, breached.stdout + breached.stderr
    assert "::error" in breached.stdout
    assert 'failures="1"' in (checkout / "memory-results" / "junit.xml").read_text(encoding="utf-8")

    gitlab = run_script(gitlab_script(), checkout, BASE="main", CI_JOB_STATUS="failed", GITHUB_ACTIONS="")
    assert gitlab.returncode == 1, gitlab.stdout + gitlab.stderr


def test_compiled_kernels_are_kept_and_found_again(tmp_path: Path) -> None:
    document = yaml.safe_load((ROOT / "docs" / "ci" / "github-actions.yml").read_text(encoding="utf-8"))
    variable = document["jobs"]["memory"]["env"]["NUMBA_CACHE_DIR"]
    assert variable.endswith("/.cache/numba")
    assert any(step.get("with", {}).get("path") == ".cache/numba" for step in steps("github-actions.yml"))
    compile_them = script("github-actions.yml", "Compile the kernels")
    job = yaml.safe_load((ROOT / "docs" / "ci" / "gitlab-ci.yml").read_text(encoding="utf-8"))["memory"]
    assert compile_them.strip() in job["before_script"]

    output = tmp_path / "output"
    named = run_script(script("github-actions.yml", "Name the versions"), tmp_path, GITHUB_OUTPUT=str(output))
    assert named.returncode == 0, named.stderr
    assert re.fullmatch(r"key=[0-9a-f]{16}\n", output.read_text())

    def compiled() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nbc")}

    for _ in range(2):
        before = compiled() if (tmp_path / "cache").exists() else {}
        done = run_script(compile_them, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
        assert done.returncode == 0, done.stderr
    assert before
    assert compiled() == before


@pytest.mark.node
def test_the_first_push_without_a_baseline_passes(checkout: Path) -> None:
    first = run_script(script("github-actions.yml", "their own baseline"), checkout, GITHUB_ACTIONS="")
    assert first.returncode == 0, first.stdout + first.stderr
