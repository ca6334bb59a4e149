"""The verdict is raised inside the test: pass, fail, xfail, JUnit, the status letter, the summary."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

pytestmark = pytest.mark.node

GROWS = """
    import pytest

    @pytest.mark.max_heap_growth("3MB")
    def test_small(node_app, memory_monitor):
        node_app.client.get("/grow", params={"bytes": 500_000})

    @pytest.mark.max_heap_growth("3MB")
    def test_large(node_app, memory_monitor):
        node_app.client.get("/grow", params={"bytes": 9_000_000})
"""


def test_growth_within_the_limit_passes_and_beyond_it_fails(project) -> None:
    project.test(GROWS)
    result = project.run("-rA", "--junit-xml=junit.xml", "--memory-json=results.json")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*heap grew*limit 3MB*", "*= memory =*", "FAILED test_memory.py::test_large - *heap grew*"]
    )
    assert "Traceback" not in result.stdout.str()
    suite = ElementTree.parse(project.path / "junit.xml").getroot()[0]
    assert suite.attrib["failures"] == "1"
    properties = {node.attrib["name"]: node.attrib["value"] for node in suite.iter("property")}
    assert "memory_verdict" in properties
    document = project.document()
    outcomes = {entry["test_id"].rpartition("::")[2]: entry["verdict"]["outcome"] for entry in document["results"]}
    assert outcomes == {"test_small": "pass", "test_large": "critical"}
    large = next(entry for entry in document["results"] if entry["test_id"].endswith("test_large"))
    grown = next(growth for growth in large["growth"] if growth["metric"] == "heap_used")
    assert 8_500_000 < grown["end"] - grown["start"] < 10_500_000
    assert large["test_outcome"] == "failed"
    assert large["app"]["node_version"].startswith("v")
    assert large["samples"]["rss_bytes"]


def test_the_status_letter_tells_what_memory_failed_and_what_only_warns(project) -> None:
    project.test(GROWS)
    project.test(
        """
        def test_plain():
            assert False

        def test_warned(node_app, memory_monitor):
            node_app.client.get("/grow", params={"bytes": 900_000})
        """,
        name="test_others",
    )
    options = ("--memory-heap-growth-warning=600KB", "test_memory.py", "test_others.py")
    short = project.run("-q", *options)
    assert "".join(line.split()[0] for line in short.outlines if line.endswith("%]")) == ".MFm"
    long = project.run("-v", *options)
    long.stdout.fnmatch_lines(["*test_large FAILED*", "*test_warned PASSED (warning)*"])


def test_xfail_holds_and_a_strict_xfail_that_stays_within_its_limit_fails(project) -> None:
    project.test("""
        import pytest

        @pytest.mark.xfail(strict=True, reason="known leak")
        @pytest.mark.max_heap_growth("3MB")
        @pytest.mark.parametrize("size", [9_000_000, 1000])
        def test_it(node_app, memory_monitor, size):
            node_app.client.get("/grow", params={"bytes": size})
    """)
    result = project.run("--memory-json=results.json")
    result.assert_outcomes(xfailed=1, failed=1)
    words = {entry["test_id"]: entry["test_outcome"] for entry in project.document()["results"]}
    assert sorted(words.values()) == ["failed", "xfailed"]


def test_a_limit_marker_alone_brings_its_monitor(project) -> None:
    project.test("""
        import pytest

        @pytest.mark.max_external_growth("3MB")
        class TestBuffers:
            def test_it(self, node_app):
                node_app.client.get("/buffer", params={"bytes": 9_000_000})
    """)
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*external*limit 3MB*"])


def test_a_module_mark_holds_and_the_closest_marker_wins(project) -> None:
    project.test("""
        import pytest
        pytestmark = pytest.mark.max_heap_growth("3MB")

        def test_over(node_app):
            node_app.client.get("/grow", params={"bytes": 9_000_000})

        @pytest.mark.max_heap_growth("30MB")
        def test_own_limit(node_app):
            node_app.client.get("/grow", params={"bytes": 9_000_000})
    """)
    project.run().assert_outcomes(passed=1, failed=1)


def test_a_suite_wide_limit_comes_from_the_ini_file_and_the_command_line_beats_it(project) -> None:
    project.ini("memory_app = server.js", f"memory_node = {project.node}", "memory_max_heap_growth = 3MB")
    project.test("def test_it(node_app, memory_monitor): node_app.client.get('/grow', params={'bytes': 9_000_000})")
    project.run().assert_outcomes(failed=1)
    project.run("--memory-max-heap-growth=30MB").assert_outcomes(passed=1)


def test_health_without_a_limit_warns_from_fifty_megabytes(project) -> None:
    project.test("def test_it(node_app, memory_monitor): node_app.client.get('/grow', params={'bytes': 60_000_000})")
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*= memory =*", "*warning*"])
    project.run("--memory-fail-on=warning").assert_outcomes(failed=1)


def test_health_does_not_overrule_a_leak_test_that_passed(project) -> None:
    project.test("""
        def test_it(node_app, memory_monitor):
            node_app.client.get("/grow", params={"bytes": 9_000_000})

        def test_with_a_leak_test(node_app, memory_monitor):
            node_app.client.get("/grow", params={"bytes": 9_000_000})
            assert memory_monitor.leak_test("globalThis.calls = 1").outcome == "pass"
    """)
    result = project.run("--memory-heap-growth-warning=3MB")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED test_memory.py::test_it - *heap grew*"])


def test_quiet_runs_say_nothing_while_all_is_well(project) -> None:
    project.test("import pytest\n@pytest.mark.max_heap_growth('9MB')\ndef test_it(node_app): node_app.client.get('/')")
    result = project.run("-q")
    result.assert_outcomes(passed=1)
    assert "= memory =" not in result.stdout.str()


def test_a_failing_body_keeps_its_own_error_and_shows_the_memory_beside_it(project) -> None:
    project.test("def test_it(node_app, memory_monitor): assert node_app.client.get('/').status_code == 418")
    result = project.run("--memory-json=results.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 200 == 418*"])
    assert project.document()["results"][0]["end_memory"] is not None


def test_an_app_that_dies_fails_the_test_with_its_status_and_last_words(project) -> None:
    project.test("""
        import httpx, pytest

        def test_it(node_app, memory_monitor):
            with pytest.raises(httpx.HTTPError):
                node_app.client.get("/die")
    """)
    result = project.run("--memory-json=results.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*out of biscuits*"])
    entry = project.document()["results"][0]
    assert entry["app"]["exit_status"] == 7
    assert entry["samples"]["rss_bytes"]


def test_the_results_directory_keeps_every_run(project) -> None:
    project.test("def test_it(node_app, memory_monitor): pass")
    project.run("--memory-results=kept")
    project.run("--memory-results=kept")
    assert len(list((project.path / "kept").glob("run-*.json"))) == 2


def test_a_file_that_cannot_be_written_does_not_lose_the_others(project) -> None:
    project.test("def test_it(node_app, memory_monitor): pass")
    (project.path / "taken").mkdir()
    result = project.run("--memory-json=taken", "--memory-results=kept")
    result.stdout.fnmatch_lines(["*taken*could not be written*"])
    assert len(list((project.path / "kept").glob("run-*.json"))) == 1


@pytest.mark.parametrize(("scope", "processes"), [("function", 4), ("module", 2), ("session", 1)])
def test_a_process_lives_as_long_as_the_scope_says(project, scope: str, processes: int) -> None:
    source = """
        def test_a(node_app, memory_monitor): print("PID", node_app.pid, "PID")
        def test_b(node_app, memory_monitor): print("PID", node_app.pid, "PID")
    """
    for name in ("test_one", "test_two"):
        project.test(source, name=name)
    run = project.run("-s", f"--memory-app-scope={scope}", "--memory-json=results.json")
    run.assert_outcomes(passed=4)
    pids = re.findall(r"PID (\d+) PID", run.stdout.str())
    assert len(pids) == 4
    assert len(set(pids)) == processes
    assert [str(result["app"]["pid"]) for result in project.document()["results"]] == pids


LOADED = """

    @pytest.mark.max_heap_growth("99KB/request")
    @pytest.mark.max_rss_growth("200MB")
    def test_loaded(node_app, memory_monitor, load_generator):
        with memory_monitor.phase("buffers"):
            node_app.client.get("/buffer", params={"bytes": 2_000_000})
        load_generator.run("/", requests=50)

    @pytest.mark.xfail(strict=True, reason="known")
    @pytest.mark.max_heap_growth("3MB")
    def test_known(node_app, memory_monitor):
        node_app.client.get("/grow", params={"bytes": 9_000_000})
