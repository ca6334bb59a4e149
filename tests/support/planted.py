"""A conftest for a project whose tests "measured" what `result_factory` makes: reports without running an app.

``test_leaking`` gets ``result_factory.leaking()``, and so on; other names measure nothing.
``test_over_limit_at_first`` gets ``over_limit()``, and ``healthy()`` when it is run again."""

from __future__ import annotations

from pathlib import Path

CONFTEST = f"""
import sys
from dataclasses import replace

import pytest

sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
from support import result_factory
from pytest_memory.plugin.stash import RESULT
from pytest_memory.report import view


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    name = item.originalname.removeprefix("test_")
    if name.endswith("_at_first"):
        name = name.removesuffix("_at_first") if getattr(item, "execution_count", 1) == 1 else "healthy"
    make = getattr(result_factory, name, None)
    if make is not None:
        result = item.stash[RESULT] = replace(make(), test_id=item.nodeid)
        if result.verdict.outcome in ("critical", "not-measured"):
            pytest.fail(view.failure_text(result), pytrace=False)
    return (yield)
"""

TESTS = """
import pytest

def test_leaking(): pass
def test_over_limit(): pass
def test_healthy(): pass
def test_crashed(): pass
def test_unmeasured(): pass
def test_without_memory(): pass

@pytest.mark.parametrize("name", ["plain", "<script>window.pwned=1</script>"])
def test_xss(name): pass
"""
