"""Shared by all tests: the golden files."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support import golden


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden with what was found")


@pytest.fixture
def golden_text(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden_text(name, found)`` holds a text against ``tests/golden/NAME``."""

    def hold(name: str, found: str) -> None:
        golden.check(name, found, update=request.config.getoption("update_golden"))

    return hold
