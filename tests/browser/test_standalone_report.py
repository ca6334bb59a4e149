"""The standalone report as a reader meets it, in Chromium."""

from __future__ import annotations

import pytest
from support import result_factory as factory

from pytest_memory.report import html

OPEN = "details.test[open]"
DRAWN = ".js-plotly-plot .main-svg"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    leaking = factory.leaking()
    others = [result for result in factory.every_kind() if result.test_id != leaking.test_id]
    html.write_report(factory.document([leaking, *others, factory.xss()]), path)
    return path


def open_test(page, name):
    """Follow the overview's link to a test and wait for its figures."""
    page.click(f'.overview a:has-text("{name}")')
    test = page.locator(OPEN, has=page.locator("summary .name", has_text=name))
    test.locator(DRAWN).first.wait_for()
    return test


def test_the_worst_test_is_open_with_its_figures(report, open_page, screenshot):
    page = open_page(report)
    page.locator(f"{OPEN} {DRAWN}").first.wait_for()
    assert page.locator(OPEN).count() == 1
    screenshot(page, "report-light", full_page=True)


@pytest.mark.parametrize(("look", "options"), [("dark", {"dark": True}), ("phone", {"width": 390, "height": 844})])
def test_a_test_opens_from_the_overview_in(look, options, report, open_page, screenshot):
    page = open_page(report, **options)
    page.click("#close-all")
    test = open_test(page, "test_orders")
    assert test.locator(".js-plotly-plot").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    screenshot(test, f"report-{look}")


def test_zoom_stays_and_a_series_can_be_hidden(report, open_page):
    page = open_page(report)
    test = open_test(page, "test_orders")
    plot = test.locator(".plot[data-figure=timeline]")
    plot.scroll_into_view_if_needed()
    area = plot.locator(".nsewdrag").first.bounding_box()
    whole = plot.evaluate("plot => plot.layout.xaxis.range.slice()")
    page.mouse.move(area["x"] + area["width"] * 0.4, area["y"] + 20)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.6, area["y"] + 20, steps=5)
    page.mouse.up()
    page.wait_for_function("plot => plot.layout.xaxis.range[0] > 1", arg=plot.element_handle())
    zoomed = plot.evaluate("plot => plot.layout.xaxis.range.slice()")
    assert zoomed[1] - zoomed[0] < 0.5 * (whole[1] - whole[0])
    page.click("#theme")
    assert plot.evaluate("plot => plot.layout.xaxis.range.slice()") == zoomed
    plot.locator(".legendtoggle").first.click()
    page.wait_for_function("plot => plot.data[0].visible === 'legendonly'", arg=plot.element_handle())


def test_hovering_names_the_values(report, open_page):
    page = open_page(report)
    plot = open_test(page, "test_orders").locator(".plot[data-figure=timeline]")
    plot.scroll_into_view_if_needed()
    area = plot.locator(".nsewdrag").first.bounding_box()
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    label = plot.locator(".hoverlayer .legend")
    label.wait_for()
    assert "heap used" in label.text_content()
    assert "MB" in label.text_content()


def test_colours_follow_the_system_and_the_button(report, open_page):
    page = open_page(report, dark=True)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.click("#theme")
    light = page.evaluate(paper)
    assert (dark, light) == ("rgb(18, 22, 28)", "rgb(255, 255, 255)")
    page.emulate_media(color_scheme="light")
    assert page.evaluate(paper) == light


def test_filtering_by_class_and_by_name(report, open_page):
    page = open_page(report)
    shown = "document.querySelectorAll('tr[data-row]:not([hidden])').length"
    everything = page.evaluate(shown)
    page.click(".classes button.critical")
    assert page.evaluate(shown) < everything
    page.click(".classes button.critical")
    page.fill("#search", "CLUSTER")
    assert page.evaluate(shown) == 1
    assert page.locator("#found").text_content() == f"1 of {everything} shown"
    assert page.locator("details.test:visible").count() == 1


def test_everything_can_be_reached_by_keyboard(report, open_page):
    page = open_page(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("details.test:not([open]) summary >> nth=0")
    name = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.parentElement.open")
    assert page.evaluate("document.activeElement.textContent") == name
    controls = "[...document.querySelectorAll('header button, main button:not(.plot *), main input')]"
    named = f"{controls}.every(control => control.textContent.trim() || control.labels.length)"
    assert page.evaluate(named), "a control without a name"


def test_a_link_to_a_test_opens_it(report, open_page):
    page = open_page(f"{report.as_uri()}#t3")
    page.wait_for_function("document.getElementById('t3').open")
    page.locator(f"#t3 {DRAWN}").first.wait_for()


def test_hostile_names_are_shown_and_never_run(report, open_page):
    page = open_page(report)
    test = open_test(page, "<script>window.pwned=1</script>")
    assert "<script>window.pwned=3</script>" in test.text_content()
    assert page.evaluate("document.querySelectorAll('img').length") == 0


def test_print_opens_all_tests_on_white_paper(report, open_page, screenshot, tmp_path):
    page = open_page(report, dark=True)
    page.locator(f"{OPEN} {DRAWN}").first.wait_for()
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details.test')].every(test => test.open)")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#theme").is_visible()
    screenshot(page, "report-print", full_page=True)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator(OPEN).count() == 1


def test_without_scripts_the_report_still_reads(report, open_page):
    page = open_page(report, java_script_enabled=False)
    first = page.locator(OPEN)
    assert "limit" in first.text_content()
    assert first.locator(".plot svg.curve").count() == 1


@pytest.mark.slow
def test_two_hundred_tests_of_ten_thousand_samples(open_page, tmp_path, screenshot):
    path = tmp_path / "large.html"
    html.write_report(factory.many(), path)
    assert path.stat().st_size <= 12_000_000
    page = open_page(path)
    page.locator(f"{OPEN} {DRAWN}").first.wait_for()
    points = page.evaluate("Math.max(...document.querySelector('.js-plotly-plot').data.map(t => t.x.length))")
    assert points <= 400
    page.locator("summary >> nth=150").click()
    page.locator(f"{OPEN} >> nth=1").locator(DRAWN).first.wait_for()
    screenshot(page, "report-large")