"""


# A column is there when it has a value, and a loaded machine delays the loop or the sampler.
OF_THE_MACHINE = {"shared-machine", "blocked-loop", "late-samples", "not-settled", "loop_delay_s", "blocked", "late_s"}


def without_measured(result: dict[str, Any]) -> dict[str, Any]:
    """A result but for what differs from one process and one moment to the next."""
    app, verdict = result["app"], result["verdict"]
    checks = ("metric", "outcome", "reason", "limit", "limit_text", "unit", "source")
    return {
        **{key: result[key] for key in ("test_id", "tool", "interval_s", "unit", "test_outcome")},
        "app": {key: app[key] for key in ("command", "node_version", "v8_version", "precise", "heap_limit_bytes")},
        "exit_status": app["exit_status"],
        "roles": [process["role"] for process in app["processes"]],
        "outcome": verdict["outcome"],
        "checks": [{key: check[key] for key in checks} for check in verdict["checks"]],
        "environment": {key: value for key, value in result["environment"].items() if key != "worker_count"},
        "phases": [phase["name"] for phase in result["phases"]],
        "growth": [growth["metric"] for growth in result["growth"]],
        "load": [(load["requests"], load["errors"]) for load in result["load"]],
        "notes": sorted({note["slug"] for note in result["notes"]} - OF_THE_MACHINE),
        "columns": sorted(result["samples"].keys() - OF_THE_MACHINE),
    }


def test_workers_bring_home_the_same_document(project) -> None:
    project.test(GROWS + LOADED)
    documents = []
    for workers in ("-n0", "-n2"):
        project.run(workers, "--memory-json=results.json").assert_outcomes(passed=2, failed=1, xfailed=1)
        documents.append(project.document())
    one, two = documents
    assert [without_measured(result) for result in one["results"]] == [
        without_measured(result) for result in two["results"]
    ]
    assert [result.keys() for result in one["results"]] == [result.keys() for result in two["results"]]
    assert one["environment"] | {"worker_count": 2} == two["environment"] | {"worker_count": 2}
    assert (one["environment"]["worker_count"], two["environment"]["worker_count"]) == (0, 2)
    ports = {entry["app"]["url"] for entry in two["results"]}
    assert len(ports) == len(two["results"])


def test_nothing_is_left_running_after_a_crash_of_the_test_run(project) -> None:
    project.test("""
        import os

        def test_it(node_app, memory_monitor):
            open("pid", "w").write(str(node_app.pid))
            os._exit(3)
    """)
    project.run()
    import psutil

    pid = int((project.path / "pid").read_text())
    _gone, alive = psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=60)
    assert alive == []
