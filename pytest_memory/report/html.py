"""The standalone report: one HTML file that loads nothing from anywhere.  Floor 6.

`report.view` gives the words, `report.figures` the figures; this module and its template only lay them out.  The
page carries a content security policy that allows its own two scripts (by hash) and no request at all, so a name
chosen by a test or an app can be neither run nor used to phone home.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_memory import store
from pytest_memory.model import ResultDocument
from pytest_memory.report import advice, assets, tables, view, words
from pytest_memory.report.parts import Part, make_part

MAX_ADVICE = 12  # in the overview; each test shows all of its own


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
    directory: Path | None = None,
) -> str:
    """The page for a document of any age or size.

    With ``directory`` (where the page will lie) kept files are linked relative to it."""
    results = view.ordered(document.results)
    largest = max((view.result_row(result, 1).growth_bytes for result in results), default=0.0)
    parts = [
        make_part(result, f"t{number}", largest_growth=largest, directory=directory)
        for number, result in enumerate(results)
    ]
    plotly = assets.plotly_script() if any(part.figures for part in parts) else ""
    page_script = assets.text_of("mount.js") + assets.text_of("report.js")
    return assets.render(
        "report.html.jinja",
        title=words.clean(title),
        measured_at=words.clean(_measured_at(document)),
        sentence=view.overview_sentence(results) if results else "No test was measured.",
        counts=[count for count in view.class_counts(results) if count[2]],
        parts=parts,
        advice=overview_advice(parts),
        environment=tables.common_environment_table(
            document.environment, [result.environment for result in document.results]
        ),
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
) -> None:
    """Render into ``path``, whole or not at all.  Raises StoreError when it cannot be written."""
    path = Path(path)
    page = render_report(document, title=title, directory=path.parent)
    store.write_atomic(path, page.encode("utf-8"))


def _measured_at(document: ResultDocument) -> str:
    """When the newest result was measured: the document of a later report was made at another time."""
    return max((result.started_at for result in document.results), default="") or document.created_at


def _opened(parts: Sequence[Part]) -> str:
    """The anchor of the part that is open from the start: the worst if it is not healthy, or the only one."""
    if not parts:
        return ""
    return parts[0].anchor if len(parts) == 1 or parts[0].row.outcome != "pass" else ""


def overview_advice(parts: Iterable[Part]) -> list[Advice]:
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
