"""Ways in which something not measured, or found already, could be passed over: each is a failure that says why."""

from __future__ import annotations

import sys
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.node


def test_a_warning_fails_also_where_another_check_has_no_answer(project: Any) -> None:
    project.test("""
        import pytest

        @pytest.mark.max_rss_growth("900MB")
        def test_it(node_app, memory_monitor, heap_snapshot):
            node_app.client.get("/grow", params={"bytes": 64_000_000})
            heap_snapshot("swells")
    """)
    result = project.run("--memory-fail-on=warning")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*heap growth*6?.? MB*50.0 MB*warning*"])


def test_an_app_that_is_no_node_is_not_measured(project: Any) -> None:
    project.test(f"""
        import pytest

        @pytest.mark.node_app([{sys.executable!r}, "-m", "http.server", "{{port}}", "--bind", "127.0.0.1"], ready="tcp")
        @pytest.mark.max_heap_growth("1MB")
        @pytest.mark.max_gc_pause("1ms")
        def test_it(): ...
    """)
    result = project.run("--memory-json=results.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*has no inspector that answers, so nothing of its memory was measured*"])
    assert project.document()["results"][0]["verdict"]["outcome"] == "not-measured"


def test_a_monitor_asked_for_in_the_body_measures_the_rest_of_it(project: Any) -> None:
    project.test("""
        def test_it(node_app, request):
            request.getfixturevalue("memory_monitor")
            node_app.client.get("/grow", params={"bytes": 8_000_000})
    """)
    result = project.run("--memory-max-heap-growth=1MB")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*heap grew 8*limit 1MB*"])


@pytest.mark.parametrize(
    ("keyword", "shown"),
    [('unit="job"', "job"), ("rounds=3", "request"), ("precise=False", "request")],
)
def test_every_keyword_of_no_leaks_reaches_the_leak_test(project: Any, keyword: str, shown: str) -> None:
    project.test(f"""
        import pytest

        @pytest.mark.no_leaks("100B/{shown}", max_duration="3s", {keyword})
        def test_it(memory_monitor):
            result = memory_monitor.leak_test(lambda: None)
            assert result.unit == {shown!r}
    """)
    project.run().assert_outcomes(passed=1)


def test_a_leak_stays_found_when_the_work_fails_while_it_is_explained(make_project: Any) -> None:
    project = make_project("keeps.js")
    project.test("""
        import pytest

        @pytest.mark.no_leaks("50B/request")
        def test_it(node_app, memory_monitor, load_generator):
            def work():
                if any(phase.name == "leak test" for phase in memory_monitor.phases):
                    raise RuntimeError("broke while it was explained")
                return load_generator.run("/keep", requests=500, concurrency=2)

            memory_monitor.leak_test(work)
    """)
    result = project.run("--memory-json=results.json")
    result.assert_outcomes(failed=1)
    (entry,) = project.document()["results"]
    assert entry["verdict"]["outcome"] == "critical"
    assert entry["verdict"]["leaks"][0]["kind"] == "heap"
    assert any("broke while it was explained" in str(note) for note in entry["notes"])


@pytest.mark.parametrize("how", ["xfail", "skip"])
def test_a_test_that_did_not_go_well_is_no_baseline(project: Any, how: str) -> None:
    project.test(f"""
        import unittest

        import pytest

        @pytest.mark.xfail
        def test_it(node_app, memory_monitor):
            assert {how != "xfail"}

        class Case(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _monitored(self, memory_monitor): ...

            def test_it(self):
                if {how == "skip"}:
                    self.skipTest("for a reason")
    """)
    project.run(
        "--memory-baseline=baseline.json", "--memory-baseline-update", "-k", "Case" if how == "skip" else "not Case"
    )
    assert (
        not (project.path / "baseline.json").exists() or "test_it" not in (project.path / "baseline.json").read_text()
    )


def test_an_interrupt_ends_the_users_fixtures_before_their_app(project: Any) -> None:
    project.test("""
        import pathlib
        import pytest

        @pytest.fixture
        def farewell(node_app):
            yield
            pathlib.Path("pid").write_text(str(node_app.pid))
            pathlib.Path("said").write_text(str(node_app.client.get("/").status_code))

        def test_it(farewell, memory_monitor):
            raise KeyboardInterrupt
    """)
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert (project.path / "said").read_text() == "200"
    assert not psutil.pid_exists(int((project.path / "pid").read_text()))


