"""Golden texts: expected output kept in files.  ``pytest --update-golden`` rewrites them; a mismatch leaves what was
found beside the repository's tests in ``tests/actual/`` for a look with any diff tool."""

from __future__ import annotations

from pathlib import Path

GOLDEN = Path(__file__).parent.parent / "golden"
ACTUAL = Path(__file__).parent.parent / "actual"


def check(name: str, found: str, *, update: bool) -> None:
    """Hold ``found`` against ``tests/golden/NAME``."""
    expected_path = GOLDEN / name
    if update:
        expected_path.parent.mkdir(parents=True, exist_ok=True)
        expected_path.write_text(found, encoding="utf-8")
        return
    if expected_path.is_file() and expected_path.read_text(encoding="utf-8") == found:
        (ACTUAL / name).unlink(missing_ok=True)
        return
    actual_path = ACTUAL / name
    actual_path.parent.mkdir(parents=True, exist_ok=True)
    actual_path.write_text(found, encoding="utf-8")
    assert expected_path.is_file(), f"no golden file {expected_path}; run pytest --update-golden"
    assert found == expected_path.read_text(encoding="utf-8"), f"differs from {expected_path}; found: {actual_path}"
