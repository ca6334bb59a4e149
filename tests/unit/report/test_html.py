from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support import result_factory as factory

from pytest_memory.errors import StoreError
from pytest_memory.model import Environment, ResultDocument
from pytest_memory.report import assets, html, parts, pytest_html


class Page(HTMLParser):
    """Every element that was opened, with its attributes, and the text of scripts."""

    VOID = frozenset({"meta", "input", "br", "hr", "img", "link", "path"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            attrs = next(attrs for tag, attrs in reversed(self.elements) if tag == "script")
            self.scripts.append((attrs.get("type") or "", data))


@pytest.fixture(scope="module")
def everything() -> str:
    return html.render_report(factory.document([*factory.every_kind(), factory.xss()]))


def without_plotly(page: str) -> str:
    return page.replace(assets.plotly_script(), "")


def test_the_page_is_well_formed_and_names_no_address(everything):
    page = Page(without_plotly(everything))
    assert page.open == []
    for tag, attrs in page.elements:
        for name in ("src", "href"):
            if (value := attrs.get(name)) is not None:
                assert value.startswith("#"), f"<{tag} {name}={value!r}>"


def test_hostile_names_make_no_element_and_no_handler(everything):
    page = Page(without_plotly(everything))
    assert not [attrs for tag, attrs in page.elements if tag == "img"]
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    code = [text for kind, text in page.scripts if kind == ""]
    assert "pwned" not in "".join(code)
    assert "window.pwned=3" in everything, "the name itself must still be readable"


def test_the_security_policy_allows_the_page_its_own_scripts_only(everything):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', everything).group(1).replace("&#39;", "'")
    assert policy.startswith("default-src 'none'")
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    for script in re.findall(r"<script>(.*?)</script>", everything, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_data_blocks_are_json_that_cannot_close_their_element(everything):
    blocks = [text for kind, text in Page(without_plotly(everything)).scripts if kind == "application/json"]
    assert len(blocks) == 10
    assert all("<" not in block for block in blocks)
    assert any("timeline" in json.loads(block) for block in blocks)


def test_plotly_is_in_the_page_once_and_only_when_there_is_a_figure(everything):
    assert everything.count(assets.plotly_script()) == 1
    assert len(html.render_report(factory.document([factory.unmeasured()]))) < 100_000


def test_the_worst_test_is_open_and_a_healthy_session_is_closed(everything):
    assert re.findall(r'<details class="test [a-z-]+" id="(t\d+)"[^>]* open>', everything) == ["t0"]
    healthy = html.render_report(factory.document([factory.healthy(f"t.py::t{i}", count=3) for i in range(3)]))
    assert not re.search(r'<details class="test [^>]* open>', healthy)


def test_the_page_says_when_it_was_measured_not_when_it_was_made():
    times = ("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "")
    results = [replace(factory.unmeasured(), test_id=f"t.py::t{n}", started_at=at) for n, at in enumerate(times)]
    made = replace(factory.document(results), created_at="2026-06-01T00:00:00Z")
    assert "Measured 2026-01-03T00:00:00Z" in html.render_report(made)
    undated = replace(made, results=made.results[2:])
    assert "Measured 2026-06-01T00:00:00Z" in html.render_report(undated)


def test_the_page_names_an_environment_only_where_all_results_share_it():
    one = replace(factory.ENVIRONMENT, node_version="v20.1.0", commit="c" * 40)
    other = replace(one, node_version="v22.1.0")
    results = [
        replace(factory.unmeasured(), test_id=f"t.py::t{n}", environment=environment)
        for n, environment in enumerate((one, other, Environment()))
    ]
    page = html.render_report(replace(factory.document(results), environment=one))
    section = page.rpartition('id="environment-title"')[2].partition("</section>")[0]
    assert re.search(r"Node\.js</th>\s*<td[^>]*>several<", section)
    assert "v20.1.0" not in section
    assert "c" * 40 in section


def test_an_empty_document_says_so():
    page = html.render_report(ResultDocument(version=1, created_at="", environment=factory.ENVIRONMENT))
    assert "No test was measured." in page


def test_the_same_advice_for_many_tests_is_given_once():
    page = html.render_report(factory.document([factory.inconclusive(f"t.py::t{i}") for i in range(30)]))
    overview = page.partition('id="advice-title"')[2].partition("</section>")[0]
    assert overview.count("<li") == 1
    assert "and 29 more" in overview


def test_a_treemap_is_shown_when_the_result_has_a_heap():
    assert 'data-figure="treemap"' in html.render_report(factory.document([factory.leaking()]))
    assert 'data-figure="treemap"' not in html.render_report(factory.document([factory.healthy()]))


def test_kept_files_are_linked_relative_to_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    html.write_report(factory.document([factory.leaking()]), Path("out/report.html"))
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert 'href="./../.memory/test_orders/before.heapsnapshot"' in page
    assert list(Path("out").iterdir()) == [Path("out/report.html")]


@pytest.mark.parametrize("path", ["javascript:alert(1)", "//evil.example/x", "a b?c#d.heapsnapshot"])
def test_a_link_is_always_a_path(path):
    href = parts.file_href(path, Path("."))
    assert href.startswith("./")
    assert not set(href) & set(":?# ")


def test_a_report_that_cannot_be_written_is_an_error_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        html.write_report(factory.document([factory.unmeasured()]), tmp_path / "file" / "report.html")
    assert caught.value.slug == "store-write"


def test_the_size_of_a_large_session_is_bounded():
    few = html.render_report(factory.many(tests=4, count=10_000))
    per_test = (len(few.encode()) - len(assets.plotly_script().encode())) / 4
    whole = 200 * per_test + len(assets.plotly_script().encode())
    assert whole <= 12_000_000, f"{per_test / 1000:.0f} KB a test"


def test_row_extras_are_json_basic_and_hold_no_script():
    (extra,) = pytest_html.row_extras(factory.xss())
    assert json.loads(json.dumps(extra)) == extra
    assert extra["format_type"] == "html"
    page = Page(extra["content"])
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert page.open == []


def test_the_summary_mounts_figures_with_plotly_inline_or_beside(tmp_path):
    document = factory.document([factory.leaking()])
    inline = pytest_html.summary_html(document)
    assert assets.plotly_script() in inline
    beside = pytest_html.summary_html(document, assets_directory=tmp_path / "assets")
    assert len(beside) < 100_000
    assert 'src="assets/pytest-memory-plotly.min.js"' in beside
    assert (tmp_path / "assets" / pytest_html.PLOTLY_FILE).stat().st_size > 1_000_000


def test_the_memory_column():
    cells = ["<th>Result</th>", "<th>Test</th>", "<th>Duration</th>"]
    pytest_html.table_header(cells)
    assert cells[2] == '<th class="col-memory">Memory</th>'
    row = ["a", "b", "c"]
    pytest_html.table_row(row, factory.leaking())
    assert "1,024 B/request" in row[2]
    removed: list[str] = []
    pytest_html.table_row(removed, factory.leaking())
    assert removed == []
    empty = ["a", "b", "c"]
    pytest_html.table_row(empty, None)
    assert empty[2] == '<td class="col-memory"></td>'
