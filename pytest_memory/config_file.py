"""Where settings are kept: memory-config.json and the ini files of pytest.  Floor 5: finds and reads; `spec` parses.

The command line reads pytest's own ini files itself, so that ``memory_interval = "500ms"`` in pyproject.toml means
the same in a test and in a shell.
"""

from __future__ import annotations

import configparser
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_memory import spec
from pytest_memory.errors import ConfigError

CONFIG_FILE = "memory-config.json"

# In pytest's order; the first that has a section for pytest is the one.
_INI_FILES = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")


def read_config_file(file: Path) -> dict[str, object]:
    """The raw values of a memory-config.json by option name.  Raises ConfigError (config-file)."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}; expected a JSON file", slug="config-file") from None
    return spec.parse_config_text(text, str(file))


def read_ini(directory: Path) -> tuple[Path | None, dict[str, object]]:
    """The ini file pytest would use in ``directory``, and our settings in it by option name.

    Looks in the directory and its parents.  Raises ConfigError (config-file) for a file that does not parse."""
    for parent in (directory, *directory.parents):
        for name in _INI_FILES:
            file = parent / name
            if file.is_file():
                section = _read_section(file)
                if section is not None:
                    return file, dict(_our_values(section))
    return None, {}


def _read_section(file: Path) -> dict[str, Any] | None:
    """pytest's section of the file, or None when it has none."""
    try:
        if file.suffix == ".toml":
            return _toml_section(file)
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(file, encoding="utf-8")
    except (OSError, ValueError, configparser.Error) as error:
        raise ConfigError(f"{file} cannot be read: {error}", slug="config-file") from None
    name = "tool:pytest" if file.name == "setup.cfg" else "pytest"
    if parser.has_section(name):
        return dict(parser[name])
    # An empty pytest.ini counts, as it does for pytest.
    return {} if file.name in ("pytest.ini", ".pytest.ini") else None


def _toml_section(file: Path) -> dict[str, Any] | None:
    document = _load_toml(file.read_text(encoding="utf-8"))
    if file.name != "pyproject.toml":
        section = document.get("pytest")
        return section if isinstance(section, dict) else {}
    tool = document.get("tool", {}).get("pytest")
    if not isinstance(tool, dict):
        return None
    ini_options = tool.get("ini_options")
    return ini_options if isinstance(ini_options, dict) else tool


def _load_toml(text: str) -> dict[str, Any]:
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return dict(toml.loads(text))


def _our_values(section: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for option in spec.OPTIONS:
        value = section.get(option.ini_key)
        if value not in (None, ""):
            yield option.name, value
