"""Baselines beside other plugins: pytest-xdist, rerunfailures, timeout, cov, randomly."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

pytestmark = pytest.mark.node

TESTS = """
    import pytest

    @pytest.mark.xdist_group("first")
    @pytest.mark.parametrize("size", [1_000_000, 3_000_000])
    def test_group(node_app, memory_monitor, size):
        node_app.client.get("/grow", params={"bytes": size})

    @pytest.mark.xdist_group("second")
    def test_buffers(node_app, memory_monitor, load_generator):
        node_app.client.get("/buffer", params={"bytes": 2_000_000})
        load_generator.run("/", requests=20)

    @pytest.mark.xfail(strict=True, reason="known")
    @pytest.mark.max_heap_growth("1MB")
    def test_known_leak(node_app, memory_monitor):
        node_app.client.get("/grow", params={"bytes": 3_000_000})
"""
BASELINE = "--memory-baseline=baseline.json"
UPDATE = "--memory-baseline-update"
WORKERS = {"n0": ("-n0",), "n2": ("-n2",), "loadgroup": ("-n2", "--dist=loadgroup")}


def stored(project: Any, name: str) -> dict[str, dict[str, float]]:
    document = json.loads((project.path / name).read_text())
    return {
        test_id: {metric: value["value"] for metric, value in entry["metrics"].items()}
        for test_id, entry in document["entries"].items()
    }


def test_baseline_and_results_are_the_same_with_and_without_workers(project: Any) -> None:
    """E3: what a test measured arrives, whoever ran it."""
    project.test(TESTS)
    baselines, results = {}, {}
    for name, arguments in WORKERS.items():
        run = project.run(*arguments, f"--memory-baseline={name}.json", UPDATE, f"--memory-json=r-{name}.json")
        run.assert_outcomes(passed=3, xfailed=1)
        baselines[name] = stored(project, f"{name}.json")
        results[name] = project.document(f"r-{name}.json")["results"]
    ids = [result["test_id"] for result in results["n0"]]
    assert len(ids) == 4
    for name in WORKERS:
        assert [result["test_id"] for result in results[name]] == ids
        doubtful = {
            result["test_id"].rpartition("::")[2]
            for result in results[name]
            if "shared-machine" in [note["slug"] for note in result["notes"]]
        }
        # Said of what has times in it: of the loaded test surely, of the others when V8 happened to collect.
        assert ("test_buffers" in doubtful) == (name != "n0")
        assert name != "n0" or not doubtful
        assert set(baselines[name]) == set(baselines["n0"]), name
        for test_id, metrics in baselines[name].items():
            assert set(metrics) == set(baselines["n0"][test_id])
            assert metrics["heap_bytes"] == pytest.approx(baselines["n0"][test_id]["heap_bytes"], rel=0.05)
    assert all("known_leak" not in test_id for test_id in baselines["n0"])


@pytest.mark.parametrize(
    ("node_id", "groups", "expected"),
    [
        ("t.py::test@one", {"one"}, "t.py::test"),
        ("t.py::test[a@one]@one_two", {"two", "one"}, "t.py::test[a@one]"),
        ("t.py::test[a@one]", {"one"}, "t.py::test[a@one]"),  # a pytest that hides the group
    ],
)
def test_a_group_is_no_part_of_the_id(node_id: str, groups: set[str], expected: str) -> None:
    from pytest_memory.plugin import ids

    assert ids.without_groups(node_id, groups) == expected


def test_workers_judge_against_the_baseline_too(project: Any) -> None:
    project.test(TESTS)
    project.run("-n2", BASELINE, UPDATE).assert_outcomes(passed=3, xfailed=1)
    project.run("-n2", BASELINE).assert_outcomes(passed=3, xfailed=1)
    project.test(TESTS.replace("2_000_000", "9_000_000"))
    run = project.run("-n2", BASELINE, "--junit-xml=junit.xml")
    run.assert_outcomes(passed=2, failed=1, xfailed=1)
    suite = ElementTree.parse(project.path / "junit.xml").getroot()[0]
    assert (suite.attrib["failures"], suite.attrib["errors"]) == ("1", "0")


DESELECT = """
    def pytest_collection_modifyitems(config, items):
        config.hook.pytest_deselected(items=items[1:])
        items[1:] = []
