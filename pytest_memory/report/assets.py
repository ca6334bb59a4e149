"""The pieces HTML reports are put together from: templates, scripts, plotly, data blocks.  Floor 6.

Everything is read from installed packages; a page made of it loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pytest_memory.report import series

_SPARK_WIDTH, _SPARK_HEIGHT = 160, 28
# (function(root, factory) {…} (typeof self !== "undefined" ? self : this, () => {…}));
_FACTORY = re.compile(r"(?P<head>.{,2000}?\bthis, ?)(?P<factory>\(\) ?=> ?\{.*\})(?P<tail>\)\);\s*)", re.DOTALL)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pytest_memory.report"),
        autoescape=True,  # every template is HTML: names come from tests and from the heap of the app
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["curve"] = curve_svg
    environment.filters["data"] = data_block
    return environment


def render(template: str, **values: Any) -> str:
    """A template of this package with every value escaped, except those marked as markup by this module."""
    return _environment().get_template(template).render(**values)


@cache
def text_of(name: str) -> str:
    """A style sheet or script of this package."""
    return resources.files("pytest_memory.report").joinpath("templates").joinpath(name).read_text(encoding="utf-8")


@cache
def plotly_script() -> str:
    """plotly's own script, about 4.8 MB: once a document, never once a figure."""
    from plotly.offline import get_plotlyjs

    return compiled_at_once(str(get_plotlyjs())).replace("</script", "<\\/script")


def compiled_at_once(script: str) -> str:
    """The script with the one function that holds all of it in parentheses, where it has plotly's frame.

    V8 first only skims a function that is passed on, and reads it again when it is called; one in parentheses it
    compiles at once (https://v8.dev/blog/preparser#pife).  Skimming 4.8 MB is a fifth of the time a report takes to
    open."""
    framed = _FACTORY.fullmatch(script)
    return "".join((framed["head"], "(", framed["factory"], ")", framed["tail"])) if framed else script


def inline(text: str) -> Markup:
    """A script or style sheet of our own or of plotly's, to stand inside its element as it is.

    Never for anything a test or an app chose."""
    return Markup(text)


def data_block(value: Any) -> Markup:
    """JSON for a ``<script type="application/json">``: no ``<`` in it, so that no name can close the element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def script_hash(script: str) -> str:
    """The CSP source of an inline script."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def curve_svg(curve: Sequence[float | None], width: int = _SPARK_WIDTH, height: int = _SPARK_HEIGHT) -> Markup:
    """A curve as a small static drawing: for overviews, for print, and where no script runs.

    From zero, so that a flat heap looks flat."""
    known = [value for value in curve if value is not None]
    if len(known) < 2:
        return Markup()
    top = max(known) or 1.0
    x_step = width / (len(curve) - 1)
    strokes: list[list[str]] = [[]]
    for index, value in enumerate(curve):
        if value is None:
            strokes.append([])
        else:
            y = height - 1 - (height - 2) * max(value, 0.0) / top
            strokes[-1].append(f"{index * x_step:.1f},{y:.1f}")
    path = "".join(f"M{' '.join(stroke)}" for stroke in strokes if stroke)
    box = f"0 0 {width} {height}"
    return Markup(
        '<svg class="curve" viewBox="{}" preserveAspectRatio="none" aria-hidden="true"><path d="{}"/></svg>'
    ).format(box, path)


def static_curve(times: Sequence[float], values: Sequence[float | None]) -> Markup:
    """The timeline's main curve as a wide static drawing, peaks kept."""
    return curve_svg(series.thin(times, values, 160).values, 640, 120)
