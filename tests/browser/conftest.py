"""A real browser, and pages whose every mistake is recorded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = Path(__file__).parent.parent / "actual" / "screenshots"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass
class Opened:
    """A page, what it said on the console, and what it asked the network for."""

    page: Any
    problems: list[str] = field(default_factory=list)

    def record_problems(self) -> None:
        self.page.on("console", lambda message: self._console(message.type, message.text))
        self.page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        self.page.on("request", lambda request: self._request(request.url))
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.problems.append(f"console {kind}: {text}")

    def _request(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.problems.append(f"request: {url}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("PYTEST_MEMORY_TEST_BROWSER") or next(filter(None, map(shutil.which, names)), None)
    with playwright.sync_playwright() as started:
        executable = found or started.chromium.executable_path
        if not Path(executable).exists():
            pytest.skip(f"no browser: none of {', '.join(names)} on PATH, none of playwright's own")
        browser = started.chromium.launch(executable_path=executable, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """``open_page(path, dark=…, width=…)`` gives a page; at the end no page may have erred or asked for anything."""
    opened: list[Opened] = []

    def open_page(path: Path, *, dark: bool = False, width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **options
        )
        one = Opened(context.new_page())
        one.record_problems()
        opened.append(one)
        one.page.goto(path.as_uri() if isinstance(path, Path) else path)
        return one.page

    yield open_page
    problems = [problem for one in opened for problem in one.problems]
    for one in opened:
        problems += [f"a name was run: {found}" for found in [one.page.evaluate("window.pwned")] if found is not None]
        one.page.context.close()
    assert problems == []


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Keep a picture of a page or an element under tests/actual/screenshots."""

    def take(thing: Any, name: str, **options: Any) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        thing.screenshot(path=SCREENSHOTS / f"{name}.png", **options)

    return take
