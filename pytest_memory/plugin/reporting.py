"""Results on their way to people: the collector of results and pytest-html's hooks.  Floor 7."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memory.plugin.ids import id_of_test

if TYPE_CHECKING:
    from pytest_memory.model import RunResult
    from pytest_memory.session import MemorySession


class HtmlHooks:
    """pytest-html's hooks, registered only in a run that writes its report."""

    def __init__(self, session: MemorySession, config: pytest.Config) -> None:
        self._session = session
        self._report = Path(config.option.htmlpath).expanduser().absolute()
        self._self_contained = bool(getattr(config.option, "self_contained_html", False))

    def add_extras(self, report: pytest.TestReport, result: RunResult) -> None:
        from pytest_memory.report import pytest_html

        extras = pytest_html.row_extras(result, directory=self._report.parent)
        report.extras = [*getattr(report, "extras", []), *extras]  # type: ignore[attr-defined]

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str], summary: list[str], postfix: list[str]) -> None:
        from pytest_memory.report import pytest_html

        if self._session.results:
            assets = None if self._self_contained else self._report.parent / "assets"
            prefix.append(pytest_html.summary_html(self._session.document(), assets_directory=assets))

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        from pytest_memory.report import pytest_html

        pytest_html.table_header(cells)

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        from pytest_memory import results
        from pytest_memory.report import pytest_html

        payload = getattr(report, "memory_result", None)
        pytest_html.table_row(cells, None if payload is None else results.from_payload(payload))


class Collector:
    """Gathers the results that reports carry, and what was collected; on the controller, or where there is no xdist."""

    def __init__(self, session: MemorySession, config: pytest.Config) -> None:
        self._session = session
        self._config = config
        self.collected: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        payload = getattr(report, "memory_result", None)
        if payload is not None:
            file, line, _ = report.location
            self._session.collect(payload, (file, (line or 0) + 1))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Before any deselection: which tests there are."""
        self.collected.update(id_of_test(item) for item in items)

    def pytest_sessionfinish(self) -> None:
        # xdist tells the controller only what is left after deselection: each worker sends home what there was.
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output["memory_collected"] = sorted(self.collected)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.collected.update((getattr(node, "workeroutput", None) or {}).get("memory_collected", ()))

    @property
    def whole_files(self) -> set[str]:
        """Files collected whole: a stored entry that is missing from them belongs to a test that no longer exists."""
        option = self._config.option
        narrowed = any(getattr(option, name, None) for name in ("keyword", "markexpr", "deselect", "lf", "stepwise"))
        if narrowed or any("::" in str(argument) for argument in self._config.args):
            return set()
        return {test_id.split("::")[0] for test_id in self.collected}
