"""What GitHub shows: step summary, annotations, a pull request comment, and github-action-benchmark's JSON.  Floor 6.

Everything is text in, text out; files are written by `write_*` alone.  Sizes are bounded by what GitHub accepts:
1 MiB for a step summary, 65,536 characters for a comment, ten annotations of a kind a step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pytest_memory import store
from pytest_memory.errors import StoreError
from pytest_memory.model import Outcome, ResultDocument, RunResult
from pytest_memory.report import advice, tables, view, words
from pytest_memory.report.tables import Table

COMMENT_MARK = "<!-- pytest-memory -->"
"""First line of the comment: by it a workflow finds last run's comment and updates it in place."""

MAX_SUMMARY_BYTES = 1_000_000
MAX_COMMENT_CHARS = 60_000
MAX_ANNOTATIONS = 10
_TOP = PurePosixPath()
_MAX_ROWS = 50
_MAX_DETAILS = 10

_EMOJI: Mapping[Outcome, str] = {
    "critical": "❌",
    "not-measured": "🚫",
    "inconclusive": "❔",
    "warning": "⚠️",
    "pass": "✅",
}
_LEVELS: Mapping[Outcome, str] = {
    "critical": "error",
    "not-measured": "error",
    "inconclusive": "warning",
    "warning": "warning",
}


# --- Markdown -----------------------------------------------------------------------------------------------------


