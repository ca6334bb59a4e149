"""pytest's ini files, read as pytest reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_memory.config_file import read_ini
from pytest_memory.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\nmemory_interval = 300ms\n"),
        (".pytest.ini", "[pytest]\nmemory_interval = 300ms\n"),
        ("pytest.toml", '[pytest]\nmemory_interval = "300ms"\n'),
        ("pyproject.toml", '[tool.pytest.ini_options]\nmemory_interval = "300ms"\n'),
        ("pyproject.toml", '[tool.pytest]\nmemory_interval = "300ms"\n'),
        ("tox.ini", "[pytest]\nmemory_interval = 300ms\n"),
        ("setup.cfg", "[tool:pytest]\nmemory_interval = 300ms\n"),
    ],
)
def test_every_kind_of_file(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    inner = tmp_path / "packages" / "web"
    inner.mkdir(parents=True)
    assert read_ini(inner) == (tmp_path / name, {"interval": "300ms"})


def test_a_file_without_a_section_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\nmemory_results = kept\n")
    assert read_ini(tmp_path)[1] == {"results": "kept"}


def test_an_empty_pytest_ini_counts(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("")
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\nmemory_results = kept\n")
    assert read_ini(tmp_path) == (tmp_path / "pytest.ini", {})


def test_foreign_settings_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\nmemory_app =\n")
    assert read_ini(tmp_path)[1] == {}


@pytest.mark.parametrize(("name", "text"), [("pytest.ini", "memory"), ("pyproject.toml", "[tool.pytest\n")])
def test_a_broken_file_is_named(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        read_ini(tmp_path)
