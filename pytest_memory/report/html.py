"""The standalone report: one HTML file that loads nothing from anywhere.  Floor 6.

`report.view` gives the words, `report.figures` the figures; this module and its template only lay them out.  The
page carries a content security policy that allows its own two scripts (by hash) and no request at all, so a name
chosen by a test or an app can be neither run nor used to phone home.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from pytest_memory import store
from pytest_memory.model import Finding, ResultDocument, RunResult
from pytest_memory.report import advice, assets, figures, tables, view, words
from pytest_memory.report.figures import TreeNode
from pytest_memory.report.tables import Table

MAX_ADVICE = 12  # in the overview; each test shows all of its own
MAX_CLASSES = 25
MAX_ROUNDS = 60
MAX_PATHS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBy:
    """One retainer path in words."""

    subject: str
    summary: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLink:
    """One kept file; ``href`` is empty where it cannot be linked."""

    kind: str
    path: str
    size: str
    href: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestPart:
    """Everything one test's part of the page shows."""

    anchor: str
    row: view.ResultRow
    growth_share: float
    static_curve: Markup
    figure_names: tuple[str, ...]
    figures: Markup
    recommendations: tuple[advice.Recommendation, ...]
    findings: tuple[tuple[str, str], ...]
    paths: tuple[HeldBy, ...]
    tables: tuple[Table, ...]
    load: tuple[tuple[str, tuple[str, ...]], ...]
    load_table: Table
    notes: tuple[str, ...]
    files: tuple[FileLink, ...]
    app: Table
    output_tail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A recommendation in the overview, with the test it is for (and how many ``others`` it is for too)."""

    anchor: str
    test: str
    recommendation: advice.Recommendation
    others: int = 0


def render_report(
    document: ResultDocument,
    *,
    title: str = "Memory report",
    treemaps: Mapping[str, Sequence[TreeNode]] | None = None,
    directory: Path | None = None,
) -> str:
    """The page for a document of any age or size.

    ``treemaps`` holds boxes of retained sizes by test id; with ``directory`` (where the page will lie) kept files
    are linked relative to it."""
    results = view.ordered(document.results)
    largest = max((view.result_row(result, 1).growth_bytes for result in results), default=0.0)
    trees = treemaps or {}
    parts = [
        test_part(result, f"t{number}", largest, trees.get(result.test_id, ()), directory)
        for number, result in enumerate(results)
    ]
    plotly = assets.plotly_script() if any(part.figure_names for part in parts) else ""
    page_script = assets.text_of("mount.js") + assets.text_of("report.js")
    return assets.render(
        "report.html.jinja",
        title=words.clean(title),
        created_at=words.clean(document.created_at),
        sentence=view.overview_sentence(results) if results else "No test was measured.",
        counts=[count for count in view.class_counts(results) if count[2]],
        parts=parts,
        advice=overview_advice(parts),
        environment=tables.environment_table(document.environment),
        style=assets.inline(assets.text_of("report.css")),
        plotly=assets.inline(plotly),
        script=assets.inline(page_script),
        script_sources=" ".join(assets.script_hash(script) for script in (plotly, page_script) if script),
        opened=_opened(parts),
    )


def write_report(
    document: ResultDocument,
    path: Path | str,
    *,
    title: str = "Memory report",
    treemaps: Mapping[str, Sequence[TreeNode]] | None = None,
) -> None:
    """Render into ``path``, whole or not at all.  Raises StoreError when it cannot be written."""
    path = Path(path)
    page = render_report(document, title=title, treemaps=treemaps, directory=path.parent)
    store.write_atomic(path, page.encode("utf-8"))


def _opened(parts: Sequence[TestPart]) -> str:
    """The anchor of the part that is open from the start: the worst if it is not healthy, or the only one."""
    if not parts:
        return ""
    return parts[0].anchor if len(parts) == 1 or parts[0].row.outcome != "pass" else ""


def overview_advice(parts: Iterable[TestPart]) -> list[Advice]:
    """The most severe recommendations of all tests, each action once, with the first test (the worst) it is for."""
    first: dict[str, Advice] = {}
    for part in parts:
        for item in part.recommendations:
            if known := first.get(item.action):
                first[item.action] = replace(known, others=known.others + 1)
            else:
                first[item.action] = Advice(anchor=part.anchor, test=part.row.name, recommendation=item)
    severities = ("critical", "warning", "info")
    return sorted(first.values(), key=lambda item: severities.index(item.recommendation.severity))[:MAX_ADVICE]


def test_part(
    result: RunResult, anchor: str, largest_growth: float, tree: Sequence[TreeNode], directory: Path | None
) -> TestPart:
    """One test in words, tables and figures."""
    row = view.result_row(result)
    made = figures.result_figures(result, tree)
    curve = view.main_curve(result)
    findings = advice.worst_first(result.findings)
    return TestPart(
        anchor=anchor,
        row=row,
        growth_share=max(0.0, row.growth_bytes) / largest_growth if largest_growth > 0 else 0.0,
        static_curve=assets.static_curve(curve.times, curve.values),
        figure_names=tuple(made),
        figures=assets.data_block(made),
        recommendations=view.recommendations(result),
        findings=tuple((finding.severity, advice.finding_sentence(finding)) for finding in findings),
        paths=held_by(findings),
        tables=tuple(table for table in _tables(result) if table),
        load=tuple((view.load_sentence(load), tuple(view.load_details(load))) for load in result.load[:MAX_PATHS]),
        load_table=tables.load_table(result.load),
        notes=tuple(advice.note_sentence(note) for note in result.notes),
        files=_files(result, directory),
        app=tables.environment_table(result.environment, result.app),
        output_tail=view.output_tail(result),
    )


def _tables(result: RunResult) -> tuple[Table, ...]:
    return (
        tables.limits_table(result.verdict.checks),
        tables.leaks_table(result.verdict.leaks),
        tables.baseline_table(result.verdict.checks),
        tables.classes_table(result.class_deltas, MAX_CLASSES),
        tables.growth_table(result),
        tables.rounds_table(result, MAX_ROUNDS),
        tables.steps_table(result),
    )


def held_by(findings: Sequence[Finding]) -> tuple[HeldBy, ...]:
    """The retainer paths of all findings, the worst findings' first."""
    pairs = [(finding, path) for finding in findings for path in finding.paths]
    return tuple(
        HeldBy(
            subject=words.clean(finding.subject, 120),
            summary=advice.path_summary(path),
            steps=advice.path_steps(path, 24),
        )
        for finding, path in pairs[:MAX_PATHS]
    )


def _files(result: RunResult, directory: Path | None) -> tuple[FileLink, ...]:
    rows = tables.artifacts_table(result).rows
    return tuple(
        FileLink(kind=kind, path=path, size=size, href=file_href(artifact.path, directory))
        for (kind, path, size), artifact in zip(rows, result.artifacts)
    )


def file_href(path: str, directory: Path | None) -> str:
    """A relative link from ``directory`` to a kept file.

    Begins with "./" or "../", so that a path that looks like "javascript:…" stays a path; nothing when the two have
    no relative way (other drives)."""
    if directory is None:
        return ""
    try:
        relative = os.path.relpath(path, directory)
    except ValueError:
        return ""
    return "./" + quote(relative.replace(os.sep, "/"), errors="replace")
