"""Plotly's script as reports carry it."""

from __future__ import annotations

import pytest
from plotly.offline import get_plotlyjs

from pytest_memory.report import assets


def test_the_installed_plotly_is_compiled_at_once() -> None:
    """Its frame is found: where a new plotly has another, reports are right but open a fifth slower."""
    script = str(get_plotlyjs())
    changed = assets.compiled_at_once(script)
    assert len(changed) == len(script) + 2
    body = changed.rstrip().removesuffix("})));").replace("this, (() =>", "this, () =>", 1)
    assert body + "}));" == script.rstrip()


@pytest.mark.parametrize("script", ["", "var a = 1;", "f(this, () => { g(); });", "(() => {})();\n"])
def test_any_other_script_is_left_as_it_is(script: str) -> None:
    assert assets.compiled_at_once(script) == script
