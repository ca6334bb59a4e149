"""One test as a part of a page: its words, tables, links and figures, ready for a template.  Floor 6.

Shared by the standalone report and the rows of pytest-html; words come from `report.view`, figures from
`report.figures`, nothing is decided or measured here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from pytest_memory.model import Finding, RunResult
from pytest_memory.report import advice, assets, figures, tables, view, words
from pytest_memory.report.tables import Table

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
class Part:
    """Everything one test's part of the page shows."""

    anchor: str
    row: view.ResultRow
    growth_share: float
    static_curve: Markup
    figures: dict[str, figures.Figure]
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


def make_part(
    result: RunResult,
    anchor: str = "",
    *,
    largest_growth: float = 0.0,
    directory: Path | None = None,
) -> Part:
    """One test in words, tables and figures; kept files are linked relative to ``directory``, the page's own."""
    row = view.result_row(result)
    curve = view.main_curve(result)
    findings = advice.worst_first(result.findings)
    return Part(
        anchor=anchor,
        row=row,
        growth_share=max(0.0, row.growth_bytes) / largest_growth if largest_growth > 0 else 0.0,
        static_curve=assets.static_curve(curve.times, curve.values),
        figures=figures.result_figures(result),
        recommendations=view.recommendations(result),
        findings=tuple((finding.severity, advice.finding_sentence(finding, result.unit)) for finding in findings),
        paths=held_by(findings),
        tables=tuple(table for table in _tables(result) if table),
        load=tuple(view.load_sentences(result.load)),
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
