"""Shared by all tests: the golden files."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from support import golden

# Machines are shared and slow at times: a property that takes long to check is not false.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden with what was found")


@pytest.fixture
def golden_text(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden_text(name, found)`` holds a text against ``tests/golden/NAME``."""

    def hold(name: str, found: str) -> None:
        golden.check(name, found, update=request.config.getoption("update_golden"))

    return hold
