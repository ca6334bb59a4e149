"""pytest-html's report, in both of its modes, with and without pytest-xdist.  How it looks is tests/browser's."""

from __future__ import annotations

import html
import json
import re

import pytest
from support import planted

REPORT = ("-p", "no:cacheprovider", "-p", "no:randomly", "--html=out/report.html")


@pytest.fixture
def project(pytester):
    pytester.makeconftest(planted.CONFTEST)
    pytester.makepyfile(test_api=planted.TESTS)
    return pytester


def rows_of(page: str) -> dict[str, list[dict]]:
    blob = re.search(r'data-jsonblob="(.*?)"></div>', page, re.DOTALL).group(1)
    return json.loads(html.unescape(blob))["tests"]


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
    figures = json.loads(re.search(r'id="pytest-memory-figures">(.*?)</script>', page, re.DOTALL).group(1))
    assert {"timeline", "rounds", "latency", "treemap"} == set(figures["test_api.py::test_leaking"])
    assert "7 tests: 5 critical" in page
    assert page.count("pytest-memory-figures") == 2, "one data block, one script that reads it"


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