"""


def test_with_workers_deleted_tests_are_pruned_and_deselected_ones_are_not(project: Any) -> None:
    project.test(TESTS)
    project.run("-n2", BASELINE, UPDATE).assert_outcomes(passed=3, xfailed=1)
    project.test(TESTS.replace("test_buffers", "test_renamed"))
    project.pytester.makeconftest(DESELECT)  # as a plugin does that splits a suite into shards
    project.run("-n2", BASELINE, UPDATE, "--memory-baseline-prune").assert_outcomes(passed=1)
    assert {test_id.rpartition("::")[2] for test_id in stored(project, "baseline.json")} == {
        "test_group[1000000]",
        "test_group[3000000]",
    }


def test_a_bad_baseline_is_one_usage_error_with_workers(project: Any) -> None:
    project.test(TESTS)
    (project.path / "baseline.json").write_text("{")
    run = project.run("-n2", BASELINE)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    assert run.stderr.str().count("is no baseline of pytest-memory") == 1


def test_a_rerun_measures_a_fresh_process_and_the_last_run_counts(project: Any) -> None:
    project.test("""
        import pathlib

        def test_it(node_app, memory_monitor):
            attempts = pathlib.Path("attempts.txt")
            number = int(attempts.read_text()) if attempts.exists() else 0
            attempts.write_text(str(number + 1))
            with open("pids.txt", "a") as file:
                file.write(f"{node_app.pid}\\n")
            node_app.client.get("/grow", params={"bytes": 9_000_000 if number == 1 else 1000})
    """)
    project.run("-p", "no:rerunfailures", BASELINE, UPDATE).assert_outcomes(passed=1)
    run = project.run("--reruns=2", BASELINE, "--memory-json=results.json", "--junit-xml=junit.xml")
    assert run.parseoutcomes() == {"passed": 1, "rerun": 1}
    pids = (project.path / "pids.txt").read_text().split()
    assert len(set(pids)) == 3
    (result,) = project.document()["results"]
    assert result["verdict"]["outcome"] == "pass"


def test_a_breach_that_stays_fails_after_its_reruns(project: Any) -> None:
    test = "def test_it(node_app, memory_monitor): node_app.client.get('/grow', params={'bytes': SIZE})"
    project.test(test.replace("SIZE", "1000"))
    project.run(BASELINE, UPDATE).assert_outcomes(passed=1)
    project.test(test.replace("SIZE", "5_000_000"))
    assert project.run("--reruns=1", BASELINE).parseoutcomes() == {"failed": 1, "rerun": 1}


def test_a_timeout_ends_the_test_and_its_app(project: Any) -> None:
    project.test("""
        import time, pytest

        @pytest.mark.timeout(8, func_only=True)
        def test_slow(node_app, memory_monitor):
            open("pid.txt", "w").write(str(node_app.pid))
            time.sleep(300)

        def test_next(node_app, memory_monitor): pass
    """)
    run = project.run("--timeout-method=signal", BASELINE, UPDATE)
    run.assert_outcomes(failed=1, passed=1)
    run.stdout.fnmatch_lines(["*Timeout*"])
    assert set(stored(project, "baseline.json")) == {"test_memory.py::test_next"}
    import psutil

    assert not psutil.pid_exists(int((project.path / "pid.txt").read_text()))


def test_coverage_and_a_random_order_change_nothing(project: Any) -> None:
    project.test(TESTS)
    project.run(BASELINE, UPDATE).assert_outcomes(passed=3, xfailed=1)
    run = project.pytester.runpytest_subprocess(
        *("-p", "no:cacheprovider", "-p", "randomly", "-p", "no:rerunfailures"),
        *("--cov=test_memory", "-n2", BASELINE, "--memory-json=results.json"),
        timeout=300,
    )
    run.assert_outcomes(passed=3, xfailed=1)
    run.stdout.fnmatch_lines(["*test_memory.py*100%*"])
    results = project.document()["results"]
    assert [result["test_id"] for result in results] == sorted(result["test_id"] for result in results)