def test_one_running_app_is_not_measured_by_several_workers(project: Any) -> None:
    project.test("""
        import pytest

        @pytest.mark.parametrize("n", [1, 2])
        def test_it(node_app, n): ...
    """)
    result = project.run("-n", "2", "--memory-inspector=127.0.0.1:9")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*2 pytest-xdist workers would measure one running app*"])


def test_a_limit_of_one_parameter_brings_no_monitor_to_the_others(project: Any) -> None:
    project.test("""
        import pytest

        @pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.max_heap_growth("50MB")), 2])
        def test_it(node_app, n, request):
            assert ("memory_monitor" in request.fixturenames) == (n == 1)
    """)
    project.run().assert_outcomes(passed=2)


def test_a_rerun_shows_nothing_of_the_run_before(project: Any) -> None:
    project.test("""
        import pytest

        runs = []

        @pytest.fixture
        def second(node_app):
            runs.append(1)
            assert len(runs) == 1, "broken at the second setup"

        def test_it(second, memory_monitor):
            assert False
    """)
    result = project.run("--reruns=1", "--memory-json=results.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    outcomes = [entry["verdict"]["outcome"] for entry in project.document()["results"]]
    assert "pass" not in outcomes[1:]


@pytest.mark.parametrize("without", ["no:capture", "no:terminal"])
def test_plugins_of_pytest_may_be_missing(project: Any, without: str) -> None:
    project.test("""
        import pytest

        @pytest.mark.max_heap_growth("1MB")
        def test_it(node_app, load_generator):
            load_generator.run("/", requests=10)
            node_app.client.get("/grow", params={"bytes": 8_000_000})
    """)
    result = project.run("-p", without, "--junitxml=junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "limit 1MB" in (project.path / "junit.xml").read_text()


def test_a_config_file_named_in_the_ini_file_is_looked_for_beside_it(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "settings.json").write_text('{"monitor": {"thresholds": {}}}')
    project.ini("memory_app = server.js", f"memory_node = {project.node}", "memory_config = settings.json")
    below = project.path / "below"
    below.mkdir()
    (below / "test_below.py").write_text("def test_it(): ...\n")
    monkeypatch.chdir(below)
    project.run().assert_outcomes(passed=1)


def test_a_limit_of_the_suite_is_one_of_every_test_with_an_app(project: Any) -> None:
    project.ini("memory_app = server.js", f"memory_node = {project.node}", "memory_max_heap_growth = 5MB")
    project.test("""
        def test_grows(node_app):
            node_app.client.get("/grow", params={"bytes": 20_000_000})

        def test_plain(): ...
    """)
    result = project.run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*heap grew*limit 5MB*"])


def test_collections_of_work_that_never_yields_are_counted(project: Any) -> None:
    # Node tells observers of collections by an immediate: a test that ends with the work would have seen none of them.
    project.test("""
        import pytest

        @pytest.mark.node_app("server.js", node_options="--expose-gc")
        @pytest.mark.max_gc_count(299)
        def test_it(node_app):
            for _ in range(3):
                node_app.evaluate("for (let i = 0; i < 100; i += 1) gc(); 0")
    """)
    result = project.run("--memory-interval=300s")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*major GC runs 300*"])


def test_collections_that_come_faster_than_an_observer_is_read_are_no_pass(project: Any) -> None:
    """Where somebody else traces through the session, the probe observes them, and holds so many."""
    project.test("""
        import pytest

        @pytest.fixture
        def traced(node_app):
            node_app.inspector.call("NodeTracing.start", {"traceConfig": {"includedCategories": ["v8"]}})

        @pytest.mark.node_app("server.js", node_options="--expose-gc")
        @pytest.mark.max_gc_count(100_000)
        def test_it(traced, node_app):
            for _ in range(3):
                node_app.evaluate("for (let i = 0; i < 3000; i += 1) gc({type: 'minor'}); 0")
    """)
    result = project.run("--memory-interval=300s", "--memory-fail-on=inconclusive")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*came faster than they were read*"])