def step_summary(document: ResultDocument) -> str:
    """The job's summary page in Markdown: overview, a table worst first, and the details of what is not healthy."""
    return _bounded(_sections(document, rows=_MAX_ROWS * 4, details=_MAX_DETAILS * 3), MAX_SUMMARY_BYTES // 4)


def pr_comment(document: ResultDocument) -> str:
    """The comment on a pull request, beginning with `COMMENT_MARK`."""
    return f"{COMMENT_MARK}\n" + _bounded(_sections(document, rows=_MAX_ROWS, details=_MAX_DETAILS), MAX_COMMENT_CHARS)


def _sections(document: ResultDocument, *, rows: int, details: int) -> list[str]:
    results = view.ordered(document.results)
    sections = ["## Memory\n", f"{_inline(view.overview_sentence(results))}\n"]
    if results:
        sections.append(_overview(results, rows))
    unhealthy = [result for result in results if result.verdict.outcome != "pass"]
    sections.extend(_details(result) for result in unhealthy[:details])
    if len(unhealthy) > details:
        sections.append(f"… and {len(unhealthy) - details} more tests that are not healthy\n")
    environment = tables.environment_table(document.environment)
    if environment:
        sections.append(_folded("Environment", markdown_table(environment)))
    return sections


def _overview(results: Sequence[RunResult], limit: int) -> str:
    lines = ["| | test | result | verdict |", "|---|---|---:|---|"]
    for result in results[:limit]:
        row = view.result_row(result, 1)
        cells = (_EMOJI.get(row.outcome, "·"), _code(row.test_id), _cell(row.headline), _cell(row.sentence))
        lines.append(f"| {' | '.join(cells)} |")
    if len(results) > limit:
        lines.append(f"\n… and {len(results) - limit} more tests, no worse than these")
    return "\n".join(lines) + "\n"


def _details(result: RunResult) -> str:
    row = view.result_row(result, 1)
    parts = [_inline(row.sentence) + "\n"]
    for table in (
        tables.limits_table(result.verdict.checks),
        tables.leaks_table(result.verdict.leaks),
        tables.baseline_table(result.verdict.checks),
        tables.classes_table(result.class_deltas),
    ):
        if table:
            parts.append(f"**{table.title}**\n\n{markdown_table(table)}")
    findings = [
        f"- {_inline(advice.finding_sentence(finding, result.unit))}"
        for finding in advice.worst_first(result.findings)[:5]
    ]
    paths = [_code(advice.path_text(path)) for finding in result.findings for path in finding.paths][:3]
    findings.extend(f"- held by {path}" for path in paths)
    findings.extend(f"- **{_inline(item.action)}**" for item in view.recommendations(result)[:3])
    if findings:
        parts.append("\n".join(findings) + "\n")
    return _folded(f"{_EMOJI.get(row.outcome, '·')} {row.name}", "\n".join(parts))


def markdown_table(table: Table) -> str:
    """A table in Markdown, every cell escaped."""
    columns = [column or " " for column in table.columns]
    lines = [
        f"| {' | '.join(_cell(column) for column in columns)} |",
        f"|{'|'.join('---:' if index in table.numeric else '---' for index in range(len(columns)))}|",
    ]
    lines.extend(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows)
    return "\n".join(lines) + "\n"


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{_html(title)}</summary>\n\n{body}\n</details>\n"


def _bounded(sections: Sequence[str], limit: int) -> str:
    """Whole sections up to ``limit`` characters: half a table would be no Markdown at all."""
    kept: list[str] = []
    used = 0
    for section in sections:
        used += len(section) + 1
        if used > limit:
            kept.append("… the rest is in the job's artefacts\n")
            break
        kept.append(section)
    return "\n".join(kept)


# "@" and "#" would notify people and link issues, and a name must do neither.
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@\u200b", "#": "#\u200b"})
_MARKDOWN = str.maketrans({char: f"\\{char}" for char in r"\`*_{}[]~|"})


def _html(text: str) -> str:
    return text.translate(_HTML)


def _inline(text: str) -> str:
    return _html(text.translate(_MARKDOWN))


def _cell(text: str) -> str:
    return _inline(text)


def _code(text: str) -> str:
    """Foreign text as code: an HTML element, since backticks in a name would end Markdown's own."""
    return f"<code>{_inline(text)}</code>"


# --- annotations --------------------------------------------------------------------------------------------------


def path_in_checkout(root: Path, workspace: str) -> PurePosixPath:
    """Where ``root`` lies below the top of the checkout; the top itself where that is not known or elsewhere."""
    try:
        return PurePosixPath(root.resolve().relative_to(Path(workspace).resolve())) if workspace else PurePosixPath()
    except ValueError:
        return PurePosixPath()


def annotation_lines(
    results: Sequence[RunResult],
    locations: Mapping[str, tuple[str, int]] | None = None,
    *,
    directory: PurePosixPath = _TOP,
) -> list[str]:
    """Workflow commands (``::error file=…,line=…,title=…::…``) for the worst tests, at most ten.

    ``locations`` gives file and line (from 1) by test id; without it the file is taken from the id.  Both count from
    ``directory``, which counts from the top of the checkout.  A test whose failure was expected (xfailed) is not
    annotated."""
    lines = []
    for result in view.ordered(results):
        level = _LEVELS.get(result.verdict.outcome)
        if level is None or result.test_outcome == "xfailed":
            continue
        row = view.result_row(result, 1)
        file, line = (locations or {}).get(result.test_id, (row.file, 0))
        place = [f"file={_property(str(directory / file))}"] if file else []
        if line:
            place.append(f"line={line}")
        place.append(f"title={_property(f'memory: {row.name}')}")
        lines.append(f"::{level} {','.join(place)}::{_message(row.sentence)}")
    return lines[:MAX_ANNOTATIONS]


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


# --- github-action-benchmark --------------------------------------------------------------------------------------


def benchmark_json(document: ResultDocument) -> str:
    """The measured numbers in github-action-benchmark's ``customSmallerIsBetter`` form.

    One entry a test and quantity: settled heap and heap growth in bytes, the slope of a leak test with the half of its
    95 % interval as range."""
    entries: list[dict[str, str | float]] = []
    for result in sorted(document.results, key=lambda result: result.test_id):
        name = words.clean(result.test_id, 400)
        extra = view.verdict_line(result)
        if result.end_memory is not None:
            heap = result.end_memory.heap_used_bytes + result.end_memory.worker_heap_used_bytes
            entries.append({"name": f"{name} settled heap", "unit": "bytes", "value": heap, "extra": extra})
        for growth in result.growth:
            noun = words.metric_of(growth.metric).noun
            entries.append({"name": f"{name} {noun} growth", "unit": "bytes", "value": growth.amount, "extra": extra})
        for leak in result.verdict.leaks:
            entry = _leak_entry(
                name, leak.kind, leak.slope, leak.low, leak.high, f"{tables.leak_thing(leak)}/{leak.unit}"
            )
            if entry is not None:
                entries.append({**entry, "extra": extra})
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def _leak_entry(
    name: str, kind: str, slope: float, low: float, high: float, unit: str
) -> dict[str, str | float] | None:
    half = (high - low) / 2
    if not half < float("inf"):  # nothing was measured
        return None
    return {
        "name": f"{name} {words.MEMORY_KINDS.get(kind, kind)} per unit",
        "unit": unit,
        "value": round(slope, 3),
        "range": f"± {half:.3g}",
    }


# --- files --------------------------------------------------------------------------------------------------------


def append_step_summary(document: ResultDocument, path: Path) -> None:
    """Append to the file GitHub names in GITHUB_STEP_SUMMARY.  Raises StoreError when it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(step_summary(document) + "\n")
    except OSError as error:
        raise StoreError(
            f"{path} could not be written: {error.strerror or error}",
            slug="store-write",
            hint="is GITHUB_STEP_SUMMARY the path GitHub gave to this step?",
        ) from error


def write_pr_comment(document: ResultDocument, path: Path) -> None:
    """Write the comment for a later step to post.  Raises StoreError when it cannot be written."""
    store.write_atomic(path, pr_comment(document).encode("utf-8"))


def write_benchmark(document: ResultDocument, path: Path) -> None:
    """Write the numbers for github-action-benchmark.  Raises StoreError when they cannot be written."""
    store.write_atomic(path, benchmark_json(document).encode("utf-8"))
