"""--memory-baseline and its companions, with a real app: first run, update, breach, partial runs, bad files."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

pytestmark = pytest.mark.node

GROWS = """
    import pathlib, pytest

    def grow(node_app):
        node_app.client.get("/grow", params={"bytes": int(pathlib.Path("size.txt").read_text())})

    def test_one(node_app, memory_monitor):
        grow(node_app)

    def test_two(node_app, memory_monitor):
        grow(node_app)
"""
BASELINE = "--memory-baseline=baseline.json"
UPDATE = "--memory-baseline-update"


@pytest.fixture(scope="module")
def measured() -> dict[str, bytes]:
    """The baseline that the first test to need it measures; the others get a copy."""
    return {}


@pytest.fixture
def growing(project: Any, measured: dict[str, bytes]) -> Any:
    """A project whose two tests keep as many bytes as size.txt says, with a baseline of four million."""
    project.test(GROWS)
    keep(project, 4_000_000)
    if not measured:
        project.run(BASELINE, UPDATE).assert_outcomes(passed=2)
        measured["baseline.json"] = (project.path / "baseline.json").read_bytes()
    (project.path / "baseline.json").write_bytes(measured["baseline.json"])
    return project


def keep(project: Any, size: int) -> None:
    (project.path / "size.txt").write_text(str(size))


def entries(project: Any) -> dict[str, Any]:
    found: dict[str, Any] = project.document("baseline.json")["entries"]
    return found


def heap(project: Any, name: str) -> float:
    value: float = entries(project)[f"test_memory.py::{name}"]["metrics"]["heap_bytes"]["value"]
    return value


def reasons(project: Any) -> dict[str, set[str]]:
    return {
        result["test_id"].rpartition("::")[2]: {
            check["reason"] for check in result["verdict"]["checks"] if check["metric"].startswith("baseline")
        }
        for result in project.document()["results"]
    }


def test_the_first_run_passes_without_a_file_and_writes_none(project: Any) -> None:
    project.test(GROWS)
    keep(project, 1000)
    project.run(BASELINE, "--memory-json=results.json").assert_outcomes(passed=2)
    assert not (project.path / "baseline.json").exists()
    assert reasons(project) == {"test_one": {"baseline-missing"}, "test_two": {"baseline-missing"}}


def test_the_same_code_is_within_its_baseline(growing: Any) -> None:
    growing.run(BASELINE, "--memory-json=results.json", "--memory-fail-on=warning").assert_outcomes(passed=2)
    assert reasons(growing)["test_one"] == {"baseline-within"}


def test_a_breach_fails_the_test_and_junit_says_so(growing: Any) -> None:
    """E1: what is raised anywhere but inside the test is no failure in JUnit."""
    keep(growing, 6_000_000)
    result = growing.run(BASELINE, "-k", "one", "--junit-xml=junit.xml", "--memory-json=results.json")
    result.assert_outcomes(failed=1, deselected=1)
    assert result.ret == 1
    suite = ElementTree.parse(growing.path / "junit.xml").getroot()[0]
    assert suite.attrib["failures"] == "1"
    assert suite.attrib["errors"] == "0"
    properties = {node.attrib["name"]: node.attrib["value"] for node in suite.iter("property")}
    assert properties["memory_verdict"] == "critical"
    assert "baseline-breach" in reasons(growing)["test_one"]
    assert "Traceback" not in result.stdout.str()


def test_a_known_breach_can_be_marked_xfail(growing: Any) -> None:
    """E2: the verdict is part of the call, so a strict xfail holds on a breach and fails without one."""
    marked = GROWS.replace("def test_one", "@pytest.mark.xfail(strict=True, reason='known')\n    def test_one")
    growing.test(marked)
    keep(growing, 6_000_000)
    growing.run(BASELINE, "-k", "one").assert_outcomes(xfailed=1, deselected=1)
    keep(growing, 4_000_000)
    growing.run(BASELINE, "-k", "one").assert_outcomes(failed=1, deselected=1)


def test_far_below_the_baseline_is_a_warning(growing: Any) -> None:
    keep(growing, 1000)
    result = growing.run(BASELINE, "-k", "one", "--memory-json=results.json")
    result.assert_outcomes(passed=1, deselected=1)
    assert "which no longer guards anything" in " ".join(result.stdout.str().split())
    assert "baseline-stale-low" in reasons(growing)["test_one"]
    growing.run(BASELINE, "-k", "one", "--memory-fail-on=warning").assert_outcomes(failed=1, deselected=1)


def test_a_partial_update_touches_only_what_it_ran(growing: Any) -> None:
    before = entries(growing)
    keep(growing, 6_000_000)
    growing.run(BASELINE, UPDATE, "-k", "two").assert_outcomes(passed=1, deselected=1)
    assert entries(growing)["test_memory.py::test_one"] == before["test_memory.py::test_one"]
    assert heap(growing, "test_two") - heap(growing, "test_one") == pytest.approx(2e6, rel=0.1)


def test_last_failed_and_an_empty_run_lose_nothing(growing: Any) -> None:
    before = entries(growing)
    keep(growing, 6_000_000)
    growing.pytester.runpytest_subprocess("-p", "no:randomly", BASELINE, "test_memory.py::test_one")
    for arguments in (("--lf",), ("-k", "nothing"), ("test_memory.py::test_two",)):
        growing.pytester.runpytest_subprocess(
            "-p", "no:randomly", BASELINE, UPDATE, "--memory-baseline-prune", *arguments
        )
        assert set(entries(growing)) == set(before)


def test_entries_of_deleted_tests_go_only_when_pruned(growing: Any) -> None:
    growing.test("def test_other(node_app, memory_monitor): pass", name="test_other")
    growing.run(BASELINE, UPDATE, "test_other.py").assert_outcomes(passed=1)
    (growing.path / "test_other.py").unlink()
    growing.test(GROWS.replace("test_two", "test_renamed"))
    growing.run(BASELINE, UPDATE).assert_outcomes(passed=2)
    assert len(entries(growing)) == 4
    growing.run(BASELINE, "--memory-baseline-prune", "-k", "renamed").assert_outcomes(passed=1, deselected=1)
    assert "test_memory.py::test_two" in entries(growing)  # a narrowed run does not know what else there is
    growing.run(BASELINE, "--memory-baseline-prune").assert_outcomes(passed=2)
    assert set(entries(growing)) == {"test_memory.py::test_one", "test_memory.py::test_renamed"}


def test_a_test_that_breaks_its_limit_is_not_stored(growing: Any) -> None:
    before = heap(growing, "test_one")
    keep(growing, 9_000_000)
    growing.run(BASELINE, UPDATE, "--memory-max-heap-growth=6MB").assert_outcomes(failed=2)
    assert heap(growing, "test_one") == before


def test_a_marker_sets_tolerance_and_metrics(growing: Any) -> None:
    keep(growing, 5_500_000)
    wide = GROWS.replace("def test_one", "@pytest.mark.memory_baseline('60%')\n    def test_one").replace(
        "def test_two", "@pytest.mark.memory_baseline(metrics={'rss_bytes': '90%'})\n    def test_two"
    )
    growing.test(wide)
    growing.run(BASELINE, "--memory-json=results.json").assert_outcomes(passed=2)
    two = next(one for one in growing.document()["results"] if one["test_id"].endswith("two"))
    judged = [check["metric"] for check in two["verdict"]["checks"] if check["metric"].startswith("baseline:")]
    assert judged == ["baseline:rss_bytes"]


def test_a_suite_wide_tolerance_comes_from_the_ini_file(growing: Any) -> None:
    keep(growing, 5_500_000)
    growing.run(BASELINE, "-k", "one").assert_outcomes(failed=1, deselected=1)
    growing.ini("memory_app = server.js", f"memory_node = {growing.node}", "memory_baseline_tolerance = 2MB")
    growing.run(BASELINE, "-k", "one").assert_outcomes(passed=1, deselected=1)


@pytest.mark.parametrize("marker", ["metrics=['heap']", "metrics=[]", "'10 apples'", "'10%', metrics={'rps': 'x'}"])
def test_a_wrong_marker_is_a_usage_error(growing: Any, marker: str) -> None:
    growing.test(GROWS.replace("def test_one", f"@pytest.mark.memory_baseline({marker})\n    def test_one"))
    result = growing.run(BASELINE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*memory_baseline*"])


def test_another_node_is_inconclusive_and_fails_only_when_asked(growing: Any) -> None:
    path = growing.path / "baseline.json"
    document = json.loads(path.read_text())
    for entry in document["entries"].values():
        entry["environment"]["node"] = "v12.0.0"
    path.write_text(json.dumps(document))
    result = growing.run(BASELINE, "-k", "one", "--memory-json=results.json")
    result.assert_outcomes(passed=1, deselected=1)
    assert "measured under other conditions than the baseline" in " ".join(result.stdout.str().split())
    assert reasons(growing)["test_one"] == {"baseline-not-comparable"}
    growing.run(BASELINE, "-k", "one", "--memory-fail-on=inconclusive").assert_outcomes(failed=1, deselected=1)


def test_a_pull_request_cannot_loosen_its_own_baseline(growing: Any) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=growing.path, check=True, capture_output=True)

    git("init", "-b", "main")
    git("add", "baseline.json")
    git("commit", "-m", "baseline")
    keep(growing, 6_000_000)
    growing.run(BASELINE, UPDATE, "-k", "one").assert_outcomes(passed=1, deselected=1)
    growing.run(BASELINE, "-k", "one").assert_outcomes(passed=1, deselected=1)
    growing.run(BASELINE, "-k", "one", "--memory-baseline-ref=main").assert_outcomes(failed=1, deselected=1)


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("{broken", (BASELINE,), "is no baseline of pytest-memory"),
        ("", (BASELINE, UPDATE), "it is empty"),
        ("<<<<<<< HEAD\n{}", (BASELINE,), "merge-conflict markers"),
        ('{"version": 99, "entries": {}}', (BASELINE,), "has version 99"),
        ("{}", (UPDATE,), "needs --memory-baseline=FILE"),
        ("{}", ("--memory-baseline-ref=main",), "needs --memory-baseline=FILE"),
        ("{}", (BASELINE, "--memory-baseline-ref=nowhere"), "not a git repository"),
    ],
)
def test_a_bad_baseline_is_refused_before_anything_runs(
    project: Any, text: str, arguments: tuple[str, ...], words: str
) -> None:
    project.test(GROWS)
    (project.path / "baseline.json").write_text(text)
    result = project.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in result.stderr.str()
    assert "Traceback" not in result.stderr.str() + result.stdout.str()


def test_a_baseline_that_cannot_be_written_costs_no_results(project: Any) -> None:
    project.test(GROWS)
    keep(project, 1000)
    (project.path / "file").write_text("")
    result = project.run("--memory-baseline=file/baseline.json", UPDATE, "--memory-json=results.json")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED  # an update that stored nothing must not be green
    assert len(project.document()["results"]) == 2
    result.stdout.fnmatch_lines(["*StoreError[[]store-lock[]]*file/.baseline.json.lock*"])


@pytest.mark.parametrize("quiet", [(), ("-q",), ("-qq",), ("-v",)])
def test_an_annotation_stands_at_the_start_of_a_line(
    growing: Any, monkeypatch: pytest.MonkeyPatch, quiet: tuple[str, ...]
) -> None:
    """GitHub reads a workflow command only there, and the dots of pytest end without a new line."""
    keep(growing, 6_000_000)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(growing.path / "summary.md"))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(growing.path.parent))
    result = growing.run(BASELINE, "-k", "one", *quiet)
    line = next(index for index, text in enumerate(GROWS.splitlines()[1:], 1) if "def test_one" in text)
    result.stdout.fnmatch_lines([f"::error file={growing.path.name}/test_memory.py,line={line},*tolerance*"])
    assert "❌" in (growing.path / "summary.md").read_text(encoding="utf-8")


def test_awkward_ids_are_stored_and_found(project: Any) -> None:
    names = ["a/b[c]", "ünï 日本", "x" * 300, 'quote"back\\slash']
    project.test(f"""
        import pytest

        @pytest.mark.parametrize("name", {names!r}, ids={names!r})
        def test_it(node_app, memory_monitor, name):
            pass
    """)
    project.run(BASELINE, UPDATE).assert_outcomes(passed=4)
    project.run(BASELINE, "--memory-json=results.json").assert_outcomes(passed=4)
    found = {check["reason"] for result in project.document()["results"] for check in result["verdict"]["checks"]}
    assert "baseline-missing" not in found
    assert len(entries(project)) == 4


def test_two_sessions_at_once_update_one_baseline(project: Any) -> None:
    """Two whole pytest processes, each with a test of its own, one baseline file."""
    for name in ("one", "two"):
        project.test(f"def test_{name}(node_app, memory_monitor): pass", name=f"test_{name}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", BASELINE, UPDATE]
    running = [subprocess.Popen([*command, f"test_{name}.py"], cwd=project.path) for name in ("one", "two")]
    assert [process.wait(300) for process in running] == [0, 0]
    assert set(entries(project)) == {"test_one.py::test_one", "test_two.py::test_two"}
