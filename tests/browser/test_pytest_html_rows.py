"""pytest-html's report as a reader meets it: its rows are inserted as text, and still get their figures."""

from __future__ import annotations

import pytest
from support import planted

DRAWN = ".js-plotly-plot .main-svg"


@pytest.fixture(params=["self-contained", "assets"])
def report(request, pytester):
    pytester.makeconftest(planted.CONFTEST)
    pytester.makepyfile(test_api=planted.TESTS)
    mode = ["--self-contained-html"] if request.param == "self-contained" else []
    pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-p", "no:randomly", "--html=out/report.html", *mode, timeout=120
    )
    return pytester.path / "out" / "report.html"


def row(page, name):
    return page.locator(f'[data-memory-test$="{name}"]')


def look_at(section):
    """Scroll a row's first chart into view and wait until it is drawn."""
    section.locator(".plot").first.scroll_into_view_if_needed()
    section.locator(DRAWN).first.wait_for()


def test_figures_are_mounted_when_rows_come_into_view(report, open_page, screenshot):
    page = open_page(report)
    screenshot(page, "pytest-html-top")
    look_at(row(page, "::test_leaking"))
    screenshot(row(page, "::test_leaking"), "pytest-html-row")
    healthy = row(page, "::test_healthy")
    assert healthy.locator(DRAWN).count() == 0, "a passed test's row is closed at first"
    page.click('tr:has(td:text-is("test_api.py::test_healthy")) .col-result')
    look_at(healthy)


def test_figures_survive_sorting_and_closing(report, open_page):
    page = open_page(report)
    page.click('th[data-column-type="testId"]')
    look_at(row(page, "::test_leaking"))
    page.click("#hide_all_details")
    page.click("#show_all_details")
    look_at(row(page, "::test_leaking"))


def test_hostile_names_are_shown_and_never_run(report, open_page):
    page = open_page(report)
    hostile = row(page, "pwned=1</script>]")
    look_at(hostile)
    assert "<script>window.pwned=3</script>" in hostile.text_content()


def test_the_row_of_an_earlier_run_keeps_its_own_drawing(pytester, open_page):
    pytester.makeconftest(planted.CONFTEST)
    pytester.makepyfile(test_api="def test_over_limit_at_first(): pass")
    pytester.runpytest_subprocess(
        *("-p", "no:cacheprovider", "-p", "no:randomly", "--reruns=1"),
        *("--html=out/report.html", "--self-contained-html"),
        timeout=120,
    )
    page = open_page(pytester.path / "out" / "report.html")
    page.click("#show_all_details")
    rows = page.locator("tbody:has(.col-result)")
    first, last = rows.filter(has_text="Rerun").first, rows.filter(has_text="Passed")
    for row_, own, foreign in ((first, ".critical", ".pass"), (last, ".pass", ".critical")):
        assert row_.locator(f"{own}[data-memory-test]").is_visible()
        assert not row_.locator(f"{foreign}[data-memory-test]").is_visible()
    look_at(last.locator(".pass[data-memory-test]"))
    section = first.locator(".critical[data-memory-test]")
    section.locator(".plot").first.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.critical[data-memory-test] figure.latency').hidden")
    assert section.locator(DRAWN).count() == 0
    assert section.locator(".timeline svg").is_visible()
