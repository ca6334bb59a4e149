"""Markers as test authors write them: what is taken, what is refused and how."""

from __future__ import annotations

import pytest

from pytest_memory import markers
from pytest_memory.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "words"),
    [
        ("max_heap_growth", (), {}, "expected a limit"),
        ("max_heap_growth", ("50MB", "60MB"), {}, "expected one"),
        ("max_heap_growth", ("64 MBananas",), {}, "MBananas"),
        ("max_heap_growth", ("-5MB",), {}, "-5MB"),
        ("max_heap_growth", (0,), {}, "greater than zero"),
        ("max_heap_growth", ("50MB",), {"unit": "x"}, "it takes no keyword"),
        ("no_leaks", ("50MB",), {}, "bytes per unit of work"),
        ("no_leaks", (), {"round": 3}, "did you mean 'rounds'?"),
        ("no_leaks", (), {"rounds": 0}, "at least 1"),
        ("node_app", (), {}, "expected a command"),
        ("node_app", ("",), {}, "expected a script"),
        ("node_app", ([],), {}, "expected a script"),
        ("node_app", (5,), {}, "expected a script"),
        ("node_app", ("s.js",), {"redy": "/"}, "did you mean 'ready'?"),
        ("node_app", ("s.js",), {"ready_timeout": "later"}, "later"),
        ("node_app", ("s.js",), {"scope": "galaxy"}, "galaxy"),
        ("memory_baseline", ("a lot",), {}, "a lot"),
    ],
)
def test_a_wrong_marker_is_refused(name: str, args: tuple[object, ...], kwargs: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        markers.check_marker(name, args, kwargs)
    assert words in str(caught.value)


def test_good_markers_pass() -> None:
    markers.check_marker("no_leaks", (), {})
    markers.check_marker("no_leaks", ("100B/request",), {"rounds": 6, "max_duration": "90s"})
    markers.check_marker("node_app", (["node", "s.js"],), {"ready": "/health", "scope": "module"})
    markers.check_marker("node_app", (), {"pid": 4711})
    assert markers.check_marker("max_gc_pause", ("50ms",), {}).value == pytest.approx(0.05)
