"""pytest-html's report, in both of its modes, with and without pytest-xdist.  How it looks is tests/browser's."""

from __future__ import annotations

import html
import json
import re

import pytest
from support import planted

REPORT = ("-p", "no:cacheprovider", "-p", "no:randomly", "--html=out/report.html")

RUN = re.compile(r'data-memory-run="(\w+)"')


@pytest.fixture
def project(pytester):
    pytester.makeconftest(planted.CONFTEST)
    pytester.makepyfile(test_api=planted.TESTS)
    return pytester


def rows_of(page: str) -> dict[str, list[dict]]:
    blob = re.search(r'data-jsonblob="(.*?)"></div>', page, re.DOTALL).group(1)
    return json.loads(html.unescape(blob))["tests"]


def figures_of(page: str) -> dict[str, dict]:
    return json.loads(re.search(r'id="pytest-memory-figures">(.*?)</script>', page, re.DOTALL).group(1))


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "xdist"])
@pytest.mark.parametrize("mode", [["--self-contained-html"], []], ids=["self-contained", "assets"])
def test_rows_and_summary_hold_the_memory(project, mode, workers):
    project.runpytest_subprocess(*REPORT, *mode, *workers, timeout=300)
    page = (project.path / "out" / "report.html").read_text(encoding="utf-8")
    rows = rows_of(page)
    (leaking,) = rows["test_api.py::test_leaking"]
    (extra,) = leaking["extras"]
    assert "leak: 1,024 B/request" in extra["content"]
    assert 'data-memory-test="test_api.py::test_leaking"' in extra["content"]
    assert rows["test_api.py::test_without_memory"][0]["extras"] == []
    last = figures_of(page)["test_api.py::test_leaking"]
    assert {"timeline", "rounds", "latency", "treemap"} == set(last["figures"])
    assert f'data-memory-run="{last["run"]}"' in extra["content"]
    assert "7 tests: 5 critical" in page
    assert page.count("pytest-memory-figures") == 2, "one data block, one script that reads it"


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "xdist"])
def test_the_row_of_an_earlier_run_gets_no_figures_of_the_last(pytester, workers):
    pytest.importorskip("pytest_rerunfailures")
    pytester.makeconftest(planted.CONFTEST)
    pytester.makepyfile(test_api="def test_over_limit_at_first(): pass")
    pytester.runpytest_subprocess(*REPORT, "--reruns=1", *workers, timeout=300)
    page = (pytester.path / "out" / "report.html").read_text(encoding="utf-8")

    rows = rows_of(page)["test_api.py::test_over_limit_at_first"]
    own = {row["result"]: RUN.search("".join(row["resultsTableRow"]))[1] for row in rows}
    sections = [RUN.search(extra["content"])[1] for extra in rows[-1]["extras"]]

    assert sections == [own["Rerun"], own["Passed"]], "pytest-html puts all of them into one row: each row has its own"
    assert len(set(sections)) == 2
    assert own["Passed"] == figures_of(page)["test_api.py::test_over_limit_at_first"]["run"]


def test_without_its_option_nothing_of_the_report_is_imported(project):
    project.makeconftest(
        planted.CONFTEST
        + """
def pytest_unconfigure():
    wrong = {"pytest_memory.report.pytest_html", "pytest_memory.report.figures", "plotly", "jinja2"} & set(sys.modules)
    print("IMPORTED", sorted(wrong - BEFORE))
BEFORE = set(sys.modules)
"""
    )
    result = project.runpytest_subprocess("-p", "no:cacheprovider", "-s")
    result.stdout.fnmatch_lines(["*IMPORTED []"])
